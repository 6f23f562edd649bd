"""What `bench admin` found, as written to JSON and shown. `bench/README.md` explains the fields."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import msgspec
from rich.table import Table

from bench.report import Git, LoadResult, Machine, Pinning, ReportError, Struct

FORMAT = 1


class Spread(Struct):
    """Times in milliseconds."""

    count: int
    p50: float
    p90: float
    p99: float
    max: float


class Writes(Struct):
    """Admin writes for a while, and how long their answers took."""

    what: Literal["route", "credential"]
    writers: int
    per_second: float
    failed: int
    answer_ms: Spread


class Live(Struct):
    """How long after its answer a change of a route was served by every worker."""

    during: Literal["quiet", "stream"]  # nothing else is written, or another client writes all the time
    live_ms: Spread


class Compile(Struct):
    """Making snapshots in one process, without writing them: milliseconds."""

    kind: Literal["configuration", "peers", "identities"]
    first_ms: float
    changed_ms: float  # after a change of one entity; median
    bytes: int


class Memory(Struct):
    """Bytes of memory, before the first write."""

    control_rss: int
    control_pss: int
    worker_rss: int  # mean of the workers
    worker_pss: int


class UnderLoad(Struct):
    """One run of wrk."""

    round: int
    writes: bool  # whether routes and credentials are written meanwhile
    writes_done: int
    load: LoadResult


class Case(Struct):
    """One size of configuration."""

    routes: int
    consumers: int
    writes: list[Writes]
    live: list[Live]
    compiles: list[Compile]
    memory: Memory
    under_load: list[UnderLoad]
    p99_rise_ms: float | None  # median over the rounds of p99 with writes less p99 without


class AdminReport(Struct):
    """One `bench admin`."""

    format: int
    started_at: str
    finished_at: str
    command_line: list[str]
    machine: Machine
    versions: dict[str, str]
    git: Git
    database: str
    workers: int
    seconds: float  # of one measurement
    rounds: int
    write_every_ms: int  # under load
    pinning: Pinning
    quick: bool
    notes: list[str]
    cases: list[Case]


def spread(milliseconds: list[float]) -> Spread:
    """Percentiles of some times."""
    found = sorted(milliseconds) or [0.0]

    def at(share: float) -> float:
        return round(found[min(len(found) - 1, int(share * len(found)))], 2)

    return Spread(count=len(milliseconds), p50=at(0.5), p90=at(0.9), p99=at(0.99), max=round(found[-1], 2))


def write_admin_report(report: AdminReport, path: Path) -> None:
    """Write it as JSON, indented."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n")


def is_admin_report(path: Path) -> bool:
    """Whether a file is such a report and not one of `bench run`."""
    try:
        return "cases" in msgspec.json.decode(path.read_bytes())
    except (OSError, msgspec.MsgspecError, TypeError):
        return False


def read_admin_report(path: Path) -> AdminReport:
    """ReportError when the file is none."""
    try:
        found = msgspec.json.decode(path.read_bytes(), type=AdminReport)
    except (OSError, msgspec.MsgspecError) as error:
        raise ReportError(f"{path}: {error}") from None
    if found.format != FORMAT:
        raise ReportError(f"{path}: a report of format {found.format}; this is {FORMAT}")
    return found


# --- tables --------------------------------------------------------------------------------------


def rows(report: AdminReport) -> list[tuple[str, ...]]:
    """One row per number, with the size of configuration in front."""
    found: list[tuple[str, ...]] = []
    for case in report.cases:
        size = f"{case.routes:,} / {case.consumers:,}"
        for writes in case.writes:
            what = f"{writes.what} writes, {writes.writers} at a time"
            more = f"answer p50 {writes.answer_ms.p50:g} ms, p99 {writes.answer_ms.p99:g} ms"
            failed = f", {writes.failed} failed" if writes.failed else ""
            found.append((size, what, f"{writes.per_second:,.0f} /s", more + failed))
        for live in case.live:
            what = "live in all workers" + (", during a stream of writes" if live.during == "stream" else "")
            found.append(
                (size, what, f"{live.live_ms.p50:g} ms", f"max {live.live_ms.max:g} ms after the answer")
            )
        for one in case.compiles:
            found.append(
                (
                    size,
                    f"compile {one.kind}",
                    f"{one.changed_ms:g} ms",
                    f"first {one.first_ms:g} ms, {one.bytes / 1e6:.1f} MB",
                )
            )
        memory = case.memory
        found.append(
            (size, "memory of the control process", f"{memory.control_pss / 2**20:,.0f} MiB", "PSS"),
        )
        found.append(
            (
                size,
                "memory of a worker",
                f"{memory.worker_pss / 2**20:,.0f} MiB",
                f"PSS; RSS {memory.worker_rss / 2**20:,.0f} MiB",
            )
        )
        if case.p99_rise_ms is not None:
            quiet = sorted(run.load.latency_ms.p99 for run in case.under_load if not run.writes)
            found.append(
                (
                    size,
                    f"p99 under load, a write every {report.write_every_ms} ms",
                    f"{case.p99_rise_ms:+.2f} ms",
                    f"{quiet[len(quiet) // 2]:g} ms without writes" if quiet else "",
                )
            )
    return found


def admin_table(report: AdminReport) -> Table:
    """The numbers for a terminal."""
    title = f"Admin API on {report.database}, {report.workers} workers"
    table = Table(title=title, title_justify="left", show_edge=False)
    for name in ("routes / consumers", "what", "", ""):
        table.add_column(name, justify="right" if name == "routes / consumers" else "left")
    for row in rows(report):
        table.add_row(*row)
    return table


def admin_markdown(report: AdminReport) -> str:
    """The same for docs/performance.md."""
    lines = ["| routes / consumers | what | | |", "|---|---|---|---|"]
    return "\n".join(lines + [f"| {' | '.join(row)} |" for row in rows(report)])
