"""Bounded load for tests: clients that count exactly what went wrong, and an upstream quick enough for them.

Both run on an event loop in a thread of their own, so that a test can kill, reload and look at things
meanwhile. This is no benchmark: its numbers say whether requests failed, not how fast a gateway is.
"""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
from collections.abc import Awaitable, Coroutine
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Protocol, TypeVar

T = TypeVar("T")
HOST = "127.0.0.1"
TCP_ESTABLISHED = 1
SLOWNESS = 4 if os.environ.get("GATEWAY_TEST_SANITIZED") else 1
"""how much longer things take than usual"""
REQUEST_SECONDS = 10.0
"""a response that takes longer counts as failed"""


class EventLoopThread:
    """An event loop in a daemon thread. Context manager; its end cancels what still runs."""

    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def _run(self) -> None:
        asyncio.set_event_loop(self.loop)
        self.loop.run_forever()

    def __enter__(self) -> EventLoopThread:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.call(self._cancel_all())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()

    async def _cancel_all(self) -> None:
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def call(self, work: Coroutine[Any, Any, T], seconds: float = 120.0) -> T:
        """Run a coroutine on the loop and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(seconds)


def vanish(writer: asyncio.StreamWriter | asyncio.Transport, *, reset: bool) -> None:
    """Leave a connection: with RST, or with FIN (what comes later is answered with RST)."""
    sock = writer.get_extra_info("socket")
    if reset and sock.fileno() >= 0:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    transport = writer.transport if isinstance(writer, asyncio.StreamWriter) else writer
    transport.abort()


async def peer_left(transport: asyncio.Transport) -> None:
    """Wait until the other side has closed or reset the connection, without reading what it sent."""
    sock = transport.get_extra_info("socket")
    while sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] == TCP_ESTABLISHED:
        await asyncio.sleep(0.02)


# --- upstream -----------------------------------------------------------------------------------------
class Backend:
    """An upstream for load: answers 200 with the request's target as body, so that a mix-up is noticed.

    `/slow/<seconds>/...` answers after that time, `/held/...` when a test calls release(), `/hang` never,
    `/size/<bytes>` with so many bytes;
    `/tunnel` switches to WebSocket and sends back what comes, until the client says b"bye".
    """

    def __init__(self, thread: EventLoopThread) -> None:
        self._thread = thread
        self.port = 0
        self.requests = 0
        self.open: set[_BackendConnection] = set()
        self.held: list[tuple[asyncio.Transport, bytes]] = []
        """answers that wait for release(), with the connections that they are for"""
        self._server: asyncio.Server | None = None
        self.start()

    def start(self) -> None:
        """Listen; on the port of before when there was one."""

        async def listen() -> asyncio.Server:
            return await asyncio.get_running_loop().create_server(
                lambda: _BackendConnection(self), HOST, self.port, backlog=4096
            )

        self._server = self._thread.call(listen())
        self.port = self._server.sockets[0].getsockname()[1]

    def stop(self, *, reset: bool = False) -> None:
        """Refuse connections, and leave the open ones: as a process that is killed."""

        async def close() -> None:
            assert self._server is not None
            self._server.close()
            for connection in list(self.open):
                vanish(connection.transport, reset=reset)

        self._thread.call(close())

    def release(self) -> None:
        """Answer all requests for `/held` that have come."""

        async def answer() -> None:
            for transport, message in self.held:
                transport.write(message)
            self.held.clear()

        self._thread.call(answer())


class _BackendConnection(asyncio.Protocol):
    transport: asyncio.Transport

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._buffer = bytearray()
        self._body_left = 0
        self._target = b""
        self._tunnel = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._backend.open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._backend.open.discard(self)
        self._backend.held = [one for one in self._backend.held if one[0] is not self.transport]

    def data_received(self, data: bytes) -> None:
        if self._tunnel:
            self.transport.write(data)
            if data == b"bye":
                self.transport.close()
            return
        self._buffer += data
        while self._buffer:
            if not self._target:
                end = self._buffer.find(b"\r\n\r\n")
                if end < 0:
                    return
                head = bytes(self._buffer[:end])
                del self._buffer[: end + 4]
                self._target = head.split(b" ", 2)[1]
                self._body_left = content_length(head)
            used = min(self._body_left, len(self._buffer))
            del self._buffer[:used]
            self._body_left -= used
            if self._body_left:
                return
            target, self._target = self._target, b""
            self._answer(target)
        return

    def _answer(self, target: bytes) -> None:
        self._backend.requests += 1
        parts = target.split(b"/")
        body = target
        if parts[1] == b"hang":
            return
        if parts[1] == b"tunnel":
            self._tunnel = True
            self.transport.write(
                b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
            )
            return
        if parts[1] == b"size":
            body = b"x" * int(parts[2])
        message = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        if parts[1] == b"slow":
            asyncio.get_running_loop().call_later(float(parts[2]), self.transport.write, message)
        elif parts[1] == b"held":
            self._backend.held.append((self.transport, message))
        else:
            self.transport.write(message)


def content_length(head: bytes) -> int:
    """The Content-Length of a head, 0 without one. The gateway writes the name as the client did."""
    for line in head.split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return 0


# --- clients ------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Failure:
    """A request that did not get the answer it should have."""

    port: int
    """the client's; 0 when there was no connection"""
    what: str


@dataclass
class Report:
    """What became of the requests of a load."""

    succeeded: int = 0
    failures: list[Failure] = field(default_factory=list)
    connects: int = 0
    latencies: list[float] = field(default_factory=list)
    """seconds, of those that succeeded"""

    def latency(self, quantile: float) -> float:
        """E.g. latency(0.99), seconds."""
        ordered = sorted(self.latencies)
        return ordered[min(len(ordered) - 1, int(quantile * len(ordered)))]

    def check(self) -> None:
        """Fail the test unless there were requests and none of them failed."""
        assert self.succeeded > 0
        assert not self.failures, f"{len(self.failures)} of {self.succeeded} failed: {self.failures[:10]}"


class Load:
    """`connections` clients, each sending request after request. Context manager.

    They keep their connections, or make a new one for each request. A request fails when its connection
    cannot be made or ends before the complete response, when the response is not 200 with the expected body,
    or takes too long. A connection that the gateway closes between two requests is made again, which is no
    failure. Everything ends after `seconds` even if nobody stops it.
    """

    def __init__(
        self,
        thread: EventLoopThread,
        port: int,
        *,
        connections: int = 16,
        pause: float = 0.005,
        path: str = "/load",
        body: bytes = b"",
        keep_alive: bool = True,
        seconds: float = 240.0,
    ) -> None:
        self.report = Report()
        self.ports: set[int] = set()
        """local ports of the connections that are open"""
        self._thread = thread
        self._port = port
        self._count = connections
        self._pause = pause
        self._path = path.encode()
        self._body = body
        self._keep_alive = keep_alive
        self._seconds = seconds
        self._stopping = False
        self._number = 0
        self._task: asyncio.Future[None] | None = None

    def __enter__(self) -> Load:
        self._thread.call(self._start())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def _start(self) -> None:
        clients = [self._client() for _ in range(self._count)]
        self._task = asyncio.ensure_future(self._run(clients))

    async def _run(self, clients: list[Coroutine[Any, Any, None]]) -> None:
        timer = asyncio.get_running_loop().call_later(self._seconds, self.end)
        await asyncio.gather(*clients)
        timer.cancel()

    def end(self) -> None:
        """Begin no more requests; those under way go on."""
        self._stopping = True

    def stop(self) -> Report:
        """Let the requests under way end, and return what came of all."""

        async def finish() -> None:
            self._stopping = True
            if self._task is not None:
                await self._task

        self._thread.call(finish(), REQUEST_SECONDS + 10)
        return self.report

    def fail(self, port: int, what: str) -> None:
        if len(self.report.failures) < 10_000:
            self.report.failures.append(Failure(port, what))

    async def _client(self) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopping:
            try:
                _, connection = await loop.create_connection(_ClientConnection, HOST, self._port)
            except OSError as error:
                self.fail(0, f"no connection: {error}")
                await asyncio.sleep(0.05)
                continue
            self.report.connects += 1
            self.ports.add(connection.port)
            try:
                while not self._stopping and await self._exchange(connection):
                    await asyncio.sleep(self._pause)
                if not self._keep_alive:
                    await asyncio.sleep(self._pause)
            finally:
                self.ports.discard(connection.port)
                connection.transport.abort()

    async def _exchange(self, connection: _ClientConnection) -> bool:
        """One request. Whether the connection can take another one."""
        if connection.lost:
            return False
        self._number += 1
        target = b"%s/%d" % (self._path, self._number)
        head = b"%s %s HTTP/1.1\r\nHost: load\r\n" % (b"POST" if self._body else b"GET", target)
        if self._body:
            head += b"Content-Length: %d\r\n" % len(self._body)
        if not self._keep_alive:
            head += b"Connection: close\r\n"
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            answer = await asyncio.wait_for(connection.send(head + b"\r\n" + self._body), REQUEST_SECONDS)
        except (OSError, TimeoutError) as error:
            self.fail(connection.port, f"{target.decode()}: {error or type(error).__name__}")
            return False
        if answer.status == 200 and answer.body == target:
            self.report.succeeded += 1
            self.report.latencies.append(loop.time() - began)
        else:
            self.fail(connection.port, f"{target.decode()}: {answer.status} {answer.body[:80]!r}")
        return answer.keeps_alive


@dataclass(frozen=True)
class Answer:
    """A complete response."""

    status: int
    head: bytes
    body: bytes

    @property
    def keeps_alive(self) -> bool:
        """Whether the connection stays open."""
        return b"\r\nconnection: close" not in self.head.lower()


class _ClientConnection(asyncio.Protocol):
    """One connection; send() gives the answer to one request. Understands Content-Length only."""

    transport: asyncio.Transport

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._answer: asyncio.Future[Answer] | None = None
        self.port = 0
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def send(self, request: bytes) -> Awaitable[Answer]:
        self._answer = asyncio.get_running_loop().create_future()
        self.transport.write(request)
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return
        head = bytes(self._buffer[:end])
        length = content_length(head)
        if len(self._buffer) < end + 4 + length:
            return
        body = bytes(self._buffer[end + 4 :])
        self._buffer.clear()
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(int(head[9:12]), head, body))

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if self._answer is not None and not self._answer.done():
            got = bytes(self._buffer[:80])
            self._answer.set_exception(
                ConnectionResetError(
                    f"{'reset' if exc else 'closed'} before the response was complete ({got!r})"
                )
            )


class Countable(Protocol):
    """Whatever has a report that grows."""

    report: Report


def more_requests(load: Countable, count: int) -> Any:
    """A condition for wait_for: `count` more requests than now have succeeded."""
    goal = load.report.succeeded + count
    return lambda: load.report.succeeded >= goal
