"""The last known state of a shared database, in a file of the node: for a start without the database."""

from __future__ import annotations

import logging
from pathlib import Path

from sqlalchemy import Connection, delete, insert, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError

from gateway.entities.expiry import expiry_of
from gateway.store.changes import Changes
from gateway.store.configuration import Configuration
from gateway.store.interface import StoreError
from gateway.store.sql import change_log, rows
from gateway.store.sql.change_log import Position
from gateway.store.sql.documents import UnreadableEntity, document_of
from gateway.store.sql.sqlite import SqliteDatabase
from gateway.store.sql.tables import ENTITIES, STATE

log = logging.getLogger(__name__)


class Replica:
    """Entities and position, as in the database. It is only ever a help: when it cannot be written, that is
    logged, and it is made anew as soon as it can."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database = SqliteDatabase(path, synchronous="NORMAL")
        self._position: Position | None = None
        """of what is in the file; None: not known"""

    def load(self) -> tuple[Configuration, Position] | None:
        """What is in the file; None when there is nothing that can be read."""
        if not self._path.exists():
            return None
        try:
            with self._database.reading() as connection:
                position = change_log.current_position(connection)
                configuration = change_log.load(connection, position)
        except (SQLAlchemyError, UnreadableEntity) as error:
            log.error("the last known state in %s cannot be read: %s", self._path, error)
            return None
        self._position = position
        return configuration, position

    def follow(
        self,
        before: Position | None,
        position: Position,
        configuration: Configuration,
        changes: Changes | None,
    ) -> None:
        """Keep a new state. Where the file has the one `before`, only the changes are written."""
        if position == self._position:
            return
        try:
            self._database.prepare()
            if changes is None or self._position is None or self._position != before:
                self._rewrite(position, configuration)
            else:
                self._apply(position, changes)
        except (SQLAlchemyError, StoreError) as error:
            self._position = None
            log.warning("the last known state cannot be kept in %s: %s", self._path, error)
        else:
            self._position = position

    def _apply(self, position: Position, changes: Changes) -> None:
        gone, put = [], []
        for (type_name, identifier), entity in changes.items():
            if entity is None:
                gone.append({"of_type": type_name, "of_id": identifier})
            else:
                document = {"document": document_of(entity), "expires_at": expiry_of(entity)}
                put.append({"type_name": type_name, "id": identifier, **document})
        statement = upsert(ENTITIES)
        statement = statement.on_conflict_do_update(
            index_elements=["type_name", "id"],
            set_={"document": statement.excluded.document, "expires_at": statement.excluded.expires_at},
        )
        with self._database.writing() as connection:
            rows.execute_many(connection, rows.DELETE_ENTITY, gone)
            rows.execute_many(connection, statement, put)
            connection.execute(update(STATE).values(sequence=position.sequence, hash=position.hash))
            connection.commit()

    def _rewrite(self, position: Position, configuration: Configuration) -> None:
        try:
            if self._stored_position() == position:
                return
        except SQLAlchemyError:  # no tables, or not even a database
            self._database.close()
            for suffix in ("", "-wal", "-shm"):
                self._path.with_name(self._path.name + suffix).unlink(missing_ok=True)
            self._database.prepare()
        with self._database.writing() as connection:
            self._make_tables(connection)
            connection.execute(delete(ENTITIES))
            connection.execute(delete(STATE))
            rows.execute_many(connection, insert(ENTITIES), list(rows.entity_rows(configuration)))
            connection.execute(insert(STATE).values(id=1, sequence=position.sequence, hash=position.hash))
            connection.commit()

    def _stored_position(self) -> Position:
        with self._database.reading() as connection:
            return change_log.current_position(connection)

    @staticmethod
    def _make_tables(connection: Connection) -> None:
        for table in (ENTITIES, STATE):
            table.create(connection, checkfirst=True)

    def close(self) -> None:
        """Close the file."""
        self._database.close()
