"""Health, open requests and latency of addresses in shared memory, against Kong's rules written plainly."""

from __future__ import annotations

import math
import mmap
import os
import random
import signal
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.shm import SharedState
from native.target_state import (
    GROUP_SLOTS,
    TARGET_SLOTS,
    TargetHealth,
    TargetReport,
    TargetStates,
)
from tests.support.gateway import wait_for

HEALTHY, MOSTLY_HEALTHY, MOSTLY_UNHEALTHY, UNHEALTHY = TargetHealth
SUCCESS, TCP_FAILURE, TIMEOUT, HTTP_FAILURE = TargetReport
KINDS = ("successes", "tcp_failures", "timeouts", "http_failures")
AVAILABLE = (HEALTHY, MOSTLY_HEALTHY)


@pytest.fixture(scope="module")
def shared() -> SharedState:
    return SharedState.create(4)


@pytest.fixture
def states(shared: SharedState) -> Iterator[TargetStates]:
    """A table in which slot 1 of both kinds is given."""
    table = TargetStates(shared)
    table.give_group(1, 11)
    table.give_target(1, 21)
    yield table
    for slot in table.targets_in_use().values():
        table.release_target(slot)
    for slot in table.groups_in_use().values():
        table.release_group(slot)


class Model:
    """Kong's counters of one target."""

    def __init__(self) -> None:
        self.health = HEALTHY
        self.counts = dict.fromkeys(KINDS, 0)

    def report(self, kind: TargetReport, limit: int) -> None:
        good = kind is SUCCESS
        if limit == 0 or self.health is (HEALTHY if good else UNHEALTHY):
            return
        self.counts[KINDS[kind]] += 1
        for forgotten in KINDS[1:] if good else KINDS[:1]:
            self.counts[forgotten] = 0
        if self.counts[KINDS[kind]] >= limit:
            self.health = HEALTHY if good else UNHEALTHY
        elif good and self.health is UNHEALTHY:
            self.health = MOSTLY_UNHEALTHY
        elif not good and self.health is HEALTHY:
            self.health = MOSTLY_HEALTHY

    def set(self, healthy: bool) -> None:
        self.health = HEALTHY if healthy else UNHEALTHY
        self.counts = dict.fromkeys(KINDS, 0)


LIMITS = st.tuples(*[st.integers(0, 5) | st.sampled_from([0, 255])] * 4)


@settings(max_examples=300, deadline=None)
@given(
    limits=LIMITS, events=st.lists(st.sampled_from([*TargetReport, *TargetReport, True, False]), max_size=60)
)
def test_reports_count_as_in_kong(
    shared: SharedState, limits: tuple[int, int, int, int], events: list[TargetReport | bool]
) -> None:
    states = TargetStates(shared)
    states.give_group(2, 12)
    states.give_target(2, 22)
    model = Model()
    changes = 0
    try:
        for now, event in enumerate(events, 1):
            before = model.health
            version = states.group(2)["version"]
            if isinstance(event, TargetReport):
                model.report(event, limits[event])
                changed = states.report(2, 2, event, limits, now)
                assert changed == ((before in AVAILABLE) != (model.health in AVAILABLE))
            else:
                model.set(event)
                assert states.set(2, 2, event, now) == (before is not model.health)
            moved = (before in AVAILABLE) != (model.health in AVAILABLE)
            changes += moved
            facts = states.target(2)
            assert facts["health"] is states.health(2) is model.health
            assert {kind: facts[kind] for kind in KINDS} == model.counts  # type: ignore[literal-required]
            assert states.is_available(2) == (model.health in AVAILABLE)
            assert states.group(2)["version"] == version + moved
            assert facts["changes"] == changes
            if moved and model.health in AVAILABLE:
                assert facts["available_since_ms"] == now
    finally:
        states.release_target(2)
        states.release_group(2)


def test_the_largest_limit_is_reached(states: TargetStates) -> None:
    for _ in range(254):
        assert not states.report(1, 1, HTTP_FAILURE, (0, 0, 0, 255), 1)
    assert states.health(1) is MOSTLY_HEALTHY
    assert states.report(1, 1, HTTP_FAILURE, (0, 0, 0, 255), 1)
    # one who looks at it with other limits finds the counter at its end
    states.set(1, 1, True, 1)
    for _ in range(300):
        states.report(1, 1, TIMEOUT, (0, 0, 255, 0), 1)
    assert (states.target(1)["timeouts"], states.target(1)["tcp_failures"]) == (255, 0)


def test_kinds_of_failure_count_alone(states: TargetStates) -> None:
    limits = (1, 2, 2, 2)
    for kind in (TCP_FAILURE, TIMEOUT, HTTP_FAILURE):
        assert not states.report(1, 1, kind, limits, 1)
    assert states.is_available(1)
    assert states.report(1, 1, TCP_FAILURE, limits, 1)
    assert states.health(1) is UNHEALTHY


def test_slot_0_is_nobodys(states: TargetStates) -> None:
    assert not states.report(1, 0, TCP_FAILURE, (1, 1, 1, 1), 1)
    assert not states.set(1, 0, False, 1)
    states.begin(0, 0)
    states.note_latency(0, 1000, 1)
    assert states.health(0) is HEALTHY
    assert states.is_available(0)
    assert states.latency(0, 1) == 0
    # nor is one that the table does not have
    assert states.is_available(TARGET_SLOTS)
    assert not states.set(1, TARGET_SLOTS, False, 1)
    for slot in (-1, 0, TARGET_SLOTS):
        with pytest.raises(IndexError):
            states.target(slot)
    with pytest.raises(IndexError):
        states.group(GROUP_SLOTS)


def test_a_group_that_is_not_there_hears_nothing(states: TargetStates) -> None:
    assert states.report(0, 1, TCP_FAILURE, (1, 1, 1, 1), 1)
    assert states.report(GROUP_SLOTS, 1, SUCCESS, (1, 1, 1, 1), 1)


def test_slots_are_found_by_identity_and_begin_anew(shared: SharedState, states: TargetStates) -> None:
    states.give_target(7, 27, available_since_ms=5)
    assert TargetStates(shared).targets_in_use() == {21: 1, 27: 7}
    assert TargetStates(shared).groups_in_use() == {11: 1}
    states.set(1, 7, False, 1)
    states.begin(0, 7)
    states.end(0, 7, failed=True)
    states.note_latency(7, 900, 1)
    states.set_target_unused(7, 9)
    states.release_target(7)
    assert states.targets_in_use() == {21: 1}
    states.give_target(7, 28)
    assert states.target(7) == {
        "identity": 28,
        "health": HEALTHY,
        "changes": 0,
        **dict.fromkeys(KINDS, 0),
        **dict.fromkeys(("available_since_ms", "unused_since_ms", "open", "requests", "failures"), 0),
    }
    assert states.latency(7, 1) == 0
    with pytest.raises(ValueError, match="not free"):
        states.give_target(7, 29)
    with pytest.raises(ValueError, match="not free"):
        states.give_group(1, 29)
    with pytest.raises(ValueError, match="not free"):
        states.give_target(8, 0)


# --- open requests --------------------------------------------------------------------------------------


def test_open_requests_are_those_of_all_workers(states: TargetStates) -> None:
    for worker, number in ((0, 3), (1, 2)):
        for _ in range(number):
            states.begin(worker, 1)
    assert states.target(1)["open"] == 5
    states.end(0, 1)
    states.end(1, 1, failed=True)
    facts = states.target(1)
    assert (facts["open"], facts["requests"], facts["failures"]) == (3, 5, 1)
    version = states.group(1)["version"]
    states.forget_worker(0)
    assert states.target(1)["open"] == 1
    assert states.group(1)["version"] > version  # it may have been killed before it told of a change
    states.forget_worker(0)
    states.forget_worker(99)
    assert states.target(1)["open"] == 1


def test_open_requests_are_never_below_none(states: TargetStates) -> None:
    states.begin(0, 1)
    states.end(0, 1)
    states.end(0, 1)  # as after a death between two writes
    assert states.target(1)["open"] == 0
    states.begin(0, 1)
    states.begin(0, 1)
    assert states.target(1)["open"] == 2
    states.end(1, 1)
    states.forget_worker(0)
    assert states.target(1)["open"] == 0


def test_what_dead_workers_had_open_is_taken_back_once(shared: SharedState, states: TargetStates) -> None:
    shared.set_worker(3, pid=os.getpid(), state=2, starts=1)
    states.begin(3, 1)
    states.forget_dead_workers()
    assert states.target(1)["open"] == 1
    shared.clear_worker(3)
    states.forget_dead_workers()
    assert states.target(1)["open"] == 0
    # one is starting there
    shared.set_worker(3, state=1, starts=2)
    states.begin(3, 1)
    states.forget_dead_workers()
    assert states.target(1)["open"] == 1
    states.forget_worker(3)
    shared.set_worker(3, state=0, starts=0)


def test_killed_processes_leave_the_counts_right(states: TargetStates, shared: SharedState) -> None:
    """However a worker ends: a request then sees 1 open, and none is left when it is over."""
    alive = memoryview(mmap.mmap(-1, 8)).cast("q")
    chance = random.Random(3)
    for _ in range(60):
        alive[0] = 0
        pid = os.fork()
        if not pid:
            while True:  # as a worker that always has some requests open
                for _ in range(5):
                    states.begin(2, 1)
                for _ in range(5):
                    states.end(2, 1)
                states.report(1, 1, TCP_FAILURE, (1, 1, 1, 1), 1)
                states.report(1, 1, SUCCESS, (1, 1, 1, 1), 1)
                alive[0] = 1
        wait_for(lambda: alive[0] == 1, what="the process counts")
        for _ in range(chance.randrange(3000)):
            pass
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        states.forget_worker(2)
        assert states.target(1)["open"] == 0
        states.begin(0, 1)
        assert states.target(1)["open"] == 1
        states.end(0, 1)
        assert states.target(1)["open"] == 0
        assert states.health(1) in (HEALTHY, UNHEALTHY)


def test_no_report_of_several_processes_is_lost(states: TargetStates) -> None:
    """Changes of a group are as many as the changes of its target, whoever makes them."""
    pids = []
    version = states.group(1)["version"]
    for worker in range(4):
        pid = os.fork()
        if not pid:
            try:
                chance = random.Random(worker)
                for _ in range(5000):
                    states.begin(worker, 1)
                    states.report(1, 1, chance.choice(list(TargetReport)), (2, 2, 2, 2), 1)
                    states.end(worker, 1)
            finally:
                os._exit(0)
        pids.append(pid)
    for pid in pids:
        os.waitpid(pid, 0)
    facts = states.target(1)
    assert (facts["open"], facts["requests"]) == (0, 20_000)
    assert facts["changes"] == states.group(1)["version"] - version > 100


# --- latency ----------------------------------------------------------------------------------------------


def test_a_peak_is_believed_at_once_and_fades_in_ten_seconds(states: TargetStates) -> None:
    assert states.latency(1, 1000) == 0
    states.note_latency(1, 2000, 1000)
    assert states.latency(1, 1000) == pytest.approx(2000)
    states.note_latency(1, 50_000, 1001)
    assert states.latency(1, 1001) == pytest.approx(50_000)
    states.note_latency(1, 2000, 1001)
    assert states.latency(1, 1001) == pytest.approx(50_000)
    states.note_latency(1, 2000, 11_001)
    faded = 50_000 / math.e + 2000 * (1 - 1 / math.e)
    assert states.latency(1, 11_001) == pytest.approx(faded)
    # nobody measures: it counts for less and less
    assert states.latency(1, 21_001) == pytest.approx(faded / math.e)
    assert states.latency(1, 500_000) < 1


def test_latency_of_odd_clocks_and_numbers(states: TargetStates) -> None:
    states.note_latency(1, 0, 1)
    assert states.latency(1, 1) == 1
    states.note_latency(1, 5000, 2**32 + 10)  # the milliseconds come round
    assert states.latency(1, 2**32 + 10) == pytest.approx(5000)
    states.note_latency(1, 4000, 2**32 - 10)  # another worker's clock, a little behind
    assert states.latency(1, 2**32 + 10) <= 5000
    states.note_latency(1, 2**63, 2**32 + 20)
    assert math.isfinite(states.latency(1, 2**32 + 20))
