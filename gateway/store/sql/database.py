"""What the store and the migrations need of a database, and in what SQLite and PostgreSQL differ."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError, SQLAlchemyError

from gateway.store.sql.change_log import Position


class Database(Protocol):
    """A database, reached or not."""

    kind: str
    """"sqlite" or "postgres\""""
    is_shared: bool
    name: str
    """What messages call it: its file, or user, host and name."""

    def prepare(self) -> None:
        """Make what must be there before a connection can be made. Raises StoreError."""

    def is_there(self) -> bool:
        """Whether there is something to connect to."""

    def make_schema(self, connection: Connection) -> None:
        """Make what the tables stand in, before they are made for the first time."""

    def reading(self) -> AbstractContextManager[Connection]:
        """A transaction that sees one state of the database."""

    def writing(self) -> AbstractContextManager[Connection]:
        """A transaction while which nobody else writes, here or on other nodes. Whoever wants it to last
        commits it."""

    def announce(self, connection: Connection, position: Position) -> None:
        """Tell other nodes, when the transaction commits."""

    def explain(self, error: SQLAlchemyError) -> str:
        """What went wrong, where, and what an operator can do about it."""

    def is_outage(self, error: SQLAlchemyError) -> bool:
        """Whether the database could not be reached, rather than used."""

    def is_stale(self, error: SQLAlchemyError) -> bool:
        """Whether a connection was found closed, and a new one may do."""

    def follow(
        self, known: Callable[[], Position], on_change: Callable[[], None]
    ) -> Callable[[], None] | None:
        """Begin to call `on_change`, from another thread, when the database may have gone on from `known`.
        Returns what ends it."""

    def close(self) -> None:
        """Close all connections."""


def driver_text(error: SQLAlchemyError) -> str:
    """What the driver says, on one line."""
    cause = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
    return " ".join(str(cause).split()) or type(cause).__name__
