"""A real gateway process on free ports, for tests and nothing else."""

from __future__ import annotations

import http.client
import itertools
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psutil

START_SECONDS = 60.0
PATIENCE = 30.0
"""seconds; only ever spent by a test that fails, so that a busy machine fails none"""
T = TypeVar("T")


PORTS_OF_A_PROCESS = 6000
"""Two test processes never get the same port, nor one that the kernel gives to connections (from 32768 on).
"""
_ports = itertools.cycle(
    random.sample(
        range(
            first := 12000 + PORTS_OF_A_PROCESS * int(os.environ.get("PYTEST_XDIST_WORKER", "gw0")[2:]),
            first + PORTS_OF_A_PROCESS,
        ),
        PORTS_OF_A_PROCESS,
    )
)


def free_port() -> int:
    """A port of 127.0.0.1 at which nobody listens, and which nobody else gets for a while."""
    for port in _ports:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no free port")


def wait_for(condition: Callable[[], T], *, seconds: float = PATIENCE, what: str = "condition") -> T:
    """Call `condition` until it returns something true; fail the test after `seconds`."""
    end = time.monotonic() + seconds
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {seconds} s")
        time.sleep(0.01)


def is_running(process: int | psutil.Process) -> bool:
    """Whether a process, or a pid, has not ended. What waits for somebody to reap it (an init that takes its
    time) has.
    """
    try:
        known = psutil.Process(process) if isinstance(process, int) else process
        return known.is_running() and known.status() not in (psutil.STATUS_ZOMBIE, psutil.STATUS_DEAD)
    except psutil.NoSuchProcess:
        return False


class Gateway:
    """`gateway start` in the foreground with its own prefix, ports and environment. Context manager.

    `settings`: without prefix in lower case (worker_processes=2); `config`: a declarative document;
    `also_listen`: further addresses for proxy_listen.
    """

    def __init__(
        self, config: Mapping[str, Any] | None = None, *, also_listen: str | None = None, **settings: object
    ) -> None:
        self.directory = tempfile.TemporaryDirectory(prefix="gateway-test-")
        self.prefix = Path(self.directory.name)
        self.proxy_port, self.admin_port, self.status_port = free_port(), free_port(), free_port()
        self.config_path = self.prefix / "kong.json"
        if config is not None:
            self.config_path.write_text(json.dumps(config))
        defaults: dict[str, object] = {
            "prefix": self.prefix,
            "database": "off",
            "proxy_listen": f"127.0.0.1:{self.proxy_port}",
            "admin_listen": f"127.0.0.1:{self.admin_port}",
            "status_listen": f"127.0.0.1:{self.status_port}",
            "worker_processes": 1,
            "proxy_error_log": self.prefix / "error.log",
            "proxy_access_log": self.prefix / "access.log",
        }
        if config is not None:
            defaults["declarative_config"] = self.config_path
        if also_listen is not None:
            defaults["proxy_listen"] = f"{defaults['proxy_listen']}, {also_listen}"
        self.settings = {**defaults, **settings}
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "KONG_"))}
        return clean | {f"GATEWAY_{name.upper()}": str(value) for name, value in self.settings.items()}

    @property
    def command(self) -> list[str]:
        """What start() runs."""
        return [sys.executable, "-m", "gateway", "start"]

    def run_command(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`gateway ARGUMENTS` with this gateway's environment, to its end."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", *arguments],
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=2 * START_SECONDS,
            check=False,
        )

    def start(self) -> Gateway:
        log = (self.prefix / "stdout.log").open("wb")
        self.process = subprocess.Popen(
            self.command,
            env=self.environment,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        log.close()
        wait_for(self.serves, seconds=START_SECONDS, what="the gateway serves")
        return self

    def serves(self) -> bool:
        assert self.process is not None
        if self.process.poll() is not None:
            raise AssertionError(f"the gateway ended with {self.process.returncode}:\n{self.output()}")
        try:
            workers = self.status()["workers"]
        except (OSError, KeyError, ValueError, http.client.HTTPException):
            return False
        serving = [w for w in workers if w["state"] == "serving"]
        return len(serving) >= int(str(self.settings["worker_processes"])) and self.accepts()

    def accepts(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.proxy_port), timeout=5).close()
        except OSError:
            return False
        return True

    def output(self) -> str:
        parts = [self.prefix / "stdout.log", self.prefix / "error.log"]
        return "\n".join(part.read_text(errors="replace") for part in parts if part.exists())

    def stop(self) -> None:
        if self.process is None:
            return
        family = self.family()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(timeout=PATIENCE)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        _, alive = psutil.wait_procs(family, timeout=PATIENCE)
        for process in alive:
            process.kill()
        self.directory.cleanup()
        assert not alive, f"processes outlived the gateway: {alive}"

    def __enter__(self) -> Gateway:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- looking inside ------------------------------------------------------------------------------------
    def family(self) -> list[psutil.Process]:
        """Control process and workers."""
        assert self.process is not None
        try:
            return psutil.Process(self.process.pid).children(recursive=True)
        except psutil.NoSuchProcess:
            return []

    def status(self) -> dict[str, Any]:
        status, _, body = self.call(self.status_port, "GET", "/status")
        if status != 200:
            raise ValueError(f"/status answered {status}")
        return json.loads(body)  # type: ignore[no-any-return]

    def worker_pids(self) -> list[int]:
        return [w["pid"] for w in self.status()["workers"] if w["state"] == "serving"]

    # --- talking to it -------------------------------------------------------------------------------------
    @staticmethod
    def call(
        port: int, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        try:
            connection.request(method, path, body=body, headers=dict(headers or {}))
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        finally:
            connection.close()

    def request(
        self,
        path: str = "/",
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """One request through the proxy port on a connection of its own."""
        return self.call(self.proxy_port, method, path, body, headers)

    def configure(self, document: Mapping[str, Any]) -> None:
        """POST /config; fails the test when it is refused."""
        body = json.dumps({"_format_version": "3.0", **document}).encode()
        status, _, answer = self.call(
            self.admin_port, "POST", "/config", body, {"Content-Type": "application/json"}
        )
        assert status == 201, answer.decode()

    def connect(self) -> socket.socket:
        """A raw connection to the proxy port."""
        return socket.create_connection(("127.0.0.1", self.proxy_port), timeout=PATIENCE)

    def raw(self, data: bytes) -> bytes:
        """Send `data`, half-close, return everything that comes until the gateway closes."""
        with self.connect() as connection:
            connection.sendall(data)
            connection.shutdown(socket.SHUT_WR)
            return read_all(connection)


def read_all(connection: socket.socket) -> bytes:
    received = bytearray()
    try:
        while piece := connection.recv(65536):
            received += piece
    except ConnectionResetError:
        pass
    return bytes(received)


def one_service(port: int, **fields: Any) -> dict[str, Any]:
    """A document with one service on 127.0.0.1:port and a route for everything, path kept."""
    service = {"name": "upstream", "host": "127.0.0.1", "port": port, **fields}
    service.setdefault("routes", [{"name": "all", "paths": ["/"], "strip_path": False}])
    return {"_format_version": "3.0", "services": [service]}
