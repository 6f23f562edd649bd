"""A service behind proxy-circuit-breaker, whose backend fails when it is told to."""

from __future__ import annotations

import json
import threading
import uuid
from typing import Any

from tests.support.gateway import Gateway, one_service
from tests.support.plugged import plugin
from tests.support.upstreams import Connection, Upstream, response

LONG = 1000
"""seconds: a circuit that opens stays so for the rest of the test"""
SHORT = 0.3
"""seconds"""
OPEN = (503, "Circuit breaker is open")


class Behind:
    """A backend that answers with a status that can be changed, and can be told to wait."""

    def __init__(self) -> None:
        self.status = 200
        self.content_type = b"Content-Type: application/x-uncached"
        self.free = threading.Event()
        self.free.set()
        self.waiting = 0
        self.upstream = Upstream(self.serve)

    def __enter__(self) -> Behind:
        self.upstream.__enter__()
        return self

    def __exit__(self, *problem: object) -> None:
        self.free.set()
        self.upstream.__exit__(*problem)

    def serve(self, connection: Connection) -> None:
        while connection.read_request()[0]:
            self.waiting += 1
            self.free.wait(20)
            self.waiting -= 1
            connection.send(
                response(b"from %d" % self.upstream.port, f"{self.status} Said", self.content_type)
            )

    @property
    def asked(self) -> int:
        return len(self.upstream.requests)


def breaker(**config: Any) -> dict[str, Any]:
    """One that nobody has seen yet: circuits are known by the id of their plugin, and outlive reloads."""
    options = {"http_failures": 3, "timeout": LONG, **config}
    return {**plugin("proxy-circuit-breaker", **options), "id": str(uuid.uuid4())}


def guarded(gateway: Gateway, port: int, *plugins: dict[str, Any], **service: Any) -> None:
    gateway.configure(one_service(port, plugins=list(plugins), **{"retries": 0, **service}))


def ask(gateway: Gateway, path: str = "/", method: str = "GET") -> tuple[int, str]:
    """Status and message (or body) of one request on a connection of its own."""
    status, _, body = gateway.request(path, method)
    try:
        return status, json.loads(body)["message"]
    except ValueError:
        return status, body.decode()


def log_of(gateway: Gateway) -> str:
    """The error log; workers write it when they have time."""
    return (gateway.prefix / "error.log").read_text()


def fail(gateway: Gateway, times: int, status: int) -> None:
    assert [ask(gateway)[0] for _ in range(times)] == [status] * times


def passes(gateway: Gateway) -> bool:
    return ask(gateway)[0] != 503


def circuits(gateway: Gateway) -> list[dict[str, Any]]:
    status, _, body = gateway.call(gateway.admin_port, "GET", "/circuit-breakers")
    assert status == 200, body
    return list(json.loads(body)["data"])
