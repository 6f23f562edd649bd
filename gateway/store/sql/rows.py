"""The rows that a transaction writes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Executable, Table, bindparam, column, func, insert, select, text, update

from gateway.entities.expiry import expiry_of
from gateway.entities.record import Entity, shape_of
from gateway.store.changes import Changes
from gateway.store.configuration import Configuration
from gateway.store.draft import unique_combinations
from gateway.store.indexes import combination_of
from gateway.store.sql.documents import document_of
from gateway.store.sql.tables import ENTITIES, FOREIGN_KEYS, UNIQUE_VALUES

ROWS_AT_ONCE = 2000

_THIS_ONE = (ENTITIES.c.type_name == bindparam("of_type"), ENTITIES.c.id == bindparam("of_id"))
DELETE_ENTITY = ENTITIES.delete().where(*_THIS_ONE)
"""needs `of_type` and `of_id`"""
_UPDATE_ENTITY = update(ENTITIES).where(*_THIS_ONE)

UniqueRow = tuple[str, str, str, str]
ForeignRow = tuple[str, str, str, str, str]


def unique_rows(entity: Entity) -> set[UniqueRow]:
    """Type, fields, digest of the values, id: for each combination that only one entity may have."""
    found = set()
    for fields in unique_combinations(type(entity)):
        values = combination_of(entity, fields)
        if values != (None,):
            digest = hashlib.sha256(msgspec.json.encode(values)).hexdigest()
            found.add((entity.type_name, ",".join(fields), digest, entity.id))
    return found


def foreign_rows(entity: Entity) -> set[ForeignRow]:
    """Type, id, field, type and id referred to: for each reference."""
    found = set()
    for name, field in shape_of(type(entity)).foreign.items():
        if (reference := getattr(entity, name)) is not None:
            found.add((entity.type_name, entity.id, name, field.reference, reference.id))
    return found


def write(connection: Connection, base: Configuration, changes: Changes) -> None:
    """Write what changes, in an order in which a value may pass from one entity to another."""
    added, changed, removed = [], [], []
    unique_before: set[UniqueRow] = set()
    unique_after: set[UniqueRow] = set()
    foreign_before: set[ForeignRow] = set()
    foreign_after: set[ForeignRow] = set()
    for (type_name, identifier), new in changes.items():
        old = base.of(type_name).get(identifier)
        if old is not None:
            unique_before |= unique_rows(old)
            foreign_before |= foreign_rows(old)
        if new is None:
            removed.append({"of_type": type_name, "of_id": identifier})
            continue
        unique_after |= unique_rows(new)
        foreign_after |= foreign_rows(new)
        row = {"document": document_of(new), "expires_at": expiry_of(new)}
        if old is None:
            added.append({"type_name": type_name, "id": identifier, **row})
        else:
            changed.append({"of_type": type_name, "of_id": identifier, **row})

    columns = UNIQUE_VALUES.c
    execute_many(
        connection,
        UNIQUE_VALUES.delete().where(
            columns.type_name == bindparam("of_type"),
            columns.fields == bindparam("of_fields"),
            columns.digest == bindparam("of_digest"),
        ),
        [
            {"of_type": row[0], "of_fields": row[1], "of_digest": row[2]}
            for row in unique_before - unique_after
        ],
    )
    execute_many(
        connection,
        FOREIGN_KEYS.delete().where(
            FOREIGN_KEYS.c.type_name == bindparam("of_type"),
            FOREIGN_KEYS.c.entity_id == bindparam("of_id"),
            FOREIGN_KEYS.c.field == bindparam("of_field"),
        ),
        [{"of_type": row[0], "of_id": row[1], "of_field": row[2]} for row in foreign_before - foreign_after],
    )
    execute_many(connection, DELETE_ENTITY, removed)
    execute_many(connection, _UPDATE_ENTITY, changed)
    insert_many(connection, ENTITIES, added)
    insert_many(
        connection,
        UNIQUE_VALUES,
        list(_named(unique_after - unique_before, ("type_name", "fields", "digest", "entity_id"))),
    )
    insert_many(
        connection,
        FOREIGN_KEYS,
        list(
            _named(
                foreign_after - foreign_before,
                ("type_name", "entity_id", "field", "target_type", "target_id"),
            )
        ),
    )


def entity_rows(configuration: Configuration) -> Iterator[dict[str, Any]]:
    """The rows of all entities, in order."""
    for type_name, table in configuration.entities.items():
        for identifier, entity in table.items():
            yield {
                "type_name": type_name,
                "id": identifier,
                "document": document_of(entity),
                "expires_at": expiry_of(entity),
            }


def execute_many(connection: Connection, statement: Executable, rows: Sequence[dict[str, Any]]) -> None:
    """Run a statement for each of the rows."""
    for start in range(0, len(rows), ROWS_AT_ONCE):
        connection.execute(statement, rows[start : start + ROWS_AT_ONCE])


def insert_many(connection: Connection, table: Table, rows: Sequence[dict[str, Any]]) -> None:
    """Insert rows, all of them with the same columns."""
    if connection.dialect.name != "postgresql" or len(rows) < 2:
        execute_many(connection, insert(table), rows)
        return
    # One statement with all rows as one document: many times as fast as a statement for each row.
    columns = [column(name, table.c[name].type) for name in rows[0]]
    source = (
        func.json_to_recordset(text("CAST(:rows AS json)"))
        .table_valued(*columns)
        .render_derived(name="source", with_types=True)
    )
    statement = insert(table).from_select(list(rows[0]), select(*source.c))
    for start in range(0, len(rows), ROWS_AT_ONCE):
        part = msgspec.json.encode(rows[start : start + ROWS_AT_ONCE]).decode()
        connection.execute(statement, {"rows": part})


def _named(rows: set[Any], names: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    for row in sorted(rows):
        yield dict(zip(names, row, strict=True))
