"""The plugin thread, between handlers and a loop thread that the test plays."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import uvloop

from gateway.logs import ErrorLog
from gateway.plugin_thread import Job, PluginThread, WorkerContext, handlers, thread
from gateway.settings import load_settings
from gateway.worker import Worker
from native.jobs import JobState, PlayedWorker
from native.shm import SharedState
from tests.support.gateway import wait_for


class EchoHandler:
    """Answers what the job's payload says."""

    made: list[EchoHandler]
    configurations: list[Any]
    closed: bool = False
    released: threading.Event

    def __init__(self, context: WorkerContext) -> None:
        self.context = context
        EchoHandler.made.append(self)

    def handle(self, job: Job) -> Any:
        EchoHandler.configurations.append(job.config)
        match job.payload:
            case b"fail":
                raise ValueError("this cannot be")
            case b"fail later":
                return self.fail()
            case b"wait":
                return self.wait()
            case b"block":
                EchoHandler.released.wait(20)
                return b"unblocked"
            case payload if payload.startswith(b"async"):
                return self.later(payload)
            case payload:
                return payload.upper()

    async def later(self, payload: bytes) -> bytes:
        await asyncio.sleep(0)
        return payload.upper()

    async def fail(self) -> bytes:
        await asyncio.sleep(0)
        raise KeyError("nothing there")

    async def wait(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def close(self) -> None:
        EchoHandler.closed = True


class Stage:
    """A worker with a plugin thread."""

    def __init__(self, log: Path, **worker: Any) -> None:
        self.log = log
        self.worker = PlayedWorker("example", b'{"limit": 3}', **worker)
        self.thread = PluginThread(
            self.worker.queue(),
            load_settings(None, {}, {}),
            SharedState.create(1),
            ErrorLog(os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT)),
            worker=0,
            name="test-plugins",
        )

    def park(self, number: int, payload: bytes) -> None:
        assert self.worker.park(number, payload)
        self.worker.end_round()

    def answer(self, number: int) -> tuple[int, bytes]:
        """What an exchange is resumed with."""

        def resumed() -> bool:
            select.select([self.worker.wakeup_fd], [], [], 0.05)
            self.worker.wake_up()
            return bool(self.worker.times_resumed(number))

        wait_for(resumed, what=f"exchange {number} is resumed")
        found = self.worker.resumed(number)
        assert found is not None
        return found

    def logged(self) -> str:
        return self.log.read_text()


@pytest.fixture
def stage_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Stage]]:
    monkeypatch.setattr(handlers, "handler_place", lambda *plugin: f"{__name__}:EchoHandler")
    monkeypatch.setitem(sys.modules, __name__, sys.modules[__name__])
    EchoHandler.made, EchoHandler.configurations = [], []
    EchoHandler.closed, EchoHandler.released = False, threading.Event()
    stages: list[Stage] = []

    def make(**worker: Any) -> Stage:
        stages.append(Stage(tmp_path / "error.log", **worker))
        stages[-1].thread.start()
        return stages[-1]

    yield make
    EchoHandler.released.set()
    for stage in stages:
        stage.thread.end(5)


def test_handlers_answer_at_once_or_later(stage_of: Callable[..., Stage]) -> None:
    stage = stage_of()
    for number, payload in enumerate((b"one", b"async two", b"three")):
        stage.park(number, payload)
    assert [stage.answer(number) for number in range(3)] == [
        (JobState.JOB_DONE, b"ONE"),
        (JobState.JOB_DONE, b"ASYNC TWO"),
        (JobState.JOB_DONE, b"THREE"),
    ]
    assert len(EchoHandler.made) == 1
    assert EchoHandler.made[0].context.worker == 0
    first, *others = EchoHandler.configurations
    assert first == {"limit": 3}
    assert all(other is first for other in others)


def test_handlers_are_made_before_their_first_job(
    stage_of: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = stage_of()
    stage.thread.expect([("example", "example")])
    (made,) = wait_for(lambda: EchoHandler.made, what="the handler is made")
    stage.park(0, b"one")
    assert stage.answer(0) == (JobState.JOB_DONE, b"ONE")
    assert EchoHandler.made == [made]
    monkeypatch.setattr(handlers, "handler_place", lambda *plugin: "gateway.nowhere:Handler")
    stage.thread.expect([("broken", "broken")])
    wait_for(stage.logged, what="a handler that is not there is told")
    assert "plugin broken cannot be used: ModuleNotFoundError" in stage.logged()


def test_the_end_does_not_wait_for_imports(
    stage_of: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def load(_: str) -> Any:
        begun.set()
        EchoHandler.released.wait(20)
        return EchoHandler

    monkeypatch.setattr(handlers, "load", load)
    stage = stage_of()
    stage.thread.expect([("example", "example")])
    assert begun.wait(20)
    assert stage.thread.end(5)
    stage.park(0, b"one")
    assert not stage.thread.end(0)
    EchoHandler.released.set()
    assert stage.answer(0) == (JobState.JOB_DONE, b"ONE")


def test_the_end_closes_handlers_that_have_worked_though_others_are_imported(
    stage_of: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    """They may hold what is not yet written elsewhere, such as counts."""
    begun = threading.Event()

    class Slow:
        def __init__(self, _: WorkerContext) -> None:
            begun.set()
            EchoHandler.released.wait(20)

    stage = stage_of()
    stage.park(0, b"one")
    assert stage.answer(0) == (JobState.JOB_DONE, b"ONE")
    monkeypatch.setattr(handlers, "handler_place", lambda *plugin: "slow")
    monkeypatch.setattr(handlers, "load", lambda _: Slow)
    stage.thread.expect([("slow", "slow")])
    assert begun.wait(20)
    threading.Timer(0.1, EchoHandler.released.set).start()
    assert stage.thread.end(20)
    assert EchoHandler.closed


def test_a_worker_whose_plugin_thread_does_not_start_gets_signals_and_tries_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Signals are blocked while it starts; a worker that stayed so would not even drain."""

    def no_loop() -> Any:
        raise OSError(24, "Too many open files")

    stage = Stage(tmp_path / "error.log")
    worker = Worker.__new__(Worker)
    worker._jobs, worker._poll, worker._plugins = stage.worker.queue(), select.poll(), None
    worker._settings, worker._shared = load_settings(None, {}, {}), SharedState.create(1)
    worker._log, worker._start = stage.thread._log, cast(Any, SimpleNamespace(index=0, slot=0))
    worker._plane = cast(Any, SimpleNamespace(load_configuration=lambda path: [("example", "example")]))
    worker._poll.register(worker._jobs.fd, select.POLLIN)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    try:
        with monkeypatch.context() as patched:
            patched.setattr(uvloop, "new_event_loop", no_loop)
            worker._load_configuration(tmp_path)
            assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == set()
            assert "does not start yet: [Errno 24]" in stage.logged()
            with pytest.raises(OSError, match="Too many open files"):
                worker._needed_plugin_thread()
        assert worker._needed_plugin_thread().end(5)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@pytest.mark.parametrize(
    ("payload", "text"),
    [(b"fail", "ValueError: this cannot be, in "), (b"fail later", "KeyError: 'nothing there', in ")],
)
def test_an_exception_is_logged_and_the_job_has_failed(
    stage_of: Callable[..., Stage], payload: bytes, text: str
) -> None:
    stage = stage_of()
    stage.park(0, payload)
    stage.park(1, b"next")
    assert stage.answer(0) == (JobState.JOB_FAILED, b"")
    assert stage.answer(1) == (JobState.JOB_DONE, b"NEXT")
    (line,) = stage.logged().splitlines()
    assert f"plugin example failed: {text}" in line
    assert "test_plugin_thread.py:" in line
    assert line.endswith(f'request_id: "{"r" * 32}"')


def test_a_handler_that_is_not_there_is_logged(
    stage_of: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handlers, "handler_place", lambda *plugin: "gateway.nowhere:Handler")
    stage = stage_of()
    stage.park(0, b"x")
    assert stage.answer(0) == (JobState.JOB_FAILED, b"")
    assert "ModuleNotFoundError: No module named 'gateway.nowhere'" in stage.logged()


def test_work_that_nobody_waits_for_is_cancelled(stage_of: Callable[..., Stage]) -> None:
    stage = stage_of()
    stage.park(0, b"wait")
    wait_for(lambda: EchoHandler.configurations, what="the job is begun")
    stage.worker.expire(0)
    assert stage.worker.resumed(0) == (JobState.JOB_LATE, b"")
    stage.worker.free_job(0)
    wait_for(lambda: stage.worker.wake_up() or not stage.worker.in_use()["outside"], what="it is cancelled")
    stage.worker.wake_up()
    assert stage.worker.in_use()["jobs"] == 0
    assert stage.worker.counted() == {"plugin_timeouts": 1, "plugin_failures": 0, "jobs_dropped": 0}


def test_work_for_no_request_ends_at_its_deadline(stage_of: Callable[..., Stage]) -> None:
    stage = stage_of(deadline_ms=50)
    assert stage.worker.send(b"wait")
    stage.worker.end_round()
    wait_for(lambda: EchoHandler.configurations, what="the job is begun")
    wait_for(lambda: stage.worker.wake_up() or not stage.worker.in_use()["outside"], what="it is cancelled")


def test_a_handler_that_blocks_is_reported(
    stage_of: Callable[..., Stage], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thread, "STANDSTILL", 0.0)
    stage = stage_of()
    stage.park(0, b"block")
    wait_for(lambda: EchoHandler.configurations, what="the job is begun")
    stage.thread.look_after()
    stage.thread.look_after()  # once is enough
    (line,) = stage.logged().splitlines()
    assert "plugin example has held up the other Python plugins of this worker for" in line
    assert "handle (" in line
    EchoHandler.released.set()
    assert stage.answer(0) == (JobState.JOB_DONE, b"unblocked")


def test_the_end_finishes_what_there_is(stage_of: Callable[..., Stage]) -> None:
    stage = stage_of(deadline_ms=300)
    for _ in range(100):
        assert stage.worker.send(b"async work")
    assert stage.worker.send(b"wait")
    stage.worker.end_round()
    assert stage.thread.end(5)
    assert len(EchoHandler.configurations) == 101
    assert EchoHandler.closed
    stage.worker.wake_up()
    assert stage.worker.in_use() == {"jobs": 0, "outside": 0, "bytes": 0, "buffers": 0, "users": 0}


def test_a_thread_that_hangs_does_not_hold_up_the_end(stage_of: Callable[..., Stage]) -> None:
    stage = stage_of()
    stage.park(0, b"block")
    wait_for(lambda: EchoHandler.configurations, what="the job is begun")
    assert not stage.thread.end(0.1)


def test_the_end_waits_only_so_long(stage_of: Callable[..., Stage]) -> None:
    stage = stage_of()
    assert stage.worker.send(b"wait")
    stage.worker.end_round()
    wait_for(lambda: EchoHandler.configurations, what="the job is begun")
    assert stage.thread.end(0.1)
    assert EchoHandler.closed
