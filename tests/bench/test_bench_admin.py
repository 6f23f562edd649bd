"""The measurements of the Admin API: figures, report, and a small run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bench.admin import content, p99_rise
from bench.admin_compile import measure_compiles
from bench.admin_report import (
    FORMAT,
    AdminReport,
    Case,
    Memory,
    UnderLoad,
    admin_markdown,
    is_admin_report,
    read_admin_report,
    rows,
    spread,
    write_admin_report,
)
from bench.cli import app
from bench.report import Errors, Git, Latency, LoadResult, Machine, Pinning, ReportError


def load(p99: float) -> LoadResult:
    latency = Latency(p50=1, p75=1, p90=1, p99=p99, max=p99, mean=1)
    errors = Errors(status=0, connect=0, read=0, write=0, timeout=0)
    return LoadResult(requests=10, seconds=1, bytes_read=10, latency_ms=latency, errors=errors)


def run(number: int, writes: bool, p99: float) -> UnderLoad:
    return UnderLoad(round=number, writes=writes, writes_done=3, load=load(p99))


def report() -> AdminReport:
    under_load = [run(1, False, 2.0), run(1, True, 2.5)]
    case = Case(
        routes=10_000,
        consumers=100_000,
        writes=[],
        live=[],
        compiles=measure_compiles(content(1, 20, 5)),
        memory=Memory(control_rss=2**28, control_pss=2**27, worker_rss=2**26, worker_pss=2**25),
        under_load=under_load,
        p99_rise_ms=p99_rise(under_load),
    )
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
    return AdminReport(
        format=FORMAT,
        started_at="",
        finished_at="",
        command_line=[],
        machine=machine,
        versions={},
        git=Git(commit="", dirty=False),
        database="sqlite",
        workers=1,
        seconds=1,
        rounds=1,
        write_every_ms=100,
        pinning=Pinning(proxy=[], load=[], backend=[], control=[]),
        quick=True,
        notes=[],
        cases=[case],
    )


def test_percentiles() -> None:
    found = spread([float(number) for number in range(100, 0, -1)])
    assert (found.count, found.p50, found.p90, found.p99, found.max) == (100, 51.0, 91.0, 100.0, 100.0)
    assert spread([]).max == 0


def test_the_rise_is_that_of_the_rounds() -> None:
    runs = [run(1, False, 1), run(1, True, 2), run(2, True, 9), run(2, False, 8.5), run(3, True, 1)]
    assert p99_rise(runs) == 0.75
    assert p99_rise([run(1, True, 1)]) is None


def test_a_report_is_read_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "admin.json"
    written = report()
    write_admin_report(written, path)
    assert is_admin_report(path)
    assert read_admin_report(path) == written
    assert {one.kind for one in written.cases[0].compiles} == {"configuration", "peers", "identities"}
    assert len(rows(written)) == 6
    assert "| 10,000 / 100,000 | memory of a worker | 32 MiB | PSS; RSS 64 MiB |" in admin_markdown(written)
    shown = CliRunner().invoke(app, ["show", str(path), "--markdown"])
    assert "+0.50 ms" in shown.output


def test_another_file_is_none(tmp_path: Path) -> None:
    path = tmp_path / "other.json"
    path.write_text(json.dumps({"format": 1}))
    assert not is_admin_report(path)
    with pytest.raises(ReportError):
        read_admin_report(path)


@pytest.mark.parametrize("size", ["x", "0", "10:x", ":5"])
def test_what_is_no_size_is_refused(size: str) -> None:
    result = CliRunner().invoke(app, ["admin", "--size", size])
    assert result.exit_code == 1
