"""What `gateway start` becomes: takes the prefix, opens the log, and runs the master.

It is a program of its own (`python -m gateway.launch`) so that nothing of the command line or of the check of
the declarative file stays in the memory of master and workers.
"""

import argparse
import os
import sys
from pathlib import Path

from gateway import privileges
from gateway.logs import ErrorLog, open_log
from gateway.master import ControlEntry, ControlStart, Master, StartError, WorkerEntry
from gateway.run_directory import RunDirectory
from gateway.settings import Settings, SettingsError, load_settings


def main(
    arguments: list[str],
    worker_entry: WorkerEntry | None = None,
    control_entry: ControlEntry | None = None,
) -> int:
    """Run a gateway: the process that `gateway start` becomes (or starts). Returns the exit code.

    The entries are what runs in the children: the real worker and control process unless a test says
    otherwise.
    """
    parser = argparse.ArgumentParser("gateway.launch")
    parser.add_argument("--conf", type=Path)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE")
    parser.add_argument("--background", action="store_true", help="standard error is not a person's")
    parser.add_argument("--ready-fd", type=int, default=-1, help="written to once the gateway serves")
    options = parser.parse_args(arguments)
    try:
        settings = _load(options)
    except SettingsError as error:
        print(error, file=sys.stderr)
        return 1
    directory = RunDirectory(settings.prefix)
    try:
        directory.prepare(privileges.ids_of_children(settings))
        running = directory.pid_file.acquire()
        if running:
            print(f"a gateway runs already in {settings.prefix} (pid {running})", file=sys.stderr)
            return 1
        directory.take_over()
        directory.clear()
        settings.sources.record(settings.prefix)
    except OSError as error:
        print(f"cannot use the prefix {settings.prefix}: {error}", file=sys.stderr)
        return 1
    try:
        log = _open_logs(settings)
        return _run(settings, log, options.ready_fd, worker_entry or _native_worker(), control_entry)
    except StartError as error:
        print(error, file=sys.stderr)
        return 1
    finally:
        directory.clear()
        directory.pid_file.release()


def _load(options: argparse.Namespace) -> Settings:
    """The settings. In the foreground events go to standard error, unless PROXY_ERROR_LOG says something
    else.
    """
    flags = dict(item.split("=", 1) for item in options.set)
    settings = load_settings(options.conf, os.environ, flags)
    if not options.background and settings.origin("proxy_error_log") == "default":
        settings = load_settings(options.conf, os.environ, {**flags, "proxy_error_log": "/dev/stderr"})
    return settings


def _open_logs(settings: Settings) -> ErrorLog:
    """The error log. Raises StartError when a log cannot be written; later it would only be missed."""
    for name in ("proxy_access_log", "proxy_error_log"):
        path: Path | None = getattr(settings, name)
        try:
            if not (path and path.is_fifo()):  # opening a pipe waits for its reader
                os.close(open_log(path))
        except OSError as error:
            origin = settings.origin(name)
            raise StartError(
                f"{name.upper()} ({origin}): cannot write {path}: {os.strerror(error.errno or 0)}"
            ) from None
    return ErrorLog(open_log(settings.proxy_error_log), settings.log_level)


def _run(
    settings: Settings,
    log: ErrorLog,
    ready_fd: int,
    worker_entry: WorkerEntry,
    control_entry: ControlEntry | None,
) -> int:
    def tell_ready() -> None:
        if ready_fd >= 0:
            os.write(ready_fd, b"ready\n")
            os.close(ready_fd)

    for warning in (*settings.warnings, *privileges.warnings(settings)):
        log.warn(warning)
    master = Master(
        settings,
        worker_entry=worker_entry,
        control_entry=control_entry or _control,
        prepare_control=lambda: None if control_entry else _prepare_control(settings),
        log=log,
        on_ready=tell_ready,
    )
    try:
        master.start()
        return master.run()
    except StartError as error:
        log.crit(str(error))
        if settings.proxy_error_log != Path("/dev/stderr"):
            print(error, file=sys.stderr)
        return 1


def _native_worker() -> WorkerEntry:
    """The real worker. Loaded before the forks: a package that is upgraded on the disk while the gateway runs
    must not give a restarted worker another layout of the shared memory.
    """
    from gateway.worker import run_worker

    return run_worker


def _prepare_control(settings: Settings) -> None:
    """Load the control process's program: USER may not be allowed to read where it lies."""
    from gateway.control import load_early

    load_early(settings.database)


def _control(start: ControlStart) -> None:
    from gateway.control import run_control  # only here: it loads the servers, the master must stay small

    run_control(start.settings, start.shared, start.notify_fds, start.reload_settings, start.log.fd)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
