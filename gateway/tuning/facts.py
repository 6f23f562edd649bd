"""What there is: processors, memory, limits, kernel settings, and signs that something was short already.

Everything is read, nothing is changed. `root` stands before every path, so that tests give a tree of their
own. What cannot be read is None or missing, never a guess.
"""

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway.tuning.cgroups import CgroupLimits, read_limits

SYSCTLS = (
    "fs.file-max",
    "fs.nr_open",
    "kernel.pid_max",
    "net.core.netdev_max_backlog",
    "net.core.somaxconn",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.tcp_congestion_control",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_max_orphans",
    "net.ipv4.tcp_max_syn_backlog",
    "net.ipv4.tcp_moderate_rcvbuf",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_slow_start_after_idle",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_tw_reuse",
    "net.ipv4.tcp_wmem",
    "net.netfilter.nf_conntrack_max",
    "vm.overcommit_memory",
    "vm.swappiness",
)
"""the kernel settings that rules look at"""
PER_NETWORK = "net."
"""beginning of those that belong to a network namespace: a container has its own"""
CONTAINER_MARKS = (".dockerenv", "run/.containerenv")
CONTAINER_WORDS = ("docker", "kubepods", "containerd", "libpod", "lxc")


@dataclass(frozen=True)
class Signs:
    """What the kernel has counted since the boot, or since the network namespace was made."""

    listen_overflows: int | None = None
    """connections refused because a listening socket's queue was full"""
    time_wait: int | None = None
    """sockets in TIME-WAIT now"""
    orphans: int | None = None
    """sockets now that no process has any more and that wait for the other side"""
    packets_dropped: int | None = None
    """because a processor's backlog was full (netdev_max_backlog)"""
    tracked_connections: int | None = None
    """in the connection tracking of the firewall now"""


@dataclass(frozen=True)
class Facts:
    """A machine, or the part of one that this process may use. Sizes are bytes."""

    processors: int
    """that this process may run on"""
    processors_present: int
    limits: CgroupLimits
    memory: int | None
    """of the machine"""
    swap: int
    nodes: Mapping[int, tuple[int, ...]]
    """NUMA nodes: number -> processors"""
    open_files_soft: int | None
    """None: no limit"""
    open_files_hard: int | None
    sysctls: Mapping[str, str]
    """by name; numbers in one line with single blanks between them"""
    sysctls_writable: bool
    container: bool
    huge_pages: str | None
    """always, madvise or never"""
    governors: frozenset[str]
    """of the processors' frequencies; empty: not known, or none"""
    frequency_driver: str | None
    is_root: bool
    signs: Signs = field(default_factory=Signs)

    @property
    def usable_processors(self) -> float:
        """Processors' worth of time: affinity and cgroup quota together."""
        quota = self.limits.processors
        return float(self.processors) if quota is None else min(float(self.processors), quota)

    @property
    def usable_memory(self) -> int | None:
        """Bytes: the machine's memory, or less where a cgroup says so."""
        known = [size for size in (self.memory, self.limits.memory) if size is not None]
        return min(known, default=None)


def read_facts(root: Path = Path("/")) -> Facts:
    """Look at this machine."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    memory = _memory(root)
    return Facts(
        processors=len(os.sched_getaffinity(0)),
        processors_present=os.cpu_count() or 1,
        limits=read_limits(root),
        memory=memory.get("MemTotal"),
        swap=memory.get("SwapTotal", 0),
        nodes=_nodes(root),
        open_files_soft=_unless_infinite(soft),
        open_files_hard=_unless_infinite(hard),
        sysctls=_sysctls(root),
        sysctls_writable=os.access(sysctl_path(root, "net.core.somaxconn"), os.W_OK),
        container=_in_container(root),
        huge_pages=_chosen(_text(root / "sys/kernel/mm/transparent_hugepage/enabled")),
        governors=_governors(root),
        frequency_driver=_text(root / "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver") or None,
        is_root=os.geteuid() == 0,
        signs=_signs(root),
    )


def sysctl_path(root: Path, name: str) -> Path:
    """Where a kernel setting lies."""
    return root / "proc/sys" / name.replace(".", "/")


def parse_processors(text: str) -> tuple[int, ...]:
    """Processor numbers of a list as the kernel writes it ("0-3,8"); what is not of that form is left out."""
    found: set[int] = set()
    for part in text.strip().split(","):
        first, _, last = part.partition("-")
        if first.isdecimal() and (last or first).isdecimal():
            found.update(range(int(first), int(last or first) + 1))
    return tuple(sorted(found))


def _unless_infinite(limit: int) -> int | None:
    return None if limit == resource.RLIM_INFINITY else limit


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return ""


def _memory(root: Path) -> dict[str, int]:
    """Lines of /proc/meminfo, in bytes."""
    found = {}
    for line in _text(root / "proc/meminfo").splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if words and words[0].isdecimal():
            found[name] = int(words[0]) * 1024
    return found


def _nodes(root: Path) -> dict[int, tuple[int, ...]]:
    found = {}
    for directory in sorted((root / "sys/devices/system/node").glob("node[0-9]*")):
        processors = parse_processors(_text(directory / "cpulist"))
        if processors and directory.name[4:].isdecimal():
            found[int(directory.name[4:])] = processors
    return found


def _sysctls(root: Path) -> dict[str, str]:
    texts = {name: " ".join(_text(sysctl_path(root, name)).split()) for name in SYSCTLS}
    # An empty one counts only where being empty means something.
    return {name: text for name, text in texts.items() if text or name.endswith("reserved_ports")}


def _in_container(root: Path) -> bool:
    if any((root / mark).exists() for mark in CONTAINER_MARKS):
        return True
    if "container=" in _text(root / "proc/1/environ"):
        return True
    return any(word in _text(root / "proc/1/cgroup") for word in CONTAINER_WORDS)


def _chosen(text: str) -> str | None:
    """The word in brackets: how the kernel shows which of several values is in force."""
    return text.partition("[")[2].partition("]")[0] or None


def _governors(root: Path) -> frozenset[str]:
    files = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor")
    return frozenset(filter(None, map(_text, files)))


def _signs(root: Path) -> Signs:
    sockets = _pairs(_text(root / "proc/net/sockstat"), "TCP")
    tracked = _text(root / "proc/sys/net/netfilter/nf_conntrack_count")
    return Signs(
        listen_overflows=_extended(_text(root / "proc/net/netstat")).get("ListenOverflows"),
        time_wait=sockets.get("tw"),
        orphans=sockets.get("orphan"),
        packets_dropped=_dropped(_text(root / "proc/net/softnet_stat")),
        tracked_connections=int(tracked) if tracked.isdecimal() else None,
    )


def _pairs(text: str, heading: str) -> dict[str, int]:
    """Numbers of a line "TCP: inuse 5 orphan 0 tw 3"."""
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if name == heading:
            pairs = zip(words[::2], words[1::2], strict=False)
            return {key: int(value) for key, value in pairs if value.isdecimal()}
    return {}


def _extended(text: str) -> dict[str, int]:
    """The counters of /proc/net/netstat's two TcpExt lines: names, then numbers."""
    lines = [line.split()[1:] for line in text.splitlines() if line.startswith("TcpExt:")]
    if len(lines) != 2:
        return {}
    return {name: int(value) for name, value in zip(*lines, strict=False) if value.isdecimal()}


def _dropped(text: str) -> int | None:
    """Second column, hexadecimal, of all processors together."""
    try:
        return sum(int(line.split()[1], 16) for line in text.splitlines()) if text else None
    except (IndexError, ValueError):
        return None
