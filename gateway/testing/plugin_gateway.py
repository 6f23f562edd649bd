"""A gateway of its own for the tests of a plugin: processes, ports and prefix are made for it and go with
it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from gateway.testing.upstream import TestUpstream, UpstreamRequest

START_SECONDS = 30.0
STOP_SECONDS = 10.0
TIMEOUT = 30.0
"""seconds that a request may take"""


@dataclass(frozen=True)
class Reply:
    """What the client got, and what the upstream was asked for it."""

    status: int
    headers: http.client.HTTPMessage
    """names in any case; `get_all` for repeated ones"""
    body: bytes
    upstream: UpstreamRequest | None
    """None: the request did not get there"""

    def json(self) -> Any:
        """The body read as JSON."""
        return msgspec.json.decode(self.body)


class PluginGateway:
    """A gateway process with the plugins of some files or directories, and an upstream behind it. Context
    manager.

    Every request goes to `upstream`, whatever its path. `settings`: further ones, lower case
    (`worker_processes=2`, `plugin_deadline=1`).
    """

    def __init__(self, *plugin_path: Path | str, **settings: object) -> None:
        self.upstream = TestUpstream()
        self._directory = tempfile.TemporaryDirectory(prefix="gateway-plugin-")
        self.prefix = Path(self._directory.name)
        ports = free_ports(3)
        self.proxy_port, self.admin_port, self._status_port = ports
        self._settings: dict[str, object] = {
            "prefix": self.prefix,
            "database": "off",
            "plugin_path": ":".join(str(Path(path).absolute()) for path in plugin_path),
            "proxy_listen": f"127.0.0.1:{self.proxy_port}",
            "admin_listen": f"127.0.0.1:{self.admin_port}",
            "status_listen": f"127.0.0.1:{self._status_port}",
            "worker_processes": 1,
            "log_level": "info",
            "proxy_error_log": self.prefix / "error.log",
            "proxy_access_log": "off",
            **settings,
        }
        self._process: subprocess.Popen[bytes] | None = None

    # --- life ---------------------------------------------------------------------------------------

    def __enter__(self) -> PluginGateway:
        self.upstream.__enter__()
        try:
            self._start()
            if self._settings["database"] == "off":
                self.use()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
            try:
                self._process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(self._process.pid, signal.SIGKILL)
                self._process.wait()
        self.upstream.__exit__()
        self._directory.cleanup()

    def _start(self) -> None:
        with (self.prefix / "output.log").open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "gateway", "start"],
                env=self._environment(),
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        wait_for(self._serves, "the gateway does not start", START_SECONDS)

    def _environment(self) -> dict[str, str]:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "KONG_"))}
        return inherited | {f"GATEWAY_{name.upper()}": str(value) for name, value in self._settings.items()}

    def _serves(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            output = (self.prefix / "output.log").read_text(errors="replace")
            raise AssertionError(f"the gateway has ended:\n{output}{self.log()}")
        try:
            status, _, body = exchange(self._status_port, "GET", "/status")
        except (OSError, http.client.HTTPException):
            return False
        workers = msgspec.json.decode(body).get("workers", []) if status == 200 else []
        return any(worker["state"] == "serving" for worker in workers)

    # --- what is configured -------------------------------------------------------------------------

    def use(
        self, plugin: str = "", config: Mapping[str, Any] | None = None, **entities: Sequence[Any]
    ) -> None:
        """Let this plugin run for every request, with this configuration, and nothing of what ran before.

        Not with `database` among the settings: use `admin()` there. `entities`: further ones as in a
        declarative file (`plugins=[…]`, `consumers=[…]`, `upstreams=[…]`). Raises AssertionError when the
        gateway refuses it, with what it says.
        """
        plugins = [*entities.pop("plugins", ())]
        if plugin:
            plugins.insert(0, {"name": plugin, "config": dict(config or {})})
        service = {
            "name": "upstream",
            "url": f"http://127.0.0.1:{self.upstream.port}",
            "routes": [{"name": "everything", "paths": ["/"], "strip_path": False}],
        }
        document = {
            "_format_version": "3.0",
            "services": [service, *entities.pop("services", ())],
            "plugins": plugins,
            **entities,
        }
        body = msgspec.json.encode(document)
        status, _, answer = self.admin("POST", "/config", body)
        problems = "\n".join(line for line in self.log().splitlines() if "plugins: " in line)
        assert status == 201, f"the configuration is refused: {answer.decode()}\n{problems}"
        self.upstream.requests.clear()

    def admin(
        self, method: str, path: str, body: bytes | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """A request to the Admin API, `body` JSON: (status, headers, body)."""
        return exchange(self.admin_port, method, path, body, {"Content-Type": "application/json"})

    def reload(self) -> subprocess.CompletedProcess[str]:
        """`gateway reload`: plugin files are read again. Its outcome, `returncode` 0 when all is well."""
        return subprocess.run(
            [sys.executable, "-m", "gateway", "reload"],
            env=self._environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    # --- requests -----------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes | str | None = None,
    ) -> Reply:
        """Send a request through the gateway."""
        before = self.upstream.count
        status, fields, content = exchange(
            self.proxy_port, method, target, body.encode() if isinstance(body, str) else body, headers
        )
        seen = self.upstream.requests[-1] if self.upstream.count > before else None
        return Reply(status, fields, content, seen)

    def get(self, target: str, *, headers: Mapping[str, str] | None = None) -> Reply:
        """GET."""
        return self.request("GET", target, headers=headers)

    def post(self, target: str, body: bytes | str, *, headers: Mapping[str, str] | None = None) -> Reply:
        """POST."""
        return self.request("POST", target, headers=headers, body=body)

    # --- what it says -------------------------------------------------------------------------------

    def log(self) -> str:
        """The error log so far."""
        file = self.prefix / "error.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def wait_for_log(self, text: str, seconds: float = 10.0) -> None:
        """Wait until the error log has this text: what `log` functions write comes after the response."""
        wait_for(lambda: text in self.log(), f"{text!r} is not in the log", seconds)


def exchange(
    port: int, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
) -> tuple[int, http.client.HTTPMessage, bytes]:
    """One request on a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT)
    try:
        connection.request(method, target, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        return response.status, response.headers, response.read()
    finally:
        connection.close()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
    finally:
        for one in sockets:
            one.close()


def wait_for(condition: Callable[[], bool], problem: str, seconds: float) -> None:
    """Return once the condition holds; AssertionError when it does not in time."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"{problem} (after {seconds} s)")
        time.sleep(0.01)
