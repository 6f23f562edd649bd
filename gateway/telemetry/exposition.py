"""The Prometheus text format 0.0.4: families of samples, escaped and in order.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

CONTENT_TYPE = "text/plain; charset=UTF-8"

_LABEL_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})
_HELP_ESCAPES = str.maketrans({"\\": r"\\", "\n": r"\n"})


@dataclass(frozen=True)
class Metric:
    """The one declaration of a metric. `labels` are in the order in which they are written."""

    name: str
    kind: str  # "counter", "gauge", "histogram", or "untyped"
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[int, ...] = ()  # histogram: upper bounds without +Inf, rising


class Exposition:
    """Collects samples and writes them, each metric's samples together under its HELP and TYPE line."""

    def __init__(self) -> None:
        self._families: dict[str, list[str]] = {}

    def add(self, metric: Metric, value: float, *labels: str) -> None:
        """One sample of a counter or gauge, its label values in the order of the declaration."""
        self._lines(metric).append(f"{metric.name}{label_text(metric.labels, labels)} {number(value)}\n")

    def add_histogram(
        self,
        metric: Metric,
        counts: Sequence[int],
        total: float,
        *labels: str,
        bounds: Sequence[int] | None = None,
    ) -> None:
        """One histogram. `counts` are per bucket, not cumulative, the last one beyond every bound. `bounds`:
        of this series, where they are not those of the metric."""
        bounds = metric.buckets if bounds is None else bounds
        if len(counts) != len(bounds) + 1:
            raise ValueError(f"{metric.name}: {len(counts)} counts for {len(bounds)} bounds")
        lines = self._lines(metric)
        text = label_text(metric.labels, labels)
        begin = f"{metric.name}_bucket{text[:-1]}," if text else f"{metric.name}_bucket{{"
        count = 0
        for bound, in_bucket in zip((*bounds, "+Inf"), counts, strict=True):
            count += in_bucket
            lines.append(f'{begin}le="{bound}"}} {count}\n')
        lines.append(f"{metric.name}_sum{text} {number(total)}\n")
        lines.append(f"{metric.name}_count{text} {count}\n")

    def text(self) -> bytes:
        """The page: metrics sorted by name, as Kong shows them."""
        return "".join(line for name in sorted(self._families) for line in self._families[name]).encode()

    def _lines(self, metric: Metric) -> list[str]:
        lines = self._families.get(metric.name)
        if lines is None:
            lines = self._families[metric.name] = [
                f"# HELP {metric.name} {metric.help.translate(_HELP_ESCAPES)}\n",
                f"# TYPE {metric.name} {metric.kind}\n",
            ]
        return lines


def label_text(names: Sequence[str], values: Sequence[str]) -> str:
    """`{name="value",…}`, or nothing without labels."""
    if not names:
        return ""
    pairs = (f'{n}="{v.translate(_LABEL_ESCAPES)}"' for n, v in zip(names, values, strict=True))
    return "{" + ",".join(pairs) + "}"


def number(value: float) -> str:
    """Integers without a fraction, other numbers in the shortest exact form."""
    return str(value) if isinstance(value, int) else repr(float(value))


def by_name(metrics: Iterable[Metric]) -> Mapping[str, Metric]:
    """The metrics by name; ValueError when two declarations share one."""
    found: dict[str, Metric] = {}
    for metric in metrics:
        if metric.name in found:
            raise ValueError(f"metric {metric.name} is declared twice")
        found[metric.name] = metric
    return found
