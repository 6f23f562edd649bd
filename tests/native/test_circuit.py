"""Circuits against a model in plain Python that knows every request, and a table that is full."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.circuit import (
    CIRCUIT_SLOTS,
    MAX_CIRCUIT_FAILURES,
    MAX_CIRCUIT_PROBES,
    CircuitChange,
    CircuitState,
    CircuitTable,
    address_circuit,
    service_circuit,
    target_circuit,
)
from native.shm import SharedState

CLOSED, HALF_OPEN, OPEN = CircuitState
UNCHANGED, HAS_CLOSED, HAS_OPENED = CircuitChange
NOW = 1_000_000
ID = 7
HOUR = 3_600_000
RULES = (1000, 3, 1)


@pytest.fixture
def table() -> CircuitTable:
    return CircuitTable(SharedState.create(1))


@dataclass
class Pass:
    """A request that was let through."""

    period: int
    probe: bool


@dataclass
class Model:
    """What a circuit should do, with a set of probes where the real one has counts."""

    timeout: int
    failures_to_open: int
    probes: int
    state: CircuitState = CLOSED
    failures: int = 0
    period: int = 0
    since: int = 0
    out: list[Pass] = field(default_factory=list)
    succeeded: int = 0

    def begin(self, state: CircuitState, now: int) -> None:
        self.state, self.failures = state, 0
        self.period += 1
        self.since = max(now, self.since + 1)
        self.out = []

    def enter(self, now: int) -> Pass | None:
        if self.state == CLOSED:
            return Pass(self.period, False)
        if now >= self.since + self.timeout:
            if self.state == OPEN:
                self.succeeded = 0
            self.begin(HALF_OPEN, now)
        elif self.state == OPEN or len(self.out) + self.succeeded >= self.probes:
            return None
        one = Pass(self.period, True)
        self.out.append(one)
        return one

    def succeed(self, one: Pass, now: int) -> CircuitChange:
        if self.state == HALF_OPEN and one.probe:
            if one.period == self.period:
                self.out.pop()
            self.succeeded += 1
            if self.succeeded >= self.probes:
                self.begin(CLOSED, now)
                return HAS_CLOSED
            # a late success takes a place that nobody has; all may be taken
            while len(self.out) + self.succeeded > self.probes:
                self.out.pop()
        elif self.state == CLOSED and one.period == self.period:
            self.failures = 0
        return UNCHANGED

    def fail(self, one: Pass, now: int) -> CircuitChange:
        if one.period != self.period:
            return UNCHANGED
        self.failures += 1
        if self.state == CLOSED and self.failures < self.failures_to_open:
            return UNCHANGED
        self.begin(OPEN, now)
        return HAS_OPENED

    def give_back(self, one: Pass) -> None:
        if self.state == HALF_OPEN and one.period == self.period and self.out:
            self.out.pop()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["enter", "enter", "succeed", "fail", "return", "wait"]),
        st.integers(0, 30),
        st.integers(0, 2),
    ),
    max_size=80,
)


@given(
    steps=STEPS,
    rules=st.tuples(st.integers(1, 20), st.integers(1, 4), st.integers(1, 3)),
    clock_error=st.integers(0, 3),
)
@settings(max_examples=400, deadline=None)
def test_it_does_what_the_model_does(
    steps: list[tuple[str, int, int]], rules: tuple[int, int, int], clock_error: int
) -> None:
    table = CircuitTable(SharedState.create(1))
    model = Model(*rules)
    now = NOW
    under_way: list[tuple[int, Pass]] = []
    for step, number, behind in steps:
        clock = now - (behind if clock_error else 0)  # workers do not look at the clock in the same moment
        if step == "wait":
            now += number
        elif step == "enter":
            may = table.would_admit(ID, rules, clock)
            ticket, left = table.enter(ID, rules, clock)
            expected = model.enter(clock)
            assert may == (ticket is not None) == (expected is not None)
            if ticket is None or expected is None:
                assert left == model.since + model.timeout - clock > 0
            else:
                under_way.append((ticket, expected))
        elif under_way:
            ticket, one = under_way.pop(number % len(under_way))
            if step == "succeed":
                assert table.succeeded(ID, rules, ticket, clock) == model.succeed(one, clock)
            elif step == "fail":
                assert table.failed(ID, rules, ticket, clock) == model.fail(one, clock)
            else:
                table.returned(ID, ticket, clock)
                model.give_back(one)
        view = table.look(ID, now, rules[0])
        if view is not None:
            assert view["state"] == model.state
            assert view["failures"] == (model.failures if model.state == CLOSED else 0)


def test_a_life(table: CircuitTable) -> None:
    for _ in range(2):
        ticket, _ = table.enter(ID, RULES, NOW)
        assert ticket is not None
        assert table.failed(ID, RULES, ticket, NOW) == UNCHANGED
    ticket, _ = table.enter(ID, RULES, NOW)
    slow, _ = table.enter(ID, RULES, NOW)
    assert ticket is not None
    assert slow is not None
    assert table.failed(ID, RULES, ticket, NOW) == HAS_OPENED
    assert table.enter(ID, RULES, NOW + 1) == (None, 999)
    assert table.enter(ID, RULES, NOW + 999) == (None, 1)
    probe, _ = table.enter(ID, RULES, NOW + 1000)
    assert probe is not None
    assert table.enter(ID, RULES, NOW + 1001) == (None, 999)
    assert table.failed(ID, RULES, slow, NOW + 1001) == UNCHANGED, "it is of another time"
    assert table.succeeded(ID, RULES, slow, NOW + 1001) == UNCHANGED
    assert table.succeeded(ID, RULES, probe, NOW + 1002) == HAS_CLOSED
    assert table.failed(ID, RULES, probe, NOW + 1002) == UNCHANGED
    view = table.look(ID, NOW + 1003, 1000)
    assert view == {
        "state": CLOSED,
        "failures": 0,
        "since_ms": NOW + 1002,
        "left_ms": 0,
        "opened": 1,
        "refused": 0,
    }


def test_a_probe_that_takes_longer_than_the_timeout_still_closes_it(table: CircuitTable) -> None:
    rules = (10, 1, 1)
    ticket, _ = table.enter(ID, rules, NOW)
    assert ticket is not None
    table.failed(ID, rules, ticket, NOW)
    slow, _ = table.enter(ID, rules, NOW + 10)
    replaced, _ = table.enter(ID, rules, NOW + 20)
    assert slow is not None
    assert replaced is not None
    assert table.failed(ID, rules, slow, NOW + 21) == UNCHANGED
    assert table.succeeded(ID, rules, slow, NOW + 21) == HAS_CLOSED
    assert table.failed(ID, rules, replaced, NOW + 22) == UNCHANGED


def test_the_largest_numbers(table: CircuitTable) -> None:
    rules = (31_536_000_000, 1, MAX_CIRCUIT_PROBES)
    late = 50 * 365 * 86_400_000
    ticket, _ = table.enter(ID, rules, late)
    assert ticket is not None
    table.failed(ID, rules, ticket, late)
    assert table.enter(ID, rules, late) == (None, rules[0])
    late += rules[0]
    tickets = [table.enter(ID, rules, late)[0] for _ in range(MAX_CIRCUIT_PROBES)]
    assert table.enter(ID, rules, late) == (None, rules[0])
    changes = [table.succeeded(ID, rules, ticket or 0, late) for ticket in tickets]
    assert changes == [UNCHANGED] * (MAX_CIRCUIT_PROBES - 1) + [HAS_CLOSED]
    patient = (1000, MAX_CIRCUIT_FAILURES, 1)
    ticket, _ = table.enter(ID, patient, late)
    assert ticket is not None
    for _ in range(1000):
        assert table.failed(ID, patient, ticket, late) == UNCHANGED
    assert table.failed(ID, (1000, 5, 1), ticket, late) == HAS_OPENED, "the limit was made lower"


def test_closed_by_hand(table: CircuitTable) -> None:
    assert not table.close(ID, NOW)
    ticket, _ = table.enter(ID, (1000, 1, 1), NOW)
    assert ticket is not None
    table.failed(ID, (1000, 1, 1), ticket, NOW)
    assert table.close(ID, NOW + 1)
    assert table.enter(ID, (1000, 1, 1), NOW + 1)[0] is not None


def test_circuits_are_known_by_plugin_and_what_they_guard() -> None:
    known = [
        service_circuit("p", "s"),
        service_circuit("p", "t"),
        service_circuit("q", "s"),
        target_circuit("p", 1),
        target_circuit("p", 2),
        address_circuit("p", b"\x7f\0\0\1", 80),
        address_circuit("p", b"\x7f\0\0\1", 81),
        address_circuit("p", bytes(15) + b"\1", 80),
    ]
    assert len(set(known)) == len(known)


def test_the_slots_of_unused_circuits_are_given_to_others(table: CircuitTable) -> None:
    """Identities that all want the same slots."""
    identities = [1 + number * CIRCUIT_SLOTS for number in range(80)]
    made = 64
    for identity in identities[:made]:
        ticket, _ = table.enter(identity, (1000, 1, 1), NOW)
        assert ticket is not None
        table.failed(identity, (1000, 1, 1), ticket, NOW)
    with pytest.raises(MemoryError):
        table.enter(identities[made], (1000, 1, 1), NOW)
    table.enter(identities[5], RULES, NOW + HOUR - 1)
    for identity in identities[made:]:
        ticket, _ = table.enter(identity, RULES, NOW + HOUR)
        assert ticket is not None, "what was open before has nothing to do with it"
        view = table.look(identity, NOW + HOUR, 1000)
        assert view is not None
        assert view["opened"] == 0
    left = [one for one in identities[:made] if table.look(one, NOW + HOUR, 1000) is not None]
    assert len(left) == made - 16
    assert identities[5] in left
