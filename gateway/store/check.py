"""Reading a declarative file from disk, for `gateway check`, start and reload."""

from __future__ import annotations

from pathlib import Path

from gateway.store.configuration import Configuration
from gateway.store.declarative import load_declarative
from gateway.store.declarative_errors import DeclarativeError, unreadable
from gateway.store.memory import LoadMemory


def check_file(path: str | Path, memory: LoadMemory | None = None) -> Configuration:
    """Read and validate a declarative file; `memory`: of earlier loads.

    Raises DeclarativeError (see its `lines()`) for a file that cannot be read as for one with errors in it.
    """
    return load_declarative(read_file(path), source=str(path), memory=memory)


def read_file(path: str | Path) -> bytes:
    """The content of a declarative file; raises DeclarativeError with a readable reason."""
    try:
        return Path(path).read_bytes()
    except FileNotFoundError:
        raise _unreadable(path, "no such file") from None
    except IsADirectoryError:
        raise _unreadable(path, "is a directory, not a declarative file") from None
    except PermissionError:
        raise _unreadable(path, "not readable by this user (permission denied)") from None
    except (OSError, ValueError) as problem:  # ValueError: a NUL character in the path
        reason = getattr(problem, "strerror", None) or problem
        raise _unreadable(path, f"cannot be read: {reason}") from None


def _unreadable(path: str | Path, text: str) -> DeclarativeError:
    return unreadable(str(path), [(None, None, text)])
