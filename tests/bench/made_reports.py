"""Reports made up for the tests: no process, no load."""

from __future__ import annotations

from bench.budgets import judge
from bench.report import (
    FORMAT,
    Errors,
    Git,
    Lane,
    Latency,
    LoadResult,
    Machine,
    Pinning,
    Report,
    Run,
    Scenario,
    Settings,
)
from bench.scenarios import SCENARIOS
from bench.summaries import compare_lanes, summarize_runs


def make_run(number: int, requests: int, *, failed: int = 0, p99: float = 2.0) -> Run:
    """One second of load with a CPU fully used."""
    latency = Latency(p50=p99 / 2, p75=p99 / 2, p90=p99, p99=p99, max=p99 * 3, mean=p99 / 2)
    errors = Errors(status=failed, connect=0, read=0, write=0, timeout=0)
    load = LoadResult(
        requests=requests, seconds=1.0, bytes_read=requests * 400.0, latency_ms=latency, errors=errors
    )
    return Run(
        round=number,
        load=load,
        requests_per_second=load.requests_per_second,
        cpu_seconds=1.0,
        worker_cpu_seconds=1.0,
        requests_per_cpu_second=float(requests),
        requests_per_worker_cpu_second=float(requests),
        cpu_share=1.0,
        foreign_cpu_share=0.0,
        worker_rss_bytes=20e6,
        worker_pss_bytes=10e6,
    )


def make_lane(name: str, requests: list[int], **more: float) -> Lane:
    """A lane with one run per entry of `requests`."""
    runs = [make_run(number, count, **more) for number, count in enumerate(requests, 1)]  # type: ignore[arg-type]
    start = {"worker_pss_bytes": 30 * 2**20} if name == "gateway" else {}
    return Lane(
        name=name,
        proxy=name.split("-")[0],
        parameters={"connections": 64},
        start=start,
        runs=runs,
        summary=summarize_runs(runs),
    )


def make_report(scenarios: dict[str, list[Lane]]) -> Report:
    """A complete report of the given lanes; ratios and budgets as the runner makes them."""
    made = []
    for name, lanes in scenarios.items():
        found = [compare_lanes(spec, lanes) for spec in SCENARIOS[name].ratios]
        ratios = [ratio for ratio in found if ratio is not None]
        made.append(Scenario(name=name, title=SCENARIOS[name].title, lanes=lanes, ratios=ratios))
    return Report(
        format=FORMAT,
        started_at="2026-01-02T03:04:05+00:00",
        finished_at="2026-01-02T03:14:05+00:00",
        complete=True,
        command_line=["python", "-m", "bench", "run"],
        machine=Machine(
            cpu_model="Test <CPU> & more",
            cpu_count=2,
            cpus_usable=[0, 1],
            memory_bytes=2**33,
            kernel="Linux 6",
            system="Test",
            virtualisation="none",
            load_average=[0.0, 0.0, 0.0],
        ),
        versions={"nginx": "1.22.1", "wrk": "4.1.0"},
        git=Git(commit="a" * 40, dirty=False),
        settings=Settings(
            rounds=5,
            seconds=5.0,
            warm_up_seconds=1.0,
            workers=1,
            load_threads=1,
            pinning=Pinning(proxy=[1], load=[0], backend=[0], control=[]),
            quick=False,
        ),
        backend="nginx",
        notes=[],
        scenarios=made,
        budgets=judge(made),
    )
