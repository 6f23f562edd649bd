"""Numbers of runs: by metric, over all runs of a lane, and one lane against another."""

from __future__ import annotations

from bench.report import Lane, Ratio, Run, Summary
from bench.scenarios import RatioSpec
from bench.spread import summarize


def run_metrics(run: Run) -> dict[str, float]:
    """Every metric of one run by its name; those that were not measured are left out."""
    latency = run.load.latency_ms
    found: dict[str, float | None] = {
        "requests_per_second": run.requests_per_second,
        "requests_per_cpu_second": run.requests_per_cpu_second,
        "requests_per_worker_cpu_second": run.requests_per_worker_cpu_second,
        "cpu_share": run.cpu_share,
        "foreign_cpu_share": run.foreign_cpu_share,
        "p50_ms": latency.p50,
        "p75_ms": latency.p75,
        "p90_ms": latency.p90,
        "p99_ms": latency.p99,
        "max_ms": latency.max,
        "failed_requests": float(run.load.errors.total),
        "worker_rss_bytes": run.worker_rss_bytes,
        "worker_pss_bytes": run.worker_pss_bytes,
        **run.extra,
    }
    return {name: value for name, value in found.items() if value is not None}


def values_of(lane: Lane, metric: str) -> list[float]:
    """A metric of every run of a lane that has it."""
    return [value for run in lane.runs if (value := run_metrics(run).get(metric)) is not None]


def summarize_runs(runs: list[Run]) -> dict[str, Summary]:
    """Every metric over all runs that have it."""
    values: dict[str, list[float]] = {}
    for run in runs:
        for name, value in run_metrics(run).items():
            values.setdefault(name, []).append(value)
    return {name: summarize(found) for name, found in values.items()}


def compare_lanes(spec: RatioSpec, lanes: list[Lane]) -> Ratio | None:
    """One lane against another, round by round; None when one of them did not run or lacks the metric."""
    by_name = {lane.name: lane for lane in lanes}
    above, below = by_name.get(spec.numerator), by_name.get(spec.denominator)
    if above is None or below is None or spec.metric not in above.summary or spec.metric not in below.summary:
        return None

    def compared(numerator: float, denominator: float) -> float | None:
        if spec.kind == "difference":
            return numerator - denominator
        return numerator / denominator if denominator else None

    denominators = {run.round: run_metrics(run).get(spec.metric) for run in below.runs}
    values = []
    for run in above.runs:
        numerator, denominator = run_metrics(run).get(spec.metric), denominators.get(run.round)
        if numerator is not None and denominator is not None:
            value = compared(numerator, denominator)
            if value is not None:
                values.append(value)
    of_medians = compared(above.summary[spec.metric].median, below.summary[spec.metric].median)
    if not values or of_medians is None:
        return None
    return Ratio(
        metric=spec.metric,
        numerator=spec.numerator,
        denominator=spec.denominator,
        kind=spec.kind,
        of_medians=of_medians,
        per_round=summarize(values),
    )
