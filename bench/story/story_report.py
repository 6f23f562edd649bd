"""What `bench story` found, as written to JSON and shown. `bench/README.md` explains the fields."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from rich.console import RenderableType
from rich.table import Table

from bench.report import Budget, Errors, Git, Machine, ReportError, Struct, Summary
from bench.spread import summarize
from bench.tables import budgets_markdown, budgets_table, markdown_table

FORMAT = 1
LaneName = Literal["direct", "gateway", "direct-half", "gateway-half"]
LANES: tuple[LaneName, ...] = ("gateway", "direct", "gateway-half", "direct-half")


class StoryLatency(Struct):
    """Milliseconds from sending a request to the end of its answer."""

    p50: float
    p90: float
    p95: float
    p99: float
    max: float
    mean: float


class StoryLoad(Struct):
    """What wrk counted in one run."""

    requests: int
    seconds: float
    bytes_read: float
    latency_ms: StoryLatency
    errors: Errors


class CpuSeconds(Struct):
    """Processor time of everything that took part in one run."""

    load: float  # wrk
    gateway_workers: float
    gateway_control: float  # control process and master
    backends: float


class StoryRun(Struct):
    """One run of one lane."""

    round: int
    lane: LaneName
    load: StoryLoad
    requests_per_second: float
    cpu_seconds: CpuSeconds
    foreign_cpu_share: float  # of the whole machine's CPU time, what went to nothing of the above
    backend_requests: int  # what reached the backends, probes of health included
    cache_hits: int | None  # as the gateway counted them; null: it did not, or there was none
    hit_rate: float | None  # hits over all requests
    expected_hit_rate: float | None  # by the model (zipf.py), at this run's rate
    pause_ms: float  # mean pause of a connection before a request; 0: none


class TrafficFacts(Struct):
    """What was asked for."""

    services: int
    consumers: int
    cacheable_keys: int
    zipf_exponent: float
    cache_seconds: int
    uncacheable_share: float
    planned_rate: int
    planned_hit_rate: float


class StorySettings(Struct):
    """How it was measured."""

    rounds: int
    seconds: float
    warm_up_seconds: float
    workers: int
    connections: int
    load_threads: int
    half_rate: int  # requests per second in the lanes at half load
    backends: int
    cache_bytes: int
    quick: bool


class StoryReport(Struct):
    """One `bench story`."""

    format: int
    kind: Literal["story"]
    started_at: str
    finished_at: str
    command_line: list[str]
    machine: Machine
    versions: dict[str, str]
    git: Git
    settings: StorySettings
    traffic: TrafficFacts
    cache_statuses: dict[str, int]  # X-Cache-Status of the requests that were looked at one by one
    notes: list[str]
    runs: list[StoryRun]
    summary: dict[str, Summary]  # "<lane>.<metric>" and what lanes are compared by, over the rounds
    budgets: list[Budget]


def run_metrics(run: StoryRun) -> dict[str, float]:
    """Every metric of a run by its name."""
    load, cpu = run.load, run.cpu_seconds
    requests = max(1, load.requests)
    found: dict[str, float | None] = {
        "requests_per_second": run.requests_per_second,
        "p50_ms": load.latency_ms.p50,
        "p95_ms": load.latency_ms.p95,
        "p99_ms": load.latency_ms.p99,
        "failed_requests": float(load.errors.total),
        "hit_rate": run.hit_rate,
        "expected_hit_rate": run.expected_hit_rate,
        "backend_requests_per_request": run.backend_requests / requests,
        "load_us": cpu.load / requests * 1e6,
        "workers_us": cpu.gateway_workers / requests * 1e6,
        "control_us": cpu.gateway_control / requests * 1e6,
        "backends_us": cpu.backends / requests * 1e6,
        "foreign_cpu_share": run.foreign_cpu_share,
    }
    return {name: value for name, value in found.items() if value is not None}


def summarize_story(runs: list[StoryRun]) -> dict[str, Summary]:
    """Every metric of every lane over its rounds, and what the gateway makes of the backends' load."""
    values: dict[str, list[float]] = {}
    by_round: dict[int, dict[str, dict[str, float]]] = {}
    for run in runs:
        metrics = run_metrics(run)
        by_round.setdefault(run.round, {})[run.lane] = metrics
        for name, value in metrics.items():
            values.setdefault(f"{run.lane}.{name}", []).append(value)
    for lanes in by_round.values():
        for name, value in _compared(lanes).items():
            values.setdefault(name, []).append(value)
    return {name: summarize(found) for name, found in values.items()}


def _compared(lanes: dict[str, dict[str, float]]) -> dict[str, float]:
    """The gateway against calling the backends directly, within one round."""
    found: dict[str, float] = {}
    for suffix in ("", "-half"):
        gateway, direct = lanes.get(f"gateway{suffix}"), lanes.get(f"direct{suffix}")
        if gateway is None or direct is None:
            continue
        for name in ("p50_ms", "p95_ms", "p99_ms"):
            found[f"added{suffix}.{name}"] = gateway[name] - direct[name]
        for name in ("backend_requests_per_request", "backends_us"):
            if direct[name]:
                found[f"saved{suffix}.{name}"] = 1 - gateway[name] / direct[name]
    return found


# (name, unit, limit, aim, at least, name in the summary)
BUDGETS: tuple[tuple[str, str, float, float | None, bool, str], ...] = (
    ("Requests per second", "requests/s", 50_000, None, True, "gateway.requests_per_second"),
    ("p99 added at half that load", "ms", 2.0, None, False, "added-half.p99_ms"),
    ("Hits of all requests", "of 1", 0.70, None, True, "gateway.hit_rate"),
    ("Requests kept from the backends", "of 1", 0.70, None, True, "saved.backend_requests_per_request"),
    ("Failed requests", "requests", 0, None, False, "gateway.failed_requests"),
)


def judge_story(summary: dict[str, Summary]) -> list[Budget]:
    """The budgets with what was measured: the median, of failures the most."""
    judged = []
    for name, unit, limit, aim, at_least, key in BUDGETS:
        found = summary.get(key)
        measured = None
        if found is not None:
            measured = found.max if key.endswith("failed_requests") else found.median
        kept = None
        if measured is not None:
            kept = measured >= limit if at_least else measured <= limit
        judged.append(
            Budget(
                name=name,
                scenario="story",
                unit=unit,
                limit=limit,
                aim=aim,
                at_least=at_least,
                measured=measured,
                kept=kept,
                aim_reached=None,
            )
        )
    return judged


def write_story_report(report: StoryReport, path: Path) -> None:
    """Write it as JSON, indented."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def is_story_report(path: Path) -> bool:
    """Whether a file is such a report and not one of another kind."""
    try:
        return bool(msgspec.json.decode(path.read_bytes())["kind"] == "story")
    except (OSError, msgspec.MsgspecError, TypeError, KeyError):
        return False


def read_story_report(path: Path) -> StoryReport:
    """ReportError when the file is none."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=StoryReport)
    except (OSError, msgspec.MsgspecError) as error:
        raise ReportError(f"{path}: {error}") from None
    if found.format != FORMAT:
        raise ReportError(f"{path}: a report of format {found.format}; this is {FORMAT}")
    return found


# --- tables --------------------------------------------------------------------------------------

LANE_COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("requests_per_second", "req/s", 0),
    ("p50_ms", "p50 ms", 2),
    ("p95_ms", "p95 ms", 2),
    ("p99_ms", "p99 ms", 2),
    ("failed_requests", "failed", 0),
    ("hit_rate", "hits", 3),
    ("expected_hit_rate", "model", 3),
    ("backend_requests_per_request", "to backends", 3),
)
CPU_COLUMNS: tuple[tuple[str, str, int], ...] = (
    ("load_us", "wrk", 1),
    ("workers_us", "workers", 1),
    ("control_us", "control", 1),
    ("backends_us", "backends", 1),
    ("foreign_cpu_share", "others", 2),
)
COMPARED: tuple[tuple[str, str, float, str], ...] = (
    ("added-half.p50_ms", "p50 added at half load", 1, "ms"),
    ("added-half.p95_ms", "p95 added at half load", 1, "ms"),
    ("added-half.p99_ms", "p99 added at half load", 1, "ms"),
    ("added.p99_ms", "p99 added at full load", 1, "ms"),
    ("saved.backend_requests_per_request", "requests kept from the backends", 100, "%"),
    ("saved.backends_us", "backends' processor time saved", 100, "%"),
    ("saved-half.backends_us", "the same at half load", 100, "%"),
)


def lane_rows(report: StoryReport, columns: tuple[tuple[str, str, int], ...]) -> list[tuple[str, ...]]:
    """One row per lane, medians over the rounds."""
    rows = []
    for lane in LANES:
        found = [report.summary.get(f"{lane}.{name}") for name, _, _ in columns]
        if any(found):
            cells = (
                "–" if one is None else f"{one.median:,.{decimals}f}"
                for one, (_, _, decimals) in zip(found, columns, strict=True)
            )
            rows.append((lane, *cells))
    return rows


def compared_rows(report: StoryReport) -> list[tuple[str, ...]]:
    """What the gateway adds and saves: median, smallest and largest round."""
    rows: list[tuple[str, ...]] = []
    for key, title, factor, unit in COMPARED:
        if (found := report.summary.get(key)) is not None:
            low, high = found.min * factor, found.max * factor
            rows.append((title, f"{found.median * factor:,.2f} {unit}", f"{low:,.2f} … {high:,.2f}"))
    return rows


def _sections(report: StoryReport) -> list[tuple[str, tuple[str, ...], list[tuple[str, ...]]]]:
    settings = report.settings
    return [
        (
            f"The whole story: {settings.workers} worker(s), {settings.connections} connections, "
            f"{settings.rounds} rounds of {settings.seconds:g} s",
            ("lane", *(heading for _, heading, _ in LANE_COLUMNS)),
            lane_rows(report, LANE_COLUMNS),
        ),
        (
            "Processor time per request, µs",
            ("lane", *(heading for _, heading, _ in CPU_COLUMNS)),
            lane_rows(report, CPU_COLUMNS),
        ),
        ("Against calling the backends directly", ("what", "median", "rounds"), compared_rows(report)),
    ]


def story_tables(report: StoryReport) -> list[RenderableType]:
    """The numbers for a terminal."""
    found: list[RenderableType] = []
    for title, headings, rows in _sections(report):
        table = Table(title=title, title_justify="left", show_edge=False)
        for place, name in enumerate(headings):
            table.add_column(name, justify="right" if place else "left")
        for row in rows:
            table.add_row(*row)
        found.append(table)
    found.append(budgets_table(report.budgets))
    found += [f"note: {note}" for note in report.notes]
    return found


def story_markdown(report: StoryReport) -> str:
    """The same for docs/performance.md."""
    parts: list[str] = []
    for title, headings, rows in _sections(report):
        parts += [f"**{title}**", markdown_table(list(headings), rows)]
    parts.append(budgets_markdown(report.budgets))
    parts.append("\n".join(f"- {note}" for note in report.notes))
    return "\n\n".join(filter(None, parts))
