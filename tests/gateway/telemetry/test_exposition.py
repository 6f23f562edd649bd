"""The Prometheus text format."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.telemetry import metrics
from gateway.telemetry.exposition import Exposition, Metric, by_name
from tests.support.prometheus_text import parse

GAUGE = Metric("test_gauge", "gauge", "A gauge", ("name",))
HISTOGRAM = Metric("test_ms", "histogram", "A histogram", ("name",), (1, 5))


@given(st.lists(st.text(), unique=True, min_size=1, max_size=5))
def test_any_label_value_survives(values: list[str]) -> None:
    page = Exposition()
    for number, value in enumerate(values):
        # Lone surrogates cannot come from UTF-8 input, which is where names come from.
        page.add(GAUGE, number, value.encode("utf-8", "replace").decode())
    if len({value.encode("utf-8", "replace") for value in values}) < len(values):
        return
    family = parse(page.text())["test_gauge"]
    for number, value in enumerate(values):
        assert family.value("test_gauge", name=value.encode("utf-8", "replace").decode()) == number


def test_help_texts_are_escaped() -> None:
    page = Exposition()
    page.add(Metric("x", "gauge", "a\\b\nc"), 1)
    assert page.text() == b"# HELP x a\\\\b\\nc\n# TYPE x gauge\nx 1\n"


def test_histogram_buckets_are_cumulative() -> None:
    page = Exposition()
    page.add_histogram(HISTOGRAM, [3, 0, 2], 77, "a")
    assert page.text().decode().splitlines()[2:] == [
        'test_ms_bucket{name="a",le="1"} 3',
        'test_ms_bucket{name="a",le="5"} 3',
        'test_ms_bucket{name="a",le="+Inf"} 5',
        'test_ms_sum{name="a"} 77',
        'test_ms_count{name="a"} 5',
    ]


def test_a_wrong_number_of_buckets_is_refused() -> None:
    with pytest.raises(ValueError, match="2 counts for 2 bounds"):
        Exposition().add_histogram(HISTOGRAM, [1, 2], 3, "a")


def test_samples_of_a_metric_stand_together_and_metrics_are_sorted() -> None:
    page = Exposition()
    other = Metric("a_first", "counter", "First")
    page.add(GAUGE, 1, "a")
    page.add(other, 2)
    page.add(GAUGE, 3.5, "b")
    names = [line.split()[0] for line in page.text().decode().splitlines() if not line.startswith("#")]
    assert names == ["a_first", 'test_gauge{name="a"}', 'test_gauge{name="b"}']
    parse(page.text())


def test_a_metric_is_declared_once() -> None:
    with pytest.raises(ValueError, match="declared twice"):
        by_name([GAUGE, GAUGE])


def test_declarations_are_valid() -> None:
    assert len(metrics.ALL) > 20
    for metric in metrics.ALL.values():
        assert metric.help
        assert (metric.kind == "histogram") == bool(metric.buckets)
        assert list(metric.buckets) == sorted(set(metric.buckets))
