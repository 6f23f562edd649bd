"""Rules about limits of processes, and about what a person has to set by other means."""

from gateway.tuning.rules import Area, Case, Rule, Situation, Verdict, size_text

LEAST_PROCESSES = 64


def _machine(name: str, *cases: Case, otherwise: str, source: str, applies: object = None) -> Rule:
    more = {} if applies is None else {"applies": applies}
    return Rule(Area.MACHINE, name, cases, otherwise, source, **more)  # type: ignore[arg-type]


def _open_files(situation: Situation) -> int | None:
    """What a worker of the running gateway may have; else what one started here could (it raises its own)."""
    running = situation.running
    if running is not None and running.open_files is not None:
        hard = situation.facts.open_files_hard
        return running.open_files if hard is None else max(running.open_files, hard)
    return situation.facts.open_files_hard


MACHINE_RULES: tuple[Rule, ...] = (
    Rule(
        Area.LIMIT,
        "open files",
        (
            Case(
                when=lambda s: (files := _open_files(s)) is not None and files < s.descriptors,
                wanted=lambda s: str(s.descriptors),
                reason=lambda s: (
                    f"a worker with {s.connections:,} clients may need {s.descriptors:,} descriptors "
                    "(two per client), "
                    "else clients wait to be accepted. LimitNOFILE= in a unit, --ulimit nofile= for "
                    "Docker, ulimit -n"
                ),
            ),
        ),
        "the gateway raises its own limit as far as its workers need",
        "documented: getrlimit(2)",
    ),
    Rule(
        Area.LIMIT,
        "processes (cgroup)",
        (
            Case(
                when=lambda s: (
                    (s.facts.limits.processes or LEAST_PROCESSES) < LEAST_PROCESSES + 8 * s.workers
                ),
                wanted=lambda s: str(LEAST_PROCESSES + 8 * s.workers),
                reason=lambda s: (
                    "threads count, too: the control process has some twenty, a worker a handful"
                ),
            ),
        ),
        "enough for workers, control process and their threads",
        "documented: admin-guide/cgroup-v2, pids.max",
        applies=lambda s: s.facts.limits.processes is not None,
    ),
    _machine(
        "processors",
        Case(
            when=lambda s: (
                s.facts.limits.processors is not None and s.facts.limits.processors < s.facts.processors
            ),
            wanted=None,
            reason=lambda s: (
                f"a cgroup grants {s.facts.limits.processors:g} of {s.facts.processors} processors; "
                "when its quota is "
                "used up everything stands still for up to 100 ms, which shows as p99. Whole "
                "processors (cpuset) do "
                "not have that"
            ),
            verdict=Verdict.CONSIDER,
        ),
        otherwise="no quota of a cgroup holds them back",
        source="documented: scheduler/sched-bwc",
    ),
    _machine(
        "memory",
        Case(
            when=lambda s: _shared_memory(s) > s.memory // 2,
            wanted=None,
            reason=lambda s: (
                f"cache and tables may grow to {size_text(_shared_memory(s))} of "
                f"{size_text(s.memory)}; leave half of it "
                "to processes and to the kernel's socket buffers"
            ),
            verdict=Verdict.CONSIDER,
        ),
        otherwise="cache and tables take less than half of it",
        source="documented: docs/tuning.md",
    ),
    _machine(
        "transparent huge pages",
        Case(
            when=lambda s: s.facts.huge_pages == "always",
            wanted=lambda s: "madvise",
            reason=lambda s: (
                "always gives 2 MiB where 4 KiB are touched: workers grow, and requests wait while "
                "pages are put "
                "together (/sys/kernel/mm/transparent_hugepage/enabled)"
            ),
            verdict=Verdict.CONSIDER,
        ),
        otherwise="only programs that ask for them get them",
        source="documented: admin-guide/mm/transhuge",
        applies=lambda s: s.facts.huge_pages is not None,
    ),
    _machine(
        "frequency governor",
        Case(
            when=lambda s: (
                "powersave" in s.facts.governors
                and not (s.facts.frequency_driver or "").startswith(("intel_pstate", "amd-pstate"))
            ),
            wanted=lambda s: "performance",
            reason=lambda s: "powersave keeps the processors at their lowest frequency, whatever the load",
        ),
        Case(
            when=lambda s: bool(s.facts.governors & {"ondemand", "conservative", "schedutil", "powersave"}),
            wanted=lambda s: "performance",
            reason=lambda s: "the frequency follows the load a moment late, which shows at light load as p99",
            verdict=Verdict.CONSIDER,
        ),
        otherwise="performance: the frequency does not follow the load",
        source="documented: admin-guide/pm/cpufreq",
        applies=lambda s: bool(s.facts.governors),
    ),
    _machine(
        "NUMA",
        Case(
            when=lambda s: len(s.facts.nodes) > 1,
            wanted=None,
            reason=lambda s: (
                f"{len(s.facts.nodes)} nodes: shared memory lies where it is touched first. One "
                "gateway per node "
                "(numactl --cpunodebind --membind), each with a listener with reuseport, keeps all of it near"
            ),
            verdict=Verdict.CONSIDER,
        ),
        otherwise="one node: all memory is equally near",
        source="documented: admin-guide/mm/numa_memory_policy",
        applies=lambda s: bool(s.facts.nodes),
    ),
)


def _shared_memory(situation: Situation) -> int:
    settings = situation.settings
    return settings.mem_cache_size + settings.rate_limit_table_size + settings.jwt_cache_size
