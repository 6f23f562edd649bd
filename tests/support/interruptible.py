"""Programs that a test interrupts as Ctrl-C does."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any


def _takes_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def interruptible(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Run a program that SIGINT ends, also where the tests run in the background of a shell, which has its
    jobs ignore it. It is killed when the test leaves it running."""
    process = subprocess.Popen(
        command, text=True, stdout=subprocess.PIPE, preexec_fn=_takes_interrupts, **options
    )
    try:
        with process:
            try:
                yield process
            except BaseException:
                process.kill()
                raise
    finally:
        if process.poll() is None:
            process.kill()
