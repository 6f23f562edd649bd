"""Names in use and their addresses: resolved at once, refreshed by TTL, stale while a refresh fails."""

from __future__ import annotations

import asyncio
import heapq
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from gateway.snapshot import Resolution, ResolutionState, ResolvedAddress

from .lookup import Answer, Lookup
from .options import ResolverOptions

log = logging.getLogger(__name__)

# A record with TTL 0 asks for a question per request; workers do not resolve, so this is the shortest life.
SHORTEST_LIFE = 1.0
PENDING = Resolution(state=ResolutionState.PENDING, addresses=())


@dataclass
class Name:
    """A name in use. Times are of the monotonic clock, seconds."""

    resolution: Resolution = PENDING
    fresh_until: float = 0.0
    ask_at: float = 0.0
    refreshing: bool = False
    failing: bool = False


class Resolver:
    """Keeps the addresses of a set of names current. All methods belong to one event loop.

    `on_change` is called (from the loop) with the names whose addresses or state changed.
    """

    def __init__(
        self,
        options: ResolverOptions,
        on_change: Callable[[set[str]], None],
        known: Mapping[str, tuple[ResolvedAddress, ...]] | None = None,
    ) -> None:
        """`known`: addresses that names had before; they serve as stale ones until a name is resolved."""
        self._options = options
        self._known = dict(known or {})
        self._lookup = Lookup(options)
        self._on_change = on_change
        self._names: dict[str, Name] = {}
        self._queue: list[tuple[float, str]] = []  # when to ask, for which name; entries may be outdated
        self._slots = asyncio.Semaphore(options.concurrency)
        self._tasks: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._settled = asyncio.Condition()
        self._scheduler: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin refreshing names in the background."""
        self._scheduler = asyncio.get_running_loop().create_task(self._schedule(), name="dns-refresh")

    async def close(self) -> None:
        """Stop asking; resolutions stay readable."""
        tasks = [*self._tasks, *([self._scheduler] if self._scheduler else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def configure(self, options: ResolverOptions) -> None:
        """Take other options; when they differ, every name is asked for again."""
        if options == self._options:
            return
        self._options = options
        self._lookup = Lookup(options)
        now = time.monotonic()
        for text, name in self._names.items():
            self._ask_at(now, text, name)

    def use(self, names: Iterable[str]) -> None:
        """These are the names in use from now on: new ones are resolved at once, others are forgotten."""
        wanted = set(names)
        for text in self._names.keys() - wanted:
            del self._names[text]
            self._lookup.forget(text)
        now = time.monotonic()
        for text in wanted - self._names.keys():
            self._names[text] = self._name(text, now)
            self._ask_at(now, text, self._names[text])
        if wanted:
            self._known.clear()  # of names that come later it may be too old

    def _name(self, text: str, now: float) -> Name:
        """A name that has just come into use."""
        addresses = self._known.pop(text, ())
        if not addresses:
            return Name()
        return Name(Resolution(ResolutionState.READY, addresses), fresh_until=now)

    async def settle(self, timeout: float) -> bool:
        """Wait until no name in use is pending, at most `timeout` seconds. Says whether that was reached."""
        try:
            async with self._settled, asyncio.timeout(timeout):
                await self._settled.wait_for(lambda: not self.pending())
        except TimeoutError:
            return False
        return True

    def pending(self) -> list[str]:
        """Names in use that have not been resolved yet."""
        return [text for text, name in self._names.items() if name.resolution is PENDING]

    def resolutions(self) -> Mapping[str, Resolution]:
        """Every name in use with what is known of it now."""
        return {text: name.resolution for text, name in self._names.items()}

    # --- background -------------------------------------------------------------------------------

    def _ask_at(self, when: float, text: str, name: Name) -> None:
        name.ask_at = when
        heapq.heappush(self._queue, (when, text))
        self._wake.set()

    async def _schedule(self) -> None:
        while True:
            self._wake.clear()
            now = time.monotonic()
            while self._queue and self._queue[0][0] <= now:
                when, text = heapq.heappop(self._queue)
                name = self._names.get(text)
                if name is None or name.refreshing or name.ask_at != when:
                    continue
                name.refreshing = True
                task = asyncio.get_running_loop().create_task(self._refresh(text, name))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
            wait = self._queue[0][0] - now if self._queue else None
            try:
                # Not wait_for(): before Python 3.12 it loses a cancellation that meets the end of the wait.
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                pass

    async def _refresh(self, text: str, name: Name) -> None:
        lookup = self._lookup
        try:
            async with self._slots:
                if self._names.get(text) is not name:
                    return
                answer = await lookup.resolve(text)
        except Exception:
            log.exception("resolving %r failed", text)
            answer = Answer(ResolutionState.ERROR, (), self._options.error_ttl, error="internal error")
        finally:
            name.refreshing = False
        if self._names.get(text) is not name:
            return  # forgotten meanwhile, and perhaps in use anew with a record of its own
        now = time.monotonic()
        if lookup is not self._lookup:  # options changed during the question
            self._ask_at(now, text, name)
            return
        changed = self._take(text, name, answer, now)
        self._ask_at(now + max(answer.ttl, SHORTEST_LIFE), text, name)
        async with self._settled:
            self._settled.notify_all()
        if changed:
            self._on_change({text})

    def _take(self, text: str, name: Name, answer: Answer, now: float) -> bool:
        """Store an answer. True when what workers should see is another than before."""
        before = name.resolution
        if answer.error:
            if not name.failing:
                name.failing = True
                log.warning("cannot resolve %r: %s", text, answer.error)
            if before.state is ResolutionState.READY and now < name.fresh_until + self._options.stale_ttl:
                return False
        elif name.failing:
            name.failing = False
            log.info("%r can be resolved again", text)
        if answer.state is ResolutionState.NOT_FOUND is not before.state:
            log.warning("%r has no addresses", text)
        if answer.state is ResolutionState.READY:
            name.fresh_until = now + answer.ttl
        name.resolution = Resolution(state=answer.state, addresses=answer.addresses)
        return before.state is not answer.state or reach(before.addresses) != reach(answer.addresses)


def reach(addresses: Iterable[ResolvedAddress]) -> set[tuple[str, int | None, int | None, str]]:
    """Addresses as a set, without TTL and order, which change with every answer."""
    return {(address.ip, address.port, address.weight, address.name) for address in addresses}
