"""Files of a prefix: where they lie, and how the state of a running gateway is written down.

<prefix>/pids/gateway.pid     process id of the master, locked while it runs
<prefix>/state.json           processes and generation, written by the master at each change
<prefix>/settings.json        where the settings came from, for a reload
<prefix>/quit.json            time limit of the `gateway quit` under way
<prefix>/snapshots/           configuration for the workers
<prefix>/plugins/             the code of Python plugins, for the workers
<prefix>/control/             what the control process keeps for its successor, and
    reload.json               the outcome of the last reload
    addresses.json            the addresses that names had last
    replica-<origin>.sqlite   the last known state of a shared database
<prefix>/ssl/                 certificates made for the Admin and status listeners
<prefix>/logs/                access.log, error.log
"""

import errno
import hashlib
import json
import os
import pwd
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any, Literal

from gateway.processes import PidFile

SnapshotKind = Literal["peers", "identities", "configuration"]
"""In the order in which they are published and loaded: a configuration must never name what is not there."""

OTHERS_MAY_WRITE = stat.S_IWGRP | stat.S_IWOTH


class UnsafeDirectory(PermissionError):
    """A directory in which somebody else could change what the gateway reads and writes; str() says who and
    how to mend it.
    """

    def __init__(self, text: str) -> None:
        super().__init__(errno.EPERM, text)

    def __str__(self) -> str:
        return str(self.strerror)


class RunDirectory:
    """The files of one prefix, by what they are."""

    def __init__(self, prefix: Path) -> None:
        self.prefix = prefix
        self.pid_file = PidFile(prefix / "pids" / "gateway.pid")
        self.state = prefix / "state.json"
        self.quit = prefix / "quit.json"
        self.snapshots = prefix / "snapshots"
        self.plugins = prefix / "plugins"
        self.control = prefix / "control"
        self.ssl = prefix / "ssl"
        self.reload = self.control / "reload.json"
        self.metric_slots = self.control / "metric-slots.json"
        self.addresses = self.control / "addresses.json"
        self.last_configuration = self.control / "configuration-last.json"
        self.node_id = self.control / "node-id"
        self.cluster_position = self.control / "cluster-position.json"

    def of_children(self) -> tuple[Path, ...]:
        """The directories in which children make files."""
        return (self.snapshots, self.plugins, self.control, self.ssl)

    def snapshot(self, kind: SnapshotKind, number: int) -> Path:
        """The file of a snapshot."""
        return self.snapshots / f"{kind}-{number}.snapshot"

    def replica(self, origin: str) -> Path:
        """The file with the last known state of the database that `origin` names: that of another database
        must never be served for it."""
        return self.control / f"replica-{hashlib.sha256(origin.encode()).hexdigest()[:16]}.sqlite"

    def prepare(self, children: tuple[int, int] | None = None) -> None:
        """Make the directories. Configurations may hold credentials: for the owner only.

        `children`: user id and group id of the children, where those are not the caller's; the group may
        enter a new prefix. Raises OSError, UnsafeDirectory for what is there already and not to be trusted.
        """
        trusted = {0, os.geteuid(), *(children or ())[:1]}
        self.prefix.mkdir(mode=0o750, parents=True, exist_ok=True)
        check_owner(self.prefix, trusted)
        if children:
            self._let_enter(children[1])
        for directory in (self.prefix / "pids", self.prefix / "logs"):
            directory.mkdir(exist_ok=True)
        for private in self.of_children():
            private.mkdir(mode=0o700, exist_ok=True)
        check_owner(self.prefix / "pids", trusted)
        for private in self.of_children():
            # Root takes over what children of another start had (take_over).
            if os.geteuid() or private.is_symlink() or self.prefix.stat().st_uid:
                check_owner(private, trusted)

    def _let_enter(self, group: int) -> None:
        """Give a prefix that root made, and nobody has given rights to yet, to the group of the children."""
        found = self.prefix.stat()
        if (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (0, 0, 0o750):
            os.chown(self.prefix, -1, group)

    def take_over(self) -> None:
        """As root, and once the prefix is locked: take back what children that were another user could write.

        privileges.hand_over() gives it to those of this start. Raises OSError.
        """
        if os.geteuid() == 0:
            for private in self.of_children():
                os.chown(private, 0, 0, follow_symlinks=False)

    def clear(self) -> None:
        """Remove what only a running gateway has."""
        packed = (*self.snapshots.glob("*.snapshot"), *self.plugins.glob("*.plugin"))
        for path in (self.state, self.reload, self.quit, *packed):
            path.unlink(missing_ok=True)


def check_owner(directory: Path, trusted: Collection[int]) -> None:
    """Refuse a directory, or a link to one, that is not of one of these users (ids), or that more than its
    owner may write to, unless it is the caller's own. Raises UnsafeDirectory, OSError.
    """
    mine = os.geteuid()
    for found in (directory.lstat(), directory.stat()):
        if found.st_uid not in trusted:
            raise UnsafeDirectory(
                f"{directory} belongs to the user {_user_name(found.st_uid)}, who could change what the "
                "gateway reads there; choose another directory, or make it yours: "
                f"chown {_user_name(mine)} {directory}"
            )
        others_write = found.st_mode & OTHERS_MAY_WRITE and not stat.S_ISLNK(found.st_mode)
        if others_write and found.st_uid != mine:
            raise UnsafeDirectory(
                f"more users than its owner, {_user_name(found.st_uid)}, may write to {directory} and could "
                "change what the gateway reads there; choose a directory inside it, which the gateway then "
                f"makes for itself ({directory / 'gateway'}), or take the right away: chmod go-w {directory}"
            )


def _user_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


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
