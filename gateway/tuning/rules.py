"""What a rule is: for one thing that can be set, the cases in which it should be, to what, and why.

    Rule(
        Area.KERNEL,
        "net.core.somaxconn",
        cases=(
            Case(
                when=lambda s: s.sysctl("net.core.somaxconn") < s.profile.accept_queue,
                wanted=lambda s: str(s.profile.accept_queue),
                reason=lambda s: "…",
            ),
        ),
        otherwise="why it is good as it is",
    )

The first case whose condition holds counts; when none does, nothing needs to change. A condition that looks
at something that cannot be read makes the outcome "unknown".
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gateway.settings import Settings
from gateway.settings.values import descriptors_needed
from gateway.tuning.facts import Facts
from gateway.tuning.profiles import Profile
from gateway.tuning.running import Running


class Area(StrEnum):
    """What kind of thing is set, and so by whom and where."""

    SETTING = "setting"
    """of the gateway"""
    LIMIT = "limit"
    """of the processes, given to them where they are started"""
    KERNEL = "kernel"
    """sysctl"""
    MACHINE = "machine"
    """what `gateway tune` only tells about"""


class Verdict(StrEnum):
    """What follows for one thing."""

    CHANGE = "change"
    CONSIDER = "consider"
    """depends on the traffic or on what else runs; the reason says on what"""
    KEEP = "no change needed"
    UNKNOWN = "unknown"
    """cannot be read here"""


class CannotTellError(Exception):
    """A fact that a condition needs cannot be read."""


@dataclass(frozen=True)
class Situation:
    """What rules look at."""

    facts: Facts
    settings: Settings
    profile: Profile
    running: Running | None = None

    def sysctl(self, name: str, place: int = 0) -> int:
        """A number of a kernel setting. Raises CannotTellError."""
        try:
            return int(self.facts.sysctls[name].split()[place])
        except (KeyError, IndexError, ValueError):
            raise CannotTellError(name) from None

    def given(self, name: str) -> bool:
        """Whether somebody has set a setting, instead of leaving it at its default."""
        return self.settings.origin(name) != "default"

    @property
    def processors(self) -> int:
        """Whole processors: with a quota of 1.5 two workers can use all of it."""
        return max(1, math.ceil(self.facts.usable_processors))

    @property
    def workers(self) -> int:
        """As many as there should be."""
        if self.profile.settings["worker_processes"] != "auto":
            return int(self.profile.settings["worker_processes"])
        return min(self.processors, 128)

    @property
    def connections(self) -> int:
        """Clients of one worker as there should be; more if somebody asked for more."""
        return max(self.profile.connections, self.settings.worker_connections)

    @property
    def descriptors(self) -> int:
        """Open files that one worker may need then."""
        return descriptors_needed(self.connections)

    @property
    def ports(self) -> int:
        """Local ports for connections to one upstream address. Raises CannotTellError."""
        name = "net.ipv4.ip_local_port_range"
        return self.sysctl(name, 1) - self.sysctl(name) + 1

    @property
    def memory(self) -> int:
        """Bytes that the gateway may use. Raises CannotTellError."""
        if self.facts.usable_memory is None:
            raise CannotTellError("MemTotal")
        return self.facts.usable_memory

    def sign(self, name: str) -> int:
        """One of the kernel's counts; 0 when it cannot be read: no sign."""
        return getattr(self.facts.signs, name) or 0


Condition = Callable[[Situation], bool]
Text = Callable[[Situation], str]


@dataclass(frozen=True)
class Case:
    """When to change something, to what, and why."""

    when: Condition
    wanted: Text | None
    """None: nothing to set, only something to know"""
    reason: Text
    verdict: Verdict = Verdict.CHANGE


@dataclass(frozen=True)
class Rule:
    """One thing that can be set."""

    area: Area
    name: str
    cases: tuple[Case, ...]
    otherwise: str
    """why nothing needs to change when no case holds"""
    source: str
    """where the reason can be checked: a manual page, a kernel document, a measurement"""
    applies: Condition = lambda situation: True
    """whether the thing is there at all; a rule that does not apply says nothing"""


def size_text(size: float) -> str:
    """Bytes as a person says them."""
    for unit, factor in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size:.0f} bytes"


def setting_size(size: int) -> str:
    """Bytes as a setting has them, rounded down to whole megabytes."""
    megabytes = max(1, size >> 20)
    return f"{megabytes >> 10}g" if megabytes % 1024 == 0 else f"{megabytes}m"
