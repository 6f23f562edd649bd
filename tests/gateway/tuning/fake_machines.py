"""Trees of /proc and /sys made up for the tests, and facts without any."""

import dataclasses
from pathlib import Path
from typing import Any

from gateway.settings import Settings, load_settings
from gateway.tuning.cgroups import CgroupLimits
from gateway.tuning.facts import Facts, Signs
from gateway.tuning.profiles import PROFILES
from gateway.tuning.rules import Situation

GIB = 1 << 30
SYSCTLS = {
    "fs.file-max": "9223372036854775807",
    "fs.nr_open": "1048576",
    "kernel.pid_max": "4194304",
    "net.core.netdev_max_backlog": "1000",
    "net.core.somaxconn": "4096",
    "net.ipv4.ip_local_port_range": "32768 60999",
    "net.ipv4.ip_local_reserved_ports": "",
    "net.ipv4.tcp_congestion_control": "cubic",
    "net.ipv4.tcp_fin_timeout": "60",
    "net.ipv4.tcp_max_orphans": "131072",
    "net.ipv4.tcp_max_syn_backlog": "2048",
    "net.ipv4.tcp_moderate_rcvbuf": "1",
    "net.ipv4.tcp_rmem": "4096 131072 6291456",
    "net.ipv4.tcp_slow_start_after_idle": "0",
    "net.ipv4.tcp_syncookies": "1",
    "net.ipv4.tcp_tw_reuse": "2",
    "net.ipv4.tcp_wmem": "4096 16384 4194304",
    "vm.overcommit_memory": "0",
    "vm.swappiness": "60",
}
"""those of a Linux that nobody has tuned (but for tcp_slow_start_after_idle)"""
FACTS = Facts(
    processors=4,
    processors_present=4,
    limits=CgroupLimits(),
    memory=8 * GIB,
    swap=0,
    nodes={0: (0, 1, 2, 3)},
    open_files_soft=1024,
    open_files_hard=1048576,
    sysctls=SYSCTLS,
    sysctls_writable=True,
    container=False,
    huge_pages="madvise",
    governors=frozenset(),
    frequency_driver=None,
    is_root=True,
)
"""a machine of the size medium on which nothing needs to change"""


def write(root: Path, files: dict[str, str]) -> None:
    """Make files below a root."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def machine(
    *, sysctls: dict[str, str] | None = None, signs: dict[str, int] | None = None, **changed: Any
) -> Facts:
    """FACTS with something else."""
    return dataclasses.replace(
        FACTS, sysctls={**SYSCTLS, **(sysctls or {})}, signs=Signs(**(signs or {})), **changed
    )


def settings(**flags: str) -> Settings:
    """Settings that nobody has given, but for these."""
    given = {"worker_processes": "4", "worker_connections": "16384", **flags}
    return load_settings(None, {}, given)


def situation(facts: Facts = FACTS, profile: str = "medium", **flags: str) -> Situation:
    """What rules look at."""
    return Situation(facts, settings(**flags), PROFILES[profile])
