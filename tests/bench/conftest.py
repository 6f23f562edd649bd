"""Fixtures of the bench tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from made_reports import make_lane, make_report

from bench.report import Report

ReportMaker = Callable[[list[int], list[int]], Report]


@pytest.fixture
def plain_report() -> ReportMaker:
    """Reports of plain proxying from the requests per round of gateway and nginx."""

    def make(gateway: list[int], nginx: list[int]) -> Report:
        return make_report({"proxy-small": [make_lane("gateway", gateway), make_lane("nginx", nginx)]})

    return make
