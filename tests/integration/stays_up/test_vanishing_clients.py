"""Clients that go away at every stage, with FIN or RST, hundreds at once; and clients that dawdle."""

from __future__ import annotations

import asyncio
import collections
import socket
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.support.footprint import Footprint, TidyGateway, at_rest, workers
from tests.support.gateway import PATIENCE, Gateway, one_service, wait_for
from tests.support.load import (
    HOST,
    SLOWNESS,
    Backend,
    EventLoopThread,
    Load,
    more_requests,
    peer_left,
    vanish,
)

AT_ONCE = 40
"""clients of each kind"""
SLOW_CLIENTS = 300
HEADER_TIMEOUT = 2.0
"""of the impatient gateway, seconds"""
READ_TIMEOUT_MS = 2000 * SLOWNESS
"""for /hang; the gateway waits long for other answers: hundreds at once take their time"""
LARGE = 4 << 20
"""bytes of a response: more than the kernel takes for a client that does not read"""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Stage = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
STAGES: dict[str, Stage] = {}


def stage(function: Stage) -> Stage:
    """Register what a client does before it vanishes."""
    STAGES[function.__name__] = function
    return function


@stage
async def before_anything(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    pass


@stage
async def in_the_request_line(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /lo")


@stage
async def in_a_long_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /load HTTP/1.1\r\nHost: x\r\n" + b"X-Filler: %s\r\n" % (b"f" * 100) * 150)


@stage
async def before_the_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /load HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n")


@stage
async def while_asked_to_continue(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /load HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n")
    assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"


@stage
async def in_a_small_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /load HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n0123456789")


@stage
async def in_a_streamed_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /load HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n" + b"b" * 500_000)
    await writer.drain()


@stage
async def in_a_chunked_body(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\nff\r\n")


@stage
async def while_waiting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /slow/0.3/x HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.05)


@stage
async def while_waiting_in_vain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /hang HTTP/1.1\r\nHost: x\r\n\r\n")
    await asyncio.sleep(0.05)


@stage
async def before_the_response_is_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /load HTTP/1.1\r\nHost: x\r\n\r\n")


@stage
async def in_a_large_response(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /size/%d HTTP/1.1\r\nHost: x\r\n\r\n" % LARGE)
    await reader.readexactly(1000)


@stage
async def after_a_response(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /load HTTP/1.1\r\nHost: x\r\n\r\n")
    await reader.readuntil(b"/load")


@stage
async def with_pipelined_requests(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /slow/0.1/x HTTP/1.1\r\nHost: x\r\n\r\n" * 5)
    await reader.readexactly(100)


@stage
async def after_a_refused_request(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"POST /load HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n" + b"b" * 100_000)
    await reader.readexactly(12)


async def open_tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"GET /tunnel HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 101")
    writer.write(b"hello")
    assert await reader.readexactly(5) == b"hello"


@stage
async def in_a_tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await open_tunnel(reader, writer)


@stage
async def in_a_full_tunnel(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await open_tunnel(reader, writer)
    writer.write(b"t" * 500_000)
    await reader.readexactly(1000)


@stage
async def after_the_upstream_has_left_a_tunnel(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    await open_tunnel(reader, writer)
    writer.write(b"bye")
    assert await reader.read() == b"bye"


async def come_and_go(port: int, act: Stage, *, reset: bool) -> str:
    """What went wrong before the client left, if anything did."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        await asyncio.wait_for(act(reader, writer), PATIENCE)
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        return repr(error)
    finally:
        vanish(writer, reset=reset)
    return ""


@pytest.fixture(scope="module")
def gateway(backend: Backend) -> Iterator[Gateway]:
    configuration = one_service(backend.port, retries=0)
    hanging = one_service(backend.port, retries=0, read_timeout=READ_TIMEOUT_MS)["services"][0]
    route = {"name": "hanging", "paths": ["/hang"], "strip_path": False}
    configuration["services"].append({**hanging, "name": "hanging", "routes": [route]})
    # without access log: its ring is filled, and so becomes memory, bit by bit
    with TidyGateway(
        configuration,
        worker_processes=2,
        proxy_access_log="off",
        lingering_timeout="1s",
    ) as running:
        yield running


@pytest.fixture(scope="module")
def impatient(backend: Backend) -> Iterator[Gateway]:
    """A gateway with short limits for clients."""
    with TidyGateway(
        one_service(backend.port),
        worker_processes=2,
        proxy_access_log="off",
        client_header_timeout=f"{HEADER_TIMEOUT}s",
        client_body_timeout="1s",
        send_timeout="500ms",
        lingering_timeout="5s",
    ) as running:
        yield running


def all_stages(thread: EventLoopThread, gateway: Gateway, count: int) -> None:
    async def all_at_once() -> list[str]:
        return await asyncio.gather(
            *(
                come_and_go(gateway.proxy_port, act, reset=reset)
                for _ in range(count)
                for act in STAGES.values()
                for reset in (False, True)
            )
        )

    problems = collections.Counter(filter(None, thread.call(all_at_once())))
    assert not problems


def test_vanishing_at_every_stage_at_once(gateway: Gateway, thread: EventLoopThread) -> None:
    before = Footprint.of(gateway)
    with Load(thread, gateway.proxy_port, connections=8) as load:
        all_stages(thread, gateway, AT_ONCE)
        wait_for(more_requests(load, 50), what="requests of others afterwards")
        load.stop().check()
    # free buffers are kept for reuse, as many as were ever needed at once: memory is the next test's business
    Footprint.of(gateway).check(before, slack=96 << 20)


@pytest.mark.parametrize("name", STAGES)
def test_vanishing_leaves_nothing_in_use(gateway: Gateway, thread: EventLoopThread, name: str) -> None:
    async def both_ways() -> list[str]:
        clients = (come_and_go(gateway.proxy_port, STAGES[name], reset=reset) for reset in (False, True) * 10)
        return await asyncio.gather(*clients)

    assert not any(thread.call(both_ways()))
    at_rest(gateway)


def test_vanishing_again_and_again_needs_no_more_memory(gateway: Gateway, thread: EventLoopThread) -> None:
    for _ in range(10):
        all_stages(thread, gateway, 2)
    before = Footprint.of(gateway)
    for _ in range(10):
        all_stages(thread, gateway, 2)
    Footprint.of(gateway).check(before)


async def dawdle(port: int, request: bytes, pause: float) -> bytes:
    """Send a request byte by byte until the gateway answers; what it says until it closes."""
    reader, writer = await asyncio.open_connection(HOST, port)
    answer = asyncio.ensure_future(reader.read())
    try:
        for byte in request:
            writer.write(bytes([byte]))
            await asyncio.wait([answer], timeout=pause)
            if answer.done():
                break
        return await asyncio.wait_for(answer, PATIENCE)
    except ConnectionResetError:
        return b"reset"
    finally:
        writer.transport.abort()


def test_slow_loris(impatient: Gateway, thread: EventLoopThread) -> None:
    """Heads that come byte by byte are cut off with 408 when their time is over; others do not wait."""
    before = Footprint.of(impatient)
    timeouts = sum(worker["timeouts"] for worker in workers(impatient))
    request = b"GET /load HTTP/1.1\r\nHost: x\r\nX-Filler: " + b"f" * 1000

    async def all_at_once() -> list[bytes]:
        return await asyncio.gather(
            *(dawdle(impatient.proxy_port, request, 0.1) for _ in range(SLOW_CLIENTS))
        )

    with Load(thread, impatient.proxy_port, connections=8) as load:
        answers = thread.call(all_at_once())
        report = load.stop()
    report.check()
    assert {answer[:12] for answer in answers} == {b"HTTP/1.1 408"}
    assert report.latency(0.99) < HEADER_TIMEOUT  # far from being stuck behind the slow ones
    # one byte was enough to keep nobody's connection for longer
    assert sum(worker["timeouts"] for worker in workers(impatient)) - timeouts == SLOW_CLIENTS
    Footprint.of(impatient).check(before, slack=16 << 20)


def test_silent_clients_are_dropped(impatient: Gateway, thread: EventLoopThread) -> None:
    """A connection on which nothing is sent costs a descriptor for the header timeout, no longer."""

    async def wait_for_the_end() -> bytes:
        reader, writer = await asyncio.open_connection(HOST, impatient.proxy_port)
        try:
            return await asyncio.wait_for(reader.read(), PATIENCE)
        finally:
            writer.close()

    async def all_at_once() -> list[bytes]:
        return await asyncio.gather(*(wait_for_the_end() for _ in range(SLOW_CLIENTS)))

    assert set(thread.call(all_at_once())) == {b""}
    at_rest(impatient)


def test_stalled_bodies(impatient: Gateway, thread: EventLoopThread) -> None:
    """A body that stops coming is given up with 408, whether it is held or streamed."""
    requests = [
        b"POST /load HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s" % (length, b"b" * 20_000)
        for length in (25_000, 1_000_000)
    ] + [b"POST /load HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel"]

    async def stall(request: bytes) -> bytes:
        reader, writer = await asyncio.open_connection(HOST, impatient.proxy_port)
        try:
            writer.write(request)
            return await asyncio.wait_for(reader.read(), PATIENCE)
        finally:
            writer.close()

    async def all_at_once() -> list[bytes]:
        return await asyncio.gather(*(stall(request) for request in requests * 30))

    assert {answer[:12] for answer in thread.call(all_at_once())} == {b"HTTP/1.1 408"}
    at_rest(impatient)


def test_clients_that_do_not_read(impatient: Gateway, thread: EventLoopThread) -> None:
    """They are dropped after the send timeout; what they were sent does not pile up in the worker."""

    async def ask_and_stall() -> None:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect((HOST, impatient.proxy_port))
        _, writer = await asyncio.open_connection(sock=sock)
        transport = writer.transport
        assert isinstance(transport, asyncio.Transport)
        transport.pause_reading()
        writer.write(b"GET /size/%d HTTP/1.1\r\nHost: x\r\n\r\n" % (2 * LARGE))
        await asyncio.wait_for(peer_left(transport), PATIENCE)
        transport.abort()

    async def all_at_once() -> None:
        await asyncio.gather(*(ask_and_stall() for _ in range(10)))

    before = Footprint.of(impatient)
    with Load(thread, impatient.proxy_port, connections=8) as load:
        thread.call(all_at_once())
        load.stop().check()
    Footprint.of(impatient).check(before, slack=16 << 20)
