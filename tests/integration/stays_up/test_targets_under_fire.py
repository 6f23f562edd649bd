"""Targets that are restarted, dawdle, refuse, reset, talk rubbish, hang, or are all gone, under load.

With health checks and retries no idempotent request fails as long as one target is well, but for those to
whom a response was already being sent.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.footprint import TidyGateway
from tests.support.gateway import Gateway, wait_for
from tests.support.load import HOST, SLOWNESS, Backend, EventLoopThread, Load, more_requests, vanish

CONNECTIONS = 16
READ_TIMEOUT_MS = 1000 * SLOWNESS
"""All targets are in this process: were it short, they would all be out when a busy machine holds it up."""
CHECKS = {
    "active": {
        "http_path": "/up",
        "timeout": 2 * SLOWNESS,
        "healthy": {"interval": 0.1, "successes": 1},
        "unhealthy": {"interval": 0.1, "tcp_failures": 1, "timeouts": 1, "http_failures": 1},
    },
    "passive": {"unhealthy": {"tcp_failures": 2, "timeouts": 2, "http_failures": 2}},
}
PASSIVE_ONLY = {"passive": CHECKS["passive"]}


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with TidyGateway(worker_processes=2) as running:
        yield running


@pytest.fixture
def targets(thread: EventLoopThread) -> Iterator[list[Backend]]:
    """Three that are well."""
    made = [Backend(thread) for _ in range(3)]
    yield made
    for one in made:
        one.stop()


def configure(gateway: Gateway, name: str, ports: list[int], healthchecks: dict[str, Any]) -> None:
    """Everything goes to an upstream with this name."""
    service = {
        "name": "s",
        "host": name,
        "retries": 5,
        "connect_timeout": READ_TIMEOUT_MS,
        "read_timeout": READ_TIMEOUT_MS,
        "routes": [{"name": "r", "paths": ["/"], "strip_path": False}],
    }
    targets = [{"target": f"{HOST}:{port}"} for port in ports]
    upstream = {"name": name, "healthchecks": healthchecks, "targets": targets}
    gateway.configure({"services": [service], "upstreams": [upstream]})


def health(gateway: Gateway, name: str) -> dict[int, str]:
    """Kong's word by port."""
    _, _, body = gateway.call(gateway.admin_port, "GET", f"/upstreams/{name}/health")
    return {target["data"]["port"]: target["health"] for target in json.loads(body)["data"]}


def wait_until(gateway: Gateway, name: str, port: int, word: str) -> None:
    wait_for(lambda: health(gateway, name)[port] == word, what=f"target {port} is {word}")


def test_a_rolling_restart_fails_no_request(
    gateway: Gateway, thread: EventLoopThread, targets: list[Backend]
) -> None:
    name = "rolling"
    configure(gateway, name, [target.port for target in targets], CHECKS)
    with Load(thread, gateway.proxy_port, connections=CONNECTIONS) as load:
        for number, target in enumerate(targets):
            wait_for(more_requests(load, 200), what="requests")
            target.stop(reset=number % 2 == 0)
            wait_until(gateway, name, target.port, "UNHEALTHY")
            wait_for(more_requests(load, 200), what="requests without one target")
            target.start()
            wait_until(gateway, name, target.port, "HEALTHY")
            before = target.requests
            wait_for(lambda target=target, before=before: target.requests > before + 50, what="its share")
        load.stop().check()


# --- one of three is troubled -------------------------------------------------------------------------------


class Troubled:
    """A target that is well until it is told otherwise. Context manager."""

    def __init__(self, thread: EventLoopThread) -> None:
        self.trouble = ""
        self.requests = 0
        self._thread = thread

    def __enter__(self) -> Troubled:
        self._server = self._thread.call(asyncio.start_server(self._serve, HOST, 0))
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.loop.call_soon_threadsafe(self._server.close)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                target = head.split(b" ", 2)[1]
                if target != b"/up":
                    self.requests += 1
                if not await self._answer(self.trouble, target, writer):
                    return
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    async def _answer(self, trouble: str, target: bytes, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection goes on."""
        message = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(target)
        if trouble == "slow":
            await asyncio.sleep(READ_TIMEOUT_MS / 1000 * 4)
        elif trouble == "resetting":
            vanish(writer, reset=True)
            return False
        elif trouble == "garbage":
            writer.write(b"\x16\x03\x01 this is not HTTP\r\n\r\n")
            return False
        elif trouble == "failing":
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
            return True
        elif trouble == "hanging in a body":
            writer.write(message + target[:1])
            await asyncio.sleep(READ_TIMEOUT_MS / 1000 * 4)
            return False
        writer.write(message + target)
        return True


@pytest.mark.parametrize("trouble", ["slow", "resetting", "garbage"])
def test_a_troubled_target_fails_no_request(
    trouble: str, gateway: Gateway, thread: EventLoopThread, targets: list[Backend]
) -> None:
    with Troubled(thread) as troubled:
        name = trouble
        ports = [troubled.port, targets[0].port, targets[1].port]
        configure(gateway, name, ports, CHECKS)
        with Load(thread, gateway.proxy_port, connections=CONNECTIONS) as load:
            wait_for(lambda: troubled.requests > 50, what="requests to all")
            troubled.trouble = trouble
            wait_until(gateway, name, troubled.port, "UNHEALTHY")
            seen = troubled.requests
            wait_for(more_requests(load, 300), what="requests without it")
            assert troubled.requests <= seen + CONNECTIONS  # what was under way
            troubled.trouble = ""
            wait_until(gateway, name, troubled.port, "HEALTHY")
            before = troubled.requests
            wait_for(lambda: troubled.requests > before + 50, what="its share")
            load.stop().check()


def test_a_target_that_answers_503(gateway: Gateway, thread: EventLoopThread, targets: list[Backend]) -> None:
    """What it has answered goes to clients: only so many requests see that."""
    with Troubled(thread) as troubled:
        configure(gateway, "failing", [troubled.port, targets[0].port, targets[1].port], CHECKS)
        with Load(thread, gateway.proxy_port, connections=CONNECTIONS) as load:
            wait_for(lambda: troubled.requests > 50, what="requests to all")
            troubled.trouble = "failing"
            wait_until(gateway, "failing", troubled.port, "UNHEALTHY")
            failed = len(load.report.failures)
            wait_for(more_requests(load, 300), what="requests without it")
            report = load.stop()
        assert len(report.failures) <= failed + CONNECTIONS
        assert len(report.failures) <= 2 + CONNECTIONS
        assert all(": 503 " in failure.what for failure in report.failures)


def test_a_target_that_hangs_in_the_midst_of_a_body(
    gateway: Gateway, thread: EventLoopThread, targets: list[Backend]
) -> None:
    """A response that has begun cannot be tried again: it is cut off in time, and soon there are no more."""
    name = "hanging"
    with Troubled(thread) as troubled:
        configure(gateway, name, [troubled.port, targets[0].port, targets[1].port], PASSIVE_ONLY)
        with Load(thread, gateway.proxy_port, connections=CONNECTIONS) as load:
            wait_for(lambda: troubled.requests > 50, what="requests to all")
            troubled.trouble = "hanging in a body"
            wait_until(gateway, name, troubled.port, "UNHEALTHY")
            wait_for(more_requests(load, 300), what="requests without it")
            report = load.stop()
        assert len(report.failures) <= CONNECTIONS
        assert all("before the response was complete" in failure.what for failure in report.failures)


def test_all_targets_down_and_back(gateway: Gateway, thread: EventLoopThread, targets: list[Backend]) -> None:
    name = "all"
    ports = [target.port for target in targets]
    configure(gateway, name, ports, CHECKS)
    with Load(thread, gateway.proxy_port, connections=CONNECTIONS) as load:
        wait_for(more_requests(load, 200), what="requests")
        load.report.check()
        for target in targets:
            target.stop(reset=True)
        wait_for(lambda: set(health(gateway, name).values()) == {"UNHEALTHY"}, what="all are out")
        began = time.monotonic()
        status, _, body = gateway.request("/nobody")
        assert (status, time.monotonic() - began < READ_TIMEOUT_MS / 1000) == (503, True)
        assert b"failure to get a peer from the ring-balancer" in body
        for target in targets:
            target.start()
        wait_for(lambda: set(health(gateway, name).values()) == {"HEALTHY"}, what="all are back")
        failed = len(load.report.failures)
        wait_for(more_requests(load, 300), what="requests")
        report = load.stop()
    assert all(": 503 " in one.what or ": 502 " in one.what for one in report.failures), report.failures[:5]
    assert len(report.failures) <= failed + CONNECTIONS
