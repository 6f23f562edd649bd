"""A sweep as one HTML page with plots, and as a table for the terminal."""

from __future__ import annotations

from html import escape

from rich import box
from rich.markup import escape as plain
from rich.table import Table

from bench.compare import Verdict
from bench.markup import cell, column_head, number_cell, page, row_head, scrolling_table, verdict_cell
from bench.plots import Bar, Group, bar_chart
from bench.report import Lane, Report, Scenario
from bench.summaries import values_of
from bench.sweep import COMPARED, MORE_IS_BETTER, PREFIX, Difference, differences
from bench.tables import MARKS, facts, heading, number


def is_sweep(report: Report) -> bool:
    """Whether a report is that of a sweep."""
    return bool(report.scenarios) and all(one.name.startswith(PREFIX) for one in report.scenarios)


def sweep_page(report: Report) -> str:
    """The whole page."""
    links = "".join(
        f'<li><a href="#{_anchor(scenario)}">{escape(scenario.title)}</a></li>'
        for scenario in report.scenarios
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in _notes(report))
    rows = [f"<tr>{row_head(name)}{cell(value)}</tr>" for name, value in facts(report)]
    body = [
        '<a class="skip" href="#content">Skip to the content</a>',
        "<header><h1>Sluicegate bench: a sweep over settings</h1></header>",
        f'<main id="content"><p class="said">{escape(said(report))}</p>',
        f'<section class="warnings" aria-label="Notes"><ul>{notes}</ul></section>' if notes else "",
        "<p>Bars are medians over the rounds, lines reach from the smallest to the largest round, "
        "dots are the "
        "rounds. Rounds are interleaved; every combination is compared with the first one, round by "
        "round, and a "
        "difference counts when it is larger than twice the spread of these comparisons, and than 2 %.</p>",
        f'<nav aria-label="Experiments"><ul>{links}</ul></nav>',
        *map(_section, report.scenarios),
        "<h2>Where the numbers come from</h2>",
        scrolling_table("Origin of the report", [column_head(""), column_head("Value")], rows),
        "</main>",
    ]
    return page("Sluicegate bench: sweep", body)


def _notes(report: Report) -> list[str]:
    incomplete = [] if report.complete else ["interrupted: only what was finished by then is here"]
    return incomplete + report.notes


def _anchor(scenario: Scenario) -> str:
    return scenario.name.replace(" ", "-")


def said(report: Report) -> str:
    """The outcome in a sentence."""
    found = [one for scenario in report.scenarios for one in differences(scenario)]
    counted = [one for one in found if one.verdict in (Verdict.BETTER, Verdict.WORSE)]
    return f"{len(counted)} of {len(found)} differences are larger than the noise."


def _section(scenario: Scenario) -> str:
    plots = "".join(plot for metric in COMPARED if (plot := _plot(metric, scenario)))
    return (
        f'<section id="{_anchor(scenario)}"><h2>{escape(scenario.title)}</h2>'
        f'<div class="plots">{plots}</div>{_medians(scenario)}{_differences(scenario)}</section>'
    )


def _plot(metric: str, scenario: Scenario) -> str:
    groups = [
        Group(lane.name, [_bar(lane, metric, first=lane is scenario.lanes[0])])
        for lane in scenario.lanes
        if metric in lane.summary
    ]
    if not groups:
        return ""
    direction = "more is better" if MORE_IS_BETTER.get(metric) else "less is better"
    name = heading(metric)
    chart = bar_chart(f"{name}: {scenario.title}", groups)
    return f"<figure><figcaption>{escape(name)} <small>{direction}</small></figcaption>{chart}</figure>"


def _bar(lane: Lane, metric: str, *, first: bool) -> Bar:
    summary = lane.summary[metric]
    text = number(summary.median, metric)
    return Bar(
        "before" if first else "after",
        metric,
        summary.median,
        summary.min,
        summary.max,
        values_of(lane, metric),
        text,
    )


def _medians(scenario: Scenario) -> str:
    metrics = _metrics(scenario)
    head = [column_head("Settings"), *(column_head(heading(metric), numeric=True) for metric in metrics)]
    rows = [
        f"<tr>{row_head(lane.name)}"
        + "".join(number_cell(_median(lane, metric)) for metric in metrics)
        + "</tr>"
        for lane in scenario.lanes
    ]
    return scrolling_table(f"{scenario.title}: medians", head, rows)


def _differences(scenario: Scenario) -> str:
    found = differences(scenario)
    if not found:
        return ""
    head = [
        column_head(f"Beside {scenario.lanes[0].name}"),
        column_head("Difference", numeric=True),
        column_head("Noise", numeric=True),
        column_head("Verdict"),
    ]
    rows = [
        f"<tr>{row_head(one.lane, heading(one.metric))}{number_cell(f'{one.change:+.1%}')}"
        f"{number_cell(_noise(one))}{verdict_cell(one.verdict)}</tr>"
        for one in found
    ]
    return scrolling_table(f"{scenario.title}: differences", head, rows)


def _noise(one: Difference) -> str:
    return "–" if one.noise is None else f"±{one.noise:.1%}"


def _metrics(scenario: Scenario) -> list[str]:
    return [
        metric
        for metric in (*COMPARED, "failed_requests")
        if any(metric in lane.summary for lane in scenario.lanes)
    ]


def _median(lane: Lane, metric: str) -> str:
    return number(lane.summary[metric].median, metric) if metric in lane.summary else "–"


def sweep_tables(report: Report) -> list[Table | str]:
    """A table for each experiment: medians, and beside them the difference from the first line."""
    found: list[Table | str] = []
    for scenario in report.scenarios:
        metrics = _metrics(scenario)
        table = Table(
            title=plain(scenario.title),
            title_justify="left",
            title_style="bold",
            box=box.SIMPLE_HEAD,
            pad_edge=False,
        )
        table.add_column("")
        for metric in metrics:
            table.add_column(heading(metric), justify="right")
        by_place = {(one.lane, one.metric): one for one in differences(scenario)}
        for lane in scenario.lanes:
            cells = [_terminal_cell(lane, metric, by_place.get((lane.name, metric))) for metric in metrics]
            table.add_row(plain(lane.name), *cells)
        found.append(table)
    found += [f"[yellow]note:[/] {plain(note)}" for note in _notes(report)]
    return [*found, said(report)]


def _terminal_cell(lane: Lane, metric: str, difference: Difference | None) -> str:
    if difference is None:
        return _median(lane, metric)
    style = MARKS[difference.verdict][1]
    return f"{_median(lane, metric)} [{style}]{difference.change:+.0%}[/]"


def sweep_markdown(report: Report) -> str:
    """A table for each experiment, with its title."""
    return "\n\n".join(f"### {one.title}\n\n{experiment_table(one)}" for one in report.scenarios)


def experiment_table(scenario: Scenario) -> str:
    """Medians and differences from the first line as Markdown; what noise explains is in brackets."""
    metrics = _metrics(scenario)
    by_place = {(one.lane, one.metric): one for one in differences(scenario)}
    lines = [["", *map(heading, metrics)], ["---", *("---:" for _ in metrics)]]
    for lane in scenario.lanes:
        cells = [_median(lane, metric) + _bracketed(by_place.get((lane.name, metric))) for metric in metrics]
        lines.append([f"`{lane.name}`", *cells])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _bracketed(difference: Difference | None) -> str:
    if difference is None:
        return ""
    text = f"{difference.change:+.0%}"
    return f" {text}" if difference.verdict in (Verdict.BETTER, Verdict.WORSE) else f" ({text})"
