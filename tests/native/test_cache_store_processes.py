"""The store of responses with processes that are killed, at random instants and at chosen instructions.

CACHE_STRESS_SECONDS: how long the first test goes on. CACHE_STRESS_STRIDE: instructions between two kills of
the others (1: at every one).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from native.cache_store import CacheView, FoundEntry, check_shards, hold_shard, store_between_stops
from native.shm import SharedState
from tests.support.stepping import NotPermittedError, SteppedProcess

SECONDS = os.environ.get("CACHE_STRESS_SECONDS", "4")
STRIDE = int(os.environ.get("CACHE_STRESS_STRIDE", "0"))
# Of a way to write, without a stride. With sanitizers there are ten times as many instructions.
KILLS = 3 if "GATEWAY_TEST_SANITIZED" in os.environ else 8
KEY = "5" * 64
OLD = b"old" * 400
NEW = (b"new " * 25, b"and the rest" * 150)


@pytest.mark.parametrize("size", [1 << 20, 12 << 20])
def test_killed_at_random_instants(size: int) -> None:
    """Four workers do everything at once, are killed and started again, and look at all bytes they read."""
    command = [sys.executable, "-m", "tests.support.cache_stress", "--size", str(size)]
    seconds = str(float(SECONDS) / 2)
    done = subprocess.run([*command, "--seconds", seconds, "--kills", "20"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    figures = json.loads(done.stdout)
    assert figures["kills"] >= 20
    assert min(figures[name] for name in ("found", "stored", "pinned", "removed", "freshened")) > 0
    if float(SECONDS) > 4:
        print(done.stdout)


class Node:
    """A gateway's memory; this process is worker 0, worker 1 is stepped through, worker 2 is dead."""

    def __init__(self, way: str) -> None:
        self.way = way
        self.shared = SharedState.create(3, cache_bytes=1 << 20)
        self.shared.set_worker(0, pid=os.getpid(), starts=1)
        self.view = CacheView(self.shared, 0)
        self.sequence = 0

    def prepare(self) -> None:
        """What there is before worker 1 begins to write."""
        if self.way == "full":
            for number in range(450):
                assert self.view.store(f"{number:064x}", b"k", b"x" * 1500)
        if self.way == "new":
            self.view.remove(KEY)
        else:
            assert self.view.store(KEY, b"key", OLD)
        self.sequence = self.view.sequence()
        self.shared.set_worker(1, starts=self.shared.worker(1)["starts"] + 1)
        self.shared.set_worker(1, pid=1)

    def start(self) -> SteppedProcess:
        """Worker 1 writes an entry; it may first come upon a shard that a dead worker has left locked."""
        self.prepare()
        view = CacheView(self.shared, 1)
        if self.way == "emptied":
            self.shared.set_worker(2, pid=1)
            assert hold_shard(CacheView(self.shared, 2), KEY)
            self.shared.set_worker(2, pid=0)

        def body() -> None:
            store_between_stops(view, KEY, b"key", *NEW, self.sequence, self.way == "discarded")

        try:
            return SteppedProcess(body)
        except NotPermittedError as error:
            pytest.skip(f"processes cannot be traced here: {error}")

    def death(self, process: SteppedProcess) -> None:
        process.kill()
        self.shared.set_worker(1, pid=0)

    def check(self) -> None:
        """What is found is whole."""
        found = self.view.find(KEY, b"key")
        assert found is None or found["body"] in (OLD, b"".join(NEW))

    def check_usable(self) -> None:
        assert self.view.store("6" * 64, b"k", b"other" * 1000)
        assert self.view.find("6" * 64, b"k")["body"] == b"other" * 1000

    def check_all_is_there(self) -> None:
        """Nothing is left of the dead when the hand has gone round."""
        for number in range(1500):
            assert self.view.store(f"{number:064x}", b"k", b"x" * 900)
        self.view.purge_all()
        counted = check_shards(self.view)
        assert counted["free"] == sum(counted.values())


@pytest.fixture(params=["new", "replaced", "full", "discarded", "emptied"])
def node(request: pytest.FixtureRequest) -> Node:
    return Node(request.param)


def instructions(node: Node) -> Iterator[int]:
    """The steps at which something is to happen."""
    with node.start() as process:
        while process.step(100):
            pass
        count = process.steps
        node.death(process)
    assert count > 500
    stride = STRIDE or count // (KILLS // 2 if node.way == "emptied" else KILLS)
    yield from range(1 if STRIDE else stride // 2, count, stride)


def test_killed_at_an_instruction(node: Node) -> None:
    for steps in instructions(node):
        with node.start() as process:
            pinned = None
            if node.way in ("replaced", "emptied"):
                pinned = FoundEntry(node.view, KEY, b"key")
                assert pinned.pin()
            process.step(steps)  # there may be some fewer than the first time
            node.check()
            node.death(process)
        node.check()
        node.check_usable()
        node.check()
        check_shards(node.view)
        if pinned:
            assert pinned.read() == OLD
            pinned.unpin()
    node.check_all_is_there()


def test_read_at_every_instruction(node: Node) -> None:
    with node.start() as process:
        while process.step(STRIDE or 5):
            node.check()
        node.check()
        node.death(process)
    node.check_all_is_there()


def test_removed_at_an_instruction(node: Node) -> None:
    """However far the entry is: it cannot be found when the removal is over, now or later."""
    ways = [
        lambda: node.view.remove(KEY),
        lambda: node.view.remove_prefix(b"ke"),
        node.view.purge_all,
    ]
    for number, steps in enumerate(instructions(node)):
        with node.start() as process:
            process.step(steps)
            ways[number % 3]()
            assert node.view.get(KEY) is None
            process.run_on()
            assert node.view.find(KEY, b"key") is None
            check_shards(node.view)
            node.death(process)
    node.check_all_is_there()
