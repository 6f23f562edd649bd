"""The master process: opens sockets and shared memory, forks the others, restarts what dies.

It is small and has one thread. Signals are blocked and taken one by one with sigtimedwait(), so nothing is
ever interrupted; apart from them it only waits for its own deadlines.

    TERM, INT   stop at once (a second one: kill)
    QUIT        let requests end, then stop; TERM during that stops at once
    HUP         read settings and file again; the workers are replaced if a setting needs it
    USR1        open the log files again
"""

import dataclasses
import gc
import os
import signal
import time
import traceback
from collections.abc import Callable, Sequence

from gateway import __version__
from gateway.listening import ListenError, ListeningSockets
from gateway.logs import ErrorLog, reopen_log
from gateway.privileges import (
    AccountError,
    account_of_children,
    hand_over,
    hand_over_logs,
    lower_rights,
)
from gateway.processes import die_with_parent, raise_descriptor_limit, set_name
from gateway.run_directory import RunDirectory, read_json, write_json
from gateway.settings import (
    Scope,
    Settings,
    SettingsError,
    Sources,
    changed_settings,
    load_from,
)
from gateway.settings.values import descriptors_needed
from gateway.supervision import STOP_LIMIT, Child, Generation, Watchdog, ending
from native.shm import MAX_WORKERS, SharedState, WorkerState

SIGNALS = (
    signal.SIGCHLD,
    signal.SIGTERM,
    signal.SIGINT,
    signal.SIGQUIT,
    signal.SIGHUP,
    signal.SIGUSR1,
)
START_LIMIT = 30.0
"""seconds for a first start or a new generation to serve"""
DEATHS_AT_START = 3
"""unexpected ends of one worker after which a start, or a new generation, is given up"""
READY_CHECK = 0.02
"""seconds between looks at the processes' states, while a start, a replacement or a reload waits for them"""


@dataclasses.dataclass(frozen=True)
class WorkerStart:
    """What a worker is given at its fork."""

    settings: Settings
    shared: SharedState
    index: int
    """its block in shared memory"""
    slot: int
    """its number in the generation, for affinity and names"""
    listeners: list[tuple[int, int, int]]
    """(descriptor, port, flags) as native.data_plane takes them"""
    notify_fd: int
    """eventfd that tells of new snapshots"""
    loop_fds: Sequence[int]
    """by block: eventfds with which workers wake each other's loops"""
    log: ErrorLog


@dataclasses.dataclass(frozen=True)
class ControlStart:
    """What the control process is given at its fork."""

    settings: Settings
    shared: SharedState
    notify_fds: Sequence[int]
    reload_settings: Callable[[], Settings]
    log: ErrorLog


WorkerEntry = Callable[[WorkerStart], int]
ControlEntry = Callable[[ControlStart], None]


class StartError(Exception):
    """The gateway cannot start; str() says why."""


class Master:
    """One gateway. `start()`, then `run()`, which returns the exit code when all is over."""

    def __init__(
        self,
        settings: Settings,
        *,
        worker_entry: WorkerEntry,
        control_entry: ControlEntry,
        log: ErrorLog,
        on_ready: Callable[[], None] = lambda: None,
        prepare_control: Callable[[], None] = lambda: None,
    ) -> None:
        """`prepare_control` is what the control process does while it still has the master's rights."""
        self.settings = settings
        self.directory = RunDirectory(settings.prefix)
        self.log = log
        self._worker_entry = worker_entry
        self._control_entry = control_entry
        self._on_ready = on_ready
        self._prepare_control = prepare_control
        self._account = account_of_children(settings)
        """whom the children become; None: they stay what the master is"""
        self._pid = os.getpid()
        self._control = Child("control process")
        self._serving: Generation | None = None
        """the workers that serve; None during the start"""
        self._coming: Generation | None = None
        """the first workers, or those that are to replace the serving ones"""
        self._coming_limit = 0.0
        """monotonic time when the coming generation is given up"""
        self._failure = ""
        """why it is to be given up before"""
        self._old: list[Generation] = []
        """replaced or given up, with workers that have not ended yet"""
        self._last_number = 0
        self._reload_waiting = False
        self._unreported_reload = -1
        """number of the outcome before the last reload"""
        self._reloads = 0
        self._reload_problems: list[str] = []
        self._stopping = False
        self._exit_code = 0

    # --- start ------------------------------------------------------------------------------------

    def start(self) -> None:
        """Open everything and fork. Raises StartError; nothing is left behind then."""
        settings = self.settings
        workers = settings.worker_processes
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        set_name("gateway-master")
        self._raise_limit(settings)
        try:
            if self._account:
                hand_over(settings, self._account)
        except AccountError as error:
            raise StartError(str(error)) from None
        except OSError as error:
            raise StartError(f"cannot give files to the user '{self._account}' (USER): {error}") from None
        try:
            sockets = ListeningSockets.open(settings.proxy_listen, workers)
        except ListenError as error:
            raise StartError(str(error)) from None
        limit = min(MAX_WORKERS, max(16, 4 * workers))
        try:
            self.shared = SharedState.create(
                limit,
                settings.mem_cache_size,
                settings.rate_limit_table_size,
                settings.jwt_cache_size,
            )
            self._notify_fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(limit)]
            self._loop_fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(limit)]
        except OSError as error:
            sockets.close()
            raise StartError(f"cannot make the shared memory: {error.strerror}") from None
        self.shared.master_pid = self._pid
        self._watchdog = Watchdog(self.shared)
        self.log.notice(
            f"sluicegate {__version__} starts: workers {workers}, prefix {settings.prefix}, "
            f"proxy on {', '.join(sockets.addresses()) or 'no address'}"
        )
        gc.collect()
        gc.freeze()  # keeps the collector from touching, and so copying, pages that the children share
        self._add_generation(settings, sockets)
        self._start_control()
        self._write_state()

    def _raise_limit(self, settings: Settings) -> None:
        problem = raise_descriptor_limit(descriptors_needed(settings.worker_connections))
        if problem:
            self.log.warn(problem)

    # --- forking ----------------------------------------------------------------------------------

    def _fork(self, child: Child, lent: Sequence[int], body: Callable[[], int]) -> None:
        """Fork, and run `body` in the child: it returns the exit code. The child keeps the sockets `lent`."""
        pid = os.fork()
        if pid:
            child.has_started(pid)
            return
        code = 1
        try:
            die_with_parent(self._pid)
            self.directory.pid_file.close_in_child()
            # A copy of a socket that this process does not accept from would swallow connections after the
            # master has closed the address.
            for generation in self._generations():
                generation.sockets.close_except(lent)
            code = body()
        except SystemExit as error:
            code = error.code if isinstance(error.code, int) else 1
        except BaseException as error:
            for line in "".join(traceback.format_exception(error)).splitlines():
                self.log.crit(f"{child.name}: {line}")
        finally:
            os._exit(code)

    def _lower_rights(self) -> None:
        """In a child: give up what only the master needs."""
        lower_rights(self._account)
        if self._account:
            die_with_parent(self._pid)  # again: the kernel forgets it when a process changes its user

    def _hand_over_logs(self, of: list[Settings]) -> None:
        """Make the log files and give them to the children, which cannot make them."""
        try:
            if self._account:
                hand_over_logs(of, self._account)
        except OSError as error:
            self.log.error(f"a log cannot be given to the user '{self._account}': {error}")

    def _start_control(self) -> None:
        def body() -> int:
            set_name("gateway-control")
            # The event loop of the control process installs its own handlers; until then a signal simply ends
            # it.
            for number in (signal.SIGTERM, signal.SIGQUIT):
                signal.signal(number, lambda *_: os._exit(0))
            for number in (signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
                signal.signal(number, signal.SIG_IGN)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            self._prepare_control()
            self._lower_rights()
            self._control_entry(
                ControlStart(self.settings, self.shared, self._notify_fds, self._reread_settings, self.log)
            )
            return 0

        self._fork(self._control, (), body)
        self.shared.control_pid = self._control.pid

    def _start_worker(self, generation: Generation, child: Child) -> None:
        settings = generation.settings
        lent = generation.sockets.for_worker(child.slot, settings.worker_processes, settings.port_maps)
        self.shared.clear_worker(child.index)
        self.shared.set_worker(
            child.index,
            state=WorkerState.WORKER_STARTING,
            generation=generation.number,
            starts=self.shared.worker(child.index)["starts"] + 1,
        )

        def body() -> int:
            self._lower_rights()
            self.shared.set_worker(child.index, pid=os.getpid())
            notify_fd = self._notify_fds[child.index]
            return self._worker_entry(
                WorkerStart(
                    settings, self.shared, child.index, child.slot, lent, notify_fd, self._loop_fds, self.log
                )
            )

        self._fork(child, [fd for fd, _, _ in lent], body)

    def _add_generation(self, settings: Settings, sockets: ListeningSockets) -> None:
        """Fork new workers on free blocks; they are the coming generation."""
        self._hand_over_logs([settings])
        self._last_number += 1
        self._coming = generation = Generation(self._last_number, settings, sockets)
        self._coming_limit = time.monotonic() + START_LIMIT
        self.shared.generation = generation.number
        taken = {child.index for child in self._workers()}
        free = [index for index in range(self.shared.worker_limit) if index not in taken]
        for slot in range(settings.worker_processes):
            generation.workers.append(Child(f"worker {slot}", free[slot], slot))
        for child in generation.workers:
            self._start_worker(generation, child)

    # --- the loop ---------------------------------------------------------------------------------

    def run(self) -> int:
        """Watch over the children until the end. Returns the exit code of the gateway."""
        while True:
            info = signal.sigtimedwait(SIGNALS, self._timeout())
            if info:
                self._on_signal(info.si_signo)
            self._reap()
            now = time.monotonic()
            for child in self._children():
                child.enforce(now)
            self._abort_hanging(now)
            if self._stopping:
                if not self._advance_stop():
                    return self._exit_code
            else:
                self._start_due(now)
                self._check_coming(now)
                self._check_waiting_reload()

    def _generations(self) -> list[Generation]:
        return [one for one in (*self._old, self._serving, self._coming) if one]

    def _workers(self) -> list[Child]:
        return [child for generation in self._generations() for child in generation.workers]

    def _children(self) -> list[Child]:
        return [self._control, *self._workers()]

    def _timeout(self) -> float:
        """Seconds until something is to be done without a signal."""
        now = time.monotonic()
        due = [moment for child in self._children() for moment in child.deadlines()]
        due.append(self._watchdog.next_look(self.settings.worker_watchdog_timeout))
        if (self._coming or self._reload_waiting) and not self._stopping:
            due.append(now + READY_CHECK)
        return max(0.0, min([3600.0, *(moment - now for moment in due)]))

    def _on_signal(self, number: int) -> None:
        if number in (signal.SIGTERM, signal.SIGINT):
            self._stop(f"received {signal.Signals(number).name}")
        elif number == signal.SIGQUIT:
            self._drain()
        elif number == signal.SIGHUP:
            self._reload_waiting = True
        elif number == signal.SIGUSR1:
            self._reopen_logs()

    # --- deaths -----------------------------------------------------------------------------------

    def _abort_hanging(self, now: float) -> None:
        """Kill workers that do nothing any more: a new one is to take their share of the connections."""
        for child in self._watchdog.look(self._workers(), now, self.settings.worker_watchdog_timeout):
            self.log.crit(
                f"{child.name} (pid {child.pid}) hangs: no sign of life for {child.silent:g} s "
                "(WORKER_WATCHDOG_TIMEOUT); killing it"
            )
            child.abort(now)

    def _reap(self) -> None:
        """Take note of every child that has ended (and reap orphans, if this is a container's first
        process).
        """
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if not pid:
                return
            for child in self._children():
                if child.pid == pid:
                    self._on_end(child, os.waitstatus_to_exitcode(status))

    def _on_end(self, child: Child, code: int) -> None:
        if child is self._control:
            self.shared.control_pid = 0
            self.shared.control_heartbeat = 0
        else:
            self.shared.clear_worker(child.index)
        if child.leaving or self._stopping:
            self.log.write(
                "notice" if code == 0 else "warn", f"{child.name} (pid {child.pid}) {ending(code)}"
            )
            child.pid = 0
            for generation in self._generations():
                if child in generation.workers:
                    generation.workers.remove(child)
            self._old = [generation for generation in self._old if generation.workers]
        else:
            self._plan_restart(child, code)
        self._write_state()

    def _plan_restart(self, child: Child, code: int) -> None:
        pid = child.pid
        delay = child.died(time.monotonic())
        when = f"starting it again in {delay:g} s" if delay else "starting it again"
        self.log.error(f"{child.name} (pid {pid}) {ending(code)}; {when}")
        if child is self._control:
            self.shared.control_restarts += 1
            if self._reload_outcomes() == self._unreported_reload:
                self._reload_waiting = True  # it ended in the middle of a reload
            if not self._serving:
                self._failure = f"the control process {ending(code)} before it was ready"
        else:
            self.shared.worker_restarts += 1
            if self._coming and child in self._coming.workers and child.deaths >= DEATHS_AT_START:
                self._failure = f"{child.name} {ending(code)}, {child.deaths} times before it served"

    def _start_due(self, now: float) -> None:
        """Start again what died, when its delay is over."""
        if self._failure:
            return
        due = [child for child in self._children() if child.start_due is not None and child.start_due <= now]
        for child in due:
            if child is self._control:
                self._start_control()
            else:
                generation = next(one for one in self._generations() if child in one.workers)
                self._start_worker(generation, child)
        if due:
            self._write_state()

    # --- the coming generation --------------------------------------------------------------------

    def _check_coming(self, now: float) -> None:
        """Bring the start, or the replacement of the workers, to its end: good or bad."""
        if not self._coming:
            return
        # A first start is complete with the control process's listeners; later it may be down for a while.
        ready = self._coming.is_serving(self.shared) and (self._serving or self.shared.control_heartbeat)
        if self._failure or (not ready and now >= self._coming_limit):
            self._give_up(self._failure or f"not serving after {START_LIMIT:g} s")
        elif ready:
            self._promote()

    def _promote(self) -> None:
        """The coming generation serves: let the one before it finish."""
        assert self._coming
        replaced, self._serving, self._coming = self._serving, self._coming, None
        if replaced:
            self.log.notice(f"generation {self._serving.number} of the workers serves, the old ones finish")
            self._old.append(replaced)
            for child in replaced.workers:
                child.dismiss(signal.SIGQUIT, self.settings.reload_drain_timeout)
            replaced.workers = [child for child in replaced.workers if child.pid]
            replaced.sockets.close_except(self._serving.sockets)
            self._old = [generation for generation in self._old if generation.workers]
        else:
            self.log.notice("the gateway serves")
        self._write_state()
        if not replaced:
            self._on_ready()

    def _give_up(self, failure: str) -> None:
        """The coming generation does not come to serve: go on with what there is, or fail the start."""
        assert self._coming
        self._failure = ""
        if not self._serving:
            self.log.crit(f"the start failed: {failure}")
            self._exit_code = 1
            self._stop("the start failed")
            return
        self.log.error(f"the new workers are given up, the old ones go on: {failure}")
        self._reload_problems = [f"the new workers were given up: {failure}"]
        failed, self._coming = self._coming, None
        self._old.append(failed)
        for child in failed.workers:
            child.dismiss(signal.SIGTERM, STOP_LIMIT)
        failed.workers = [child for child in failed.workers if child.pid]
        failed.sockets.close_except(self._serving.sockets)
        self._old = [generation for generation in self._old if generation.workers]
        self.settings = self._serving.settings
        self.shared.generation = self._serving.number
        self._write_state()

    # --- reload -----------------------------------------------------------------------------------

    def _reread_settings(self) -> Settings:
        """The settings read again, those that need a restart left as they are. Raises SettingsError.

        The control process calls it too.
        """
        sources = Sources.recorded(self.settings.prefix) or self.settings.sources
        if self.settings.origin("prefix") == "default":  # which is another one for another user
            flags = {**sources.flags, "prefix": str(self.settings.prefix)}
            sources = dataclasses.replace(sources, flags=flags)
        new = load_from(sources)
        fixed = changed_settings(self.settings, new)[Scope.RESTART]
        if not fixed:
            return new
        names = ", ".join(name.upper() for name in fixed)
        return dataclasses.replace(
            new,
            **{name: getattr(self.settings, name) for name in fixed},
            warnings=(*new.warnings, f"changed settings that only a restart applies: {names}"),
        )

    def _check_waiting_reload(self) -> None:
        """Reload, once nothing else is under way, the control process is there to do its part, and there are
        blocks for new workers.
        """
        if not self._reload_waiting or self._coming or not self.shared.control_heartbeat:
            return
        assert self._serving
        try:
            new = self._reread_settings()
            replace = changed_settings(self.settings, new)[Scope.WORKERS]
            if replace and not self._has_room(new.worker_processes):
                return
            problems = []
            for warning in new.warnings:
                self.log.warn(warning)
            if replace:
                self._replace_workers(new, replace)
            self.settings = new
            self.log.set_level(new.log_level)
            if not replace:
                self._serving.settings = new
                self.log.notice("the settings were read again; the workers stay")
        except SettingsError as error:
            problems = error.problems
        except ListenError as error:
            problems = [str(error)]
        for problem in problems:
            self.log.error(f"reload: {problem}")
        self._reload_waiting = False
        self._reload_problems = problems
        self._reloads += 1
        self._unreported_reload = self._reload_outcomes()
        if self._control.pid:
            os.kill(self._control.pid, signal.SIGHUP)
        self._write_state()

    def _reload_outcomes(self) -> int:
        """How many reloads the control process has reported the outcome of."""
        return int(read_json(self.directory.reload).get("sequence", 0))

    def _has_room(self, workers: int) -> bool:
        """Whether `workers` new ones fit beside all others; if not, workers that finish are told to hurry."""
        room = self.shared.worker_limit - len(self._workers())
        if room >= workers:
            return True
        leaving = [child for child in self._workers() if child.leaving]
        if not leaving:
            raise ListenError(
                f"{workers} workers do not fit beside the running ones in the shared memory made at the "
                "start: restart the gateway"
            )
        for child in leaving:
            if child.told == signal.SIGQUIT:
                self.log.warn(f"{child.name} (pid {child.pid}) is stopped to make room for new workers")
                child.dismiss(signal.SIGTERM, STOP_LIMIT)
        return False

    def _replace_workers(self, new: Settings, because: list[str]) -> None:
        """Fork a new generation beside the serving one. Raises ListenError, then nothing has changed."""
        assert self._serving
        sockets = ListeningSockets.open(new.proxy_listen, new.worker_processes, self._serving.sockets)
        self._raise_limit(new)
        names = ", ".join(name.upper() for name in because)
        self.log.notice(f"the workers are replaced for a change of {names}")
        self._add_generation(new, sockets)

    def _reopen_logs(self) -> None:
        try:
            reopen_log(self.log.fd, self.settings.proxy_error_log)
        except OSError as error:
            self.log.error(f"the error log cannot be opened again: {error.strerror}")
        self._hand_over_logs([self.settings, *(generation.settings for generation in self._generations())])
        for child in self._children():
            if child.pid:
                os.kill(child.pid, signal.SIGUSR1)

    # --- the end ----------------------------------------------------------------------------------

    def _stop(self, reason: str) -> None:
        """End everything now; when that is under way already, by force."""
        again = self._stopping and all(
            child.told == signal.SIGTERM for child in self._children() if child.pid
        )
        self.log.notice(f"{reason}, {'killing what is left' if again else 'stopping'}")
        self._begin_stop()
        for child in self._children():
            child.dismiss(signal.SIGKILL if again else signal.SIGTERM, 0 if again else STOP_LIMIT)

    def _drain(self) -> None:
        """Stop accepting and end when the last request has; the control process stays until then."""
        if self._stopping:
            return
        asked = read_json(self.directory.quit)
        limit = self.settings.worker_shutdown_timeout
        if asked.get("pid") == self._pid and isinstance(asked.get("timeout"), int | float):
            limit = float(asked["timeout"])
        self.log.notice(f"received SIGQUIT, letting requests end{f' within {limit:g} s' if limit else ''}")
        self._begin_stop()
        for child in self._workers():
            child.dismiss(signal.SIGQUIT, limit)

    def _begin_stop(self) -> None:
        if not self._stopping:
            self._stopping = True
            for generation in self._generations():
                generation.sockets.close()
            self._write_state()

    def _advance_stop(self) -> bool:
        """Whether there is still something to wait for."""
        if any(child.pid for child in self._workers()):
            return True
        if self._control.pid and not self._control.leaving:
            self._control.dismiss(signal.SIGTERM, STOP_LIMIT)
        if self._control.pid:
            return True
        self.log.notice("stopped")
        return False

    # --- for the command line ---------------------------------------------------------------------

    def _write_state(self) -> None:
        """Record who runs, for `gateway health` and `gateway reload`."""
        document = {
            "pid": self._pid,
            "stopping": self._stopping,
            "serving": self._serving is not None,
            "replacing": self._coming is not None,
            "generation": self._serving.number if self._serving else 0,
            "worker_processes": self.settings.worker_processes,
            "workers": [
                {"pid": child.pid, "slot": child.slot, "block": child.index, "leaving": child.leaving}
                for child in self._workers()
            ],
            "control_pid": self._control.pid,
            "reloads": self._reloads,
            "reload_problems": self._reload_problems,
        }
        try:
            write_json(self.directory.state, document)
        except OSError as error:
            self.log.error(f"cannot write {self.directory.state}: {error.strerror}")
