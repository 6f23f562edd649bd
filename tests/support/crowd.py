"""Processes that use one table in shared memory at once, some of which are killed."""

from __future__ import annotations

import mmap
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

from native.shm import SharedState

PROCESSES = 4
Table = TypeVar("Table")


class Crowd(Generic[Table]):
    """Processes that share a table, and a counter each."""

    def __init__(self, shared: SharedState, table: Table) -> None:
        self.shared = shared
        self.table = table
        # (Assigned to as whole words: struct.pack_into() would write a zero first.)
        self._counters = memoryview(mmap.mmap(-1, 8 * PROCESSES)).cast("q")
        self.pids: list[int] = []

    def start(self, work: Callable[[Callable[[], None], int], None]) -> None:
        """Fork; each process calls `work` with a function that counts, and its number, and is gone."""
        for index in range(PROCESSES):
            pid = os.fork()
            if not pid:
                try:
                    work(lambda index=index: self._count(index), index)
                finally:
                    os._exit(0)
            self.pids.append(pid)

    def _count(self, index: int) -> None:
        self._counters[index] += 1

    @property
    def total(self) -> int:
        """Of all counters."""
        return sum(self._counters)

    def wait(self) -> None:
        """Until all are gone."""
        while self.pids:
            os.waitpid(self.pids.pop(), 0)

    def kill(self) -> None:
        """At whatever instruction they are."""
        for pid in self.pids:
            os.kill(pid, signal.SIGKILL)
        self.wait()


@contextmanager
def crowd(shared: SharedState, table: Table) -> Iterator[Crowd[Table]]:
    """Nobody is left behind."""
    people = Crowd(shared, table)
    try:
        yield people
    finally:
        people.kill()
