"""Where snapshot files lie and how they get there."""

import os
import re
from pathlib import Path
from typing import Literal

from gateway.run_directory import open_new

Kind = Literal["configuration", "peers"]

_NAME = re.compile(r"(configuration|peers)-(\d+)\.snapshot")


def configuration_path(prefix: Path, number: int) -> Path:
    """File of the configuration snapshot with this number."""
    return prefix / "snapshots" / f"configuration-{number}.snapshot"


def peers_path(prefix: Path, number: int) -> Path:
    """File of the peers snapshot with this number."""
    return prefix / "snapshots" / f"peers-{number}.snapshot"


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


def remove_older(prefix: Path, kind: Kind, keep: int) -> None:
    """Delete the snapshots of a kind with a number below `keep`. Workers go on reading what is mapped."""
    directory = prefix / "snapshots"
    if not directory.is_dir():
        return
    for path in directory.iterdir():
        found = _NAME.fullmatch(path.name)
        if found and found[1] == kind and int(found[2]) < keep:
            path.unlink(missing_ok=True)
