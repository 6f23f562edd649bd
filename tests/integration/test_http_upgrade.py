"""WebSocket: the handshake, and the tunnel: both ways, any amount, back-pressure, ends, idle timeout."""

from __future__ import annotations

import hashlib
import os
import random
import threading

import psutil
import pytest

from tests.integration.conftest import StartUpstream
from tests.support.client import Client, fill_socket
from tests.support.gateway import Gateway, wait_for
from tests.support.upstreams import Connection, Handler, response

HANDSHAKE = (
    b"GET /chat HTTP/1.1\r\nHost: a.test\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c2FtcGxlIG5vbmNlIGtleQ==\r\n\r\n"
)
SWITCH = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Accept: abc=\r\n\r\n"
)
SIZE = 8_000_000
# the sanitizers keep what was given back for a while, to catch its use
SLOW_READER_MEMORY = 64_000_000 if os.environ.get("GATEWAY_TEST_SANITIZED") else 500_000
"""bytes that a worker may need for a tunnel whose one end does not read"""


@pytest.fixture
def client(shared_gateway: Gateway) -> Client:
    return Client(shared_gateway.proxy_port)


def tunnel(talk: Handler, behind: bytes = b"") -> Handler:
    """Switch protocols, with `behind` right behind the head, then `talk`."""

    def handler(connection: Connection) -> None:
        if connection.read_head():
            connection.send(SWITCH + behind)
            talk(connection)

    return handler


def open_tunnel(client: Client) -> Client:
    answer = client.send(HANDSHAKE).response()
    assert answer.status == 101
    return client


def echo(connection: Connection) -> None:
    connection.send(connection.buffer)
    while piece := connection.receive():
        connection.send(piece)


# --- handshake ---------------------------------------------------------------------------------------------
def test_handshake(upstream: StartUpstream, client: Client) -> None:
    behind = upstream(tunnel(echo))
    answer = client.send(HANDSHAKE).response()
    assert answer.status == 101
    assert answer.get("connection") == "Upgrade"
    assert answer.get("upgrade") == "websocket"
    assert answer.get("sec-websocket-accept") == "abc="
    assert answer.get("via") == "1.1 kong/3.9.1"
    head = behind.heads[0]
    assert head.startswith(b"GET /chat HTTP/1.1\r\n")
    for line in (
        b"Connection: keep-alive, Upgrade\r\n",
        b"Upgrade: websocket\r\n",
        b"Sec-WebSocket-Version: 13\r\n",
        b"Sec-WebSocket-Key: c2FtcGxlIG5vbmNlIGtleQ==\r\n",
        b"X-Forwarded-For: 127.0.0.1\r\n",
    ):
        assert head.count(line) == 1
    for word in (b"one", b"two", b"three"):
        assert client.send(word).exactly(len(word)) == word


def test_refused_by_the_upstream(upstream: StartUpstream, client: Client) -> None:
    """Any other answer is an ordinary response, and both connections go on."""

    def refusing(connection: Connection) -> None:
        while connection.read_request()[0]:
            connection.send(response(b"no", "403 Forbidden"))

    behind = upstream(refusing)
    for _ in range(2):
        answer = client.send(HANDSHAKE).response()
        assert answer.status == 403
        assert answer.body == b"no"
    client.expect_open()
    assert behind.connections == 1


@pytest.mark.parametrize(
    "fields",
    [
        b"Upgrade: websocket\r\n",
        b"Connection: Upgrade\r\n",
        b"Connection: keep-alive\r\nUpgrade: websocket\r\n",
        b"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n",
    ],
)
def test_not_asked_for(upstream: StartUpstream, client: Client, fields: bytes) -> None:
    """The upstream sees no upgrade; one that switches nevertheless is broken."""
    behind = upstream(tunnel(echo), retries=0)
    answer = client.send(b"GET / HTTP/1.1\r\nHost: a\r\n" + fields + b"\r\n").response()
    assert answer.status == 502
    head = behind.heads[0].lower()
    assert b"\r\nupgrade:" not in head
    assert b"\r\nconnection: keep-alive\r\n" in head


def test_not_for_http10(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    answer = client.send(HANDSHAKE.replace(b"HTTP/1.1", b"HTTP/1.0")).response(version=0)
    assert answer.status == 200
    assert b"\r\nupgrade:" not in behind.heads[0].lower()


@pytest.mark.parametrize(
    "switch",
    [
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        b"HTTP/1.0 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ],
)
@pytest.mark.parametrize("retries", [0, 2])
def test_broken_switch(upstream: StartUpstream, client: Client, switch: bytes, retries: int) -> None:
    def handler(connection: Connection) -> None:
        connection.read_head()
        connection.send(switch)
        connection.wait_for_end()

    behind = upstream(handler, retries=retries)
    assert client.send(HANDSHAKE).response().status == 502
    assert behind.connections == 1 + retries


def test_switch_before_the_whole_request(upstream: StartUpstream, client: Client) -> None:
    def handler(connection: Connection) -> None:
        connection.read_head()
        connection.send(SWITCH)
        connection.wait_for_end()

    upstream(handler, retries=0)
    client.send(HANDSHAKE.replace(b"\r\n\r\n", b"\r\nContent-Length: 1000000\r\n\r\n") + b"x" * 100_000)
    assert client.response().status == 502


# --- data --------------------------------------------------------------------------------------------------
def test_bytes_right_behind_the_heads(upstream: StartUpstream, client: Client) -> None:
    seen = []

    def talk(connection: Connection) -> None:
        seen.append(connection.read_exactly(50_000))
        echo(connection)

    upstream(tunnel(talk, b"first" * 10_000))
    client.send(HANDSHAKE + b"early" * 10_000)
    assert client.response().status == 101
    assert client.exactly(50_000) == b"first" * 10_000
    assert client.send(b"more").exactly(4) == b"more"
    assert seen == [b"early" * 10_000]


def test_large_data_both_ways_at_once(upstream: StartUpstream, client: Client) -> None:
    upstream(tunnel(echo))
    open_tunnel(client)
    data = random.Random(1).randbytes(SIZE)
    sender = threading.Thread(target=client.send, args=(data,))
    sender.start()
    assert hashlib.sha256(client.exactly(SIZE)).digest() == hashlib.sha256(data).digest()
    sender.join()


def test_independent_directions(upstream: StartUpstream, client: Client) -> None:
    """The upstream sends much before it reads anything, and the other way round."""
    down, up = (random.Random(n).randbytes(SIZE) for n in (2, 3))
    received = []

    def talk(connection: Connection) -> None:
        connection.send(down)
        received.append(connection.read_exactly(SIZE))
        connection.send(b"thanks")

    upstream(tunnel(talk))
    open_tunnel(client)
    assert client.exactly(SIZE) == down
    client.send(up)
    assert client.exactly(6) == b"thanks"
    assert received == [up]


# --- ends --------------------------------------------------------------------------------------------------
def test_client_closes(upstream: StartUpstream, client: Client) -> None:
    ended = threading.Event()

    def talk(connection: Connection) -> None:
        connection.wait_for_end()
        ended.set()

    upstream(tunnel(talk))
    open_tunnel(client).close()
    assert ended.wait(10)


def test_upstream_closes(upstream: StartUpstream, client: Client) -> None:
    upstream(tunnel(lambda connection: connection.send(b"bye" * 100_000)))
    assert open_tunnel(client).rest() == b"bye" * 100_000


def test_client_ends_its_direction(upstream: StartUpstream, client: Client) -> None:
    """What the upstream sends after the client's end of stream still arrives, to a slow reader too."""

    def talk(connection: Connection) -> None:
        assert connection.wait_for_end() == b"that is all"
        connection.send(b"x" * SIZE)

    upstream(tunnel(talk))
    open_tunnel(client).send(b"that is all").end_sending()
    assert client.exactly(SIZE) == b"x" * SIZE
    assert client.rest() == b""


def test_upstream_ends_its_direction(upstream: StartUpstream, client: Client) -> None:
    received = []
    done = threading.Event()

    def talk(connection: Connection) -> None:
        connection.send(b"that is all")
        connection.socket.shutdown(1)
        received.append(len(connection.wait_for_end()))
        done.set()

    upstream(tunnel(talk))
    assert open_tunnel(client).rest() == b"that is all"
    client.send(b"x" * SIZE).end_sending()
    assert done.wait(10)
    assert received == [SIZE]


def test_upstream_closes_while_the_client_sends(upstream: StartUpstream, client: Client) -> None:
    """The last words of the upstream arrive although it takes no more."""

    def talk(connection: Connection) -> None:
        connection.read_exactly(100_000)
        connection.send(b"enough")
        connection.socket.shutdown(1)
        told.wait(10)

    told = threading.Event()
    upstream(tunnel(talk))
    open_tunnel(client).send(b"x" * 200_000)
    assert client.exactly(6) == b"enough"
    told.set()


@pytest.mark.parametrize("who", ["client", "upstream"])
def test_reset(upstream: StartUpstream, client: Client, who: str) -> None:
    ended = threading.Event()

    def talk(connection: Connection) -> None:
        if who == "upstream":
            connection.read_exactly(1)
            connection.reset()
        else:
            connection.wait_for_end()
        ended.set()

    upstream(tunnel(talk))
    open_tunnel(client)
    if who == "client":
        client.reset()
    else:
        client.send(b"x")
        client.expect_close()
    assert ended.wait(10)


def test_the_connection_is_not_used_again(upstream: StartUpstream, shared_gateway: Gateway) -> None:
    behind = upstream(tunnel(lambda connection: connection.send(b"bye")))
    for number in range(3):
        with Client(shared_gateway.proxy_port) as client:
            assert open_tunnel(client).rest() == b"bye"
        assert behind.connections == number + 1


# --- time and space ----------------------------------------------------------------------------------------
def test_idle_timeout(upstream: StartUpstream, client: Client) -> None:
    """read_timeout is the time without a byte in either direction."""
    ended = threading.Event()

    def talk(connection: Connection) -> None:
        echo(connection)
        ended.set()

    upstream(tunnel(talk), read_timeout=1500)
    open_tunnel(client)
    for _ in range(5):
        assert client.send(b"x").exactly(1) == b"x"
        assert client.quiet(0.35)
    client.expect_close()
    assert ended.wait(10)


def test_one_way_traffic_is_no_idleness(upstream: StartUpstream, client: Client) -> None:
    received = []

    def talk(connection: Connection) -> None:
        received.append(connection.read_exactly(6))
        connection.send(b"still here")

    upstream(tunnel(talk), read_timeout=1000)
    open_tunnel(client)
    for _ in range(6):
        client.send(b"x")
        assert client.quiet(0.2) or received
    assert client.exactly(10) == b"still here"


def worker_memory(gateway: Gateway) -> int:
    return sum(int(psutil.Process(pid).memory_full_info().uss) for pid in gateway.worker_pids())


@pytest.mark.parametrize("who", ["client", "upstream"])
def test_slow_reader(upstream: StartUpstream, shared_gateway: Gateway, client: Client, who: str) -> None:
    """Who does not read stops the other side, and the gateway holds one buffer."""
    sent: list[int] = []
    done = threading.Event()

    def talk(connection: Connection) -> None:
        if who == "client":
            sent.append(fill_socket(connection.socket, b"x" * 65536))
        done.wait(20)
        if who == "upstream":
            connection.read_exactly(sent[0])
            connection.send(b"all read")

    upstream(tunnel(talk))
    open_tunnel(client)
    before = worker_memory(shared_gateway)
    if who == "upstream":
        sent.append(fill_socket(client.socket, b"x" * 65536))
    wait_for(lambda: sent, what="the sender is stopped")
    assert worker_memory(shared_gateway) - before < SLOW_READER_MEMORY
    assert sent[0] < 20_000_000
    done.set()
    if who == "client":
        assert client.exactly(sent[0]) == b"x" * sent[0]
    else:
        assert client.exactly(8) == b"all read"
