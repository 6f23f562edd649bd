"""The log of commits: by it a node knows how far it is, and what others wrote since.

Each commit has a sequence number and a random hash, which is also the hash of the configuration it makes. A
node that finds the commit it knows in the log takes over the later ones; one that does not (it was away for
too long, the database was restored from a backup, a standby took over that had not got everything) reads all
entities again and takes over the differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
from sqlalchemy import Connection, insert, select, update

from gateway.store.changes import Changes, EntityId
from gateway.store.configuration import Configuration
from gateway.store.sql.documents import Reader, document_of
from gateway.store.sql.tables import CHANGES, ENTITIES, STATE

KEPT_COMMITS = 1000
PRUNING_INTERVAL = 100
"""commits from one removal of old ones to the next"""
LARGEST_ENTRIES = 256 * 1024
"""Characters of the entries of one commit. Of what is larger, an import, only its being there is noted: the
others read everything again."""
ROWS_AT_ONCE = 5000


class Position(NamedTuple):
    """How far somebody is."""

    sequence: int
    hash: str


BEGINNING = Position(0, "0" * 32)
"""The commit that makes the tables."""

Entry = tuple[str, str, str | None]
_ENTRIES = msgspec.json.Decoder(list[Entry])


class NewerState(Exception):
    """Somebody else committed although the lock was held; nothing may be written."""


def current_position(connection: Connection) -> Position:
    """Of the newest commit in the database."""
    row = connection.execute(select(STATE.c.sequence, STATE.c.hash)).one()
    return Position(row.sequence, row.hash)


def append(connection: Connection, known: Position, following: Position, changes: Changes) -> None:
    """Note a commit. Raises NewerState."""
    text = _entries_of(changes)
    moved = connection.execute(
        update(STATE)
        .where(STATE.c.sequence == known.sequence, STATE.c.hash == known.hash)
        .values(sequence=following.sequence, hash=following.hash)
    )
    if moved.rowcount != 1:
        raise NewerState
    connection.execute(insert(CHANGES).values(sequence=following.sequence, hash=following.hash, entries=text))
    if following.sequence % PRUNING_INTERVAL == 0:
        connection.execute(CHANGES.delete().where(CHANGES.c.sequence <= following.sequence - KEPT_COMMITS))


def _entries_of(changes: Changes) -> str | None:
    entries: list[Entry] = []
    size = 0
    for (type_name, identifier), entity in changes.items():
        document = None if entity is None else document_of(entity)
        size += len(identifier) + len(document or "")
        if size > LARGEST_ENTRIES:
            return None
        entries.append((type_name, identifier, document))
    return msgspec.json.encode(entries).decode()


def entries_since(connection: Connection, known: Position, newest: Position) -> list[Entry] | None:
    """What was written after `known`, oldest first; None when the log does not say."""
    if newest.sequence < known.sequence or newest.sequence - known.sequence > KEPT_COMMITS:
        return None
    rows = connection.execute(
        select(CHANGES.c.sequence, CHANGES.c.hash, CHANGES.c.entries)
        .where(CHANGES.c.sequence >= known.sequence)
        .order_by(CHANGES.c.sequence)
    ).all()
    if not rows or Position(rows[0].sequence, rows[0].hash) != known:
        return None
    if len(rows) != newest.sequence - known.sequence + 1:
        return None
    later: Sequence[str | None] = [row.entries for row in rows[1:]]
    entries: list[Entry] = []
    for text in later:
        if text is None:
            return None
        entries += _ENTRIES.decode(text)
    return entries


def changes_of(entries: Sequence[Entry], base: Configuration) -> Changes:
    """What entries mean for a configuration that does not have them yet. Raises UnreadableEntity."""
    newest: dict[EntityId, str | None] = {}
    for type_name, identifier, document in entries:
        newest[type_name, identifier] = document
    reader = Reader()
    changes = {}
    for (type_name, identifier), document in newest.items():
        known = base.of(type_name).get(identifier)
        entity = None if document is None else reader.read(type_name, identifier, document)
        if entity != known:
            changes[type_name, identifier] = entity
    return changes


def load(connection: Connection, position: Position) -> Configuration:
    """All entities, in the order they were made. Raises UnreadableEntity."""
    reader = Reader()
    rows = connection.execution_options(yield_per=ROWS_AT_ONCE).execute(
        select(ENTITIES.c.type_name, ENTITIES.c.id, ENTITIES.c.document).order_by(ENTITIES.c.position)
    )
    found = (reader.read(type_name, identifier, document) for type_name, identifier, document in rows)
    return Configuration((entity for entity in found if entity is not None), position.hash)


def difference(old: Configuration, new: Configuration) -> Changes:
    """What makes `new` of `old`. What is equal in both does not occur, so that it stays the same object."""
    changes = {}
    for type_name, table in new.entities.items():
        before = old.of(type_name)
        for identifier, entity in table.items():
            if before.get(identifier) != entity:
                changes[type_name, identifier] = entity
    gone = {
        (type_name, identifier): None
        for type_name, table in old.entities.items()
        for identifier in table
        if identifier not in new.of(type_name)
    }
    return {**gone, **changes}
