"""Connections: how long they live, many requests on one, HTTP/1.0, half-closed ones, those to upstreams."""

from __future__ import annotations

import select
import socket
import threading

import pytest

from tests.integration.conftest import StartUpstream
from tests.support.client import Client, chunked
from tests.support.gateway import Gateway, one_service
from tests.support.upstreams import Connection, response, serve_raw

PLAIN = b"GET /%d HTTP/1.1\r\nHost: a.test\r\n\r\n"


@pytest.fixture
def client(shared_gateway: Gateway) -> Client:
    return Client(shared_gateway.proxy_port)


def target(answer: bytes) -> bytes:
    """Of a request that the echoing upstream sent back."""
    return answer.split(b" ")[1]


def test_many_requests_on_one_connection(upstream: StartUpstream, client: Client) -> None:
    upstream()
    for number in range(20):
        client.request(f"/{number}")
        answer = client.response()
        assert answer.status == 200
        assert answer.get("connection") == "keep-alive"
        assert target(answer.body) == b"/%d" % number
    client.expect_open()


def test_connection_upstream_is_reused(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    for _ in range(5):
        assert client.request().response().status == 200
    with Client(client.socket.getpeername()[1]) as other:
        assert other.request().response().status == 200
    assert len(behind.requests) == 6
    assert behind.connections == 1


def test_connection_close_is_honoured(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    answer = client.request("/", "Connection: close").response()
    assert answer.closes
    client.expect_close()
    # and it is the client's wish alone
    assert b"Connection: keep-alive\r\n" in behind.heads[0]


def test_number_of_requests_is_limited(upstream: StartUpstream) -> None:
    with Gateway(keepalive_requests=3) as gateway, Client(gateway.proxy_port) as client:
        for number in range(3):
            answer = client.request().response()
            assert answer.status == 404
            assert answer.closes == (number == 2)
        client.expect_close()


def test_keepalive_timeout(shared_gateway: Gateway, upstream: StartUpstream) -> None:
    upstream()
    with Gateway(keepalive_timeout="200ms") as gateway, Client(gateway.proxy_port) as client:
        client.request().response()
        client.expect_open()
        client.expect_close()


def test_keepalive_timeout_of_zero(upstream: StartUpstream) -> None:
    with Gateway(keepalive_timeout="0") as gateway, Client(gateway.proxy_port) as client:
        assert client.request().response().closes
        client.expect_close()


# --- HTTP/1.0 ----------------------------------------------------------------------------------------------
def test_http10_closes(upstream: StartUpstream, client: Client) -> None:
    upstream()
    answer = client.send(b"GET /old HTTP/1.0\r\n\r\n").response(version=0)
    assert answer.status == 200
    assert answer.closes
    assert answer.body.startswith(b"GET /old HTTP/1.1\r\n")
    client.expect_close()


def test_http10_keep_alive(upstream: StartUpstream, client: Client) -> None:
    upstream()
    for _ in range(3):
        client.send(b"GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n")
        answer = client.response(version=0)
        assert answer.get("connection") == "keep-alive"
    client.expect_open()


def test_http10_gets_an_unframed_body_until_close(upstream: StartUpstream, client: Client) -> None:
    upstream(serve_raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"one", b"two")))
    client.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    answer = client.response(version=0)
    assert answer.body == b"onetwo"
    assert answer.closes


def test_http10_with_a_body(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    client.send(b"POST / HTTP/1.0\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\nhello")
    assert client.response(version=0).status == 200
    assert behind.requests[0][1] == b"hello"
    client.expect_open()


# --- pipelining --------------------------------------------------------------------------------------------
def test_pipelined_in_one_packet(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    client.send(b"".join(PLAIN % n for n in range(50)))
    for number in range(50):
        assert target(client.response().body) == b"/%d" % number
    assert len(behind.requests) == 50
    client.expect_open()


def test_pipelined_beyond_every_buffer(upstream: StartUpstream, client: Client) -> None:
    """More than the input buffer holds, cut anywhere; answers are read while requests are still sent."""
    upstream()
    padding = b"X-Padding: " + b"p" * 3000 + b"\r\n\r\n"
    count = 60
    client.send(b"".join((PLAIN % n)[:-2] + padding for n in range(count)))
    for number in range(count):
        assert target(client.response().body) == b"/%d" % number


@pytest.mark.parametrize("size", [0, 1, 5, 8000, 8192, 9000, 70_000, 200_000])
def test_pipelined_with_bodies(upstream: StartUpstream, client: Client, size: int) -> None:
    behind = upstream()
    body = bytes(i % 251 for i in range(size))
    post = b"POST /%d HTTP/1.1\r\nHost: a\r\n"
    client.send(
        PLAIN % 0
        + post % 1
        + b"Content-Length: %d\r\n\r\n" % size
        + body
        + PLAIN % 2
        + post % 3
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + (chunked(body[: size // 3], body[size // 3 :]) if size > 3 else chunked(*[body] if body else []))
        + PLAIN % 4
    )
    for number in range(5):
        assert target(client.response().body) == b"/%d" % number
    assert [sent for _, sent in behind.requests] == [b"", body, b"", body, b""]


def test_one_byte_at_a_time(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    client.send_bytewise(
        PLAIN % 0
        + b"POST /1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
        + b"POST /2 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        + chunked(b"hel", b"lo", trailers=b"X-T: 1\r\n")
        + b"\r\n"  # one empty line before a request line is skipped (RFC 9112 §2.2)
        + PLAIN % 3
    )
    for number in range(4):
        assert target(client.response().body) == b"/%d" % number
    assert [sent for _, sent in behind.requests] == [b"", b"hello", b"hello", b""]


def test_what_is_pipelined_behind_a_close_is_not_served(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    client.send(b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + PLAIN % 2)
    assert client.response().closes
    client.expect_close()
    assert len(behind.heads) == 1


def test_pipelined_request_waits_for_the_answer_before_it(upstream: StartUpstream, client: Client) -> None:
    def slow(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfi")
        begun.wait()
        early.append(select.select([connection.socket], [], [], 0.1)[0])
        connection.send(b"rs")
        while connection.read_request()[0]:
            connection.send(response(b"second"))

    begun = threading.Event()
    early: list[list[socket.socket]] = []
    behind = upstream(slow)
    client.send(PLAIN % 1 + PLAIN % 2)
    client.until(b"fi")
    begun.set()
    assert client.until(b"rs") == b"rs"
    assert client.response().body == b"second"
    assert early == [[]]
    assert behind.connections == 1


# --- half-close --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "request_bytes",
    [
        PLAIN % 0,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" + chunked(b"hello"),
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n" + b"b" * 300_000,
        b"GET / HTTP/1.0\r\n\r\n",
    ],
    ids=["get", "length", "chunked", "large", "http10"],
)
def test_half_closed_client_gets_its_response(
    upstream: StartUpstream, client: Client, request_bytes: bytes
) -> None:
    def late(connection: Connection) -> None:
        connection.read_request()
        half_closed.wait()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 200000\r\n\r\n" + b"x" * 200_000)
        connection.wait_for_end()

    half_closed = threading.Event()
    upstream(late)
    client.send(request_bytes).end_sending()
    half_closed.set()
    answer = client.response(version=0 if b"HTTP/1.0" in request_bytes else 1)
    assert answer.body == b"x" * 200_000
    client.expect_close()


def test_half_close_after_pipelined_requests(upstream: StartUpstream, client: Client) -> None:
    upstream()
    client.send(b"".join(PLAIN % n for n in range(5))).end_sending()
    for number in range(5):
        assert target(client.response().body) == b"/%d" % number
    client.expect_close()


@pytest.mark.parametrize("part", [b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n"])
def test_half_close_within_a_head(upstream: StartUpstream, client: Client, part: bytes) -> None:
    behind = upstream()
    client.send(part).end_sending()
    client.expect_close()
    assert behind.connections == 0


@pytest.mark.parametrize("size", [1000, 100_000])
def test_half_close_within_a_body(upstream: StartUpstream, client: Client, size: int) -> None:
    """A cut-off request never arrives as a complete one."""
    behind = upstream()
    client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % size + b"x" * (size - 1))
    client.end_sending()
    client.expect_close()
    assert behind.requests == []


# --- connections upstream ----------------------------------------------------------------------------------
def test_requests_on_a_connection_upstream_are_limited(upstream: StartUpstream) -> None:
    behind = upstream()
    with (
        Gateway(one_service(behind.port), upstream_keepalive_max_requests=2) as gateway,
        Client(gateway.proxy_port) as client,
    ):
        for _ in range(6):
            assert client.request().response().status == 200
    assert behind.connections == 3


def test_no_pool_without_size(upstream: StartUpstream) -> None:
    behind = upstream()
    with (
        Gateway(one_service(behind.port), upstream_keepalive_pool_size=0) as gateway,
        Client(gateway.proxy_port) as client,
    ):
        for _ in range(3):
            assert client.request().response().status == 200
    assert behind.connections == 3
