"""Changing bodies by name, and the handlers that do it on the plugin thread."""

from __future__ import annotations

import json
import struct
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.plugins import find_plugin
from gateway.plugins._transform_bodies import (
    BodyChanges,
    change_form,
    change_json,
    change_multipart,
    json_text,
)
from gateway.plugins._transform_handler import RequestBodies, ResponseBodies, typed_value

CHANGES = BodyChanges(
    remove=["rm"],
    rename=[("old", b"new")],
    replace=[("rep", b"n")],
    add=[("add", b"1"), ("have", b"2")],
    append=[("app", b"3")],
)
JSON_CHANGES = CHANGES.with_values(json_text)


# --- JSON ----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (
            b'{"rm":1,"old":"o","rep":5,"have":true,"app":"0","k":[1]}',
            b'{"new":"o","rep":"n","have":true,"app":["0","3"],"k":[1],"add":"1"}',
        ),
        (b"{}", b'{"add":"1","have":"2","app":["3"]}'),
        (b"", b'{"add":"1","have":"2","app":["3"]}'),
        (b"[1, 2]", b"[1,2]"),
        (b' { "k" : [ 1 , { "a" : 2 } ] } ', b'{"k":[1,{"a":2}],"add":"1","have":"2","app":["3"]}'),
        (b'{"app":[1, 2]}', b'{"app":[1,2,"3"],"add":"1","have":"2"}'),
        (b'{"app":{"x":1}}', b'{"app":[{"x":1},"3"],"add":"1","have":"2"}'),
        (b'{"app":7}', b'{"app":["3"],"add":"1","have":"2"}'),
        (b'{"old":1,"new":2}', b'{"new":1,"add":"1","have":"2","app":["3"]}'),
    ],
)
def test_json(body: bytes, changed: bytes) -> None:
    assert change_json(body, JSON_CHANGES) == changed


@pytest.mark.parametrize(
    "body", [b"{bad", b"5", b'"text"', b"null", b"[1", b"{} {}", b"\xff", b'{"a":}', b"  "]
)
def test_what_is_no_json_object_stays(body: bytes) -> None:
    assert change_json(body, JSON_CHANGES) is None


def test_deep_nesting_is_no_way_to_break_it() -> None:
    for body in (b"[" * 200_000, b'{"a":' * 200_000, b'{"a":' + b"[" * 5000 + b"]" * 5000 + b"}"):
        change_json(body, JSON_CHANGES)


def test_numbers_keep_their_digits() -> None:
    body = b'{"long":12345678901234567890123,"exact":1.10,"app":[0.10]}'
    assert change_json(body, BodyChanges(append=[("app", b'"x"')])) == (
        b'{"long":12345678901234567890123,"exact":1.10,"app":[0.10,"x"]}'
    )


def test_nothing_to_change_is_nothing_done() -> None:
    assert change_json(b'{"a": 1}', BodyChanges(add=[("a", b"2")], replace=[("b", b"2")])) is None
    assert change_json(b'{"a": 1}', BodyChanges(add=[("a", b"2")]), rewrite=True) == b'{"a":1}'


@given(
    st.dictionaries(st.text(max_size=4), st.integers() | st.text(max_size=4) | st.none(), max_size=5),
    st.text(max_size=5),
)
def test_values_come_through_as_they_were(members: dict[str, Any], text: str) -> None:
    changes = BodyChanges(remove=["gone"], add=[("added", text.encode(errors="replace"))]).with_values(
        json_text
    )
    members.pop("added", None)
    changed = change_json(json.dumps(members).encode(), changes)
    assert changed is not None
    expected = {name: value for name, value in members.items() if name != "gone"}
    assert json.loads(changed) == {**expected, "added": text.encode(errors="replace").decode()}


# --- forms ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("body", "changed"),
    [
        (b"rm=1&old=o&rep=x&have=h&app=0", b"new=o&rep=n&have=h&app=0&add=1&app=3"),
        (b"", b"add=1&have=2&app=3"),
        (b"rm&a+b=%20%zz&app", b"a%20b=%20%25zz&add=1&have=2&app=3"),
        (b"rep=1&rep=2&k", b"rep=n&k&add=1&have=2&app=3"),
        (b"old=1&new=2&old=3", b"new=1&new=3&add=1&have=2&app=3"),
    ],
)
def test_form(body: bytes, changed: bytes) -> None:
    assert change_form(body, CHANGES) == changed


@given(st.binary(max_size=60))
def test_any_form_is_written_so_that_it_means_the_same(body: bytes) -> None:
    once = change_form(body, BodyChanges(remove=["x"], rename=[("y", b"z")]))
    assert once is None or change_form(once, BodyChanges(remove=["x"])) == once or not once


# --- multipart -----------------------------------------------------------------------------------------
TYPE = b'multipart/form-data; boundary="frontier"'
MULTIPART = (
    b'--frontier\r\nContent-Disposition: form-data; name="rm"\r\n\r\n1\r\n'
    b'--frontier\r\nContent-Disposition: form-data; name="old"; filename="a.txt"\r\n'
    b'Content-Type: text/plain\r\n\r\nname="old"\r\n\xff\r\n'
    b"--frontier\r\nContent-Disposition: form-data; name=rep\r\n\r\nx\r\n"
    b'--frontier\r\nContent-Disposition: form-data; name="have"\r\n\r\nh\r\n'
    b"--frontier--\r\n"
)


def test_multipart() -> None:
    changed = change_multipart(MULTIPART, TYPE, CHANGES)
    assert changed == (
        b'--frontier\r\nContent-Disposition: form-data; name="new"; filename="a.txt"\r\n'
        b'Content-Type: text/plain\r\n\r\nname="old"\r\n\xff\r\n'
        b'--frontier\r\nContent-Disposition: form-data; name="have"\r\n\r\nh\r\n'
        b'--frontier\r\nContent-Disposition: form-data; name="rep"\r\n\r\nn\r\n'
        b'--frontier\r\nContent-Disposition: form-data; name="add"\r\n\r\n1\r\n'
        b"--frontier--\r\n"
    )


def test_an_empty_multipart_body_gets_parts() -> None:
    changed = change_multipart(b"", b"multipart/form-data; boundary=b", BodyChanges(add=[("a", b"1")]))
    assert changed == b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\n'


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (MULTIPART, b"multipart/form-data"),
        (MULTIPART, b"multipart/form-data; boundary=another"),
        (MULTIPART[:-14], TYPE),
        (b"text", TYPE),
        (b"--frontierX\r\n\r\n--frontier--", TYPE),
    ],
)
def test_what_is_not_multipart_stays(body: bytes, content_type: bytes) -> None:
    assert change_multipart(body, content_type, CHANGES) is None


def test_no_value_makes_a_part_of_its_own() -> None:
    changes = BodyChanges(
        add=[("a", b'1\r\n--frontier\r\nContent-Disposition: form-data; name="b"\r\n\r\n2')]
    )
    with pytest.raises(ValueError, match="boundary"):
        change_multipart(MULTIPART, TYPE, changes)


@given(st.binary(max_size=80))
def test_any_body_as_multipart_is_changed_or_left(body: bytes) -> None:
    change_multipart(b"--frontier" + body, TYPE, CHANGES)


# --- types of values -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("text", "kind", "value"),
    [
        ("5", "number", b"5"),
        ("5.5", "number", b"5.5"),
        (" -1e2 ", "number", b"-100"),
        ("five", "number", None),
        ("nan", "number", None),
        ("1_0", "number", None),
        ("1e999", "number", None),
        ("", "number", None),
        ("true", "boolean", b"true"),
        ("True", "boolean", b"false"),
        ("5", "string", b'"5"'),
        ('say "hi"/\n', "string", b'"say \\"hi\\"/\\n"'),
    ],
)
def test_typed_values(text: str, kind: str, value: bytes | None) -> None:
    assert typed_value(text, kind) == value


# --- handlers ------------------------------------------------------------------------------------------
def configured(name: str, **fields: dict[str, list[str]]) -> dict[str, Any]:
    """A configuration with its defaults, as it stands in a snapshot."""
    definition = find_plugin(name)
    assert definition is not None
    empty = {"json": [], "json_types": [], "headers": [], "body": [], "querystring": []}
    return {
        change: {**empty, **fields.get(change, {})}
        for change in ("remove", "rename", "replace", "add", "append")
    }


def job(config: dict[str, Any], payload: bytes) -> Any:
    return SimpleNamespace(config=config, payload=payload, plugin_id="p", plugin_name="", verb=0)


def with_length(text: bytes) -> bytes:
    return struct.pack("<I", len(text)) + text


def test_request_handler_takes_values_from_the_step() -> None:
    config = configured(
        "request-transformer",
        remove={"body": ["rm"]},
        add={"body": ["a:$(headers.x)"]},
        append={"body": ["b:2"]},
    )
    handler = RequestBodies(None)  # type: ignore[arg-type]
    payload = with_length(b"Application/JSON") + with_length(b'"x"') + with_length(b"2") + b'{"rm":1}'
    assert handler.handle(job(config, payload)) == b'\x01{"a":"\\"x\\"","b":["2"]}'
    payload = (
        with_length(b"application/x-www-form-urlencoded") + with_length(b"x y") + with_length(b"2") + b"rm=1"
    )
    assert handler.handle(job(config, payload)) == b"\x01a=x%20y&b=2"
    payload = with_length(b"application/json") + with_length(b"x") + with_length(b"2") + b"{bad"
    assert handler.handle(job(config, payload)) == b""


def test_response_handler() -> None:
    config = configured(
        "response-transformer",
        rename={"json": ["old:new"]},
        add={
            "json": ["n:5", "b:true", "s:5", "bad:x"],
            "json_types": ["number", "boolean", "string", "number"],
        },
    )
    handler = ResponseBodies(None)  # type: ignore[arg-type]
    for _ in range(2):
        assert handler.handle(job(config, b'{"old": 1}')) == b'\x01{"new":1,"n":5,"b":true,"s":"5"}'
    assert handler.handle(job(config, b"[ ]")) == b"\x01[]"
    assert handler.handle(job(config, b"")) == b""
    assert handler.handle(job(configured("response-transformer"), b'{"old": 1}')) == b'\x01{"old":1}'
