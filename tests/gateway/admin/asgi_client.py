"""Requests straight into an ASGI application, and a control plane without workers to put behind it."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.admin.app import admin_app
from gateway.control.plane import ControlPlane
from gateway.control.publisher import Publisher
from gateway.control.remembered import Remembered
from gateway.settings import load_settings
from gateway.status.app import status_app
from gateway.store import LoadMemory
from gateway.store.read_only import ReadOnlyStore
from gateway.store.source import DeclarativeSource
from gateway.telemetry.metric_slots import MetricSlots
from native.shm import ROUTE_METRIC_SLOTS, SharedState

NODE = "6f1cdd20-4b2e-4ab8-a0b4-1f9a4a7f2a01"


@dataclass
class Answer:
    """A response; header names in lower case."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Any,
    method: str,
    target: str,
    body: bytes = b"",
    headers: list[tuple[str, str]] | dict[str, str] | None = None,
    *,
    chunk: int = 1 << 16,
) -> Answer:
    """One request; the body comes in pieces of `chunk` bytes."""
    url = urlsplit("http://test" + target)
    items = list(headers.items()) if isinstance(headers, dict) else headers or []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": url.path,
        "raw_path": url.path.encode(),
        "query_string": url.query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in items],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8001),
    }
    pieces = [body[at : at + chunk] for at in range(0, len(body), chunk)] or [b""]
    answer = Answer()

    async def receive() -> dict[str, Any]:
        piece = pieces.pop(0) if pieces else b""
        return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answer.status = message["status"]
            names = [name.decode() for name, _ in message["headers"]]
            assert len(names) == len(set(names)), f"repeated header field: {names}"
            answer.headers = {name.decode(): value.decode() for name, value in message["headers"]}
        else:
            answer.body += message.get("body", b"")

    await app(scope, receive, send)
    return answer


class Node:
    """A control plane that publishes into a directory, with both of its applications."""

    def __init__(self, prefix: Path, **settings: str) -> None:
        self.settings = load_settings(None, {}, {"prefix": str(prefix), "database": "off", **settings})
        self.shared = SharedState.create(4)
        self.notify = os.eventfd(0, os.EFD_NONBLOCK)
        slots = MetricSlots(prefix / "slots.json", ROUTE_METRIC_SLOTS, self.shared.route_metrics)
        publisher = Publisher(self.shared, [self.notify], prefix)
        self.remembered = Remembered(prefix / "last.json")
        memory = LoadMemory()
        self.store = ReadOnlyStore(DeclarativeSource.from_settings(self.settings), memory)
        self.plane = ControlPlane(
            self.settings, self.shared, publisher, slots, self.remembered, NODE, self.store, memory
        )
        self.admin = admin_app(self.plane)
        self.status = status_app(self.plane)

    def close(self) -> None:
        os.close(self.notify)

    async def load(self, document: Any, target: str = "/config") -> Answer:
        """POST /config with a JSON document."""
        return await ask(
            self.admin, "POST", target, json.dumps(document).encode(), {"Content-Type": "application/json"}
        )


def with_node(prefix: Path, test: Callable[[Node], Awaitable[None]], **settings: str) -> None:
    """Run `test` on a node."""

    async def run() -> None:
        node = Node(prefix, **settings)
        node.plane.start()
        try:
            await test(node)
        finally:
            await node.plane.close()
            node.close()

    asyncio.run(run())
