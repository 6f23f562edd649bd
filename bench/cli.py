"""`gateway bench …`, which is also `python -m bench …`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bench import pinning as pins
from bench import tables
from bench.admin import AdminBench, AdminOptions
from bench.admin_report import (
    admin_markdown,
    admin_table,
    is_admin_report,
    read_admin_report,
    write_admin_report,
)
from bench.compare import compare_reports
from bench.machine import default_output
from bench.page import comparison_page
from bench.processes import BenchError
from bench.progress import run_with_progress
from bench.proxies import PEERS, PROXIES
from bench.report import Pinning, ReportError, read_report, write_report
from bench.runner import Options
from bench.scenarios import SCENARIOS, ScenarioSpec
from bench.story.command import story
from bench.story.story_report import is_story_report, read_story_report, story_markdown, story_tables
from bench.sweep_command import sweep
from bench.sweep_page import is_sweep, sweep_markdown, sweep_tables

app = typer.Typer(
    name="bench",
    help="Measure the gateway against its peers, and compare reports.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
)
app.command("sweep")(sweep)
console = Console()
errors = Console(stderr=True)

QUICK_ROUNDS, QUICK_SECONDS = 2, 1
ROUNDS, SECONDS = 5, 5
SIZES, QUICK_SIZES = ("10", "1000", "10000", "10000:100000"), ("10:10",)


@app.command("list")
def list_scenarios() -> None:
    """List the scenarios and which proxies can be started here."""
    console.print(tables.scenarios_table(SCENARIOS.values()))
    for kind, proxy in PROXIES.items():
        console.print(f"{kind}: {proxy.missing() or 'version ' + proxy.version()}", highlight=False)


@app.command("run")
def run(
    scenario: Annotated[
        list[str] | None, typer.Option(help="Scenario to run, several allowed; all when not given.")
    ] = None,
    rounds: Annotated[
        int | None, typer.Option(min=1, help=f"Rounds per scenario. [default: {ROUNDS}]")
    ] = None,
    seconds: Annotated[
        int | None, typer.Option(min=1, help=f"Length of one measured run. [default: {SECONDS}]")
    ] = None,
    peers: Annotated[str, typer.Option(help="Peers to run beside the gateway.")] = ",".join(PEERS),
    output: Annotated[
        Path | None, typer.Option(help="Where the report goes. [default: bench/results/<time>-<commit>.json]")
    ] = None,
    quick: Annotated[
        bool, typer.Option(help="Two short rounds without warm-up: shows only that it runs.")
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Workers of the gateway and of each peer.")] = 1,
    pin: Annotated[bool, typer.Option(help="Keep the proxy and the load on CPUs of their own.")] = True,
    proxy_cpus: Annotated[str, typer.Option(help="CPUs of the measured proxy, like 1 or 2-3.")] = "",
    load_cpus: Annotated[str, typer.Option(help="CPUs of wrk.")] = "",
    backend_cpus: Annotated[str, typer.Option(help="CPUs of the backend.")] = "",
    control_cpus: Annotated[
        str, typer.Option(help="CPUs of the gateway's control process, when not those of the proxy.")
    ] = "",
    reload_every: Annotated[
        int, typer.Option(min=1, help="Milliseconds between reloads in the reload scenarios.")
    ] = 1000,
    without_gateway: Annotated[
        bool, typer.Option(help="Run the peers alone, to try the bench itself.")
    ] = False,
) -> None:
    """Run scenarios and write a JSON report."""
    notes: list[str] = []
    try:
        options = Options(
            scenarios=_chosen_scenarios(scenario or []),
            proxies=_chosen_proxies(peers, without_gateway, notes),
            rounds=rounds or (QUICK_ROUNDS if quick else ROUNDS),
            seconds=seconds or (QUICK_SECONDS if quick else SECONDS),
            workers=workers,
            pinning=_chosen_pinning(pin, workers, [proxy_cpus, load_cpus, backend_cpus, control_cpus], notes),
            load_threads=1,
            quick=quick,
            reload_every_ms=reload_every,
            command_line=[Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]],
            notes=notes,
        )
        options.load_threads = max(1, len(options.pinning.load))
        if quick:
            notes.append("a quick run: its numbers only show that everything works")
        raise typer.Exit(_run(options, output or default_output()))
    except BenchError as error:
        errors.print(f"bench: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None


def _chosen_scenarios(names: list[str]) -> list[ScenarioSpec]:
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        raise BenchError(f"no scenario {unknown[0]!r}; there are {', '.join(SCENARIOS)}")
    return [SCENARIOS[name] for name in names] or list(SCENARIOS.values())


def _chosen_proxies(peers: str, without_gateway: bool, notes: list[str]) -> list[str]:
    wanted = [name.strip() for name in peers.split(",") if name.strip() not in ("", "none")]
    for name in wanted:
        if name not in PEERS:
            raise BenchError(f"no peer {name!r}; there are {', '.join(PEERS)}")
    there = []
    if not without_gateway:
        if (missing := PROXIES["gateway"].missing()) is not None:
            raise BenchError(missing)
        there.append("gateway")
    for name in dict.fromkeys(wanted):
        if (missing := PROXIES[name].missing()) is None:
            there.append(name)
        else:
            notes.append(f"peer left out: {missing}")
    return there


def _chosen_pinning(pin: bool, workers: int, texts: list[str], notes: list[str]) -> Pinning:
    try:
        proxy, load, backend, control = (pins.parse_cpus(text) for text in texts)
    except ValueError as error:
        raise BenchError(str(error)) from None
    if not pin:
        return pins.NOT_PINNED
    planned = pins.plan(workers)
    if planned is None and not (proxy and load and backend):
        notes.append(f"not pinned to CPUs: {workers} for the proxy leave none for the load")
        planned = pins.NOT_PINNED
    planned = planned or pins.NOT_PINNED
    return Pinning(
        proxy=proxy or planned.proxy,
        load=load or planned.load,
        backend=backend or planned.backend,
        control=control,
    )


def _run(options: Options, output: Path) -> int:
    """Run with a progress bar; returns the exit status. An interrupted run still leaves what was finished."""
    report, interrupted = run_with_progress(options, errors)
    worth_keeping = bool(report.scenarios) or not interrupted
    if worth_keeping:
        write_report(report, output)
    console.print(*tables.report_tables(report), sep="\n")
    if worth_keeping:
        console.print(f"report: {output}", highlight=False)
    if interrupted:
        errors.print("bench: interrupted; everything it started was ended", style="red")
        return 130
    return 0


@app.command("admin")
def admin(
    size: Annotated[
        list[str] | None,
        typer.Option(
            help="ROUTES or ROUTES:CONSUMERS, several allowed. [default: 10, 1000, 10000, 10000:100000]"
        ),
    ] = None,
    rounds: Annotated[int | None, typer.Option(min=1, help="Rounds under load. [default: 5]")] = None,
    seconds: Annotated[
        int | None, typer.Option(min=1, help=f"Length of one measurement. [default: {SECONDS}]")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(help="Where the report goes. [default: bench/results/admin-<time>-<commit>.json]"),
    ] = None,
    quick: Annotated[bool, typer.Option(help="Small and short: shows only that it runs.")] = False,
    workers: Annotated[int, typer.Option(min=1, help="Workers of the gateway.")] = 1,
    write_every: Annotated[
        int, typer.Option(min=1, help="Milliseconds between writes in the runs under load.")
    ] = 100,
    pin: Annotated[bool, typer.Option(help="Keep the gateway and the load on CPUs of their own.")] = True,
    proxy_cpus: Annotated[str, typer.Option(help="CPUs of the gateway, like 1 or 2-3.")] = "",
    load_cpus: Annotated[str, typer.Option(help="CPUs of wrk and of the writers.")] = "",
    backend_cpus: Annotated[str, typer.Option(help="CPUs of the backend.")] = "",
    control_cpus: Annotated[
        str, typer.Option(help="CPUs of the gateway's control process, when not those of the proxy.")
    ] = "",
) -> None:
    """Measure writes through the Admin API, and when and at what cost they are live."""
    notes: list[str] = []
    try:
        options = AdminOptions(
            sizes=[_parse_size(text) for text in size or (QUICK_SIZES if quick else SIZES)],
            rounds=rounds or (1 if quick else ROUNDS),
            seconds=seconds or (QUICK_SECONDS if quick else SECONDS),
            workers=workers,
            write_every_ms=write_every,
            pinning=_chosen_pinning(pin, workers, [proxy_cpus, load_cpus, backend_cpus, control_cpus], notes),
            quick=quick,
            command_line=[Path(sys.orig_argv[0]).name, *sys.orig_argv[1:]],
            notes=notes,
        )
        report = AdminBench(options, lambda text: errors.print(text, markup=False, highlight=False)).run()
    except BenchError as error:
        errors.print(f"bench: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    path = output or default_output("admin-")
    write_admin_report(report, path)
    console.print(admin_table(report))
    console.print(f"report: {path}", highlight=False)


def _parse_size(text: str) -> tuple[int, int]:
    routes, _, consumers = text.partition(":")
    if not routes.isdecimal() or not int(routes) or not (consumers or "0").isdecimal():
        raise BenchError(f"{text!r} is no size: a number of routes, or ROUTES:CONSUMERS")
    return int(routes), int(consumers or 0)


app.command("story")(story)


@app.command("show")
def show(
    report: Annotated[Path, typer.Argument(help="A report.")],
    markdown: Annotated[bool, typer.Option(help="As Markdown, for docs/performance.md.")] = False,
) -> None:
    """Print a report's tables."""
    try:
        if is_admin_report(report):
            of_admin = read_admin_report(report)
            if markdown:
                typer.echo(admin_markdown(of_admin))
            else:
                console.print(admin_table(of_admin))
            return
        if is_story_report(report):
            of_story = read_story_report(report)
            if markdown:
                typer.echo(story_markdown(of_story))
            else:
                console.print(*story_tables(of_story), sep="\n")
            return
        found = read_report(report)
    except ReportError as error:
        errors.print(f"bench: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    in_tables = sweep_tables if is_sweep(found) else tables.report_tables
    if markdown:
        typer.echo((sweep_markdown if is_sweep(found) else tables.report_markdown)(found))
    else:
        console.print(*in_tables(found), sep="\n")


@app.command("compare")
def compare(
    before: Annotated[Path, typer.Argument(help="The older report.")],
    after: Annotated[Path, typer.Argument(help="The newer report.")],
    html: Annotated[Path | None, typer.Option(help="Write a page with plots there, too.")] = None,
    fail_on_worse: Annotated[bool, typer.Option(help="Exit with 1 when anything got worse.")] = False,
) -> None:
    """Compare two reports and mark the changes that are larger than the noise."""
    try:
        old, new = read_report(before), read_report(after)
    except ReportError as error:
        errors.print(f"bench: {error}", style="red", markup=False, highlight=False)
        raise typer.Exit(1) from None
    comparison = compare_reports(old, new)
    console.print(*tables.comparison_tables(comparison), sep="\n")
    if html is not None:
        html.parent.mkdir(parents=True, exist_ok=True)
        html.write_text(comparison_page(comparison), encoding="utf-8")
        console.print(f"page: {html}", highlight=False)
    if fail_on_worse and comparison.worse:
        raise typer.Exit(1)


def main() -> None:
    """Entry point of `python -m bench`."""
    app(prog_name="python -m bench")
