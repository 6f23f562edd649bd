"""Messages of the largest sizes that settings allow, and clients that send more than is wanted."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator

import pytest

from tests.integration.conftest import StartUpstream
from tests.support.client import Client, chunked
from tests.support.gateway import Gateway, one_service
from tests.support.upstreams import Connection, Upstream, response


def fail_first(connection: Connection) -> None:
    """Close without an answer on every second connection; else answer with the body's hash."""
    while (request := connection.read_request())[0]:
        if connection.number % 2 == 0:
            return
        digest = hashlib.sha256(request[1]).hexdigest().encode()
        connection.send(response(digest, "200 OK", b"Connection: close"))
        return


@pytest.fixture(scope="module")
def largest() -> Iterator[tuple[Gateway, Upstream]]:
    with (
        Upstream(fail_first) as behind,
        Gateway(
            one_service(behind.port, retries=1),
            client_max_request_line="32k",
            client_max_request_head="64k",
            client_body_buffer_size="64k",
        ) as gateway,
    ):
        yield gateway, behind


@pytest.fixture
def client(largest: tuple[Gateway, Upstream]) -> Iterator[Client]:
    largest[1].requests.clear()
    largest[1].heads.clear()
    with Client(largest[0].proxy_port) as client:
        yield client


@pytest.mark.parametrize("size", [65_535, 65_536])
@pytest.mark.parametrize("coding", ["length", "chunked", "small chunks"])
@pytest.mark.parametrize("packets", [1, 30])
def test_largest_body_that_is_sent_again(
    largest: tuple[Gateway, Upstream], client: Client, size: int, coding: str, packets: int
) -> None:
    body = random.Random(size).randbytes(size)
    head = b"PUT / HTTP/1.1\r\nHost: a\r\n"
    if coding == "length":
        data = head + b"Content-Length: %d\r\n\r\n" % size + body
    else:
        step = 100_000 if coding == "chunked" else 500
        pieces = [body[i : i + step] for i in range(0, size, step)]
        data = head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*pieces)
    step = -(-len(data) // packets)
    for i in range(0, len(data), step):
        client.send(data[i : i + step])
    answer = client.response()
    assert answer.status == 200
    assert answer.body.decode() == hashlib.sha256(body).hexdigest()
    assert [sent for _, sent in largest[1].requests] == [body, body]


def test_largest_line_and_head(largest: tuple[Gateway, Upstream], client: Client) -> None:
    target = "/" + "%7Ea" * 8000
    fields = [f"X-{number}: {'v' * 1000}" for number in range(30)]
    for _ in range(2):
        assert client.request(target, *fields).response().status == 200
    head = largest[1].heads[-1]
    assert head.startswith(b"GET /" + b"~a" * 8000 + b" HTTP/1.1\r\n")
    assert f"X-Forwarded-Path: {target}\r\n".encode() in head
    for field in fields:
        assert field.encode() in head


def test_path_that_grows_upstream(largest: tuple[Gateway, Upstream], client: Client) -> None:
    """Every decoded byte is escaped again."""
    target = "/" + "%c3%a4%20" * 3000
    assert client.request(target).response().status == 200
    assert largest[1].heads[-1].startswith(b"GET /" + b"%C3%A4%20" * 3000 + b" HTTP/1.1\r\n")


def test_head_and_body_in_one_packet(largest: tuple[Gateway, Upstream], client: Client) -> None:
    """A head that fills its buffer, with a body right behind it, and the next request behind that."""
    for size in (20_000, 40_000, 60_000, 64_500):
        head = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 30000\r\nX: "
        head += b"h" * (size - len(head) - 4) + b"\r\n\r\n"
        client.send(head + b"b" * 30_000 + head + b"c" * 30_000)
        for letter in (b"b", b"c"):
            assert client.response().body.decode() == hashlib.sha256(letter * 30_000).hexdigest()


@pytest.mark.parametrize("size", [100_000, 1_000_000, 30_000_000])
@pytest.mark.parametrize("kind", ["length", "chunked"])
def test_answer_reaches_a_client_that_sends_everything_first(
    upstream: StartUpstream, shared_gateway: Gateway, size: int, kind: str
) -> None:
    """The rest of an unwanted body is read for a while: closing at once would reset the answer away."""
    upstream(routes=[{"name": "r", "paths": ["/only"]}])
    with Client(shared_gateway.proxy_port) as client:
        if kind == "length":
            client.request("/", f"Content-Length: {size}", method="POST", body=b"x" * size)
        else:
            client.request("/", "Transfer-Encoding: chunked", method="POST", body=chunked(b"x" * size))
        answer = client.response()
        assert answer.status == 404
        client.end_sending().expect_close()
