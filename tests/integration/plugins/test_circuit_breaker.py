"""proxy-circuit-breaker: two workers know as one when a service or target gets no requests (plugins.md)."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.gateway import Gateway, free_port, one_service, wait_for
from tests.support.plugged import plugin
from tests.support.upstreams import Connection, Upstream, response

LONG = 1000
"""seconds: a circuit that opens stays so for the rest of the test"""
SHORT = 0.3
"""seconds"""
OPEN = (503, "Circuit breaker is open")


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(worker_processes=2) as running:
        yield running


class Behind:
    """A backend that answers with a status that can be changed, and can be told to wait."""

    def __init__(self) -> None:
        self.status = 200
        self.free = threading.Event()
        self.free.set()
        self.waiting = 0
        self.upstream = Upstream(self.serve)

    def serve(self, connection: Connection) -> None:
        while connection.read_request()[0]:
            self.waiting += 1
            self.free.wait(20)
            self.waiting -= 1
            connection.send(response(b"from %d" % self.upstream.port, f"{self.status} Said"))

    @property
    def asked(self) -> int:
        return len(self.upstream.requests)


@pytest.fixture
def behind() -> Iterator[Behind]:
    one = Behind()
    with one.upstream:
        yield one
        one.free.set()


@pytest.fixture
def other() -> Iterator[Behind]:
    one = Behind()
    with one.upstream:
        yield one
        one.free.set()


def breaker(**config: Any) -> dict[str, Any]:
    return plugin("proxy-circuit-breaker", **{"http_failures": 3, "timeout": LONG, **config})


def guarded(gateway: Gateway, port: int, *plugins: dict[str, Any], **service: Any) -> None:
    gateway.configure(one_service(port, plugins=list(plugins), **{"retries": 0, **service}))


def ask(gateway: Gateway, path: str = "/", method: str = "GET") -> tuple[int, str]:
    """Status and message (or body) of one request on a connection of its own."""
    status, _, body = gateway.request(path, method)
    try:
        return status, json.loads(body)["message"]
    except ValueError:
        return status, body.decode()


def fail(gateway: Gateway, times: int, status: int) -> None:
    assert [ask(gateway)[0] for _ in range(times)] == [status] * times


# --- opening ------------------------------------------------------------------------------------------


def test_failures_in_a_row_open_it_for_all_workers(gateway: Gateway, behind: Behind) -> None:
    guarded(gateway, behind.upstream.port, breaker())
    behind.status = 500
    fail(gateway, 3, 500)
    for _ in range(20):
        status, headers, body = gateway.request("/")
        assert (status, json.loads(body)["message"]) == OPEN
        assert 990 <= int(headers["Retry-After"]) <= LONG
    assert behind.asked == 3
