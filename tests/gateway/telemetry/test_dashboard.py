"""The dashboard in examples/grafana: it asks for metrics that there are, by labels that they have."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.telemetry.metrics import ALL

DASHBOARDS = sorted((Path(__file__).parents[3] / "examples" / "grafana").glob("*.json"))
SELECTOR = re.compile(r"\b((?:kong|sluicegate)_\w+)(?:\{([^}]*)\})?")
SUFFIX = re.compile(r"_(bucket|sum|count)$")
BY_SCRAPE = {"instance", "job"}
"""labels that Prometheus adds"""


def queries(value: Any) -> Iterator[str]:
    """Every text of a dashboard in which a metric is asked for."""
    if isinstance(value, dict):
        for name, inner in value.items():
            if name in ("expr", "query") and isinstance(inner, str):
                yield inner
            else:
                yield from queries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from queries(inner)


def metric_of(name: str) -> str:
    """The metric that a series belongs to."""
    base = SUFFIX.sub("", name)
    return base if base in ALL and ALL[base].kind == "histogram" else name


def test_there_is_one() -> None:
    assert DASHBOARDS


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.name)
def test_dashboard(path: Path) -> None:
    dashboard = json.loads(path.read_text(encoding="utf-8"))
    panels = dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    asked = [found for query in queries(dashboard) for found in SELECTOR.findall(query)]
    assert len(asked) > 20
    for name, labels in asked:
        metric = ALL[metric_of(name)]
        known = {*metric.labels, *BY_SCRAPE}
        assert set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", labels)) <= known, name
    for panel in panels:
        if panel["type"] != "row":
            assert panel["targets"], panel["title"]
            assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
