"""What plugins know about the node when their configuration is checked."""

from __future__ import annotations

_has_database = True


def tell_database(kind: str) -> None:
    """Say which database the settings of this process name: "off" for none."""
    global _has_database
    _has_database = kind != "off"


def has_database() -> bool:
    """Whether the configuration is in a database. Until somebody says otherwise it is."""
    return _has_database
