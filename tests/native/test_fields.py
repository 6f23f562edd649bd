"""Changing the fields of a head, against a model in plain Python."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from native.fields import edit_fields

NAMES = [b"X-A", b"x-a", b"X-B", b"Accept", b"Set-Cookie"]
FIELDS = st.tuples(st.sampled_from(NAMES), st.binary(max_size=6).filter(lambda value: is_value(value)))
EDITS = st.tuples(st.sampled_from(["add", "set", "remove"]), st.sampled_from(NAMES), st.binary(max_size=6))


def is_value(value: bytes) -> bool:
    return all((byte >= 32 and byte != 127) or byte == 9 for byte in value)


def model(
    received: list[tuple[bytes, bytes]], edits: list[tuple[str, bytes, bytes]]
) -> list[tuple[bytes, bytes]]:
    fields = list(received)
    for kind, name, value in edits:
        if kind != "add":
            fields = [field for field in fields if field[0].lower() != name.lower()]
        if kind != "remove" and is_value(value):
            fields.append((name, value))
    return fields


@given(st.lists(FIELDS, max_size=8), st.lists(EDITS, max_size=12))
def test_edits_do_what_the_model_does(
    received: list[tuple[bytes, bytes]], edits: list[tuple[str, bytes, bytes]]
) -> None:
    assert edit_fields(received, edits) == model(received, edits)


@pytest.mark.parametrize("value", [b"a\r\nX-Evil: 1", b"a\nb", b"a\0b", b"\x7f", b"\r"])
@pytest.mark.parametrize("kind", ["add", "set"])
def test_a_value_cannot_become_a_line(kind: str, value: bytes) -> None:
    assert edit_fields([], [(kind, b"X-A", value)]) == []


@pytest.mark.parametrize("name", [b"", b"X A", b"X:A", b"X\r\nY", "X-Ä".encode()])
def test_a_name_is_a_token(name: bytes) -> None:
    assert edit_fields([], [("add", name, b"1")]) == []


@pytest.mark.parametrize(
    "name",
    [b"Content-Length", b"transfer-encoding", b"Connection", b"Host", b"X-Forwarded-For", b"Via", b"TE"],
)
def test_what_frames_a_message_stays(name: bytes) -> None:
    received = [(name, b"5")]
    assert (
        edit_fields(received, [("remove", name, b""), ("set", name, b"6"), ("add", name, b"7")]) == received
    )


@given(st.binary(max_size=40).filter(lambda value: value == value.strip(b" \t")))
@example(b"\x7f" * 8)
@example(b"12345678\x1f2345678")
@example(b"\xff\x80\x20~aaa\t")
def test_values_have_no_control_characters(value: bytes) -> None:
    """Whatever their length: they are looked at in words of eight bytes."""
    is_sound = all((byte >= 32 and byte != 127) or byte == 9 for byte in value)
    assert edit_fields([], [("add", b"X-A", value)]) == ([(b"X-A", value)] if is_sound else [])


def test_there_is_a_limit() -> None:
    edits = [("add", b"X-A", b"%d" % number) for number in range(100)]
    assert edit_fields([], edits) == [(b"X-A", b"%d" % number) for number in range(64)]


def test_long_values_move_to_larger_memory() -> None:
    edits = [("add", b"X-A", bytes([97 + number]) * 5000) for number in range(12)]
    assert edit_fields([], edits) == [(name, value) for _, name, value in edits]
