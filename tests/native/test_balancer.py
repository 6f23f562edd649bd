"""Choosing peers: every algorithm over a made snapshot, and the retry budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.snapshot.balancing import HealthRules
from gateway.snapshot.peers import weighted_wheel
from native.balancer import Balancer
from native.rendezvous import slot_table
from native.shm import SharedState
from native.snapshot import BalancingAlgorithm, PeersBuilder, PeerSetState, PreparedPeerSet
from native.target_state import TargetStates

KEY = "upstream:u"
GROUP = 1
RULES = HealthRules((), (), 0, 0, 0, 0, 0)
ROUND_ROBIN = BalancingAlgorithm.BALANCE_ROUND_ROBIN
LEAST_CONNECTIONS = BalancingAlgorithm.BALANCE_LEAST_CONNECTIONS
HASHING = BalancingAlgorithm.BALANCE_CONSISTENT_HASHING
LATENCY = BalancingAlgorithm.BALANCE_LATENCY
STICKY = BalancingAlgorithm.BALANCE_STICKY
ALGORITHMS = tuple(BalancingAlgorithm)
WEIGHTS = st.lists(st.integers(1, 100), min_size=1, max_size=8)


@pytest.fixture(scope="module")
def shared() -> SharedState:
    return SharedState.create(2)


@pytest.fixture(scope="module")
def states(shared: SharedState) -> TargetStates:
    """A group and its targets, the slots from 1 on."""
    table = TargetStates(shared)
    table.give_group(GROUP, 1)
    for slot in range(1, 41):
        table.give_target(slot, slot)
    return table


@pytest.fixture(autouse=True)
def all_healthy(states: TargetStates) -> Iterator[None]:
    yield
    for slot in range(1, 41):
        states.set(GROUP, slot, True, 0)
        while states.target(slot)["open"] > 0:
            states.end(0, slot)


def peers_file(
    weights: list[int],
    algorithm: BalancingAlgorithm = ROUND_ROBIN,
    *,
    slot: int = GROUP,
    threshold: float = 0,
    **options: Any,
) -> bytes:
    """One set; peer number n has the address 10.0.0.n, the place n + 1 in shared memory."""
    peers = [
        (bytes([10, 0, 0, number]), 80, weight, f"t{number}", f"t{number}", number + 1, 1000 + 77 * number)
        for number, weight in enumerate(weights)
    ]
    builder = PeersBuilder()
    prepared = PreparedPeerSet(
        KEY,
        name="u",
        state=PeerSetState.PEERS_READY,
        peers=peers,
        wheel=weighted_wheel(weights),
        algorithm=algorithm,
        rules=RULES._replace(threshold=threshold),
        slot=slot,
        hash_name="sticky",
        cookie_path="/",
        hash_slots=500 if algorithm is HASHING else 0,
        **options,
    )
    builder.add_set(prepared)
    return builder.build(number=1)


def choices(balancer: Balancer, count: int, **request: Any) -> Counter[int | None]:
    return Counter(balancer.choose(**request) for _ in range(count))


# --- whatever the algorithm ----------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS, ids=lambda algorithm: algorithm.name)
class TestEveryAlgorithm:
    @settings(max_examples=60)
    @given(weights=WEIGHTS, data=st.data())
    def test_nobody_unavailable_nobody_twice(
        self,
        algorithm: BalancingAlgorithm,
        weights: list[int],
        data: st.DataObject,
        shared: SharedState,
        states: TargetStates,
    ) -> None:
        balancer = Balancer(shared, peers_file(weights, algorithm), KEY)
        everybody = range(len(weights))
        sick = data.draw(st.sets(st.sampled_from(everybody)))
        for number in everybody:
            states.set(GROUP, number + 1, number not in sick, 1)
        well = set(everybody) - sick
        tried: list[int] = []
        for hash_value in data.draw(st.lists(st.integers(0, 2**64 - 1), min_size=1, max_size=8)):
            found = balancer.choose(hash=hash_value)
            assert found in well if well else found is None
            found = balancer.choose(hash=hash_value, tried=tried)
            if not well:
                assert found is None
                continue
            assert found in well
            # those tried before come again only when all were
            if well - set(tried) and len(weights) > 1:
                assert found not in tried
            assert found is not None
            tried.append(found)

    def test_too_little_of_the_weight(
        self, algorithm: BalancingAlgorithm, shared: SharedState, states: TargetStates
    ) -> None:
        balancer = Balancer(shared, peers_file([50, 25, 25], algorithm, threshold=50), KEY)
        states.set(GROUP, 2, False, 1)
        assert balancer.choose(hash=1) in (0, 2)
        states.set(GROUP, 3, False, 1)
        assert balancer.choose(hash=1) is None  # 50 % is not more than 50 %
        states.set(GROUP, 2, True, 1)
        assert balancer.choose(hash=1) in (0, 1)

    def test_a_set_without_a_place_in_shared_memory(
        self, algorithm: BalancingAlgorithm, shared: SharedState, states: TargetStates
    ) -> None:
        balancer = Balancer(shared, peers_file([1, 1], algorithm, slot=0), KEY)
        assert balancer.choose(hash=1) in (0, 1)
        states.set(GROUP, 1, False, 1)
        balancer.set_time(10_000)
        assert choices(balancer, 10, hash=1) == {1: 10}


# --- round-robin ---------------------------------------------------------------------------------


@settings(max_examples=50)
@given(weights=WEIGHTS, sick=st.integers(0, 8))
def test_turns_are_as_the_weights_say(
    weights: list[int], sick: int, shared: SharedState, states: TargetStates
) -> None:
    for number in range(len(weights)):
        states.set(GROUP, number + 1, number != sick, 1)
    available = {number: weight for number, weight in enumerate(weights) if number != sick}
    balancer = Balancer(shared, peers_file(weights), KEY)
    found = choices(balancer, 2 * sum(available.values()))
    assert found == {number: 2 * weight for number, weight in available.items()}


def test_workers_take_turns_together(shared: SharedState, states: TargetStates) -> None:
    data = peers_file([3, 1])
    workers = [Balancer(shared, data, KEY, worker=number) for number in (0, 1)]
    # every other request comes to the second worker
    assert Counter(workers[number % 2].choose() for number in range(40)) == {0: 30, 1: 10}


def test_turns_go_on_in_the_next_snapshot(shared: SharedState, states: TargetStates) -> None:
    found = Counter(Balancer(shared, peers_file([1, 1]), KEY).choose() for _ in range(10))
    assert found == {0: 5, 1: 5}


def test_retries_among_many_turns(shared: SharedState, states: TargetStates) -> None:
    balancer = Balancer(shared, peers_file([60_000, 1, 2]), KEY)
    for _ in range(20):
        assert balancer.choose(tried=[0]) in (1, 2)
        assert balancer.choose(tried=[0, 2]) == 1
        assert balancer.choose(tried=[0, 1, 2]) in (0, 1, 2)


# --- least connections ---------------------------------------------------------------------------


def test_fewest_connections_by_weight(shared: SharedState, states: TargetStates) -> None:
    balancers = [
        Balancer(shared, peers_file([100, 200, 100], LEAST_CONNECTIONS), KEY, worker=number)
        for number in (0, 1)
    ]
    found: Counter[int] = Counter()
    for turn in range(80):
        number = balancers[turn % 2].choose()
        assert number is not None
        found[number] += 1
        balancers[turn % 2].begin(number)
    assert found == {0: 20, 1: 40, 2: 20}
    for number, count in found.items():
        assert states.target(number + 1)["open"] == count
    for _ in range(30):
        balancers[0].end(2)
    assert choices(balancers[1], 1) == {2: 1}


def test_idle_peers_take_turns(shared: SharedState, states: TargetStates) -> None:
    balancer = Balancer(shared, peers_file([10, 10, 10], LEAST_CONNECTIONS), KEY)
    assert choices(balancer, 30) == {0: 10, 1: 10, 2: 10}


# --- latency -------------------------------------------------------------------------------------


def latency_file(shared: SharedState) -> Balancer:
    """Two that answer."""
    balancer = Balancer(shared, peers_file([1, 1, 1], LATENCY), KEY)
    balancer.set_time(1_000_000)
    return balancer


def test_the_fast_ones_get_most(shared: SharedState, states: TargetStates) -> None:
    for slot in (1, 2, 3):
        states.release_target(slot)
        states.give_target(slot, slot)
    balancer = latency_file(shared)
    balancer.answered(0, 50_000)
    balancer.answered(1, 1_000)
    # nothing is known of the third: it counts as an average one
    found = choices(balancer, 3000)
    assert found[1] > 1800  # it wins every draw that it is in: two of three
    assert 800 < found[2] < 1200
    assert found[0] == 0


def test_requests_under_way_count(shared: SharedState, states: TargetStates) -> None:
    for slot in (1, 2, 3):
        states.release_target(slot)
        states.give_target(slot, slot)
    balancer = latency_file(shared)
    for number in range(3):
        balancer.answered(number, 1_000)
    for _ in range(20):
        balancer.begin(0)
    assert choices(balancer, 300)[0] == 0


# --- consistent hashing --------------------------------------------------------------------------


def table_of(weights: dict[int, float], slots: int = 10_000) -> list[int]:
    """The identity that has each slot."""
    candidates = [(identity * 0x9E3779B9, weight) for identity, weight in weights.items()]
    identities = list(weights)
    return [identities[place] for place in memoryview(slot_table(candidates, slots)).cast("H")]


def test_slots_are_shared_by_weight() -> None:
    weights = {1: 100.0, 2: 100.0, 3: 300.0, 4: 500.0}
    found = Counter(table_of(weights))
    for identity, weight in weights.items():
        assert found[identity] == pytest.approx(weight * 10, rel=0.08)


@settings(max_examples=25)
@given(weights=st.lists(st.integers(1, 10), min_size=2, max_size=12), data=st.data())
def test_only_the_share_that_must_moves(weights: list[int], data: st.DataObject) -> None:
    before = {number: float(weight) for number, weight in enumerate(weights)}
    changed = data.draw(st.sampled_from(list(before)))
    weight = data.draw(st.sampled_from([0, before[changed] / 2, before[changed] * 2]))
    after = {number: one for number, one in before.items() if number != changed}
    if weight:
        after[changed] = weight
    old, new = table_of(before), table_of(after)
    moved = [(one, other) for one, other in zip(old, new, strict=True) if one != other]
    # nothing moves between the others
    assert all(changed in pair for pair in moved)
    share = before[changed] / sum(before.values())
    ideal = abs(share - weight / sum(after.values()))
    assert len(moved) / len(old) == pytest.approx(ideal, abs=0.03)


def test_a_hash_stays_where_it_was_while_others_fail(shared: SharedState, states: TargetStates) -> None:
    balancer = Balancer(shared, peers_file([10] * 5, HASHING), KEY)
    hashes = [number * 0x9E3779B97F4A7C15 % 2**64 for number in range(400)]
    before = {value: balancer.choose(hash=value) for value in hashes}
    assert set(before.values()) == set(range(5))
    states.set(GROUP, 3, False, 1)
    after = {value: balancer.choose(hash=value) for value in hashes}
    assert all(after[value] == before[value] for value in hashes if before[value] != 2)
    # those of the failed one are spread over all the others
    assert {after[value] for value in hashes if before[value] == 2} == {0, 1, 3, 4}
    # the same that a retry would have taken
    states.set(GROUP, 3, True, 2)
    assert all(
        balancer.choose(hash=value, tried=[2]) == after[value] for value in hashes if before[value] == 2
    )
    assert {value: balancer.choose(hash=value) for value in hashes} == before


def test_tables_refuse_what_is_no_candidate() -> None:
    for candidates in ([], [(1, 0)], [(1, -1)]):
        with pytest.raises(ValueError, match=r"a (table|candidate) has"):
            slot_table(candidates, 10)
    assert slot_table([(1, 1)], 0) == b""


# --- sticky --------------------------------------------------------------------------------------


def test_a_cookie_names_its_peer(shared: SharedState, states: TargetStates) -> None:
    balancer = Balancer(shared, peers_file([1, 5, 1], STICKY), KEY)
    for number in range(3):
        value = balancer.sticky_value(number)
        assert choices(balancer, 10, hash=value) == {number: 10}
        states.set(GROUP, number + 1, False, 1)
        assert balancer.choose(hash=value) != number
        states.set(GROUP, number + 1, True, 2)
        assert balancer.choose(hash=value, tried=[number]) != number
    assert choices(balancer, 70, hash=0) == {0: 10, 1: 50, 2: 10}
    assert choices(balancer, 70, hash=12345) == {0: 10, 1: 50, 2: 10}


# --- slow start ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "algorithm", [ROUND_ROBIN, LEAST_CONNECTIONS, LATENCY], ids=lambda algorithm: algorithm.name
)
def test_a_new_peer_comes_to_its_share_slowly(
    algorithm: BalancingAlgorithm, shared: SharedState, states: TargetStates
) -> None:
    states.release_target(2)
    states.give_target(2, 2, available_since_ms=100_000)
    balancer = Balancer(shared, peers_file([1, 1], algorithm, slow_start_ms=10_000), KEY)
    shares = []
    for elapsed in (0, 5_000, 10_000, 60_000):
        balancer.set_time(100_000 + elapsed)
        shares.append(choices(balancer, 4000)[1] / 4000)
    # half of the requests when it is there; before, it has to be drawn besides
    assert 0.005 < shares[0] < 0.1
    assert 0.15 < shares[1] < 0.45
    assert shares[2] == pytest.approx(0.5, abs=0.06)
    assert shares[3] == pytest.approx(0.5, abs=0.06)
    # alone it gets everything, however new
    states.set(GROUP, 1, False, 100_000)
    balancer.set_time(100_001)
    assert choices(balancer, 10) == {1: 10}


# --- retry budget --------------------------------------------------------------------------------


@pytest.fixture
def fresh_group(states: TargetStates) -> None:
    """Its budget was never used."""
    states.release_group(GROUP)
    states.give_group(GROUP, 1)


def total_retries(balancer: Balancer, requests: int, retries: int) -> int:
    """Retries of requests that always fail."""
    total = 0
    for _ in range(requests):
        balancer.first_try()
        for _ in range(retries):
            if not balancer.may_retry():
                break
            total += 1
    return total


@pytest.mark.usefixtures("fresh_group")
@pytest.mark.parametrize(("percent", "most"), [(0, 0), (20, 200), (50, 500), (150, 1500), (1000, 5000)])
def test_retries_are_a_share_of_the_requests(percent: int, most: int, shared: SharedState) -> None:
    balancer = Balancer(shared, peers_file([1, 1]), KEY, retry_budget_percent=percent, retry_budget_min=0)
    balancer.set_time(1_000_000)
    assert total_retries(balancer, 1000, 5) == most


@pytest.mark.usefixtures("fresh_group")
def test_some_retries_a_second_are_always_allowed(shared: SharedState, states: TargetStates) -> None:
    workers = [
        Balancer(shared, peers_file([1, 1]), KEY, worker=number, retry_budget_percent=0, retry_budget_min=10)
        for number in (0, 1)
    ]
    total = 0
    for now_ms in range(1_000_000, 1_010_000, 10):
        for worker in workers:
            worker.set_time(now_ms)
            total += total_retries(worker, 1, 3)
    # ten seconds' worth at once, and then ten seconds
    assert 195 <= total <= 205
    refused = states.group(GROUP)["retries_refused"]
    assert refused > 1000
    # workers whose clocks differ do not fill it twice
    for turn in range(1000):
        workers[turn % 2].set_time(1_010_000 + turn % 2 * 5)
        total += total_retries(workers[turn % 2], 1, 1)
    assert total <= 206


@pytest.mark.usefixtures("fresh_group")
def test_requests_that_succeed_save_for_others(shared: SharedState) -> None:
    balancer = Balancer(shared, peers_file([1, 1]), KEY, retry_budget_percent=20, retry_budget_min=0)
    balancer.set_time(5)
    for _ in range(100_000):
        balancer.first_try()
    # but not without end
    assert total_retries(balancer, 1, 10_000) == 100


def test_without_a_place_in_shared_memory_there_is_no_budget(shared: SharedState) -> None:
    balancer = Balancer(shared, peers_file([1, 1], slot=0), KEY, retry_budget_percent=0, retry_budget_min=0)
    assert total_retries(balancer, 10, 5) == 50
