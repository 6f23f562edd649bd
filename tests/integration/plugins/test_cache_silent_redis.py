"""proxy-cache in a Redis that says nothing: packets that get no answer, and a server that stops at the worst
moment. Requests are served, and none waits for long."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest

from tests.support.gateway import Gateway, wait_for
from tests.support.plugged import Sent
from tests.support.scripted_cache import Cached, Told, answer
from tests.support.valkey import Valkey

CLIENTS = 8
LONGEST = 10.0
"""Seconds that all of a test may take on a busy machine; the gateway itself waits for half a second"""


@pytest.fixture(scope="module")
def cached(shared_gateway: Gateway) -> Iterator[Cached]:
    cached = Cached(shared_gateway)
    yield cached
    cached.close()


@pytest.fixture
def black_hole() -> Iterator[int]:
    """A port whose listener has a full queue: connections to it are neither made nor refused."""
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = int(listener.getsockname()[1])

        def is_full() -> bool:
            one = stack.enter_context(socket.socket())
            one.settimeout(0.1)
            try:
                one.connect(("127.0.0.1", port))
            except TimeoutError:
                return True
            return False

        wait_for(is_full, what="the queue is full")
        yield port


def ask_many(cached: Cached, name: str, count: int = CLIENTS) -> list[Told]:
    """All at once, each for something of its own."""
    with ThreadPoolExecutor(count) as pool:
        return list(pool.map(lambda number: cached.ask(f"/{name}/{number}"), range(count)))


def test_nobody_takes_the_connection(cached: Cached, black_hole: int) -> None:
    cached.cache(strategy="redis", redis={"host": "127.0.0.1", "port": black_hole, "timeout": 60_000})
    started = time.monotonic()
    for attempt in range(3):
        told = ask_many(cached, f"attempt-{attempt}")
        assert {(one.status, one.cache) for one in told} == {(200, "Bypass")}
    assert time.monotonic() - started < LONGEST


def test_redis_stops_while_the_upstream_answers(cached: Cached) -> None:
    """What was missing in Redis cannot be stored there: the client does not notice."""
    with Valkey() as valkey:
        cached.cache(strategy="redis", redis=valkey.settings(timeout=500))
        wait_for(lambda: cached.ask("/known").cache == "Hit", what="Redis is used")

        def freeze(sent: Sent) -> bytes:
            if sent.target == "/stops":
                valkey.freeze()
            return answer(body=sent.target.encode())

        cached.script = freeze
        started = time.monotonic()
        told = cached.ask("/stops")
        assert (told.status, told.cache, told.body) == (200, "Miss", b"/stops")
        # this node has it, whatever becomes of Redis
        assert cached.ask("/stops").cache == "Hit"
        told = ask_many(cached, "stopped")
        assert {(one.status, one.cache) for one in told} == {(200, "Bypass")}
        assert time.monotonic() - started < LONGEST
        valkey.thaw()
        wait_for(lambda: cached.ask("/again").cache == "Hit", what="Redis is used again")
