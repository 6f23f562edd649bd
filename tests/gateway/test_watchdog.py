"""When a worker counts as hanging (gateway/supervision.py), with made-up times and heartbeats."""

import time

import pytest

from gateway.settings import SettingsError, load_settings
from gateway.supervision import LONGEST_LOOK, Child, Watchdog
from native.shm import SharedState, WorkerState

LIMIT = 10.0


class Workers:
    """Two workers in shared memory, and a watchdog that looks at them whenever a look is due."""

    def __init__(self, state: int = WorkerState.WORKER_SERVING) -> None:
        self.shared = SharedState.create(2)
        self.children = [Child(f"worker {index}", index, index, pid=100 + index) for index in range(2)]
        for index in range(2):
            self.shared.set_worker(index, state=state, pid=100 + index)
        self.watchdog = Watchdog(self.shared)
        self.now = time.monotonic()
        self.beats = 0

    def after(self, seconds: float, *alive: int) -> list[str]:
        """Who is found hanging `seconds` later; the workers `alive` have written their heartbeats."""
        self.now += seconds
        self.beats += 1
        for index in alive:
            self.shared.set_worker(index, heartbeat=self.beats)
        return [child.name for child in self.watchdog.look(self.children, self.now, LIMIT)]

    def watch(self, seconds: float, *alive: int) -> list[str]:
        found = []
        for _ in range(round(seconds / LONGEST_LOOK)):
            found += self.after(LONGEST_LOOK + 0.001, *alive)
        return found


@pytest.fixture
def workers() -> Workers:
    made = Workers()
    assert made.watch(4, 0, 1) == []
    return made


def test_a_silent_worker_is_found(workers: Workers) -> None:
    assert workers.watch(10, 0) == []
    assert workers.after(LONGEST_LOOK + 0.001, 0) == ["worker 1"]


def test_one_sign_of_life_is_enough(workers: Workers) -> None:
    assert workers.watch(8, 0) == []
    assert workers.watch(2, 0, 1) == []
    assert workers.watch(10, 0) == []


def test_it_is_looked_at_seldom(workers: Workers) -> None:
    for _ in range(100):
        assert workers.after(0.01) == []
    assert workers.watchdog.next_look(LIMIT) > workers.now + LONGEST_LOOK / 3
    assert workers.watchdog.next_look(1.0) < workers.watchdog.next_look(LIMIT)
    assert workers.watchdog.next_look(0) == float("inf")


def test_nobody_is_blamed_when_the_machine_stood_still(workers: Workers) -> None:
    workers.watch(6, 0)
    assert workers.after(3600.0) == []
    assert workers.after(3600.0, 0, 1) == []
    assert workers.watch(10) == []


@pytest.mark.parametrize("state", [0, WorkerState.WORKER_STARTING])
def test_workers_that_do_not_serve_yet_may_take_their_time(state: int) -> None:
    workers = Workers(state)
    workers.after(3, 0, 1)
    assert workers.watch(60) == []


def test_who_was_told_to_stop_or_is_being_killed_is_left_alone(workers: Workers) -> None:
    workers.children[0].told = 15
    workers.children[1].aborted = True
    assert workers.watch(60) == []


def test_a_draining_worker_is_watched() -> None:
    workers = Workers(WorkerState.WORKER_DRAINING)
    workers.after(3, 0, 1)
    for child in workers.children:
        child.told, child.leaving = 3, True
    assert workers.watch(12, 0) == ["worker 1"]


def test_limits_between_nothing_and_a_second_are_refused() -> None:
    def limit(text: str) -> float:
        return load_settings(environ={"GATEWAY_WORKER_WATCHDOG_TIMEOUT": text}).worker_watchdog_timeout

    assert limit("0") == 0
    assert limit("1s") == 1
    with pytest.raises(SettingsError, match="allowed: 0, or seconds"):
        limit("500ms")
