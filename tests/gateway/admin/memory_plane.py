"""What the entity endpoints need of a control plane, over a store in memory; nothing is published."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from asgi_client import Answer, ask

from gateway.admin.collections import entity_endpoints, listing_endpoint, tag_endpoints
from gateway.admin.endpoints import KongApi
from gateway.settings import load_settings
from gateway.store.configuration import Configuration
from gateway.store.interface import Operation
from tests.support.memory_store import MemoryStore


class MemoryPlane:
    """Reads and writes a MemoryStore."""

    def __init__(self, prefix: Path, **settings: str) -> None:
        self.settings = load_settings(None, {}, {"prefix": str(prefix), "database": "sqlite", **settings})
        self.store = MemoryStore()

    @property
    def configuration(self) -> Configuration:
        return self.store.configuration

    async def fresh(self) -> Configuration:
        return self.store.configuration

    async def write(self, operation: Operation) -> Any:
        (outcome,) = self.store.transact([operation])
        if outcome.error is not None:
            raise outcome.error
        return outcome.result


class Api:
    """The entity endpoints of a MemoryPlane, and requests to them."""

    def __init__(self, prefix: Path, **settings: str) -> None:
        self.plane = MemoryPlane(prefix, **settings)
        plane: Any = self.plane
        endpoints = [*entity_endpoints(plane), *tag_endpoints(plane)]
        self.app = KongApi([*endpoints, listing_endpoint(endpoints)], lambda: self.plane.settings)

    async def json(self, method: str, target: str, value: Any = None) -> Answer:
        """A request with a JSON body, or none."""
        if value is None:
            return await ask(self.app, method, target)
        body = json.dumps(value).encode()
        return await ask(self.app, method, target, body, {"Content-Type": "application/json"})

    async def form(self, method: str, target: str, pairs: dict[str, str] | list[tuple[str, str]]) -> Answer:
        """A request with a URL-encoded form."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return await ask(self.app, method, target, urlencode(pairs).encode(), headers)

    async def made(self, target: str, value: Any) -> Any:
        """A new entity; fails the test when it is refused."""
        answer = await self.json("POST", target, value)
        assert answer.status == 201, answer.body
        return answer.json()


def with_api(prefix: Path, test: Callable[[Api], Awaitable[None]], **settings: str) -> None:
    """Run `test` with an empty API."""

    async def run() -> None:
        await test(Api(prefix, **settings))

    asyncio.run(run())
