"""A sweep: one load, several gateways that differ in settings, all of them measured in turn.

An *experiment* is a scenario under every combination of some settings' values. Each combination is a lane
with a gateway of its own, so that rounds are interleaved as everywhere in the bench, and the report is an
ordinary report: its scenarios are the experiments, its ratios compare each combination with the first one.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace

from bench.compare import LANE_METRICS, Verdict
from bench.load import Load
from bench.processes import BenchError
from bench.report import Ratio, Scenario
from bench.scenarios import SCENARIOS, LaneSpec, RatioSpec, ScenarioSpec
from bench.spread import DEVIATIONS, NOISE_FLOOR, relative_deviation

MOST_COMBINATIONS = 16
"""of one experiment: that many gateways run at the same time"""
LONGEST_SECONDS = 3600.0
START_SECONDS = 3.0
"""for a gateway to start; only for the estimate"""
POPULAR = 20_000
CACHE_SCENARIO = "cache-popular"
PREFIX = "sweep "
"""begins the names of experiments, so that no budget takes them for its scenario"""
COMPARED = (
    "requests_per_cpu_second",
    "requests_per_second",
    "p50_ms",
    "p99_ms",
    "worker_pss_bytes",
    "hit_rate",
)
MORE_IS_BETTER = {**LANE_METRICS, "hit_rate": True}
OF_THE_BENCH = frozenset(
    (
        *("prefix", "database", "declarative_config", "declarative_config_string", "declarative_writable"),
        *("proxy_listen", "admin_listen", "status_listen", "plugin_path", "user", "node_id"),
    )
)
"""settings without which the bench could not start what it measures"""


@dataclass(frozen=True)
class Sweep:
    """A setting and the texts it is to have, in turn."""

    name: str
    values: tuple[str, ...]


@dataclass(frozen=True)
class Experiment:
    """A scenario, and what is varied in it. `lane`: which of its loads; empty: the gateway's first."""

    scenario: str
    sweeps: tuple[Sweep, ...]
    lane: str = ""

    @property
    def combinations(self) -> list[tuple[tuple[str, str], ...]]:
        """Every combination of the values, the first values first."""
        named = [[(sweep.name, value) for value in sweep.values] for sweep in self.sweeps]
        return list(itertools.product(*named))


def _one(scenario: str, name: str, *values: str, lane: str = "") -> Experiment:
    return Experiment(scenario, (Sweep(name, values),), lane)


# What docs/tuning.md is written from: about six minutes with --rounds 5 --seconds 2.
PRESETS: dict[str, tuple[Experiment, ...]] = {
    "docs": (
        _one("proxy-small", "worker_processes", "1", "2", "4"),
        Experiment(
            "proxy-small", (Sweep("worker_processes", ("2",)), Sweep("cpu_affinity", ("off", "auto")))
        ),
        _one("proxy-small", "upstream_keepalive_pool_size", "512", "16", "0"),
        _one("proxy-small", "keepalive_requests", "10000", "100", "10"),
        _one("proxy-small", "proxy_access_log", "off", "logs/access.log"),
        _one("post-64k", "client_body_buffer_size", "8k", "64k"),
        _one("jwt-limited", "jwt_cache_size", "32m", "0"),
        _one(CACHE_SCENARIO, "mem_cache_size", "256m", "32m", "4m"),
    )
}


def parse_sweep(text: str) -> Sweep:
    """NAME=a,b as a sweep; a semicolon, where there is one, separates values instead. Raises BenchError."""
    name, equals, rest = text.partition("=")
    name = name.strip().lower().removeprefix("gateway_")
    if not equals or not name:
        raise BenchError(f"{text!r} is no sweep: NAME=value,value")
    return make_sweep(name, rest)


def make_sweep(name: str, text: str) -> Sweep:
    """The values of a known setting, each checked as the gateway would."""
    from gateway.settings import DECLARATIONS

    if name not in DECLARATIONS or name in OF_THE_BENCH:
        raise BenchError(f"{name} is {'set by the bench itself' if name in DECLARATIONS else 'no setting'}")
    values = tuple(part.strip() for part in text.split(";" if ";" in text else ","))
    for value in values:
        try:
            DECLARATIONS[name].kind.parse(value)
        except (ValueError, KeyError):
            raise BenchError(f"{name}={value}: allowed is {DECLARATIONS[name].kind.allowed}") from None
    if len(set(values)) != len(values):
        raise BenchError(f"{name}: a value stands twice")
    return Sweep(name, values)


def experiments_for(sweeps: Sequence[Sweep], scenarios: Sequence[str]) -> list[Experiment]:
    """An experiment for each SCENARIO or SCENARIO:LANE; without any, one that fits. Raises BenchError."""
    if not sweeps:
        raise BenchError("nothing to vary: --workers, --cache-size, --setting NAME=a,b or --preset")
    if len({sweep.name for sweep in sweeps}) != len(sweeps):
        raise BenchError("a setting is given twice")
    cached = any(sweep.name == "mem_cache_size" for sweep in sweeps)
    found = []
    for text in scenarios or ([CACHE_SCENARIO] if cached else ["proxy-small"]):
        name, _, lane = text.partition(":")
        experiment = Experiment(name, tuple(sweeps), lane)
        load_of(experiment)
        found.append(experiment)
    for experiment in found:
        if len(experiment.combinations) > MOST_COMBINATIONS:
            raise BenchError(f"{len(experiment.combinations)} combinations are more than {MOST_COMBINATIONS}")
    return found


def load_of(experiment: Experiment) -> LaneSpec:
    """The lane of the gateway whose load an experiment takes. BenchError when there is none."""
    if experiment.scenario == CACHE_SCENARIO:
        return LaneSpec("gateway", "gateway", Load("/4k"), setup="cache", popular=POPULAR)
    if experiment.scenario not in SCENARIOS:
        raise BenchError(
            f"no scenario {experiment.scenario!r}; there are {CACHE_SCENARIO}, {', '.join(SCENARIOS)}"
        )
    lanes = [lane for lane in SCENARIOS[experiment.scenario].lanes(["gateway"]) if lane.proxy == "gateway"]
    named = [lane for lane in lanes if experiment.lane in ("", lane.name)]
    if not named:
        there = ", ".join(lane.name for lane in lanes)
        raise BenchError(f"{experiment.scenario} has no lane {experiment.lane!r}; there are {there}")
    return named[0]


def scenario_of(experiment: Experiment, number: int) -> ScenarioSpec:
    """What the runner runs. Numbered: several experiments may vary different settings under one load."""
    load = load_of(experiment)
    lanes = [
        replace(load, name=lane_name(combination), settings=combination)
        for combination in experiment.combinations
    ]
    varied = ", ".join(sweep.name for sweep in experiment.sweeps)
    where = f"{experiment.scenario}:{experiment.lane}" if experiment.lane else experiment.scenario
    first, *others = [lane.name for lane in lanes]
    return ScenarioSpec(
        f"{PREFIX}{number}",
        f"{varied} under {where}",
        lambda proxies: lanes,
        [RatioSpec(metric, other, first) for other in others for metric in COMPARED],
    )


def lane_name(combination: Sequence[tuple[str, str]]) -> str:
    """A combination as people read it."""
    return ", ".join(f"{name}={value}" for name, value in combination)


def most_workers(experiments: Sequence[Experiment]) -> int:
    """Of any gateway: they all get the same CPUs, or differences would be those of the CPUs."""
    counts = [1]
    for experiment in experiments:
        for sweep in experiment.sweeps:
            if sweep.name == "worker_processes":
                counts += [int(value) for value in sweep.values if value.isdecimal()]
    return max(counts)


def seconds_planned(experiments: Sequence[Experiment], rounds: int, seconds: float, warm_up: float) -> float:
    """About how long it takes."""
    runs = sum(len(experiment.combinations) for experiment in experiments)
    return runs * (rounds * (seconds + warm_up) + START_SECONDS)


@dataclass(frozen=True)
class Difference:
    """A combination beside the first one: how one metric differs, and whether noise explains it."""

    lane: str
    metric: str
    change: float
    """of the rounds' median: 0.1 is a tenth more"""
    noise: float | None
    """what noise alone may do; None after a single round"""
    verdict: Verdict


def differences(scenario: Scenario) -> list[Difference]:
    """Every comparison of a finished experiment."""
    return [_difference(ratio) for ratio in scenario.ratios if ratio.kind == "ratio"]


def _difference(ratio: Ratio) -> Difference:
    change = ratio.per_round.median - 1
    deviation = relative_deviation(ratio.per_round)
    if deviation is None:
        return Difference(ratio.numerator, ratio.metric, change, None, Verdict.UNKNOWN)
    noise = max(NOISE_FLOOR, DEVIATIONS * deviation * abs(ratio.per_round.median))
    if abs(change) <= noise:
        verdict = Verdict.NOISE
    else:
        more_is_better = MORE_IS_BETTER.get(ratio.metric, False)
        verdict = Verdict.BETTER if (change > 0) == more_is_better else Verdict.WORSE
    return Difference(ratio.numerator, ratio.metric, change, noise, verdict)
