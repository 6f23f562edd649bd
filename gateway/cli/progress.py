"""Progress bars: on a terminal, when the work is long."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

LONG = 50
"""steps; what has fewer needs no bar"""


@contextmanager
def progress(what: str, total: int) -> Iterator[Callable[[], None]]:
    """Show how far `what` is, of `total` steps; the function is to be called after each."""
    if total < LONG or not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=total)
        yield lambda: bar.advance(task)
