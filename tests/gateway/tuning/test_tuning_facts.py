"""What is read from /proc, /sys and cgroups; trees of them are made up."""

from pathlib import Path

import pytest
from fake_machines import GIB, machine, write

from gateway.tuning.cgroups import CgroupLimits, read_limits
from gateway.tuning.facts import parse_processors, read_facts
from gateway.tuning.profiles import choose_profile

V2_MOUNT = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n"
V1_MOUNTS = (
    "32 31 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n"
    "33 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
    "34 31 0:33 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n"
)


def test_version_2_takes_the_smallest_limit_on_the_way_up(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/mountinfo": V2_MOUNT,
            "proc/self/cgroup": "0::/system.slice/gateway.service\n",
            "sys/fs/cgroup/system.slice/cpu.max": "150000 100000\n",
            "sys/fs/cgroup/system.slice/memory.max": "max\n",
            "sys/fs/cgroup/system.slice/gateway.service/cpu.max": "max 100000\n",
            "sys/fs/cgroup/system.slice/gateway.service/memory.max": "1073741824\n",
            "sys/fs/cgroup/system.slice/gateway.service/memory.high": "536870912\n",
            "sys/fs/cgroup/system.slice/gateway.service/pids.max": "200\n",
        },
    )
    assert read_limits(tmp_path) == CgroupLimits(1.5, 512 << 20, 200)


def test_version_2_in_a_container_of_its_own_namespace(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/mountinfo": V2_MOUNT,
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/cpu.max": "50000 100000\n",
            "sys/fs/cgroup/memory.max": "268435456\n",
        },
    )
    assert read_limits(tmp_path) == CgroupLimits(0.5, 256 << 20, None)


def test_version_1_with_a_hierarchy_for_each_controller(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/mountinfo": V1_MOUNTS,
            "proc/self/cgroup": "5:pids:/a\n4:memory:/a\n1:cpu,cpuacct:/a\n0::/\n",
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "200000\n",
            "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000\n",
            "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "9223372036854771712\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "2147483648\n",
            "sys/fs/cgroup/pids/a/pids.max": "max\n",
        },
    )
    assert read_limits(tmp_path) == CgroupLimits(2.0, 2 * GIB, None)


def test_version_1_of_a_container_that_sees_only_its_own_part(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/self/mountinfo": "33 31 0:32 /docker/a /sys/fs/cgroup/memory ro - cgroup none rw,memory\n",
            "proc/self/cgroup": "4:memory:/docker/a\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "134217728\n",
        },
    )
    assert read_limits(tmp_path) == CgroupLimits(None, 128 << 20, None)


@pytest.mark.parametrize(
    "files",
    [
        {},
        {"proc/self/mountinfo": "nonsense\n\n1 2\n", "proc/self/cgroup": "\n:::\nnonsense"},
        {
            "proc/self/mountinfo": V2_MOUNT,
            "proc/self/cgroup": "0::/../../etc\n",
            "sys/fs/cgroup/cpu.max": "many few\n",
            "sys/fs/cgroup/memory.max": "",
        },
        {
            "proc/self/mountinfo": V1_MOUNTS,
            "proc/self/cgroup": "1:cpu,cpuacct:/\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
            "sys/fs/cgroup/cpu,cpuacct/cpu.cfs_period_us": "100000\n",
        },
    ],
    ids=["nothing there", "nonsense", "outside", "no quota"],
)
def test_what_cannot_be_read_is_no_limit(tmp_path: Path, files: dict[str, str]) -> None:
    write(tmp_path, files)
    assert read_limits(tmp_path) == CgroupLimits()


def test_facts_of_a_made_up_machine(tmp_path: Path) -> None:
    write(
        tmp_path,
        {
            "proc/meminfo": "MemTotal:        8388608 kB\nSwapTotal:       1048576 kB\nnonsense\n",
            "proc/sys/net/core/somaxconn": "4096\n",
            "proc/sys/net/ipv4/ip_local_port_range": "32768\t60999\n",
            "proc/sys/net/ipv4/tcp_rmem": "4096\t131072\t6291456\n",
            "proc/sys/net/netfilter/nf_conntrack_count": "12\n",
            "sys/devices/system/node/node0/cpulist": "0-3,8\n",
            "sys/devices/system/node/node1/cpulist": "4-7\n",
            "sys/devices/system/node/node2/cpulist": "\n",
            "sys/kernel/mm/transparent_hugepage/enabled": "[always] madvise never\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor": "powersave\n",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_governor": "performance\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_driver": "acpi-cpufreq\n",
            "proc/net/sockstat": "sockets: used 9\nTCP: inuse 5 orphan 2 tw 7 alloc 9 mem 1\n",
            "proc/net/netstat": "TcpExt: SyncookiesSent ListenOverflows\nTcpExt: 0 41\nIpExt: A\nIpExt: 1\n",
            "proc/net/softnet_stat": "00aa 00000003 00\n0001 0000000a 00\n",
            "run/.containerenv": "",
        },
    )
    facts = read_facts(tmp_path)
    assert facts.memory == 8 * GIB
    assert facts.swap == GIB
    assert facts.sysctls["net.ipv4.ip_local_port_range"] == "32768 60999"
    assert "fs.nr_open" not in facts.sysctls
    assert facts.nodes == {0: (0, 1, 2, 3, 8), 1: (4, 5, 6, 7)}
    assert facts.huge_pages == "always"
    assert facts.governors == {"powersave", "performance"}
    assert facts.frequency_driver == "acpi-cpufreq"
    assert facts.container
    assert facts.sysctls_writable
    signs = facts.signs
    assert (signs.listen_overflows, signs.time_wait, signs.orphans) == (41, 7, 2)
    assert (signs.packets_dropped, signs.tracked_connections) == (13, 12)


def test_nothing_to_read_at_all(tmp_path: Path) -> None:
    facts = read_facts(tmp_path)
    assert facts.memory is None
    assert facts.usable_memory is None
    assert not facts.container
    assert not facts.sysctls_writable
    assert facts.processors >= 1
    assert facts.signs.listen_overflows is None


def test_this_machine_can_be_read() -> None:
    facts = read_facts()
    assert facts.memory
    assert facts.sysctls["net.core.somaxconn"].isdecimal()
    assert 0 < facts.usable_processors <= facts.processors


def test_processor_lists() -> None:
    assert parse_processors("0-2,7\n") == (0, 1, 2, 7)
    assert parse_processors("") == ()
    assert parse_processors("x,3-,-2,1") == (1, 3)


@pytest.mark.parametrize(
    ("processors", "quota", "memory", "name"),
    [
        (1, None, 8 * GIB, "small"),
        (64, 1.0, 64 * GIB, "small"),
        (4, None, 8 * GIB, "medium"),
        (4, None, GIB // 2, "small"),
        (16, None, 64 * GIB, "large"),
        (32, None, 2 * GIB, "medium"),
        (32, None, 256 * GIB, "xlarge"),
        (4, None, None, "medium"),
    ],
)
def test_profile_goes_by_what_is_scarcer(
    processors: int, quota: float | None, memory: int | None, name: str
) -> None:
    facts = machine(processors=processors, memory=memory, limits=CgroupLimits(processors=quota))
    assert choose_profile(facts).name == name
