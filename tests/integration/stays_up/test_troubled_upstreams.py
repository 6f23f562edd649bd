"""Upstreams that die, hang, dawdle, talk rubbish or go away at every stage, hundreds of requests at once.

Every client gets an answer or a closed connection in bounded time, healthy requests go on, and afterwards
nothing is left: no connection, no descriptor, no memory.
"""

from __future__ import annotations

import asyncio
import collections
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.footprint import Footprint, TidyGateway, at_rest
from tests.support.gateway import Gateway, wait_for
from tests.support.load import (
    HOST,
    SLOWNESS,
    Backend,
    EventLoopThread,
    Load,
    content_length,
    more_requests,
    peer_left,
    vanish,
)

AT_ONCE = 300
SHORT_MS, LONGER_MS = 1000 * SLOWNESS, 3000 * SLOWNESS
"""how long the gateway waits for upstreams that hang, which must not make tests slow: at the beginning, and
in a body, whose head must have come before. It waits long for others: hundreds at once take their time.
"""
MOST_KEPT = 64 << 20
"""bytes of free buffers that two workers may keep after AT_ONCE requests (native/memory.pxd)"""
CLIENT_SECONDS = 30.0 * SLOWNESS
"""longer than any retries of the gateway may take"""
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Behaviour = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
BEHAVIOURS: dict[str, tuple[Behaviour, set[str]]] = {}
"""name -> what the upstream does once it has the head of a request, and what clients may see of it"""


def behaviour(*seen: str) -> Callable[[Behaviour], Behaviour]:
    """Register what an upstream does. `seen`: statuses, or "cut" for a response that ends too early."""

    def register(function: Behaviour) -> Behaviour:
        BEHAVIOURS[function.__name__] = (function, set(seen))
        return function

    return register


@behaviour("502")
async def closes_after_the_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    vanish(writer, reset=False)


@behaviour("502")
async def resets_after_the_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    vanish(writer, reset=True)


@behaviour("504")
async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@behaviour("502")
async def closes_in_its_status_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 20")
    await writer.drain()


@behaviour("502")
async def closes_in_its_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-")
    await writer.drain()


@behaviour("504")
async def hangs_in_its_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\nX-")
    await reader.read()


@behaviour("200")
async def sends_in_small_pieces(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    message = HEAD + b"0123456789"
    for piece in (message[:1], message[1:15], message[15:40], message[40:-3], message[-3:]):
        writer.write(piece)
        await writer.drain()
        await asyncio.sleep(0.001)


@behaviour("502")
async def sends_rubbish(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(bytes(range(256)) * 40)
    await writer.drain()


@behaviour("502")
async def sends_an_endless_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        writer.write(b"X-More: and more and more and more and more\r\n" * 100)
        await writer.drain()


@behaviour("502")
async def sends_endless_interim_responses(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    for _ in range(1000):
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n" * 10)
        await writer.drain()


@behaviour("502")
async def contradicts_itself(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!")
    await writer.drain()


@behaviour("cut")
async def closes_after_its_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD)
    await writer.drain()


@behaviour("cut")
async def closes_in_its_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"01234")
    await writer.drain()


@behaviour("cut", "502")  # a reset may overtake what was sent before it
async def resets_in_its_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"01234")
    await asyncio.sleep(0.01)
    vanish(writer, reset=True)


@behaviour("cut")
async def hangs_in_its_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"01234")
    await reader.read()


@behaviour("cut")
async def closes_between_chunks(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(CHUNKED + b"5\r\nhello\r\n")
    await writer.drain()


@behaviour("cut")
async def closes_in_a_chunk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(CHUNKED + b"5\r\nhe")
    await writer.drain()


@behaviour("cut", "502")
async def sends_a_bad_chunk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(CHUNKED + b"5\r\nhello\r\n")
    await asyncio.sleep(0.01)
    writer.write(b"zz\r\n")
    await reader.read()


@behaviour("200")
async def sends_more_than_it_said(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(HEAD + b"0123456789HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await reader.read()


@behaviour("200")
async def closes_a_response_that_ends_so(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\n\r\n0123456789")
    await writer.drain()


@behaviour("200")
async def answers_and_closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Without saying so: the next request may find a connection that has just gone."""
    writer.write(HEAD + b"0123456789")
    await writer.drain()


@behaviour("504")
async def reads_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    transport = writer.transport
    assert isinstance(transport, asyncio.Transport)
    transport.pause_reading()
    await peer_left(transport)


@behaviour("502")
async def switches_protocols_unasked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    await reader.read()


class TroubledUpstream:
    """One asyncio server that does what the path of each request names: /<service>/<behaviour>."""

    def __init__(self, thread: EventLoopThread) -> None:
        async def listen() -> asyncio.Server:
            return await asyncio.start_server(self.serve, HOST, 0, backlog=4096)

        self.server = thread.call(listen())
        self.port: int = self.server.sockets[0].getsockname()[1]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            name = head.split(b" ", 2)[1].split(b"/")[2].decode()
            await BEHAVIOURS[name][0](reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


@pytest.fixture(scope="module")
def troubled(thread: EventLoopThread) -> TroubledUpstream:
    return TroubledUpstream(thread)


@pytest.fixture(scope="module")
def gateway(backend: Backend, troubled: TroubledUpstream) -> Iterator[Gateway]:
    # without access log: its ring is filled, and so becomes memory, bit by bit
    with TidyGateway(
        services(backend.port, troubled.port), worker_processes=2, proxy_access_log="off"
    ) as running:
        yield running


def service_of(behaviour: str) -> str:
    """The service that requests for it go to."""
    if "504" in BEHAVIOURS[behaviour][1]:
        return "hanging"
    return "hanging-later" if "hangs" in behaviour else "troubled"


def services(healthy: int, troubled: int, **hanging: int) -> dict[str, Any]:
    """A document. `hanging`: other fields of the service that hangs from the beginning."""

    def service(name: str, path: str, port: int, **fields: int) -> dict[str, Any]:
        route = {"name": name, "paths": [path], "strip_path": False}
        return {"name": name, "host": HOST, "port": port, "routes": [route], "retries": 1, **fields}

    short = {"read_timeout": SHORT_MS, "write_timeout": SHORT_MS, **hanging}
    return {
        "_format_version": "3.0",
        "services": [
            service("healthy", "/", healthy, retries=5),
            service("troubled", "/troubled", troubled),
            service("hanging", "/hanging", troubled, **short),
            service("hanging-later", "/hanging-later", troubled, read_timeout=LONGER_MS),
        ],
    }


# --- clients ------------------------------------------------------------------------------------------
async def ask(port: int, path: str, method: str, body: bytes) -> str:
    """One request on a new connection: the status, "cut" when the response ends early, else what happened."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        writer.write(
            b"%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
            % (method.encode(), path.encode(), len(body), body)
        )
        data = await asyncio.wait_for(reader.read(), CLIENT_SECONDS)
    except ConnectionResetError:
        return "reset"
    except TimeoutError:
        return "no end"
    finally:
        writer.close()
    head, found, rest = data.partition(b"\r\n\r\n")
    if not found:
        return f"no head: {data!r}"
    complete = rest.endswith(b"0\r\n\r\n") if b"chunked" in head else len(rest) == content_length(head)
    return head[9:12].decode() if complete else "cut"


def ask_for(
    thread: EventLoopThread, gateway: Gateway, names: list[str], method: str = "GET", body: bytes = b""
) -> collections.Counter[tuple[str, str]]:
    """Requests for these behaviours, all at once; (behaviour, outcome) counted."""

    async def all_at_once() -> list[str]:
        requests = (ask(gateway.proxy_port, f"/{service_of(name)}/{name}", method, body) for name in names)
        return await asyncio.gather(*requests)

    return collections.Counter(zip(names, thread.call(all_at_once(), CLIENT_SECONDS + 10), strict=True))


def unexpected(outcomes: collections.Counter[tuple[str, str]]) -> dict[tuple[str, str], int]:
    return {key: count for key, count in outcomes.items() if key[1] not in BEHAVIOURS[key[0]][1]}


# --- tests --------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("PUT", b"b" * 3000), ("POST", b"b" * 200_000)])
def test_every_trouble_at_once(gateway: Gateway, thread: EventLoopThread, method: str, body: bytes) -> None:
    """Hundreds of requests to the troubled service, all kinds mixed; the healthy one notices nothing."""
    names = [list(BEHAVIOURS)[i % len(BEHAVIOURS)] for i in range(AT_ONCE)]
    before = Footprint.of(gateway)
    with Load(thread, gateway.proxy_port, connections=8) as load:
        outcomes = ask_for(thread, gateway, names, method, body)
        wait_for(more_requests(load, 50), what="healthy requests afterwards")
        load.stop().check()
    bad = unexpected(outcomes)
    if method == "POST":
        # an upstream that closes with the body unread resets the connection, and what it sent may be lost
        bad = {key: count for key, count in bad.items() if key[1] not in ("502", "cut")}
    assert not bad
    # free buffers are kept for reuse, as many as were ever needed at once: memory is the next test's business
    Footprint.of(gateway).check(before, slack=MOST_KEPT)


def test_trouble_again_and_again_needs_no_more_memory(gateway: Gateway, thread: EventLoopThread) -> None:
    quick = [name for name, (_, seen) in BEHAVIOURS.items() if "504" not in seen and "hangs" not in name]

    def rounds(count: int) -> None:
        for _ in range(count):
            ask_for(thread, gateway, quick * 3)
            ask_for(thread, gateway, quick, "POST", b"b" * 20_000)

    rounds(15)  # by then every buffer that is ever needed at once has been used to its end
    before = Footprint.of(gateway)
    rounds(15)
    Footprint.of(gateway).check(before)


def has_failures(load: Load, count: int) -> bool:
    return len(load.report.failures) > count


def test_killed_and_started_again(gateway: Gateway, backend: Backend, thread: EventLoopThread) -> None:
    """While it is away requests are answered 502, and as soon as it is back they succeed again."""
    before = Footprint.of(gateway)
    for reset in (False, True):
        with Load(thread, gateway.proxy_port, connections=100) as load:
            wait_for(more_requests(load, 300), what="requests before")
            backend.stop(reset=reset)
            wait_for(partial(has_failures, load, 300), what="failures meanwhile")
            backend.start()
            wait_for(more_requests(load, 300), what="requests again")
            settled = len(load.report.failures)
            wait_for(more_requests(load, 300), what="more requests")
            report = load.stop()
        assert len(report.failures) == settled, report.failures[settled:][:10]
        kinds = collections.Counter(failure.what.partition(": ")[2][:4] for failure in report.failures)
        assert set(kinds) == {"502 "}, kinds
    Footprint.of(gateway).check(before)


def test_does_not_accept(gateway: Gateway, backend: Backend, thread: EventLoopThread) -> None:
    """A full queue: connecting takes too long. Requests to others go on, and to it as soon as it accepts."""
    with socket.create_server((HOST, 0), backlog=1) as full:
        port = full.getsockname()[1]
        filling = [socket.socket() for _ in range(4)]
        for one in filling:
            one.setblocking(False)
            one.connect_ex((HOST, port))
        gateway.configure(services(backend.port, port, connect_timeout=300, retries=0))
        at_rest(gateway)
        with Load(thread, gateway.proxy_port, connections=8) as load:
            outcomes = ask_for(thread, gateway, ["hangs"] * 100)
            wait_for(more_requests(load, 50), what="healthy requests")
            load.stop().check()
        assert outcomes == {("hangs", "504"): 100}
        for one in filling:
            one.close()
    at_rest(gateway)
