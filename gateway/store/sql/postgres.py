"""PostgreSQL: a pool of connections, a lock for the transactions of all nodes, notifications."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from sqlalchemy import Connection, create_engine, func, literal, select, text
from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.pool import QueuePool

from gateway.settings import Settings
from gateway.store.sql.change_log import Position
from gateway.store.sql.connections import Address, ServerSilent
from gateway.store.sql.database import driver_text
from gateway.store.sql.follower import CHANNEL, Follower

LOCK_PATIENCE = 30.0
"""Seconds that a transaction waits for those of other nodes. An import may take some."""
_LOCK_NAME = "sluicegate"


class PostgresDatabase:
    """A schema of a PostgreSQL database, which several nodes use."""

    kind = "postgres"
    is_shared = True

    def __init__(
        self,
        address: Address,
        *,
        pool_size: int = 4,
        look_every: float = 0.5,
        lock_patience: float = LOCK_PATIENCE,
    ) -> None:
        """`look_every`: seconds between two looks for what other nodes wrote."""
        self.address = address
        self.name = str(address)
        self._look_every = look_every
        self._lock_patience = lock_patience
        self._engine = create_engine(
            "postgresql+psycopg://",
            creator=address.connect,
            poolclass=QueuePool,
            pool_size=pool_size,
            max_overflow=0,
            pool_timeout=address.timeout,
            use_native_hstore=False,
            hide_parameters=True,  # they hold secrets
        )
        self._snapshots = self._engine.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )

    @classmethod
    def from_settings(cls, settings: Settings, *, lock_patience: float = LOCK_PATIENCE) -> PostgresDatabase:
        """What the settings PG_* say."""
        return cls(
            Address.from_settings(settings),
            pool_size=settings.pg_pool_size,
            look_every=settings.db_update_frequency,
            lock_patience=lock_patience,
        )

    def prepare(self) -> None:
        """There is nothing to make."""

    def is_there(self) -> bool:
        return True

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._snapshots.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            self._lock(connection)
            yield connection

    def _lock(self, connection: Connection) -> None:
        """Take the lock of the schema until the transaction ends. The statements after it see what was
        committed before."""
        schema = func.coalesce(func.current_schema(), self.address.schema or "")
        key = func.hashtextextended(literal(_LOCK_NAME + " ").concat(schema), 0)
        give_up_at = time.monotonic() + self._lock_patience
        while True:
            try:
                connection.execute(select(func.pg_advisory_xact_lock(key)))
                return
            except DBAPIError as error:
                lasting = connection.invalidated or time.monotonic() > give_up_at
                if lasting or not isinstance(error.orig, psycopg.errors.LockNotAvailable):
                    raise
                connection.rollback()

    def announce(self, connection: Connection, position: Position) -> None:
        connection.execute(select(func.pg_notify(CHANNEL, str(position.sequence))))

    def make_schema(self, connection: Connection) -> None:
        """Make the schema that PG_SCHEMA names, if it is not there."""
        if self.address.schema:
            quoted = self._engine.dialect.identifier_preparer.quote(self.address.schema)
            connection.execute(text(f"CREATE SCHEMA IF NOT EXISTS {quoted}"))

    def is_outage(self, error: SQLAlchemyError) -> bool:
        """All that has to do with the server rather than with a statement: also a refused login, so that a
        changed password does not stop a node that starts again."""
        return isinstance(error, (OperationalError, PoolTimeout))

    def is_stale(self, error: SQLAlchemyError) -> bool:
        return (
            isinstance(error, DBAPIError)
            and error.connection_invalidated
            and not isinstance(error.orig, ServerSilent)
        )

    def explain(self, error: SQLAlchemyError) -> str:
        said = driver_text(error)
        cause = error.orig if isinstance(error, DBAPIError) else None
        if isinstance(cause, psycopg.errors.LockNotAvailable):
            patience = f"{self._lock_patience:g} s"
            return f"{self.name} is held by the transaction of another node for more than {patience}"
        if isinstance(cause, psycopg.errors.UndefinedTable):
            return f"{self.name} has no tables any more ({said}); run 'gateway migrations bootstrap'"
        if isinstance(cause, psycopg.errors.InsufficientPrivilege):
            return f"{self.name} does not let this user do what is needed: {said}"
        if isinstance(cause, psycopg.errors.QueryCanceled):
            return f"{self.name} did not do its work within PG_TIMEOUT ({self.address.timeout:g} s): {said}"
        if isinstance(error, (OperationalError, PoolTimeout)):
            return f"{self.name} cannot be used: {_without_repetition(said)}"
        return f"{self.name}: {said}"

    def follow(
        self, known: Callable[[], Position], on_change: Callable[[], None]
    ) -> Callable[[], None] | None:
        follower = Follower(self.address, self._look_every, known, on_change)
        follower.start()
        return follower.end

    def close(self) -> None:
        self._engine.dispose()


def _without_repetition(said: str) -> str:
    """A driver's text without the address, which stands before it anyway."""
    return re.sub(r"^connection (failed|is bad): (connection to server .*? failed: )?", "", said)
