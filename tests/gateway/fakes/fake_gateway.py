"""A gateway with the real master and made-up children, run as a program by test_master.py.

The children's behaviour is chosen by files in the prefix, so that a test can change it while the gateway
runs:

    worker-dies       workers end at once with exit code 3
    worker-ignores    workers ignore SIGTERM
    worker-idle       workers do not accept
    hold              a draining worker waits until this file is gone
    control-fails     the control process ends at once with exit code 78
"""

import os
import select
import signal
import socket
import sys
import time
from pathlib import Path

from gateway import launch
from gateway.logs import reopen_log
from gateway.master import ControlStart, WorkerStart
from gateway.processes import SignalReader
from gateway.run_directory import RunDirectory, read_json, write_json
from native.shm import WorkerState

TICK = 0.01


def fake_worker(start: WorkerStart) -> int:
    """Answers each connection with its pid, then closes it."""
    prefix = start.settings.prefix
    if (prefix / "worker-dies").exists():
        return 3
    signals = SignalReader((signal.SIGTERM, signal.SIGQUIT, signal.SIGUSR1))
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    requests = start.shared.worker(start.index)["requests_total"] + 1
    start.shared.set_worker(start.index, requests_total=requests, connections_active=1)
    (prefix / f"worker-{start.index}.modules").write_text("\n".join(sys.modules))
    listeners = [socket.socket(fileno=fd) for fd, _, _ in start.listeners]
    start.log.notice(f"block {start.index} counts {requests} starts, listens on {len(listeners)}")
    start.shared.set_worker(start.index, state=WorkerState.WORKER_SERVING)
    draining = False
    while True:
        accepting = [] if draining or (prefix / "worker-idle").exists() else listeners
        ready, _, _ = select.select([signals.fd, *accepting], [], [], TICK)
        for number in signals.read():
            if number == signal.SIGTERM and not (prefix / "worker-ignores").exists():
                return 0
            if number == signal.SIGUSR1:
                reopen_log(start.log.fd, start.settings.proxy_error_log)
                start.log.notice(f"worker block {start.index} reopens")
            if number == signal.SIGQUIT:
                draining = True
                start.shared.set_worker(start.index, state=WorkerState.WORKER_DRAINING)
                for listener in listeners:
                    listener.close()
        if draining and not (prefix / "hold").exists():
            return 0
        for listener in ready:
            if isinstance(listener, socket.socket):
                accept_and_answer(listener)


def accept_and_answer(listener: socket.socket) -> None:
    """Send the pid to the next client, if no other worker has taken it."""
    try:
        client, _ = listener.accept()
    except BlockingIOError:
        return
    with client:
        client.sendall(str(os.getpid()).encode())


def fake_control(start: ControlStart) -> None:
    """Is up at once; answers a reload as the control process does; dumps the totals for the test."""
    directory = RunDirectory(start.settings.prefix)
    if (directory.prefix / "control-fails").exists():
        raise SystemExit(78)
    signals = SignalReader((signal.SIGTERM, signal.SIGQUIT, signal.SIGHUP, signal.SIGUSR1))
    signal.signal(signal.SIGHUP, lambda *_: None)
    start.shared.control_heartbeat = time.monotonic_ns() // 1_000_000
    while True:
        select.select([signals.fd], [], [], TICK)
        for number in signals.read():
            if number in (signal.SIGTERM, signal.SIGQUIT):
                return
            if number == signal.SIGHUP:
                answer_reload(start, directory)
        document = {
            "totals": start.shared.totals(),
            "workers": start.shared.workers(),
            "control_restarts": start.shared.control_restarts,
            "worker_restarts": start.shared.worker_restarts,
            "generation": start.shared.generation,
        }
        write_json(directory.prefix / "shared.json", document)


def answer_reload(start: ControlStart, directory: RunDirectory) -> None:
    """Write reload.json."""
    try:
        settings = start.reload_settings()
        errors: list[str] = []
        start.log.notice(f"control process has log level {settings.log_level}")
    except Exception as error:
        errors = str(error).splitlines()
    sequence = read_json(directory.reload).get("sequence", 0) + 1
    report = {"sequence": sequence, "ok": not errors, "errors": errors, "configuration_hash": "0" * 32}
    write_json(directory.reload, report)


if __name__ == "__main__":
    Path(os.environ.get("GATEWAY_PREFIX", ".")).mkdir(parents=True, exist_ok=True)
    sys.exit(launch.main(sys.argv[1:], fake_worker, fake_control))
