"""Following what other nodes write: notifications of PostgreSQL, and looking from time to time."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

import psycopg

from gateway.store.sql.change_log import Position
from gateway.store.sql.connections import Address, BoundedConnection

log = logging.getLogger(__name__)

CHANNEL = "sluicegate_changes"
LONGEST_WAIT = 0.25
"""Seconds after which the thread sees at the latest that it is to end."""
LONGEST_PAUSE = 2.0
"""Seconds without a new attempt to connect"""


class Listener:
    """A thread with a connection of its own, on which notifications of a channel come."""

    def __init__(self, address: Address, channel: str, look_every: float, thread_name: str) -> None:
        """`look_every`: seconds between two looks at the database, should a notification be lost."""
        self._address = address
        self._channel = channel
        self._look_every = look_every
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name=thread_name, daemon=True)

    def look(self, connection: BoundedConnection, *, is_first: bool) -> None:
        """See whether there is something new; `is_first`: on this connection. The thread calls it."""
        raise NotImplementedError

    def lost(self) -> None:
        """The database cannot be reached. The thread calls it after each attempt."""

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def end(self) -> None:
        """Stop, and wait until it has."""
        self._ended.set()
        self._thread.join(2 * self._address.timeout + LONGEST_WAIT)

    def _run(self) -> None:
        pause = min(self._look_every, LONGEST_PAUSE)
        while not self._ended.is_set():
            try:
                with self._address.connect() as connection:
                    connection.autocommit = True
                    connection.execute(f"LISTEN {self._channel}")
                    pause = min(self._look_every, LONGEST_PAUSE)
                    self._follow(connection)
            except psycopg.Error as error:
                log.debug("following the database: %s", error)
                self.lost()
                self._ended.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _follow(self, connection: BoundedConnection) -> None:
        is_first = True
        while not self._ended.is_set():
            self.look(connection, is_first=is_first)
            is_first = False
            self._wait(connection)

    def _wait(self, connection: BoundedConnection) -> None:
        """Until a notification comes or it is time to look."""
        until = time.monotonic() + self._look_every
        longest = min(LONGEST_WAIT, self._address.timeout / 2)  # silence is no failure here
        while not self._ended.is_set() and (left := until - time.monotonic()) > 0:
            for _ in connection.notifies(timeout=min(left, longest), stop_after=1):
                return


class Follower(Listener):
    """Follows commits."""

    def __init__(
        self,
        address: Address,
        look_every: float,
        known: Callable[[], Position],
        on_change: Callable[[], None],
    ) -> None:
        """`known` says how far this node is."""
        super().__init__(address, CHANNEL, look_every, "postgres-follow")
        self._known = known
        self._on_change = on_change

    def look(self, connection: BoundedConnection, *, is_first: bool) -> None:
        """See Listener."""
        row = connection.execute("SELECT sequence, hash FROM state").fetchone()
        position = Position(*row) if row else None
        # When the node that was told did not get there, it is told again. The first time: the database was
        # down, and is back.
        if is_first or position != self._known():
            self._on_change()

    def lost(self) -> None:
        """Whoever uses the store finds out that the database is down, and later that it is back."""
        self._on_change()
