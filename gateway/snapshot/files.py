"""Where snapshot files lie and how they get there."""

import os
import re
from pathlib import Path

from gateway.run_directory import SnapshotKind, open_new

_NAME = re.compile(r"([a-z]+)-(\d+)\.snapshot")


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that a reader sees all of it or none; makes the directory when it is missing.

    It is readable by the owner only: a configuration may hold credentials.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with os.fdopen(open_new(temporary, 0o600), "wb") as file:
            file.write(data)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def remove_older(prefix: Path, kind: SnapshotKind, keep: int) -> None:
    """Delete the snapshots of a kind with a number below `keep`. Workers go on reading what is mapped."""
    directory = prefix / "snapshots"
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        found = _NAME.fullmatch(path.name)
        if found and found[1] == kind and int(found[2]) < keep:
            path.unlink(missing_ok=True)
