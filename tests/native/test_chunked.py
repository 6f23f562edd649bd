"""Chunked transfer coding (native/http1, chunk_decode)."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native.http1 import ChunkResult, decode_chunked

DONE, MORE, ERROR = ChunkResult.CHUNK_DONE, ChunkResult.CHUNK_MORE, ChunkResult.CHUNK_ERROR


@pytest.mark.parametrize(
    ("coded", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"5\r\nhello\r\n0\r\n\r\n", b"hello"),
        (b"5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n", b"hello world"),
        (b"A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", b"0123456789" * 2),
        (b"0000000000000001\r\na\r\n0000000000000000\r\n\r\n", b"a"),
        (b"4\r\n\r\n\r\n\r\n0\r\n\r\n", b"\r\n\r\n"),
        (b"1\r\na\r\n0\r\nX-Sum: 1\r\nY:\r\nZ:\t\xff \r\n\r\n", b"a"),
        (b"0\r\nContent-Length: 5\r\nTransfer-Encoding: gzip\r\nHost: a\r\n\r\n", b""),
        (b"0\r\nX: " + b"a" * (8192 - 7) + b"\r\n\r\n", b""),
    ],
)  # fmt: skip
def test_bodies(coded: bytes, body: bytes) -> None:
    assert decode_chunked(coded) == (DONE, body, len(coded))
    assert decode_chunked(coded + b"GET / HTTP/1.1\r\n") == (DONE, body, len(coded))
    assert decode_chunked(coded, [1] * len(coded)) == (DONE, body, len(coded))


@pytest.mark.parametrize("cut", range(40))
def test_unfinished_body(cut: int) -> None:
    coded = b"5\r\nhello\r\n6\r\n world\r\n0\r\nX: y\r\n\r\n"
    result, body, consumed = decode_chunked(coded[:cut])
    assert (result, consumed) == (MORE if cut < len(coded) else DONE, min(cut, len(coded)))
    assert b"hello world".startswith(body)


@pytest.mark.parametrize(
    "coded",
    [
        b"\r\n", b"g\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\n", b"1 \r\na\r\n", b"1\t\r\na\r\n",
        b"1;a=b\r\na\r\n", b"1;\r\n", b"1\na\r\n", b"1\r\r\na", b"1\ra", b"1\r\nab", b"1\r\na\n",
        b"1\r\na\rb", b"1\r\na\r\n\r\n", b"1\r\na0\r\n\r\n", b"00000000000000001\r\n",
        b"10000000000000000\r\n", b"8000000000000000\r\n", b"ffffffffffffffff\r\n", b"\x00\r\n", b"0\r\n\n",
        b"0\r\n\ra", b"0\r\nX\r\n\r\n", b"0\r\nX : a\r\n\r\n", b"0\r\n: a\r\n", b"0\r\n X: a\r\n",
        b"0\r\nX: a\r\n b\r\n", b"0\r\nX: a\n", b"0\r\nX: a\rb", b"0\r\nX: \x00", b"0\r\nX\x80: a", b"0\n",
        b"0\r\nX: " + b"a" * 8190, b"0\r\n" + b"a" * 8193, b"0\r\n" + b"a:b\r\n" * 1639,
    ],
)  # fmt: skip
def test_refused(coded: bytes) -> None:
    assert decode_chunked(coded)[0] == ERROR
    assert decode_chunked(coded, [1] * len(coded))[0] == ERROR


def test_error_is_found_at_the_first_wrong_byte() -> None:
    assert decode_chunked(b"1\r\na\r\n1;") == (ERROR, b"a", 8)


def test_largest_size_is_taken_and_nothing_overflows() -> None:
    assert decode_chunked(b"7fffffffffffffff\r\nabc") == (MORE, b"abc", 21)


@st.composite
def coded_bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A body and one way to code it."""
    chunks = draw(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
    coded = b""
    for chunk in chunks:
        size = draw(st.sampled_from(["%x", "%X", "%03x", "%016x"])) % len(chunk)
        coded += size.encode() + b"\r\n" + chunk + b"\r\n"
    trailers = draw(st.lists(st.sampled_from([b"X: y\r\n", b"A-B:\tc\t\r\n", b"C:\r\n"]), max_size=3))
    return b"".join(chunks), coded + b"0\r\n" + b"".join(trailers) + b"\r\n"


@settings(max_examples=200)
@given(coded_bodies(), st.lists(st.integers(0, 30), max_size=30), st.binary(max_size=20))
def test_decoding_undoes_coding(coded: tuple[bytes, bytes], sizes: list[int], rest: bytes) -> None:
    body, text = coded
    assert decode_chunked(text + rest, sizes) == (DONE, body, len(text))


@settings(max_examples=200)
@given(st.binary(max_size=60), st.lists(st.integers(0, 10), max_size=20))
def test_garbage_gives_the_same_answer_at_any_splits(text: bytes, sizes: list[int]) -> None:
    assert decode_chunked(text, sizes) == decode_chunked(text)


@given(coded_bodies(), st.integers(0, 10_000), st.integers(0, 255))
def test_a_wrong_byte_never_decodes_to_a_longer_body(coded: tuple[bytes, bytes], at: int, byte: int) -> None:
    _, text = coded
    at %= len(text)
    changed = text[:at] + bytes([byte]) + text[at + 1 :]
    result, decoded, consumed = decode_chunked(changed, [1] * len(changed))
    assert len(decoded) <= consumed <= len(changed)
    assert (result, decoded, consumed) == decode_chunked(changed)
