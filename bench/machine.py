"""What the numbers were measured on and with: machine, versions, source."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
from datetime import datetime
from pathlib import Path

from bench.report import Git, Machine

PROJECT = Path(__file__).resolve().parent.parent


def describe_machine() -> Machine:
    """The machine as /proc and /sys describe it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return Machine(
        cpu_model=_cpu_model(),
        cpu_count=os.cpu_count() or 1,
        cpus_usable=sorted(os.sched_getaffinity(0)),
        memory_bytes=memory,
        kernel=f"{platform.system()} {platform.release()} {platform.machine()}",
        system=_system(),
        virtualisation=_virtualisation(),
        load_average=[round(value, 2) for value in os.getloadavg()],
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace").strip("\0\n ")
    except OSError:
        return ""


def _cpu_model() -> str:
    found = re.search(r"^(?:model name|Model)\s*:\s*(.+)$", _read("/proc/cpuinfo"), re.MULTILINE)
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _system() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        return ""


def _virtualisation() -> str:
    """A word for what the machine runs in, "none" when nothing tells of a hypervisor or container."""
    found = _output(["systemd-detect-virt"]).strip()
    if found:
        return found
    if Path("/.dockerenv").exists():
        return "container"
    if re.search(r"^flags\s*:.*\bhypervisor\b", _read("/proc/cpuinfo"), re.MULTILINE):
        return _read("/sys/class/dmi/id/sys_vendor") or _read("/sys/hypervisor/type") or "virtual machine"
    return "none"


def _output(command: list[str]) -> str:
    """What a command prints, its error output too; empty when it is not there."""
    if shutil.which(command[0]) is None:
        return ""
    try:
        found = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=20, check=False, cwd=PROJECT
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return found.stdout.decode(errors="replace")


def program_version(command: list[str], pattern: str) -> str:
    """The first group of `pattern` in what a command prints; "unknown" when it is not in there."""
    found = re.search(pattern, _output(command))
    return found.group(1) if found else "unknown"


def library_versions() -> dict[str, str]:
    """Python and the packages that take part in the gateway's speed."""
    versions = {"python": platform.python_version(), "libc": " ".join(platform.libc_ver())}
    for name in ("sluicegate", "granian", "cython", "msgspec"):
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def default_output(prefix: str = "") -> Path:
    """A new file in the source tree's `bench/results/`, or in the current directory without a source tree."""
    name = f"{prefix}{datetime.now():%Y%m%d-%H%M%S}-{describe_git().commit[:8] or 'installed'}.json"
    return PROJECT / "bench" / "results" / name if (PROJECT / ".git").exists() else Path(name)


def describe_git() -> Git:
    """The commit of the source the bench runs from."""
    commit = _output(["git", "rev-parse", "HEAD"]).strip()
    if not re.fullmatch(r"[0-9a-f]{40,64}", commit):
        return Git(commit="", dirty=False)
    return Git(commit=commit, dirty=bool(_output(["git", "status", "--porcelain", "-uno"]).strip()))
