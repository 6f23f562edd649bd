"""Reports and comparisons as tables: for the terminal (rich) and as Markdown for the documentation."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from bench.compare import Change, Comparison, Verdict
from bench.report import Budget, Lane, Ratio, Report, Scenario, Summary
from bench.scenarios import ScenarioSpec

# name -> (heading, divisor, decimals)
METRICS: dict[str, tuple[str, float, int]] = {
    "requests_per_cpu_second": ("req/CPU-s", 1, 0),
    "requests_per_worker_cpu_second": ("req/worker CPU-s", 1, 0),
    "requests_per_second": ("req/s", 1, 0),
    "cpu_share": ("busy", 1, 2),
    "foreign_cpu_share": ("others busy", 1, 2),
    "p50_ms": ("p50 ms", 1, 3),
    "p75_ms": ("p75 ms", 1, 3),
    "p90_ms": ("p90 ms", 1, 3),
    "p99_ms": ("p99 ms", 1, 3),
    "max_ms": ("max ms", 1, 2),
    "failed_requests": ("failed", 1, 0),
    "worker_rss_bytes": ("RSS MiB", 1024 * 1024, 1),
    "worker_pss_bytes": ("PSS MiB", 1024 * 1024, 1),
    "bytes_per_idle_connection": ("KiB per idle connection", 1024, 2),
    "idle_connections_open": ("idle open", 1, 0),
    "backend_requests": ("reached the backend", 1, 0),
    "hit_rate": ("hit rate", 1, 3),
    "reload_ms": ("reload ms", 1, 1),
    "reload_ms_max": ("slowest reload ms", 1, 1),
    "reloads": ("reloads", 1, 0),
    "reloads_failed": ("failed reloads", 1, 0),
}
# The columns of the terminal's table, where room is short; what else a scenario measures stands below it.
TERMINAL_COLUMNS = (
    "requests_per_cpu_second",
    "requests_per_second",
    "cpu_share",
    "p50_ms",
    "p99_ms",
    "failed_requests",
    "worker_pss_bytes",
)
MARKS = {
    Verdict.BETTER: ("▲ better", "green"),
    Verdict.WORSE: ("▼ worse", "bold red"),
    Verdict.NOISE: ("= noise", "dim"),
    Verdict.UNKNOWN: ("? unknown", "dim"),
}


def heading(metric: str) -> str:
    """What a metric is called in tables."""
    return METRICS.get(metric, (metric, 1, 3))[0]


def number(value: float | None, metric: str = "") -> str:
    """A value in the unit of the metric's heading."""
    if value is None:
        return "–"
    _, divisor, decimals = METRICS.get(metric, ("", 1, 3))
    return f"{value / divisor:,.{decimals}f}"


def ratio_text(ratio: Ratio, value: float) -> str:
    """A value of a ratio or difference with its unit."""
    return (
        f"{value:.3f} ×" if ratio.kind == "ratio" else f"{number(value, ratio.metric)} {_unit(ratio.metric)}"
    )


def _unit(metric: str) -> str:
    return "ms" if metric.endswith("_ms") else ""


def ratio_name(ratio: Ratio) -> str:
    """Like "gateway / nginx" or "gateway − direct"."""
    return f"{ratio.numerator} {'/' if ratio.kind == 'ratio' else '−'} {ratio.denominator}"


def budget_bound(budget: Budget) -> str:
    """What was to be reached, like "≥ 1.3 × nginx"."""
    return f"{'≥' if budget.at_least else '≤'} {budget.limit:g} {budget.unit}"


def budget_aim(budget: Budget) -> str:
    """What would be better still, in the same unit."""
    return "–" if budget.aim is None else f"{budget.aim:g}"


def budget_word(budget: Budget) -> str:
    """missed, kept, or even the aim reached."""
    if budget.kept is None:
        return "not measured"
    if not budget.kept:
        return "missed"
    return "aim reached" if budget.aim_reached and budget.aim != budget.limit else "kept"


def budget_value(budget: Budget) -> str:
    return "–" if budget.measured is None else f"{budget.measured:,.3f}".rstrip("0").rstrip(".")


def shown_metrics(scenario: Scenario) -> list[str]:
    """The columns of a scenario's table: those any lane has, in a fixed order."""
    there = {metric for lane in scenario.lanes for metric in lane.summary}
    left_out = {"p75_ms", "max_ms", "requests_per_worker_cpu_second", "worker_rss_bytes"}
    return [metric for metric in METRICS if metric in there and metric not in left_out]


def facts(report: Report) -> list[tuple[str, str]]:
    """Where a report comes from, as pairs of name and value."""
    machine, settings, pinning = report.machine, report.settings, report.settings.pinning
    if pinning.proxy:
        groups = {
            "proxy": pinning.proxy,
            "wrk": pinning.load,
            "backend": pinning.backend,
            "control": pinning.control,
        }
        pinned = "; ".join(f"{name} on {', '.join(map(str, cpus))}" for name, cpus in groups.items() if cpus)
    else:
        pinned = "not pinned"
    commit = (
        f"{report.git.commit[:12] or 'no repository'}{' and uncommitted changes' if report.git.dirty else ''}"
    )
    return [
        ("Measured", f"{report.started_at}{'' if report.complete else ' (interrupted)'}"),
        ("Source", commit),
        (
            "Machine",
            f"{machine.cpu_model}, {len(machine.cpus_usable)} CPUs, {machine.memory_bytes / 2**30:.0f} GiB",
        ),
        ("System", f"{machine.system}, {machine.kernel}, virtualisation: {machine.virtualisation}"),
        ("Rounds", f"{settings.rounds} of {settings.seconds:g} s, {settings.workers} worker(s)"),
        ("CPUs", pinned),
        ("Backend", report.backend),
        ("Versions", ", ".join(f"{name} {version}" for name, version in sorted(report.versions.items()))),
        ("Command", " ".join(report.command_line)),
    ]


def scenarios_table(scenarios: Iterable[ScenarioSpec]) -> Table:
    """Names and titles."""
    table = Table(box=box.SIMPLE)
    table.add_column("scenario", style="bold")
    table.add_column("what it measures")
    for scenario in scenarios:
        table.add_row(scenario.name, scenario.title)
    return table


def _table(title: str, first: str, columns: Iterable[str]) -> Table:
    table = Table(
        title=escape(title) or None,
        title_justify="left",
        title_style="bold",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
        collapse_padding=True,
    )
    table.add_column(first, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def report_tables(report: Report) -> list[RenderableType]:
    """Everything a reader of the terminal wants of one report."""
    found: list[RenderableType] = []
    for scenario in report.scenarios:
        table = _table(f"{scenario.name}: {scenario.title}", "", _with_spread(map(heading, TERMINAL_COLUMNS)))
        for lane in scenario.lanes:
            medians = [number(_median(lane, metric), metric) for metric in TERMINAL_COLUMNS]
            summary = lane.summary.get(TERMINAL_COLUMNS[0])
            spread = "" if summary is None else f"{summary.relative_mad:.1%}"
            table.add_row(escape(lane.name), medians[0], spread, *medians[1:])
        found.append(table)
        found.extend(_further_numbers(scenario))
        if scenario.ratios:
            table = _table("", "", ["of", "median", "smallest … largest round"])
            for ratio in scenario.ratios:
                spread = (
                    f"{ratio_text(ratio, ratio.per_round.min)} … {ratio_text(ratio, ratio.per_round.max)}"
                )
                table.add_row(
                    ratio_name(ratio),
                    heading(ratio.metric),
                    ratio_text(ratio, ratio.per_round.median),
                    spread,
                )
            found.append(table)
    found.append(budgets_table(report.budgets))
    found.extend(f"[yellow]note:[/] {escape(note)}" for note in report.notes)
    return found


def _with_spread(headings: Iterable[str]) -> list[str]:
    first, *others = headings
    return [first, "±", *others]


def _median(lane: Lane, metric: str) -> float | None:
    summary = lane.summary.get(metric)
    return None if summary is None else summary.median


def _further_numbers(scenario: Scenario) -> list[str]:
    """What only this scenario measures, one line a lane."""
    usual = {*TERMINAL_COLUMNS, "p90_ms", "foreign_cpu_share"}
    lines = []
    for lane in scenario.lanes:
        parts = [
            f"{heading(metric)} {number(_median(lane, metric), metric)}"
            for metric in shown_metrics(scenario)
            if metric not in usual and metric in lane.summary
        ]
        if parts:
            lines.append(f"{escape(lane.name)}: {', '.join(parts)}")
    return lines


def budgets_table(budgets: list[Budget]) -> RenderableType:
    """Which budgets were kept; those not measured are left out."""
    measured = [budget for budget in budgets if budget.kept is not None]
    if not measured:
        return "no budget was measured"
    table = _table("Budgets", "", ["measured", "budget", "aim", ""])
    table.columns[0].no_wrap = False
    for budget in measured:
        style = "green" if budget.kept else "bold red"
        table.add_row(
            escape(budget.name),
            budget_value(budget),
            budget_bound(budget),
            budget_aim(budget),
            f"[{style}]{budget_word(budget)}[/]",
        )
    return table


def change_text(change: Change) -> str:
    """The change with its sign."""
    return _signed(change.change, change)


def noise_text(change: Change) -> str:
    return "–" if change.noise is None else "±" + _signed(change.noise, change).lstrip("+")


def _signed(value: float | None, change: Change) -> str:
    if value is None:
        return "–"
    if change.relative:
        return f"{value:+.1%}"
    return (
        f"{value:+,.0f}"
        if change.metric == "failed_requests"
        else f"{value:+,.3f} {_unit(change.metric)}".rstrip()
    )


def change_value(change: Change, summary: Summary) -> str:
    """Median in the unit of the heading; for a ratio the ratio itself; of failed requests the worst round."""
    if change.metric == "failed_requests":
        return number(summary.max, change.metric)
    if " / " in change.subject:
        return f"{summary.median:.3f}"
    return number(summary.median, change.metric)


def comparison_tables(comparison: Comparison) -> list[RenderableType]:
    """The comparison for the terminal: ratios first, then absolute numbers, then budgets."""
    found: list[RenderableType] = []
    columns = ["of", "before", "after", "change", "noise", ""]
    for title, changes in (
        ("Ratios (they hold although the machine drifts)", comparison.ratios),
        ("Absolute numbers (they drift with the machine)", comparison.lanes),
    ):
        table = _table(title, "", columns)
        scenario = ""
        for change in changes:
            if change.scenario != scenario:
                scenario = change.scenario
                table.add_row(f"[bold]{escape(scenario)}[/]")
            mark, style = MARKS[change.verdict]
            table.add_row(
                f" {escape(change.subject)}",
                heading(change.metric),
                change_value(change, change.before),
                change_value(change, change.after),
                change_text(change),
                noise_text(change),
                f"[{style}]{mark}[/]",
            )
        found.append(table if changes else f"{title}: nothing in common")
    found.append(budgets_table(comparison.after.budgets))
    if comparison.missing:
        found.append(f"only in one report: {', '.join(comparison.missing)}")
    found.extend(f"[yellow]beware:[/] {escape(warning)}" for warning in comparison.warnings)
    found.append(summary_line(comparison))
    return found


def summary_line(comparison: Comparison) -> str:
    """How many numbers of the gateway changed by more than the noise."""
    better, worse = len(comparison.better), len(comparison.worse)
    if not better and not worse:
        return "The gateway: no change larger than the noise."
    return f"The gateway, beyond the noise: {better} better, {worse} worse."


def report_markdown(report: Report) -> str:
    """One report as Markdown tables."""
    parts = [markdown_table(["", ""], facts(report))]
    for scenario in report.scenarios:
        metrics = shown_metrics(scenario)
        rows: list[Any] = [
            [lane.name, *(number(lane.summary[m].median, m) if m in lane.summary else "–" for m in metrics)]
            for lane in scenario.lanes
        ]
        parts.append(
            f"### {scenario.title}\n\n`{scenario.name}`, medians of {report.settings.rounds} rounds."
        )
        parts.append(markdown_table(["", *map(heading, metrics)], rows))
        if scenario.ratios:
            rows = [
                [
                    ratio_name(ratio),
                    heading(ratio.metric),
                    ratio_text(ratio, ratio.per_round.median),
                    f"{ratio_text(ratio, ratio.per_round.min)} … {ratio_text(ratio, ratio.per_round.max)}",
                ]
                for ratio in scenario.ratios
            ]
            parts.append(markdown_table(["", "of", "median", "smallest … largest round"], rows))
    if table := budgets_markdown(report.budgets):
        parts += ["### Budgets", table]
    if report.notes:
        parts.append("\n".join(f"- {note}" for note in report.notes))
    return "\n\n".join(parts)


def budgets_markdown(budgets: list[Budget]) -> str:
    """Which budgets were kept, as a table; empty when none was measured."""
    rows = [
        [budget.name, budget_value(budget), budget_bound(budget), budget_aim(budget), budget_word(budget)]
        for budget in budgets
        if budget.kept is not None
    ]
    return markdown_table(["", "measured", "budget", "aim", ""], rows) if rows else ""


def markdown_table(head: list[str], rows: Iterable[Iterable[str]]) -> str:
    """A table whose first column is text and whose others are numbers."""
    lines = [head, ["---", *("---:" for _ in head[1:])], *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
