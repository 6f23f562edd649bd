"""Upstreams that fail at each stage: 502 while nothing has reached the client, else a cut-off response."""

from __future__ import annotations

import threading

import pytest

from tests.integration.conftest import StartUpstream
from tests.support.client import Client, CutOffError, fill_socket
from tests.support.gateway import Gateway, free_port
from tests.support.upstreams import Connection, Handler

OK = b"HTTP/1.1 200 OK\r\n"
INVALID = b"An invalid response was received from the upstream server\n"

MALFORMED: dict[str, bytes] = {
    "not HTTP": b"\x16\x03\x01 this is not http\r\n\r\n",
    "empty line first": b"\r\n" + OK + b"Content-Length: 0\r\n\r\n",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
    "HTTP/1.2": b"HTTP/1.2 200 OK\r\nContent-Length: 0\r\n\r\n",
    "http in lower case": b"http/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
    "status of two digits": b"HTTP/1.1 20 OK\r\nContent-Length: 0\r\n\r\n",
    "status of four digits": b"HTTP/1.1 2000 OK\r\nContent-Length: 0\r\n\r\n",
    "status below 100": b"HTTP/1.1 099 OK\r\nContent-Length: 0\r\n\r\n",
    "no status": b"HTTP/1.1 OK\r\nContent-Length: 0\r\n\r\n",
    "control byte in the reason": b"HTTP/1.1 200 O\x01K\r\nContent-Length: 0\r\n\r\n",
    "bare LF after the status line": b"HTTP/1.1 200 OK\nContent-Length: 0\r\n\r\n",
    "bare LF after a field": OK + b"X: 1\nContent-Length: 0\r\n\r\n",
    "bare LF at the end": OK + b"Content-Length: 0\r\n\n",
    "bare CR in a value": OK + b"X: a\rb\r\nContent-Length: 0\r\n\r\n",
    "obs-fold": OK + b"X: a\r\n b\r\nContent-Length: 0\r\n\r\n",
    "space before the colon": OK + b"Content-Length : 2\r\n\r\nok",
    "no colon": OK + b"X\r\nContent-Length: 0\r\n\r\n",
    "NUL in a value": OK + b"X: a\0b\r\nContent-Length: 0\r\n\r\n",
    "two lengths": OK + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
    "two equal lengths": OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nok",
    "length list": OK + b"Content-Length: 2, 2\r\n\r\nok",
    "length and chunked": OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "bad length": OK + b"Content-Length: two\r\n\r\nok",
    "negative length": OK + b"Content-Length: -2\r\n\r\nok",
    "unknown coding": OK + b"Transfer-Encoding: gzip\r\n\r\nok",
    "gzip, chunked": OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "chunked in HTTP/1.0": b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "head too large": OK + (b"X: " + b"x" * 1000 + b"\r\n") * 40 + b"Content-Length: 0\r\n\r\n",
    "too many fields": OK + b"X: 1\r\n" * 300 + b"Content-Length: 0\r\n\r\n",
    "head without end": OK + b"X: " + b"x" * 200_000,
    "unasked 101": b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    "bad size of the first chunk": OK + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "first chunk with extension": OK + b"Transfer-Encoding: chunked\r\n\r\n2;x\r\nok\r\n0\r\n\r\n",
}


@pytest.fixture
def client(shared_gateway: Gateway) -> Client:
    return Client(shared_gateway.proxy_port)


def check_502(client: Client, method: str = "GET") -> None:
    answer = client.response(method)
    assert answer.status == 502
    assert answer.body.startswith(INVALID)
    assert answer.get("server") == "kong/3.9.1"
    assert answer.get("via") == "1.1 kong/3.9.1"
    for name in ("x-kong-upstream-latency", "x-kong-proxy-latency", "x-kong-request-id"):
        assert answer.get(name) is not None
    assert answer.get("x-kong-response-latency") is None
    assert answer.get("x") is None


def one_answer(data: bytes) -> Handler:
    """Read a request, send this and then nothing more."""

    def handler(connection: Connection) -> None:
        connection.read_request()
        connection.send(data)
        connection.wait_for_end()

    return handler


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_response(upstream: StartUpstream, client: Client, name: str) -> None:
    behind = upstream(one_answer(MALFORMED[name]), retries=0)
    for number in range(2):
        client.request()
        check_502(client)
        assert behind.connections == number + 1
    client.expect_open()


@pytest.mark.parametrize("name", [name for name in MALFORMED if "first chunk" not in name])
def test_malformed_response_in_pieces(upstream: StartUpstream, client: Client, name: str) -> None:
    data = MALFORMED[name]

    def handler(connection: Connection) -> None:
        connection.read_request()
        for i in range(0, len(data), max(1, len(data) // 40)):
            connection.send(data[i : i + max(1, len(data) // 40)])
        connection.wait_for_end()

    upstream(handler, retries=0)
    client.request()
    check_502(client)


def test_malformed_interim_response(upstream: StartUpstream, client: Client) -> None:
    upstream(one_answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nX : 1\r\n\r\n"), retries=0)
    client.request()
    check_502(client)


# --- closing and resetting ---------------------------------------------------------------------------------
BEFORE: dict[str, bytes] = {
    "before the head": b"",
    "in the status line": b"HTTP/1.1 20",
    "in the head": OK + b"Content-Length: 5\r\nX: ",
    "before the empty line": OK + b"Content-Length: 5\r\n",
    "after an interim response": b"HTTP/1.1 100 Continue\r\n\r\n",
}
WITHIN: dict[str, bytes] = {
    "after the head": OK + b"Content-Length: 5\r\n\r\n",
    "in the body": OK + b"Content-Length: 5\r\n\r\nhel",
    "in a large body": OK + b"Content-Length: 1000000\r\n\r\n" + b"x" * 999_999,
    "after a chunked head": OK + b"Transfer-Encoding: chunked\r\n\r\n",
    "in a chunk size": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1",
    "after a chunk size": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n10\r\n",
    "in a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "after a chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
    "in the last chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
    "in the trailers": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: 1\r\n",
}


def ending(data: bytes, how: str) -> Handler:
    """Read a request, send `data` and end the connection."""

    def handler(connection: Connection) -> None:
        connection.read_request()
        connection.send(data)
        if how == "reset":
            connection.reset()

    return handler


@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stage", BEFORE)
def test_ended_before_the_response(upstream: StartUpstream, client: Client, stage: str, how: str) -> None:
    behind = upstream(ending(BEFORE[stage], how), retries=0)
    client.request()
    check_502(client)
    client.expect_open()
    assert behind.connections == 1


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize("how", ["close", "reset"])
@pytest.mark.parametrize("stage", WITHIN)
def test_ended_within_the_response(
    upstream: StartUpstream, client: Client, stage: str, how: str, version: int
) -> None:
    """Never a response that looks complete: a 502, or one that is cut off, for HTTP/1.0 by a reset."""
    behind = upstream(ending(WITHIN[stage], how), retries=0)
    client.send(b"GET / HTTP/1.%d\r\nHost: a\r\n\r\n" % version)
    try:
        answer = client.response(version=version)
    except (CutOffError, ConnectionResetError):
        pass
    else:
        assert answer.status == 502
    assert behind.connections == 1


@pytest.mark.parametrize("version", [0, 1])
@pytest.mark.parametrize(
    "garbage", [b"zz\r\n", b"-1\r\n", b"5;x\r\nhello\r\n", b"\r\n", b"5\nhello\r\n0\r\n\r\n"]
)
def test_garbage_in_a_chunk_size(
    upstream: StartUpstream, client: Client, garbage: bytes, version: int
) -> None:
    def handler(connection: Connection) -> None:
        connection.read_request()
        connection.send(OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n")
        assert begun.wait(10)
        connection.send(garbage + b"0\r\n\r\n")
        connection.wait_for_end()

    begun = threading.Event()
    upstream(handler, retries=0)
    client.send(b"GET / HTTP/1.%d\r\nHost: a\r\n\r\n" % version)
    client.until(b"hello")
    begun.set()
    if version == 1:
        assert client.rest() in (b"", b"\r\n")
    else:
        with pytest.raises(CutOffError) as cut:
            client.rest()
        assert cut.value.reset


@pytest.mark.parametrize("how", ["close", "reset"])
def test_reset_of_a_close_delimited_body(upstream: StartUpstream, client: Client, how: str) -> None:
    """Only a clean end of the stream ends such a body."""
    upstream(ending(OK + b"\r\nhello", how), retries=0)
    client.request()
    if how == "close":
        assert client.response().body == b"hello"
        return
    try:
        answer = client.response()
    except (CutOffError, ConnectionResetError):
        return
    assert answer.status == 502


def test_reset_that_sending_meets_first(upstream: StartUpstream, client: Client) -> None:
    """The kernel tells an error once; reading then looks like a clean end of the stream."""
    blocked = threading.Event()

    def handler(connection: Connection) -> None:
        connection.read_head()
        connection.send(OK + b"\r\nhello")
        assert blocked.wait(10)
        connection.reset()

    upstream(handler, retries=0)
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
    client.until(b"hello\r\n")
    fill_socket(client.socket, b"x" * 65536)
    blocked.set()
    client.expect_close()


def test_closed_while_the_body_is_sent(upstream: StartUpstream, client: Client) -> None:
    def handler(connection: Connection) -> None:
        connection.read_head()
        connection.reset()

    upstream(handler, retries=0)
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n" + b"x" * 100_000)
    answer = client.response()
    assert answer.status == 502
    assert answer.closes


def test_refused_connection(shared_gateway: Gateway, client: Client) -> None:
    shared_gateway.configure(
        {"services": [{"name": "s", "host": "127.0.0.1", "port": free_port(), "routes": [{"paths": ["/"]}]}]}
    )
    for method in ("GET", "POST", "HEAD"):
        client.request(method=method)
        check_502(client, method) if method != "HEAD" else client.response("HEAD")
    client.expect_open()


def test_after_a_failure_the_client_connection_goes_on(upstream: StartUpstream, client: Client) -> None:
    behind = upstream(one_answer(b"garbage\r\n\r\n"), retries=0)
    client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\n\r\n" + b"GET /2 HTTP/1.1\r\nHost: a\r\n\r\n")
    check_502(client)
    check_502(client)
    assert behind.connections == 2
