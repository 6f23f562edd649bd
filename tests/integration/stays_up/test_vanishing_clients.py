"""Clients that go away at every stage, with FIN or RST, hundreds at once; and clients that never get going."""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Awaitable, Callable, Iterator

import pytest

from tests.support.footprint import Footprint, TidyGateway, at_rest
from tests.support.gateway import Gateway, one_service, wait_for
from tests.support.load import HOST, Backend, EventLoopThread, Load, more_requests, vanish

AT_ONCE = 40
"""clients of each kind"""
HEADER_TIMEOUT = 1.0
READ_TIMEOUT_MS = 1500
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


async def come_and_go(port: int, act: Stage, *, reset: bool) -> str:
    """What went wrong before the client left, if anything did."""
    reader, writer = await asyncio.open_connection(HOST, port)
    try:
        await asyncio.wait_for(act(reader, writer), 10)
    except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
        return repr(error)
    finally:
        vanish(writer, reset=reset)
    return ""


@pytest.fixture(scope="module")
def gateway(backend: Backend) -> Iterator[Gateway]:
    # without access log: its ring is filled, and so becomes memory, bit by bit
    with TidyGateway(
        one_service(backend.port, read_timeout=READ_TIMEOUT_MS, retries=0),
        worker_processes=2,
        proxy_access_log="off",
        client_header_timeout=f"{HEADER_TIMEOUT}s",
        client_body_timeout="1s",
        send_timeout="1s",
        lingering_timeout="1s",
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
