"""The cache while processes die: bodies follow from their address, and every one that comes is compared.

Workers are killed again and again while they store and evict (the cache is much smaller than what is asked
for), then Valkey with the strategy `redis`. Never a wrong byte, no error that is not a cut connection of a
killed worker, and hits afterwards. GATEWAY_TEST_FIRE_SECONDS=300 for a longer fire.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from types import TracebackType

import pytest

from tests.support.gateway import PATIENCE, Gateway, is_running, one_service, wait_for
from tests.support.load import SLOWNESS
from tests.support.upstreams import Connection, Upstream, response
from tests.support.valkey import Valkey

FIRE_SECONDS = float(os.environ.get("GATEWAY_TEST_FIRE_SECONDS", "5"))
CLIENTS = 6
ADDRESSES = 300
SMALL = range(1000, 1010)
"""addresses that nobody asks for during the fire"""


@lru_cache(maxsize=2048)
def body_of(target: str) -> bytes:
    """The body of an address: 200 bytes to 96 KiB that no other address has."""
    digest = hashlib.sha256(target.encode()).digest()
    number = int(target.rpartition("/")[2])
    length = 200 if number in SMALL or number % 3 == 0 else 200 + int.from_bytes(digest[:4]) % 98_000
    return (digest.hex().encode() * (length // 64 + 1))[:length]


def serve_bodies(connection: Connection) -> None:
    while True:
        head, _ = connection.read_request()
        if not head:
            return
        target = head.split(b" ", 2)[1].decode()
        connection.send(response(body_of(target), "200 OK", b"Content-Type: text/plain"))


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    # 4 MiB for some 9 MiB of bodies: what is stored pushes something else out all the time
    with Gateway(one_service(1), worker_processes=2, mem_cache_size="4m", proxy_access_log="off") as gateway:
        yield gateway


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream(serve_bodies) as upstream:
        yield upstream


class Clients:
    """Threads that ask for random addresses and compare every byte. Context manager."""

    def __init__(self, port: int) -> None:
        self.answers: Counter[str] = Counter()
        """by X-Cache-Status"""
        self.cut: list[str] = []
        """connections that ended within an answer, or could not be made"""
        self.wrong: list[str] = []
        self._port = port
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=self._run, args=(random.Random(number),), daemon=True)
            for number in range(CLIENTS)
        ]

    def __enter__(self) -> Clients:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join(60)
        assert not any(thread.is_alive() for thread in self._threads)

    @property
    def total(self) -> int:
        return sum(self.answers.values())

    def _run(self, chance: random.Random) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        while not self._stopping.is_set():
            # the square makes some of them popular
            target = f"/fire/{int(chance.random() ** 2 * ADDRESSES)}"
            try:
                connection.request("GET", target)
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException) as error:
                self.cut.append(f"{target}: {type(error).__name__} {error}")
                connection.close()
                continue
            if answer.status != 200 or body != body_of(target):
                self.wrong.append(f"{target}: {answer.status}, {len(body)} bytes {body[:80]!r}")
            self.answers[answer.getheader("X-Cache-Status", "none")] += 1
        connection.close()


def more_answers(clients: Clients, count: int, what: str) -> None:
    goal = clients.total + count
    wait_for(lambda: clients.total >= goal, seconds=PATIENCE * SLOWNESS, what=what)


def cached(gateway: Gateway, upstream: Upstream, **config: object) -> None:
    plugin = {"name": "proxy-cache", "config": {"content_type": ["text/plain"], "cache_ttl": 300, **config}}
    gateway.configure(one_service(upstream.port, plugins=[plugin]))


def alive(gateway: Gateway, killed: set[int]) -> list[int]:
    """Workers that serve, without those that were just killed, which the master may not know yet."""
    return [pid for pid in gateway.worker_pids() if pid not in killed]


def hits(gateway: Gateway) -> bool:
    """Whether addresses that were never asked for before are hits the second time."""
    found = []
    for number in SMALL:
        target = f"/fire/{number}"
        for _ in range(2):
            status, fields, body = gateway.request(target)
            assert (status, body) == (200, body_of(target))
        found.append(fields["X-Cache-Status"])
    return found == ["Hit"] * len(SMALL)


def test_workers_killed_while_they_store(gateway: Gateway, upstream: Upstream) -> None:
    cached(gateway, upstream, strategy="memory")
    chance = random.Random(5)
    killed: set[int] = set()
    with Clients(gateway.proxy_port) as clients:
        more_answers(clients, 200, "answers before the fire")
        end = time.monotonic() + FIRE_SECONDS
        while time.monotonic() < end or len(killed) < 3:
            victims = wait_for(
                lambda: alive(gateway, killed), seconds=PATIENCE * SLOWNESS, what="a worker serves"
            )
            more_answers(clients, chance.randrange(1, 60), "answers between two kills")
            victim = chance.choice(victims)
            assert is_running(victim), f"worker {victim} has ended by itself:\n{gateway.output()}"
            os.kill(victim, signal.SIGKILL)
            killed.add(victim)
            assert not clients.wrong, clients.wrong[:5]
        wait_for(
            lambda: len(alive(gateway, killed)) == 2,
            seconds=PATIENCE * SLOWNESS,
            what="both workers are back",
        )
        cut = len(clients.cut)
        more_answers(clients, 300, "answers after the fire")
        assert len(clients.cut) - cut <= CLIENTS, "connections are cut although nobody is killed"
    assert not clients.wrong, clients.wrong[:5]
    # a kill cuts the connections of one worker: each client has one
    assert len(clients.cut) <= len(killed) * CLIENTS
    assert clients.answers["Hit"] > 0
    assert clients.answers["Miss"] > 0
    wait_for(lambda: hits(gateway), seconds=PATIENCE * SLOWNESS, what="hits again")


def test_redis_killed_and_back(gateway: Gateway, upstream: Upstream) -> None:
    with Valkey() as server:
        cached(gateway, upstream, strategy="redis", redis=server.settings())
        with Clients(gateway.proxy_port) as clients:
            more_answers(clients, 200, "answers with Redis")
            for _ in range(2):
                server.kill()
                more_answers(clients, 300, "answers without Redis")
                server.start()
                more_answers(clients, 300, "answers with an empty Redis")
        assert not clients.wrong, clients.wrong[:5]
        assert not clients.cut, clients.cut[:5]
        assert clients.answers["Hit"] > 0
        wait_for(lambda: hits(gateway), seconds=PATIENCE * SLOWNESS, what="hits again")
