"""Reading a declarative file from disk, for `gateway check`, start and reload."""

from __future__ import annotations

from pathlib import Path

from gateway.store.configuration import Configuration
from gateway.store.declarative import load_declarative


class UnreadableFile(OSError):
    """A file that cannot be read; the message says which and why."""


def check_file(path: str | Path) -> Configuration:
    """Read and validate a declarative file.

    Raises UnreadableFile where there is no file to read, and DeclarativeError (see its `lines()`) where there
    is something wrong in it.
    """
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise UnreadableFile(f"{path}: no such file") from None
    except IsADirectoryError:
        raise UnreadableFile(f"{path}: is a directory, not a declarative file") from None
    except PermissionError:
        raise UnreadableFile(f"{path}: not readable by this user (permission denied)") from None
    except (OSError, ValueError) as problem:  # ValueError: a NUL character in the path
        reason = getattr(problem, "strerror", None) or problem
        raise UnreadableFile(f"{path}: cannot be read: {reason}") from None
    return load_declarative(data, source=str(path))
