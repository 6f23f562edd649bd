"""What a plugin remembers, in one worker: bounded in number, each thing for a time."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any


class Cache:
    """Things by key. When it is full, what was not asked for longest goes.

    Every worker has its own, and every plugin; all configurations of a plugin share it. It is emptied when
    the plugin's code changes.
    """

    def __init__(self, entries: int) -> None:
        """`entries`: how many it holds at most."""
        self._entries = entries
        self._known: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._being_made: dict[Hashable, asyncio.Future[Any]] = {}

    def get(self, key: Hashable, default: Any = None) -> Any:
        """What was put there and is not too old, or `default`."""
        found = self._known.get(key)
        if found is None:
            return default
        if found[0] <= time.monotonic():
            del self._known[key]
            return default
        self._known.move_to_end(key)
        return found[1]

    def set(self, key: Hashable, value: Any, *, ttl: float = float("inf")) -> None:
        """Remember something for `ttl` seconds at most."""
        self._known[key] = (time.monotonic() + ttl, value)
        self._known.move_to_end(key)
        while len(self._known) > self._entries:
            self._known.popitem(last=False)

    def delete(self, key: Hashable) -> None:
        """Forget something, if it is there."""
        self._known.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self._known.clear()

    def __len__(self) -> int:
        return len(self._known)

    async def get_or_make(
        self, key: Hashable, make: Callable[[], Awaitable[Any]], *, ttl: float = float("inf")
    ) -> Any:
        """What is there, else what `make` gives, which is remembered. Many requests that miss the same key at
        once wait for one `make`; where that one's request goes away, another one makes it."""
        missing = object()
        while (found := self.get(key, missing)) is missing:
            under_way = self._being_made.get(key)
            if under_way is None:
                return await self._make(key, make, ttl)
            try:
                return await asyncio.shield(under_way)
            except asyncio.CancelledError:
                if not under_way.cancelled():
                    raise
        return found

    async def _make(self, key: Hashable, make: Callable[[], Awaitable[Any]], ttl: float) -> Any:
        result: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._being_made[key] = result
        try:
            value = await make()
        except asyncio.CancelledError:
            result.cancel()
            raise
        except BaseException as error:
            result.set_exception(error)
            result.exception()  # nobody may be waiting for it
            raise
        finally:
            del self._being_made[key]
        self.set(key, value, ttl=ttl)
        result.set_result(value)
        return value
