"""Rules about the gateway's own settings. docs/tuning.md has the measurement behind each."""

from gateway.tuning.rules import Area, Case, Rule, Situation, Verdict, setting_size, size_text

CACHE_SHARE = 4
"""the cache may take a fourth of the memory"""
TABLES_SHARE = 16
"""each of the smaller tables a sixteenth"""
BYTES_UNDER_WAY = 30 * 1024
"""memory for a request under way: the exchange's record (13 KiB) and a buffer of 8 KiB for each side"""
FEW_REQUESTS = 100
"""on one connection: below that, opening connections begins to show"""
MEASURED = "measured: docs/tuning.md"


def _setting(name: str, *cases: Case, otherwise: str, source: str = MEASURED, applies: object = None) -> Rule:
    more = {} if applies is None else {"applies": applies}
    return Rule(Area.SETTING, name, cases, otherwise, source, **more)  # type: ignore[arg-type]


def _table(name: str, share: int, holds: str, used_by: str) -> Rule:
    """A region of shared memory: at most a share of the memory, and perhaps as much as the profile has."""

    def most(situation: Situation) -> int:
        return situation.memory // share

    def size(situation: Situation) -> int:
        return int(getattr(situation.settings, name))

    def profile_size(situation: Situation) -> int:
        return _bytes(situation.profile.settings[name])

    return _setting(
        name,
        Case(
            when=lambda s: size(s) > most(s),
            wanted=lambda s: setting_size(min(most(s), profile_size(s))),
            reason=lambda s: (
                f"{size_text(size(s))} is more than 1/{share} of the memory there is "
                f"({size_text(s.memory)}); once "
                "it fills, the kernel ends processes of the gateway"
            ),
        ),
        Case(
            when=lambda s: size(s) < min(profile_size(s), most(s)),
            wanted=lambda s: setting_size(min(profile_size(s), most(s))),
            reason=lambda s: f"{holds}; pages that are never used cost nothing. Of use with {used_by} only",
            verdict=Verdict.CONSIDER,
        ),
        otherwise="it fits the memory, and this size of machine",
    )


def _bytes(text: str) -> int:
    return int(text[:-1]) << {"k": 10, "m": 20, "g": 30}[text[-1]]


SETTINGS_RULES: tuple[Rule, ...] = (
    _setting(
        "worker_processes",
        Case(
            when=lambda s: s.settings.worker_processes > s.processors,
            wanted=lambda s: str(s.workers),
            reason=lambda s: (
                f"{s.facts.usable_processors:g} processors' worth of time for {s.settings.worker_processes} "
                "workers: they only take turns"
                + (
                    ", and when a cgroup's quota is used up, all of them stand still until its next period"
                    if s.facts.limits.processors
                    else ""
                )
            ),
        ),
        Case(
            when=lambda s: s.settings.worker_processes < s.workers,
            wanted=lambda s: "auto" if s.facts.limits.processors is None else str(s.workers),
            reason=lambda s: (
                f"{s.workers - s.settings.worker_processes} of {s.processors} processors serve "
                "nobody; leave them "
                "only to backends or databases on the same machine"
            ),
            verdict=Verdict.CONSIDER,
        ),
        otherwise="one worker for each processor that may be used; more would take turns",
    ),
    _setting(
        "worker_connections",
        Case(
            when=lambda s: s.settings.worker_connections * s.workers * BYTES_UNDER_WAY > s.memory // 2,
            wanted=lambda s: str(max(1024, s.memory // 2 // s.workers // BYTES_UNDER_WAY // 1024 * 1024)),
            reason=lambda s: (
                f"if all {s.settings.worker_connections:,} clients of {s.workers} workers sent "
                "requests at once, "
                f"their buffers (30 KiB each) would take more than half of {size_text(s.memory)}; idle "
                "connections take 0.2 KiB"
            ),
            verdict=Verdict.CONSIDER,
        ),
        Case(
            when=lambda s: (
                s.settings.texts["worker_connections"] == "auto"
                and s.settings.worker_connections < s.profile.connections <= 16384
            ),
            wanted=None,
            reason=lambda s: (
                "auto took what the limit of open files leaves; it is 16384 by itself when that "
                "limit is raised "
                "(see open files)"
            ),
            verdict=Verdict.KEEP,
        ),
        Case(
            when=lambda s: s.settings.worker_connections < s.profile.connections,
            wanted=lambda s: str(s.profile.connections),
            reason=lambda s: (
                "clients beyond it wait in the kernel's queue until another one leaves; of use where "
                "more than "
                f"{s.settings.worker_connections * s.settings.worker_processes:,} are connected at a time"
            ),
            verdict=Verdict.CONSIDER,
        ),
        otherwise="enough for this size of machine; each may need an upstream connection, too",
    ),
    _setting(
        "cpu_affinity",
        Case(
            when=lambda s: bool(s.settings.cpu_affinity) and s.facts.limits.processors is not None,
            wanted=lambda s: "off",
            reason=lambda s: (
                "a cgroup's quota gives time, not processors: pinned workers wait for theirs while "
                "others are free"
            ),
        ),
        Case(
            when=lambda s: (
                not s.settings.cpu_affinity and len(s.facts.nodes) > 1 and not s.facts.limits.processors
            ),
            wanted=lambda s: "auto",
            reason=lambda s: (
                f"{len(s.facts.nodes)} NUMA nodes: a worker that stays where it is keeps its memory "
                "near. Only "
                "where nothing else uses these processors"
            ),
            verdict=Verdict.CONSIDER,
        ),
        otherwise=(
            "without several NUMA nodes the kernel's scheduler does as well, and better when "
            "other programs run"
        ),
    ),
    _setting(
        "proxy_listen",
        Case(
            when=lambda s: (
                s.workers > 1
                and any(not listener.reuseport and not listener.path for listener in s.settings.proxy_listen)
            ),
            wanted=lambda s: ", ".join(
                word if "reuseport" in word else f"{word} reuseport"
                for word in map(str.strip, s.settings.texts["proxy_listen"].split(","))
            ),
            reason=lambda s: (
                "without reuseport all workers share one queue, and whoever wakes first takes the "
                "most connections"
            ),
        ),
        otherwise="each worker has a queue of its own (reuseport), or there is one worker",
        source="documented: socket(7), SO_REUSEPORT",
        applies=lambda s: bool(s.settings.proxy_listen),
    ),
    _table(
        "mem_cache_size", CACHE_SHARE, "more responses stay before the least used have to go", "proxy-cache"
    ),
    _table(
        "rate_limit_table_size",
        TABLES_SHARE,
        "16 bytes for each counter: 12m has room for 730,000 at a time",
        "rate-limiting by many consumers or addresses",
    ),
    _table("jwt_cache_size", TABLES_SHARE, "more verified tokens are known, each at 0.5 to 4 KiB", "jwt"),
    _setting(
        "upstream_keepalive_pool_size",
        Case(
            when=lambda s: (
                s.settings.upstream_keepalive_pool_size
                < int(s.profile.settings["upstream_keepalive_pool_size"])
            ),
            wanted=lambda s: s.profile.settings["upstream_keepalive_pool_size"],
            reason=lambda s: (
                "each request that finds no idle connection opens one, and what does not fit is "
                "closed: a smaller "
                "pool than requests under way to one address costs a handshake and a local port per request"
            ),
        ),
        otherwise=(
            "room for as many idle connections as one worker usually has requests under way to one address"
        ),
    ),
    _setting(
        "upstream_keepalive_max_requests",
        Case(
            when=lambda s: 0 < s.settings.upstream_keepalive_max_requests < FEW_REQUESTS,
            wanted=lambda s: "10000",
            reason=lambda s: "connections to upstreams are closed and opened again every few requests",
        ),
        otherwise="opening a connection once in so many requests does not show",
    ),
    _setting(
        "keepalive_requests",
        Case(
            when=lambda s: 0 < s.settings.keepalive_requests < FEW_REQUESTS,
            wanted=lambda s: "10000",
            reason=lambda s: "clients have to open a new connection every few requests",
        ),
        otherwise="opening a connection once in so many requests does not show",
    ),
    _setting(
        "keepalive_timeout",
        Case(
            when=lambda s: s.settings.keepalive_timeout == 0,
            wanted=lambda s: "75s",
            reason=lambda s: "0 makes every request open a connection of its own",
        ),
        otherwise=(
            "an idle connection costs 0.2 KiB here and some 3 KiB in the kernel: no reason to close it early"
        ),
    ),
    _setting(
        "client_body_buffer_size",
        otherwise="it only decides which bodies can be sent again in a retry; larger ones pass all the same",
    ),
    _setting(
        "proxy_access_log",
        otherwise="what a line for each request costs is within the noise of the measurement",
    ),
    _setting(
        "log_level",
        Case(
            when=lambda s: s.settings.log_level in ("debug", "info"),
            wanted=lambda s: "notice",
            reason=lambda s: f"{s.settings.log_level} is for looking into something, not for every day",
        ),
        otherwise="nothing is logged for requests that go well",
        source="documented: docs/settings.md",
    ),
)
