"""wrk: what is asked of it and what it found."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import msgspec

from bench.processes import BenchError, Child, Fleet
from bench.report import LoadResult

Result = TypeVar("Result")

SCRIPT = Path(__file__).with_name("lua") / "load.lua"
REQUEST_TIMEOUT_SECONDS = 5
# wrk ends by itself when its time is up and the last answers are in; if it does not, something hangs.
EXTRA_SECONDS = 30.0


@dataclass(frozen=True)
class Load:
    """What wrk sends: always the same request, or one after the other to every address of a targets file."""

    path: str = "/small"
    method: str = "GET"
    body_bytes: int = 0
    connections: int = 64
    headers: tuple[tuple[str, str], ...] = ()


def require_wrk() -> None:
    """BenchError when wrk is not installed."""
    if shutil.which("wrk") is None:
        raise BenchError("wrk is not installed; it makes the load (Debian and Ubuntu: apt-get install wrk)")


def drive(
    fleet: Fleet,
    load: Load,
    *,
    port: int,
    seconds: float,
    threads: int,
    cpus: list[int],
    directory: Path,
    targets: Path | None = None,
    meanwhile: Callable[[Child], None] | None = None,
) -> LoadResult:
    """One run of wrk against 127.0.0.1:`port`.

    `meanwhile` is called once it runs and must return when it ends. wrk counts in whole seconds: `seconds` is
    rounded up.
    """
    environ = {"BENCH_METHOD": load.method, "BENCH_BODY_BYTES": str(load.body_bytes)}
    if load.headers:
        environ["BENCH_HEADERS"] = "\n".join(f"{name}: {value}" for name, value in load.headers)
    if targets is not None:
        environ["BENCH_TARGETS"] = str(targets)
    output = run_wrk(
        fleet,
        f"http://127.0.0.1:{port}{load.path}",
        script=SCRIPT,
        connections=load.connections,
        seconds=seconds,
        threads=threads,
        cpus=cpus,
        directory=directory,
        environ=environ,
        meanwhile=meanwhile,
    )
    return parse_result(output, LoadResult)


def run_wrk(
    fleet: Fleet,
    url: str,
    *,
    script: Path,
    connections: int,
    seconds: float,
    threads: int,
    cpus: list[int],
    directory: Path,
    environ: Mapping[str, str],
    meanwhile: Callable[[Child], None] | None = None,
) -> str:
    """What wrk printed. It may have no more threads than connections."""
    whole_seconds = max(1, -int(-seconds // 1))
    command = ["wrk", "-t", str(min(threads, connections)), "-c", str(connections), "-d", f"{whole_seconds}s"]
    command += ["--timeout", f"{REQUEST_TIMEOUT_SECONDS}s", "-s", str(script), url]
    child = fleet.start("wrk", command, directory=directory, cpus=cpus, environ=environ)
    try:
        if meanwhile is not None:
            meanwhile(child)
        child.process.wait(whole_seconds + EXTRA_SECONDS)
    finally:
        child.stop()
        fleet.children.remove(child)
    return child.output.read_text(errors="replace")


def parse_result(output: str, kind: type[Result]) -> Result:
    """The result line of a script; BenchError with wrk's output when there is none."""
    found = re.search(r"^bench-result (\{.*\})$", output, re.MULTILINE)
    if found is None:
        raise BenchError(f"wrk gave no result:\n{output[-2000:]}")
    return msgspec.json.decode(found.group(1), type=kind)
