"""The report: what one `bench run` found, as written to JSON. `bench/README.md` explains every field."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec

FORMAT = 1


class ReportError(Exception):
    """A file that is no report, or one of another format."""


class Struct(msgspec.Struct, forbid_unknown_fields=True):
    """Base of all parts: a misspelt field in a report is an error, not a silent loss."""


class Machine(Struct):
    """Where the numbers come from. Without it they mean nothing."""

    cpu_model: str
    cpu_count: int  # CPUs of the machine
    cpus_usable: list[int]  # CPUs this process may use
    memory_bytes: int
    kernel: str
    system: str  # distribution
    virtualisation: str  # "none", or what the machine runs in
    load_average: list[float]  # over 1, 5 and 15 minutes, at the start: a busy machine measures badly


class Git(Struct):
    """Which source was measured; empty commit outside a repository."""

    commit: str
    dirty: bool  # tracked files differ from the commit


class Pinning(Struct):
    """CPU numbers each side was bound to; empty lists: not bound."""

    proxy: list[int]
    load: list[int]
    backend: list[int]
    control: list[int]  # the gateway's control process, when it was bound elsewhere than the rest


class Settings(Struct):
    """How it was measured."""

    rounds: int
    seconds: float  # of one measured run
    warm_up_seconds: float  # load before each measured run, not counted
    workers: int  # of the gateway and of each peer
    load_threads: int  # of wrk
    pinning: Pinning
    quick: bool  # a run that only shows that everything works


class Latency(Struct):
    """Milliseconds from sending a request to the end of its answer."""

    p50: float
    p75: float
    p90: float
    p99: float
    max: float
    mean: float


class Errors(Struct):
    """Requests that failed. `status` counts answers with 400 and above; the others are socket errors."""

    status: int
    connect: int
    read: int
    write: int
    timeout: int

    @property
    def total(self) -> int:
        return self.status + self.connect + self.read + self.write + self.timeout


class LoadResult(Struct):
    """What wrk counted in one run."""

    requests: int
    seconds: float
    bytes_read: float
    latency_ms: Latency
    errors: Errors

    @property
    def requests_per_second(self) -> float:
        return self.requests / self.seconds if self.seconds else 0.0


class Run(Struct):
    """One measured run of one lane. Absent values (null) could not be measured."""

    round: int
    load: LoadResult
    requests_per_second: float
    cpu_seconds: float | None  # whole process tree
    worker_cpu_seconds: float | None  # its workers only
    requests_per_cpu_second: float | None
    requests_per_worker_cpu_second: float | None
    cpu_share: float | None  # cpu_seconds over the run's time and the workers: 1 = the workers never rested
    foreign_cpu_share: float  # of the whole machine's CPU time, what went to neither proxy, wrk nor backend
    worker_rss_bytes: float | None  # mean over the workers, at the end of the run
    worker_pss_bytes: float | None
    extra: dict[str, float] = {}  # what only this scenario measures; names and units in README.md


class Summary(Struct):
    """One metric over all rounds."""

    median: float
    min: float
    max: float
    relative_mad: float  # median absolute deviation over the median
    rounds: int


class Lane(Struct):
    """One thing that was loaded in a scenario: a proxy with one configuration."""

    name: str
    proxy: str  # gateway, nginx, haproxy, envoy or direct
    parameters: dict[str, str | int | float]
    start: dict[str, float]  # measured once, before the first load
    runs: list[Run]
    summary: dict[str, Summary]  # metric name -> over all runs


class Ratio(Struct):
    """Two lanes compared round by round, so that what both suffer from cancels out."""

    metric: str
    numerator: str  # lane
    denominator: str  # lane
    kind: Literal["ratio", "difference"]
    of_medians: float
    per_round: Summary


class Scenario(Struct):
    """One scenario with all its lanes."""

    name: str
    title: str
    lanes: list[Lane]
    ratios: list[Ratio]

    def lane(self, name: str) -> Lane | None:
        return next((lane for lane in self.lanes if lane.name == name), None)

    def ratio(self, metric: str, numerator: str, denominator: str) -> Ratio | None:
        wanted = (metric, numerator, denominator)
        return next((r for r in self.ratios if (r.metric, r.numerator, r.denominator) == wanted), None)


class Budget(Struct):
    """One budget of the design and whether it was kept."""

    name: str
    scenario: str
    unit: str
    limit: float
    aim: float | None
    at_least: bool  # the value must be at least the limit; else at most
    measured: float | None  # null: not measured in this run
    kept: bool | None
    aim_reached: bool | None


class Report(Struct):
    """Everything one run found."""

    format: int
    started_at: str  # ISO 8601, UTC
    finished_at: str
    complete: bool  # false: interrupted; holds the scenarios finished until then
    command_line: list[str]
    machine: Machine
    versions: dict[str, str]
    git: Git
    settings: Settings
    backend: str
    notes: list[str]
    scenarios: list[Scenario]
    budgets: list[Budget]

    def scenario(self, name: str) -> Scenario | None:
        return next((scenario for scenario in self.scenarios if scenario.name == name), None)


def write_report(report: Report, path: Path) -> None:
    """Write it as indented JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def read_report(path: Path) -> Report:
    """Read and check a report. ReportError says what is wrong with it."""
    try:
        text = path.read_bytes()
        found = msgspec.json.decode(text)
        if not isinstance(found, dict) or found.get("format") != FORMAT:
            raise ReportError(f"{path}: no bench report of format {FORMAT}")
        return msgspec.convert(found, Report)
    except OSError as error:
        raise ReportError(f"{path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise ReportError(f"{path}: no bench report: {error}") from error
