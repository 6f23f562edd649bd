"""Everything that is wrong with a declarative configuration, told at once: lines for people, Kong's forms for
clients."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.entities import texts
from gateway.plugins._limits import PERIODS
from gateway.store import DeclarativeError, load_declarative, load_declarative_document
from gateway.store.problems import MOST_PROBLEMS


def error_of(text: str | bytes) -> DeclarativeError:
    with pytest.raises(DeclarativeError) as caught:
        load_declarative(text, source="kong.yml")
    return caught.value


def error_of_document(**types: Any) -> DeclarativeError:
    return error_of(json.dumps({"_format_version": "3.0", **types}))


NAME = "the only accepted ascii characters are alphanumerics or ., -, _, and ~"
DATA = Path(__file__).parent / "data"


def without_library_text(line: str) -> str:
    return line.partition("PCRE returned: ")[0] + "PCRE returned: …" if "PCRE returned: " in line else line


def test_every_kind_of_problem_at_once_with_its_line() -> None:
    error = error_of((DATA / "all-kinds.yml").read_bytes())
    expected = (DATA / "all-kinds.txt").read_text().splitlines()
    assert [without_library_text(line) for line in error.lines()] == expected


def test_json_has_lines_too() -> None:
    error = error_of('{\n  "_format_version": "3.0",\n  "services": [\n    {"port": "x"}\n  ]\n}')
    assert error.lines() == [
        "kong.yml:4: services[0].port: expected an integer",
        "kong.yml:4: services[0].host: required field missing",
    ]


def test_a_decoded_document_has_none_unless_they_are_told() -> None:
    with pytest.raises(DeclarativeError) as caught:
        load_declarative_document({"x": 1}, source="POST /config")
    assert caught.value.lines() == [
        "POST /config: _format_version: required field missing",
        "POST /config: x: unknown field",
    ]
    with pytest.raises(DeclarativeError) as caught:
        load_declarative_document({"x": 1}, source="f", positions=lambda path: 7)
    assert caught.value.lines()[1] == "f:7: x: unknown field"


def test_many_problems_in_kongs_form() -> None:
    error = error_of_document(
        services=[
            {"name": "ok", "host": "h"},
            {"name": "a b", "host": "h", "routes": [{"paths": ["/a"]}, {"paths": ["/a", "b"], "name": "x"}]},
        ],
        nope=[],
    )
    assert error.fields == {
        "services": [
            None,
            {
                "name": f"invalid value 'a b': {NAME}",
                "routes": [None, {"paths": [None, "should start with: / (fixed path) or ~/ (regex path)"]}],
            },
        ],
        "nope": "unknown field",
    }
    assert error.message == (
        'declarative config is invalid: {nope="unknown field",services={[2]={'
        f"name=\"invalid value 'a b': {NAME}\","
        'routes={[2]={paths={[2]="should start with: / (fixed path) or ~/ (regex path)"}}}}}}'
    )
    flat = error.answer(flatten=True)
    assert flat["fields"] == {"nope": "unknown field"}
    assert flat["message"] == 'declarative config is invalid: {nope="unknown field"}'
    assert flat["flattened_errors"] == [
        {
            "entity_type": "service",
            "entity_name": "a b",
            "entity": {"name": "a b", "host": "h"},
            "errors": [{"type": "field", "field": "name", "message": error.fields["services"][1]["name"]}],
        },
        {
            "entity_type": "route",
            "entity_name": "x",
            "entity": {"name": "x", "paths": ["/a", "b"]},
            "errors": [
                {
                    "type": "field",
                    "field": "paths.2",
                    "message": "should start with: / (fixed path) or ~/ (regex path)",
                }
            ],
        },
    ]


def test_references_join_an_array_that_is_there_already() -> None:
    lost = {"name": "lost", "paths": ["/x"], "service": "none"}
    text = "invalid reference 'service: none' (no such entry in 'services')"
    assert error_of_document(routes=[lost]).fields == {"routes": {"lost": [text]}}
    assert error_of_document(routes=[lost, {"name": "bad", "paths": ["/x"], "strip_path": 1}]).fields == {
        "routes": [{"service": text}, {"strip_path": "expected a boolean"}]
    }


def test_a_bad_reference_of_a_nameless_route_is_told_under_its_id() -> None:
    fields = error_of_document(routes=[{"paths": ["/x"], "service": "none"}]).fields
    ((identifier, told),) = fields["routes"].items()
    assert len(identifier) == 36
    assert told == ["invalid reference 'service: none' (no such entry in 'services')"]


def test_two_bad_references_of_one_entity() -> None:
    fields = error_of_document(plugins=[{"name": "correlation-id", "service": "x", "route": "y"}]).fields
    ((_, told),) = fields["plugins"].items()
    assert sorted(told) == [
        "invalid reference 'route: y' (no such entry in 'routes')",
        "invalid reference 'service: x' (no such entry in 'services')",
    ]


def test_nested_entities_belong_to_their_parent() -> None:
    services = [
        {"name": "a", "host": "h", "routes": [{"name": "r", "paths": ["/"], "service": "a"}]},
        {"name": "b", "host": "h", "routes": [{"name": "s", "paths": ["/"], "service": "a"}]},
    ]
    error = error_of_document(services=services)
    assert error.lines() == ["kong.yml:1: services[1].routes[0].service: value must be null"]


@pytest.mark.parametrize(
    ("types", "fields"),
    [
        (
            {"consumers": [{"username": "a", "custom_id": "x"}, {"username": "b", "custom_id": "x"}]},
            {
                "consumers": {
                    "b": "uniqueness violation: 'consumers' entity with custom_id set to 'x' already declared"
                }
            },
        ),
        (
            {
                "upstreams": [
                    {"name": "u", "targets": [{"target": "a:1"}, {"target": "a:1"}]},
                    {"name": "v", "targets": [{"target": "a:1"}]},
                ]
            },
            {
                "upstreams": [
                    {
                        "targets": [
                            None,
                            "uniqueness violation: 'targets' entity with primary key set to "
                            "'18b11a5c-c7ae-5cbb-9f8c-32a5b3ffe5cb' already declared",
                        ]
                    }
                ]
            },
        ),
        (
            {
                "services": [
                    {"id": "00000000-0000-4000-8000-000000000001", "host": "h"},
                    {"id": "00000000-0000-4000-8000-000000000001", "host": "h"},
                ]
            },
            {
                "services": [
                    None,
                    "uniqueness violation: 'services' entity with primary key set to "
                    "'00000000-0000-4000-8000-000000000001' already declared",
                ]
            },
        ),
        (
            {
                "consumers": [
                    {"username": "a", "keyauth_credentials": [{"key": "k"}]},
                    {"username": "b", "keyauth_credentials": [{"key": "k"}]},
                    {"username": "c", "keyauth_credentials": [{"key": "k"}]},
                ]
            },
            {
                "keyauth_credentials": [
                    "uniqueness violation: 'keyauth_credentials' entity with key set to 'k' already declared"
                ]
                * 2
            },
        ),
    ],
)
def test_uniqueness(types: dict[str, Any], fields: dict[str, Any]) -> None:
    error = error_of_document(**types)
    told = json.loads(json.dumps(error.fields))
    if "upstreams" in types:
        # The id is derived; its value is no matter here.
        text = told["upstreams"][0]["targets"][1]
        assert text.startswith("uniqueness violation: 'targets' entity with primary key set to '")
        told = fields
    assert told == fields
    assert len(error.lines()) == sum(json.dumps(fields).count(text) for text in ("uniqueness violation",))


def test_the_same_plugin_twice_is_found_however_it_is_referred_to() -> None:
    service = {"name": "s1", "host": "h", "plugins": [{"name": "key-auth"}]}
    plugin = {"name": "key-auth", "service": "s1"}
    error = error_of_document(services=[service], plugins=[plugin])
    (line,) = error.lines()
    assert line.startswith("kong.yml:1: plugins[0]: uniqueness violation: 'plugins' entity with ")


def test_plugins_are_checked() -> None:
    error = error_of_document(
        consumers=[{"username": "bob"}],
        plugins=[
            {"name": "key-auth", "consumer": "x"},
            {"name": "rate-limiting"},
            {"name": "rate-limiting", "service": None, "config": {"minute": 0, "x": 1}},
            {"name": "key-auth", "config": 5},
        ],
    )
    assert error.fields["plugins"] == [
        {"consumer": "value must be null"},
        {"@entity": [texts.at_least_one_of(f"config.{period}" for period in PERIODS)]},
        # The second global rate-limiting, besides.
        {
            "config": {"minute": "value must be greater than 0", "x": "unknown field"},
            "@entity": [error.fields["plugins"][2]["@entity"][0]],
        },
        {"config": "expected a record"},
    ]


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("a: [", ["kong.yml:1:4: did not find expected node content"]),
        (b"\xff", ["kong.yml:1:1: not valid UTF-8 (byte 0xff)"]),
        (
            "a: 1\na: 2\n3: x",
            [
                "kong.yml:2:1: duplicate key 'a' (first in line 1)",
                "kong.yml:3:1: keys must be strings, not 3 (quotes make a string)",
            ],
        ),
        ("just text", ["kong.yml: expected an object"]),
        ("", ["kong.yml: expected an object"]),
        ("- a", ["kong.yml: expected an object"]),
    ],
)
def test_texts_that_are_no_configuration(text: str | bytes, lines: list[str]) -> None:
    error = error_of(text)
    assert error.lines() == lines
    assert list(error.fields) == ["error"]
    assert error.fields["error"].startswith("failed parsing declarative configuration: ")
    assert error.answer(flatten=True)["flattened_errors"] == {}


def test_thousands_of_problems_are_told_in_good_time() -> None:
    consumers = [
        {"username": f"u{n}", f"unknown{n}": 1, "keyauth_credentials": [{"key": "same"}]} for n in range(5000)
    ]
    error = error_of_document(consumers=consumers)
    assert len(error.lines()) == MOST_PROBLEMS + 1
    assert error.lines()[-1] == f"… and {5000 + 4999 - MOST_PROBLEMS:,} more"
    assert len(error.fields["keyauth_credentials"]) == MOST_PROBLEMS


def test_messages_with_odd_characters_stay_lua() -> None:
    error = error_of_document(**{'a"b': [], "c d": []}, services=[{"name": 'x"\\\n', "host": "h"}])
    assert error.message.startswith(
        'declarative config is invalid: {["a\\"b"]="unknown field",["c d"]="unknown field"'
    )
    assert "'x\\\"\\\\\\n'" in error.message
