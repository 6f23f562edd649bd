"""Stores in databases of their own, and operations for them, for tests."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gateway.entities.consumers import Consumer
from gateway.entities.fields import Reference
from gateway.entities.keyauth_credentials import KeyAuthCredential
from gateway.store.draft import Draft
from gateway.store.errors import unique_violation
from gateway.store.interface import Operation, Outcome
from gateway.store.sql.connections import Address
from gateway.store.sql.database import Database
from gateway.store.sql.migrations import Migrations
from gateway.store.sql.postgres import PostgresDatabase
from gateway.store.sql.sqlite import SqliteDatabase
from gateway.store.sql.store import SqlStore


def consumer(name: str | None = None, **fields: Any) -> Consumer:
    values = {"id": str(uuid.uuid4()), "username": name, "created_at": 1, "updated_at": 1, **fields}
    return Consumer(**values)


def key_of(owner: Consumer, key: str) -> KeyAuthCredential:
    return KeyAuthCredential(id=str(uuid.uuid4()), created_at=1, consumer=Reference(owner.id), key=key)


def operation(run: Callable[[Draft], Any]) -> Operation:
    return Operation("create", "consumers", run)


def add(*entities: Any) -> Operation:
    """Put entities without a question."""

    def run(draft: Draft) -> int:
        for entity in entities:
            draft.put(entity)
        return len(entities)

    return operation(run)


def remove(entity: Any) -> Operation:
    return operation(lambda draft: draft.remove(entity))


def add_unless_taken(name: str) -> Operation:
    """Add a consumer, as Kong's rules do: refuse a name that is taken."""

    def run(draft: Draft) -> str:
        if draft.find_unique("consumers", "username", name) is not None:
            raise unique_violation({"username": name})
        made = consumer(name)
        draft.put(made)
        return made.id

    return operation(run)


def done(outcomes: list[Outcome]) -> list[Any]:
    """The results; fails the test when an operation was refused."""
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    return [outcome.result for outcome in outcomes]


def names(store: SqlStore) -> set[str | None]:
    """The names of all consumers that a store knows."""
    return {entity.username for entity in store.configuration.of("consumers").values()}  # type: ignore[attr-defined]


class Place:
    """Where a database is: as many stores on it as one likes, each a node of its own."""

    def __init__(self, address: Address | None, path: Path) -> None:
        self.address = address
        self.path = path
        self._opened: list[SqlStore] = []

    @property
    def kind(self) -> str:
        return "postgres" if self.address else "sqlite"

    def database(self, **options: Any) -> Database:
        if self.address:
            return PostgresDatabase(self.address, **options)
        return SqliteDatabase(self.path, **options)

    def bootstrap(self) -> None:
        database = self.database()
        database.prepare()
        with database.writing() as connection:
            Migrations(database).upgrade_alone(connection)
            connection.commit()
        database.close()

    def store(self, **options: Any) -> SqlStore:
        """A node, opened."""
        look_every = options.pop("look_every", 0.05)
        store = SqlStore(self.database(look_every=look_every), **options)
        self._opened.append(store)
        store.open()
        return store

    def close(self) -> None:
        for store in self._opened:
            store.close()
