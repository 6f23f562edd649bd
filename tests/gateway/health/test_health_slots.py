"""Places for upstreams and addresses: found again, kept for a while, given away when nobody looks."""

from __future__ import annotations

import logging
import os

import pytest

from gateway.health.slots import KEPT_FOR, HealthSlots, Places, monotonic_ms
from gateway.snapshot.slots import NO_SLOT, target_identity
from native.shm import SharedState
from native.target_state import TargetHealth, TargetReport

HEALTHY, _, _, UNHEALTHY = TargetHealth
ONE = ("upstream:u", "a.test:80", "192.0.2.1", 80)
TWO = ("upstream:u", "a.test:80", "192.0.2.2", 80)
LATER = KEPT_FOR + 60_000


@pytest.fixture
def shared() -> SharedState:
    return SharedState.create(4)


@pytest.fixture
def slots(shared: SharedState) -> HealthSlots:
    return HealthSlots(shared)


def publish(slots: HealthSlots, shared: SharedState, *addresses: tuple[str, str, str, int]) -> list[int]:
    """Compile and publish peers with these addresses, which every worker serves then; their places."""
    groups = {slots.group(key) for key in {address[0] for address in addresses}}
    found = [slots.target(*address)[0] for address in addresses]
    slots.compiled(groups, set(found))
    number = shared.peers_number + 1
    shared.publish_peers(number)
    for worker in shared.workers():
        shared.set_worker(worker["index"], peers_number=number)
    return found


def test_the_same_name_has_the_same_place(slots: HealthSlots) -> None:
    slot, identity = slots.target(*ONE)
    assert slot != NO_SLOT
    assert identity == target_identity(*ONE)
    assert slots.target(*ONE) == (slot, identity)
    assert slots.target(*TWO)[0] != slot
    assert slots.group("upstream:u") == slots.group("upstream:u") != slots.group("upstream:v")
    assert slots.find_target(*ONE) == slot
    assert slots.find_target("upstream:v", *ONE[1:]) == NO_SLOT


def test_health_survives_reloads_and_the_control_process(slots: HealthSlots, shared: SharedState) -> None:
    one, two = publish(slots, shared, ONE, TWO)
    assert slots.mark(*ONE, healthy=False)
    assert not slots.mark(*ONE, healthy=False)
    assert publish(slots, shared, TWO, ONE) == [two, one]
    successor = HealthSlots(shared)
    assert (successor.health(*ONE), successor.health(*TWO)) == (UNHEALTHY, HEALTHY)
    assert publish(successor, shared, ONE, TWO) == [one, two]
    assert successor.health(*ONE) is UNHEALTHY


def test_a_successor_has_the_workers_look_again(slots: HealthSlots, shared: SharedState) -> None:
    publish(slots, shared, ONE)
    group = slots.find_group("upstream:u")
    version = slots.states.group(group)["version"]
    HealthSlots(shared)
    assert slots.states.group(group)["version"] == version + 1


def test_what_comes_back_soon_is_known(slots: HealthSlots, shared: SharedState) -> None:
    one, _ = publish(slots, shared, ONE, TWO)
    slots.mark(*ONE, healthy=False)
    publish(slots, shared, TWO)
    assert slots.tidy(monotonic_ms() + KEPT_FOR - 10_000) == 0
    assert publish(slots, shared, ONE, TWO)[0] == one
    assert slots.health(*ONE) is UNHEALTHY
    assert slots.tidy(monotonic_ms() + LATER) == 0  # it is in use again


def test_what_is_gone_for_long_is_forgotten(slots: HealthSlots, shared: SharedState) -> None:
    publish(slots, shared, ONE, TWO)
    slots.mark(*ONE, healthy=False)
    publish(slots, shared, TWO)
    assert slots.tidy(monotonic_ms() + LATER) == 1
    assert slots.find_target(*ONE) == NO_SLOT
    assert slots.health(*ONE) is HEALTHY
    publish(slots, shared, ONE, TWO)
    assert slots.health(*ONE) is HEALTHY
    publish(slots, shared)
    slots.tidy(monotonic_ms() + LATER)
    assert slots.find_group("upstream:u") == NO_SLOT


def test_a_successor_forgets_what_was_unused_before_it(slots: HealthSlots, shared: SharedState) -> None:
    publish(slots, shared, ONE, TWO)
    publish(slots, shared, TWO)
    successor = HealthSlots(shared)
    publish(successor, shared, TWO)
    assert successor.tidy(monotonic_ms() + LATER) == 1


def test_no_place_goes_while_a_worker_may_look_there(slots: HealthSlots, shared: SharedState) -> None:
    shared.set_worker(0, pid=os.getpid(), state=2, peers_number=1)
    publish(slots, shared, ONE, TWO)
    number = shared.peers_number
    slots.compiled(set(), {slots.target(*TWO)[0]})
    assert slots.tidy(monotonic_ms() + LATER) == 0  # not published
    shared.publish_peers(number + 1)
    assert slots.tidy(monotonic_ms() + LATER) == 0  # not served
    shared.set_worker(0, peers_number=number + 1)
    slots.states.begin(0, slots.find_target(*ONE))
    assert slots.tidy(monotonic_ms() + LATER) == 0  # a request is there
    slots.states.end(0, slots.find_target(*ONE))
    assert slots.tidy(monotonic_ms() + LATER) == 1


def test_places_that_were_free_for_longest_are_given_first(slots: HealthSlots, shared: SharedState) -> None:
    (one,) = publish(slots, shared, ONE)
    publish(slots, shared)
    slots.tidy(monotonic_ms() + LATER)
    assert publish(slots, shared, TWO) != [one]


def test_who_joins_others_begins_now(slots: HealthSlots, shared: SharedState) -> None:
    (one,) = publish(slots, shared, ONE)
    assert slots.states.target(one)["available_since_ms"] == 0
    before = monotonic_ms()
    _, two = publish(slots, shared, ONE, TWO)
    assert before <= slots.states.target(two)["available_since_ms"] <= monotonic_ms()


def test_a_full_table_is_said_once(caplog: pytest.LogCaptureFixture) -> None:
    given: list[int] = []
    released: list[int] = []
    places = Places("things", 3, {}, released.append, lambda slot, since: None)
    assert [places.take(identity, given.append) for identity in (11, 12, 13, 14, 11)] == [1, 2, 0, 0, 1]
    assert given == [1, 2]
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
    places.name({1}, 0, 0)
    assert places.release(KEPT_FOR, 1, lambda slot: True) == 1
    assert released == [2]
    assert places.take(13, given.append) == 2
    assert places.find(12) == NO_SLOT


def test_what_dead_workers_had_open_is_taken_back(slots: HealthSlots, shared: SharedState) -> None:
    (one,) = publish(slots, shared, ONE)
    shared.set_worker(2, pid=os.getpid(), state=2, starts=1)
    slots.states.begin(2, one)
    slots.tidy()
    assert slots.states.target(one)["open"] == 1
    shared.clear_worker(2)
    slots.tidy()
    assert slots.states.target(one)["open"] == 0


def test_facts(slots: HealthSlots, shared: SharedState) -> None:
    assert slots.facts(*ONE) is None
    (one,) = publish(slots, shared, ONE)
    slots.states.report(slots.find_group("upstream:u"), one, TargetReport.REPORT_TIMEOUT, (0, 0, 3, 0), 1)
    facts = slots.facts(*ONE)
    assert facts is not None
    assert (facts["timeouts"], facts["health"]) == (1, TargetHealth.TARGET_MOSTLY_HEALTHY)
