"""Processes the bench starts: start, wait until ready, measure, end by pid.

CPU time is read for the whole process tree. A process that ends in between is not lost: when its parent waits
for it, its time moves to the parent's `cutime` and `cstime`, so the sum of all four over the living tree
never shrinks. Source of the fields: proc_pid_stat(5), proc_pid_smaps(5).
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

CLOCK_TICKS = os.sysconf("SC_CLK_TCK")
LAUNCHER = Path(__file__).with_name("launch.py")


class BenchError(Exception):
    """Something the bench needs is missing or did not start; the message says what and where to look."""


@dataclass(frozen=True, slots=True)
class ProcessStat:
    """One line of /proc/<pid>/stat, as far as the bench needs it. Times are seconds of CPU."""

    pid: int
    parent: int
    name: str
    state: str  # a letter; Z has ended but was not waited for yet
    started: int  # clock ticks after boot; with the pid it names a process for good
    own_cpu_seconds: float
    waited_cpu_seconds: float  # of children that ended and were waited for


def read_stat(pid: int) -> ProcessStat | None:
    """The process's times now, or None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="latin-1")
    except OSError:
        return None
    # The name is in parentheses and may itself hold spaces and parentheses: split at the last one.
    head, _, tail = text.rpartition(")")
    fields = tail.split()
    return ProcessStat(
        pid=pid,
        parent=int(fields[1]),
        name=head.partition("(")[2],
        state=fields[0],
        started=int(fields[19]),
        own_cpu_seconds=(int(fields[11]) + int(fields[12])) / CLOCK_TICKS,
        waited_cpu_seconds=(int(fields[13]) + int(fields[14])) / CLOCK_TICKS,
    )


def process_tree(root: int) -> list[ProcessStat]:
    """The process and all its living descendants, the root first; empty when the root is gone."""
    table = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (stat := read_stat(int(entry.name))) is not None:
            table[stat.pid] = stat
    if root not in table:
        return []
    children: dict[int, list[ProcessStat]] = {}
    for stat in table.values():
        children.setdefault(stat.parent, []).append(stat)
    found = [table[root]]
    for stat in found:  # grows while it is walked: breadth first
        found.extend(sorted(children.get(stat.pid, []), key=lambda child: child.pid))
    return found


def tree_cpu_seconds(root: int) -> float:
    """CPU seconds the tree has used so far, those of ended and waited-for children included."""
    return sum(stat.own_cpu_seconds + stat.waited_cpu_seconds for stat in process_tree(root))


def cpu_seconds(pids: Iterable[int]) -> float | None:
    """CPU seconds of exactly these processes so far, or None when one of them is gone."""
    stats = [read_stat(pid) for pid in pids]
    if not stats or any(stat is None for stat in stats):
        return None
    return sum(stat.own_cpu_seconds for stat in stats if stat is not None)


def machine_cpu_seconds() -> float:
    """CPU seconds all CPUs together have been busy since boot, time taken by the hypervisor included."""
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(
        int, Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + irq + softirq + steal) / CLOCK_TICKS


@dataclass(frozen=True, slots=True)
class Memory:
    """Resident memory in bytes. `pss` shares pages used by several processes out between them."""

    rss: int
    pss: int


def read_memory(pid: int) -> Memory | None:
    """The process's memory now, or None when it is gone or may not be looked at."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return None
    values = {line.split(":")[0]: line.split()[1] for line in lines if line.startswith(("Rss:", "Pss:"))}
    if len(values) != 2:
        return None
    return Memory(rss=int(values["Rss"]) * 1024, pss=int(values["Pss"]) * 1024)


def free_ports(count: int) -> list[int]:
    """`count` different TCP ports of 127.0.0.1 that nobody listens on at this moment."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def is_listening(port: int) -> bool:
    """Whether somebody accepts connections at a port of 127.0.0.1."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False


@dataclass
class Child:
    """A running process of ours, its output in a file of its own."""

    name: str
    process: subprocess.Popen[bytes]
    output: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    def running(self) -> bool:
        return self.process.poll() is None

    def last_output(self, lines: int = 15) -> str:
        """The end of what it printed: the first thing to look at when it failed."""
        try:
            return "\n".join(self.output.read_text(errors="replace").splitlines()[-lines:])
        except OSError:
            return ""

    def stop(self, grace_seconds: float = 5.0) -> None:
        """End the process and everything it started: politely, and after `grace_seconds` by force."""
        tree = process_tree(self.pid) if self.running() else []
        if self.running():
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(grace_seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        for stat in _outliving(tree, seconds=1.0):
            try:
                os.kill(stat.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        _outliving(tree, seconds=1.0)


def _outliving(tree: list[ProcessStat], *, seconds: float) -> list[ProcessStat]:
    """Those of `tree` that have not ended within `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := [stat for stat in tree if _same_process(stat)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    return left


def _same_process(stat: ProcessStat) -> bool:
    """Whether that very process still lives (the pid may have gone to another one)."""
    now = read_stat(stat.pid)
    return now is not None and now.started == stat.started and now.state != "Z"


@dataclass
class Fleet:
    """All processes of one scenario. Leaving the `with` block ends them, the last started first."""

    children: list[Child] = field(default_factory=list)

    def __enter__(self) -> Fleet:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(
        self,
        name: str,
        command: list[str],
        *,
        directory: Path,
        cpus: Iterable[int] = (),
        environ: Mapping[str, str] | None = None,
    ) -> Child:
        """Start a command in `directory`, its output in `<name>.out` there, pinned to `cpus` if given."""
        output = directory / f"{name}.out"
        # The user's own settings of a gateway must not change what is measured.
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("GATEWAY_", "KONG_"))}
        pinned = ",".join(str(cpu) for cpu in cpus) or "-"
        with output.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(LAUNCHER), pinned, *command],
                cwd=directory,
                env={**inherited, **(environ or {})},
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C reaches only the bench, which ends them in order
            )
        child = Child(name, process, output)
        self.children.append(child)
        return child

    def stop(self) -> None:
        """End all of them; one more Ctrl-C meanwhile does not leave the rest running."""
        interrupted: BaseException | None = None
        while self.children:
            try:
                self.children[-1].stop()
            except KeyboardInterrupt as error:
                interrupted = error
                self.children[-1].stop(grace_seconds=0.0)
            self.children.pop()
        if interrupted is not None:
            raise interrupted


def wait_until(ready: Callable[[], bool], child: Child, *, seconds: float = 20.0) -> None:
    """Wait until `ready()` is true. BenchError with the child's last output when that does not happen."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if ready():
            return
        if not child.running():
            status = child.process.returncode
            raise BenchError(f"{child.name} ended at start with status {status}:\n{child.last_output()}")
        time.sleep(0.02)
    raise BenchError(f"{child.name} was not ready after {seconds:g} s:\n{child.last_output()}")
