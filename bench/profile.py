"""`python -m bench.profile`: where the gateway's CPU time goes, function by function.

With perf the worker is sampled under load as it runs. Where perf is missing or not allowed, the gateway runs
under callgrind, which counts every instruction of the user code: some fifty times slower, but hardly varying
from run to run, so that it shows changes of a fraction of a percent. `docs/performance.md` says how to read
both.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from bench.backend import start_backend
from bench.load import drive, require_wrk
from bench.pinning import NOT_PINNED, plan
from bench.processes import BenchError, Child, Fleet
from bench.proxies import Gateway, Place
from bench.scenarios import SCENARIOS

# Python itself takes half a minute to start under callgrind.
START_SECONDS = 60.0
SLOW_START_SECONDS = 180.0
WARM_UP_SECONDS = 1
SAMPLES_PER_SECOND = 1999


class Tool(StrEnum):
    """What looks at the worker."""

    PERF = "perf"
    CALLGRIND = "callgrind"


def main() -> None:
    """Entry point of `python -m bench.profile`."""
    typer.run(profile)


def profile(
    scenario: Annotated[str, typer.Option(help="Whose load: the scenario's gateway lane.")] = "proxy-small",
    seconds: Annotated[int, typer.Option(min=1, help="How long to look.")] = 5,
    tool: Annotated[Tool | None, typer.Option(help="perf when it works here, else callgrind.")] = None,
    top: Annotated[int, typer.Option(min=1, help="How many functions to print.")] = 40,
    output: Annotated[Path | None, typer.Option(help="Directory to keep the raw data in.")] = None,
) -> None:
    """Profile the gateway under load and print the functions that cost most."""
    try:
        chosen = tool or _usable_tool()
        with tempfile.TemporaryDirectory(prefix="profile-") as temporary:
            directory = Path(temporary)
            text = _profile(directory, scenario, seconds, chosen, top)
            if output is not None:
                output.mkdir(parents=True, exist_ok=True)
                for file in (*directory.glob("perf.data"), *directory.glob("callgrind.*")):
                    shutil.copy2(file, output)
    except BenchError as error:
        typer.echo(f"profile: {error}", err=True)
        raise typer.Exit(1) from None
    typer.echo(text)


def _usable_tool() -> Tool:
    if shutil.which("perf"):
        tried = subprocess.run(
            ["perf", "stat", "-e", "cpu-clock", "true"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        if tried.returncode == 0:
            return Tool.PERF
    if shutil.which("valgrind"):
        return Tool.CALLGRIND
    raise BenchError("neither perf nor valgrind works here (apt-get install linux-perf valgrind)")


def _profile(directory: Path, scenario: str, seconds: int, tool: Tool, top: int) -> str:
    """Start everything, load, look, end everything; the text to print."""
    require_wrk()
    lanes = SCENARIOS[scenario].lanes(["gateway"]) if scenario in SCENARIOS else []
    *_, lane = (None, *(lane for lane in lanes if lane.proxy == "gateway" and lane.routes == 1))
    if lane is None:
        raise BenchError(f"{scenario!r} is no scenario with a plain gateway lane")
    if (missing := Gateway.missing()) is not None:
        raise BenchError(missing)
    cpus = plan(1) or NOT_PINNED
    with Fleet() as fleet:
        backend = start_backend(fleet, directory / "backend", cpus.backend)
        slow = tool is Tool.CALLGRIND
        wrapper = ["valgrind", "--tool=callgrind", "--trace-children=yes", "--instr-atstart=no"]
        wrapper.append(f"--callgrind-out-file={directory}/callgrind.%p")
        place = Place(
            fleet=fleet,
            directory=directory / "gateway",
            backend_port=backend.port,
            workers=1,
            cpus=cpus.proxy,
            control_cpus=[],
            routes=1,
            setup=lane.setup,
            wrapper=wrapper if slow else [],
            start_seconds=SLOW_START_SECONDS if slow else START_SECONDS,
        )
        gateway = Gateway(place)
        (worker,) = gateway.worker_pids()

        def load(for_seconds: int) -> int:
            found = drive(
                fleet,
                lane.load,
                port=gateway.port,
                seconds=for_seconds,
                threads=1,
                cpus=cpus.load,
                directory=directory,
            )
            return found.requests

        load(WARM_UP_SECONDS)
        if tool is Tool.PERF:
            recorder = _start_perf(fleet, directory, worker)
            requests = load(seconds)
            recorder.stop()  # on SIGTERM perf writes its file
            return _perf_report(directory, requests, top)
        _callgrind_control("-i", "on", str(worker))
        requests = load(seconds)
        _callgrind_control("-i", "off", str(worker))
        _callgrind_control("-d", str(worker))
        return _callgrind_report(directory, worker, requests, top)


def _start_perf(fleet: Fleet, directory: Path, worker: int) -> Child:
    """Sample the worker, the kernel too where allowed. Virtual machines often lack cycle counters."""
    counted = subprocess.run(["perf", "stat", "-e", "cycles", "true"], capture_output=True, text=True)
    event = "cpu-clock" if "not supported" in counted.stderr or counted.returncode else "cycles"
    command = ["perf", "record", "-q", "-F", str(SAMPLES_PER_SECOND), "-e", event, "-p", str(worker)]
    return fleet.start("perf", [*command, "-o", str(directory / "perf.data")], directory=directory)


def _perf_report(directory: Path, requests: int, top: int) -> str:
    def lines(sort: str) -> list[str]:
        command = ["perf", "report", "--stdio", "-q", "--no-children", "--sort", sort]
        command += ["-i", str(directory / "perf.data")]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        # perf pads every column and adds empty ones for counters that were not recorded.
        kept = [line.rstrip(" -") for line in found.stdout.splitlines() if re.match(r"\s*\d", line)]
        if not kept:
            raise BenchError(f"perf recorded nothing: {found.stderr.strip()}")
        return kept

    return "\n".join(
        [
            f"{requests:,} requests; share of the worker's CPU time by library:",
            *lines("dso")[:12],
            "by function:",
            *lines("symbol,dso")[:top],
        ]
    )


def _callgrind_control(*arguments: str) -> None:
    done = subprocess.run(["callgrind_control", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"callgrind_control {' '.join(arguments)}: {done.stdout}{done.stderr}")


def _callgrind_report(directory: Path, worker: int, requests: int, top: int) -> str:
    # The file of the whole life is empty until the worker ends; the dump has what was counted.
    files = [
        file
        for file in directory.glob(f"callgrind.{worker}*")
        if "\ntotals: " in (text := file.read_text()) and "\ntotals: 0" not in text
    ]
    if not files:
        raise BenchError("callgrind wrote no file for the worker")
    found = subprocess.run(
        ["callgrind_annotate", "--threshold=99.5", *map(str, files[:1])],
        capture_output=True,
        text=True,
        check=False,
    )
    lines = found.stdout.splitlines()
    total = next((line for line in lines if "PROGRAM TOTALS" in line), "")
    functions = [line.rstrip() for line in lines if re.match(r"\s*[\d,]+ \(\s*[\d.]+%\)  \S", line)]
    functions = [line for line in functions if "PROGRAM TOTALS" not in line]
    count = re.match(r"\s*([\d,]+)", total)
    if count is None:
        raise BenchError(f"callgrind_annotate gave nothing: {found.stderr.strip()}")
    instructions = int(count.group(1).replace(",", ""))
    per_request = f"{instructions / requests:,.0f}" if requests else "–"
    head = f"{requests:,} requests; {per_request} instructions of user code per request"
    return "\n".join([head, *functions[:top]])


if __name__ == "__main__":
    main()
