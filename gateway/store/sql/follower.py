"""Following the writes of other nodes: notifications of PostgreSQL, and looking from time to time."""

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


class Follower:
    """A thread with a connection of its own, on which notifications come."""

    def __init__(
        self,
        address: Address,
        look_every: float,
        known: Callable[[], Position],
        on_change: Callable[[], None],
    ) -> None:
        """`look_every`: seconds between two looks at the database, should a notification be lost; `known`
        says how far this node is."""
        self._address = address
        self._look_every = look_every
        self._known = known
        self._on_change = on_change
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="postgres-follow", daemon=True)

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
                    connection.execute(f"LISTEN {CHANNEL}")
                    pause = min(self._look_every, LONGEST_PAUSE)
                    self._follow(connection)
            except psycopg.Error as error:
                log.debug("following the database: %s", error)
                # Whoever uses the store finds out that the database is down, and later that it is back.
                self._on_change()
                self._ended.wait(pause)
                pause = min(2 * pause, LONGEST_PAUSE)

    def _follow(self, connection: BoundedConnection) -> None:
        seen: Position | None = None
        while not self._ended.is_set():
            row = connection.execute("SELECT sequence, hash FROM state").fetchone()
            position = Position(*row) if row else None
            # Tell once of each position, and again when the node that was told did not get there.
            if position != self._known():
                self._on_change()
            elif seen is None:
                self._on_change()  # the database was down: it is back
            seen = position
            self._wait(connection)

    def _wait(self, connection: BoundedConnection) -> None:
        """Until a notification comes or it is time to look."""
        until = time.monotonic() + self._look_every
        longest = min(LONGEST_WAIT, self._address.timeout / 2)  # silence is no failure here
        while not self._ended.is_set() and (left := until - time.monotonic()) > 0:
            for _ in connection.notifies(timeout=min(left, longest), stop_after=1):
                return
