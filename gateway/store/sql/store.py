"""The store in a SQL database: SQLite and PostgreSQL alike.

A transaction takes the database's lock, takes over what others wrote meanwhile, runs the operations in
memory, writes rows and log, and commits; then the new configuration is there for all to see.
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Sequence

from sqlalchemy import Connection, select
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from gateway.garbage import collection_paused
from gateway.store.batches import run_batch
from gateway.store.changes import Changes
from gateway.store.configuration import Configuration
from gateway.store.errors import StoreUnavailable
from gateway.store.interface import GivenSecrets, Operation, Outcome, StoreError
from gateway.store.sql import change_log, rows
from gateway.store.sql.change_log import BEGINNING, NewerState, Position
from gateway.store.sql.database import Database
from gateway.store.sql.documents import UnreadableEntity
from gateway.store.sql.migrations import Migrations
from gateway.store.sql.replica import Replica
from gateway.store.sql.tables import CHANGES

log = logging.getLogger(__name__)

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
"""Seconds without a new attempt after the database failed; twice as long after each further failure. Who asks
meanwhile is told the last reason at once, so that a server that does not answer stalls nobody."""


class SqlStore:
    """Entities in a database."""

    def __init__(
        self,
        database: Database,
        *,
        replica: Replica | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`replica`: where the last known state is kept for a start without the database."""
        self.kind = database.kind
        self.is_shared = database.is_shared
        self._database = database
        self._migrations = Migrations(database)
        self._replica = replica
        self._clock = clock
        self._using = threading.RLock()
        self._configuration = Configuration.EMPTY
        self._position = BEGINNING
        self._outage: str | None = None
        self._pause = 0.0
        self._not_before = 0.0
        self._end_following: Callable[[], None] | None = None

    @property
    def configuration(self) -> Configuration:
        """The newest state that is known here."""
        return self._configuration

    @property
    def is_reachable(self) -> bool:
        """Whether the last attempt to use the database succeeded."""
        return self._outage is None

    # --- start ------------------------------------------------------------------------------------

    def open(self) -> Configuration:
        """Connect and load. Raises StoreError."""
        with self._using, collection_paused():
            try:
                self._load()
            except SQLAlchemyError as error:
                text = self._database.explain(error)
                if self._replica is None or not self._database.is_outage(error):
                    raise StoreError(text) from error
                self._load_replica(text)
            except UnreadableEntity as error:
                raise StoreError(self._unreadable(error)) from None
            return self._configuration

    def _load(self) -> None:
        self._database.prepare()
        if not self._database.is_shared:
            with self._database.reading() as connection:
                state = self._migrations.state(connection)
            if state.pending or state.new:
                with self._database.writing() as connection:
                    self._migrations.upgrade_alone(connection)
                    connection.commit()
        with self._database.reading() as connection:
            self._migrations.state(connection).require_usable(self._database.name)
            position = change_log.current_position(connection)
            configuration = change_log.load(connection, position)
        self._configuration, self._position = configuration, position
        if self._replica is not None:
            self._replica.follow(None, position, configuration, None)

    def _load_replica(self, reason: str) -> None:
        assert self._replica is not None
        found = self._replica.load()
        if found is None:
            raise StoreError(f"{reason}; there is no last known state to go on with") from None
        self._configuration, self._position = found
        self._failed(reason)
        log.error("%s; going on with the last known state until it is there", reason)

    # --- writes -----------------------------------------------------------------------------------

    def transact(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Run operations and commit those that were not refused. Raises StoreUnavailable."""
        with self._using, collection_paused():
            try:
                return self._transact(operations)
            except StoreUnavailable:
                raise
            except Exception as error:
                # Nothing was written. It may be the fault of one operation: let the others happen.
                log.warning("a transaction of %d failed: %r", len(operations), error)
                return self._one_by_one(operations, error)

    def _one_by_one(self, operations: Sequence[Operation], error: Exception) -> list[Outcome]:
        if len(operations) == 1:
            return [Outcome(error=error)]
        outcomes: list[Outcome] = []
        for operation in operations:
            try:
                outcomes += self._transact([operation])
            except Exception as reason:
                outcomes.append(Outcome(error=reason))
        return outcomes

    def _transact(self, operations: Sequence[Operation]) -> list[Outcome]:
        self._require_attempt()
        try:
            try:
                return self._attempt(operations)
            except IntegrityError as error:
                # Memory and tables disagree: somebody changed the tables by hand.
                log.warning("%s; all entities are read again", self._database.explain(error))
                self._reload()
            except SQLAlchemyError as error:
                # The database may have been started again since the connection was used last.
                if not self._database.is_stale(error):
                    raise
            return self._attempt(operations)
        except IntegrityError:
            raise
        except SQLAlchemyError as error:
            raise self._failed(self._database.explain(error)) from error
        except NewerState:
            raise self._failed(f"{self._database.name}: somebody writes without taking the lock") from None
        except UnreadableEntity as error:
            raise self._failed(self._unreadable(error)) from None

    def _attempt(self, operations: Sequence[Operation]) -> list[Outcome]:
        with self._database.writing() as connection:
            self._take_over(connection)
            batch = run_batch(self._configuration, operations)
            if batch.changes:
                following = Position(self._position.sequence + 1, uuid.uuid4().hex)
                rows.write(connection, self._configuration, batch.changes)
                change_log.append(connection, self._position, following, batch.changes)
                self._database.announce(connection, following)
                lost = self._commit(connection)
        if batch.changes:
            if lost is not None:
                self._require_committed(following, lost)
            self._adopt(batch.changes, following)
        self._succeeded()
        return batch.outcomes

    @staticmethod
    def _commit(connection: Connection) -> SQLAlchemyError | None:
        """Commit; the error when it is not known whether that succeeded."""
        try:
            connection.commit()
        except IntegrityError:  # of a constraint that is checked at the end
            raise
        except SQLAlchemyError as error:
            return error
        return None

    def _require_committed(self, position: Position, lost: SQLAlchemyError) -> None:
        """Find out what became of a commit whose answer was lost; raise StoreUnavailable unless it is there.

        What still runs of it in the database holds the lock, so nothing is decided too early.
        """
        reason = self._database.explain(lost)
        try:
            with self._database.writing() as connection:
                found = connection.execute(
                    select(CHANGES.c.sequence).where(
                        CHANGES.c.sequence == position.sequence, CHANGES.c.hash == position.hash
                    )
                ).first()
        except SQLAlchemyError:
            raise self._failed(f"{reason}; whether the change was kept is not known") from lost
        if found is None:
            raise self._failed(reason) from lost

    # --- what others wrote ------------------------------------------------------------------------

    def catch_up(self) -> bool:
        """Take over what others wrote. True when there was something. Raises StoreUnavailable."""
        with self._using, collection_paused():
            self._require_attempt()
            before = self._position
            try:
                try:
                    self._look()
                except SQLAlchemyError as error:
                    if not self._database.is_stale(error):
                        raise
                    self._look()
            except SQLAlchemyError as error:
                raise self._failed(self._database.explain(error)) from error
            except UnreadableEntity as error:
                raise self._failed(self._unreadable(error)) from None
            self._succeeded()
            return self._position != before

    def _look(self) -> None:
        with self._database.reading() as connection:
            self._take_over(connection)

    def _reload(self) -> None:
        with self._database.reading() as connection:
            self._take_over(connection, everything=True)

    def _take_over(self, connection: Connection, everything: bool = False) -> None:
        """Bring the configuration up to what the transaction sees."""
        newest = change_log.current_position(connection)
        if newest == self._position and not everything:
            return
        entries = None if everything else change_log.entries_since(connection, self._position, newest)
        if entries is None:
            changes = change_log.difference(self._configuration, change_log.load(connection, newest))
        else:
            changes = change_log.changes_of(entries, self._configuration)
        self._adopt(changes, newest)

    def _adopt(self, changes: Changes, position: Position) -> None:
        """Make public what is committed."""
        before, self._position = self._position, position
        self._configuration = self._configuration.changed(changes, position.hash)
        if self._replica is not None:
            self._replica.follow(before, position, self._configuration, changes)

    def follow(self, on_change: Callable[[], None]) -> None:
        """Call `on_change` from another thread when the database may have something new, until close()."""
        if self._end_following is None:
            self._end_following = self._database.follow(lambda: self._position, on_change)

    # --- whether the database is there ------------------------------------------------------------

    def _require_attempt(self) -> None:
        if self._outage is not None and self._clock() < self._not_before:
            raise StoreUnavailable(self._outage)

    def _failed(self, reason: str) -> StoreUnavailable:
        if self._outage is None:
            log.error("%s", reason)
            self._pause = FIRST_PAUSE
        else:
            self._pause = min(2 * self._pause, LONGEST_PAUSE)
        self._outage = reason
        self._not_before = self._clock() + (self._pause if self.is_shared else 0)
        return StoreUnavailable(reason)

    def _succeeded(self) -> None:
        if self._outage is not None:
            log.warning("%s can be used again", self._database.name)
            self._outage = None

    def _unreadable(self, error: UnreadableEntity) -> str:
        return (
            f"{self._database.name}: {error}; was it written by a newer version of the gateway? Use the same "
            "version on all nodes"
        )

    # --- the rest ---------------------------------------------------------------------------------

    def replace(self, configuration: Configuration, given_secrets: GivenSecrets | None = None) -> None:
        """A database is changed by operations."""
        raise StoreError("a database cannot be replaced by a declarative configuration")

    def close(self) -> None:
        """End following, close all connections."""
        if self._end_following is not None:
            self._end_following()
        with self._using:
            self._database.close()
            if self._replica is not None:
                self._replica.close()
