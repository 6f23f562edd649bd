"""Clients that are too slow: 408, or a closed connection, and never a request for the upstream."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from tests.support.client import Client, CutOffError
from tests.support.gateway import Gateway, one_service, wait_for
from tests.support.upstreams import Connection, Upstream

POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def serve_much(connection: Connection) -> None:
    """A large response for /large, else the request back."""
    while (request := connection.read_request())[0]:
        body = b"x" * 50_000_000 if b" /large" in request[0] else b"".join(request)
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        connection.send(body)


@pytest.fixture(scope="module")
def impatient() -> Iterator[tuple[Gateway, Upstream]]:
    """All its times for clients are short."""
    with Upstream(serve_much) as behind:
        document = one_service(behind.port)
        document["services"][0]["routes"].append(
            {"name": "stream", "paths": ["/stream"], "request_buffering": False}
        )
        with Gateway(
            document,
            client_header_timeout="600ms",
            client_body_timeout="600ms",
            keepalive_timeout="600ms",
            send_timeout="1s",
            lingering_timeout="300ms",
        ) as gateway:
            yield gateway, behind


@pytest.fixture
def client(impatient: tuple[Gateway, Upstream]) -> Iterator[Client]:
    impatient[1].requests.clear()
    with Client(impatient[0].proxy_port) as client:
        yield client


def check_408(client: Client) -> None:
    answer = client.response()
    assert answer.status == 408
    assert answer.closes
    assert answer.body.startswith(b"Request timeout\n")
    client.end_sending().expect_close()


def test_slow_head(client: Client) -> None:
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\n")
    check_408(client)


def test_trickled_head(client: Client) -> None:
    """Each byte comes in time; the whole head does not."""
    sent = 0
    try:
        while client.quiet(0.1):
            client.send(b"GET / HTTP/1.1\r\nX-Header: value value value value"[sent : sent + 1])
            sent += 1
    except OSError:
        pass
    assert 1 < sent < 40
    check_408(client)


def test_silent_client(client: Client) -> None:
    """It asked for nothing, so it gets no answer."""
    client.expect_close()


def test_head_after_a_while(client: Client) -> None:
    """The time for a head begins with its first byte."""
    assert client.request().response().status == 200
    assert client.quiet(0.35)
    client.send(b"GET / HTTP/1.1\r\n")
    assert client.quiet(0.35)
    assert client.send(b"Host: a\r\n\r\n").response().status == 200


@pytest.mark.parametrize(
    "coding", [b"Content-Length: 10\r\n\r\n12345", b"Transfer-Encoding: chunked\r\n\r\n5\r\n123"]
)
@pytest.mark.parametrize("path", [b"/", b"/stream"])
def test_slow_body(impatient: tuple[Gateway, Upstream], client: Client, coding: bytes, path: bytes) -> None:
    client.send(POST.replace(b" / ", b" " + path + b" ") + coding)
    check_408(client)
    assert impatient[1].requests == []


def test_slow_large_body(impatient: tuple[Gateway, Upstream], client: Client) -> None:
    client.send(POST + b"Content-Length: 1000000\r\n\r\n" + b"x" * 500_000)
    check_408(client)
    assert impatient[1].requests == []


def test_steady_body(impatient: tuple[Gateway, Upstream], client: Client) -> None:
    """The limit is for the time between two reads."""
    client.send(POST + b"Content-Length: 7\r\n\r\n")
    for _ in range(7):
        assert client.quiet(0.1)
        client.send(b"x")
    assert client.response().status == 200
    assert impatient[1].requests[0][1] == b"xxxxxxx"


def test_idle_connection_is_closed(client: Client) -> None:
    client.request().response()
    client.expect_close()


def test_client_that_takes_nothing_of_its_response(
    impatient: tuple[Gateway, Upstream], client: Client
) -> None:
    gateway, _ = impatient
    client.request("/large")
    wait_for(lambda: gateway.status()["server"]["connections_writing"] >= 1, what="the response has begun")

    def gone() -> bool:
        return bool(gateway.status()["server"]["connections_writing"] == 0)

    wait_for(gone, what="the client is dropped")
    with pytest.raises((CutOffError, ConnectionResetError)):
        client.response()


def test_client_that_reads_slowly_gets_it_all(impatient: tuple[Gateway, Upstream]) -> None:
    """Slower than send_timeout in all, but never so long without a byte."""
    with Client(impatient[0].proxy_port, receive_buffer=200_000) as client:
        client.request("/large")
        answer = client.head()
        left = int(answer.get("content-length") or 0)
        pause = threading.Event()
        for _ in range(15):
            left -= len(client.exactly(100_000))
            pause.wait(0.1)
        assert client.exactly(left) == b"x" * left


def test_linger_ends(client: Client) -> None:
    """After an early answer the rest of the request is read for a while, not for ever."""
    client.send(b"POST /none HTTP/1.1\r\nHost: a\r\nX : broken\r\n\r\n")
    assert client.response().status == 400
    client.expect_close()
