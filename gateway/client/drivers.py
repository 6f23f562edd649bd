"""The two ways in which steps are taken: blocking and awaiting (see `exchange`)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from typing import Any, Protocol, TypeVar

import anyio
import httpx

from gateway.client.address import Address
from gateway.client.exchange import Answer, Call, Failure, Pause, Retries, Steps

T = TypeVar("T")


class Page(Protocol[T]):
    """A part of a list."""

    items: list[T]
    following: Steps[Page[T]] | None
    """How to get the next part."""


class Driver:
    """What both have: where requests go, and how often."""

    def __init__(self, address: Address, retries: Retries) -> None:
        self.address = address
        self.retries = retries


class Blocking(Driver):
    """Takes steps in the calling thread."""

    def __init__(self, address: Address, retries: Retries, client: httpx.Client) -> None:
        super().__init__(address, retries)
        self.client = client

    def run(self, steps: Steps[T]) -> T:
        """Take all steps and give the result."""
        outcome: Answer | Failure | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Pause):
                time.sleep(step.seconds)
                outcome = None
            else:
                outcome = self._send(step)

    def items(self, first: Steps[Page[T]]) -> Iterator[T]:
        """The items of all pages, each page fetched when it is needed."""
        steps: Steps[Page[T]] | None = first
        while steps is not None:
            page = self.run(steps)
            yield from page.items
            steps = page.following

    def _send(self, call: Call) -> Answer | Failure:
        try:
            return answer_of(self.client.request(**arguments_of(call)))
        except httpx.HTTPError as error:
            return failure_of(error)


class Awaiting(Driver):
    """Takes steps in a task of asyncio (or trio)."""

    def __init__(self, address: Address, retries: Retries, client: httpx.AsyncClient) -> None:
        super().__init__(address, retries)
        self.client = client

    async def run(self, steps: Steps[T]) -> T:
        """Take all steps and give the result."""
        outcome: Answer | Failure | None = None
        while True:
            try:
                step = steps.send(outcome)
            except StopIteration as end:
                return end.value  # type: ignore[no-any-return]
            if isinstance(step, Pause):
                await anyio.sleep(step.seconds)
                outcome = None
            else:
                outcome = await self._send(step)

    async def items(self, first: Steps[Page[T]]) -> AsyncIterator[T]:
        """The items of all pages, each page fetched when it is needed."""
        steps: Steps[Page[T]] | None = first
        while steps is not None:
            page = await self.run(steps)
            for item in page.items:
                yield item
            steps = page.following

    async def _send(self, call: Call) -> Answer | Failure:
        try:
            return answer_of(await self.client.request(**arguments_of(call)))
        except httpx.HTTPError as error:
            return failure_of(error)


def arguments_of(call: Call) -> dict[str, Any]:
    """A call as httpx takes it."""
    headers = dict(call.headers)
    if call.content_type:
        headers["Content-Type"] = call.content_type
    return {
        "method": call.method,
        "url": call.path,
        # httpx would drop the query of the path for an empty one.
        "params": call.query or None,
        "content": call.content,
        "headers": headers,
    }


def answer_of(response: httpx.Response) -> Answer:
    """An answer of httpx as ours."""
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, response.content)


def failure_of(error: httpx.HTTPError) -> Failure:
    """What an error of httpx says about the request."""
    never_sent = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout | httpx.PoolTimeout)
    reason = str(error) or type(error).__name__
    if isinstance(error, httpx.TimeoutException):
        reason = "it takes too long to " + ("connect" if never_sent else "answer")
    return Failure(reason, was_sent=not never_sent)
