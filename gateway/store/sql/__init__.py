"""Entities in a SQL database, behind the protocol of `gateway.store.interface`.

`store` is the store; `database` says what it needs of a database, which `sqlite` and `postgres` have.
`tables`, `rows`, `documents`, `change_log` are what lies in it, `migrations` how it gets there; `replica` is
what a node keeps of a shared database for a start without it.
"""

from __future__ import annotations

from gateway.privileges import ids_of_children
from gateway.run_directory import RunDirectory
from gateway.settings import Settings
from gateway.store.sql.database import Database
from gateway.store.sql.store import SqlStore

LOCK_PATIENCE = 30.0
"""seconds that a transaction waits for those of other nodes, or processes; an import may take some"""


def database_of(settings: Settings, *, lock_patience: float = LOCK_PATIENCE) -> Database:
    """The database that settings name; DATABASE must not be off. Connects to nothing yet."""
    if settings.database == "postgres":
        from gateway.store.sql.postgres import PostgresDatabase

        return PostgresDatabase.from_settings(settings, lock_patience=lock_patience)
    from gateway.store.sql.sqlite import SqliteDatabase

    return SqliteDatabase(
        settings.sqlite_path,
        owner=ids_of_children(settings),
        run_directory=(
            RunDirectory(settings.prefix) if settings.prefix in settings.sqlite_path.parents else None
        ),
        look_every=settings.db_update_frequency,
        lock_patience=lock_patience,
    )


def open_store(settings: Settings, *, keep_state: bool = True) -> SqlStore:
    """The store in the database that settings name; not opened yet.

    `keep_state`: keep the last known state of a shared database in the prefix. Only the gateway of that
    prefix may, no other process beside it.
    """
    replica = None
    if settings.database == "postgres" and keep_state:
        from gateway.store.sql.replica import Replica

        origin = f"{settings.pg_host}:{settings.pg_port}/{settings.pg_database}/{settings.pg_schema or ''}"
        replica = Replica(RunDirectory(settings.prefix).replica(origin))
    return SqlStore(database_of(settings), replica=replica)
