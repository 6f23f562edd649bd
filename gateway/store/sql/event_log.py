"""What nodes tell each other, in a table of the database that they share.

The ids of events are in the order of their commits, because a lock is held from the making of an id to the
end of the transaction, which is one statement. So a node that has seen an event has seen all before it, and
its position is one number. Old events are removed, but never the newest of the old ones: a node that finds
the event of its position has missed none since.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psycopg

from gateway.store.sql.connections import Address, BoundedConnection
from gateway.store.sql.follower import Listener

CHANNEL = "sluicegate_events"
KEPT_SECONDS = 3600
"""that an event is kept. A node that was away for longer is told that it has missed some."""
KEPT_EVENTS = 10_000
PRUNING_INTERVAL = 64
"""events from one removal of old ones to the next"""
AT_ONCE = 500
"""events that are read together"""

APPEND = """
    WITH held AS MATERIALIZED (
        SELECT pg_advisory_xact_lock(hashtextextended(%(notified)s || coalesce(current_schema(), ''), 0))
    ), made AS (
        INSERT INTO cluster_events (sender, channel, data, created_at)
        SELECT %(sender)s, %(channel)s, %(data)s, extract(epoch FROM clock_timestamp()) FROM held
        RETURNING id
    )
    SELECT id, pg_notify(%(notified)s, id::text) FROM made
"""
PRUNE = """
    DELETE FROM cluster_events WHERE id < greatest(
        %s, (SELECT max(id) FROM cluster_events WHERE created_at < extract(epoch FROM now()) - %s)
    )
"""
READ = "SELECT id, sender, channel, data FROM cluster_events WHERE id > %s ORDER BY id LIMIT %s"
EXTENT = "SELECT coalesce(min(id), 1), coalesce(max(id), 0), bool_or(id = %s) FROM cluster_events"


class Event(NamedTuple):
    """As it lies in the table."""

    id: int
    sender: str
    channel: str
    data: str


class EventWriter:
    """Adds events, over a connection that is kept. Any thread."""

    def __init__(self, address: Address, sender: str) -> None:
        self._address = address
        self._sender = sender
        self._using = threading.Lock()
        self._connection: BoundedConnection | None = None

    def append(self, channel: str, data: str) -> None:
        """Add one. Raises psycopg.Error; then it is not certain that it is not there."""
        with self._using:
            is_kept = self._connection is not None
            try:
                self._append(channel, data)
            except psycopg.Error:
                self._drop()
                if not is_kept:
                    raise
                # The database may have been started again since. Should the event be there twice, no harm is
                # done: events can be repeated.
                try:
                    self._append(channel, data)
                except psycopg.Error:
                    self._drop()
                    raise

    def _append(self, channel: str, data: str) -> None:
        if self._connection is None:
            self._connection = self._address.connect()
            self._connection.autocommit = True
        values = {"notified": CHANNEL, "sender": self._sender, "channel": channel, "data": data}
        row = self._connection.execute(APPEND, values).fetchone()
        if row is not None and row[0] % PRUNING_INTERVAL == 0:
            self._connection.execute(PRUNE, (row[0] - KEPT_EVENTS, KEPT_SECONDS))

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        """Close the connection."""
        with self._using:
            self._drop()


class EventReader(Listener):
    """Follows events."""

    def __init__(
        self,
        address: Address,
        look_every: float,
        position: int | None,
        on_events: Callable[[Sequence[Event], int, bool], None],
    ) -> None:
        """`position`: id of the last event that is known; None: begin with what comes. `on_events` gets
        events, the position after them, and whether some before them were missed; the thread calls it, at
        first without any to tell where it begins."""
        super().__init__(address, CHANNEL, look_every, "postgres-events")
        self._position = position
        self._on_events = on_events

    def look(self, connection: BoundedConnection, *, is_first: bool) -> None:
        """See Listener."""
        if is_first:
            known, self._position, has_missed = self._position, *self._where(connection)
            if has_missed or known is None:
                self._on_events((), self._position, has_missed)
        while events := [
            Event(*row) for row in connection.execute(READ, (self._position, AT_ONCE)).fetchall()
        ]:
            self._position = events[-1].id
            self._on_events(events, self._position, False)

    def _where(self, connection: BoundedConnection) -> tuple[int, bool]:
        """Where to go on, and whether events since the known position have been removed, or the database is
        another one."""
        row = connection.execute(EXTENT, (self._position,)).fetchone()
        assert row is not None
        oldest, newest, is_there = row
        if self._position is None:
            return newest, False
        if is_there or (self._position == 0 and oldest == 1):
            return self._position, False
        return 0, True
