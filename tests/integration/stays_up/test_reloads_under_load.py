"""Reloads under load: no request fails, and nothing of the old configurations or workers stays behind."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import psutil
import pytest

from tests.support.footprint import Footprint, TidyGateway, at_rest
from tests.support.gateway import Gateway, is_running, one_service, wait_for
from tests.support.load import Backend, EventLoopThread, Load, more_requests

RELOADS = 200
WARM_UP = 20
"""reloads before memory is measured for the first time"""
CONTROL_SLACK = 4 << 20
"""bytes that the control process may grow by in 200 reloads: Python's allocator, not its objects"""


@pytest.fixture
def gateway(backend: Backend) -> Iterator[Gateway]:
    # without access log: its ring is filled, and so becomes memory, bit by bit
    configured = TidyGateway(one_service(backend.port), worker_processes=2, proxy_access_log="off")
    configured.settings["proxy_listen"] = f"127.0.0.1:{configured.proxy_port} reuseport"
    with configured as running:
        yield running


def document(backend: Backend, number: int) -> dict[str, Any]:
    """A configuration like no other: one route for everything, some more with the number in them."""
    configuration = one_service(backend.port)
    configuration["services"][0]["routes"] += [
        {"name": f"route-{i}", "paths": [f"/only-{number}/{i}", f"~/regex-{number}/(?<id>\\d+)/{i}$"]}
        for i in range(20)
    ]
    return configuration


def outcome(gateway: Gateway) -> dict[str, Any]:
    """Of the last reload by signal."""
    try:
        return json.loads((gateway.prefix / "control" / "reload.json").read_text())  # type: ignore[no-any-return]
    except FileNotFoundError:
        return {"sequence": 0}


def reload_by_signal(gateway: Gateway) -> dict[str, Any]:
    assert gateway.process is not None
    before = outcome(gateway)["sequence"]
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: outcome(gateway)["sequence"] > before, what="the reload's outcome")
    return outcome(gateway)


def change_configuration(gateway: Gateway, backend: Backend, number: int) -> None:
    """By POST /config and by file and signal in turn."""
    if number % 2:
        gateway.configure(document(backend, number))
    else:
        gateway.config_path.write_text(json.dumps(document(backend, number)))
        result = reload_by_signal(gateway)
        assert result["ok"], result
    # the answer comes when every worker serves the new configuration
    status, _, _ = gateway.request(f"/only-{number}/7")
    assert status == 200


def snapshot_files(gateway: Gateway) -> list[str]:
    return sorted(path.name for path in (gateway.prefix / "snapshots").iterdir())


def private_bytes(pid: int) -> int:
    return int(psutil.Process(pid).memory_full_info().uss)


def test_two_hundred_reloads(gateway: Gateway, backend: Backend, thread: EventLoopThread) -> None:
    control = gateway.status()["control"]["pid"]
    pids = set(gateway.worker_pids())
    with Load(thread, gateway.proxy_port, connections=16, pause=0.01) as load:
        for number in range(WARM_UP):
            change_configuration(gateway, backend, number)
        load.stop().check()
    before, control_before = Footprint.of(gateway), private_bytes(control)
    files_before, control_descriptors = len(snapshot_files(gateway)), psutil.Process(control).num_fds()
    with Load(thread, gateway.proxy_port, connections=16, pause=0.01) as load:
        for number in range(WARM_UP, WARM_UP + RELOADS):
            change_configuration(gateway, backend, number)
        wait_for(more_requests(load, 100), what="requests after the last reload")
        load.stop().check()
    assert set(gateway.worker_pids()) == pids
    assert gateway.status()["configuration_number"] >= WARM_UP + RELOADS
    Footprint.of(gateway).check(before)
    assert len(snapshot_files(gateway)) <= files_before <= 6, snapshot_files(gateway)
    assert (
        psutil.Process(control).num_fds() <= control_descriptors + 2
    )  # connections of a status request just ended
    assert private_bytes(control) - control_before <= CONTROL_SLACK


def test_bad_reload_changes_nothing(gateway: Gateway, backend: Backend, thread: EventLoopThread) -> None:
    live = gateway.status()["configuration_hash"]
    with Load(thread, gateway.proxy_port) as load:
        gateway.config_path.write_text('{"_format_version": "3.0", "services": [{"name": "no-host"}]}')
        result = reload_by_signal(gateway)
        assert not result["ok"]
        assert "host" in " ".join(result["errors"])
        status, _, answer = gateway.call(
            gateway.admin_port,
            "POST",
            "/config",
            b'{"_format_version": "3.0", "rubbish": 1}',
            {"Content-Type": "application/json"},
        )
        assert status == 400, answer
        wait_for(more_requests(load, 100), what="requests after the refused reloads")
        load.stop().check()
    assert gateway.status()["configuration_hash"] == live


def test_reload_under_a_long_response(gateway: Gateway, backend: Backend, thread: EventLoopThread) -> None:
    """The configuration that a request began with stays mapped until it has ended."""
    before = Footprint.of(gateway)
    with Load(thread, gateway.proxy_port, connections=8, path="/held") as slow:
        wait_for(lambda: len(backend.held) == 8, what="requests under way")
        for number in range(4):
            change_configuration(gateway, backend, number)
        assert slow.report.succeeded == 0
        slow.end()
        backend.release()
        report = slow.stop()
    report.check()
    assert report.succeeded == 8
    Footprint.of(gateway).check(before, slack=2 << 20)


@pytest.mark.parametrize("options", ["reuseport", ""])
def test_new_generation_of_workers(backend: Backend, thread: EventLoopThread, options: str) -> None:
    """Settings of workers change: new workers take over, old ones finish what they have."""
    gateway = TidyGateway(one_service(backend.port), worker_processes=2)
    gateway.settings["proxy_listen"] = f"127.0.0.1:{gateway.proxy_port} {options}"
    with gateway:
        replace_workers_under_load(gateway, thread)


def serve_alone(gateway: Gateway, count: int) -> bool:
    return len(gateway.worker_pids()) == count


def have_ended(processes: list[psutil.Process]) -> bool:
    return not any(map(is_running, processes))


def replace_workers_under_load(gateway: Gateway, thread: EventLoopThread) -> None:
    with (
        Load(thread, gateway.proxy_port, connections=16) as load,
        Load(thread, gateway.proxy_port, connections=4, keep_alive=False) as newcomers,
        Load(thread, gateway.proxy_port, connections=8, path="/slow/0.5") as slow,
    ):
        for count in (3, 1, 2):
            wait_for(more_requests(load, 100), what="requests before the change")
            old = [psutil.Process(pid) for pid in gateway.worker_pids()]
            gateway.settings["worker_processes"] = count
            finished = gateway.run_command("reload")
            assert finished.returncode == 0, finished.stderr
            wait_for(partial(serve_alone, gateway, count), what=f"{count} new workers")
            wait_for(partial(have_ended, old), what="the old workers have ended")
        assert gateway.status()["generation"] == 4
        wait_for(more_requests(load, 100), what="requests afterwards")
        for one in (load, newcomers, slow):
            one.stop().check()
    at_rest(gateway)
    assert gateway.process is not None
    assert len(gateway.family()) == 3
    assert os.getpgid(gateway.process.pid) == gateway.process.pid


def test_idle_clients_of_replaced_workers_are_let_go(gateway: Gateway) -> None:
    idle = [gateway.connect() for _ in range(20)]
    try:
        for connection in idle:
            connection.sendall(b"GET /idle HTTP/1.1\r\nHost: x\r\n\r\n")
        for connection in idle:
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        old = [psutil.Process(pid) for pid in gateway.worker_pids()]
        gateway.settings["worker_connections"] = 500
        finished = gateway.run_command("reload")
        assert finished.returncode == 0, finished.stderr
        wait_for(partial(have_ended, old), what="the old workers have ended")
        for connection in idle:
            assert connection.recv(4096) == b""
    finally:
        for connection in idle:
            connection.close()
    assert gateway.request("/new")[0] == 200
