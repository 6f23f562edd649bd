"""The report file: what is written is read back; anything else is refused with a reason."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import pytest
from made_reports import make_lane, make_report

from bench.report import Report, ReportError, read_report, write_report


@pytest.fixture
def report(plain_report: Callable[[list[int], list[int]], Report]) -> Report:
    return plain_report([150, 151, 149], [100, 100, 100])


def test_written_report_is_read_back(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "report.json"
    write_report(report, path)
    assert read_report(path) == report


def test_report_is_plain_json_with_the_documented_fields(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path / "report.json")
    found = json.loads((tmp_path / "report.json").read_text())
    described = (Path(__file__).parents[2] / "bench" / "README.md").read_text()
    lane = found["scenarios"][0]["lanes"][0]
    for part in (found, found["machine"], found["settings"], lane, lane["runs"][0], found["budgets"][0]):
        for name in part:
            assert f"`{name}`" in described, f"bench/README.md does not describe {name}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no bench report"),
        ("[]", "no bench report of format 1"),
        ('{"format": 2}', "no bench report of format 1"),
        ('{"format": 1}', "missing required field"),
    ],
)
def test_other_files_are_refused(text: str, said: str, tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(ReportError, match=said):
        read_report(path)


def test_missing_file_and_unknown_field_are_refused(report: Report, tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    with pytest.raises(ReportError, match="No such file"):
        read_report(path)
    write_report(report, path)
    document = json.loads(path.read_text())
    document["machine"]["cpu_modell"] = "x"
    path.write_text(json.dumps(document))
    with pytest.raises(ReportError, match="cpu_modell"):
        read_report(path)


def test_ratio_is_the_median_of_the_rounds_ratios(report: Report) -> None:
    # The machine was twice as slow in round 2 for both: the ratio does not see it.
    lanes = [make_lane("gateway", [150, 75, 160]), make_lane("nginx", [100, 50, 100])]
    ratio = (
        make_report({"proxy-small": lanes}).scenarios[0].ratio("requests_per_cpu_second", "gateway", "nginx")
    )
    assert ratio is not None
    assert ratio.per_round.median == 1.5
    assert ratio.per_round.max == 1.6
    assert ratio.of_medians == 1.5


def test_budgets_are_judged(report: Report) -> None:
    budgets = {budget.name: budget for budget in report.budgets}
    speed = budgets["Requests per CPU-second, 0.2 KiB bodies"]
    assert speed.kept
    assert speed.aim_reached
    memory = budgets["Memory per worker at start (PSS)"]
    assert (memory.measured, memory.kept, memory.aim_reached) == (30.0, True, True)
    not_measured = budgets["Requests failed by SIGHUP"]
    assert (not_measured.measured, not_measured.kept) == (None, None)


def test_budgets_are_missed(plain_report: Callable[[list[int], list[int]], Report]) -> None:
    slow = plain_report([129] * 3, [100] * 3).budgets[0]
    assert (slow.kept, slow.aim_reached) == (False, False)
    assert slow.measured is not None
    assert math.isclose(slow.measured, 1.29)


def test_one_failed_request_breaks_the_reload_budget() -> None:
    lanes = [make_lane("gateway", [100, 100]), make_lane("gateway-reloading", [100, 100], failed=1)]
    budgets = {b.name: b for b in make_report({"reload": lanes}).budgets}
    assert budgets["Requests failed by new configurations"].kept is False
