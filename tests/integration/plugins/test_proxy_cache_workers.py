"""proxy-cache on a node with two workers: one store, one request to the upstream for many who want the same,
and workers that die."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.support.client import Client, CutOffError
from tests.support.footprint import at_rest
from tests.support.gateway import Gateway, wait_for
from tests.support.plugged import Sent
from tests.support.scripted_cache import Cached, Script, Told, answer, not_modified

MANY = 40


@pytest.fixture(scope="module")
def cached() -> Iterator[Cached]:
    with Gateway(worker_processes=2, mem_cache_size="16m") as gateway:
        cached = Cached(gateway)
        yield cached
        cached.close()


class Gate:
    """Holds the upstream's answers back until it is opened."""

    def __init__(self, cached: Cached, script: Script) -> None:
        self.cached = cached
        self.script = script
        self.opened = threading.Event()
        cached.script = self.answer

    def answer(self, sent: Sent) -> bytes:
        self.cached.lock.release()  # others come through meanwhile
        assert self.opened.wait(60)
        self.cached.lock.acquire()
        return self.script(sent)

    def wait_for_requests(self, count: int) -> None:
        wait_for(lambda: len(self.cached.seen) >= count, what=f"{count} requests at the upstream")


def counts(cached: Cached) -> dict[str, int]:
    """What the workers have counted, once all requests are over for them."""
    at_rest(cached.gateway)
    status, _, body = cached.gateway.call(cached.gateway.status_port, "GET", "/metrics")
    assert status == 200
    found = re.findall(r"^sluicegate_cache_(\w+)_total (\d+)$", body.decode(), re.MULTILINE)
    return {name: int(value) for name, value in found}


def ask_many(cached: Cached, pool: ThreadPoolExecutor, target: str = "/", count: int = MANY) -> list[Told]:
    return list(pool.map(lambda _: cached.ask(target), range(count)))


def test_both_workers_have_what_one_has_stored(cached: Cached) -> None:
    cached.cache()
    cached.ask("/")
    with ThreadPoolExecutor(16) as pool:
        assert {told.cache for told in ask_many(cached, pool, count=200)} == {"Hit"}
    assert len(cached.seen) == 1


def test_many_misses_make_one_request(cached: Cached) -> None:
    cached.cache()
    gate = Gate(cached, cached.numbered())
    with ThreadPoolExecutor(MANY) as pool:
        asked = [pool.submit(cached.ask, "/") for _ in range(MANY)]
        gate.wait_for_requests(1)
        gate.opened.set()
        told = [one.result() for one in asked]
    assert len(cached.seen) == 1
    assert {one.body for one in told} == {b"number 1"}
    assert sorted(str(one.cache) for one in told) == ["Hit"] * (MANY - 1) + ["Miss"]


def test_variants_are_waited_for_apart(cached: Cached) -> None:
    cached.cache(cache_control=True)
    control = ("Cache-Control: max-age=60", "Vary: X-V")
    gate = Gate(cached, lambda sent: answer(*control, body=f"{sent.get('x-v')}".encode()))
    with ThreadPoolExecutor(MANY) as pool:
        asked = [(str(i % 4), pool.submit(cached.ask, "/", f"X-V: {i % 4}")) for i in range(MANY)]
        gate.wait_for_requests(1)
        gate.opened.set()
        assert all(one.result().body.decode() == value for value, one in asked)
    assert len(cached.seen) == 4


def test_nobody_waits_for_what_is_not_shared(cached: Cached) -> None:
    """Once a response has turned out not to be for storing, requests for it go side by side."""
    cached.cache()
    cached.script = lambda _: answer("Set-Cookie: a=b")
    cached.ask("/")
    gate = Gate(cached, lambda _: answer("Set-Cookie: a=b"))
    with ThreadPoolExecutor(10) as pool:
        asked = [pool.submit(cached.ask, "/") for _ in range(10)]
        gate.wait_for_requests(11)
        gate.opened.set()
        assert {one.result().cache for one in asked} == {"Bypass"}


def test_waiting_has_an_end(cached: Cached) -> None:
    cached.cache(coalesce_timeout=0.1)
    gate = Gate(cached, cached.numbered())
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(cached.ask, "/") for _ in range(3)]
        gate.wait_for_requests(3)
        gate.opened.set()
        assert {one.result().status for one in asked} == {200}


def test_waiting_can_be_turned_off(cached: Cached) -> None:
    cached.cache(coalesce_timeout=0)
    gate = Gate(cached, cached.numbered())
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(cached.ask, "/") for _ in range(3)]
        gate.wait_for_requests(3)
        gate.opened.set()
        assert {one.result().cache for one in asked} == {"Miss"}


def test_the_client_that_is_waited_for_goes_away(cached: Cached) -> None:
    cached.cache()
    gate = Gate(cached, cached.numbered())
    first = Client(cached.gateway.proxy_port).request("/")
    gate.wait_for_requests(1)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(cached.ask, "/") for _ in range(3)]
        first.reset()
        gate.wait_for_requests(2)
        gate.opened.set()
        assert {one.result().status for one in asked} == {200}
    assert len(cached.seen) == 2


def test_clients_that_wait_go_away(cached: Cached) -> None:
    cached.cache()
    gate = Gate(cached, cached.numbered())
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cached.ask, "/")
        gate.wait_for_requests(1)
        for _ in range(20):
            Client(cached.gateway.proxy_port).request("/").reset()
        gate.opened.set()
        assert asked.result().cache == "Miss"
    assert [cached.ask("/").cache for _ in range(4)] == ["Hit"] * 4


def test_the_upstream_fails_the_one_that_is_waited_for(cached: Cached) -> None:
    cached.cache()
    gate = Gate(cached, lambda _: b"nonsense\r\n\r\n")
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(cached.ask, "/") for _ in range(5)]
        gate.wait_for_requests(1)
        gate.opened.set()
        assert {one.result().status for one in asked} == {502}


def test_one_fetches_what_many_are_told_stale(cached: Cached) -> None:
    cached.cache(cache_control=True)
    cached.script = cached.numbered("Cache-Control: max-age=1, stale-while-revalidate=100", 'ETag: "e"')
    cached.ask("/")
    stale = ("/", "Cache-Control: only-if-cached, min-fresh=0")
    wait_for(lambda: cached.ask(*stale).status == 504, what="the response to be stale")
    gate = Gate(cached, lambda _: not_modified("Cache-Control: max-age=100"))
    with ThreadPoolExecutor(16) as pool:
        told = ask_many(cached, pool, count=100)
    gate.opened.set()
    assert {(one.cache, one.body) for one in told} == {("Hit", b"number 1")}
    wait_for(lambda: cached.ask(*stale).status == 200, what="the confirmation")
    assert len(cached.seen) == 2


def test_a_purge_while_it_is_fetched(cached: Cached) -> None:
    cached.cache()
    gate = Gate(cached, cached.numbered())
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cached.ask, "/")
        gate.wait_for_requests(1)
        assert cached.gateway.call(cached.gateway.admin_port, "DELETE", "/proxy-cache")[0] == 204
        gate.opened.set()
        assert asked.result().status == 200
    assert cached.outcomes("/", "/") == ["Miss", "Hit"]


def test_what_is_counted(cached: Cached) -> None:
    cached.cache(cache_control=True)
    before = counts(cached)
    cached.script = cached.numbered("Cache-Control: max-age=1", 'ETag: "e"')
    cached.outcomes("/", "/", ("/", "Cache-Control: no-store"))
    stale = ("/", "Cache-Control: only-if-cached, min-fresh=0")
    wait_for(lambda: cached.ask(*stale).status == 504, what="the response to be stale")
    assert cached.ask("/", "Cache-Control: max-stale").cache == "Hit"
    cached.script = lambda _: not_modified("Cache-Control: max-age=60")
    assert cached.ask("/").cache == "Refresh"
    after = counts(cached)
    difference = {name: after[name] - before[name] for name in after}
    # each question whether it is stale may have been a hit
    assert difference["hits"] >= 2
    assert {name: difference[name] for name in ("misses", "bypasses", "stale", "revalidated", "stored")} == {
        "misses": 2,
        "bypasses": 1,
        "stale": 1,
        "revalidated": 1,
        "stored": 1,
    }


def test_workers_die(cached: Cached) -> None:
    """What they have stored stays; nobody waits for what a dead one was about to fetch."""
    cached.cache(coalesce_timeout=300)
    assert cached.ask("/kept").cache == "Miss"
    gate = Gate(cached, cached.numbered())
    with ThreadPoolExecutor(8) as pool:
        lost = [pool.submit(outlive, cached) for _ in range(8)]
        gate.wait_for_requests(2)
        wait_for(lambda: connected(cached.gateway) == 8, what="workers have all the clients")
        for pid in cached.gateway.worker_pids():
            os.kill(pid, signal.SIGKILL)
        assert all(one.result() for one in lost)
    gate.opened.set()
    wait_for(cached.gateway.accepts, what="other workers")
    for _ in range(8):
        assert cached.ask("/kept").cache == "Hit"
        assert cached.ask("/").status == 200


def connected(gateway: Gateway) -> int:
    return sum(worker["connections_active"] for worker in gateway.status()["workers"])


def outlive(cached: Cached) -> bool:
    """Ask, and find that there is no answer."""
    try:
        cached.ask("/")
    except (CutOffError, ConnectionError):
        return True
    return False
