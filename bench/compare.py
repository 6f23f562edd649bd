"""Two reports laid side by side: what changed, and whether by more than the noise of both.

Ratios against a peer come first, because they survive a machine that is faster today than yesterday; absolute
numbers stand beside them. How the noise is estimated is said in `bench/spread.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from bench.report import Budget, Lane, Ratio, Report, Summary
from bench.spread import DEVIATIONS, noise_between, relative_change, relative_deviation


class Verdict(StrEnum):
    """What a change means."""

    BETTER = "better"
    WORSE = "worse"
    NOISE = "within noise"
    UNKNOWN = "noise unknown"  # a single round tells nothing about noise


# Metrics of a lane that are compared, in the order shown; True: more is better.
LANE_METRICS = {
    "requests_per_cpu_second": True,
    "requests_per_second": True,
    "p50_ms": False,
    "p99_ms": False,
    "failed_requests": False,
    "worker_pss_bytes": False,
    "bytes_per_idle_connection": False,
    "reload_ms": False,
    "reload_ms_max": False,
}
# Those that do not depend on how fast the machine is today.
STEADY_METRICS = {"failed_requests", "worker_pss_bytes", "bytes_per_idle_connection"}
# Differences of latencies below this many milliseconds are never marked.
MILLISECONDS_FLOOR = 0.02


@dataclass(frozen=True)
class Change:
    """One number in both reports."""

    scenario: str
    subject: str  # "gateway", or "gateway / nginx" for a ratio
    metric: str
    before: Summary
    after: Summary
    relative: bool  # change and noise are relative; else in the metric's unit
    change: float | None
    noise: float | None
    verdict: Verdict
    counts: bool  # about the gateway, and comparable between two runs


@dataclass(frozen=True)
class BudgetChange:
    """One budget in both reports."""

    before: Budget | None
    after: Budget


@dataclass(frozen=True)
class Comparison:
    """Everything `bench compare` shows."""

    before: Report
    after: Report
    warnings: list[str]
    ratios: list[Change]
    lanes: list[Change]
    budgets: list[BudgetChange]
    missing: list[str] = field(default_factory=list)  # scenarios only one of them has

    @property
    def better(self) -> list[Change]:
        return [change for change in self._counted() if change.verdict is Verdict.BETTER]

    @property
    def worse(self) -> list[Change]:
        return [change for change in self._counted() if change.verdict is Verdict.WORSE]

    def _counted(self) -> list[Change]:
        return [change for change in (*self.ratios, *self.lanes) if change.counts]


def compare_reports(before: Report, after: Report) -> Comparison:
    """Compare what both reports have."""
    ratios: list[Change] = []
    lanes: list[Change] = []
    for new in after.scenarios:
        old = before.scenario(new.name)
        if old is None:
            continue
        for ratio in new.ratios:
            earlier = old.ratio(ratio.metric, ratio.numerator, ratio.denominator)
            if earlier is not None:
                ratios.append(_ratio_change(new.name, earlier, ratio))
        for lane in new.lanes:
            if (earlier_lane := old.lane(lane.name)) is not None:
                lanes.extend(_lane_changes(new.name, earlier_lane, lane))
    earlier_budgets = {budget.name: budget for budget in before.budgets}
    names = {scenario.name for scenario in before.scenarios} ^ {scenario.name for scenario in after.scenarios}
    return Comparison(
        before=before,
        after=after,
        warnings=_warnings(before, after),
        ratios=ratios,
        lanes=lanes,
        budgets=[BudgetChange(earlier_budgets.get(budget.name), budget) for budget in after.budgets],
        missing=sorted(names),
    )


def _ratio_change(scenario: str, before: Ratio, after: Ratio) -> Change:
    sign = "−" if after.kind == "difference" else "/"
    more_is_better = LANE_METRICS.get(after.metric, False)
    return judge_change(
        scenario=scenario,
        subject=f"{after.numerator} {sign} {after.denominator}",
        metric=after.metric,
        before=before.per_round,
        after=after.per_round,
        more_is_better=more_is_better,
        relative=after.kind == "ratio",
        counts=after.numerator.startswith("gateway"),
    )


def _lane_changes(scenario: str, before: Lane, after: Lane) -> list[Change]:
    return [
        judge_change(
            scenario=scenario,
            subject=after.name,
            metric=metric,
            before=before.summary[metric],
            after=after.summary[metric],
            more_is_better=more_is_better,
            relative=metric != "failed_requests",
            counts=after.proxy == "gateway" and metric in STEADY_METRICS,
        )
        for metric, more_is_better in LANE_METRICS.items()
        if metric in before.summary and metric in after.summary
    ]


def judge_change(
    *,
    scenario: str,
    subject: str,
    metric: str,
    before: Summary,
    after: Summary,
    more_is_better: bool,
    relative: bool,
    counts: bool,
) -> Change:
    """The change of one number and whether noise explains it."""
    if metric == "failed_requests":
        # Not a measurement with noise: the worst round counts, and every failed request is one too many.
        change: float | None = after.max - before.max
        noise: float | None = 0.0
    elif relative:
        change, noise = relative_change(before.median, after.median), noise_between(before, after)
    else:
        change, noise = after.median - before.median, _absolute_noise(before, after)
    return Change(
        scenario=scenario,
        subject=subject,
        metric=metric,
        before=before,
        after=after,
        relative=relative,
        change=change,
        noise=noise,
        verdict=_verdict(change, noise, more_is_better),
        counts=counts,
    )


def _verdict(change: float | None, noise: float | None, more_is_better: bool) -> Verdict:
    if change is None or noise is None:
        return Verdict.UNKNOWN
    if abs(change) <= noise:
        return Verdict.NOISE
    return Verdict.BETTER if (change > 0) == more_is_better else Verdict.WORSE


def _absolute_noise(before: Summary, after: Summary) -> float | None:
    """As `noise_between`, in the metric's own unit: for differences, whose median may be near zero."""
    deviations = []
    for summary in (before, after):
        relative = relative_deviation(summary)
        if relative is None:
            return None
        spread = (summary.max - summary.min) / 2
        deviations.append(min(spread, relative * abs(summary.median)) if summary.median else spread)
    return max(MILLISECONDS_FLOOR, DEVIATIONS * math.hypot(*deviations))


def _warnings(before: Report, after: Report) -> list[str]:
    """Reasons to distrust the comparison."""
    found = []
    for label, report in (("first", before), ("second", after)):
        if not report.complete:
            found.append(f"the {label} report is incomplete")
        if report.settings.quick:
            found.append(f"the {label} report is of a quick run, whose numbers mean nothing")
        if report.git.dirty:
            found.append(f"the {label} report is of uncommitted source")
    for name, old, new in (
        ("CPU", before.machine.cpu_model, after.machine.cpu_model),
        ("number of usable CPUs", len(before.machine.cpus_usable), len(after.machine.cpus_usable)),
        ("kernel", before.machine.kernel, after.machine.kernel),
        ("virtualisation", before.machine.virtualisation, after.machine.virtualisation),
        ("number of workers", before.settings.workers, after.settings.workers),
        ("length of a run", before.settings.seconds, after.settings.seconds),
        ("CPU pinning", before.settings.pinning, after.settings.pinning),
        ("backend", before.backend, after.backend),
    ):
        if old != new:
            found.append(f"the {name} differs: {old} and {new}")
    for name in sorted(before.versions.keys() & after.versions.keys() - {"gateway", "sluicegate"}):
        if before.versions[name] != after.versions[name]:
            found.append(f"the version of {name} differs: {before.versions[name]} and {after.versions[name]}")
    return found
