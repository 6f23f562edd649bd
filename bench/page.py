"""The comparison as one HTML page: no script, nothing fetched, readable on a phone, light and dark.

It is also well-formed XML after the doctype, which keeps mistakes in the markup from hiding.
"""

from __future__ import annotations

from html import escape

from bench.compare import BudgetChange, Change, Comparison
from bench.markup import cell, column_head, number_cell, page, row_head, scrolling_table, verdict_cell
from bench.plots import Bar, Group, bar_chart
from bench.report import Lane, Report, Scenario
from bench.summaries import values_of
from bench.tables import (
    budget_aim,
    budget_bound,
    budget_value,
    budget_word,
    change_text,
    change_value,
    facts,
    heading,
    noise_text,
    number,
    summary_line,
)

PLOTTED = ("requests_per_cpu_second", "requests_per_second", "p50_ms", "p99_ms")
MORE_IS_BETTER = {"requests_per_cpu_second", "requests_per_second"}


def comparison_page(comparison: Comparison) -> str:
    """The whole page."""
    scenarios = [
        scenario for scenario in comparison.after.scenarios if comparison.before.scenario(scenario.name)
    ]
    links = "".join(f'<li><a href="#{escape(s.name)}">{escape(s.name)}</a></li>' for s in scenarios)
    body = [
        '<a class="skip" href="#content">Skip to the content</a>',
        "<header><h1>Sluicegate bench: two reports compared</h1></header>",
        f'<main id="content"><p class="said">{escape(summary_line(comparison))}</p>',
        _warnings(comparison),
        '<p><span class="key before"></span> first report, <span class="key after"></span> second report. '
        "Bars are medians over the rounds, lines reach from the smallest to the largest round, dots are the "
        "rounds.</p>",
        f'<nav aria-label="Scenarios"><ul>{links}</ul></nav>',
        "<h2>Ratios</h2><p>Both sides were measured in turn in the same run, so they hold although the "
        "machine drifts. A change is marked when it is larger than the noise of both reports together.</p>",
        _changes_table("Ratios before and after", comparison.ratios),
        "<h2>Budgets</h2>",
        _budgets_table(comparison.budgets),
        *(_scenario(comparison, scenario) for scenario in scenarios),
        _missing(comparison),
        "<h2>Where the reports come from</h2>",
        _facts_table(comparison.before, comparison.after),
        "</main>",
    ]
    return page("Sluicegate bench: comparison", body)


def _warnings(comparison: Comparison) -> str:
    notes = [f"beware: {warning}" for warning in comparison.warnings]
    notes += [f"first report: {note}" for note in comparison.before.notes]
    notes += [f"second report: {note}" for note in comparison.after.notes]
    if not notes:
        return ""
    items = "".join(f"<li>{escape(note)}</li>" for note in notes)
    return f'<section class="warnings" aria-label="Notes"><ul>{items}</ul></section>'


def _missing(comparison: Comparison) -> str:
    if not comparison.missing:
        return ""
    return f"<p>Only in one of the reports: {escape(', '.join(comparison.missing))}.</p>"


def _changes_table(label: str, changes: list[Change], *, with_scenario: bool = True) -> str:
    if not changes:
        return "<p>The reports have none in common.</p>"
    head = [column_head("What")]
    head += [column_head(name, numeric=True) for name in ("Before", "After", "Change", "Noise")]
    head.append(column_head("Verdict"))
    rows = []
    for change in changes:
        of = f"{change.scenario}, {heading(change.metric)}" if with_scenario else heading(change.metric)
        rows.append(
            f"<tr>{row_head(change.subject, of)}"
            + number_cell(change_value(change, change.before))
            + number_cell(change_value(change, change.after))
            + number_cell(change_text(change))
            + number_cell(noise_text(change))
            + verdict_cell(change.verdict)
            + "</tr>"
        )
    return scrolling_table(label, head, rows)


def _budgets_table(budgets: list[BudgetChange]) -> str:
    head = [
        column_head("Budget"),
        column_head("Bound"),
        column_head("Aim", numeric=True),
        column_head("Before", numeric=True),
        column_head("After", numeric=True),
        column_head(""),
    ]
    rows = []
    for change in budgets:
        after = change.after
        if after.kept is None:
            continue
        before = budget_value(change.before) if change.before else "–"
        verdict = cell(budget_word(after), "kept" if after.kept else "missed")
        bound = cell(budget_bound(after)) + number_cell(budget_aim(after))
        numbers = number_cell(before) + number_cell(budget_value(after))
        rows.append(f"<tr>{row_head(after.name)}{bound}{numbers}{verdict}</tr>")
    return scrolling_table("Budgets", head, rows) if rows else "<p>No budget was measured.</p>"


def _scenario(comparison: Comparison, after: Scenario) -> str:
    before = comparison.before.scenario(after.name)
    assert before is not None
    plots = [plot for metric in PLOTTED if (plot := _plot(metric, before, after))]
    changes = [change for change in comparison.lanes if change.scenario == after.name]
    numbers = _changes_table(f"{after.name}: absolute numbers", changes, with_scenario=False)
    return (
        f'<section id="{escape(after.name)}"><h2>{escape(after.title)}</h2>'
        f'<div class="plots">{"".join(plots)}</div>'
        f"<details><summary>Numbers of {escape(after.name)}</summary>"
        f"{numbers}</details></section>"
    )


def _plot(metric: str, before: Scenario, after: Scenario) -> str:
    groups = []
    for lane in after.lanes:
        bars = [
            bar
            for style, found in (("before", before.lane(lane.name)), ("after", lane))
            if found is not None and (bar := _bar(style, found, metric)) is not None
        ]
        if bars:
            groups.append(Group(lane.name, bars))
    if not groups:
        return ""
    name = heading(metric)
    direction = "more is better" if metric in MORE_IS_BETTER else "less is better"
    chart = bar_chart(f"{name} in {after.title}", groups)
    return f"<figure><figcaption>{escape(name)} <small>{direction}</small></figcaption>{chart}</figure>"


def _bar(style: str, lane: Lane, metric: str) -> Bar | None:
    summary = lane.summary.get(metric)
    if summary is None:
        return None
    text = number(summary.median, metric)
    return Bar(style, style, summary.median, summary.min, summary.max, values_of(lane, metric), text)


def _facts_table(before: Report, after: Report) -> str:
    rows = [
        f"<tr>{row_head(name)}{cell(old)}{cell(new)}</tr>"
        for (name, old), (_, new) in zip(facts(before), facts(after), strict=True)
    ]
    return scrolling_table(
        "Origin of both reports", [column_head(""), column_head("First"), column_head("Second")], rows
    )
