"""A worker's main thread. The request path runs beside it, in a native thread that never takes the GIL.

loop thread     DataPlane.run(): all sockets, all requests
log thread      DataPlane.write_logs(): takes lines from the rings and writes them
main thread     this module: signals, new snapshots, unmapping old ones; asleep nearly always
plugin thread   gateway.plugin_thread: what plugins do in Python; started when a configuration may need it
"""

import gc
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gateway.logs import ErrorLog, open_log, reopen_log
from gateway.master import WorkerStart
from gateway.processes import SignalReader, set_name
from gateway.run_directory import RunDirectory, SnapshotKind
from native.data_plane import DataPlane
from native.shm import WorkerState

if TYPE_CHECKING:
    from gateway.plugin_thread import PluginThread

LOG_PATIENCE = 1.0
"""seconds that the last log lines have to be written: nobody may be reading the pipe that the log is"""
STOP_PATIENCE = 0.5
"""seconds that plugins have for what they do after a response, when the worker is stopped at once"""
END_PATIENCE = 10.0
"""the same after a drain; nobody waits for it, and each piece of work has a deadline of its own"""
NICENESS = 5
"""How far the main thread stands back behind the loop's where processors are short: checking a large snapshot
takes tens of milliseconds, which no request should wait for."""
HOUSEKEEPING_INTERVAL = 1.0
"""seconds between looks for snapshots that no request uses any more"""


def run_worker(start: WorkerStart) -> int:
    """Serve until told to end. Runs in a process of its own; returns its exit code."""
    set_name(f"gateway-work/{start.slot}")
    if start.settings.cpu_affinity:
        processors = start.settings.cpu_affinity
        _pin(processors[start.slot % len(processors)], start.log)
    signals = SignalReader((signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1))
    gc.collect()
    return Worker(start, signals).run()


def _pin(processor: int, log: ErrorLog) -> None:
    try:
        os.sched_setaffinity(0, {processor})
    except OSError as error:
        log.warn(f"cannot run on processor {processor} only: {error.strerror}")


class Worker:
    """The main thread's part of a worker."""

    def __init__(self, start: WorkerStart, signals: SignalReader) -> None:
        self._start = start
        self._settings = start.settings
        self._shared = start.shared
        self._log = start.log
        self._signals = signals
        self._directory = RunDirectory(start.settings.prefix)
        self._loaded: dict[SnapshotKind, int] = {}
        self._failed: dict[SnapshotKind, int] = {}
        """number of the snapshot that could not be loaded, so that it is reported once"""
        self._access_fd = self._open_access_log()
        self._loop_ended = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._exit_code = 0
        self._drains = False
        self._plane = DataPlane(
            start.shared,
            start.index,
            listeners=start.listeners,
            worker_connections=start.settings.worker_connections,
            access_log_fd=self._access_fd,
            error_log_fd=start.log.fd,
            loop_fds=start.loop_fds,
        )
        self._jobs = self._plane.job_queue()
        self._poll = select.poll()
        self._plugins: PluginThread | None = None

    def run(self) -> int:
        """Start the native threads, then wait for snapshots and signals until the loop has ended."""
        # Threads inherit the mask: with all signals blocked there, they are delivered to this thread alone.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        loop = self._thread("loop", self._plane.run)
        writer = self._thread("log", self._plane.write_logs)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # Of this thread only, and on top of what the gateway was started with.
        here = threading.get_native_id()
        os.setpriority(os.PRIO_PROCESS, here, os.getpriority(os.PRIO_PROCESS, here) + NICENESS)
        for fd in (self._signals.fd, self._start.notify_fd, self._loop_ended, self._jobs.fd):
            self._poll.register(fd, select.POLLIN)
        next_housekeeping = time.monotonic()
        self._load_snapshots()
        while loop.is_alive():
            wait = max(0.0, next_housekeeping - time.monotonic())
            ready = {fd for fd, _ in self._poll.poll(wait * 1000)}
            if self._loop_ended in ready:
                break
            for number in self._signals.read():
                self._on_signal(number)
            if self._start.notify_fd in ready:
                os.eventfd_read(self._start.notify_fd)
                self._load_snapshots()
            if self._jobs.fd in ready:
                self._needed_plugin_thread()
            if time.monotonic() >= next_housekeeping:
                next_housekeeping = time.monotonic() + HOUSEKEEPING_INTERVAL
                self._plane.housekeeping()
                if self._plugins is not None:
                    self._plugins.look_after()
                if self._state() == WorkerState.WORKER_STARTING:
                    self._load_snapshots()  # a notification from before this worker's time may have been read
        loop.join()
        self._end_plugin_thread()
        writer.join(LOG_PATIENCE)
        if writer.is_alive():
            self._log.warn(f"worker {self._start.slot}: the log takes no more lines, the last ones are lost")
        self._report_leak()
        return self._exit_code

    def _needed_plugin_thread(self) -> "PluginThread":
        """Started when a configuration may need it, or a job is waiting. Other workers need no asyncio."""
        if self._plugins is not None:
            return self._plugins
        from gateway.plugin_thread import PluginThread

        plugins = PluginThread(
            self._jobs,
            self._settings,
            self._shared,
            self._log,
            worker=self._start.index,
            name=f"gateway-py/{self._start.slot}",
        )
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            plugins.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
        self._poll.unregister(self._jobs.fd)  # it listens itself
        self._plugins = plugins
        return self._plugins

    def _end_plugin_thread(self) -> None:
        if self._jobs.waiting:
            self._needed_plugin_thread()
        patience = END_PATIENCE if self._drains else STOP_PATIENCE
        if self._plugins is not None and not self._plugins.end(patience):
            self._log.warn(f"worker {self._start.slot}: a plugin does not end, its work is left undone")
        self._plane.jobs_at_end()

    def _report_leak(self) -> None:
        """With all connections closed nothing may be in use; if it is, memory was lost while serving."""
        left = [f"{count} {kind}" for kind, count in self._plane.left_in_use().items() if count]
        if left:
            self._log.error(f"worker {self._start.slot}: not given back at the end: {', '.join(left)}")

    def _thread(self, name: str, body: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            set_name(f"gateway-{name}/{self._start.slot}")
            try:
                body()
            except Exception as error:
                self._exit_code = 1
                self._log.crit(f"the {name} thread failed: {error!r}")
            if name == "loop":
                os.eventfd_write(self._loop_ended, 1)

        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        return thread

    def _on_signal(self, number: int) -> None:
        if number == signal.SIGTERM:
            self._drains = False
            self._plane.stop()
        elif number == signal.SIGQUIT:
            self._drains = True
            self._plane.drain()
        elif number == signal.SIGUSR1:
            self._reopen_logs()

    # --- snapshots --------------------------------------------------------------------------------

    def _state(self) -> int:
        return self._shared.worker(self._start.index)["state"]

    def _load_snapshots(self) -> None:
        """Hand the current snapshots to the loop, in the order in which they were published."""
        self._plane.housekeeping()  # many reloads in a row must not keep many old ones mapped
        self._load("peers", self._shared.peers_number, self._plane.load_peers)
        self._load("identities", self._shared.identities_number, self._plane.load_identities)
        self._load("configuration", self._shared.configuration_number, self._load_configuration)

    def _load_configuration(self, path: Path) -> None:
        """The plugin thread gets ready for what the configuration may need there."""
        plugins = self._plane.load_configuration(path)
        if not plugins:
            return
        try:
            self._needed_plugin_thread().expect(plugins)
        except Exception as error:
            # Descriptors or memory are out: not the configuration's fault. The first job tries again.
            self._log.error(f"worker {self._start.slot}: the plugin thread does not start yet: {error}")

    def _load(self, kind: SnapshotKind, number: int, load: Callable[[Path], None]) -> None:
        """Load a snapshot unless it is the one in use. A bad one is reported; the one in use stays."""
        if number in (0, self._loaded.get(kind)):
            return
        try:
            load(self._directory.snapshot(kind, number))
            self._loaded[kind] = number
        except Exception as error:
            if self._failed.get(kind) != number:
                self._failed[kind] = number
                self._log.error(f"worker {self._start.slot}: {kind} snapshot {number} is not loaded: {error}")

    # --- logs -------------------------------------------------------------------------------------

    def _open_access_log(self) -> int:
        """Descriptor of the access log, -1 when there is none."""
        path = self._settings.proxy_access_log
        if path is None:
            return -1
        try:
            return open_log(path)
        except OSError as error:
            self._log.error(f"cannot write the access log {path}: {error.strerror}")
            return -1

    def _reopen_logs(self) -> None:
        """Write to new files after a log rotation. The descriptors keep their numbers, so the log thread goes
        on.
        """
        for fd, path in (
            (self._log.fd, self._settings.proxy_error_log),
            (self._access_fd, self._settings.proxy_access_log),
        ):
            try:
                if fd >= 0:
                    reopen_log(fd, path)
            except OSError as error:
                self._log.error(f"the log {path} cannot be opened again: {error.strerror}")
