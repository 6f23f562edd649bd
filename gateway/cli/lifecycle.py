"""start, stop, quit, reload, restart, health: a gateway is found by its prefix and told by signals."""

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from gateway import privileges
from gateway.cli.options import Invocation, fail, warn
from gateway.cli.python_plugins import know_plugins
from gateway.logs import open_log
from gateway.master import START_LIMIT
from gateway.run_directory import RunDirectory, read_json, write_json
from gateway.settings import Settings, SettingsError, Sources, load_from, load_settings

STOP_PATIENCE = 15.0
"""seconds to wait for a gateway that was told to stop; it kills its processes before that"""
RELOAD_PATIENCE = START_LIMIT + 15.0
POLL = 0.02
"""seconds between looks at a file that a running gateway is about to write"""


def start(invocation: Invocation, daemon: bool) -> None:
    """Check settings and declarative file, then become the master, or start it in the background."""
    settings = load_or_fail(invocation)
    if daemon:  # in the foreground the master logs them
        warn((*settings.warnings, *privileges.warnings(settings)))
    check_declarative(settings)
    directory = prepared_directory(settings)
    if directory.pid_file.content():
        print(f"Removing a pid file whose process is gone: {directory.pid_file.path}", file=sys.stderr)
    command = launch_command(invocation)
    if not daemon:
        os.execv(command[0], command)  # noqa: S606 - the point is to become it
    _start_in_background(command, settings)
    print("Sluicegate started")


def launch_command(invocation: Invocation, *options: str) -> list[str]:
    """The command line of the master for the settings of an invocation."""
    command = [*python_module("gateway.launch"), *options]
    if invocation.conf:
        command += ["--conf", str(invocation.conf)]
    for name, value in invocation.flags.items():
        command += ["--set", f"{name}={value}"]
    return command


def python_module(module: str) -> list[str]:
    """A command line that runs a module of this package.

    Files of the working directory are not imported (-P), unless the package itself is there and not
    installed.
    """
    root = str(Path(__file__).parent.parent.parent)
    from_working_directory = sys.path[0] in ("", root) and not sys.flags.safe_path
    return [sys.executable, *([] if from_working_directory else ["-P"]), "-m", module]


def _start_in_background(command: list[str], settings: Settings) -> None:
    """Start the master and wait until the gateway serves; when it does not come to that, print why and
    fail.
    """
    log_path = settings.proxy_error_log
    try:
        output = open_log(log_path)
    except OSError as error:
        fail(f"cannot write the error log {log_path}: {error.strerror}")
    before = log_path.stat().st_size if log_path and log_path.is_file() else 0
    reader, writer = os.pipe()
    master = subprocess.Popen(
        [*command, "--background", "--ready-fd", str(writer)],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=output,
        start_new_session=True,
        pass_fds=(writer,),
    )
    os.close(writer)
    os.close(output)
    if os.read(reader, 16):
        return
    code = master.wait()
    lines = [f"Sluicegate did not start (exit code {code})"]
    if log_path and log_path.is_file():
        with log_path.open(encoding="utf-8", errors="replace") as file:
            file.seek(before)
            lines += file.read().splitlines()[-30:]
    fail(*lines)


def prepared_directory(settings: Settings) -> RunDirectory:
    """The run directory of a gateway that does not run yet, made if need be; else the command ends."""
    directory = RunDirectory(settings.prefix)
    running = directory.pid_file.holder()
    if running:
        fail(f"Sluicegate is already running in {settings.prefix} (pid {running})")
    try:
        directory.prepare(privileges.ids_of_children(settings))
    except OSError as error:
        fail(
            f"cannot use the prefix {settings.prefix} ({settings.origin('prefix')}): {error.strerror}",
            "Choose a directory that you may write to with --prefix or GATEWAY_PREFIX.",
        )
    return directory


def stop(invocation: Invocation) -> None:
    """Stop at once."""
    directory, pid = _running(invocation)
    if not _signal_and_wait(directory, pid, signal.SIGTERM, STOP_PATIENCE):
        fail(f"the gateway (pid {pid}) did not stop within {STOP_PATIENCE:g} s")
    print("Sluicegate stopped")


def quit_(invocation: Invocation, timeout: float | None, wait: float) -> None:
    """Drain, then stop."""
    directory, pid = _running(invocation)
    time.sleep(wait)
    directory.quit.unlink(missing_ok=True)
    if timeout is not None:
        write_json(directory.quit, {"pid": pid, "timeout": timeout})
    began = time.monotonic()
    # The master keeps the time limit; here is only one for a master that does not answer any more.
    recorded = Sources.recorded(directory.prefix)
    limit = (
        timeout if timeout is not None else (load_from(recorded).worker_shutdown_timeout if recorded else 0)
    )
    if not _signal_and_wait(directory, pid, signal.SIGQUIT, limit + STOP_PATIENCE if limit else None):
        fail(f"the gateway (pid {pid}) did not stop within {limit + STOP_PATIENCE:g} s")
    if limit and time.monotonic() - began >= limit:
        print(f"Sluicegate stopped; requests that had not ended after {limit:g} s were cut")
    else:
        print("Sluicegate stopped (gracefully)")


def reload(invocation: Invocation) -> None:
    """Read settings and declarative file again, in the running gateway. Nothing changes when one of them is
    wrong.
    """
    directory, pid = _running(invocation)
    sources = _sources_for_reload(invocation, directory)
    try:
        settings = load_from(sources)
    except SettingsError as error:
        fail("the settings are not valid, nothing was changed:", *error.problems)
    warn(settings.warnings)
    if know_plugins(settings):  # else only the running gateway knows their earlier versions
        check_declarative(settings)
    sources.record(directory.prefix)
    reloads = read_json(directory.state).get("reloads", 0)
    sequence = read_json(directory.reload).get("sequence", 0)
    os.kill(pid, signal.SIGHUP)

    def is_done() -> bool:
        state = read_json(directory.state)
        return (
            state.get("reloads", 0) > reloads
            and not state.get("replacing")
            and read_json(directory.reload).get("sequence", 0) > sequence
        )

    if not _wait_until(directory, is_done, RELOAD_PATIENCE):
        fail(f"the gateway (pid {pid}) has not answered the reload; see {settings.proxy_error_log}")
    report = read_json(directory.reload)
    problems = [*read_json(directory.state).get("reload_problems", []), *report.get("errors", [])]
    if problems:
        fail("the reload failed:", *dict.fromkeys(problems))
    print(f"Sluicegate reloaded (configuration {report.get('configuration_hash', '')})")


def restart(invocation: Invocation) -> None:
    """Stop, if it runs, and start in the background."""
    load_or_fail(invocation)  # rather leave the old one running than stop it for a new one that cannot start
    if RunDirectory(invocation.prefix()).pid_file.holder():
        stop(invocation)
    start(invocation, daemon=True)


def health(invocation: Invocation) -> None:
    """Print which processes run."""
    directory, pid = _running(invocation)
    state = read_json(directory.state)
    workers = [worker for worker in state.get("workers", []) if not worker["leaving"]]
    alive = sum(_is_alive(worker["pid"]) for worker in workers)
    expected = state.get("worker_processes", 0)
    control = _is_alive(state.get("control_pid", 0))
    print(f"master........running (pid {pid})")
    print(f"control.......{'running' if control else 'not running'}")
    print(f"workers.......{min(alive, expected)} of {expected} running")
    print()
    if state.get("serving") and control and alive >= expected and not state.get("stopping"):
        print(f"Sluicegate is healthy at {directory.prefix}")
        return
    reason = "it is stopping" if state.get("stopping") else "not all of its processes run and serve"
    fail(f"Sluicegate is not healthy at {directory.prefix}: {reason}")


# --- helpers --------------------------------------------------------------------------------------


def load_or_fail(invocation: Invocation) -> Settings:
    """The settings; a problem ends the command with every problem on a line."""
    try:
        return load_settings(invocation.conf, os.environ, invocation.flags)
    except SettingsError as error:
        fail("the settings are not valid:", *error.problems)


def check_declarative(settings: Settings) -> None:
    """End the command with every error of the declarative configuration that the settings name, if it has
    any.
    """
    from gateway.cli.inspection import declarative_errors

    errors = declarative_errors(settings)
    if errors:
        fail("the declarative configuration is not valid:", *errors)


def _running(invocation: Invocation) -> tuple[RunDirectory, int]:
    directory = RunDirectory(invocation.prefix())
    pid = directory.pid_file.holder()
    if not pid:
        fail(f"Sluicegate is not running in {directory.prefix}")
    return directory, pid


def _sources_for_reload(invocation: Invocation, directory: RunDirectory) -> Sources:
    """Where the running gateway's settings came from, with this command's on top."""
    newer = Sources.collect(invocation.conf, os.environ, invocation.flags).absolute()
    older = Sources.recorded(directory.prefix)
    return older.overlaid(newer) if older else newer


def _signal_and_wait(directory: RunDirectory, pid: int, number: int, limit: float | None) -> bool:
    """Send a signal to the master and wait for its end, at most `limit` seconds. Whether it ended."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if directory.pid_file.holder() != pid:  # it ended before the descriptor was opened
            return True
        signal.pidfd_send_signal(process, number)
        poll = select.poll()
        poll.register(process, select.POLLIN)
        return bool(poll.poll(None if limit is None else limit * 1000))
    except ProcessLookupError:
        return True
    except PermissionError:
        fail(f"you may not send signals to the gateway (pid {pid})")
    finally:
        os.close(process)


def _wait_until(directory: RunDirectory, is_done: Callable[[], bool], limit: float) -> bool:
    end = time.monotonic() + limit
    while not is_done():
        if time.monotonic() >= end or not directory.pid_file.holder():
            return False
        time.sleep(POLL)
    return True


def _is_alive(pid: int) -> bool:
    try:
        return pid > 0 and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
