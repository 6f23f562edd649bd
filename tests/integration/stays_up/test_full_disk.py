"""Logs and snapshots that cannot be written: traffic goes on, and whoever asked for something is told."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support.footprint import TidyGateway, workers
from tests.support.gateway import Gateway, one_service, wait_for
from tests.support.load import Backend, EventLoopThread, Load, more_requests


def test_logs_on_a_full_disk(backend: Backend, thread: EventLoopThread) -> None:
    logs = {"proxy_access_log": "/dev/full", "proxy_error_log": "/dev/full"}
    with Gateway(one_service(backend.port), worker_processes=2, **logs) as gateway:
        with Load(thread, gateway.proxy_port) as load:
            wait_for(more_requests(load, 300), what="requests")
            (victim, _) = gateway.worker_pids()
            os.kill(victim, signal.SIGKILL)  # the master has something to log, too
            wait_for(lambda: victim not in gateway.worker_pids(), what="another worker")
            wait_for(more_requests(load, 300), what="more requests")
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGQUIT)
        assert gateway.process.wait(10) == 0


def test_log_rotation_under_load(backend: Backend, thread: EventLoopThread) -> None:
    """No line is lost while the file is moved away, and the old one is let go."""
    with TidyGateway(one_service(backend.port), worker_processes=2) as gateway:
        log = gateway.prefix / "access.log"
        with Load(thread, gateway.proxy_port) as load:
            for number in range(5):
                wait_for(more_requests(load, 100), what="requests")
                log.rename(log.with_name(f"access.{number}"))
                assert gateway.process is not None
                gateway.process.send_signal(signal.SIGUSR1)
                wait_for(log.exists, what="a new file")
            report = load.stop()
        report.check()
        files = [log, *gateway.prefix.glob("access.[0-9]")]

        def lines() -> int:
            return sum(file.read_bytes().count(b"GET /load") for file in files)

        wait_for(lambda: lines() == report.succeeded, what="a line for each request")
        held = {Path(file.path) for pid in gateway.worker_pids() for file in psutil.Process(pid).open_files()}
        assert log in held
        assert not held & set(files[1:])


def test_a_log_that_nobody_reads(backend: Backend, thread: EventLoopThread, tmp_path: Path) -> None:
    """A pipe that is full: lines are dropped and counted, requests and the end do not wait for it."""
    pipe = tmp_path / "access.pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        with TidyGateway(one_service(backend.port), proxy_access_log=pipe) as gateway:
            path = "/" + "p" * 2000  # long lines, to be there sooner
            with Load(thread, gateway.proxy_port, path=path, pause=0) as load:
                wait_for(
                    lambda: workers(gateway)[0]["log_lines_dropped"] > 0, seconds=20, what="dropped lines"
                )
                wait_for(more_requests(load, 100), what="requests meanwhile")
                load.stop().check()
            finished = gateway.run_command("stop")
            assert finished.returncode == 0, finished.stderr
            assert "signal 9" not in gateway.output(), "a worker had to be killed"
    finally:
        os.close(reader)


@pytest.mark.parametrize("setting", ["proxy_access_log", "proxy_error_log"])
def test_unwritable_log_at_the_start(backend: Backend, setting: str) -> None:
    gateway = Gateway(one_service(backend.port), **{setting: "/dev/null/nowhere.log"})
    try:
        finished = gateway.run_command("start")
        assert finished.returncode != 0
        assert "/dev/null/nowhere.log" in finished.stderr
        assert setting.upper() in finished.stderr
        assert "Traceback" not in finished.stderr
    finally:
        gateway.stop()


@contextmanager
def full_disk(pid: int) -> Iterator[None]:
    """A process may not make any file grow: every write to one fails, as on a full disk."""
    process = psutil.Process(pid)
    soft, hard = process.rlimit(psutil.RLIMIT_FSIZE)
    process.rlimit(psutil.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        process.rlimit(psutil.RLIMIT_FSIZE, (soft, hard))


@contextmanager
def missing_directory(path: Path) -> Iterator[None]:
    """Something else lies where a directory should be."""
    aside = path.with_name("aside")
    path.rename(aside)
    path.write_text("not a directory")
    try:
        yield
    finally:
        path.unlink()
        aside.rename(path)


def post(gateway: Gateway, document: dict[str, object]) -> tuple[int, bytes]:
    body = json.dumps(document).encode()
    answer = gateway.call(gateway.admin_port, "POST", "/config", body, {"Content-Type": "application/json"})
    return answer[0], answer[2]


@pytest.mark.parametrize("trouble", ["full disk", "missing directory"])
def test_snapshots_that_cannot_be_written(backend: Backend, thread: EventLoopThread, trouble: str) -> None:
    with Gateway(one_service(backend.port), worker_processes=2) as gateway:
        control = gateway.status()["control"]["pid"]
        live = gateway.status()["configuration_hash"]
        other = one_service(backend.port, routes=[{"name": "other", "paths": ["/other"]}])
        with Load(thread, gateway.proxy_port) as load:
            with (
                full_disk(control)
                if trouble == "full disk"
                else missing_directory(gateway.prefix / "snapshots")
            ):
                status, answer = post(gateway, other)
                assert status >= 500, answer
                assert gateway.process is not None
                gateway.process.send_signal(signal.SIGHUP)
                wait_for(
                    lambda: "reload: " in gateway.output() or trouble == "full disk", what="the failed reload"
                )
                status, answer = post(gateway, other)
                assert status >= 500, answer
                assert gateway.status()["configuration_hash"] == live
                wait_for(more_requests(load, 100), what="requests meanwhile")
            load.stop().check()
        # nothing has to be started again to get out of it
        assert gateway.status()["control"]["pid"] == control
        gateway.configure(other)
        assert gateway.request("/load")[0] == 404
        sequence = reload_sequence(gateway)
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGHUP)
        wait_for(lambda: reload_sequence(gateway) > sequence, what="a reload")
        assert gateway.request("/load")[0] == 200


def reload_sequence(gateway: Gateway) -> int:
    try:
        return int(json.loads((gateway.prefix / "control" / "reload.json").read_text())["sequence"])
    except FileNotFoundError:
        return 0
