"""Counting by consumer: a table of bounded size that one process writes and another reads."""

from __future__ import annotations

import itertools
import os
import signal

import pytest

from native.consumer_counts import (
    any_consumer_counts,
    consumer_overflows,
    count_consumer,
    read_consumer_counts,
)
from native.shm import CONSUMER_SLOTS, SharedState
from tests.support.gateway import wait_for

ROUTES = range(1000)
CONSUMERS = range(10_000_000)


@pytest.fixture
def shared() -> SharedState:
    return SharedState.create(3)


def fill(shared: SharedState, consumers: range) -> int:
    """Count one request of each consumer; how many of them found a slot."""
    return sum(count_consumer(shared, 0, consumer=number, route=1, status=200) for number in consumers)


def test_starts_empty(shared: SharedState) -> None:
    assert not any_consumer_counts(shared)
    assert read_consumer_counts(shared, CONSUMERS, ROUTES) == {}
    assert consumer_overflows(shared) == 0


def test_counts_are_summed_over_the_workers(shared: SharedState) -> None:
    count_consumer(shared, 0, consumer=7, route=1, status=200, ingress=10, egress=100)
    count_consumer(shared, 0, consumer=7, route=1, status=200, ingress=1, egress=2)
    count_consumer(shared, 2, consumer=7, route=1, status=200, ingress=5, egress=6)
    count_consumer(shared, 2, consumer=7, route=1, status=429, source=1)
    count_consumer(shared, 2, consumer=7, route=2, status=200, egress=1)
    count_consumer(shared, 1, consumer=8, route=1, status=200)
    assert any_consumer_counts(shared)
    assert read_consumer_counts(shared, CONSUMERS, ROUTES) == {
        (1, 7, 200, 0): (3, 16, 108),
        (1, 7, 429, 1): (1, 0, 0),
        (2, 7, 200, 0): (1, 0, 1),
        (1, 8, 200, 0): (1, 0, 0),
    }
    with pytest.raises(IndexError):
        count_consumer(shared, 3, consumer=1, route=1, status=200)


def test_what_finds_no_slot_is_told_and_lost_for_nobody_else(shared: SharedState) -> None:
    found = fill(shared, range(2 * CONSUMER_SLOTS))
    assert 0.9 * CONSUMER_SLOTS < found <= CONSUMER_SLOTS
    assert consumer_overflows(shared) == 2 * CONSUMER_SLOTS - found
    counts = read_consumer_counts(shared, CONSUMERS, ROUTES)
    assert len(counts) == found
    assert set(counts.values()) == {(1, 0, 0)}


def test_half_full_there_is_room_for_everybody(shared: SharedState) -> None:
    assert fill(shared, range(CONSUMER_SLOTS // 2)) == CONSUMER_SLOTS // 2


def test_slots_of_deleted_consumers_and_routes_are_used_again(shared: SharedState) -> None:
    """Only once the reader has seen that they are gone: numbers that are shown never fall."""
    fill(shared, range(2 * CONSUMER_SLOTS))
    late = range(5_000_000, 5_000_100)
    before = read_consumer_counts(shared, CONSUMERS, ROUTES)
    fill(shared, late)
    assert before.items() <= read_consumer_counts(shared, CONSUMERS, ROUTES).items()
    staying = range(1000)
    kept = {key: found for key, found in before.items() if key[1] in staying}
    assert read_consumer_counts(shared, staying, ROUTES) == kept
    assert fill(shared, late) == len(late)
    assert read_consumer_counts(shared, CONSUMERS, ROUTES).items() >= kept.items()
    # those of routes likewise
    assert read_consumer_counts(shared, CONSUMERS, range(0)) == {}
    assert count_consumer(shared, 0, consumer=9_000_000, route=2, status=200)
    assert read_consumer_counts(shared, CONSUMERS, range(2, 3)) == {(2, 9_000_000, 200, 0): (1, 0, 0)}


def test_a_consumer_that_comes_back_keeps_its_numbers(shared: SharedState) -> None:
    count_consumer(shared, 0, consumer=7, route=1, status=200)
    assert read_consumer_counts(shared, range(0), ROUTES) == {}
    assert read_consumer_counts(shared, CONSUMERS, ROUTES) == {(1, 7, 200, 0): (1, 0, 0)}
    fill(shared, range(100, 2 * CONSUMER_SLOTS))
    assert read_consumer_counts(shared, CONSUMERS, ROUTES)[1, 7, 200, 0] == (1, 0, 0)


def test_a_killed_writer_leaves_the_table_usable(shared: SharedState) -> None:
    """Also in the middle of giving a slot to somebody else. What is read meanwhile is never half of each."""

    def write_for_ever() -> None:
        for number in itertools.cycle(range(1, 5000)):  # all of them consumers that exist
            for consumer in range(64):
                size = 1000 * number + consumer
                count_consumer(shared, 0, consumer=size, route=1, status=200, ingress=size, egress=size)

    def read() -> bool:
        counts = read_consumer_counts(shared, CONSUMERS, ROUTES)
        for (_, consumer, _, _), (requests, ingress, egress) in counts.items():
            # a request may be counted while it is read: its bytes come after it
            assert consumer * (requests - 1) <= egress <= ingress <= consumer * requests
        return bool(counts)

    for _ in range(3):
        pid = os.fork()
        if not pid:
            try:
                write_for_ever()
            finally:
                os._exit(1)
        try:
            for _ in range(5):
                wait_for(read, what="counts of the writer")
                read_consumer_counts(shared, range(0), ROUTES)  # all slots may be taken by others now
        finally:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
    read_consumer_counts(shared, range(0), ROUTES)
    assert fill(shared, range(5_000_000, 5_001_000)) == 1000
    assert len(read_consumer_counts(shared, range(5_000_000, 5_001_000), ROUTES)) == 1000
