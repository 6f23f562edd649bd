"""The end of a gateway: quit lets requests end, stop is fast, and nothing is left behind either way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from tests.support.footprint import TidyGateway, workers
from tests.support.gateway import PATIENCE, Gateway, is_running, one_service, read_all, wait_for
from tests.support.load import Backend, EventLoopThread, Load, more_requests


def unstarted(backend: Backend, options: str) -> Gateway:
    """With two workers that a drain does not cut off, however long it takes."""
    gateway = TidyGateway(one_service(backend.port), worker_processes=2, worker_shutdown_timeout="0")
    gateway.settings["proxy_listen"] = f"127.0.0.1:{gateway.proxy_port} {options}"
    return gateway


@pytest.fixture
def gateway(backend: Backend) -> Iterator[Gateway]:
    with unstarted(backend, "reuseport") as running:
        yield running


def processes(gateway: Gateway) -> list[psutil.Process]:
    assert gateway.process is not None
    return [psutil.Process(gateway.process.pid), *gateway.family()]


def in_use(gateway: Gateway) -> int:
    return sum(worker["upstream_active"] for worker in workers(gateway))


def wait_for_end(gateway: Gateway, family: list[psutil.Process], killed: int = 0) -> None:
    """All processes end by themselves, but for those `killed` by the test: the master had to kill none."""
    assert gateway.process is not None
    assert gateway.process.wait(PATIENCE) == 0
    wait_for(lambda: not any(map(is_running, family)), what="all processes have ended")
    assert not (gateway.prefix / "pids" / "gateway.pid").exists()
    assert not list((gateway.prefix / "snapshots").iterdir())
    assert gateway.output().count("was ended by signal 9") == killed


@pytest.mark.parametrize("options", ["reuseport", ""])
def test_quit_resets_nobody(backend: Backend, thread: EventLoopThread, options: str) -> None:
    """Who got a connection gets an answer; who comes too late is refused.

    Between a worker's last accept and its close() somebody may still slip into the queue; hardly ever.
    """
    gateway = unstarted(backend, options)
    newcomers = Load(thread, gateway.proxy_port, connections=8, pause=0, keep_alive=False)
    with gateway, newcomers, Load(thread, gateway.proxy_port, connections=8) as load:
        wait_for(more_requests(newcomers, 200), what="requests")
        family = processes(gateway)
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGQUIT)
        wait_for_end(gateway, family)
        failures = newcomers.stop().failures + load.stop().failures
    assert failures
    assert len([failure for failure in failures if failure.port]) <= 2, failures


@pytest.mark.parametrize("options", ["reuseport", ""])
def test_quit_lets_requests_end(backend: Backend, thread: EventLoopThread, options: str) -> None:
    gateway = unstarted(backend, options)
    with gateway, Load(thread, gateway.proxy_port, connections=30, path="/held") as slow:
        wait_for(lambda: len(backend.held) == 30, what="slow requests under way")
        family = processes(gateway)
        idle = [gateway.connect() for _ in range(10)]
        for connection in idle:
            connection.sendall(b"GET /idle HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(4096).startswith(b"HTTP/1.1 200")
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGQUIT)
        wait_for(lambda: not gateway.accepts(), what="new connections are refused")
        assert gateway.process.poll() is None
        # a connection that was idle may still send one more request, and is told that it was the last
        idle[0].sendall(b"GET /idle HTTP/1.1\r\nHost: x\r\n\r\n")
        assert b"\r\nConnection: close\r\n" in read_all(idle[0])
        assert slow.report.succeeded == 0
        slow.end()
        backend.release()
        report = slow.stop()
        assert not [failure for failure in report.failures if failure.port], report.failures
        assert report.succeeded == 30
        for connection in idle[1:]:
            assert connection.recv(4096) == b""
        for connection in idle:
            connection.close()
        wait_for_end(gateway, family)


def test_quit_cuts_off_after_its_timeout(gateway: Gateway) -> None:
    hung = [gateway.connect() for _ in range(4)]
    for connection in hung:
        connection.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: in_use(gateway) == 4, what="hung requests under way")
    family = processes(gateway)
    finished = gateway.run_command("quit", "--timeout", "1")
    assert finished.returncode == 0, finished.stderr
    wait_for_end(gateway, family)
    for connection in hung:
        assert read_all(connection) == b""
        connection.close()


def test_stop_is_fast(gateway: Gateway, thread: EventLoopThread) -> None:
    with (
        Load(thread, gateway.proxy_port, path="/slow/30", connections=8),
        Load(thread, gateway.proxy_port, connections=8) as load,
    ):
        wait_for(more_requests(load, 50), what="requests")
        family = processes(gateway)
        finished = gateway.run_command("stop")
        assert finished.returncode == 0, finished.stderr
        # within the five seconds after which the master kills what does not end
        wait_for_end(gateway, family)


def test_signals_in_the_middle_of_a_drain(gateway: Gateway) -> None:
    """TERM ends a drain at once; HUP and USR1 do no harm."""
    with gateway.connect() as hung:
        hung.sendall(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
        wait_for(lambda: in_use(gateway) == 1, what="a hung request under way")
        family = processes(gateway)
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGQUIT)
        wait_for(lambda: not gateway.accepts(), what="new connections are refused")
        gateway.process.send_signal(signal.SIGHUP)
        gateway.process.send_signal(signal.SIGUSR1)
        gateway.process.send_signal(signal.SIGTERM)
        wait_for_end(gateway, family)


def test_worker_killed_in_the_middle_of_a_drain(gateway: Gateway, backend: Backend) -> None:
    """It is not started again, and the others still finish theirs."""
    slow = [gateway.connect() for _ in range(16)]
    for connection in slow:
        connection.sendall(b"GET /held HTTP/1.1\r\nHost: x\r\n\r\n")
    wait_for(lambda: len(backend.held) == 16, what="slow requests under way")
    family = processes(gateway)
    # the kernel spreads sixteen connections over both
    busy: list[dict[str, Any]] = sorted(workers(gateway), key=lambda worker: int(worker["upstream_active"]))
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGQUIT)
    wait_for(lambda: not gateway.accepts(), what="new connections are refused")
    psutil.Process(busy[0]["pid"]).kill()
    backend.release()
    answers = [read_all(connection) for connection in slow]
    for connection in slow:
        connection.close()
    assert sum(answer.startswith(b"HTTP/1.1 200") for answer in answers) == busy[1]["upstream_active"]
    wait_for_end(gateway, family, killed=1)
