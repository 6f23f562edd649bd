"""The bench itself, small: processes that are measured and ended, generated configurations, one real run."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from typer.testing import CliRunner

from bench import declarative, pinning
from bench.backend import TEMPLATES, fill
from bench.cli import app
from bench.load import Load, parse_result
from bench.processes import (
    BenchError,
    Fleet,
    cpu_seconds,
    process_tree,
    read_memory,
    tree_cpu_seconds,
    wait_until,
)
from bench.proxies import PEERS
from bench.report import LoadResult, Pinning, read_report
from bench.runner import Options, Runner
from bench.scenarios import SCENARIOS, LaneSpec, ScenarioSpec

needs_wrk_and_nginx = pytest.mark.skipif(
    not (shutil.which("wrk") and shutil.which("nginx")), reason="wrk and nginx are not both installed"
)

# A parent with a busy child that has ended and one that stays; it says so when both are that far.
FAMILY = """
import os, subprocess, sys, time
subprocess.run([sys.executable, "-c", "import time\\nwhile time.process_time() < 0.2: pass"])
subprocess.Popen(["sleep", "1000"])
print("ready", flush=True)
time.sleep(1000)
"""


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_tree_is_measured_and_ended_as_a_whole(tmp_path: Path) -> None:
    with Fleet() as fleet:
        child = fleet.start(
            "family", [sys.executable, "-c", FAMILY], directory=tmp_path, cpus=[min(pinned())]
        )
        wait_until(lambda: "ready" in child.last_output(), child)
        tree = process_tree(child.pid)
        assert [stat.name for stat in tree[1:]] == ["sleep"]
        # The time of the child that has ended is still counted, but not as the parent's own.
        assert tree_cpu_seconds(child.pid) >= 0.2
        own = cpu_seconds([child.pid])
        assert own is not None
        assert own <= tree_cpu_seconds(child.pid) - 0.2 + 0.02
        assert os.sched_getaffinity(tree[1].pid) == {min(pinned())}
        memory = read_memory(child.pid)
        assert memory is not None
        assert 0 < memory.pss <= memory.rss
    assert not any(alive(stat.pid) for stat in tree)
    assert process_tree(child.pid) == []
    assert cpu_seconds([child.pid]) is None
    assert read_memory(child.pid) is None


def pinned() -> set[int]:
    return os.sched_getaffinity(0)


def test_everything_is_ended_after_an_exception(tmp_path: Path) -> None:
    pids = []

    def fail() -> None:
        with Fleet() as fleet:
            pids.extend(
                fleet.start(name, ["sleep", "1000"], directory=tmp_path).pid for name in ("one", "two")
            )
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert len(pids) == 2
    assert not any(alive(pid) for pid in pids)


def test_a_process_that_does_not_start_is_reported(tmp_path: Path) -> None:
    with Fleet() as fleet:
        child = fleet.start("missing", ["no-such-program"], directory=tmp_path)
        with pytest.raises(BenchError, match="cannot run no-such-program: No such file"):
            wait_until(lambda: False, child)


def test_children_die_with_a_killed_bench(tmp_path: Path) -> None:
    script = """
import sys, time
from pathlib import Path
from bench.processes import Fleet, wait_until
fleet = Fleet()
child = fleet.start("child", ["sh", "-c", "echo up; exec sleep 1000"], directory=Path(sys.argv[1]))
wait_until(lambda: "up" in child.last_output(), child)
print(child.pid, flush=True)
time.sleep(1000)
"""
    command = [sys.executable, "-c", script, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as killed:
        assert killed.stdout is not None
        pid = int(killed.stdout.readline())
        assert alive(pid)
        killed.send_signal(signal.SIGKILL)
        killed.wait()
        deadline = time.monotonic() + 10
        while alive(pid) and time.monotonic() < deadline:
            time.sleep(0.01)
        assert not alive(pid)


def test_many_routes_have_an_address_each() -> None:
    document = declarative.many_routes(1234, 200)
    routes = [route for service in document["services"] for route in service["routes"]]
    assert len(routes) == len({route["name"] for route in routes}) == 200
    assert len(document["services"]) == 20
    targets = declarative.targets(200)
    assert len(set(targets)) == 200
    assert targets == declarative.targets(200)
    hosts = {target.split()[0] for target in targets}
    for route in routes:
        for host in route.get("hosts", []):
            assert host in hosts or any(asked.endswith(host.removeprefix("*")) for asked in hosts)
        assert sum(target.split()[1].startswith(f"{route['paths'][0]}/") for target in targets) == 1


def test_a_revision_changes_the_document_and_nothing_else() -> None:
    document = declarative.many_routes(1234, 20)
    first, second = declarative.with_revision(document, 1), declarative.with_revision(document, 2)
    assert first != second
    assert first.replace(b"revision-1", b"revision-2") == second


def test_templates_are_filled() -> None:
    text = fill("nginx.conf", port=1, backend_port=2, workers=3, user="")
    assert "listen 127.0.0.1:1 " in text
    assert "$proxy_add_x_forwarded_for" in text
    assert '"@type": type.googleapis.com' in fill("envoy.yaml", port=1, backend_port=2)
    with pytest.raises(KeyError):
        fill("haproxy.cfg", port=1)
    assert {file.name for file in TEMPLATES.iterdir()} >= {"nginx.conf", "haproxy.cfg", "envoy.yaml"}


@pytest.mark.parametrize(
    ("workers", "cpus", "expected"),
    [
        (1, [0, 1], Pinning(proxy=[1], load=[0], backend=[0], control=[])),
        (1, [0, 1, 2], Pinning(proxy=[2], load=[1], backend=[0], control=[])),
        (2, [0, 1, 2, 3, 4], Pinning(proxy=[3, 4], load=[1, 2], backend=[0], control=[])),
        (2, [0, 1], None),
        (1, [0], None),
    ],
)
def test_division_of_cpus(workers: int, cpus: list[int], expected: Pinning | None) -> None:
    assert pinning.plan(workers, cpus) == expected


def test_cpu_lists() -> None:
    assert pinning.parse_cpus("") == []
    for text, said in (("x", "not a CPU number"), ("1-", "not a CPU number"), ("99999", "may not be used")):
        with pytest.raises(ValueError, match=said):
            pinning.parse_cpus(text)


def test_scenarios_leave_out_what_is_not_there() -> None:
    for scenario in SCENARIOS.values():
        for proxies in (["gateway", *PEERS], ["gateway"], ["nginx"], []):
            lanes = scenario.lanes(proxies)
            assert {lane.proxy for lane in lanes} <= {*proxies, "direct"}
            assert len({lane.name for lane in lanes}) == len(lanes)
        lanes = scenario.lanes(["gateway", *PEERS])
        names = {lane.name for lane in lanes}
        assert all({ratio.numerator, ratio.denominator} <= names for ratio in scenario.ratios)


def test_wrk_output_without_a_result_is_an_error() -> None:
    with pytest.raises(BenchError, match="unable to connect"):
        parse_result("unable to connect to 127.0.0.1:1 Connection refused\n", LoadResult)


def test_command_line_refuses_unknown_names() -> None:
    runner = CliRunner()
    for arguments in (["--scenario", "none"], ["--peers", "apache"], ["--proxy-cpus", "x"]):
        ran = runner.invoke(app, ["run", "--without-gateway", *arguments])
        assert ran.exit_code == 1
    assert runner.invoke(app, ["list"]).exit_code == 0


@needs_wrk_and_nginx
def test_a_small_run_with_nginx(tmp_path: Path) -> None:
    output = tmp_path / "report.json"
    arguments = ["run", "--without-gateway", "--quick", "--rounds", "1", "--peers", "nginx"]
    ran = CliRunner().invoke(app, [*arguments, "--scenario", "post-1k", "--output", str(output)])
    assert ran.exit_code == 0, ran.output
    report = read_report(output)
    assert report.complete
    assert report.backend == "nginx"
    assert report.settings.quick
    (lane,) = report.scenarios[0].lanes
    (run,) = lane.runs
    assert run.load.requests > 0
    assert run.load.errors.total == 0
    # The answer to the POST is the small body: nothing but 200 with it has this length.
    assert run.load.bytes_read / run.load.requests > 205
    assert run.cpu_seconds is not None
    assert run.cpu_seconds > 0
    assert run.requests_per_cpu_second is not None
    assert "worker_pss_bytes" in lane.start
    assert {"python", "wrk", "nginx"} <= report.versions.keys()


@needs_wrk_and_nginx
def test_an_interrupted_run_ends_what_it_started() -> None:
    started: list[int] = []
    others = {child.pid for child in psutil.Process().children()}  # servers that tests share

    def interrupt(scenario: ScenarioSpec, number: int, lane: str) -> None:
        if number:
            for child in psutil.Process().children():
                if child.pid not in others:
                    started.extend(stat.pid for stat in process_tree(child.pid))
            raise KeyboardInterrupt

    lane = LaneSpec("nginx-idle", "nginx", Load(connections=2), idle_connections=3)
    options = Options(
        scenarios=[ScenarioSpec("small", "Small", lambda proxies: [lane])],
        proxies=["nginx"],
        rounds=1,
        seconds=1,
        workers=1,
        pinning=pinning.NOT_PINNED,
        load_threads=1,
        quick=True,
    )
    runner = Runner(options, interrupt)
    with pytest.raises(KeyboardInterrupt):
        runner.run()
    assert len(started) >= 4  # backend and nginx, a master and a worker each
    assert not any(alive(pid) for pid in started)
    partial = runner.report(complete=False)
    assert not partial.complete
    assert partial.scenarios == []
