"""Expect: 100-continue (RFC 9110 §10.1.1): 100 once, before the body, and only when the body is wanted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.conftest import StartUpstream
from tests.support.client import Client
from tests.support.gateway import Gateway, one_service
from tests.support.upstreams import Connection, response

HEAD = b"POST / HTTP/1.1\r\nHost: a.test\r\nExpect: 100-continue\r\n"
CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.fixture
def client(shared_gateway: Gateway) -> Client:
    return Client(shared_gateway.proxy_port)


@pytest.mark.parametrize("size", [5, 8192, 500_000])
@pytest.mark.parametrize("buffering", [True, False])
def test_continue_with_length(upstream: StartUpstream, client: Client, size: int, buffering: bool) -> None:
    behind = upstream(routes=[{"name": "r", "paths": ["/"], "request_buffering": buffering}])
    client.send(HEAD + b"Content-Length: %d\r\n\r\n" % size)
    assert client.until(b"\r\n\r\n") == CONTINUE
    client.send(b"x" * size)
    answer = client.response()
    assert answer.status == 200
    assert answer.interim == []
    assert len(behind.requests[0][1]) == size
    assert b"expect" not in behind.heads[0].lower()
    client.expect_open()


def test_continue_with_chunks(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    client.send(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    assert client.until(b"\r\n\r\n") == CONTINUE
    for part in (b"3\r\nabc\r\n", b"3\r\ndef\r\n", b"0\r\n\r\n"):
        client.send(part)
    answer = client.response()
    assert answer.interim == []
    assert behind.requests[0][1] == b"abcdef"


def test_in_capitals(upstream: StartUpstream, client: Client) -> None:
    upstream()
    client.send(HEAD.replace(b"100-continue", b"100-Continue") + b"Content-Length: 1\r\n\r\n")
    assert client.until(b"\r\n\r\n") == CONTINUE


def test_again_for_the_next_request(upstream: StartUpstream, client: Client) -> None:
    upstream()
    for _ in range(3):
        client.send(HEAD + b"Content-Length: 1\r\n\r\n")
        assert client.until(b"\r\n\r\n") == CONTINUE
        assert client.send(b"x").response().status == 200


def test_not_when_the_body_has_come_along(upstream: StartUpstream, client: Client) -> None:
    upstream()
    client.send(HEAD + b"Content-Length: 5\r\n\r\nhello")
    assert client.response().interim == []


def test_not_without_a_body(upstream: StartUpstream, client: Client) -> None:
    upstream()
    client.send(HEAD + b"Content-Length: 0\r\n\r\n")
    assert client.response().interim == []
    client.send(HEAD + b"\r\n")
    assert client.response().interim == []


def test_not_for_http10(upstream: StartUpstream, client: Client) -> None:
    upstream()
    client.send(HEAD.replace(b"HTTP/1.1", b"HTTP/1.0") + b"Content-Length: 5\r\n\r\n")
    assert client.quiet(0.1)
    answer = client.send(b"hello").response(version=0)
    assert answer.interim == []


def test_other_expectations_are_not_heeded(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    client.send(HEAD.replace(b"100-continue", b"sorcery") + b"Content-Length: 5\r\n\r\n")
    assert client.quiet(0.1)
    assert client.send(b"hello").response().status == 200
    assert b"sorcery" not in behind.heads[0]


def test_404_instead(upstream: StartUpstream, client: Client) -> None:
    behind = upstream(routes=[{"name": "r", "paths": ["/only"]}])
    client.send(HEAD + b"Content-Length: 5\r\n\r\n")
    answer = client.response()
    assert answer.status == 404
    assert answer.interim == []
    assert answer.closes  # it is not known whether the body comes
    client.end_sending().expect_close()
    assert behind.connections == 0


@pytest.fixture(scope="module")
def limited() -> Iterator[Gateway]:
    with Gateway(one_service(9), client_max_body_size=100) as gateway:
        yield gateway


@pytest.mark.parametrize("coding", [b"Content-Length: 101\r\n\r\n", b"Transfer-Encoding: chunked\r\n\r\n"])
def test_413_instead(limited: Gateway, coding: bytes) -> None:
    with Client(limited.proxy_port) as client:
        client.send(HEAD + coding)
        if b"chunked" in coding:
            assert client.until(b"\r\n\r\n") == CONTINUE
            client.send(b"65\r\n" + b"x" * 101)
        answer = client.response()
        assert answer.status == 413
        assert answer.interim == []
        assert answer.closes


def test_the_upstreams_own_100_is_not_passed_on(upstream: StartUpstream, client: Client) -> None:
    def continuing(connection: Connection) -> None:
        while head := connection.read_head():
            connection.send(CONTINUE)
            connection.read_body(head)
            connection.send(response())

    upstream(continuing)
    client.send(HEAD + b"Content-Length: 5\r\n\r\n")
    assert client.until(b"\r\n\r\n") == CONTINUE
    assert client.send(b"hello").response().interim == []
