"""The plugin thread: takes jobs from the loop thread and lets handlers do them, on an event loop (uvloop).

Handlers that answer at once cost no task. Others become tasks, and are cancelled once nobody waits for them.
One that neither answers nor awaits holds up the others of this worker; the main thread sees that and says
where it stands.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Coroutine
from typing import Any

import uvloop

from gateway.logs import ErrorLog
from gateway.plugin_thread.context import Job, WorkerContext
from gateway.plugin_thread.failures import place_of, problem_of
from gateway.plugin_thread.handlers import Handlers
from gateway.processes import set_name
from gateway.settings import Settings
from native.jobs import JobQueue
from native.shm import SharedState

BATCH = 32
"""Jobs that are begun before those that wait for something get their turn again."""
NICENESS = 2
"""How far it stands back behind the loop, which serves the requests that need no Python, where processors are
short."""
SWEEP_INTERVAL = 0.25
"""seconds between looks for tasks whose requests do not wait any more"""
CLOSE_PATIENCE = 1.0
"""seconds that handlers have for closing what they hold, and the thread for ending"""
STANDSTILL = 2.0
"""seconds after which a job that lets nobody else work is reported"""


class PluginThread:
    """The thread, as the worker's main thread sees it: not started before there is something to do."""

    def __init__(
        self,
        queue: JobQueue,
        settings: Settings,
        shared: SharedState,
        log: ErrorLog,
        *,
        worker: int,
        name: str,
    ) -> None:
        self._queue = queue
        self._settings = settings
        self._shared = shared
        self._log = log
        self._worker = worker
        self._name = name
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._runner: Runner | None = None
        self._reported: object = None

    @property
    def fd(self) -> int:
        """Readable when there is something to do; the thread listens itself once it is started."""
        return self._queue.fd

    def start(self) -> None:
        """Begin to work. Main thread, with signals blocked. Raises OSError (no descriptors), RuntimeError (no
        thread); then it can be tried again."""
        if self._thread is not None:
            return
        loop = uvloop.new_event_loop()
        runner = Runner(
            self._queue, WorkerContext(self._settings, self._shared, self._log, self._worker, loop)
        )
        thread = threading.Thread(target=self._run, args=(loop, runner), name="plugins", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            loop.close()
            raise
        self._loop, self._runner, self._thread = loop, runner, thread

    def expect(self, plugins: Collection[tuple[str, str]]) -> None:
        """Get ready for jobs of these plugins (name, kind of step), so that no request waits for imports.
        Main thread."""
        assert self._loop is not None
        assert self._runner is not None
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._runner.expect, plugins)

    def end(self, patience: float) -> bool:
        """Do what there is to do, each job within its deadline and all within `patience` seconds, close the
        handlers and end. False: it hangs."""
        if self._thread is None:
            return True
        assert self._loop is not None
        assert self._runner is not None
        if self._runner.only_loads and not self._queue.waiting:
            return True  # nobody needs any more what is being imported
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._runner.begin_end, patience)
        self._thread.join(patience + CLOSE_PATIENCE)
        return not self._thread.is_alive()

    def look_after(self) -> None:
        """Report a job that lets nobody else work. Main thread, about once a second."""
        current = self._runner.current if self._runner is not None else None
        if current is None or current is self._reported or self._thread is None:
            return
        job, since = current
        stood = time.monotonic() - since
        if stood < STANDSTILL:
            return
        self._reported = current
        frame = sys._current_frames().get(self._thread.ident or 0)
        self._log.error(
            f"plugin {job.plugin_name} has held up the other Python plugins of this worker for {stood:.1f} s"
            f" (it must await what takes time), now {place_of(frame)}"
        )

    def _run(self, loop: asyncio.AbstractEventLoop, runner: Runner) -> None:
        set_name(self._name)
        here = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, here, os.getpriority(os.PRIO_PROCESS, here) + NICENESS)
        asyncio.set_event_loop(loop)
        work = loop.create_task(runner.run())
        while not work.done():
            try:
                loop.run_until_complete(work)
            except BaseException as error:
                # Of a task that a plugin has begun: SystemExit and its like leave the loop, which goes on.
                self._log.error(f"on the plugin thread: {problem_of(error)}")
        loop.close()


class Runner:
    """What happens on the thread."""

    def __init__(self, queue: JobQueue, context: WorkerContext) -> None:
        self._queue = queue
        self._context = context
        self._handlers = Handlers(context)
        self._tasks: dict[asyncio.Task[None], Job] = {}
        self._ending = asyncio.Event()
        self._sweeps = False
        self._loads = False
        self._has_worked = False
        self._end_by = 0.0
        self.current: tuple[Job, float] | None = None
        """the job that is begun just now, and since when (time.monotonic())"""

    async def run(self) -> None:
        """Work until begin_end()."""
        loop = self._context.loop
        loop.set_exception_handler(self._on_stray_exception)
        loop.add_reader(self._queue.fd, self._take)
        await self._ending.wait()
        loop.remove_reader(self._queue.fd)
        await self._finish_work()
        await self._close_handlers()

    def expect(self, plugins: Collection[tuple[str, str]]) -> None:
        """Import and make the handlers of plugins (name, kind of step). By call_soon_threadsafe()."""
        self._loads = True
        for name, step in plugins:
            try:
                self._handlers.handler_of(name, step)
            except (Exception, SystemExit, KeyboardInterrupt) as error:
                self._context.log.error(f"plugin {name} cannot be used: {problem_of(error)}")
        self._loads = False

    @property
    def only_loads(self) -> bool:
        """Whether handlers are being imported, and there was never a job: then none of them has anything to
        give away when it is closed. Any thread."""
        return self._loads and not self._has_worked

    def begin_end(self, patience: float) -> None:
        """Called through call_soon_threadsafe()."""
        self._end_by = time.monotonic() + patience
        self._ending.set()

    # --- jobs -------------------------------------------------------------------------------------

    def _take(self) -> bool:
        """Begin the next jobs. Whether there were any."""
        jobs = self._queue.take(BATCH)
        self._has_worked = self._has_worked or bool(jobs)
        for job in jobs:
            self._begin(job)
        return bool(jobs)

    def _begin(self, job: Job) -> None:
        self.current = (job, time.monotonic())
        try:
            result = self._handlers.prepare(job).handle(job)
            if isinstance(result, bytes):
                job.finish(result)
            elif result is not None:
                self._go_on(job, result)
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            self._fail(job, error)
        self.current = None

    def _go_on(self, job: Job, work: Coroutine[Any, Any, bytes]) -> None:
        task = self._context.loop.create_task(self._await(job, work))
        self._tasks[task] = job
        task.add_done_callback(self._forget)
        if not self._sweeps:
            self._sweeps = True
            self._context.loop.call_later(SWEEP_INTERVAL, self._sweep)

    async def _await(self, job: Job, work: Coroutine[Any, Any, bytes]) -> None:
        try:
            job.finish(await work)
        except asyncio.CancelledError:
            job.fail()
        except (Exception, SystemExit, KeyboardInterrupt) as error:
            self._fail(job, error)

    def _forget(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]

    def _fail(self, job: Job, error: BaseException) -> None:
        request = f', request_id: "{job.request_id}"'
        self._context.log.error(f"plugin {job.plugin_name} failed: {problem_of(error)}{request}")
        job.fail()

    def _sweep(self) -> None:
        """Cancel what nobody waits for, as long as there is anything that could be."""
        now = time.monotonic()
        for task, job in self._tasks.items():
            # a request that waits gives up by itself, and tells: never before it
            if job.abandoned or (not job.awaited and job.deadline <= now):
                task.cancel()
        self._sweeps = bool(self._tasks)
        if self._sweeps:
            self._context.loop.call_later(SWEEP_INTERVAL, self._sweep)

    def _on_stray_exception(self, _: asyncio.AbstractEventLoop, described: dict[str, Any]) -> None:
        """A callback or task of a plugin, of which the runner knows nothing, failed."""
        error = described.get("exception")
        text = problem_of(error) if isinstance(error, BaseException) else ""
        self._context.log.error(f"on the plugin thread: {described.get('message', '')} {text}")

    # --- the end ------------------------------------------------------------------------------------

    async def _finish_work(self) -> None:
        """Do what is in the ring. The sweep takes care of deadlines."""
        while (self._take() or self._tasks) and time.monotonic() < self._end_by:
            if self._tasks:
                await asyncio.wait(self._tasks, timeout=min(SWEEP_INTERVAL, self._end_by - time.monotonic()))
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SWEEP_INTERVAL)

    async def _close_handlers(self) -> None:
        for handler in self._handlers.all:
            close: Callable[[], Coroutine[Any, Any, None]] | None = getattr(handler, "close", None)
            if close is None:
                continue
            try:
                await asyncio.wait_for(close(), timeout=CLOSE_PATIENCE)
            except Exception as error:
                self._context.log.error(f"closing {type(handler).__name__}: {problem_of(error)}")
