"""Circuits that several processes use at once, some of which are killed."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest

from native.circuit import CircuitState, CircuitTable
from native.shm import SharedState
from tests.support.crowd import PROCESSES, Crowd
from tests.support.crowd import crowd as crowd_around
from tests.support.gateway import wait_for

NOW = 5_000_000


def crowd() -> AbstractContextManager[Crowd[CircuitTable]]:
    shared = SharedState.create(1)
    return crowd_around(shared, CircuitTable(shared))


def open_circuit(table: CircuitTable, identity: int, now: int) -> None:
    ticket, _ = table.enter(identity, (1000, 1, 1), now)
    assert ticket is not None
    table.failed(identity, (1000, 1, 1), ticket, now)


@pytest.mark.parametrize("probes", [1, 5])
def test_exactly_as_many_probes_as_allowed(probes: int) -> None:
    circuits = 500
    rules = (1000, 1, probes)
    with crowd() as people:
        for identity in range(1, circuits + 1):
            open_circuit(people.table, identity, NOW)

        def work(count: Callable[[], None], _: int) -> None:
            for identity in range(1, circuits + 1):
                for _ in range(2 * probes):
                    if people.table.enter(identity, rules, NOW + 1000)[0] is not None:
                        count()

        people.start(work)
        people.wait()
        assert people.total == circuits * probes


def test_each_failure_counts_and_one_opens_it() -> None:
    each = 5000
    rules = (1000, PROCESSES * each, 1)
    with crowd() as people:
        people.table.enter(1, rules, NOW)

        def work(count: Callable[[], None], _: int) -> None:
            for _ in range(each):
                ticket, _ = people.table.enter(1, rules, NOW)
                if ticket is not None and people.table.failed(1, rules, ticket, NOW):
                    count()

        people.start(work)
        people.wait()
        assert people.total == 1
        view = people.table.look(1, NOW, 1000)
        assert view is not None
        assert (view["state"], view["opened"]) == (CircuitState.CIRCUIT_OPEN, 1)


def test_the_same_circuits_made_at_once_are_one_each() -> None:
    identities = [17 + number * 4096 for number in range(200)]  # that meet in the table
    rules = (1000, 2 * PROCESSES, 1)
    with crowd() as people:

        def work(count: Callable[[], None], _: int) -> None:
            for identity in identities:
                for _ in range(2):
                    ticket, _ = people.table.enter(identity, rules, NOW)
                    assert ticket is not None
                    people.table.failed(identity, rules, ticket, NOW)

        people.start(work)
        people.wait()
        for identity in identities:
            view = people.table.look(identity, NOW, 1000)
            assert view is not None
            assert view["opened"] == 1


def test_killed_processes_leave_nothing_but_probes_that_are_replaced() -> None:
    rules = (1000, 2, 3)
    chance = random.Random(11)
    with crowd() as people:

        def work(count: Callable[[], None], index: int) -> None:
            chance = random.Random(index)
            clock = NOW
            while True:
                clock += 100
                identity = chance.randrange(1, 200)
                ticket, _ = people.table.enter(identity, rules, clock)
                if ticket is not None:
                    turn = chance.randrange(3)
                    if turn == 0:
                        people.table.failed(identity, rules, ticket, clock)
                    elif turn == 1:
                        people.table.succeeded(identity, rules, ticket, clock)
                count()

        for _ in range(10):
            before = people.total
            people.start(work)
            wait_for(lambda before=before: people.total > before + 1000, what="the processes work")
            time.sleep(chance.random() / 100)
            people.kill()
        late = 1 << 40
        for identity in range(1, 200):
            tickets = [people.table.enter(identity, rules, late)[0] for _ in range(4)]
            view = people.table.look(identity, late, 1000)
            assert view is not None
            if view["state"] == CircuitState.CIRCUIT_CLOSED:
                assert None not in tickets
            else:
                assert 1 <= sum(ticket is not None for ticket in tickets) <= 3
                for ticket in tickets:
                    if ticket is not None:
                        people.table.succeeded(identity, rules, ticket, late)
                view = people.table.look(identity, late, 1000)
                assert view is not None
                assert view["state"] == CircuitState.CIRCUIT_CLOSED
