"""Files of a prefix: where they lie, and how the state of a running gateway is written down.

<prefix>/pids/gateway.pid     process id of the master, locked while it runs
<prefix>/state.json           processes and generation, written by the master at each change
<prefix>/settings.json        where the settings came from, for a reload
<prefix>/quit.json            time limit of the `gateway quit` under way
<prefix>/snapshots/           configuration for the workers
<prefix>/control/             what the control process keeps for its successor, and
    reload.json               the outcome of the last reload
<prefix>/logs/                access.log, error.log
"""

import json
import os
from pathlib import Path
from typing import Any

from gateway.processes import PidFile


class RunDirectory:
    """The files of one prefix, by what they are."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.pid_file = PidFile(prefix / "pids" / "gateway.pid")
        self.state = prefix / "state.json"
        self.quit = prefix / "quit.json"
        self.snapshots = prefix / "snapshots"
        self.control = prefix / "control"
        self.reload = self.control / "reload.json"
        self.metric_slots = self.control / "metric-slots.json"
        self.last_configuration = self.control / "configuration-last.json"
        self.node_id = self.control / "node-id"

    def configuration_snapshot(self, number: int) -> Path:
        """The file of a configuration snapshot."""
        return self.snapshots / f"configuration-{number}.snapshot"

    def peers_snapshot(self, number: int) -> Path:
        """The file of a peers snapshot."""
        return self.snapshots / f"peers-{number}.snapshot"

    def prepare(self) -> None:
        """Make the directories. Configurations may hold credentials: for the owner only. Raises OSError."""
        for directory in (self.prefix, self.prefix / "pids", self.prefix / "logs"):
            directory.mkdir(parents=True, exist_ok=True)
        for private in (self.snapshots, self.control):
            private.mkdir(mode=0o700, exist_ok=True)

    def clear(self) -> None:
        """Remove what only a running gateway has."""
        for path in (self.state, self.reload, self.quit, *self.snapshots.glob("*.snapshot")):
            path.unlink(missing_ok=True)


def write_json(path: Path, document: dict[str, Any]) -> None:
    """Write a document so that a reader finds the old or the new one, never a part. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(open_new(temporary, 0o644), "w", encoding="utf-8") as file:
        json.dump(document, file)
    temporary.replace(path)


def open_new(path: Path, mode: int) -> int:
    """A descriptor for writing a file anew: what lies there, a link even, is removed. Raises OSError."""
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode)


def read_json(path: Path) -> dict[str, Any]:
    """A document that write_json() wrote; empty when there is none."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}
