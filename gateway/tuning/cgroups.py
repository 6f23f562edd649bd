"""What the cgroups of this process allow it: processor time, memory, processes. Versions 1 and 2.

Limits hold for a whole subtree, so the smallest one on the way from the process's cgroup to the root of what
can be seen counts. In a container that root is usually its own cgroup, mounted at /sys/fs/cgroup.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

Number = TypeVar("Number", int, float)

UNLIMITED_FROM = 1 << 60
"""cgroup v1 writes "no limit" as the largest page-aligned number"""


@dataclass(frozen=True)
class CgroupLimits:
    """None: no limit."""

    processors: float | None = None
    """processor time per time: 1.5 is one and a half processors"""
    memory: int | None = None
    """bytes"""
    processes: int | None = None


def read_limits(root: Path = Path("/")) -> CgroupLimits:
    """The limits of this process; `root` is where proc/ and sys/ lie. What cannot be read is no limit."""
    quota, memory, processes = None, None, None
    for controllers, mount, path in _memberships(root):
        unified = controllers == ("",)
        for directory in _upwards(mount, path):
            if unified or "cpu" in controllers:
                quota = _smaller(quota, _quota(directory))
            if unified or "memory" in controllers:
                for name in ("memory.max", "memory.high", "memory.limit_in_bytes"):
                    memory = _smaller(memory, _limit(directory / name))
            if unified or "pids" in controllers:
                processes = _smaller(processes, _limit(directory / "pids.max"))
    return CgroupLimits(quota, memory, processes)


def _memberships(root: Path) -> Iterator[tuple[tuple[str, ...], Path, str]]:
    """(controllers, mount point, path in it) of each hierarchy this process is in; ("",) is version 2."""
    mounts = list(_mounts(root))
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        names, _, path = rest.partition(":")
        controllers = tuple(names.split(","))
        for kinds, mounted_root, mount in mounts:
            if set(controllers) <= kinds:
                yield controllers, mount, _below(path, mounted_root)
                break


def _mounts(root: Path) -> Iterator[tuple[set[str], str, Path]]:
    """(controllers, root within the hierarchy, mount point) of the mounted cgroup hierarchies."""
    for line in _text(root / "proc/self/mountinfo").splitlines():
        before, _, after = line.partition(" - ")
        fields, kind = before.split(), after.split()
        if len(fields) < 5 or len(kind) < 3:
            continue
        if kind[0] == "cgroup2":
            yield {""}, fields[3], root / fields[4].lstrip("/")
        elif kind[0] == "cgroup":
            yield set(kind[2].split(",")), fields[3], root / fields[4].lstrip("/")


def _below(path: str, mounted_root: str) -> str:
    """The path as seen from a mount that shows only a part of the hierarchy, as containers have it."""
    if mounted_root != "/" and path.startswith(mounted_root):
        return path[len(mounted_root) :]
    return path


def _upwards(mount: Path, path: str) -> Iterator[Path]:
    """The directory of a cgroup and those above it, the mount point last; only those that are there."""
    parts = [part for part in path.split("/") if part not in ("", ".", "..")]
    for count in range(len(parts), -1, -1):
        directory = mount.joinpath(*parts[:count])
        if directory.is_dir():
            yield directory


def _quota(directory: Path) -> float | None:
    words = _text(directory / "cpu.max").split()
    if len(words) != 2:
        words = [_text(directory / f"cpu.cfs_{name}_us") for name in ("quota", "period")]
    quota, period = map(_number, words)
    return quota / period if quota and period and quota > 0 else None


def _limit(path: Path) -> int | None:
    value = _number(_text(path))
    return value if value is not None and 0 < value < UNLIMITED_FROM else None


def _number(text: str) -> int | None:
    """A whole number; None for "max", "-1" as it is."""
    try:
        return int(text)
    except ValueError:
        return None


def _smaller(first: Number | None, second: Number | None) -> Number | None:
    return min((value for value in (first, second) if value is not None), default=None)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""
