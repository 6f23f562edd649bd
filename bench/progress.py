"""Running with a progress bar; Ctrl-C and SIGTERM leave what was finished."""

from __future__ import annotations

import signal
from types import FrameType

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.report import Report
from bench.runner import Options, Runner, runs_planned
from bench.scenarios import ScenarioSpec


def run_with_progress(options: Options, errors: Console) -> tuple[Report, bool]:
    """The report, and whether the run was interrupted."""

    def terminated(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = signal.signal(signal.SIGTERM, terminated)
    progress = Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=errors,
        transient=True,
    )
    try:
        with progress:
            task = progress.add_task("starting", total=runs_planned(options))
            begun = 0

            def told(scenario: ScenarioSpec, number: int, lane: str) -> None:
                nonlocal begun
                if number:
                    begun += 1
                text = (
                    f"{scenario.name} {number}/{options.rounds} {lane}"
                    if number
                    else f"{scenario.name} {lane}"
                )
                progress.update(task, description=text, completed=max(0, begun - 1))
                if not errors.is_terminal:
                    errors.print(text, markup=False, highlight=False)

            runner = Runner(options, told)
            try:
                return runner.run(), False
            except KeyboardInterrupt:
                return runner.report(complete=False), True
    finally:
        signal.signal(signal.SIGTERM, previous)
