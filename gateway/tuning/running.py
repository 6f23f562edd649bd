"""The running gateway of a prefix, as far as tuning asks: its settings, and what its processes have."""

import re
from dataclasses import dataclass
from pathlib import Path

from gateway.run_directory import RunDirectory, read_json
from gateway.settings import Settings, SettingsError, Sources, load_from


@dataclass(frozen=True)
class Running:
    """A gateway that runs."""

    pid: int
    """of the master"""
    settings: Settings | None
    """those it was started with; None when they can no longer be read"""
    workers: int
    open_files: int | None
    """descriptors that a worker may have; None: no limit, or not known"""


def find_running(prefix: Path, root: Path = Path("/")) -> Running | None:
    """The gateway of a prefix; None when none runs."""
    directory = RunDirectory(prefix)
    pid = directory.pid_file.holder()
    if not pid:
        return None
    state = read_json(directory.state)
    pids = [worker.get("pid") for worker in state.get("workers", ()) if not worker.get("leaving")]
    limits = root / f"proc/{pids[0] if pids else pid}/limits"
    return Running(pid, _settings(prefix), len(pids), _open_files(limits))


def _settings(prefix: Path) -> Settings | None:
    sources = Sources.recorded(prefix)
    try:
        return load_from(sources) if sources else None
    except SettingsError:
        return None


def _open_files(limits: Path) -> int | None:
    """The soft limit: that one holds."""
    try:
        found = re.search(r"^Max open files\s+(\d+)", limits.read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None
