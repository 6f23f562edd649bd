"""Texts of requests as JSON, whatever their bytes."""

from __future__ import annotations

import json

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from native.request_echo import json_string


@given(st.text(max_size=80))
def test_utf8_comes_back(text: str) -> None:
    assert json.loads(json_string(text.encode())) == text


@settings(max_examples=300)
@given(
    st.binary(max_size=40)
    | st.lists(st.sampled_from([b"\xf0\x9f", b"\x98\x80", b"\xed\xa0\x80", b"a", b"\xc3"])).map(b"".join)
)
@example(b"\xf0\x9f\x98")
@example(b"\xf4\x90\x80\x80")
def test_any_bytes_are_json(data: bytes) -> None:
    """What is UTF-8 stays, each other byte becomes U+FFFD."""
    shown = json.loads(json_string(data).decode())
    assert len(shown.encode()) >= len(data)
    for piece in data.decode("utf-8", "replace").split("\ufffd"):
        assert piece in shown


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b'"\\', b'"\\"\\\\"'),
        (b"\0\n\x7f", b'"\\u0000\\u000a\\u007f"'),
        (b"\xff\xe2\x82", '"\ufffd\ufffd\ufffd"'.encode()),
    ],
)
def test_escapes(data: bytes, shown: bytes) -> None:
    assert json_string(data) == shown
