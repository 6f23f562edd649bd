"""The table of limits, hammered by several processes at once, some of which are killed."""

from __future__ import annotations

import mmap
import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from native.limiter import LimitAlgorithm, Limits, LimitTable
from native.shm import SharedState
from tests.support.crowd import PROCESSES, Crowd
from tests.support.crowd import crowd as crowd_around
from tests.support.gateway import wait_for

FIXED, SLIDING, BUCKET = LimitAlgorithm
SECOND, MINUTE, HOUR, DAY, MONTH, YEAR = range(6)
NOW = 1_795_000_000 * 1_000_000_000


def crowd(table_size: int = 1 << 20) -> AbstractContextManager[Crowd[LimitTable]]:
    shared = SharedState.create(1, limiter_bytes=table_size)
    return crowd_around(shared, LimitTable(shared))


@pytest.mark.parametrize("algorithm", LimitAlgorithm)
@pytest.mark.parametrize("periods", [[(MINUTE, 3000)], [(MINUTE, 5000), (HOUR, 3000), (DAY, 4000)]])
def test_exactly_the_limit_is_admitted(algorithm: LimitAlgorithm, periods: list[tuple[int, int]]) -> None:
    with crowd() as people:
        limits = Limits([(algorithm, period, amount) for period, amount in periods])

        def work(count: Callable[[], None], _: int) -> None:
            for _ in range(3000):
                if people.table.admit(limits, b"k", NOW)[0] is None:
                    count()

        people.start(work)
        people.wait()
        assert people.total == 3000
        remaining = [left for left, _ in people.table.look(limits, b"k", NOW)]
        assert remaining == [amount - 3000 for _, amount in periods], "nothing was counted twice or kept"


def test_keys_that_come_at_once_get_one_place_each() -> None:
    """New keys, in few buckets, in the same order for all: insertions meet all the time."""
    keys = [b"key %d" % number for number in range(2500)]
    # Buckets are chosen by a random secret: with half as many, one in forty runs fills a bucket by chance.
    with crowd(1 << 18) as people:
        limits = Limits([(FIXED, MINUTE, 3)])

        def work(count: Callable[[], None], _: int) -> None:
            for key in keys:
                for _ in range(2):
                    if people.table.admit(limits, key, NOW)[0] is None:
                        count()

        people.start(work)
        people.wait()
        assert people.table.statistics()["evictions"] == 0
        assert people.total == 3 * len(keys)
        assert people.table.statistics()["used_places"] == len(keys)


def test_windows_that_follow_each_other_are_kept_apart() -> None:
    """Processes whose clocks differ by up to a window: each window admits its limit and no more."""
    windows = 300
    with crowd() as people:
        limits = Limits([(FIXED, SECOND, 20)])
        reached = memoryview(mmap.mmap(-1, 8 * PROCESSES)).cast("q")

        def work(count: Callable[[], None], index: int) -> None:
            for window in range(windows):
                while min(reached) + 1 < window:
                    time.sleep(0)
                reached[index] = window
                for _ in range(30):
                    if people.table.admit(limits, b"k", NOW + window * 1_000_000_000)[0] is None:
                        count()

        people.start(work)
        people.wait()
        assert people.total == 20 * windows


@pytest.mark.parametrize("algorithm", LimitAlgorithm)
def test_killed_processes_lose_no_count_and_lock_nothing(algorithm: LimitAlgorithm) -> None:
    """What a process had counted when it was killed is there; so may be what it was just counting."""
    amount = 1_000_000
    chance = random.Random(7)
    with crowd(1 << 17) as people:
        limits = Limits([(algorithm, YEAR, amount)])
        other = Limits([(FIXED, HOUR, 1)], seed=b"other")

        def work(count: Callable[[], None], index: int) -> None:
            chance = random.Random(index)
            while True:
                if people.table.admit(limits, b"k", NOW)[0] is None:
                    count()
                # insertions and evictions in all buckets
                people.table.admit(other, b"%d" % chance.randrange(1 << 40), NOW)

        rounds = 12
        for _ in range(rounds):
            before = people.total
            people.start(work)
            wait_for(lambda before=before: people.total > before, what="the processes count")
            time.sleep(chance.random() / 100)
            people.kill()
        [(remaining, _)] = people.table.look(limits, b"k", NOW)
        used = amount - remaining
        assert people.total <= used <= people.total + rounds * PROCESSES
        # every bucket takes new keys
        taken = 0
        for number in range(8000):
            taken += people.table.admit(other, b"after %d" % number, NOW)[0] is None
        assert taken == 8000
