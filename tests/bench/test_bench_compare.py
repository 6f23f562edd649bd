"""Comparison of two reports: marks, warnings, terminal output and page."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path

import msgspec
import pytest
from made_reports import make_lane, make_report
from rich.console import Console
from typer.testing import CliRunner

from bench.cli import app
from bench.compare import Comparison, Verdict, compare_reports
from bench.page import comparison_page
from bench.report import Report, write_report
from bench.tables import comparison_tables, report_markdown, report_tables

STEADY = [100, 101, 99, 100, 100]


def ratio_of(comparison: Comparison, metric: str = "requests_per_cpu_second") -> Verdict:
    return next(change.verdict for change in comparison.ratios if change.metric == metric)


@pytest.fixture
def changed(plain_report: Callable[[list[int], list[int]], Report]) -> Comparison:
    """The gateway became 20 % faster; nginx stayed."""
    return compare_reports(plain_report([150] * 5, STEADY), plain_report([180] * 5, STEADY))


def test_larger_than_noise_is_marked(
    changed: Comparison, plain_report: Callable[[list[int], list[int]], Report]
) -> None:
    assert ratio_of(changed) is Verdict.BETTER
    assert changed.better
    assert not changed.worse
    slower = compare_reports(changed.after, changed.before)
    assert ratio_of(slower) is Verdict.WORSE
    assert slower.worse


def test_within_noise_is_not_marked(plain_report: Callable[[list[int], list[int]], Report]) -> None:
    loud = [120, 140, 150, 160, 180]
    comparison = compare_reports(plain_report(loud, STEADY), plain_report([157] * 5, STEADY))
    assert ratio_of(comparison) is Verdict.NOISE
    assert not comparison.better


def test_small_change_is_not_marked_however_steady(
    plain_report: Callable[[list[int], list[int]], Report],
) -> None:
    comparison = compare_reports(plain_report([1000] * 5, [1000] * 5), plain_report([1015] * 5, [1000] * 5))
    assert ratio_of(comparison) is Verdict.NOISE


def test_single_rounds_are_never_marked(plain_report: Callable[[list[int], list[int]], Report]) -> None:
    comparison = compare_reports(plain_report([100], [100]), plain_report([200], [100]))
    assert ratio_of(comparison) is Verdict.UNKNOWN


def test_faster_machine_changes_no_ratio(plain_report: Callable[[list[int], list[int]], Report]) -> None:
    comparison = compare_reports(plain_report([150] * 5, [100] * 5), plain_report([300] * 5, [200] * 5))
    assert ratio_of(comparison) is Verdict.NOISE
    absolute = next(
        c for c in comparison.lanes if c.subject == "nginx" and c.metric == "requests_per_cpu_second"
    )
    assert absolute.verdict is Verdict.BETTER
    assert not comparison.better  # absolute numbers do not count


def test_latency_difference_is_judged_in_milliseconds() -> None:
    def half_load(gateway_p99: float) -> Report:
        lanes = [make_lane("direct", [100] * 5, p99=0.1), make_lane("gateway", [100] * 5, p99=gateway_p99)]
        return make_report({"half-load": lanes})

    same = compare_reports(half_load(0.1), half_load(0.11))
    assert ratio_of(same, "p99_ms") is Verdict.NOISE
    worse = compare_reports(half_load(0.1), half_load(0.3))
    assert ratio_of(worse, "p99_ms") is Verdict.WORSE


def test_every_failed_request_counts(plain_report: Callable[[list[int], list[int]], Report]) -> None:
    before = make_report({"reload": [make_lane("gateway-reloading", [100] * 5)]})
    after = make_report({"reload": [make_lane("gateway-reloading", [100] * 5, failed=1)]})
    assert [change.metric for change in compare_reports(before, after).worse] == ["failed_requests"]


def test_differing_machines_are_pointed_out(plain_report: Callable[[list[int], list[int]], Report]) -> None:
    report = plain_report(STEADY, STEADY)
    other = msgspec.structs.replace(
        report,
        machine=msgspec.structs.replace(report.machine, cpu_model="Another"),
        versions={"nginx": "1.27"},
        complete=False,
    )
    warnings = "\n".join(compare_reports(report, other).warnings)
    assert "the CPU differs: Test <CPU> & more and Another" in warnings
    assert "the version of nginx differs" in warnings
    assert "the second report is incomplete" in warnings


def rendered(parts: list[object], width: int = 80) -> str:
    console = Console(file=StringIO(), width=width, color_system=None)
    console.print(*parts, sep="\n")
    assert isinstance(console.file, StringIO)
    return console.file.getvalue()


def test_terminal_tables_fit_80_columns(changed: Comparison) -> None:
    text = rendered(list(comparison_tables(changed)))
    assert re.search(r"gateway / nginx +req/CPU-s +1\.500 +1\.800 +\+20\.0% +±2\.\d% +▲ better", text)
    assert "…" not in text
    assert "1 better, 0 worse" in text or "2 better, 0 worse" in text
    report = rendered(list(report_tables(changed.after)))
    assert "aim reached" in report


def test_markdown_has_every_scenario(changed: Comparison) -> None:
    text = report_markdown(changed.after)
    assert "### Plain proxying, 0.2 KiB bodies" in text
    assert "| gateway / nginx | req/CPU-s | 1.800 × |" in text


def page_root(comparison: Comparison) -> ElementTree.Element:
    doctype, _, rest = comparison_page(comparison).partition("\n")
    assert doctype == "<!DOCTYPE html>"
    return ElementTree.fromstring(rest)  # noqa: S314 - our own output


def test_page_is_well_formed_and_escaped(changed: Comparison) -> None:
    root = page_root(changed)
    assert root.get("lang") == "en"
    assert "Test <CPU> & more" in "".join(root.itertext())
    ids = [element.get("id") for element in root.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for link in root.iter("a"):
        assert str(link.get("href")).removeprefix("#") in ids


def test_page_fetches_nothing_and_runs_nothing(changed: Comparison) -> None:
    root = page_root(changed)
    assert {element.tag for element in root.iter()}.isdisjoint({"script", "link", "img", "iframe", "object"})
    for element in root.iter():
        assert not any(name in element.attrib for name in ("src", "style", "onclick"))
    style = "".join(str(element.text) for element in root.iter("style"))
    assert "url(" not in style
    assert "@import" not in style
    assert "prefers-color-scheme: dark" in style


def test_page_serves_keyboard_and_screen_reader(changed: Comparison) -> None:
    root = page_root(changed)
    for region in root.iter("div"):
        if region.get("class") == "scroll":
            assert region.get("tabindex") == "0"
            assert region.get("aria-label")
    plots = [element for element in root.iter() if element.tag.endswith("svg")]
    assert len(plots) == 4
    assert all(plot.get("role") == "img" for plot in plots)
    assert "gateway, after: 180" in str(plots[0].get("aria-label"))
    assert any(element.get("name") == "viewport" for element in root.iter("meta"))


def test_page_passes_an_html_parser(changed: Comparison) -> None:
    opened: list[str] = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            opened.append(tag)

        def handle_endtag(self, tag: str) -> None:
            assert opened.pop() == tag

        def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            pass

    parser = Parser()
    parser.feed(comparison_page(changed))
    parser.close()
    assert not opened


def test_command_line(changed: Comparison, tmp_path: Path) -> None:
    files = [tmp_path / "a.json", tmp_path / "b.json"]
    write_report(changed.before, files[0])
    write_report(changed.after, files[1])
    runner = CliRunner()
    page = tmp_path / "page.html"
    ran = runner.invoke(app, ["compare", *map(str, files), "--html", str(page)])
    assert ran.exit_code == 0, ran.output
    assert "▲ better" in ran.output
    assert page.read_text().startswith("<!DOCTYPE html>")
    worse = runner.invoke(app, ["compare", *map(str, reversed(files)), "--fail-on-worse"])
    assert worse.exit_code == 1
    missing = runner.invoke(app, ["compare", str(files[0]), str(tmp_path / "none.json")])
    assert missing.exit_code == 1
    shown = runner.invoke(app, ["show", str(files[0]), "--markdown"])
    assert shown.output.startswith("|")
