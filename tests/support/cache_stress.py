"""Processes that hammer one cache while they are killed at random instants; the master is played here.

    python -m tests.support.cache_stress --seconds 60 [--kills 5000] [--size 2097152] [--seed 1]

Prints figures as JSON. Leaves with 1 when a byte was wrong, a pinned entry lost its bytes, the store was no
longer usable, or blocks were lost.
"""

from __future__ import annotations

import argparse
import gc
import json
import mmap
import os
import random
import signal
import sys
import time

from native.cache_store import BOARD_WORDS, HAMMER_COUNTS, CacheView, Hammer, check_shards
from native.shm import SharedState

WORKERS = 4
ROUNDS = 1000  # until a worker looks whether it is to end
LONGEST_LIFE = 0.03  # seconds


class WrongError(Exception):
    """What the store must never do."""


class Master:
    """Starts workers, kills them, and takes note of their deaths as gateway/master.py does."""

    def __init__(self, size: int, seed: int) -> None:
        self.shared = SharedState.create(WORKERS + 1, cache_bytes=size)
        self.shared.control_pid = os.getpid()
        self.board = memoryview(mmap.mmap(-1, 8 * BOARD_WORDS)).cast("Q")
        self.chance = random.Random(seed)
        self.pids: dict[int, int] = {}
        self.started = 0
        self.kills = 0
        # this process is a worker as well, one that lives on and keeps its pins
        self.shared.set_worker(WORKERS, pid=os.getpid(), starts=1)
        self.view = CacheView(self.shared, WORKERS)
        self.survivor = Hammer(self.view, self.board, self._seed(), 100_000)

    def _seed(self) -> int:
        self.started += 1
        return self.started

    def start(self, index: int) -> None:
        seed = self._seed()
        self.shared.set_worker(index, starts=self.shared.worker(index)["starts"] + 1)
        pid = os.fork()
        if not pid:
            wrong = 99
            try:
                self.shared.set_worker(index, pid=os.getpid())
                hammer = Hammer(CacheView(self.shared, index), self.board, seed)
                wrong = 0
                while not wrong:
                    wrong = hammer.work(ROUNDS)
            finally:
                os._exit(wrong)
        self.pids[index] = pid

    def kill(self, index: int) -> None:
        os.kill(self.pids[index], signal.SIGKILL)
        self.reap(index)
        self.kills += 1

    def reap(self, index: int) -> None:
        _, status = os.waitpid(self.pids.pop(index), 0)
        self.shared.set_worker(index, pid=0)
        code = os.waitstatus_to_exitcode(status)
        if code not in (0, -signal.SIGKILL):
            raise WrongError(f"a worker ended with {code}")

    def run(self, seconds: float, kills: int) -> None:
        """Kill and start again for so long, and until there were so many kills."""
        end = time.monotonic() + seconds
        for index in range(WORKERS):
            self.start(index)
        while time.monotonic() < end or self.kills < kills:
            until = time.monotonic() + self.chance.random() * LONGEST_LIFE / WORKERS
            while True:
                self.check(self.survivor.work(20))
                if time.monotonic() >= until:
                    break
            index = self.chance.randrange(WORKERS)
            self.kill(index)
            if self.chance.random() < 0.3:  # others find out about the death before somebody takes over
                self.check(self.survivor.work(200))
            self.start(index)

    def check(self, wrong: int) -> None:
        if wrong:
            raise WrongError(f"the survivor saw {wrong}")

    def finish(self) -> dict[str, int]:
        """Everything can be used, and every block is there."""
        for index in list(self.pids):
            self.kill(index)
        self.survivor.rest()
        # until the hand has been everywhere
        count = self.view.statistics()["size"] // 500
        for number in range(count):
            text = b"%d" % number
            if not self.view.store(f"{number:064x}", text, text * 300):
                raise WrongError("nothing can be stored in the end")
            found = self.view.find(f"{number:064x}", text)
            if found is None or found["body"] != text * 300:
                raise WrongError("what was stored in the end is not found")
        self.view.purge_all()
        counted = check_shards(self.view)
        if counted["free"] != sum(counted.values()):
            raise WrongError(f"blocks are lost: {counted}")
        return {"kills": self.kills, **dict(zip(HAMMER_COUNTS, self.board, strict=False))}


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--size", type=int, default=2 << 20)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    gc.freeze()  # children are forked all the time: pages stay shared
    master = Master(options.size, options.seed)
    begin = time.monotonic()
    try:
        master.run(options.seconds, options.kills)
        figures = master.finish()
    except WrongError as wrong:
        print(wrong)
        return 1
    finally:
        for pid in master.pids.values():
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    statistics = master.view.statistics()
    figures |= {name: statistics[name] for name in ("evictions", "emptied", "skipped", "purged")}
    print(json.dumps(figures | {"seconds": round(time.monotonic() - begin, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
