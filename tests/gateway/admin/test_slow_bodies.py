"""POST /config with bodies that dawdle, and with many at once, through the real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from asgi_client import Node, with_node

from gateway.admin import bodies
from gateway.admin.config import PARALLEL_BODIES
from gateway.control.servers import Servers
from gateway.settings import Listener

BODY = b'{"_format_version":"3.0"}'
HEAD = (
    b"POST /config HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n" % len(BODY)
)
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@asynccontextmanager
async def listening(node: Node, path: Path) -> AsyncIterator[None]:
    failures: list[str] = []
    servers = Servers(failures.append)
    servers.start(node.admin, Listener("", 0, path=str(path)))
    try:
        yield
    finally:
        await servers.stop()
    assert not failures


async def send(path: Path, data: bytes) -> Stream:
    """A connection on which `data` was sent."""
    async with asyncio.timeout(30):
        while True:
            try:
                reader, writer = await asyncio.open_unix_connection(path)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
    writer.write(data)
    await writer.drain()
    return reader, writer


async def status(stream: Stream) -> int:
    """The status of the answer; the connection is closed then."""
    reader, writer = stream
    async with asyncio.timeout(30):
        line = await reader.readline()
    writer.close()
    return int(line.split()[1])


def test_a_body_that_does_not_come_ends_with_408(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_TIMEOUT", 0.3)
    path = tmp_path / "admin.sock"

    async def test(node: Node) -> None:
        async with listening(node, path):
            reader, writer = await send(path, HEAD + BODY[:5])
            async with asyncio.timeout(30):
                answer = await reader.read()  # to the end: the connection is closed
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert b"408 Request Time-out" in answer
            writer.close()
            assert await status(await send(path, HEAD + BODY)) == 201

    with_node(tmp_path, test)


def test_an_unwanted_body_that_does_not_come_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bodies, "UNWANTED_BODY_TIMEOUT", 0.3)
    path = tmp_path / "admin.sock"
    foreign = HEAD.replace(b"\r\n", b"\r\nOrigin: http://elsewhere.example\r\n", 1)

    async def test(node: Node) -> None:
        async with listening(node, path):
            assert await status(await send(path, foreign + BODY[:5])) == 403

    with_node(tmp_path, test)


def test_few_bodies_are_taken_at_once(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def test(node: Node) -> None:
        async with listening(node, path):
            waiting = [await send(path, HEAD + BODY[:5]) for _ in range(PARALLEL_BODIES)]

            async def is_turned_away() -> bool:
                return await status(await send(path, HEAD + BODY)) == 429

            async with asyncio.timeout(30):
                while not await is_turned_away():
                    await asyncio.sleep(0.01)
            for _, writer in waiting:
                writer.write(BODY[5:])
            statuses = [await status(stream) for stream in waiting]
            assert set(statuses) <= {201, 429}
            assert 201 in statuses
            assert await status(await send(path, HEAD + BODY)) == 201

    with_node(tmp_path, test)


def test_who_goes_away_gives_the_place_back(tmp_path: Path) -> None:
    path = tmp_path / "admin.sock"

    async def test(node: Node) -> None:
        async with listening(node, path):
            for _ in range(3 * PARALLEL_BODIES):
                _, writer = await send(path, HEAD + BODY[:5])
                writer.close()
                await writer.wait_closed()

            async def is_loaded() -> bool:
                return await status(await send(path, HEAD + BODY)) == 201

            async with asyncio.timeout(30):
                while not await is_loaded():
                    await asyncio.sleep(0.01)

    with_node(tmp_path, test)
