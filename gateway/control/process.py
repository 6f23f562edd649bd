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
from gateway.admin.audit import AuditLog
from gateway.admin.browsers import bound_to
from gateway.listening import ListenError
from gateway.logs import NOTICE, reopen_log
from gateway.pdk.live import LivePlugins
from gateway.pdk.sources import SourceDirectory
from gateway.run_directory import RunDirectory, read_json, write_json
from gateway.settings import Settings, SettingsError
from gateway.status.app import status_app
from gateway.store import DeclarativeError, LoadMemory
from gateway.store.errors import StoreUnavailable
from gateway.store.interface import StoreError
from gateway.store.read_only import ReadOnlyStore
from gateway.store.stores import make_store
from gateway.telemetry.metric_slots import MetricSlots
from native.shm import ROUTE_METRIC_SLOTS, SharedState

from .logs import ErrorLogHandler, configure_logging, set_level
from .plane import ControlPlane
from .publication import FIRST_RESOLUTION
from .publisher import Publisher
from .remembered import Remembered
from .servers import Servers
from .tls import TlsError, tls_of

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
    try:
        process = ControlProcess(settings, shared, notify_fds, reload_settings, handler)
        finished = asyncio.run(process.run())
    except (CannotStart, StoreError) as error:
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
        for directory in (self._directory.control, self._directory.plugins):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._slots = MetricSlots(self._directory.metric_slots, ROUTE_METRIC_SLOTS, shared.route_metrics)
        self._memory = LoadMemory()
        self._store = make_store(settings, self._memory)
        self._remembered = Remembered(self._directory.last_configuration)
        self._publisher = Publisher(shared, notify_fds, settings.prefix)
        self._audit = AuditLog()
        self._plugins = LivePlugins(SourceDirectory(self._directory.plugins))
        self._servers = Servers(self._fail)
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
            self._settings,
            self._shared,
            self._publisher,
            self._slots,
            self._remembered if isinstance(self._store, ReadOnlyStore) else None,
            self._node_id(),
            self._store,
            self._memory,
        )
        for problem in self._plugins.load(self._settings):
            log.error("%s", problem)
        is_known = await self._open(plane)
        for problem in self._plugins.missing(plane.configuration.of("plugins").values()):
            log.error("%s", problem)
        try:
            await self._listen(plane)
            plane.start()
            tasks = [
                loop.create_task(self._beat()),
                loop.create_task(self._serve_configuration(plane, is_known)),
            ]
            await self._stop.wait()
            plane.stopping = True
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        finally:
            finished = await self._servers.stop()
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
        self._directory.addresses.unlink(missing_ok=True)
        self._directory.node_id.unlink(missing_ok=True)
        self._directory.cluster_position.unlink(missing_ok=True)
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

    async def _open(self, plane: ControlPlane) -> bool:
        """Load what is to be published first. False: nothing could be loaded, the workers keep what they
        have.
        """
        try:
            await plane.open(after_crash=not self._is_first)
        except (StoreError, DeclarativeError) as error:
            lines = error.lines() if isinstance(error, DeclarativeError) else str(error).splitlines()
            if self._is_first:
                raise CannotStart("\n".join(lines)) from None
            for line in lines:
                log.error("%s", line)
            return False
        return True

    async def _listen(self, plane: ControlPlane) -> None:
        settings = self._settings
        apps = (
            ("admin_listen", settings.admin_listen, admin_app(plane, self._audit)),
            ("status_listen", settings.status_listen, status_app(plane)),
        )
        for setting, listeners, app in apps:
            for listener in listeners:
                while not self._stop.is_set():
                    try:
                        tls = await asyncio.to_thread(tls_of, settings, setting)
                        self._servers.start(bound_to(app, listener), listener, tls)
                        break
                    except (ListenError, TlsError) as error:
                        if self._is_first:
                            raise CannotStart(f"{setting.upper()}: {error}") from None
                        # The process that crashed may still be on its way out; traffic flows meanwhile.
                        log.error("%s: %s; trying again", setting.upper(), error)
                        await asyncio.sleep(1.0)

    async def _beat(self) -> None:
        while True:
            self._shared.control_heartbeat = time.monotonic_ns() // 1_000_000
            await asyncio.sleep(HEARTBEAT_INTERVAL)

    async def _serve_configuration(self, plane: ControlPlane, is_known: bool) -> None:
        """Publish the first configuration, then one at each reload."""
        if is_known:
            within = FIRST_RESOLUTION if self._is_first else RESOLUTION_AFTER_CRASH
            try:
                await plane.apply(plane.configuration, resolve_within=within)
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
        """Read the settings again, and the declarative file where there is one; on any error keep what is
        live. Writes reload.json."""
        errors: list[str] = []
        try:
            settings = await asyncio.to_thread(self._reload_settings)
            certificates = [
                (listeners, await asyncio.to_thread(tls_of, settings, name))
                for name, listeners in (
                    ("admin_listen", settings.admin_listen),
                    ("status_listen", settings.status_listen),
                )
            ]
            in_use = plane.configuration.of("plugins").values()
            errors += await asyncio.to_thread(self._plugins.load, settings, in_use)
            await plane.reload(settings)  # workers that lag behind are in the log
            for listeners, files in certificates:
                self._servers.renew(listeners, files)
            set_level(settings.log_level)
            self._settings = settings
        except SettingsError as error:
            errors += error.problems
        except DeclarativeError as error:
            errors += error.lines()
        except (TlsError, StoreError, StoreUnavailable) as error:
            errors.append(str(error))
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
        """Open the logs by their names again, so that a rotated file can be moved away."""
        self._audit.reopen()
        try:
            reopen_log(self._handler.error_log.fd, self._settings.proxy_error_log)
        except OSError as error:
            log.error("cannot reopen %s: %s", self._settings.proxy_error_log, error.strerror)
