"""Loading with the memory of earlier loads: never another result than without, except for what is kept."""

from __future__ import annotations

import copy
import json
import time
from typing import Any

import orjson
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store import (
    Configuration,
    DeclarativeError,
    LoadMemory,
    load_declarative,
    parse_declarative_json,
    parse_known_json,
)
from gateway.store import declarative as declarative_module
from gateway.store import memory as memory_module
from gateway.store import pieces as pieces_module
from gateway.store.documents import read_document
from gateway.store.pieces import split_text
from tests.gateway.store.test_recorded_configurations import CASES

MANY = 40


def outcome(text: str | bytes, memory: LoadMemory | None) -> tuple[Any, ...]:
    """What a load says, in a form that can be compared."""
    try:
        configuration = load_declarative(text, memory=memory)
    except DeclarativeError as error:
        return error.lines(), error.fields, error.flattened()
    return configuration.hash, configuration.to_kong()


@pytest.fixture
def _one_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every load happens in the same second."""
    monkeypatch.setattr(time, "time", lambda: 1_700_000_000.5)


@pytest.fixture(params=[2, 16])
def _some_children(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory_module, "MANY_CHILDREN", request.param)


# --- any history ----------------------------------------------------------------------------------

ROUTE = st.fixed_dictionaries(
    {"paths": st.sampled_from([["/a"], ["/b"], ["/a", "~/c"], ["bad"]])},
    optional={
        "name": st.sampled_from(["r1", "r2", "r3", "r4"]),
        "tags": st.sampled_from([["x"], ["y"]]),
        "strip_path": st.sampled_from([True, False, 1, None]),
    },
)
SERVICE = st.fixed_dictionaries(
    {"host": st.sampled_from(["a.test", "b.test"])},
    optional={
        "name": st.sampled_from(["s1", "s2", "s3", "s4"]),
        "id": st.sampled_from(
            ["00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000b"]
        ),
        "routes": st.lists(ROUTE, max_size=5),
        "retries": st.sampled_from([1, 1.0, True, None]),
    },
)
FLAT_ROUTE = st.fixed_dictionaries(
    {"paths": st.just(["/flat"])},
    optional={
        "name": st.sampled_from(["r1", "f1", "f2"]),
        "service": st.sampled_from(
            ["s1", "s2", {"id": "00000000-0000-4000-8000-00000000000a"}, {"name": "s1"}, None]
        ),
    },
)
CONSUMER = st.fixed_dictionaries(
    {"username": st.sampled_from(["c1", "c2", "c3"])},
    optional={
        "custom_id": st.sampled_from(["i1", "i2"]),
        "keyauth_credentials": st.lists(
            st.fixed_dictionaries({"key": st.sampled_from(["k1", "k2", "k3"])}), max_size=2
        ),
        "basicauth_credentials": st.lists(
            st.fixed_dictionaries({"username": st.sampled_from(["u1", "u2"]), "password": st.just("p")}),
            max_size=2,
        ),
        "acls": st.lists(st.fixed_dictionaries({"group": st.sampled_from(["g1", "g2"])}), max_size=2),
    },
)
DOCUMENT = st.fixed_dictionaries(
    {
        "_format_version": st.sampled_from(["3.0"] * 5 + ["1.1"]),
        "services": st.lists(SERVICE, max_size=5),
        "consumers": st.lists(CONSUMER, max_size=3),
        "routes": st.lists(FLAT_ROUTE, max_size=3),
    },
    optional={"_transform": st.booleans(), "_comment": st.sampled_from(["x", "a: b\n- c\n"])},
)


class IndentedDumper(yaml.SafeDumper):
    """With the dashes of lists further right than their keys."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


class PlainDumper(IndentedDumper):
    """With dashes below the first letter of their keys."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        yaml.SafeDumper.increase_indent(self, flow, indentless)


FORMS: list[Any] = [
    json.dumps,
    lambda document: json.dumps(document, indent=2),
    lambda document: yaml.dump(document, Dumper=PlainDumper, sort_keys=False),
    lambda document: "---\n# a comment\n" + yaml.dump(document, Dumper=IndentedDumper, sort_keys=False),
    lambda document: yaml.dump(document, Dumper=PlainDumper, sort_keys=False).replace("\n", "\r\n"),
]


@st.composite
def histories(draw: Any) -> list[dict[str, Any]]:
    """Documents of which each has much in common with the one before it."""
    documents = [draw(DOCUMENT)]
    for _ in range(draw(st.integers(1, 4))):
        document = copy.deepcopy(documents[-1])
        for name in draw(st.sets(st.sampled_from(["services", "consumers", "routes"]), max_size=2)):
            listed = document[name]
            change = draw(st.sampled_from(["new", "remove", "turn", "all"]))
            if change == "new":
                listed.insert(
                    0, draw({"services": SERVICE, "consumers": CONSUMER, "routes": FLAT_ROUTE}[name])
                )
            elif change == "remove" and listed:
                listed.pop(draw(st.integers(0, len(listed) - 1)))
            elif change == "turn":
                listed.reverse()
            elif change == "all":
                document[name] = draw(DOCUMENT)[name]
        documents.append(document)
    return documents


@pytest.mark.usefixtures("_one_time", "_some_children")
@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(histories(), st.lists(st.sampled_from(FORMS), min_size=5, max_size=5) | st.sampled_from(FORMS))
def test_the_same_as_without_memory(history: list[dict[str, Any]], forms: Any) -> None:
    memory = LoadMemory()
    for number, document in enumerate(history):
        text = (forms[number] if isinstance(forms, list) else forms)(document)
        expected = outcome(text, None)
        assert outcome(text, memory) == expected
        assert outcome(text.encode(), memory) == expected


@pytest.mark.usefixtures("_one_time")
@pytest.mark.parametrize(("text", "step"), CASES)
def test_recorded_configurations(text: str, step: dict[str, Any]) -> None:
    memory = LoadMemory()
    for _ in range(2):
        assert outcome(text, memory) == outcome(text, None)


# --- texts that are cut ---------------------------------------------------------------------------


def document(count: int = MANY, **first: Any) -> dict[str, Any]:
    """`count` services with a route each; `first` are fields of the first one."""
    services = [
        {"name": f"s{n}", "host": f"h{n}.test", "routes": [{"name": f"r{n}", "paths": [f"/{n}"]}]}
        for n in range(count)
    ]
    services[0].update(first)
    return {"_format_version": "3.0", "services": services}


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is read of texts: "all" or "element"."""
    found: list[str] = []

    def noting(what: str, function: Any) -> Any:
        return lambda text: found.append(what) or function(text)

    for name in ("_read_json_piece", "_read_yaml_piece"):
        monkeypatch.setattr(pieces_module, name, noting("element", getattr(pieces_module, name)))
    monkeypatch.setattr(declarative_module, "read_document", noting("all", read_document))
    return found


@pytest.mark.parametrize("form", FORMS)
def test_only_what_is_new_is_read(form: Any, reads: list[str]) -> None:
    memory = LoadMemory()
    for next_document, expected in (
        (document(), ["all"]),
        (document(), []),
        (document(retries=7), ["element"]),
        (document(retries=7), []),
        (document(count=3), ["element"]),
        (document(), ["all"]),  # what was left out is forgotten
    ):
        load_declarative(form(next_document), memory=memory)
        assert reads == expected
        reads.clear()


@pytest.mark.parametrize("form", FORMS)
def test_many_nested_ones_are_known_one_by_one(form: Any) -> None:
    def one_service(tag: str) -> str:
        routes = [
            {"name": f"r{n}", "paths": [f"/{n}"], "tags": [tag if n == 7 else "x"]} for n in range(MANY)
        ]
        services = [{"name": f"other{n}", "host": "h"} for n in range(3)]
        return form(
            {
                "_format_version": "3.0",
                "services": [*services, {"name": "s", "host": "h", "tags": [tag], "routes": routes}],
            }
        )

    memory = LoadMemory()
    before = load_declarative(one_service("a"), memory=memory)
    for tag in ("b", "c"):
        after = load_declarative(one_service(tag), memory=memory)
        kept = [one for one in after.of("routes").values() if before.of("routes").get(one.id) is one]
        assert len(kept) == MANY - 1
        before = after


TRICKY = [
    # lines that look like the beginning of an element or of a key
    'services:\n- name: a\n  host: h\n  tags: ["x\n\n- name: b", y]\n- name: c\n  host: h\n',
    'services:\n- name: a\n  host: h\n  _comment: "x\nroutes:\n- paths: [/a]"\n',
    "services:\n- name: a\n  host: h\n  _comment: |\n    - name: b\n      host: h\n\n- name: c\n  host: h\n",
    "services:\n- name: a\n  host: h\n  _comment: |+\n    x\n\n\n# y\n- name: c\n  host: h\n",
    "services:\n  - name: a\n    host: h\n    routes:\n    - paths:\n      - /a\n  - name: b\n    host: h\n",
    "services:\n-\n  name: a\n  host: h\n-   name: b\n    host: h\n",
    "services: # x\n# y\n\n- name: a\n  host: h\n",
    "services:\n",
    "services:\nconsumers:\n- username: a\n",
    "services: []\n",
    "services: {}\n",
    "services:\n  name: a\n",
    "services:\n- - a\n",
    "services:\n- a\n",
    "services:\n-\n",
    "services:\n- {name: a, host: h}\n- {name: b,\n host: h}\n",
    # what stands for something else
    "services:\n- &a\n  name: a\n  host: h\n- <<: *a\n  name: b\n",
    "services:\n- name: a\n  host: &h h\n- name: b\n  host: *h\n",
    "services:\n- !!map\n  name: a\n  host: h\n",
    "services: &x\n- name: a\n  host: h\n",
    # other beginnings, ends and breaks of lines
    "%YAML 1.1\n---\nservices:\n- name: a\n  host: h\n",
    "---\nservices:\n- name: a\n  host: h\n...\n",
    "services:\n- name: a\n  host: h\n---\nservices: []\n",
    "services:\n- name: a\r  host: h\n",
    'services:\n- name: a\n  host: h\n  tags: ["x\u2028- y"]\n',
    "\ufeffservices:\n- name: a\n  host: h\n",
    "services:\n- name: a\n  host: h\n\t\n",
    "  services:\n  - name: a\n    host: h\n",
    "services:\n- name: a\n  host: h\nservices:\n- name: b\n  host: h\n",
    '"services":\n- name: a\n  host: h\n',
    "? services\n: - name: a\n    host: h\n",
    "services:\n- name: a\n  host: h\n # x\n- name: b\n  host: h",
    "services:\n- name: a\n  host: h\n -  name: b\n",
    "services:\n  - name: a\n    host: h\n- name: b\n  host: h\n",
]


@pytest.mark.usefixtures("_one_time")
@pytest.mark.parametrize("body", TRICKY)
def test_tricky_yaml(body: str) -> None:
    head, changed = '_format_version: "3.0"\n', "upstreams:\n- name: u\n"
    texts = [
        head + body,
        body + head,
        head + body + changed,
        head + body.replace("host: h\n", "host: i\n", 1),
    ]
    memory = LoadMemory()
    for text in (*texts, *texts):
        assert outcome(text, memory) == outcome(text, None)


@pytest.mark.parametrize("body", TRICKY)
def test_pieces_are_elements(body: str) -> None:
    text = '_format_version: "3.0"\n' + body
    cut = split_text(text)
    try:
        whole = read_document(text)
    except ValueError:
        return
    if cut is None or not cut.fits(whole):
        return
    for name, elements in cut.elements.items():
        assert [cut.read(piece) for piece in elements] == list(whole.value[name] or ())


@pytest.mark.usefixtures("_one_time")
@pytest.mark.parametrize(
    "text",
    [
        '{"_format_version": "3.0", "services": [{"name": "a", "host": "h"}], "services": []}',
        '{"services": [{"name": "a", "host": "h", "host": "i"}], "_format_version": "3.0"}',
        '{"_format_version": "3.0", "s\\u0065rvices": [{"name": "a", "host": "h"}]}',
        '{"_format_version": "3.0", "services": {}, "routes": null}',
        '{"_format_version": "3.0", "services": {"name": "a"}}',
        '{"_format_version": "3.0", "services": [null, 1, {"name": "a", "host": "h"}]}',
        '{"_format_version": "3.0", "services": [{"name": "a", "host": "\\ud800"}]}',
        '{"_format_version": "3.0", "services": [{"name": "a", "host": "h", "retries": NaN}]}',
        '{"_format_version": "3.0", "services": [{"name": "a", "host": "h", "retries": 1e400}]}',
        '{"_format_version": "3.0", "services": [{"name": "a", "host": "h",}]}',
        '{"_format_version": "3.0", "services": [{"name": "a", "host": "h"}]} x',
        '{"_format_version": "3.0", "other": [], "services": [{"name": "a", "host": "h"}]}',
        '{"_format_version": 3.0, "_comment": 1, "services": [{"name": "a", "host": "h"}]}',
        "{}",
        "[]",
        " {",
        '{"_format_version": "3.0", "services": [' + "[" * 62 + "]" * 62 + "]}",
        '{"_format_version": "3.0", "services": [{"a": ' + "[" * 61 + "]" * 61 + "}]}",
        '{"_format_version": "3.0", "services": [{"a": ' + "[" * 62 + "]" * 62 + "}]}",
    ],
)
def test_tricky_json(text: str) -> None:
    memory = LoadMemory()
    known = '{"_format_version": "3.0", "services": [{"name": "a", "host": "h"}, {"name": "b", "host": "h"}]}'
    outcome(known, memory)
    for _ in range(2):
        assert outcome(text, memory) == outcome(text, None)


@pytest.mark.usefixtures("_one_time")
@pytest.mark.parametrize("form", FORMS[:3])
def test_depth_counts_from_the_top(form: Any) -> None:
    def deep(levels: int) -> str:
        value: Any = {}
        for _ in range(levels):
            value = {"a": value}
        return form(document(_ignore=[value]))

    memory = LoadMemory()
    load_declarative(form(document()), memory=memory)
    refused = []
    for levels in range(58, 64):
        expected = outcome(deep(levels), None)
        assert outcome(deep(levels), memory) == expected
        refused.append(isinstance(expected[0], list))
    assert refused == sorted(refused)
    assert set(refused) == {False, True}


def test_an_alias_is_never_taken_for_what_it_was() -> None:
    memory = LoadMemory()
    others = "".join(f"- name: s{n}\n  host: h\n" for n in range(5))
    for host in ("one.test", "two.test"):
        text = f"services:\n- name: a\n  host: &h {host}\n- name: b\n  host: *h\n{others}"
        configuration = load_declarative('_format_version: "3.0"\n' + text, memory=memory)
        assert configuration.find("services", "b").host == host  # type: ignore[union-attr]


# --- what is kept ---------------------------------------------------------------------------------


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_700_000_000.0]
    monkeypatch.setattr(time, "time", lambda: now[0])
    return now


def services(configuration: Configuration) -> list[Any]:
    return list(configuration.of("services").values())


def test_what_has_not_changed_keeps_its_times(clock: list[float]) -> None:
    memory = LoadMemory()
    before = load_declarative(json.dumps(document()), memory=memory)
    clock[0] += 100
    after = load_declarative(json.dumps(document(retries=7)), memory=memory)
    assert services(after)[0].created_at == services(before)[0].created_at + 100
    assert services(after)[1:] == services(before)[1:]
    assert all(one is other for one, other in zip(services(after)[1:], services(before)[1:], strict=True))


def test_generated_keys_and_hashed_secrets_are_kept() -> None:
    consumers = [
        {"username": "c", "keyauth_credentials": [{}]},
        {"username": "d", "basicauth_credentials": [{"username": "u", "password": "p"}]},
    ]
    memory = LoadMemory()
    first, second = (
        load_declarative(json.dumps({**document(retries=n), "consumers": consumers}), memory=memory)
        for n in (1, 2)
    )
    for type_name in ("keyauth_credentials", "basicauth_credentials"):
        assert first.of(type_name) == second.of(type_name) != {}


def test_a_bad_text_is_not_remembered() -> None:
    memory = LoadMemory()
    good = json.dumps(document())
    bad = json.dumps(document(host="not a host"))
    before = load_declarative(good, memory=memory)
    with pytest.raises(DeclarativeError):
        load_declarative(bad, memory=memory)
    assert services(load_declarative(good, memory=memory))[0] is services(before)[0]


# --- JSON bodies ----------------------------------------------------------------------------------


def json_outcome(text: str, memory: LoadMemory) -> tuple[Any, ...]:
    how: Any = {"left_out": frozenset(["check_hash"]), "source": "body", "memory": memory}
    parsed = parse_known_json(text.encode(), **how)
    if parsed is None:
        parsed = parse_declarative_json(text.encode(), orjson.loads(text), **how)
    return parsed.configuration.hash, parsed.configuration.to_kong()


@pytest.mark.usefixtures("_one_time")
def test_of_repeated_keys_in_a_body_the_last_counts() -> None:
    """As in Kong; a file with them is refused, be the element known from a body or not."""
    memory = LoadMemory()
    text = '{"_format_version": "3.0", "services": [{"name": "a", "host": "h", "host": "i"}]}'
    assert json_outcome(text, memory) == json_outcome(text, memory) == json_outcome(text, LoadMemory())
    (loaded,) = json_outcome(text, memory)[1]["services"].values()
    assert loaded["host"] == "i"
    with pytest.raises(DeclarativeError, match="duplicate key 'host'"):
        load_declarative(text, memory=memory)
    twice = text.replace('"services"', '"services": [], "services"')
    assert json_outcome(twice, memory)[1]["services"]


def test_a_body_after_a_file(reads: list[str]) -> None:
    """A body may use what is known from a file, which is the stricter of the two."""
    memory = LoadMemory()
    text = json.dumps(document())
    load_declarative(text, memory=memory)
    assert reads == ["all"]
    how: Any = {"left_out": frozenset(), "source": "body", "memory": memory}
    assert parse_known_json(text.encode(), **how) is not None
    load_declarative(text, memory=memory)
    assert reads == ["all"] * 2
    assert parse_known_json(text.encode(), **how) is not None


def test_options_are_no_part_of_the_hash() -> None:
    text = '{"_format_version": "3.0", "services": [{"name": "a", "host": "h"}]}'
    with_option = text.replace("{", '{"check_hash": 1, ', 1)
    for memory in (LoadMemory(), None):
        first = json_outcome(text, memory or LoadMemory())[0]
        assert json_outcome(with_option, memory or LoadMemory())[0] == first
    assert json_outcome(text.replace('"h"', '"i"'), LoadMemory())[0] != first
