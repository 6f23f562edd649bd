"""Shared memory: layout, publication, counters; by processes that share it and by one that is killed."""

import os
import signal
from pathlib import Path

import pytest

from native.shm import (
    COUNTER_WORDS,
    GAUGE_WORDS,
    MAX_WORKERS,
    ROUTE_METRIC_SLOTS,
    RouteMetrics,
    SharedState,
    WorkerState,
)

HASH = "0123456789abcdef" * 2


@pytest.fixture
def shared() -> SharedState:
    return SharedState.create(4, cache_bytes=5000, limiter_bytes=100)


def in_child(body) -> int:
    """Run `body` in a forked process; its exit code (0: it returned)."""
    pid = os.fork()
    if not pid:
        code = 1
        try:
            body()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def resident_shared_memory() -> int:
    """Bytes of shared memory that this process has touched."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("RssShmem:")[2].split()[0]) * 1024


def test_starts_empty(shared: SharedState) -> None:
    assert (shared.configuration_number, shared.peers_number, shared.configuration_hash) == (0, 0, "")
    assert shared.worker_limit == 4
    assert shared.workers() == []
    assert set(shared.totals()) == {*GAUGE_WORDS, *COUNTER_WORDS}
    assert not any(shared.totals().values())
    assert shared.route_metrics(1) is None


def test_costs_no_memory_until_it_is_used() -> None:
    before = resident_shared_memory()
    shared = SharedState.create(MAX_WORKERS, cache_bytes=1 << 30)
    shared.workers()
    shared.totals()
    for slot in range(ROUTE_METRIC_SLOTS):
        shared.route_metrics(slot)
    assert shared.size > 4 << 30
    # one page per block, for its counters
    assert resident_shared_memory() - before <= (MAX_WORKERS + 4) * 4096


def test_create_checks_its_arguments() -> None:
    for limit in (0, -1, MAX_WORKERS + 1):
        with pytest.raises(ValueError, match="worker_limit"):
            SharedState.create(limit)
    with pytest.raises(ValueError, match="negative"):
        SharedState.create(1, cache_bytes=-1)
    with pytest.raises(ValueError, match="negative"):
        SharedState.create(1, token_cache_bytes=-1)
    with pytest.raises(TypeError, match="create"):
        SharedState()


def test_publication_reaches_another_process(shared: SharedState) -> None:
    def publish() -> None:
        shared.publish_peers(3)
        shared.publish_configuration(7, HASH)

    assert in_child(publish) == 0
    assert (shared.configuration_number, shared.peers_number) == (7, 3)
    assert shared.configuration_hash == HASH


@pytest.mark.parametrize("text", ["", "abc", HASH + "0"])
def test_hash_has_32_digits(shared: SharedState, text: str) -> None:
    with pytest.raises(ValueError, match="32 hex digits"):
        shared.publish_configuration(1, text)
    assert shared.configuration_number == 0


def test_control_words(shared: SharedState) -> None:
    names = (
        "generation",
        "master_pid",
        "control_pid",
        "control_heartbeat",
        "control_restarts",
        "worker_restarts",
    )
    for value, name in enumerate(names, 1):
        setattr(shared, name, value << 33)
    assert [getattr(shared, name) for name in names] == [value << 33 for value in range(1, 7)]


def test_worker_words(shared: SharedState) -> None:
    shared.set_worker(3, pid=12, state=WorkerState.WORKER_SERVING, requests_total=2**63)
    block = shared.worker(3)
    assert (block["pid"], block["state"], block["requests_total"]) == (12, 2, 2**63)
    assert shared.workers() == [{**block, "index": 3}]
    assert sum(shared.worker(2).values()) == 0
    with pytest.raises(KeyError):
        shared.set_worker(0, made_up=1)
    for index in (-1, 4, 2**40):
        with pytest.raises(IndexError):
            shared.worker(index)


def test_counters_outlive_a_worker_and_gauges_do_not(shared: SharedState) -> None:
    shared.set_worker(0, pid=1, requests_total=10, connections_active=5, generation=2)
    shared.set_worker(1, pid=2, requests_total=20, connections_active=6)
    assert shared.totals()["requests_total"] == 30
    assert shared.totals()["connections_active"] == 11
    shared.clear_worker(0)
    assert shared.totals()["requests_total"] == 30
    assert shared.totals()["connections_active"] == 6
    assert shared.worker(0)["generation"] == 0
    assert [block["index"] for block in shared.workers()] == [0, 1]


def test_gauges_of_the_dead_do_not_count(shared: SharedState) -> None:
    """Also in the moment before the master has noticed and cleared the block."""
    shared.set_worker(0, pid=0, connections_active=5, requests_total=1)
    assert shared.totals()["connections_active"] == 0


def test_killed_writer_leaves_the_memory_usable(shared: SharedState) -> None:
    def write_until_killed() -> None:
        number = 0
        while True:
            number += 1
            shared.publish_configuration(number, f"{number:032x}")
            shared.set_worker(0, pid=1, requests_total=number)
            if number == 1000:
                os.kill(os.getpid(), signal.SIGKILL)

    assert in_child(write_until_killed) == -signal.SIGKILL
    assert shared.configuration_number >= 999
    assert len(shared.configuration_hash) == 32
    shared.publish_configuration(2000, HASH)
    assert shared.configuration_hash == HASH


def counted(base: int, codes: dict[tuple[int, int], int]) -> RouteMetrics:
    """Metrics in which every number is another one."""
    return {
        "ingress_bytes": base + 1,
        "egress_bytes": base + 2,
        "consumer_ingress_bytes": base + 6,
        "consumer_egress_bytes": base + 7,
        "kong_latency_sum_ms": base + 3,
        "upstream_latency_sum_ms": base + 4,
        "request_latency_sum_ms": base + 5,
        "kong_latency": [base + 100 + at for at in range(18)],
        "upstream_latency": [base + 200 + at for at in range(14)],
        "request_latency": [base + 300 + at for at in range(14)],
        "codes": codes,
    }


def test_route_metrics_are_summed_over_the_workers(shared: SharedState) -> None:
    shared.set_worker(0, requests_total=1)
    shared.set_worker(2, requests_total=1)
    shared.set_route_metrics(0, 5, counted(0, {(200, 0): 1, (404, 1): 2}))
    assert shared.route_metrics(5) == counted(0, {(200, 0): 1, (404, 1): 2})
    shared.set_route_metrics(2, 5, counted(1000, {(404, 1): 10, (200, 1): 5}))
    summed = shared.route_metrics(5)
    assert summed
    assert summed["codes"] == {(200, 0): 1, (404, 1): 12, (200, 1): 5}
    assert summed["ingress_bytes"] == 1002
    assert summed["request_latency_sum_ms"] == 1010
    assert summed["kong_latency"] == [1200 + 2 * at for at in range(18)]
    assert summed["upstream_latency"] == [1400 + 2 * at for at in range(14)]
    assert summed["request_latency"] == [1600 + 2 * at for at in range(14)]
    assert shared.route_metrics(4) is None
    assert shared.route_metrics(6) is None


def test_codes_without_a_place_of_their_own(shared: SharedState) -> None:
    codes = {(200 + at, 0): at + 1 for at in range(24)}
    shared.set_worker(0, requests_total=1)
    shared.set_route_metrics(0, 1, counted(0, codes))
    summed = shared.route_metrics(1)
    assert summed
    assert summed["codes"] == {**{key: codes[key] for key in list(codes)[:23]}, (0, 0): 24}


def test_route_metric_slots_are_checked(shared: SharedState) -> None:
    for slot in (-1, ROUTE_METRIC_SLOTS):
        with pytest.raises(IndexError):
            shared.route_metrics(slot)
