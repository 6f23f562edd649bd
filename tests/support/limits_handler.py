"""What counts on the plugin thread (`gateway.plugins._limits_handler`), without a gateway around it."""

from __future__ import annotations

import asyncio
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, TypeVar

import msgspec

from gateway.entities.plugins import Plugin
from gateway.entities.record import shape_of
from gateway.plugin_thread.context import WorkerContext
from gateway.plugins import find_plugin
from gateway.plugins._limits_handler import LimitsHandler
from native.limiter import LimitTable
from native.shm import SharedState
from native.steps.limiting import LimitVerb
from tests.support.settings import load

T = TypeVar("T")
SECOND_NS = 1_000_000_000


@dataclass
class Log:
    """An error log in memory."""

    errors: list[str] = field(default_factory=list)

    def error(self, text: str) -> None:
        self.errors.append(text)


@dataclass(frozen=True)
class Told:
    """What a request was told: the index of the limit that refuses, and (remaining, reset) of each limit."""

    refused: int | None
    states: list[tuple[int, int]]

    @property
    def remaining(self) -> list[int]:
        return [remaining for remaining, _ in self.states]


class CannotTell(Exception):
    """The handler failed the job."""


class PlayedJob:
    """A job whose answer can be awaited."""

    def __init__(self, configured: Configured, verb: LimitVerb, payload: bytes) -> None:
        self.config = configured.config
        self.plugin = SimpleNamespace(packed=configured.packed)
        self.verb = verb
        self.payload = payload
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def finish(self, result: bytes) -> None:
        self.answer.set_result(result)

    def fail(self) -> None:
        self.answer.set_exception(CannotTell())


class Configured:
    """A plugin's configuration, as workers have it."""

    def __init__(self, name: str, config: dict[str, Any]) -> None:
        definition = find_plugin(name)
        assert definition is not None
        assert definition.pack is not None
        clean, problems = shape_of(definition.config).check(config)
        assert not problems, problems
        record = definition.config(**clean)
        self.config = msgspec.to_builtins(record)
        plugin = Plugin(
            id="0c9e8f4e-6b5c-4a53-9d1e-0a2f4f6f7a11", created_at=0, updated_at=0, name=name, config=config
        )
        self.packed = definition.pack(record, plugin)


class Node:
    """The shared memory and a handler of a node with one worker."""

    def __init__(self, **environment: str) -> None:
        self.log = Log()
        self.shared = SharedState.create(1, limiter_bytes=1 << 18)
        self.table = LimitTable(self.shared)
        context = WorkerContext(
            load(**environment),
            self.shared,
            self.log,  # type: ignore[arg-type]
            0,
            asyncio.get_running_loop(),
        )
        self.handler = LimitsHandler(context)

    async def ask(
        self,
        configured: Configured,
        identifier: bytes = b"somebody",
        *,
        verb: LimitVerb = LimitVerb.VERB_ADMIT,
        time_ns: int | None = None,
        costs: tuple[int, ...] = (),
    ) -> Told:
        """Do a job and wait for its answer. Raises CannotTell."""
        payload = struct.pack(f"=QII{len(costs)}Q", time_ns or time.time_ns(), len(costs), 0, *costs)
        job = PlayedJob(configured, verb, payload + identifier)
        result = self.handler.handle(job)  # type: ignore[arg-type]
        if result is None:
            result = await asyncio.wait_for(job.answer, 30)
        if not result:
            return Told(None, [])
        refused, *numbers = struct.unpack(f"=q{(len(result) - 8) // 8}Q", result)
        pairs = list(zip(numbers[::2], numbers[1::2], strict=True))
        return Told(refused if refused >= 0 else None, pairs)


def on_node(work: Callable[[Node], Awaitable[T]], **environment: str) -> T:
    """Run `work` with a node, and close its handler. `environment`: GATEWAY_… of its settings."""

    async def run() -> T:
        node = Node(**environment)
        try:
            return await work(node)
        finally:
            await node.handler.close()

    return asyncio.run(run())
