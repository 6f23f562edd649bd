"""`gateway bench sweep`: one load, gateways with different settings."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import pinning as pins
from bench.machine import default_output
from bench.processes import BenchError
from bench.progress import run_with_progress
from bench.report import Pinning, write_report
from bench.runner import WARM_UP_SECONDS, Options
from bench.sweep import (
    CACHE_SCENARIO,
    LONGEST_SECONDS,
    PRESETS,
    Experiment,
    experiments_for,
    make_sweep,
    most_workers,
    parse_sweep,
    scenario_of,
    seconds_planned,
)
from bench.sweep_document import write_into
from bench.sweep_page import sweep_page, sweep_tables

ROUNDS, SECONDS = 5, 2
console = Console()
errors = Console(stderr=True)


def sweep(
    workers: Annotated[str, typer.Option(help="Values of WORKER_PROCESSES, like 1,2.")] = "",
    cache_size: Annotated[str, typer.Option(help="Values of MEM_CACHE_SIZE, like 16m,256m.")] = "",
    setting: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=a,b (or NAME=a;b): values of a setting. Several allowed: all combinations run."
        ),
    ] = None,
    scenario: Annotated[
        list[str] | None,
        typer.Option(
            help="SCENARIO, or SCENARIO:LANE, several allowed. [default: proxy-small, or with cache sizes "
            f"{CACHE_SCENARIO}]"
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(help=f"Experiments that belong together, instead: {', '.join(PRESETS)}.")
    ] = "",
    rounds: Annotated[int, typer.Option(min=1, help="Rounds of each experiment.")] = ROUNDS,
    seconds: Annotated[int, typer.Option(min=1, help="Length of one measured run.")] = SECONDS,
    output: Annotated[
        Path | None,
        typer.Option(
            help="Where the report goes; the page is written beside it, as .html. "
            "[default: bench/results/sweep-<time>-<commit>.json]"
        ),
    ] = None,
    document: Annotated[
        Path | None,
        typer.Option(
            help="A Markdown file whose tables, between marks, are written anew (sweep_document.py)."
        ),
    ] = None,
    quick: Annotated[bool, typer.Option(help="Without warm-up: shows only that it runs.")] = False,
    pin: Annotated[bool, typer.Option(help="Keep the gateways and the load on CPUs of their own.")] = True,
) -> None:
    """Run a load on gateways with different settings, in turn. Ctrl-C keeps finished rounds."""
    try:
        experiments = _experiments(workers, cache_size, setting or [], scenario or [], preset)
        options = _options(experiments, rounds, seconds, quick, pin)
        _check_length(experiments, options)
        report, interrupted = run_with_progress(options, errors)
    except BenchError as error:
        errors.print(f"bench: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    if report.scenarios:
        path = output or default_output("sweep-")
        write_report(report, path)
        path.with_suffix(".html").write_text(sweep_page(report), encoding="utf-8")
        console.print(*sweep_tables(report), sep="\n")
        if document is not None and not interrupted:
            write_into(document, report)
        console.print(f"report: {path}\npage: {path.with_suffix('.html')}", highlight=False)
    if interrupted:
        errors.print("bench: interrupted; everything it started was ended", style="red")
        raise typer.Exit(130)


def _experiments(
    workers: str, cache_size: str, settings: list[str], scenarios: list[str], preset: str
) -> list[Experiment]:
    if preset:
        if workers or cache_size or settings or scenarios:
            raise BenchError("--preset says itself what is varied and under which load")
        if preset not in PRESETS:
            raise BenchError(f"no preset {preset!r}; there are {', '.join(PRESETS)}")
        return list(PRESETS[preset])
    sweeps = [make_sweep("worker_processes", workers)] if workers else []
    if cache_size:
        sweeps.append(make_sweep("mem_cache_size", cache_size))
    return experiments_for([*sweeps, *map(parse_sweep, settings)], scenarios)


def _options(experiments: list[Experiment], rounds: int, seconds: int, quick: bool, pin: bool) -> Options:
    notes = []
    pinning: Pinning | None = pins.plan(most_workers(experiments)) if pin else pins.NOT_PINNED
    if pinning is None:
        notes.append(f"not pinned to CPUs: {most_workers(experiments)} workers leave none for the load")
    pinning = pinning or pins.NOT_PINNED
    return Options(
        scenarios=[scenario_of(experiment, number) for number, experiment in enumerate(experiments, 1)],
        proxies=["gateway"],
        rounds=rounds,
        seconds=seconds,
        workers=1,
        pinning=pinning,
        load_threads=max(1, len(pinning.load)),
        quick=quick,
        keep_rounds=True,
        command_line=[Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]],
        notes=notes,
    )


def _check_length(experiments: list[Experiment], options: Options) -> None:
    """Say how long it will take; refuse what nobody would wait for."""
    warm_up = 0 if options.quick else WARM_UP_SECONDS
    planned = seconds_planned(experiments, options.rounds, options.seconds, warm_up)
    if planned > LONGEST_SECONDS:
        raise BenchError(
            f"this would take {planned / 60:.0f} minutes, more than {LONGEST_SECONDS / 60:.0f}: fewer "
            "values, rounds "
            "or seconds"
        )
    errors.print(f"about {max(1, planned / 60):.0f} minutes", highlight=False)
