"""The whole story: what is asked for, what is configured, the report, and a small run."""

from __future__ import annotations

import json
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.cli import app
from bench.load import parse_result
from bench.machine import PROJECT
from bench.processes import is_listening
from bench.report import Errors, Git, Machine, ReportError
from bench.story import configuration, traffic, zipf
from bench.story.servers import parse_hits
from bench.story.story_bench import hit_rate, traffic_facts
from bench.story.story_report import (
    FORMAT,
    LANES,
    CpuSeconds,
    LaneName,
    StoryLatency,
    StoryLoad,
    StoryReport,
    StoryRun,
    StorySettings,
    is_story_report,
    judge_story,
    lane_rows,
    read_story_report,
    story_markdown,
    summarize_story,
    write_story_report,
)
from tests.support.interruptible import interruptible

needs_wrk_and_nginx = pytest.mark.skipif(
    not (shutil.which("wrk") and shutil.which("nginx")), reason="wrk and nginx are not both installed"
)
SMALL_TAPE = 1 << 18


@pytest.fixture(scope="module")
def planned() -> traffic.Traffic:
    return traffic.plan(SMALL_TAPE)


def test_zipf_shares() -> None:
    found = zipf.shares(1000, 1.0)
    assert sum(found) == pytest.approx(1)
    assert found[0] / found[9] == pytest.approx(10)
    drawn = Counter(zipf.draw(found, 100_000, random.Random(1)))
    assert drawn[0] / 100_000 == pytest.approx(found[0], rel=0.05)
    assert drawn[9] / 100_000 == pytest.approx(found[9], rel=0.15)


def test_number_of_keys_follows_from_the_hit_rate() -> None:
    keys = zipf.keys_for(0.8, exponent=0.9, rate=1000, ttl_seconds=10)
    assert zipf.hit_rate(zipf.shares(keys, 0.9), 1000, 10) >= 0.8
    assert zipf.hit_rate(zipf.shares(keys + 1, 0.9), 1000, 10) < 0.8
    with pytest.raises(ValueError, match="no number of keys"):
        zipf.keys_for(0.9, exponent=1, rate=1, ttl_seconds=1)


def test_a_cache_with_a_time_to_live_has_the_expected_hit_rate(planned: traffic.Traffic) -> None:
    """The tape, played at the planned rate to a cache that is nothing but a time to live."""
    rate, begin = float(traffic.PLANNED_RATE), traffic.CACHE_SECONDS + 0.5
    fetched: dict[int, float] = {}
    hits = counted = 0
    for place, number in enumerate(planned.tape):
        now = place / rate
        counted += now >= begin
        if number >= planned.keys:
            continue
        if now - fetched.get(number, -1e9) < planned.ttl_seconds:
            hits += now >= begin
        else:
            fetched[number] = now
    assert hits / counted == pytest.approx(traffic.WANTED_HIT_RATE, abs=0.005)
    assert planned.expected_hit_rate(rate) == pytest.approx(traffic.WANTED_HIT_RATE, abs=0.001)
    assert 0.65 < planned.expected_hit_rate(rate / 2) < traffic.WANTED_HIT_RATE


def test_traffic_is_always_the_same(planned: traffic.Traffic) -> None:
    again = traffic.plan(SMALL_TAPE)
    assert again.tape == planned.tape
    assert again.requests == planned.requests
    uncacheable = sum(number >= planned.keys for number in planned.tape) / SMALL_TAPE
    assert uncacheable == pytest.approx(traffic.UNCACHEABLE_SHARE, abs=0.005)
    asked = {planned.requests[number].service for number in planned.tape}
    assert asked == set(traffic.SERVICES)


def test_requests_as_they_are_sent(planned: traffic.Traffic, tmp_path: Path) -> None:
    planned.write(tmp_path)
    texts = (tmp_path / "requests").read_bytes().split(b"\0")
    assert texts.pop() == b""
    assert len(texts) == len(set(texts)) == len(planned.requests)
    for text in (texts[0], texts[1], texts[-1], texts[-2], texts[-3]):
        head, _, body = text.partition(b"\r\n\r\n")
        assert re.fullmatch(rb"(GET|POST) /\w+/v1/items/\d+ HTTP/1.1", head.split(b"\r\n")[0])
        assert (b"\r\napikey: " in head) != (b"\r\nAuthorization: Bearer " in head)
        assert (f"\r\nContent-Length: {len(body)}".encode() in head) == bool(body)
    assert (tmp_path / "tape").stat().st_size == 4 * SMALL_TAPE


def test_the_configuration_has_what_the_story_tells() -> None:
    document = configuration.document([1001, 1002], 7)
    assert len(document["services"]) == len(document["upstreams"]) == 15
    for upstream in document["upstreams"]:
        assert {target["target"] for target in upstream["targets"]} == {"127.0.0.1:1001", "127.0.0.1:1002"}
        assert len({target["weight"] for target in upstream["targets"]}) == 2
        assert upstream["healthchecks"]["active"]["healthy"]["interval"] > 0
        assert upstream["healthchecks"]["passive"]["unhealthy"]["http_failures"] > 0
    names = Counter(plugin["name"] for service in document["services"] for plugin in service["plugins"])
    assert names["rate-limiting"] == names["key-auth"] + names["jwt"] == 15
    caching = [
        plugin["config"]["cache_ttl"]
        for service in document["services"]
        for plugin in service["plugins"]
        if plugin["name"] == "proxy-cache"
    ]
    assert caching == [7] * 12
    consumers = document["consumers"]
    assert sum("plugins" in consumer for consumer in consumers) == len(consumers) / 2
    assert {key for consumer in consumers for key in consumer} >= {"keyauth_credentials", "jwt_secrets"}
    assert {plugin["name"] for plugin in document["plugins"]} == {
        "request-transformer",
        "response-transformer",
        "prometheus",
    }


def test_counted_hits() -> None:
    text = "\n".join(
        (
            "# TYPE sluicegate_cache_hits_total counter",
            "sluicegate_cache_hits_total 41",
            "sluicegate_jwt_cache_hits_total 7",
        )
    )
    assert parse_hits(text) == 41
    assert parse_hits("kong_http_requests_total 5\n") is None
    assert hit_rate(100, 30, None) == 0.7
    assert hit_rate(100, 30, 65) == 0.65
    assert hit_rate(0, 0, None) == 0


def made_run(
    number: int, lane: LaneName, requests: int, p99: float, reached: int, failed: int = 0
) -> StoryRun:
    latency = StoryLatency(p50=p99 / 4, p90=p99 / 2, p95=p99 / 1.5, p99=p99, max=p99, mean=p99 / 3)
    errors = Errors(status=failed, connect=0, read=0, write=0, timeout=0)
    load = StoryLoad(requests=requests, seconds=1, bytes_read=requests, latency_ms=latency, errors=errors)
    through = lane.startswith("gateway")
    return StoryRun(
        round=number,
        lane=lane,
        load=load,
        requests_per_second=requests,
        cpu_seconds=CpuSeconds(0.5, 0.6 * through, 0.01 * through, reached / 100_000),
        foreign_cpu_share=0,
        backend_requests=reached,
        cache_hits=None,
        hit_rate=hit_rate(requests, reached, None) if through else None,
        expected_hit_rate=0.73 if through else None,
        pause_ms=0,
    )


def made_report(planned: traffic.Traffic) -> StoryReport:
    runs = []
    for number, p99 in ((1, 2.0), (2, 2.5), (3, 9.0)):
        runs += [
            made_run(number, "gateway", 60_000, 4 * p99, 16_000),
            made_run(number, "direct", 90_000, 1.0, 90_000),
            made_run(number, "gateway-half", 25_000, p99, 8_000),
            made_run(number, "direct-half", 25_000, 1.0, 25_000),
        ]
    summary = summarize_story(runs)
    machine = Machine(
        cpu_model="x",
        cpu_count=2,
        cpus_usable=[0, 1],
        memory_bytes=1,
        kernel="k",
        system="s",
        virtualisation="none",
        load_average=[0, 0, 0],
    )
    return StoryReport(
        format=FORMAT,
        kind="story",
        started_at="",
        finished_at="",
        command_line=[],
        machine=machine,
        versions={},
        git=Git(commit="", dirty=False),
        settings=StorySettings(
            rounds=3,
            seconds=1,
            warm_up_seconds=1,
            workers=2,
            connections=64,
            load_threads=1,
            half_rate=25_000,
            backends=2,
            cache_bytes=1,
            quick=False,
        ),
        traffic=traffic_facts(planned),
        cache_statuses={"Hit": 10},
        notes=["a note"],
        runs=runs,
        summary=summary,
        budgets=judge_story(summary),
    )


def test_lanes_are_compared_within_each_round(planned: traffic.Traffic) -> None:
    report = made_report(planned)
    assert report.summary["added-half.p99_ms"].median == pytest.approx(1.5)
    saved = report.summary["saved.backend_requests_per_request"].median
    assert saved == pytest.approx(1 - 16 / 60)
    assert report.summary["gateway.hit_rate"].median == pytest.approx(44 / 60)
    assert [budget.kept for budget in report.budgets] == [True, True, True, True, True]
    slow = summarize_story([made_run(1, "gateway", 40_000, 9.0, 20_000, failed=1)])
    assert [budget.kept for budget in judge_story(slow)] == [False, None, False, None, False]


def test_a_story_is_read_as_it_was_written(planned: traffic.Traffic, tmp_path: Path) -> None:
    path = tmp_path / "deep" / "story.json"
    written = made_report(planned)
    write_story_report(written, path)
    assert is_story_report(path)
    assert read_story_report(path) == written
    assert [row[0] for row in lane_rows(written, (("p50_ms", "p50", 1),))] == list(LANES)
    assert "| gateway | 60,000 |" in story_markdown(written)
    for arguments in ([], ["--markdown"]):
        shown = CliRunner().invoke(app, ["show", str(path), *arguments])
        assert shown.exit_code == 0
        assert "p99 added at half load" in shown.output
        assert "a note" in shown.output


def test_another_file_is_no_story(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    for content in ({"format": 1}, {"kind": "story", "format": 9}, []):
        path.write_text(json.dumps(content))
        with pytest.raises(ReportError):
            read_story_report(path)
    assert not is_story_report(path)


@needs_wrk_and_nginx
def test_a_small_story(tmp_path: Path) -> None:
    output = tmp_path / "story.json"
    arguments = ["story", "--quick", "--connections", "8", "--half-rate", "1000", "--output", str(output)]
    ran = CliRunner().invoke(app, arguments)
    assert ran.exit_code == 0, ran.output
    report = read_story_report(output)
    assert {run.lane for run in report.runs} == set(LANES)
    assert "Hit" in report.cache_statuses
    assert "Miss" in report.cache_statuses
    for run in report.runs:
        assert run.load.requests > 0
        assert run.load.errors.total == 0
        assert run.cpu_seconds.backends > 0
        if run.lane.startswith("direct"):
            assert run.backend_requests >= run.load.requests
        else:
            assert run.hit_rate is not None
            assert 0 < run.hit_rate < 1
            assert run.cache_hits
            assert run.backend_requests < run.load.requests
    assert "gateway" in report.versions


@needs_wrk_and_nginx
def test_locust_sends_the_same(tmp_path: Path) -> None:
    """Against what `--serve` starts; that is gone when it has been told to end."""
    command = [sys.executable, "-m", "bench", "story", "--serve", "--workers", "1"]
    with interruptible(command, cwd=PROJECT) as serving:
        assert serving.stdout is not None
        try:
            told = {}
            for line in serving.stdout:
                name, _, value = line.partition(": ")
                told[name] = value.strip()
                if line.startswith("locust"):
                    break
            page = tmp_path / "story.html"
            locust = [sys.executable, "-m", "locust", "-f", "bench/story/locustfile.py", "--headless"]
            locust += ["--host", told["proxy"], "--users", "3", "--spawn-rate", "3", "--run-time", "1s"]
            locust += ["--html", str(page), "--only-summary", "--stop-timeout", "5"]
            ran = subprocess.run(
                locust, cwd=PROJECT, capture_output=True, text=True, timeout=120, check=False
            )
        finally:
            serving.send_signal(signal.SIGINT)
            serving.wait(60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    text = page.read_text()
    assert any(f"{service.method} {service.path}" in text for service in traffic.SERVICES)
    assert "X-Cache-Status: " in ran.stdout
    for address in told["backends"].split():
        assert not is_listening(int(address.rpartition(":")[2]))


def test_output_of_wrk() -> None:
    latency = '"latency_ms":{"p50":1,"p90":2,"p95":3,"p99":4,"max":5,"mean":1}'
    errors = '"errors":{"status":0,"connect":0,"read":0,"write":0,"timeout":0}'
    text = f'x\nbench-result {{"requests":5,"seconds":1.5,"bytes_read":9,{latency},{errors}}}\n'
    assert parse_result(text, StoryLoad).latency_ms.p95 == 3
