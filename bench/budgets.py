"""What the gateway must reach in the scenarios here, judged on medians over the rounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from bench.plugin_setups import MANY_RANGES
from bench.report import Budget, Scenario
from bench.scenarios import FEW_ROUTES, IDLE_CONNECTIONS, MANY_ROUTES, PER_CPU

MIB = 1024 * 1024
KIB = 1024


@dataclass(frozen=True)
class BudgetSpec:
    """A budget and how its value is read from a scenario (None: not measured)."""

    name: str
    scenario: str
    unit: str
    limit: float
    aim: float | None
    at_least: bool
    value: Callable[[Scenario], float | None]


def _ratio(metric: str, numerator: str, denominator: str) -> Callable[[Scenario], float | None]:
    def value(scenario: Scenario) -> float | None:
        found = scenario.ratio(metric, numerator, denominator)
        return found.per_round.median if found else None

    return value


def _median(lane_name: str, metric: str, per: float = 1.0) -> Callable[[Scenario], float | None]:
    def value(scenario: Scenario) -> float | None:
        lane = scenario.lane(lane_name)
        summary = lane.summary.get(metric) if lane else None
        return summary.median / per if summary else None

    return value


def _largest(lane_name: str, metric: str) -> Callable[[Scenario], float | None]:
    def value(scenario: Scenario) -> float | None:
        lane = scenario.lane(lane_name)
        summary = lane.summary.get(metric) if lane else None
        return summary.max if summary else None

    return value


def _at_start(lane_name: str, metric: str, per: float) -> Callable[[Scenario], float | None]:
    def value(scenario: Scenario) -> float | None:
        lane = scenario.lane(lane_name)
        return lane.start[metric] / per if lane and metric in lane.start else None

    return value


def _against_nginx(scenario: str, title: str) -> BudgetSpec:
    value = _ratio(PER_CPU, "gateway", "nginx")
    return BudgetSpec(f"Requests per CPU-second, {title}", scenario, "× nginx", 1.30, 1.50, True, value)


BUDGETS = [
    _against_nginx("proxy-small", "0.2 KiB bodies"),
    _against_nginx("proxy-4k", "4 KiB bodies"),
    _against_nginx("proxy-64k", "64 KiB bodies"),
    _against_nginx("post-1k", "1 KiB request bodies"),
    _against_nginx("post-64k", "64 KiB request bodies"),
    BudgetSpec(
        f"Requests per CPU-second, {IDLE_CONNECTIONS:,} idle connections beside",
        "idle",
        "× nginx",
        1.30,
        1.50,
        True,
        _ratio(PER_CPU, "gateway-idle", "nginx-idle"),
    ),
    BudgetSpec(
        f"Requests per CPU-second, {MANY_ROUTES:,} routes instead of {FEW_ROUTES}",
        "routes",
        f"× {FEW_ROUTES} routes",
        0.95,
        0.98,
        True,
        _ratio(PER_CPU, f"gateway-{MANY_ROUTES}", f"gateway-{FEW_ROUTES}"),
    ),
    BudgetSpec(
        "Requests per CPU-second, key-auth + rate-limiting + metrics",
        "key-auth-limited",
        "× nginx without any of it",
        1.20,
        1.40,
        True,
        _ratio(PER_CPU, "gateway", "nginx"),
    ),
    BudgetSpec(
        "Requests per CPU-second, jwt + rate-limiting",
        "jwt-limited",
        "× nginx without any of it",
        1.15,
        1.35,
        True,
        _ratio(PER_CPU, "gateway", "nginx"),
    ),
    *(
        BudgetSpec(
            f"Requests per CPU-second, cache hits of {title} with key-auth + rate-limiting",
            scenario,
            "× nginx proxy_cache without them",
            1.80,
            2.50,
            True,
            _ratio(PER_CPU, "gateway-limited", "nginx"),
        )
        for scenario, title in (
            ("cache-hit-1k", "1 KiB"),
            ("cache-hit-16k", "16 KiB"),
            ("cache-hit-1m", "1 MiB"),
        )
    ),
    *(
        BudgetSpec(
            f"Requests per CPU-second, {title}",
            "plugins",
            unit,
            limit,
            None,
            True,
            _ratio(PER_CPU, setup, to),
        )
        for title, setup, to, unit, limit in (
            ("key-auth alone", "key-auth", "plain", "× plain", 0.97),
            ("acl on top of key-auth", "acl", "key-auth", "× key-auth", 0.97),
            (f"ip-restriction with {MANY_RANGES:,} ranges", "ip-restriction", "plain", "× plain", 0.97),
            ("cors", "cors", "plain", "× plain", 0.97),
            ("correlation-id", "correlation-id", "plain", "× plain", 0.97),
            ("rate-limiting local", "rate-limiting", "plain", "× plain", 0.94),
        )
    ),
    BudgetSpec(
        "Throughput, rate-limiting on Redis for each request",
        "plugins",
        "× local",
        0.40,
        None,
        True,
        _ratio("requests_per_second", "rate-limiting-redis", "rate-limiting"),
    ),
    BudgetSpec(
        "A Python plugin that does nothing",
        "plugins",
        "requests per CPU-second",
        15_000,
        None,
        True,
        _median("python", PER_CPU),
    ),
    BudgetSpec(
        "p99 added at half load", "half-load", "ms", 1.0, 0.3, False, _ratio("p99_ms", "gateway", "direct")
    ),
    BudgetSpec(
        f"New configuration of {MANY_ROUTES:,} routes in all workers",
        "reload",
        "ms",
        500.0,
        100.0,
        False,
        _median("gateway-reloading", "reload_ms"),
    ),
    BudgetSpec(
        "p99 risen by new configurations",
        "reload",
        "ms",
        1.0,
        None,
        False,
        _ratio("p99_ms", "gateway-reloading", "gateway"),
    ),
    BudgetSpec(
        "Requests failed by new configurations",
        "reload",
        "requests",
        0.0,
        0.0,
        False,
        _largest("gateway-reloading", "failed_requests"),
    ),
    BudgetSpec(
        "Requests failed by SIGHUP",
        "reload-signal",
        "requests",
        0.0,
        0.0,
        False,
        _largest("gateway-reloading", "failed_requests"),
    ),
    BudgetSpec(
        "Memory per worker at start (PSS)",
        "proxy-small",
        "MiB",
        60.0,
        30.0,
        False,
        _at_start("gateway", "worker_pss_bytes", MIB),
    ),
    BudgetSpec(
        "Memory per idle connection",
        "idle",
        "KiB",
        8.0,
        4.0,
        False,
        _median("gateway-idle", "bytes_per_idle_connection", KIB),
    ),
]


def judge(scenarios: list[Scenario]) -> list[Budget]:
    """Every budget with what was measured; `kept` is null where nothing was."""
    by_name = {scenario.name: scenario for scenario in scenarios}
    judged = []
    for spec in BUDGETS:
        scenario = by_name.get(spec.scenario)
        measured = spec.value(scenario) if scenario else None
        judged.append(
            Budget(
                name=spec.name,
                scenario=spec.scenario,
                unit=spec.unit,
                limit=spec.limit,
                aim=spec.aim,
                at_least=spec.at_least,
                measured=measured,
                kept=_within(measured, spec.limit, spec.at_least),
                aim_reached=_within(measured, spec.aim, spec.at_least),
            )
        )
    return judged


def _within(measured: float | None, bound: float | None, at_least: bool) -> bool | None:
    if measured is None or bound is None:
        return None
    return measured >= bound if at_least else measured <= bound
