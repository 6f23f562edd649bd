"""Children of the master: what is known of each, and when one that died may start again."""

import dataclasses
import os
import signal
import time

from gateway.listening import ListeningSockets
from gateway.settings import Settings
from native.shm import SharedState, WorkerState

FIRST_DELAY = 0.1
"""seconds before the second restart in a row; it doubles from there"""
LONGEST_DELAY = 5.0
HEALTHY_LIFE = 10.0
"""seconds after which a death counts as the first again"""
STOP_LIMIT = 5.0
"""seconds that processes have to end after SIGTERM, before SIGKILL"""


@dataclasses.dataclass(eq=False)
class Child:
    """A process that the master keeps running, or that it lets go."""

    name: str
    """for the log: "control process", "worker 0" """
    index: int = -1
    """worker block; -1 for the control process"""
    slot: int = -1
    """which worker of its generation, 0..n-1"""
    pid: int = 0
    """0 while it does not run"""
    started: float = 0.0
    deaths: int = 0
    """unexpected ends since it last lived for long"""
    start_due: float | None = None
    """monotonic time of the next start; None: none is planned"""
    leaving: bool = False
    """it was told to end: its end is not a failure and it is not started again"""
    told: int = 0
    """the signal that told it so, last"""
    leave_by: float | None = None
    """monotonic time when it is told more firmly; None: no limit"""

    def dismiss(self, number: int, limit: float) -> None:
        """Tell it to end with a signal; after `limit` seconds (0: never) enforce() goes further."""
        self.leaving = True
        self.start_due = None
        self.told = number
        self.leave_by = time.monotonic() + limit if limit else None
        if self.pid:
            os.kill(self.pid, number)

    def enforce(self, now: float) -> None:
        """Go from a drain to SIGTERM, and from there to SIGKILL, when the time is up."""
        if self.pid and self.leave_by is not None and self.leave_by <= now:
            if self.told == signal.SIGQUIT:
                self.dismiss(signal.SIGTERM, STOP_LIMIT)
            else:
                self.dismiss(signal.SIGKILL, 0)

    def died(self, now: float) -> float:
        """Note an unexpected end and plan the next start. Returns the delay, seconds."""
        if now - self.started >= HEALTHY_LIFE:
            self.deaths = 0
        delay = min(FIRST_DELAY * 2 ** (self.deaths - 1), LONGEST_DELAY) if self.deaths else 0.0
        self.deaths += 1
        self.pid = 0
        self.start_due = now + delay
        return delay


@dataclasses.dataclass(eq=False)
class Generation:
    """Workers that were forked together, and with what. A reload may replace them all."""

    number: int
    settings: Settings
    sockets: ListeningSockets
    workers: list[Child] = dataclasses.field(default_factory=list)

    def is_serving(self, shared: SharedState) -> bool:
        """Whether all its workers accept connections."""
        return all(
            child.pid and shared.worker(child.index)["state"] == WorkerState.WORKER_SERVING
            for child in self.workers
        )


def ending(status: int) -> str:
    """How a process ended, from its wait status, for the log."""
    if status < 0:
        return f"was ended by signal {-status}"
    return f"ended with exit code {status}"
