"""Medians and how far values lie from them; when a change is larger than the noise.

Few rounds on a shared machine give no nice distribution, so everything here is about ranks: the median, and
the median absolute deviation (MAD), which one bad round does not move.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from bench.report import Summary

# For a normal distribution, MAD × 1.4826 estimates the standard deviation.
MAD_TO_DEVIATION = 1.4826
# From this many rounds on the MAD is trusted; below it, half of the whole range is used instead.
ROUNDS_FOR_MAD = 5
# A change below this is never marked: two runs of one build differ by this much (code and page placement, the
# neighbours of a virtual machine) although within each run the rounds agree better.
NOISE_FLOOR = 0.02
# How many combined deviations a change must exceed.
DEVIATIONS = 2.0


def summarize(values: Sequence[float]) -> Summary:
    """Median, smallest, largest and relative MAD of at least one value."""
    median = statistics.median(values)
    mad = statistics.median(abs(value - median) for value in values)
    return Summary(
        median=median,
        min=min(values),
        max=max(values),
        relative_mad=mad / abs(median) if median else 0.0,
        rounds=len(values),
    )


def relative_deviation(summary: Summary) -> float | None:
    """Estimated standard deviation over the median; None for a single round, whose noise nobody can know."""
    if summary.rounds < 2:
        return None
    if summary.median == 0:
        return 0.0 if summary.min == summary.max else math.inf
    if summary.rounds < ROUNDS_FOR_MAD:
        return (summary.max - summary.min) / 2 / abs(summary.median)
    return MAD_TO_DEVIATION * summary.relative_mad


def noise_between(before: Summary, after: Summary) -> float | None:
    """The relative change that noise alone explains, both spreads combined; None when either is unknown."""
    first, second = relative_deviation(before), relative_deviation(after)
    if first is None or second is None:
        return None
    return max(NOISE_FLOOR, DEVIATIONS * math.hypot(first, second))


def relative_change(before: float, after: float) -> float | None:
    """(after − before) / before; None when there is nothing to divide by."""
    return (after - before) / abs(before) if before else None
