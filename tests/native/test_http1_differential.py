"""The parser against llhttp and h11, and against itself with the input in pieces.

The corpus and the makers of messages are those of the fuzzer, tests/fuzz.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native.http1 import decode_chunked, parse_request, parse_response

FUZZ = Path(__file__).resolve().parents[1] / "fuzz"
sys.path.append(str(FUZZ))

import http1_messages as messages  # noqa: E402
import http1_oracles as oracles  # noqa: E402

CHECKS = {
    "request": (parse_request, oracles.check_request, messages.make_request),
    "response": (parse_response, oracles.check_response, messages.make_response),
    "chunked": (decode_chunked, oracles.check_chunked, messages.make_chunked),
}


def corpus(kind: str) -> list[bytes]:
    return [path.read_bytes() for path in sorted((FUZZ / "corpus" / kind).iterdir())]


def assert_same_in_pieces(parse: Callable, data: bytes) -> None:
    """The answer may not depend on the splits: in two at every boundary, and byte by byte."""
    at_once = parse(data)
    assert parse(data, [1] * len(data)) == at_once
    for cut in range(1, len(data)):
        assert parse(data, [cut]) == at_once, (data, cut)


@pytest.mark.parametrize("kind", CHECKS)
def test_corpus_at_every_byte_boundary(kind: str) -> None:
    for data in corpus(kind):
        assert_same_in_pieces(CHECKS[kind][0], data if len(data) < 1000 else data[:400])


@pytest.mark.parametrize("kind", CHECKS)
def test_made_messages_at_every_byte_boundary(kind: str) -> None:
    parse, _, make = CHECKS[kind]
    random = Random(1)
    for _ in range(60):
        assert_same_in_pieces(parse, make(random, 0.05)[:600])


@pytest.mark.parametrize("kind", CHECKS)
def test_corpus_against_llhttp_and_h11(kind: str) -> None:
    for data in corpus(kind):
        assert CHECKS[kind][1](data) is None


@pytest.mark.parametrize("error_rate", [0.0, 0.03, 0.2])
@pytest.mark.parametrize("kind", CHECKS)
def test_made_messages_against_llhttp_and_h11(kind: str, error_rate: float) -> None:
    parse, check, make = CHECKS[kind]
    random = Random(2)
    accepted = 0
    for _ in range(1000):
        data = make(random, error_rate)
        complaint = check(data)
        assert complaint is None, data
        result = parse(data)
        accepted += isinstance(result, dict) or (isinstance(result, tuple) and result[0] == 1)
    # Refusing everything would pass too. (Messages without errors may still be HTTP/1.0 with chunked coding.)
    if error_rate == 0.0:
        assert accepted > 900
    else:
        assert 100 < accepted < 1000


@pytest.mark.parametrize("kind", CHECKS)
def test_mutations_against_llhttp_and_h11(kind: str) -> None:
    _, check, make = CHECKS[kind]
    random = Random(3)
    seeds = corpus(kind)
    for _ in range(1000):
        data = messages.mutate(random, random.choice([make(random, 0.0), random.choice(seeds)]), seeds)
        assert check(data) is None, data


FIELD_TEXT = st.lists(st.sampled_from(b'abcXYZ019 \t:,;-_="\r\n\x00\x7f\xe9'), max_size=12).map(bytes)
NAME = st.one_of(
    st.sampled_from(
        [b"Host", b"Content-Length", b"Transfer-Encoding", b"Connection", b"Upgrade", b"TE", b"Expect", b"X"]
    ),
    FIELD_TEXT,
)
VALUE = st.one_of(
    st.sampled_from([b"a", b"a:80", b"5", b"05", b"chunked", b"gzip", b"close", b"x, keep-alive"]),
    FIELD_TEXT,
)
TARGET = st.one_of(
    st.sampled_from([b"/", b"/a?b", b"http://a/", b"http://a:80", b"*"]),
    FIELD_TEXT.map(lambda text: b"/" + text),
)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    method = draw(st.sampled_from([b"GET", b"POST", b"OPTIONS", b"X-Y"]))
    version = draw(st.sampled_from([b"HTTP/1.1", b"HTTP/1.0"]))
    fields = draw(st.lists(st.tuples(NAME, VALUE), max_size=5))
    if draw(st.integers(0, 9)):
        fields.append((b"Host", b"a"))
    separator = st.sampled_from([b": ", b":", b":\t", b" :"])
    lines = [name + draw(separator) + value for name, value in fields]
    return b"\r\n".join([method + b" " + draw(TARGET) + b" " + version, *lines]) + b"\r\n\r\n"


@st.composite
def responses(draw: st.DrawFn) -> bytes:
    status = draw(st.sampled_from([b"200 OK", b"404", b"304 ", b"101 a", b"99 a", b"204 \xe9"]))
    lines = [name + b": " + value for name, value in draw(st.lists(st.tuples(NAME, VALUE), max_size=5))]
    return b"\r\n".join([draw(st.sampled_from([b"HTTP/1.1 ", b"HTTP/1.0 "])) + status, *lines]) + b"\r\n\r\n"


@settings(max_examples=150)
@given(requests())
def test_any_request(data: bytes) -> None:
    assert oracles.check_request(data) is None
    assert_same_in_pieces(parse_request, data)


@settings(max_examples=150)
@given(responses())
def test_any_response(data: bytes) -> None:
    assert oracles.check_response(data) is None
    assert_same_in_pieces(parse_response, data)


@settings(max_examples=200)
@given(
    st.sampled_from([b"", b"GET / HTTP/1.1\r\n", b"HTTP/1.1 200 OK\r\n", b"1\r\na\r\n"]),
    st.binary(max_size=80),
)
def test_any_bytes(start: bytes, data: bytes) -> None:
    for kind, (parse, check, _) in CHECKS.items():
        assert check(start + data) is None, kind
        assert_same_in_pieces(parse, start + data)
