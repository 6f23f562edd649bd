"""The store that settings ask for."""

from __future__ import annotations

from gateway.plugins._node import tell_database
from gateway.settings import Settings
from gateway.store.interface import Store
from gateway.store.memory import LoadMemory


def make_store(settings: Settings, memory: LoadMemory | None = None, *, keep_state: bool = True) -> Store:
    """A store that is not opened yet.

    `memory`: of declarative texts, where POST /config uses one. `keep_state`: False for a command that runs
    beside the gateway (see `gateway.store.sql.open_store`).
    """
    tell_database(settings.database)
    if settings.database != "off":
        from gateway.store.sql import open_store

        return open_store(settings, keep_state=keep_state)
    from gateway.store.source import DeclarativeSource

    source = DeclarativeSource.from_settings(settings)
    if settings.declarative_writable:
        from gateway.store.writable_file import WritableFileStore

        return WritableFileStore(source, memory or LoadMemory())
    from gateway.store.read_only import ReadOnlyStore

    return ReadOnlyStore(source, memory or LoadMemory())
