"""The life of the control process: start, signals, reload, stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import time
import uuid
from collections.abc import Callable, Sequence

from gateway.admin.app import admin_app
from gateway.admin.browsers import bound_to
from gateway.listening import ListenError
from gateway.logs import reopen_log
from gateway.run_directory import RunDirectory, read_json, write_json
from gateway.settings import Settings, SettingsError
from gateway.status.app import status_app
from gateway.store import Configuration, DeclarativeError, LoadMemory, check_file, load_declarative
from gateway.telemetry.metric_slots import MetricSlots
from native.shm import ROUTE_METRIC_SLOTS, SharedState

from .logs import NOTICE, ErrorLogHandler, configure_logging, set_level
from .plane import FIRST_RESOLUTION, ControlPlane
from .publisher import Publisher
from .remembered import Remembered
from .servers import Servers

log = logging.getLogger(__name__)

HEARTBEAT_INTERVAL = 1.0  # seconds
NICENESS = 10
"""How far this process stands back behind the workers where processors are short. Requests rather than a new
configuration get them: a core that both want goes to the worker for nine tenths of the time."""
# After a crash workers hold good addresses: rather wait for names than publish that they are unknown.
RESOLUTION_AFTER_CRASH = 5.0
CANNOT_START = 78
"""Exit status when the very first start fails (EX_CONFIG): an address in use, an unusable declarative file.
"""


class CannotStart(Exception):
    """The first start failed; the text says why, one problem per line."""


def run_control(
    settings: Settings,
    shared: SharedState,
    notify_fds: Sequence[int],
    reload_settings: Callable[[], Settings],
    log_fd: int,
) -> None:
    """Run the control process until it is told to stop (TERM, QUIT). HUP reloads, USR1 reopens the log.

    `notify_fds` are the workers' eventfds, `reload_settings` reads the settings again (SettingsError). Ends
    the process with status CANNOT_START when the first start of this master's control process fails.
    """
    handler = configure_logging(log_fd, settings.log_level)
    os.nice(NICENESS)
    process = ControlProcess(settings, shared, notify_fds, reload_settings, handler)
    try:
        finished = asyncio.run(process.run())
    except CannotStart as error:
        for line in str(error).splitlines():
            log.critical("%s", line)
        raise SystemExit(CANNOT_START) from None
    if not finished:
        # Requests that would not end still hold threads of the server, which would keep Python from exiting.
        os._exit(process.exit_status)
    if process.exit_status:
        raise SystemExit(process.exit_status)


class ControlProcess:
    """Ties the parts together. Lives as long as the process."""

    def __init__(
        self,
        settings: Settings,
        shared: SharedState,
        notify_fds: Sequence[int],
        reload_settings: Callable[[], Settings],
        handler: ErrorLogHandler,
    ) -> None:
        self._settings = settings
        self._shared = shared
        self._reload_settings = reload_settings
        self._handler = handler
        self._is_first = shared.configuration_number == 0
        self._directory = RunDirectory(settings.prefix)
        self._directory.control.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._slots = MetricSlots(self._directory.metric_slots, ROUTE_METRIC_SLOTS, shared.route_metrics)
        self._remembered = Remembered(self._directory.last_configuration)
        self._publisher = Publisher(shared, notify_fds, settings.prefix)
        self.exit_status = 0
        self._stop = asyncio.Event()
        self._reload_wanted = asyncio.Event()

    async def run(self) -> bool:
        """From start to stop. True when everything ended in time."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGQUIT):
            loop.add_signal_handler(number, self._stop.set)
        loop.add_signal_handler(signal.SIGHUP, self._reload_wanted.set)
        loop.add_signal_handler(signal.SIGUSR1, self._reopen_log)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the master, which tells us

        if self._is_first:
            self._forget_earlier_master()
        else:
            self._slots.restore()
        plane = ControlPlane(
            self._settings, self._shared, self._publisher, self._slots, self._remembered, self._node_id()
        )
        servers = Servers(self._fail)
        initial = await asyncio.to_thread(self._initial_configuration, plane.memory)
        if initial is not None and not self._is_first:
            plane.configuration = initial  # the workers have it already
        try:
            await self._listen(plane, servers)
            plane.start()
            tasks = [
                loop.create_task(self._beat()),
                loop.create_task(self._serve_configuration(plane, initial)),
            ]
            await self._stop.wait()
            plane.stopping = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            finished = await servers.stop()
            await plane.close()
        return finished

    def _fail(self, reason: str, status: int = 1) -> None:
        """End the process because it is of no use any more; the master decides what comes then."""
        log.critical("%s", reason)
        self.exit_status = status
        self._stop.set()

    # --- start ------------------------------------------------------------------------------------

    def _forget_earlier_master(self) -> None:
        """Counters and numbers begin anew with a master: what an earlier one left in the prefix means
        nothing.
        """
        self._slots.forget()
        self._remembered.forget()
        self._directory.node_id.unlink(missing_ok=True)
        for leftover in self._directory.snapshots.glob("*.snapshot*"):
            leftover.unlink(missing_ok=True)

    def _node_id(self) -> str:
        """The id of this node: the configured one, else one made at the start of the master."""
        if self._settings.node_id:
            return self._settings.node_id
        path = self._directory.node_id
        try:
            return str(uuid.UUID(path.read_text(encoding="ascii").strip()))
        except (OSError, ValueError):
            made = str(uuid.uuid4())
            path.write_text(made, encoding="ascii")
            return made

    def _initial_configuration(self, memory: LoadMemory) -> Configuration | None:
        """What to publish first. None: keep what the workers have, because nothing better can be read.

        After a crash that is what was live before it, be it from the file or from POST /config.
        """
        if not self._is_first:
            restored = self._remembered.load()
            if restored is not None:
                return restored
        try:
            return load_from_settings(self._settings, memory)
        except DeclarativeError as error:
            if self._is_first:
                raise CannotStart("\n".join(error.lines())) from None
            for line in error.lines():
                log.error("%s", line)
            return None

    async def _listen(self, plane: ControlPlane, servers: Servers) -> None:
        settings = self._settings
        apps = (
            ("admin_listen", settings.admin_listen, admin_app(plane)),
            ("status_listen", settings.status_listen, status_app(plane)),
        )
        for setting, listeners, app in apps:
            for listener in listeners:
                while not self._stop.is_set():
                    try:
                        servers.start(bound_to(app, listener), listener)
                        break
                    except ListenError as error:
                        if self._is_first:
                            raise CannotStart(f"{setting.upper()}: {error}") from None
                        # The process that crashed may still be on its way out; traffic flows meanwhile.
                        log.error("%s: %s; trying again", setting.upper(), error)
                        await asyncio.sleep(1.0)

    async def _beat(self) -> None:
        while True:
            self._shared.control_heartbeat = time.monotonic_ns() // 1_000_000
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    async def _serve_configuration(self, plane: ControlPlane, initial: Configuration | None) -> None:
        """Publish the first configuration, then one at each reload."""
        if initial is not None:
            within = FIRST_RESOLUTION if self._is_first else RESOLUTION_AFTER_CRASH
            try:
                await plane.apply(initial, resolve_within=within)
            except Exception as error:
                log.exception("publishing the configuration failed")
                if self._is_first:
                    self._fail(f"no configuration could be published: {error}", CANNOT_START)
                    return
        while True:
            await self._reload_wanted.wait()
            self._reload_wanted.clear()
            await self._reload(plane)

    # --- signals ----------------------------------------------------------------------------------

    async def _reload(self, plane: ControlPlane) -> None:
        """Read settings and declarative file again; on any error keep what is live. Writes reload.json."""
        errors: list[str] = []
        try:
            settings = await asyncio.to_thread(self._reload_settings)
            configuration = (
                await asyncio.to_thread(load_from_settings, settings, plane.memory)
                if has_declarative(settings)
                else plane.configuration
            )
            await plane.apply(configuration, settings)  # workers that lag behind are in the log
            set_level(settings.log_level)
            self._settings = settings
        except SettingsError as error:
            errors += error.problems
        except DeclarativeError as error:
            errors += error.lines()
        except Exception as error:
            log.exception("reload failed")
            errors.append(f"unexpected error: {type(error).__name__}: {error}")
        for line in errors:
            log.error("reload: %s", line)
        if not errors:
            log.log(NOTICE, "reloaded")
        try:
            await asyncio.to_thread(self._report_reload, errors)
        except OSError as error:
            log.error("reload: its outcome cannot be written: %s", error)

    def _report_reload(self, errors: list[str]) -> None:
        path = self._directory.reload
        sequence = read_json(path).get("sequence", 0)
        report = {
            "sequence": sequence + 1,
            "ok": not errors,
            "errors": errors,
            "configuration_number": self._shared.configuration_number,
            "configuration_hash": self._shared.configuration_hash,
            "finished_at": time.time(),
        }
        write_json(path, report)

    def _reopen_log(self) -> None:
        """Open the error log by its name again, so that a rotated file can be moved away."""
        try:
            reopen_log(self._handler.error_log.fd, self._settings.proxy_error_log)
        except OSError as error:
            log.error("cannot reopen %s: %s", self._settings.proxy_error_log, error.strerror)


def has_declarative(settings: Settings) -> bool:
    """Whether the settings name a declarative configuration."""
    return bool(settings.declarative_config or settings.declarative_config_string)


def load_from_settings(settings: Settings, memory: LoadMemory) -> Configuration:
    """The declarative configuration that the settings name; the empty one when they name none.

    Raises DeclarativeError, also for a file that cannot be read.
    """
    if settings.declarative_config_string:
        text, source = settings.declarative_config_string, "DECLARATIVE_CONFIG_STRING"
        return load_declarative(text, source=source, memory=memory)
    if settings.declarative_config:
        return check_file(settings.declarative_config, memory)
    return Configuration.EMPTY
