"""What plugins know about the node when their configuration is checked."""

from __future__ import annotations

_database = "sqlite"


def tell_database(kind: str) -> None:
    """Say which database the settings of this process name: "off" for none."""
    global _database
    _database = kind


def has_database() -> bool:
    """Whether the configuration is in a database. Until somebody says otherwise it is."""
    return _database != "off"


def shares_database() -> bool:
    """Whether other nodes may use the same database: a file is used by one node alone."""
    return _database == "postgres"
