"""Granian servers on sockets of our own: addresses, ports in use, stopping."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.control.servers import Servers
from gateway.listening import ListenError
from gateway.settings import Listener
from tests.support.gateway import free_port

REQUEST = b"GET /x HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n"


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"server", b"test/1")]})
    await send({"type": "http.response.body", "body": b"hello"})


async def ask(listener: Listener) -> bytes:
    """One request; waits until somebody listens."""
    async with asyncio.timeout(30):
        while True:
            try:
                if listener.path:
                    reader, writer = await asyncio.open_unix_connection(listener.path)
                else:
                    reader, writer = await asyncio.open_connection(listener.address, listener.port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
        writer.write(REQUEST)
        answer = await reader.read()
        writer.close()
        return answer


def serving(listeners: list[Listener], test: Callable[[Servers], Awaitable[None]]) -> tuple[bool, list[str]]:
    """Run `test` beside servers; gives what stop() said, and failures."""
    failures: list[str] = []

    async def run() -> bool:
        servers = Servers(failures.append)
        for listener in listeners:
            servers.start(hello, listener)
        try:
            await test(servers)
        finally:
            stopped = await servers.stop()
        return stopped

    return asyncio.run(run()), failures


def test_addresses_of_every_kind(tmp_path: Path) -> None:
    listeners = [
        Listener("127.0.0.1", free_port()),
        Listener("127.0.0.1", free_port(), reuseport=True),
        Listener("", 0, path=str(tmp_path / "admin.sock")),
    ]
    if socket.has_ipv6:
        listeners.append(Listener("::1", free_port()))

    async def test(servers: Servers) -> None:
        for listener in listeners:
            answer = await ask(listener)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            if listener.path:
                assert Path(listener.path).stat().st_mode & 0o777 == 0o600
            assert answer.endswith(b"hello")
            # Only the application's own Server field.
            assert answer.lower().count(b"server:") == 1

    assert serving(listeners, test) == (True, [])
    assert not (tmp_path / "admin.sock").exists()


def test_a_port_in_use_is_refused_with_its_name() -> None:
    with socket.create_server(("127.0.0.1", 0), reuse_port=True) as other:
        port = other.getsockname()[1]

        async def test(servers: Servers) -> None:
            for reuseport in (False, True):
                with pytest.raises(ListenError, match=f"cannot listen on 127.0.0.1:{port}"):
                    servers.start(hello, Listener("127.0.0.1", port, reuseport=reuseport))

        assert serving([], test) == (True, [])


def test_the_port_is_free_after_stopping() -> None:
    listener = Listener("127.0.0.1", free_port())

    async def test(servers: Servers) -> None:
        await ask(listener)

    for _ in range(2):
        assert serving([listener], test) == (True, [])
