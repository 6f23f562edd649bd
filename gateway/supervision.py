"""Children of the master: what is known of each, and when one that died may start again."""

import dataclasses
import os
import signal
import time
from collections.abc import Iterable

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
ABORT_LIMIT = 2.0
"""seconds that a worker that hangs has to end (to write a core dump) after SIGABRT, before SIGKILL"""
LONGEST_LOOK = 2.0
"""seconds between looks at the workers' heartbeats; less where the limit is short"""


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
    heartbeat: int = 0
    """of its block, when it was looked at last"""
    silent: float = 0.0
    """seconds that the heartbeat has stood still, as far as the master was awake to see it"""
    aborted: bool = False
    """it hung and is being killed"""
    kill_by: float | None = None
    """monotonic time when SIGKILL follows"""

    def has_started(self, pid: int) -> None:
        """It runs, as `pid`."""
        self.pid = pid
        self.started = time.monotonic()
        self.start_due = self.kill_by = None
        self.heartbeat, self.silent, self.aborted = 0, 0.0, False

    def dismiss(self, number: int, limit: float) -> None:
        """Tell it to end with a signal; after `limit` seconds (0: never) enforce() goes further."""
        self.leaving = True
        self.start_due = None
        self.told = number
        self.leave_by = time.monotonic() + limit if limit else None
        if self.pid:
            os.kill(self.pid, number)

    def abort(self, now: float) -> None:
        """Kill it because it hangs; a core dump, where those are on, shows where. Its end is a failure."""
        self.aborted = True
        self.kill_by = now + ABORT_LIMIT
        os.kill(self.pid, signal.SIGABRT)

    def deadlines(self) -> Iterable[float]:
        """Monotonic times at which there is something to do for it."""
        if self.start_due is not None:
            yield self.start_due
        if self.pid:
            yield from (moment for moment in (self.leave_by, self.kill_by) if moment is not None)

    def enforce(self, now: float) -> None:
        """Go from a drain to SIGTERM, and from there or from SIGABRT to SIGKILL, when the time is up."""
        if self.pid and self.kill_by is not None and self.kill_by <= now:
            self.kill_by = None
            os.kill(self.pid, signal.SIGKILL)
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


class Watchdog:
    """Finds workers whose loop hangs: a healthy one writes its heartbeat at least every half second.

    What counts is the time during which the master looked on and the heartbeat stood still. When the whole
    machine stood still, or the master itself was held up, no worker is blamed.
    """

    def __init__(self, shared: SharedState) -> None:
        self._shared = shared
        self._looked = time.monotonic()

    def next_look(self, limit: float) -> float:
        """Monotonic time of the next look; `limit` is the setting WORKER_WATCHDOG_TIMEOUT, 0: none is due."""
        return self._looked + _between_looks(limit) if limit else float("inf")

    def look(self, workers: Iterable[Child], now: float, limit: float) -> list[Child]:
        """If a look is due: those whose heartbeat has stood still for longer than `limit` seconds."""
        if now < self.next_look(limit):
            return []
        seen = min(now - self._looked, _between_looks(limit))
        self._looked = now
        return [child for child in workers if self._silence_of(child, seen) > limit]

    def _silence_of(self, child: Child, seen: float) -> float:
        """Seconds of silence, after `seen` more have passed; 0 for a worker that has nothing to say."""
        block = self._shared.worker(child.index)
        live = child.pid and block["state"] in (WorkerState.WORKER_SERVING, WorkerState.WORKER_DRAINING)
        ending = child.aborted or child.told not in (0, signal.SIGQUIT)
        if not live or ending or not block["heartbeat"] or block["heartbeat"] != child.heartbeat:
            child.heartbeat = block["heartbeat"]
            child.silent = 0.0
        else:
            child.silent += seen
        return child.silent


def _between_looks(limit: float) -> float:
    """Half the limit at most: two looks without a heartbeat between them are not enough to kill."""
    return min(LONGEST_LOOK, limit / 2)


def ending(status: int) -> str:
    """How a process ended, from its wait status, for the log."""
    if status < 0:
        return f"was ended by signal {-status}"
    return f"ended with exit code {status}"
