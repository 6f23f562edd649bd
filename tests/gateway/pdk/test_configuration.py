"""From a plugin's `Config` to fields, schemas and errors."""

from __future__ import annotations

import datetime
from enum import Enum
from typing import Annotated, Any, Literal

import msgspec
import pytest
from msgspec import Meta

from gateway.entities.fields import Text
from gateway.entities.record import shape_of, to_kong
from gateway.pdk.configuration import record_of


class Colour(Enum):
    RED = "red"
    GREEN = "green"


class Inner(msgspec.Struct):
    host: str = "localhost"
    port: Annotated[int, Meta(ge=1, le=65535)] = 6379


class Everything(msgspec.Struct):
    needed: Annotated[int, Meta(gt=0)]
    text: Annotated[str, Meta(max_length=5)] = "text"
    none: str | None = None
    flag: bool = False
    ratio: Annotated[float, Meta(ge=0, le=1)] = 0.5
    choice: Literal["b", "a"] = "b"
    colour: Colour = Colour.RED
    texts: list[str] = []
    pair: tuple[str, ...] = ("a", "b")
    unique: set[str] = set()
    weights: dict[str, float] = {}
    inner: Inner = msgspec.field(default_factory=Inner)
    inners: list[Inner] = []
    when: datetime.date | None = None
    own: Annotated[str, Text("With a kind of its own.", starts_with="/")] = "/"
    either: int | str = 1

    def __post_init__(self) -> None:
        if self.text == "wrong":
            raise ValueError("text is wrong")


def check(values: dict[str, Any], config: type[msgspec.Struct] = Everything) -> Any:
    """The errors, or the form in which a configuration is stored."""
    record = record_of(config)
    clean, errors = shape_of(record).check(values)
    return errors or to_kong(record(**clean))


def test_defaults_are_filled_in() -> None:
    assert check({"needed": 1}) == {
        "needed": 1,
        "text": "text",
        "none": None,
        "flag": False,
        "ratio": 0.5,
        "choice": "b",
        "colour": "red",
        "texts": [],
        "pair": ["a", "b"],
        "unique": [],
        "weights": {},
        "inner": {"host": "localhost", "port": 6379},
        "inners": [],
        "when": None,
        "own": "/",
        "either": 1,
    }


def test_what_is_stored_is_what_the_plugin_gets() -> None:
    values = {
        "needed": 3,
        "none": "some",
        "colour": "green",
        "unique": ["a"],
        "weights": {"a": 0.5},
        "inner": {"port": 1},
        "inners": [{"host": "a"}],
        "when": "2026-11-22",
        "either": "word",
    }
    config = msgspec.convert(check(values), Everything)
    assert config == Everything(
        needed=3,
        none="some",
        colour=Colour.GREEN,
        unique={"a"},
        weights={"a": 0.5},
        inner=Inner(port=1),
        inners=[Inner(host="a")],
        when=datetime.date(2026, 11, 22),
        either="word",
    )


@pytest.mark.parametrize(
    ("values", "errors"),
    [
        ({}, {"needed": "required field missing"}),
        ({"needed": None}, {"needed": "required field missing"}),
        ({"needed": 0}, {"needed": "value must be greater than 0"}),
        ({"needed": 1, "text": "longer"}, {"text": "length must be at most 5"}),
        ({"needed": 1, "flag": "yes"}, {"flag": "expected a boolean"}),
        ({"needed": 1, "ratio": 2}, {"ratio": "value should be between 0 and 1"}),
        ({"needed": 1, "choice": "c"}, {"choice": "expected one of: b, a"}),
        ({"needed": 1, "colour": "blue"}, {"colour": "expected one of: red, green"}),
        ({"needed": 1, "texts": [1]}, {"texts": {0: "expected a string"}}),
        ({"needed": 1, "inner": {"port": 0}}, {"inner": {"port": "value should be between 1 and 65535"}}),
        (
            {"needed": 1, "inners": [{"port": 0}]},
            {"inners": {0: {"port": "value should be between 1 and 65535"}}},
        ),
        ({"needed": 1, "own": "x"}, {"own": "should start with: /"}),
        ({"needed": 1, "unknown": 1}, {"unknown": "unknown field"}),
        ({"needed": 1, "text": "wrong"}, {"@entity": ["text is wrong"]}),
        ({"needed": 1, "when": "today"}, {"when": "Invalid RFC3339 encoded date"}),
        ({"needed": 1, "either": []}, {"either": "Expected `int | str`, got `array`"}),
    ],
)
def test_errors_have_kongs_form(values: dict[str, Any], errors: Any) -> None:
    assert check(values) == errors


def test_secrets_are_marked() -> None:
    class Secretive(msgspec.Struct):
        plain: str
        secret: Annotated[str, Meta(extra={"encrypted": True})]
        maybe: Annotated[str, Meta(description="Perhaps.", extra={"encrypted": True})] | None = None

    fields = shape_of(record_of(Secretive)).fields
    assert {name: field.encrypted for name, field in fields.items()} == {
        "plain": False,
        "secret": True,
        "maybe": True,
    }
    assert fields["maybe"].doc == "Perhaps."


def test_renamed_fields() -> None:
    class Renamed(msgspec.Struct, rename="camel"):
        two_words: int = 1

    assert check({"twoWords": 2}, Renamed) == {"twoWords": 2}
    assert check({"two_words": 2}, Renamed) == {"two_words": "unknown field"}


def test_defaults_are_not_shared() -> None:
    record = record_of(Everything)
    first, second = record(needed=1), record(needed=2)
    first.texts.append("a")  # type: ignore[attr-defined]
    assert second.texts == []  # type: ignore[attr-defined]


def test_a_default_that_breaks_its_own_rules() -> None:
    class Impossible(msgspec.Struct):
        number: Annotated[int, Meta(ge=1, le=2)] = 3

    with pytest.raises(TypeError, match="the default of number: value should be between 1 and 2"):
        record_of(Impossible)
