"""Workers that hang: the master replaces them (setting WORKER_WATCHDOG_TIMEOUT)."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from tests.support.footprint import other_workers
from tests.support.gateway import Gateway, is_running, one_service, wait_for
from tests.support.upstreams import Upstream


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with (
        Upstream() as upstream,
        Gateway(one_service(upstream.port), worker_processes=2, worker_watchdog_timeout="1s") as running,
    ):
        yield running


def answers(gateway: Gateway) -> bool:
    return gateway.request("/")[0] == 200


def test_a_stopped_worker_is_replaced(gateway: Gateway) -> None:
    victim, other = gateway.worker_pids()
    restarts = gateway.status()["worker_restarts"]
    os.kill(victim, signal.SIGSTOP)
    wait_for(lambda: other_workers(gateway, {victim}, 2), seconds=20, what="another worker serves")
    assert other in gateway.worker_pids()
    assert not is_running(victim)
    assert gateway.status()["worker_restarts"] == restarts + 1
    assert f"(pid {victim}) hangs: no sign of life" in gateway.output()
    for _ in range(20):
        assert answers(gateway)


def test_a_worker_that_hangs_in_a_drain_does_not_hold_up_the_end() -> None:
    with Upstream() as upstream:
        configured = Gateway(
            one_service(upstream.port), worker_watchdog_timeout="1s", worker_shutdown_timeout="0"
        )
        with configured as gateway, gateway.connect() as client:
            client.sendall(b"GET /")
            (victim,) = gateway.worker_pids()
            assert gateway.process
            gateway.process.send_signal(signal.SIGQUIT)
            wait_for(lambda: gateway.status()["workers"][0]["state"] == "draining", what="the worker drains")
            os.kill(victim, signal.SIGSTOP)
            assert gateway.process.wait(timeout=20) == 0


def test_nobody_is_killed_when_everything_stood_still(gateway: Gateway) -> None:
    """As when a virtual machine is suspended: the master and its workers find that time has passed."""
    before = gateway.worker_pids()
    assert gateway.process
    family = [gateway.process.pid, *before]
    hanging = gateway.output().count("hangs")
    for pid in family:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(3)
    for pid in family:  # the master first: it is the one to judge too early
        os.kill(pid, signal.SIGCONT)
    time.sleep(1.5)  # it looks three times
    assert gateway.worker_pids() == before
    assert gateway.output().count("hangs") == hanging
    assert answers(gateway)
