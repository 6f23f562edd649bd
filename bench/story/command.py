"""The command `bench story`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench.machine import default_output
from bench.processes import BenchError
from bench.story.story_bench import StoryBench, StoryOptions, serve
from bench.story.story_report import story_tables, write_story_report

console = Console()
errors = Console(stderr=True)

ROUNDS, SECONDS = 5, 5
CONNECTIONS, LOAD_THREADS = 128, 1
WORKERS = 2
HALF_RATE = 25_000
LOCUST_RATE = 2_000


def story(
    rounds: Annotated[int | None, typer.Option(min=1, help=f"Rounds. [default: {ROUNDS}]")] = None,
    seconds: Annotated[
        int | None, typer.Option(min=1, help=f"Length of one measured run. [default: {SECONDS}]")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Where the report goes. [default: bench/results/story-<time>-<commit>.json]"),
    ] = None,
    quick: Annotated[bool, typer.Option(help="One short round: shows only that it runs.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Workers of the gateway.")] = WORKERS,
    connections: Annotated[int, typer.Option(min=1, help="Connections of wrk.")] = CONNECTIONS,
    load_threads: Annotated[int, typer.Option(min=1, help="Threads of wrk.")] = LOAD_THREADS,
    half_rate: Annotated[
        int, typer.Option(min=100, help="Requests per second where the added latency is measured.")
    ] = HALF_RATE,
    serve_only: Annotated[
        bool, typer.Option("--serve", help="Start backends and gateway for locust, and wait for Ctrl-C.")
    ] = False,
    rate: Annotated[
        int, typer.Option(min=1, help="With --serve: requests per second that will come.")
    ] = LOCUST_RATE,
) -> None:
    """The whole story: fifteen services with everything on; throughput, added latency, hits, backend load."""
    notes = ["a quick run: its numbers only show that everything works"] if quick else []
    try:
        if serve_only:
            _serve(workers, rate)
            return
        options = StoryOptions(
            rounds=rounds or (1 if quick else ROUNDS),
            seconds=seconds or (1 if quick else SECONDS),
            workers=workers,
            connections=max(connections, load_threads),
            load_threads=load_threads,
            half_rate=half_rate,
            quick=quick,
            command_line=[Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]],
            notes=notes,
        )
        report = StoryBench(options, lambda text: errors.print(text, markup=False, highlight=False)).run()
    except BenchError as error:
        errors.print(f"bench: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    path = output or default_output("story-")
    write_story_report(report, path)
    console.print(*story_tables(report), sep="\n")
    console.print(f"report: {path}", highlight=False)


def _serve(workers: int, rate: int) -> None:
    try:
        serve(workers, rate, lambda text: console.print(text, markup=False, highlight=False, soft_wrap=True))
    except KeyboardInterrupt:
        console.print("ended")
