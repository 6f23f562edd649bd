"""Events: what one node tells all others that use the same database, as that something was purged.

    await plane.events.publish("cache", {"purge": "all"})       # on one node
    plane.events.subscribe("cache", apply)                      # on the others: apply({"purge": "all"})

An event reaches a node once, in the order in which events were published; after an outage of the database,
or of this process, those of the last hour follow. Who was away for longer is told that events were missed.
One may be repeated when something goes wrong meanwhile, so applying it twice must do no harm. Without a
shared database there is nobody to tell.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import secrets
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from gateway.run_directory import RunDirectory, read_json, write_json
from gateway.settings import Settings
from gateway.store.errors import StoreUnavailable

if TYPE_CHECKING:
    from gateway.store.sql.connections import Address
    from gateway.store.sql.event_log import Event, EventReader

log = logging.getLogger(__name__)

Apply = Callable[[Mapping[str, Any]], Awaitable[None] | None]
Missed = Callable[[], Awaitable[None] | None]

LARGEST = 64 * 1024
"""bytes of an event's data as JSON"""


class ClusterEvents:
    """The events of one node. Belongs to the event loop of the control process.

    This one is alone: what is published reaches nobody.
    """

    def __init__(self) -> None:
        self._subscribers: dict[str, list[tuple[Apply, Missed | None]]] = defaultdict(list)

    def subscribe(self, channel: str, apply: Apply, missed: Missed | None = None) -> None:
        """Have `apply` called with the data of each event that another node publishes. The data comes from a
        database and may be of another version: look before you use it.

        `missed` is called when events may have been lost, before those that follow. Either may be a coroutine
        function; the next event waits for it.
        """
        self._subscribers[channel].append((apply, missed))

    async def publish(self, channel: str, data: Mapping[str, Any]) -> None:
        """Tell all other nodes; this one is not told. `data`: what JSON can hold, at most LARGEST bytes.

        Returns when the event is kept for them. Raises StoreUnavailable when it could not be; so publish
        first, and do here afterwards what the others are to do.
        """
        encoded = msgspec.json.encode(data)
        if len(encoded) > LARGEST:
            raise ValueError(f"an event of {len(encoded)} bytes is too large")
        await self._send(channel, encoded.decode())

    async def _send(self, channel: str, text: str) -> None:
        """There is nobody."""

    def start(self) -> None:
        """Begin to follow what others publish."""

    async def close(self) -> None:
        """End."""

    async def _deliver(self, channel: str, text: str) -> None:
        """To the subscribers of this node."""
        try:
            data = msgspec.json.decode(text)
        except msgspec.DecodeError:
            data = None
        if not isinstance(data, dict):
            log.error("an event of the channel %r cannot be read", channel)
            return
        for apply, _ in self._subscribers.get(channel, ()):
            await self._call(channel, apply, data)

    async def _tell_missed(self) -> None:
        for channel, subscribers in self._subscribers.items():
            for _, missed in subscribers:
                if missed is not None:
                    await self._call(channel, missed)

    @staticmethod
    async def _call(channel: str, function: Callable[..., Any], *arguments: Any) -> None:
        try:
            result = function(*arguments)
            if inspect.isawaitable(result):
                await result
        except Exception:
            log.exception("an event of the channel %r could not be applied", channel)


class SharedEvents(ClusterEvents):
    """By way of PostgreSQL."""

    def __init__(self, address: Address, look_every: float, node_id: str, position_file: Path) -> None:
        """`position_file` keeps how far this node is, for its next control process."""
        from gateway.store.sql.event_log import EventWriter

        super().__init__()
        self._address = address
        self._look_every = look_every
        # (Not the node's id alone: it can be configured, and two nodes may have got the same by mistake.)
        self._sender = f"{node_id} {secrets.token_hex(8)}"
        self._position_file = position_file
        self._writer = EventWriter(address, self._sender)
        self._reader: EventReader | None = None
        self._arrived: asyncio.Queue[tuple[Sequence[Event], int, bool]] = asyncio.Queue()
        self._delivering: asyncio.Task[None] | None = None

    async def _send(self, channel: str, text: str) -> None:
        import psycopg

        try:
            await asyncio.to_thread(self._writer.append, channel, text)
        except psycopg.Error as error:
            reason = " ".join(str(error).split()) or type(error).__name__
            raise StoreUnavailable(f"{self._address}: other nodes cannot be told: {reason}") from error

    def start(self) -> None:
        """See ClusterEvents."""
        from gateway.store.sql.event_log import EventReader

        loop = asyncio.get_running_loop()

        def arrive(events: Sequence[Event], position: int, has_missed: bool) -> None:
            loop.call_soon_threadsafe(self._arrived.put_nowait, (events, position, has_missed))

        self._reader = EventReader(self._address, self._look_every, self._known_position(), arrive)
        self._delivering = loop.create_task(self._deliver_all(), name="cluster events")
        self._reader.start()

    async def _deliver_all(self) -> None:
        while True:
            events, position, has_missed = await self._arrived.get()
            if has_missed:
                log.warning("this node may have missed events of other nodes")
                await self._tell_missed()
            for event in events:
                if event.sender != self._sender:
                    await self._deliver(event.channel, event.data)
            self._keep_position(position)

    def _known_position(self) -> int | None:
        known = read_json(self._position_file)
        position = known.get("position")
        same = known.get("database") == str(self._address)
        return position if same and isinstance(position, int) and position >= 0 else None

    def _keep_position(self, position: int) -> None:
        try:
            write_json(self._position_file, {"database": str(self._address), "position": position})
        except OSError as error:
            log.error("%s: %s", self._position_file, error.strerror)

    async def close(self) -> None:
        """See ClusterEvents."""
        if self._delivering is not None:
            self._delivering.cancel()
            await asyncio.wait([self._delivering])
        if self._reader is not None:
            await asyncio.to_thread(self._reader.end)
        await asyncio.to_thread(self._writer.close)


def events_of(settings: Settings, node_id: str) -> ClusterEvents:
    """The events of a node with these settings."""
    if settings.database != "postgres":
        return ClusterEvents()
    from gateway.store.sql.connections import Address

    return SharedEvents(
        Address.from_settings(settings),
        settings.db_update_frequency,
        node_id,
        RunDirectory(settings.prefix).cluster_position,
    )
