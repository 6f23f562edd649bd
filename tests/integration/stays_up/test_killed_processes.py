"""Processes of the gateway killed under load: what goes on, what comes back, what is left behind."""

from __future__ import annotations

import http.client
import json
import os
import signal
from collections.abc import Iterator
from functools import partial

import psutil
import pytest

from tests.support.footprint import TidyGateway, at_rest, other_control, other_workers, workers
from tests.support.gateway import Gateway, is_running, one_service, wait_for
from tests.support.load import Backend, EventLoopThread, Load, more_requests


@pytest.fixture(scope="module")
def gateway(backend: Backend) -> Iterator[Gateway]:
    configured = TidyGateway(one_service(backend.port), worker_processes=2)
    configured.settings["proxy_listen"] = f"127.0.0.1:{configured.proxy_port} reuseport"
    with configured as running:
        yield running


def clients_of(gateway: Gateway, pid: int) -> set[int]:
    """Ports of the clients whose connections a worker holds."""
    return {
        connection.raddr.port
        for connection in psutil.Process(pid).net_connections("tcp4")
        if connection.raddr and connection.laddr.port == gateway.proxy_port
    }


def test_killed_worker_loses_its_own_connections_only(gateway: Gateway, thread: EventLoopThread) -> None:
    restarts = gateway.status()["worker_restarts"]
    with Load(thread, gateway.proxy_port, connections=32) as load:
        wait_for(more_requests(load, 300), what="requests before the kill")
        victim, survivor = gateway.worker_pids()
        lost, kept = clients_of(gateway, victim), clients_of(gateway, survivor)
        assert lost
        assert kept
        before = gateway.status()["server"]["total_requests"]
        os.kill(victim, signal.SIGKILL)
        wait_for(lambda: other_workers(gateway, {victim}, 2), what="a new worker serves")
        new = next(worker for worker in workers(gateway) if worker["pid"] not in (victim, survivor))
        wait_for(more_requests(load, 500), what="requests after the kill")
        report = load.stop()
    assert {failure.port for failure in report.failures} <= lost
    assert len(report.failures) <= len(lost)
    assert survivor in gateway.worker_pids()
    status = gateway.status()
    assert status["worker_restarts"] == restarts + 1
    # the counters of the dead worker are not lost, and the new one goes on with them
    assert status["server"]["total_requests"] >= max(before, report.succeeded)
    after = next(worker for worker in workers(gateway) if worker["pid"] == new["pid"])
    assert after["requests_total"] > new["requests_total"]
    at_rest(gateway)


def test_both_workers_killed_at_once(gateway: Gateway, thread: EventLoopThread) -> None:
    newcomers = Load(thread, gateway.proxy_port, connections=4, keep_alive=False)
    with Load(thread, gateway.proxy_port, connections=16) as load, newcomers:
        wait_for(more_requests(load, 100), what="requests before the kill")
        victims = set(gateway.worker_pids())
        open_then = set(load.ports)
        for pid in victims:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: other_workers(gateway, victims, 2), what="new workers serve")
        wait_for(more_requests(load, 300), what="requests after the kill")
        report = load.stop()
    # who connects meanwhile waits in the master's sockets for the new workers
    assert {failure.port for failure in report.failures} <= open_then, report.failures[:10]
    at_rest(gateway)


def test_killed_control_process_fails_no_request(
    gateway: Gateway, backend: Backend, thread: EventLoopThread
) -> None:
    posted = one_service(backend.port)
    posted["services"][0]["routes"].append({"name": "added", "paths": ["/added"]})
    gateway.configure(posted)
    live = gateway.status()["configuration_hash"]
    with Load(thread, gateway.proxy_port, path="/load") as load, Load(thread, gateway.proxy_port) as other:
        wait_for(more_requests(load, 100), what="requests before the kill")
        for _ in range(2):
            control = gateway.status()["control"]["pid"]
            requests = gateway.status()["server"]["total_requests"]
            os.kill(control, signal.SIGKILL)
            wait_for(more_requests(load, 100), what="requests while it is away")
            wait_for(partial(other_control, gateway, control), what="the control process is back")
            status = gateway.status()
            assert status["configuration_hash"] == live
            assert status["server"]["total_requests"] > requests
        configuration = gateway.call(gateway.admin_port, "GET", "/config")
        assert configuration[0] == 200
        assert b"added" in configuration[2]
        gateway.configure(one_service(backend.port))
        assert gateway.status()["configuration_hash"] != live
        wait_for(more_requests(load, 100), what="requests afterwards")
        load.stop().check()
        other.stop().check()
    assert gateway.status()["control"]["restarts"] >= 2
    at_rest(gateway)


def test_paused_worker_fails_no_request(gateway: Gateway, thread: EventLoopThread) -> None:
    """A worker that gets no processor for a while (a frozen machine) goes on where it was."""
    victim = gateway.worker_pids()[0]
    with Load(thread, gateway.proxy_port, connections=16) as load:
        wait_for(more_requests(load, 100), what="requests before")
        os.kill(victim, signal.SIGSTOP)
        try:
            wait_for(more_requests(load, 300), what="requests of the other worker")
        finally:
            os.kill(victim, signal.SIGCONT)
        wait_for(more_requests(load, 300), what="requests afterwards")
        load.stop().check()
    assert victim in gateway.worker_pids()


def test_reload_while_the_control_process_is_away(gateway: Gateway, backend: Backend) -> None:
    """The reload waits for it instead of being lost."""
    document = one_service(backend.port)
    document["services"][0]["routes"][0]["paths"] = ["/from-the-file"]
    gateway.config_path.write_text(json.dumps(document))
    assert gateway.process is not None
    os.kill(gateway.status()["control"]["pid"], signal.SIGKILL)
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: gateway.request("/load")[0] == 404, what="the file's configuration")
    assert gateway.request("/from-the-file")[0] == 200
    wait_for(lambda: other_control(gateway, 0), what="the control process is back")
    gateway.configure(one_service(backend.port))


def test_hung_control_process_fails_no_request(gateway: Gateway, thread: EventLoopThread) -> None:
    control = gateway.status()["control"]["pid"]
    with Load(thread, gateway.proxy_port) as load:
        os.kill(control, signal.SIGSTOP)
        try:
            wait_for(more_requests(load, 300), what="requests while it hangs")
        finally:
            os.kill(control, signal.SIGCONT)
        load.stop().check()
    assert gateway.status()["control"]["pid"] == control


def test_killed_master_leaves_nothing_and_can_start_again(backend: Backend, thread: EventLoopThread) -> None:
    with TidyGateway(one_service(backend.port), worker_processes=2) as gateway:
        assert gateway.process is not None
        with Load(thread, gateway.proxy_port) as load:
            wait_for(more_requests(load, 100), what="requests before the kill")
            family = gateway.family()
            assert len(family) == 3
            gateway.process.kill()
            assert gateway.process.wait() == -signal.SIGKILL
            wait_for(lambda: not any(map(is_running, family)), what="nothing outlives the master")
        assert not gateway.accepts()
        assert (
            gateway.prefix / "pids" / "gateway.pid"
        ).exists()  # what kill -9 leaves: not to be taken for a gateway
        gateway.start()
        assert gateway.request("/again")[0] == 200
        assert len(gateway.family()) == 3


def test_everything_at_once(gateway: Gateway, backend: Backend, thread: EventLoopThread) -> None:
    """Reloads while workers and control process are killed in turn: only the victims' clients notice."""
    lost: set[int] = set()
    with (
        Load(thread, gateway.proxy_port, connections=12) as load,
        Load(thread, gateway.proxy_port, connections=4, keep_alive=False) as newcomers,
    ):
        for number in range(4):
            document = one_service(backend.port)
            document["services"][0]["routes"].append({"name": "more", "paths": [f"/more-{number}"]})
            gateway.config_path.write_text(json.dumps(document))
            wait_for(more_requests(load, 50), what="requests")
            victim = gateway.worker_pids()[number % 2]
            lost |= clients_of(gateway, victim)
            os.kill(victim, signal.SIGKILL)
            assert gateway.process is not None
            gateway.process.send_signal(signal.SIGHUP)
            control = gateway.status()["control"]["pid"]
            if number % 2:
                os.kill(control, signal.SIGKILL)
                wait_for(partial(other_control, gateway, control), what="the control process is back")
            wait_for(partial(other_workers, gateway, {victim}, 2), what="a new worker serves")
            wait_for(partial(is_live, gateway, f"more-{number}"), what="the file's configuration")
        wait_for(more_requests(newcomers, 50), what="requests afterwards")
        failures = load.stop().failures
        # a newcomer's connection may be on the killed worker, too: one at a time for each of the four clients
        few = newcomers.stop().failures
    assert {failure.port for failure in failures} <= lost, failures[:10]
    assert len(few) <= 4 * 4, few[:10]
    assert not [failure for failure in few if not failure.port], few[:10]
    at_rest(gateway)


def is_live(gateway: Gateway, path: str) -> bool:
    """Whether the Admin API shows this path, and every worker serves the configuration it has."""
    try:
        status, _, shown = gateway.call(gateway.admin_port, "GET", "/config")
        serving = gateway.status()
    except (OSError, ValueError, http.client.HTTPException):
        return False
    numbers = {worker["configuration_number"] for worker in serving["workers"]}
    return status == 200 and path.encode() in shown and numbers == {serving["configuration_number"]}
