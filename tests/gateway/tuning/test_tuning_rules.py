"""What the rules say about made-up machines."""

import re
from pathlib import Path

import pytest
from fake_machines import FACTS, GIB, machine, situation

from gateway.settings import DECLARATIONS
from gateway.tuning.advice import RULES, Advice, advise
from gateway.tuning.cgroups import CgroupLimits
from gateway.tuning.presets import main as write_presets
from gateway.tuning.profiles import PROFILES
from gateway.tuning.rules import Area, Situation, Verdict

PROJECT = Path(__file__).parents[3]


def about(name: str, at: Situation) -> Advice:
    """What is said about one thing."""
    return next(one for one in advise(at) if one.name == name)


def test_nothing_to_change_where_nothing_helps() -> None:
    advice = advise(situation())
    assert [one.name for one in advice if one.verdict is not Verdict.KEEP] == []
    assert all(one.reason and one.wanted is None for one in advice)


@pytest.mark.parametrize("profile", PROFILES)
def test_settings_of_a_profile_please_it(profile: str) -> None:
    """On a machine of that size what the preset sets is not to be changed again."""
    sized = {"small": (1, GIB), "medium": (4, 8 * GIB), "large": (16, 64 * GIB), "xlarge": (64, 256 * GIB)}
    processors, memory = sized[profile]
    facts = machine(processors=processors, memory=memory)
    flags = {**PROFILES[profile].settings, "cpu_affinity": "off", "worker_processes": str(processors)}
    at = Situation(facts, situation(**flags).settings, PROFILES[profile])
    changes = [one for one in advise(at) if one.area is Area.SETTING and one.verdict is Verdict.CHANGE]
    assert changes == []


def test_quota_of_a_cgroup_bounds_the_workers() -> None:
    facts = machine(processors=16, limits=CgroupLimits(processors=1.5))
    found = about("worker_processes", situation(facts, worker_processes="16"))
    assert (found.verdict, found.current, found.wanted) == (Verdict.CHANGE, "16", "2")
    assert "1.5 processors" in found.reason
    assert about("processors", situation(facts)).verdict is Verdict.CONSIDER


def test_affinity_and_a_quota_do_not_go_together() -> None:
    facts = machine(limits=CgroupLimits(processors=2.0))
    found = about("cpu_affinity", situation(facts, cpu_affinity="0"))
    assert (found.verdict, found.wanted) == (Verdict.CHANGE, "off")


def test_cache_fits_the_memory_of_the_container() -> None:
    facts = machine(limits=CgroupLimits(memory=256 << 20))
    found = about("mem_cache_size", situation(facts, mem_cache_size="1g"))
    assert (found.verdict, found.wanted) == (Verdict.CHANGE, "64m")
    assert about("memory", situation(facts, mem_cache_size="1g")).verdict is Verdict.CONSIDER


def test_larger_tables_depend_on_the_traffic() -> None:
    found = about("mem_cache_size", situation(machine(memory=64 * GIB), "large"))
    assert (found.verdict, found.wanted) == (Verdict.CONSIDER, "1g")
    assert "proxy-cache" in found.reason


def test_listener_without_reuseport() -> None:
    found = about("proxy_listen", situation(proxy_listen="0.0.0.0:8000, 127.0.0.1:9000 reuseport"))
    assert found.wanted == "0.0.0.0:8000 reuseport, 127.0.0.1:9000 reuseport"


@pytest.mark.parametrize(
    ("flags", "name", "wanted"),
    [
        ({"upstream_keepalive_pool_size": "8"}, "upstream_keepalive_pool_size", "512"),
        ({"upstream_keepalive_max_requests": "10"}, "upstream_keepalive_max_requests", "10000"),
        ({"keepalive_requests": "10"}, "keepalive_requests", "10000"),
        ({"keepalive_timeout": "0"}, "keepalive_timeout", "75s"),
        ({"log_level": "debug"}, "log_level", "notice"),
    ],
)
def test_settings_that_cost(flags: dict[str, str], name: str, wanted: str) -> None:
    found = about(name, situation(**flags))
    assert (found.verdict, found.wanted) == (Verdict.CHANGE, wanted)
    DECLARATIONS[name].kind.parse(wanted)


@pytest.mark.parametrize(
    ("changed", "name", "wanted"),
    [
        ({"sysctls": {"net.core.somaxconn": "128"}}, "net.core.somaxconn", "4096"),
        ({"signs": {"listen_overflows": 3}}, "net.core.somaxconn", "16384"),
        (
            {"sysctls": {"net.ipv4.tcp_syncookies": "0"}},
            "net.ipv4.tcp_max_syn_backlog",
            "4096",
        ),
        ({"sysctls": {"net.ipv4.tcp_syncookies": "0"}}, "net.ipv4.tcp_syncookies", "1"),
        ({"signs": {"time_wait": 20000}}, "net.ipv4.ip_local_port_range", "10240 65535"),
        ({"signs": {"time_wait": 20000}}, "net.ipv4.tcp_tw_reuse", "1"),
        ({"signs": {"orphans": 100000}}, "net.ipv4.tcp_fin_timeout", "15"),
        ({"signs": {"packets_dropped": 1}}, "net.core.netdev_max_backlog", "8192"),
        ({"sysctls": {"net.ipv4.tcp_slow_start_after_idle": "1"}}, "net.ipv4.tcp_slow_start_after_idle", "0"),
        ({"sysctls": {"net.ipv4.tcp_rmem": "4096 87380 200000"}}, "net.ipv4.tcp_rmem", "4096 131072 4194304"),
        (
            {"sysctls": {"net.ipv4.tcp_wmem": "1048576 1048576 4194304"}},
            "net.ipv4.tcp_wmem",
            "4096 16384 4194304",
        ),
        (
            {"sysctls": {"net.netfilter.nf_conntrack_max": "65536"}},
            "net.netfilter.nf_conntrack_max",
            "262144",
        ),
        ({"sysctls": {"fs.nr_open": "20000"}}, "fs.nr_open", "66560"),
        ({"sysctls": {"fs.file-max": "100000"}}, "fs.file-max", "266240"),
        ({"sysctls": {"vm.overcommit_memory": "2"}}, "vm.overcommit_memory", "0"),
        ({"swap": GIB}, "vm.swappiness", "10"),
        ({"sysctls": {"kernel.pid_max": "1000"}}, "kernel.pid_max", "32768"),
        ({"open_files_hard": 1024}, "open files", "33280"),
        ({"limits": CgroupLimits(processes=70)}, "processes (cgroup)", "96"),
        ({"huge_pages": "always"}, "transparent huge pages", "madvise"),
        ({"governors": frozenset({"powersave"})}, "frequency governor", "performance"),
        ({"nodes": {0: (0, 1), 1: (2, 3)}}, "cpu_affinity", "auto"),
    ],
)
def test_kernel_and_machine(changed: dict[str, object], name: str, wanted: str) -> None:
    found = about(name, situation(machine(**changed)))  # type: ignore[arg-type]
    assert found.verdict in (Verdict.CHANGE, Verdict.CONSIDER)
    assert found.wanted == wanted


def test_own_ports_are_reserved_where_outgoing_connections_could_take_them() -> None:
    facts = machine(sysctls={"net.ipv4.ip_local_reserved_ports": "5000,40000"})
    at = situation(facts, proxy_listen="0.0.0.0:40000 reuseport, 0.0.0.0:40001 reuseport")
    assert about("net.ipv4.ip_local_reserved_ports", at).wanted == "5000,40000,40001"


def test_bbr_needs_nothing_for_idle_connections() -> None:
    facts = machine(
        sysctls={"net.ipv4.tcp_slow_start_after_idle": "1", "net.ipv4.tcp_congestion_control": "bbr"}
    )
    assert about("net.ipv4.tcp_slow_start_after_idle", situation(facts)).verdict is Verdict.KEEP


def test_what_cannot_be_read_is_unknown_and_nothing_is_guessed() -> None:
    advice = advise(situation(machine(memory=None)))
    assert about("mem_cache_size", situation(machine(memory=None))).verdict is Verdict.UNKNOWN
    bare = Situation(machine(memory=None), situation().settings, PROFILES["large"])
    object.__setattr__(bare.facts, "sysctls", {})
    kernel = [one for one in advise(bare) if one.area is Area.KERNEL]
    assert {one.verdict for one in kernel} <= {Verdict.UNKNOWN, Verdict.KEEP}
    assert any(one.verdict is Verdict.UNKNOWN for one in advice)


def test_what_is_advised_pleases_the_next_time() -> None:
    """The kernel's values as advised are not to be changed once more."""
    facts = machine(
        processors=16,
        memory=64 * GIB,
        signs={"listen_overflows": 9, "packets_dropped": 9, "time_wait": 30000},
    )
    first = advise(situation(facts, "large"))
    kernel = {one.name: str(one.wanted) for one in first if one.area is Area.KERNEL and one.wanted}
    assert kernel
    again = machine(
        sysctls=kernel, processors=16, memory=64 * GIB, signs={"listen_overflows": 9, "packets_dropped": 9}
    )
    assert [
        one.name for one in advise(situation(again, "large")) if one.area is Area.KERNEL and one.wanted
    ] == []


def test_rules_are_about_what_there_is() -> None:
    names = [(rule.area, rule.name) for rule in RULES]
    assert len(set(names)) == len(names)
    for rule in RULES:
        assert rule.area is not Area.SETTING or rule.name in DECLARATIONS
        assert rule.otherwise
        assert re.match(r"measured: |documented: ", rule.source)


def test_every_setting_that_matters_for_speed_is_in_the_document() -> None:
    text = (PROJECT / "docs" / "tuning.md").read_text()
    marked = {name for name, declaration in DECLARATIONS.items() if declaration.performance}
    assert {rule.name for rule in RULES if rule.area is Area.SETTING} <= marked
    missing = [name for name in marked if f"`GATEWAY_{name.upper()}`" not in text]
    assert missing == []


def test_every_kernel_setting_of_a_rule_is_in_the_document() -> None:
    text = (PROJECT / "docs" / "tuning.md").read_text()
    assert [rule.name for rule in RULES if rule.area is Area.KERNEL and f"`{rule.name}`" not in text] == []


def test_presets_are_those_of_the_profiles(tmp_path: Path) -> None:
    """`make docs` writes them."""
    write_presets(tmp_path)
    for file in tmp_path.glob("*/*"):
        kept = PROJECT / "tuning" / file.relative_to(tmp_path)
        assert kept.read_text() == file.read_text()
    assert {path.name for path in tmp_path.iterdir()} == set(PROFILES)


def test_facts_made_up_here_are_of_the_size_medium() -> None:
    assert FACTS.usable_processors == 4
