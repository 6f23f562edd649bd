"""Response heads (native/http1)."""

import pytest
from native.headers import HeaderFlag, KnownHeader
from native.http1 import BodyKind, parse_response


def response(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bytes:
    return b"\r\n".join([start, *lines]) + b"\r\n\r\n"


def parsed(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> dict:
    head = parse_response(response(*lines, start=start))
    assert isinstance(head, dict), head
    return head


def refused(*lines: bytes, start: bytes = b"HTTP/1.1 200 OK") -> bool:
    result = parse_response(response(*lines, start=start))
    return isinstance(result, int) and result < 0


def test_whole_head() -> None:
    lines = [b"Server: x", b"Content-Length: 4", b"Connection: x-hop", b"X-Hop:  a "]
    data = response(*lines, start=b"HTTP/1.1 404 Not Found") + b"body"
    hop = HeaderFlag.HEADER_HOP_BY_HOP
    length = KnownHeader.HEADER_CONTENT_LENGTH
    assert parse_response(data) == {
        "parsed": len(data) - 4,
        "minor_version": 1,
        "status": 404,
        "reason": b"Not Found",
        "body_kind": BodyKind.BODY_LENGTH,
        "content_length": 4,
        "keep_alive": True,
        "upgrade": False,
        "headers": [
            {"name": b"Server", "value": b"x", "known": KnownHeader.HEADER_SERVER, "flags": 0},
            {"name": b"Content-Length", "value": b"4", "known": length, "flags": 0},
            {"name": b"Connection", "value": b"x-hop", "known": KnownHeader.HEADER_CONNECTION, "flags": hop},
            {"name": b"X-Hop", "value": b"a", "known": KnownHeader.HEADER_OTHER, "flags": hop},
        ],
    }


@pytest.mark.parametrize(
    ("line", "minor_version", "status", "reason"),
    [
        (b"HTTP/1.1 200 OK", 1, 200, b"OK"), (b"HTTP/1.0 200 OK", 0, 200, b"OK"),
        (b"HTTP/1.1 200 ", 1, 200, b""), (b"HTTP/1.1 200", 1, 200, b""),
        (b"HTTP/1.1 100 Continue", 1, 100, b"Continue"), (b"HTTP/1.1 599 x", 1, 599, b"x"),
        (b"HTTP/1.1 999 x", 1, 999, b"x"), (b"HTTP/1.1 200  a\t\xe9 ", 1, 200, b" a\t\xe9 "),
    ],
)  # fmt: skip
def test_status_lines(line: bytes, minor_version: int, status: int, reason: bytes) -> None:
    head = parsed(start=line)
    assert (head["minor_version"], head["status"], head["reason"]) == (minor_version, status, reason)


@pytest.mark.parametrize(
    "line",
    [
        b"", b" HTTP/1.1 200 OK", b"\r\nHTTP/1.1 200 OK", b"HTTP/1.1", b"HTTP/1.1 ", b"HTTP/1.1 20",
        b"HTTP/1.1 20 OK", b"HTTP/1.1 2000", b"HTTP/1.1 200OK", b"HTTP/1.1 200\tOK", b"HTTP/1.1  200 OK",
        b"HTTP/1.1\t200 OK", b"HTTP/1.1 2x0 OK", b"HTTP/1.1 099 x", b"HTTP/1.1 000 x", b"HTTP/1.1 -20 x",
        b"HTTP/1.2 200 OK", b"HTTP/2.0 200 OK", b"HTTP/2 200", b"HTTP/0.9 200 OK", b"http/1.1 200 OK",
        b"ICY 200 OK", b"HTTP/1.1 200 a\x00", b"HTTP/1.1 200 a\rb", b"HTTP/1.1 200 \x7f", b"HTTP/1.x 200 OK",
        b"HTTP/1.1 200 OK\r",
    ],
)  # fmt: skip
def test_bad_status_lines(line: bytes) -> None:
    assert refused(start=line)


@pytest.mark.parametrize("start", [b"S", b"\r", b"\n", b"HTTP/2", b"HTTX", b"<html>", b"h", b"\x15\x03"])
def test_impossible_first_bytes_are_refused_at_once(start: bytes) -> None:
    assert parse_response(start) == -400


@pytest.mark.parametrize("start", [b"", b"H", b"HTTP/1.", b"HTTP/1.1 200 OK", b"HTTP/1.1 200 OK\r\nA: b\r\n"])
def test_possible_starts_are_waited_for(start: bytes) -> None:
    assert parse_response(start) == 0


def test_limits() -> None:
    data = response(b"X: " + b"a" * 100, start=b"HTTP/1.1 200 " + b"r" * 50)
    assert isinstance(parse_response(data, max_line=63, max_head=len(data)), dict)
    assert parse_response(data, max_line=62) == -414
    assert parse_response(data[:70], max_line=50) == -414
    assert parse_response(data, max_head=len(data) - 1) == -431
    assert len(parsed(*[b"a: b"] * 256)["headers"]) == 256
    assert refused(*[b"a: b"] * 257)
    assert refused(b"Connection: " + b"a," * 65)


@pytest.mark.parametrize(
    ("lines", "start", "kind", "length"),
    [
        ([], b"HTTP/1.1 200 OK", BodyKind.BODY_UNTIL_CLOSE, None),
        ([], b"HTTP/1.0 200 OK", BodyKind.BODY_UNTIL_CLOSE, None),
        ([b"Content-Length: 0"], b"HTTP/1.1 200 OK", BodyKind.BODY_LENGTH, 0),
        ([b"content-length:\t7"], b"HTTP/1.0 200 OK", BodyKind.BODY_LENGTH, 7),
        ([b"Transfer-Encoding: Chunked"], b"HTTP/1.1 200 OK", BodyKind.BODY_CHUNKED, None),
        ([], b"HTTP/1.1 204 No Content", BodyKind.BODY_UNTIL_CLOSE, None),
    ],
)
def test_framing(lines: list[bytes], start: bytes, kind: BodyKind, length: int | None) -> None:
    head = parsed(*lines, start=start)
    assert (head["body_kind"], head["content_length"]) == (kind, length)


def test_unclear_framing_is_refused() -> None:
    chunked, length = b"Transfer-Encoding: chunked", b"Content-Length: 5"
    assert refused(length, length)
    assert refused(length, b"Content-Length: 6")
    assert refused(b"Content-Length: 5, 5")
    assert refused(b"Content-Length: -1")
    assert refused(b"Content-Length:")
    assert refused(length, chunked)
    assert refused(chunked, length)
    assert refused(chunked, chunked)
    assert refused(b"Transfer-Encoding: gzip, chunked")
    assert refused(b"Transfer-Encoding: identity")
    assert refused(b"Transfer-Encoding:")
    assert refused(chunked, start=b"HTTP/1.0 200 OK")


@pytest.mark.parametrize(
    "line", [b"X", b": a", b"X : a", b" X: a", b"X: \x00", b"X: a\rb", b"X: a\nb", b"X\x80: a", b"X: a\r\n b"]
)
def test_bad_field_lines(line: bytes) -> None:
    assert refused(line)
    assert refused(b"A: b", line)


def test_bare_line_feeds_are_refused() -> None:
    good = response(b"X: y")
    for at in (index for index in range(len(good)) if good[index : index + 2] == b"\r\n"):
        assert parse_response(good[:at] + good[at + 1 :]) == -400


@pytest.mark.parametrize(
    ("start", "lines", "keep_alive"),
    [
        (b"HTTP/1.1 200 OK", [], True),
        (b"HTTP/1.1 200 OK", [b"Connection: close"], False),
        (b"HTTP/1.0 200 OK", [], False),
        (b"HTTP/1.0 200 OK", [b"Connection: keep-alive"], True),
        (b"HTTP/1.0 200 OK", [b"Connection: keep-alive, close"], False),
    ],
)
def test_keep_alive(start: bytes, lines: list[bytes], keep_alive: bool) -> None:
    assert parsed(*lines, start=start)["keep_alive"] is keep_alive


def test_upgrade() -> None:
    start = b"HTTP/1.1 101 Switching Protocols"
    assert parsed(b"Connection: Upgrade", b"Upgrade: websocket", start=start)["upgrade"]
    assert not parsed(b"Upgrade: websocket", start=start)["upgrade"]
    assert not parsed(b"Connection: upgrade", start=start)["upgrade"]


def test_request_fields_mean_nothing_in_a_response() -> None:
    head = parsed(b"Host: a b", b"Host: c", b"Expect: 100-continue", b"TE: x")
    assert head["body_kind"] == BodyKind.BODY_UNTIL_CLOSE
