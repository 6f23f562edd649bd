"""Sweeps: what is asked for, what is planned, what is found, how it is shown; and one small real run."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from made_reports import make_lane, make_report
from typer.testing import CliRunner

from bench.cli import app
from bench.compare import Verdict
from bench.popular import popular_targets
from bench.processes import BenchError
from bench.report import Lane, Report, Scenario, read_report, write_report
from bench.scenarios import SCENARIOS
from bench.summaries import compare_lanes
from bench.sweep import (
    MOST_COMBINATIONS,
    PRESETS,
    Experiment,
    Sweep,
    differences,
    experiments_for,
    load_of,
    make_sweep,
    most_workers,
    parse_sweep,
    scenario_of,
    seconds_planned,
)
from bench.sweep_document import rendered
from bench.sweep_page import is_sweep, sweep_markdown, sweep_page, sweep_tables
from tests.support.interruptible import interruptible

needs_wrk_and_nginx = pytest.mark.skipif(
    not (shutil.which("wrk") and shutil.which("nginx")), reason="wrk and nginx are not both installed"
)


def made_sweep(*per_combination: list[int]) -> Report:
    """A report of one experiment from the requests per round of each combination."""
    values = tuple(str(number) for number in range(1, len(per_combination) + 1))
    spec = scenario_of(Experiment("proxy-small", (Sweep("worker_processes", values),)), 1)
    lanes: list[Lane] = []
    for lane, requests in zip(spec.lanes(["gateway"]), per_combination, strict=True):
        made = make_lane("gateway", requests)
        made.name = lane.name
        lanes.append(made)
    report = make_report({})
    ratios = [ratio for one in spec.ratios if (ratio := compare_lanes(one, lanes)) is not None]
    report.scenarios = [Scenario(name=spec.name, title=spec.title, lanes=lanes, ratios=ratios)]
    return report


def test_sweeps_are_parsed() -> None:
    assert parse_sweep("GATEWAY_MEM_CACHE_SIZE=16m, 256m") == Sweep("mem_cache_size", ("16m", "256m"))
    assert parse_sweep("cpu_affinity=off;0") == Sweep("cpu_affinity", ("off", "0"))
    assert make_sweep("worker_processes", "1,auto").values == ("1", "auto")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("mem_cache_size", "is no sweep"),
        ("=1,2", "is no sweep"),
        ("mem_cache_sise=1m", "no setting"),
        ("proxy_listen=0.0.0.0:1", "set by the bench itself"),
        ("mem_cache_size=16m,big", "allowed is"),
        ("mem_cache_size=16m,16m", "twice"),
        ("mem_cache_size=", "allowed is"),
    ],
)
def test_mistakes_are_named(text: str, said: str) -> None:
    with pytest.raises(BenchError, match=said):
        parse_sweep(text)


def test_all_combinations_become_lanes_with_a_gateway_each() -> None:
    sweeps = [parse_sweep("worker_processes=1,2"), parse_sweep("mem_cache_size=16m,256m")]
    (experiment,) = experiments_for(sweeps, ["proxy-4k"])
    spec = scenario_of(experiment, 1)
    lanes = spec.lanes(["gateway"])
    assert [lane.settings for lane in lanes] == [
        (("worker_processes", workers), ("mem_cache_size", size))
        for workers in ("1", "2")
        for size in ("16m", "256m")
    ]
    assert len({lane.instance for lane in lanes}) == 4
    assert {lane.load for lane in lanes} == {SCENARIOS["proxy-4k"].lanes(["gateway"])[0].load}
    assert {ratio.denominator for ratio in spec.ratios} == {"worker_processes=1, mem_cache_size=16m"}
    assert most_workers([experiment]) == 2


def test_load_is_the_one_that_shows_an_effect_or_the_one_asked_for() -> None:
    (cache,) = experiments_for([parse_sweep("mem_cache_size=16m,256m")], [])
    assert load_of(cache).popular
    (plain,) = experiments_for([parse_sweep("keepalive_requests=1,2")], [])
    assert plain.scenario == "proxy-small"
    (jwt,) = experiments_for([parse_sweep("jwt_cache_size=0,1m")], ["plugins:jwt"])
    assert load_of(jwt).setup == "jwt"


@pytest.mark.parametrize(
    ("sweeps", "scenarios", "said"),
    [
        ([], [], "nothing to vary"),
        (["keepalive_requests=1"], ["proxy-tiny"], "no scenario"),
        (["keepalive_requests=1"], ["plugins:nothing"], "no lane"),
        (["keepalive_requests=1", "keepalive_requests=2"], [], "given twice"),
        (["keepalive_requests=1,2,3,4,5", "worker_connections=16,17,18,19"], [], "more than 16"),
    ],
)
def test_what_cannot_be_run_is_refused(sweeps: list[str], scenarios: list[str], said: str) -> None:
    with pytest.raises(BenchError, match=said):
        experiments_for([parse_sweep(text) for text in sweeps], scenarios)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_can_be_run_within_ten_minutes(preset: str) -> None:
    experiments = PRESETS[preset]
    for number, experiment in enumerate(experiments, 1):
        assert 1 < len(experiment.combinations) <= MOST_COMBINATIONS
        for sweep in experiment.sweeps:
            make_sweep(sweep.name, ";".join(sweep.values))
        assert len(scenario_of(experiment, number).lanes(["gateway"])) == len(experiment.combinations)
    assert seconds_planned(experiments, 5, 2, 1) < 420


def test_differences_beyond_the_noise_are_told_from_others() -> None:
    report = made_sweep(
        [1000, 1010, 990, 1000, 1005], [1500, 1490, 1520, 1500, 1495], [1010, 985, 1000, 1020, 990]
    )
    verdicts = {(one.lane, one.metric): one.verdict for one in differences(report.scenarios[0])}
    assert verdicts["worker_processes=2", "requests_per_second"] is Verdict.BETTER
    assert verdicts["worker_processes=3", "requests_per_second"] is Verdict.NOISE
    worse = made_sweep([1000, 1000], [500, 505])
    assert differences(worse.scenarios[0])[0].verdict is Verdict.WORSE
    assert differences(worse.scenarios[0])[0].change == pytest.approx(-0.4975)
    once = made_sweep([1000], [500])
    assert {one.verdict for one in differences(once.scenarios[0])} == {Verdict.UNKNOWN}


def test_drift_that_all_combinations_suffer_is_no_difference() -> None:
    report = made_sweep([1000, 700, 400, 900, 600], [1000, 700, 400, 900, 600])
    assert {one.verdict for one in differences(report.scenarios[0])} == {Verdict.NOISE}


def test_report_is_read_back_and_shown(tmp_path: Path) -> None:
    report = made_sweep([1000, 1010, 990], [1500, 1490, 1520])
    path = tmp_path / "sweep.json"
    write_report(report, path)
    assert read_report(path) == report
    assert is_sweep(read_report(path))
    assert not is_sweep(make_report({"proxy-small": [make_lane("gateway", [1])]}))
    shown = CliRunner().invoke(app, ["show", str(path)])
    assert "worker_processes under proxy-small" in shown.output
    assert "+50%" in CliRunner().invoke(app, ["show", str(path), "--markdown"]).output
    assert "larger than the noise" in str(sweep_tables(report)[-1])
    assert "`worker_processes=2`" in sweep_markdown(report)


def test_page_is_well_formed_and_has_the_plots() -> None:
    report = made_sweep([1000, 1010, 990], [1500, 1490, 1520])
    report.notes = ["beware of <this> & that"]
    text = sweep_page(report)
    tree = ElementTree.fromstring(text.removeprefix("<!DOCTYPE html>\n"))  # noqa: S314 - our own
    charts = [one for one in tree.iter() if one.tag.endswith("svg")]
    assert len(charts) >= 4
    assert all("worker_processes=2" in chart.attrib["aria-label"] for chart in charts)
    assert "<script" not in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")


def test_tables_of_a_document_are_written_between_the_marks() -> None:
    report = made_sweep([1000, 1010, 990], [1500, 1490, 1520])
    report.notes = [
        "sweep 1: other programs used the machine: 40% during a, 70% during b",
        "something else",
    ]
    text = "before\n<!-- sweep: facts -->\nold\n<!-- end -->\n"
    text += "<!-- sweep: worker_processes under proxy-small -->\n<!-- end -->\nafter\n"
    found = rendered(text, report)
    assert found.startswith("before\n")
    assert found.endswith("<!-- end -->\nafter\n")
    assert "old" not in found
    assert "| `worker_processes=2` |" in found
    assert "up to 70 % of it, in 1 of 1 experiments" in found
    assert "- Beware: something else" in found
    assert rendered(found, report) == found
    with pytest.raises(BenchError, match="no experiment 'nothing'"):
        rendered("<!-- sweep: nothing -->\n<!-- end -->", report)


def test_document_on_tuning_has_what_its_preset_measures() -> None:
    document = (Path(__file__).parents[2] / "docs" / "tuning.md").read_text()
    titles = [scenario_of(one, number).title for number, one in enumerate(PRESETS["docs"], 1)]
    marks = re.findall(r"<!-- sweep: (.+?) -->\n(.*?)<!-- end -->", document, re.DOTALL)
    assert {name for name, _ in marks} == {"facts", *titles}
    assert all(content.strip() for _, content in marks)


def test_popular_addresses_are_asked_for_more_often() -> None:
    targets = popular_targets(1000, "/4k")
    assert targets == popular_targets(1000, "/4k")
    assert targets.count("bench.test /4k?page=0") > 20 * targets.count("bench.test /4k?page=900") > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--workers", "1,many"], "allowed is"),
        ([], "nothing to vary"),
        (["--preset", "docs", "--workers", "1"], "--preset says itself"),
        (["--preset", "all"], "no preset"),
        (["--workers", "1,2", "--rounds", "400", "--seconds", "10"], "more than 60"),
    ],
)
def test_command_refuses_clearly(arguments: list[str], said: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["sweep", *arguments, "--output", str(tmp_path / "report.json")])
    assert result.exit_code == 1
    assert said in " ".join(result.stderr.split())
    assert list(tmp_path.iterdir()) == []


@needs_wrk_and_nginx
def test_interrupted_sweep_has_report_and_page_of_finished_rounds(tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    command = [sys.executable, "-m", "bench", "sweep", "--setting", "keepalive_requests=10,1000"]
    command += ["--rounds", "50", "--seconds", "1", "--quick", "--output", str(output)]
    with interruptible(command, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if " 2/50 " in line:  # the first round is over
                process.send_signal(signal.SIGINT)
                break
        process.communicate(timeout=60)
    assert process.returncode == 130
    report = read_report(output)
    assert not report.complete
    lanes = report.scenarios[0].lanes
    assert [lane.parameters["GATEWAY_KEEPALIVE_REQUESTS"] for lane in lanes] == ["10", "1000"]
    assert [len(lane.runs) for lane in lanes] == [1, 1]
    assert all(lane.runs[0].load.requests for lane in lanes)
    shown = output.with_suffix(".html").read_text()
    assert "interrupted" in shown
    assert shown.count("<svg") >= 4
