"""What is tried again, where and how often: nginx's rules, as Kong has them (proxying.md §5)."""

from __future__ import annotations

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.integration.conftest import StartUpstream
from tests.support.client import Client, chunked
from tests.support.gateway import Gateway, free_port, one_service, wait_for
from tests.support.upstreams import Connection, Handler, Upstream, response, serve_raw

LARGE = 500_000


@pytest.fixture
def client(shared_gateway: Gateway) -> Client:
    return Client(shared_gateway.proxy_port)


class Group:
    """Several upstreams behind one name."""

    def __init__(self, gateway: Gateway, stack: ExitStack) -> None:
        self.gateway = gateway
        self.stack = stack

    def start(self, *handlers: Handler | None) -> list[Upstream]:
        return [self.stack.enter_context(Upstream(handler)) for handler in handlers]

    def configure(self, targets: dict[int, int], **service: Any) -> None:
        """`targets`: port -> weight."""
        document = one_service(1, **{"host": "group", **service})
        document["upstreams"] = [
            {
                "name": "group",
                "targets": [
                    {"target": f"127.0.0.1:{port}", "weight": weight} for port, weight in targets.items()
                ],
            }
        ]
        self.gateway.configure(document)


@pytest.fixture
def group(shared_gateway: Gateway) -> Iterator[Group]:
    with ExitStack() as stack:
        yield Group(shared_gateway, stack)


def failing(how: str) -> Handler:
    """Read each request and fail."""

    def handler(connection: Connection) -> None:
        connection.read_request()
        if how == "garbage":
            connection.send(b"garbage\r\n\r\n")
            connection.wait_for_end()
        elif how == "half a head":
            connection.send(b"HTTP/1.1 200 OK\r\nX: ")
        elif how == "reset":
            connection.reset()
        elif how == "silence":
            connection.wait_for_end()

    return handler


FAILURES = {"close": 502, "reset": 502, "half a head": 502, "garbage": 502, "silence": 504}


def patience(how: str) -> int:
    """The read_timeout for such an upstream, ms: short only where it is to be spent."""
    return 300 if how == "silence" else 60_000


# --- how often ---------------------------------------------------------------------------------------------
@pytest.mark.parametrize("how", FAILURES)
@pytest.mark.parametrize("retries", [0, 1, 3])
def test_number_of_tries(upstream: StartUpstream, client: Client, how: str, retries: int) -> None:
    behind = upstream(failing(how), retries=retries, read_timeout=patience(how))
    answer = client.request().response()
    assert answer.status == FAILURES[how]
    assert len(behind.requests) == 1 + retries
    client.expect_open()


def test_five_retries_without_a_setting(upstream: StartUpstream, client: Client) -> None:
    behind = upstream(failing("close"))
    assert client.request().response().status == 502
    assert len(behind.requests) == 6


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("how", ["close", "silence"])
def test_retried_once_sent(upstream: StartUpstream, client: Client, method: str, how: str) -> None:
    behind = upstream(failing(how), retries=2, read_timeout=patience(how))
    client.request(method=method).response(method)
    assert len(behind.requests) == 3


@pytest.mark.parametrize("method", ["POST", "PATCH", "LOCK"])
@pytest.mark.parametrize("how", FAILURES)
def test_not_retried_once_sent(upstream: StartUpstream, client: Client, method: str, how: str) -> None:
    behind = upstream(failing(how), retries=2, read_timeout=patience(how))
    answer = client.request("/", "Content-Length: 5", method=method, body=b"hello").response()
    assert answer.status == FAILURES[how]
    assert len(behind.requests) == 1


def test_status_is_no_reason(upstream: StartUpstream, client: Client) -> None:
    for status in (500, 502, 503, 504):
        behind = upstream(serve_raw(response(b"", f"{status} No")), retries=2)
        assert client.request().response().status == status
        assert len(behind.requests) == 1


def test_not_after_bytes_of_the_response(upstream: StartUpstream, client: Client) -> None:
    def handler(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")

    behind = upstream(handler, retries=3)
    client.request().until(b"hello")
    client.expect_close()
    assert len(behind.requests) == 1


# --- where -------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_refused_connection_goes_to_the_next_target(group: Group, client: Client, method: str) -> None:
    (good,) = group.start(None)
    group.configure({free_port(): 100, good.port: 100, free_port(): 100}, retries=2)
    for number in range(9):
        answer = client.request(f"/{number}", "Content-Length: 5", method=method, body=b"hello").response()
        assert answer.status == 200
        assert answer.body.endswith(b"hello")
    assert len(good.requests) == 9


@pytest.mark.parametrize("how", FAILURES)
def test_failed_request_goes_to_the_next_target(group: Group, client: Client, how: str) -> None:
    bad, good = group.start(failing(how), None)
    group.configure({bad.port: 100, good.port: 100}, retries=1, read_timeout=patience(how))
    for _ in range(6):
        assert client.request().response().status == 200
    assert len(good.requests) == 6
    assert len(bad.requests) >= 2


def test_each_target_is_tried_before_one_is_tried_again(group: Group, client: Client) -> None:
    bad = group.start(*[failing("close")] * 4)
    group.configure({one.port: weight for one, weight in zip(bad, (1000, 1, 1, 1), strict=True)}, retries=3)
    assert client.request().response().status == 502
    assert [len(one.requests) for one in bad] == [1, 1, 1, 1]


def test_host_follows_the_target(group: Group, client: Client) -> None:
    bad, good = group.start(failing("close"), None)
    group.configure({bad.port: 100, good.port: 100}, retries=1)
    for _ in range(4):
        assert client.request().response().status == 200
    for one in (bad, good):
        assert all(b"Host: 127.0.0.1:%d\r\n" % one.port in head for head in one.heads)


def test_weighted_round_robin(group: Group, client: Client) -> None:
    heavy, light, off = group.start(None, None, None)
    group.configure({heavy.port: 300, light.port: 100, off.port: 0})
    for _ in range(80):
        assert client.request().response().status == 200
    assert [len(one.requests) for one in (heavy, light, off)] == [60, 20, 0]


def test_equal_weights_take_turns(group: Group, client: Client) -> None:
    three = group.start(None, None, None)
    group.configure(dict.fromkeys((one.port for one in three), 100))
    order = []
    for _ in range(12):
        before = [len(one.requests) for one in three]
        client.request().response()
        order.append(
            [len(one.requests) for one in three].index(max(before) + 1) if len(set(before)) == 1 else None
        )
    assert Counter(len(one.requests) for one in three) == {4: 3}


def test_no_target(group: Group, client: Client) -> None:
    (off,) = group.start(None)
    group.configure({off.port: 0})
    answer = client.request("/", "Accept: application/json").response()
    assert answer.status == 503
    assert b"failure to get a peer from the ring-balancer" in answer.body
    assert off.connections == 0


# --- the same request again --------------------------------------------------------------------------------
@pytest.mark.parametrize("coding", ["length", "chunked"])
@pytest.mark.parametrize("size", [0, 1, 8192])
def test_body_is_sent_again(group: Group, client: Client, coding: str, size: int) -> None:
    bad, good = group.start(failing("close"), None)
    group.configure({bad.port: 1000, good.port: 1}, retries=1)
    body = bytes(i % 251 for i in range(size))
    head = b"PUT /x?y=1 HTTP/1.1\r\nHost: a\r\nX-Mine: 1\r\n"
    if coding == "length":
        client.send(head + b"Content-Length: %d\r\n\r\n" % size + body)
    else:
        client.send(head + b"Transfer-Encoding: chunked\r\n\r\n" + chunked(*[body] if body else []))
    assert client.response().status == 200
    assert bad.requests[0][1] == good.requests[0][1] == body
    unchanged = [
        [line for line in one.heads[0].split(b"\r\n") if b"Host: 127" not in line] for one in (bad, good)
    ]
    assert unchanged[0] == unchanged[1]
    assert client.request().response().status == 200


def test_body_too_large_to_hold_is_not_sent_again(group: Group, client: Client) -> None:
    bad, good = group.start(failing("close"), None)
    group.configure({bad.port: 1000, good.port: 1}, retries=1)
    client.request("/", f"Content-Length: {LARGE}", method="PUT", body=b"x" * LARGE)
    assert client.response().status == 502
    assert len(bad.requests) == 1
    assert good.requests == []


def test_large_body_goes_to_the_next_target_after_a_refusal(group: Group, client: Client) -> None:
    """Nothing had been sent yet."""
    (good,) = group.start(None)
    group.configure({free_port(): 1000, good.port: 1}, retries=1)
    client.request("/", f"Content-Length: {LARGE}", method="POST", body=b"x" * LARGE)
    assert client.response().status == 200
    assert len(good.requests[0][1]) == LARGE


# --- stale connections -------------------------------------------------------------------------------------
def close_after_one(connection: Connection) -> None:
    """Answer one request and promise to keep the connection; close it when the next request comes."""
    connection.read_request()
    connection.send(response(b"%d" % connection.number))
    if connection.number % 2 == 0:
        connection.read_head()


@pytest.mark.parametrize("retries", [0, 2])
def test_stale_connection_is_no_failure(upstream: StartUpstream, client: Client, retries: int) -> None:
    behind = upstream(close_after_one, retries=retries)
    assert client.request().response().body == b"0"
    assert client.request().response().body == b"1"
    assert behind.connections == 2


def test_post_on_a_stale_connection_is_not_sent_twice(upstream: StartUpstream, client: Client) -> None:
    behind = upstream(close_after_one)
    assert client.request().response().body == b"0"
    client.request("/", "Content-Length: 5", method="POST", body=b"hello")
    assert client.response().status == 502
    assert len(behind.heads) == 2


def test_closed_idle_connection_is_not_used(
    upstream: StartUpstream, shared_gateway: Gateway, client: Client
) -> None:
    """What the gateway knows to be closed costs nobody anything, not even a POST."""
    behind = upstream(serve_raw(response(), close=True))
    for number in range(5):
        assert client.request("/", "Content-Length: 2", method="POST", body=b"ok").response().status == 200
        assert behind.connections == number + 1

        def idle() -> bool:
            return all(worker["upstream_idle"] == 0 for worker in shared_gateway.status()["workers"])

        wait_for(idle, what="the closed connection has left the pool")


# --- connecting --------------------------------------------------------------------------------------------
@pytest.fixture
def full_backlog() -> Iterator[int]:
    """A port on which connecting neither succeeds nor fails."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_connect_timeout(shared_gateway: Gateway, client: Client, full_backlog: int, method: str) -> None:
    shared_gateway.configure(one_service(full_backlog, connect_timeout=150, retries=1))
    answer = client.request(method=method).response()
    assert answer.status == 504
    assert answer.body.startswith(b"The upstream server is timing out\n")


def test_connect_timeout_goes_to_the_next_target(group: Group, client: Client, full_backlog: int) -> None:
    (good,) = group.start(None)
    group.configure({full_backlog: 1000, good.port: 1}, retries=1, connect_timeout=150)
    client.request("/", "Content-Length: 5", method="POST", body=b"hello")
    assert client.response().status == 200


def test_write_timeout(upstream: StartUpstream, client: Client) -> None:
    """The upstream takes nothing more for longer than write_timeout."""
    done = threading.Event()

    def deaf(connection: Connection) -> None:
        connection.read_head()
        done.wait(60)

    behind = upstream(deaf, write_timeout=200, retries=3)
    client.send(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n")
    sender = threading.Thread(target=send_until_refused, args=(client,))
    sender.start()
    answer = client.response()
    done.set()
    sender.join()
    assert answer.status == 504
    assert answer.closes
    assert behind.connections == 1


def send_until_refused(client: Client) -> None:
    try:
        for _ in range(1000):
            client.send(b"x" * 100_000)
    except OSError:
        pass


def test_read_timeout_is_between_two_reads(upstream: StartUpstream, client: Client) -> None:
    def slow(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n")
        for _ in range(6):
            pause.wait(0.2)
            connection.send(b"x")
        connection.wait_for_end()

    pause = threading.Event()
    upstream(slow, read_timeout=1000)
    assert client.request().response().body == b"xxxxxx"


def test_read_timeout_within_the_response(upstream: StartUpstream, client: Client) -> None:
    def stalling(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nxxx")
        connection.wait_for_end()

    behind = upstream(stalling, read_timeout=200)
    client.request().until(b"xxx")
    client.expect_close()
    assert behind.connections == 1
