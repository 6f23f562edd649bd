"""What handlers are given, and what they are."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any, Protocol

from gateway.settings import Settings
from native.jobs import PluginJob as Job
from native.shm import SharedState

__all__ = ["ErrorWriter", "Handler", "Job", "WorkerContext"]


class ErrorWriter(Protocol):
    """The error log (gateway.logs.ErrorLog)."""

    def info(self, text: str) -> None: ...
    def notice(self, text: str) -> None: ...
    def warn(self, text: str) -> None: ...
    def error(self, text: str) -> None: ...
    def write(self, level: str, text: str) -> None: ...


@dataclass(frozen=True)
class WorkerContext:
    """What a handler may use. Everything but `shared` and `log` belongs to the plugin thread."""

    settings: Settings
    """those that the worker was started with"""
    shared: SharedState
    log: ErrorWriter
    worker: int
    """index of the worker's block in shared memory"""
    loop: asyncio.AbstractEventLoop


class Handler(Protocol):
    """What works for one plugin. One object per worker, made when a configuration may need it.

    `handle` gets a job with its `config`: the decoded document, the same object for every job with that
    configuration. It answers with the bytes that the step's `resume` will see, or with a coroutine that does;
    None: it keeps the job, and calls `finish` or `fail` itself. It may have `async def close(self)`, awaited
    when the worker ends.
    """

    def __init__(self, context: WorkerContext) -> None: ...

    def handle(self, job: Job) -> bytes | Coroutine[Any, Any, bytes] | None:
        """Do the job. An exception is logged with its place in the code and its text, which must not hold a
        secret."""
        ...
