"""A store on a thread of its own: writes that come while one transaction runs go together in the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from gateway.store.interface import Operation, Outcome, Store

MOST_TOGETHER = 256
"""operations in one transaction: others wait for its end, and so do other nodes for the database"""

Answer = TypeVar("Answer")
Waiting = tuple[Operation, "asyncio.Future[Outcome]"]


class Transactions:
    """What may be done with a store from the event loop. Everything runs one after the other."""

    def __init__(self, store: Store, on_commit: Callable[[], None]) -> None:
        """`on_commit` is called, from the loop, when a write or other nodes may have changed the store's
        configuration, before anybody is told so."""
        self._store = store
        self._on_commit = on_commit
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")
        self._waiting: list[Waiting] = []
        self._committing: asyncio.Task[None] | None = None
        self._catching_up: asyncio.Future[bool] | None = None
        """a look at other nodes' writes that has not begun yet"""

    async def write(self, operation: Operation) -> Outcome:
        """Run an operation, with others where there are some. Raises StoreUnavailable.

        It takes its course even when nobody waits for it any more.
        """
        outcome: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()
        self._waiting.append((operation, outcome))
        if self._committing is None:
            self._committing = asyncio.get_running_loop().create_task(self._commit(), name="commit")
        return await outcome

    async def catch_up(self) -> bool:
        """Take over what other nodes wrote before this call. True when there was something. Raises
        StoreUnavailable."""
        if self._catching_up is None:
            self._catching_up = asyncio.ensure_future(self._catch_up())
        return await asyncio.shield(self._catching_up)

    async def _catch_up(self) -> bool:
        def begin() -> bool:
            self._catching_up = None  # who comes from now on may want to see what is written from now on
            return self._store.catch_up()

        try:
            return await self.run(begin)
        finally:
            self._on_commit()

    async def run(self, function: Callable[[], Answer]) -> Answer:
        """Call something else of the store, between two transactions."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)

    async def close(self) -> None:
        """Wait for what is under way, then close the store. Nothing may be asked of it afterwards."""
        if self._committing is not None:
            await asyncio.wait([self._committing])
        await asyncio.get_running_loop().run_in_executor(self._thread, self._store.close)
        self._thread.shutdown(wait=False)

    async def _commit(self) -> None:
        try:
            while self._waiting:
                together, self._waiting = self._waiting[:MOST_TOGETHER], self._waiting[MOST_TOGETHER:]
                await self._commit_together(together)
        finally:
            self._committing = None

    async def _commit_together(self, together: list[Waiting]) -> None:
        operations = [operation for operation, _ in together]
        try:
            outcomes = await self.run(lambda: self._store.transact(operations))
        except Exception as error:
            outcomes = [Outcome(error=error)] * len(together)
        self._on_commit()
        for (_, waiting), outcome in zip(together, outcomes, strict=True):
            if not waiting.done():  # whoever asked may have been cancelled
                waiting.set_result(outcome)
