"""Responses as upstreams send them: without a body, interim, HTTP/1.0, in any pieces, with garbage behind."""

from __future__ import annotations

import threading

import pytest

from tests.integration.conftest import StartUpstream
from tests.support.client import Client, chunked
from tests.support.gateway import Gateway
from tests.support.upstreams import Connection, response, serve_raw

OK = b"HTTP/1.1 200 OK\r\n"


@pytest.fixture
def client(shared_gateway: Gateway) -> Client:
    return Client(shared_gateway.proxy_port)


# --- without a body ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("framing", "length"),
    [
        (b"Content-Length: 12345\r\n", "12345"),
        (b"Content-Length: 0\r\n", "0"),
        (b"Transfer-Encoding: chunked\r\n", None),
        (b"", None),
    ],
)
def test_head(upstream: StartUpstream, client: Client, framing: bytes, length: str | None) -> None:
    behind = upstream(serve_raw(OK + framing + b"\r\n"))
    for _ in range(3):
        answer = client.request(method="HEAD").response("HEAD")
        assert answer.status == 200
        assert answer.get("content-length") == length
    client.expect_open()
    assert behind.connections == 1


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
@pytest.mark.parametrize("framing", [b"", b"Content-Length: 0\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_no_body_by_status(upstream: StartUpstream, client: Client, status: bytes, framing: bytes) -> None:
    behind = upstream(serve_raw(b"HTTP/1.1 " + status + b"\r\nETag: x\r\n" + framing + b"\r\n"))
    for _ in range(3):
        answer = client.request().response()
        assert answer.status == int(status[:3])
        assert answer.get("etag") == "x"
    client.expect_open()
    assert behind.connections == 1


def test_304_keeps_its_length(upstream: StartUpstream, client: Client) -> None:
    upstream(serve_raw(b"HTTP/1.1 304 Not Modified\r\nContent-Length: 500\r\n\r\n"))
    assert client.request().response().get("content-length") == "500"
    assert client.request().response().status == 304


@pytest.mark.parametrize("method", ["HEAD", "GET"])
def test_body_where_none_may_be(upstream: StartUpstream, client: Client, method: str) -> None:
    """Bytes behind a HEAD or 204 response are no next response: the connection is not used again."""
    status = b"200 OK" if method == "HEAD" else b"204 No Content"
    behind = upstream(
        serve_raw(b"HTTP/1.1 " + status + b"\r\nContent-Length: 37\r\n\r\n" + response(b"")[:37])
    )
    for _ in range(3):
        answer = client.request(method=method).response(method)
        assert answer.status == int(status[:3])
        assert answer.body == b""
    client.expect_open()
    assert behind.connections == 3


def test_empty_response(upstream: StartUpstream, client: Client) -> None:
    upstream(serve_raw(OK + b"Content-Length: 0\r\n\r\n"))
    answer = client.request().response()
    assert answer.get("content-length") == "0"
    assert answer.body == b""


# --- interim responses -------------------------------------------------------------------------------------
HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nConnection: X-Hop\r\nX-Hop: 1\r\n\r\n"


def test_early_hints_are_passed_on_at_once(upstream: StartUpstream, client: Client) -> None:
    def hinting(connection: Connection) -> None:
        while connection.read_request()[0]:
            connection.send(HINTS)
            assert arrived.wait(10)
            connection.send(response(b"done"))

    arrived = threading.Event()
    upstream(hinting)
    hints = client.request().head()
    assert hints.status == 103
    assert hints.fields == [("link", "</a.css>; rel=preload")]
    arrived.set()
    assert client.response().body == b"done"
    answer = client.request().response()
    assert [one.status for one in answer.interim] == [103]


def test_no_interim_response_for_http10(upstream: StartUpstream, client: Client) -> None:
    upstream(serve_raw(HINTS + response(b"done")))
    answer = client.send(b"GET / HTTP/1.0\r\n\r\n").response(version=0)
    assert answer.interim == []
    assert answer.body == b"done"


def test_100_is_swallowed(upstream: StartUpstream, client: Client) -> None:
    upstream(serve_raw(b"HTTP/1.1 100 Continue\r\n\r\n" + response(b"done")))
    answer = client.request().response()
    assert answer.interim == []
    assert answer.body == b"done"


def test_several_interim_responses(upstream: StartUpstream, client: Client) -> None:
    upstream(serve_raw(HINTS + b"HTTP/1.1 102 Processing\r\n\r\n" + HINTS + response(b"done")))
    assert [one.status for one in client.request().response().interim] == [103, 102, 103]


@pytest.mark.parametrize("interim", [HINTS, b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_endless_interim_responses(upstream: StartUpstream, client: Client, interim: bytes) -> None:
    def endless(connection: Connection) -> None:
        connection.read_request()
        while True:
            connection.send(interim * 100)

    upstream(endless, retries=0)
    assert client.request().response().status == 502


# --- HTTP/1.0 upstreams ------------------------------------------------------------------------------------
def test_http10_upstream_until_close(upstream: StartUpstream, client: Client) -> None:
    behind = upstream(serve_raw(b"HTTP/1.0 200 OK\r\nX: 1\r\n\r\nhello", close=True))
    for _ in range(2):
        answer = client.request().response()
        assert answer.body == b"hello"
        assert answer.get("transfer-encoding") == "chunked"
    client.expect_open()
    assert behind.connections == 2


def test_http10_upstream_with_length(upstream: StartUpstream, client: Client) -> None:
    behind = upstream(serve_raw(b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\nhello", close=True))
    for _ in range(2):
        assert client.request().response().body == b"hello"
    assert behind.connections == 2


def test_http10_upstream_keep_alive(upstream: StartUpstream, client: Client) -> None:
    behind = upstream(
        serve_raw(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello")
    )
    for _ in range(3):
        assert client.request().response().body == b"hello"
    assert behind.connections == 1


def test_upstream_that_closes(upstream: StartUpstream, client: Client) -> None:
    behind = upstream(serve_raw(OK + b"Connection: close\r\nContent-Length: 5\r\n\r\nhello"))
    for _ in range(3):
        answer = client.request().response()
        assert answer.body == b"hello"
        assert answer.get("connection") == "keep-alive"
    assert behind.connections == 3


# --- pieces ------------------------------------------------------------------------------------------------
SHAPES = {
    "length": (OK + b"Content-Length: 11\r\nX-A: 1\r\n\r\nhello world", b"hello world"),
    "chunked": (OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"hello", b" world"), b"hello world"),
    "trailers": (
        OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"hello", trailers=b"X-T: 1\r\nX-U: 2\r\n"),
        b"hello",
    ),
    "interim": (HINTS + OK + b"Content-Length: 2\r\n\r\nok", b"ok"),
    "empty": (OK + b"Content-Length: 0\r\n\r\n", b""),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok", b"ok"),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_split_at_every_byte(upstream: StartUpstream, client: Client, shape: str) -> None:
    """Two packets, cut at each place in turn; and one packet for each byte."""
    data, body = SHAPES[shape]
    step = threading.Semaphore(0)

    def pieces(connection: Connection) -> None:
        cut = 0
        while connection.read_request()[0]:
            if cut == 0:
                for i in range(len(data)):
                    connection.send(data[i : i + 1])
            else:
                connection.send(data[:cut])
                step.acquire(timeout=0.001)
                connection.send(data[cut:])
            cut += 1

    behind = upstream(pieces)
    for _ in range(len(data)):
        answer = client.request().response()
        assert answer.status == 200
        assert answer.body == body
    assert behind.connections == 1


def test_reason_phrase_is_passed_on(upstream: StartUpstream, client: Client) -> None:
    upstream(serve_raw(b"HTTP/1.1 299 Quite \xe4 Reason\r\nContent-Length: 0\r\n\r\n"))
    answer = client.request().response()
    assert answer.status == 299
    assert answer.reason == b"Quite \xe4 Reason"


@pytest.mark.parametrize("status", [200, 206, 302, 400, 404, 418, 500, 502, 503, 504, 599])
def test_upstreams_own_status_passes_untouched(upstream: StartUpstream, client: Client, status: int) -> None:
    behind = upstream(serve_raw(response(b"theirs", f"{status} Theirs", b"X-Theirs: 1")))
    answer = client.request().response()
    assert answer.status == status
    assert answer.body == b"theirs"
    assert answer.get("x-theirs") == "1"
    assert len(behind.heads) == 1


# --- garbage behind a response -----------------------------------------------------------------------------
@pytest.mark.parametrize("framing", ["length", "chunked", "head", "204", "304"])
@pytest.mark.parametrize("late", [False, True])
def test_bytes_behind_a_response(upstream: StartUpstream, client: Client, framing: str, late: bool) -> None:
    """A second response nobody asked for is never given to anybody."""
    good = {
        "length": OK + b"Content-Length: 2\r\n\r\nok",
        "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(b"ok"),
        "head": OK + b"Content-Length: 2\r\n\r\n",
        "204": b"HTTP/1.1 204 No Content\r\n\r\n",
        "304": b"HTTP/1.1 304 Not Modified\r\n\r\n",
    }[framing]
    poison = response(b"poison", "299 Poison")

    def poisoning(connection: Connection) -> None:
        connection.read_request()
        connection.send(good if late else good + poison)
        if late:
            assert answered.acquire(timeout=10)
            try:
                connection.send(poison)
            finally:
                sent.release()
        connection.wait_for_end()

    answered, sent = threading.Semaphore(0), threading.Semaphore(0)
    behind = upstream(poisoning)
    method = "HEAD" if framing == "head" else "GET"
    for number in range(4):
        answer = client.request(method=method).response(method)
        assert answer.status != 299
        assert b"poison" not in answer.body
        if late:
            answered.release()
            assert sent.acquire(timeout=10)
        assert behind.connections == number + 1
    client.expect_open()
