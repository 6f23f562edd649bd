"""The places in shared memory in which the node counts what it knows of upstreams and their addresses.

A place belongs to an identity that lies in it, so it is found again after a reload and by the next control
process. What no snapshot names any more keeps its place for KEPT_FOR, in case it comes back (Kong does so),
and then until no worker can have a snapshot that names it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Set

from gateway.entities.hosts import address_text
from gateway.logs import NOTICE
from gateway.snapshot.slots import NO_SLOT, target_identity
from native.hashing import xxh64_digest
from native.shm import SharedState, WorkerState
from native.target_state import GROUP_SLOTS, TARGET_SLOTS, TargetFacts, TargetHealth, TargetStates

log = logging.getLogger(__name__)

KEPT_FOR = 300_000
"""milliseconds"""


def monotonic_ms() -> int:
    """The clock that shared memory goes by."""
    return time.monotonic_ns() // 1_000_000


def group_identity(key: str) -> int:
    """What a group is known by. Never 0."""
    return xxh64_digest(key.encode()) or 1


class Places:
    """The places of one table."""

    def __init__(
        self,
        what: str,
        size: int,
        known: dict[int, int],
        release: Callable[[int], None],
        set_unused: Callable[[int, int], None],
    ) -> None:
        """`what` is kept there, for the log; `known`: the taken ones, by identity."""
        self.known = known
        self._what = what
        self._identities = {slot: identity for identity, slot in known.items()}
        # Those that were free for longest come first.
        self._free = deque(slot for slot in range(1, size) if slot not in self._identities)
        self._release = release
        self._set_unused = set_unused
        self._unused: dict[int, tuple[int, int]] = {}
        """since when no snapshot names a place (ms), and the number of the last one that may"""
        self._is_full = False

    def find(self, identity: int) -> int:
        """The place of an identity; NO_SLOT when it has none."""
        return self.known.get(identity, NO_SLOT)

    def take(self, identity: int, give: Callable[[int], None]) -> int:
        """The place of an identity, if need be a new one, which `give` writes into; NO_SLOT when all are
        taken."""
        slot = self.known.get(identity, NO_SLOT)
        if slot:
            if self._unused.pop(slot, None):
                self._set_unused(slot, 0)
            return slot
        if not self._free:
            if not self._is_full:
                log.error(
                    "there is no room for more %s: health and load of the others are not known", self._what
                )
            self._is_full = True
            return NO_SLOT
        slot = self._free.popleft()
        give(slot)
        self.known[identity] = slot
        self._identities[slot] = identity
        return slot

    def name(self, named: Set[int], now_ms: int, last_number: int) -> None:
        """A snapshot names these places and no others; the one with `last_number` may have named more."""
        for slot in self._identities:
            if slot in named:
                if self._unused.pop(slot, None):
                    self._set_unused(slot, 0)
            elif slot not in self._unused:
                self._unused[slot] = (now_ms, last_number)
                self._set_unused(slot, now_ms)

    def release(self, now_ms: int, served: int, is_idle: Callable[[int], bool]) -> int:
        """Free the places that nobody has named for KEPT_FOR. `served`: no worker serves an older snapshot.
        Returns how many were freed."""
        over = [
            slot
            for slot, (since, number) in self._unused.items()
            if now_ms - since >= KEPT_FOR and number < served and is_idle(slot)
        ]
        for slot in over:
            del self._unused[slot]
            del self.known[self._identities.pop(slot)]
            self._release(slot)
            self._free.append(slot)
            self._is_full = False
        return len(over)


class HealthSlots:
    """The registry of the control process (gateway.snapshot.slots.SlotRegistry), and what lies in the places.

    May be asked by several threads.
    """

    def __init__(self, shared: SharedState) -> None:
        self.states = TargetStates(shared)
        self._shared = shared
        self._changing = threading.Lock()
        self._new_groups: set[str] = set()
        """given since the last snapshot was compiled"""
        states = self.states
        self._groups = Places(
            "upstreams and hosts",
            GROUP_SLOTS,
            states.groups_in_use(),
            states.release_group,
            states.set_group_unused,
        )
        self._targets = Places(
            "addresses of targets",
            TARGET_SLOTS,
            states.targets_in_use(),
            states.release_target,
            states.set_target_unused,
        )
        # The control process before this one may have been killed in the midst of a change.
        states.raise_versions()

    # --- for the compiler of the peers ----------------------------------------------------------------

    def group(self, key: str) -> int:
        """See SlotRegistry."""
        identity = group_identity(key)

        def give(slot: int) -> None:
            self.states.give_group(slot, identity)
            self._new_groups.add(key)

        with self._changing:
            return self._groups.take(identity, give)

    def target(self, group_key: str, name: str, ip: str, port: int) -> tuple[int, int]:
        """See SlotRegistry."""
        identity = target_identity(group_key, name, ip, port)

        def give(slot: int) -> None:
            # What joins others begins slowly, where that is asked for; those of a new upstream begin at once.
            joins = self.find_group(group_key) and group_key not in self._new_groups
            self.states.give_target(slot, identity, monotonic_ms() if joins else 0)

        with self._changing:
            return self._targets.take(identity, give), identity

    def compiled(self, groups: Set[int], targets: Set[int]) -> None:
        """See SlotRegistry."""
        now = monotonic_ms()
        with self._changing:
            # The file that has just been made is not published yet.
            last = self._shared.peers_number
            self._groups.name(groups, now, last)
            self._targets.name(targets, now, last)
            self._new_groups.clear()

    # --- keeping order --------------------------------------------------------------------------------

    def tidy(self, now_ms: int | None = None) -> int:
        """Free what has been unused for long, and take back what dead workers had open. Returns how many
        addresses were forgotten. To be called now and then."""
        now = monotonic_ms() if now_ms is None else now_ms
        self.states.forget_dead_workers()
        serving = (WorkerState.WORKER_STARTING, WorkerState.WORKER_SERVING, WorkerState.WORKER_DRAINING)
        served = min(
            (one["peers_number"] for one in self._shared.workers() if one["pid"] and one["state"] in serving),
            default=self._shared.peers_number,
        )
        with self._changing:
            self._groups.release(now, served, lambda slot: True)
            return self._targets.release(now, served, lambda slot: not self.states.target(slot)["open"])

    # --- what is known --------------------------------------------------------------------------------

    def find_group(self, key: str) -> int:
        """The place of a group; NO_SLOT when it has none."""
        return self._groups.find(group_identity(key))

    def find_target(self, group_key: str, name: str, ip: str, port: int) -> int:
        """The place of an address; NO_SLOT when it has none."""
        return self._targets.find(target_identity(group_key, name, ip, port))

    def health(self, group_key: str, name: str, ip: str, port: int) -> TargetHealth:
        """The health of an address; one that has no place is healthy."""
        return self.states.health(self.find_target(group_key, name, ip, port))

    def facts(self, group_key: str, name: str, ip: str, port: int) -> TargetFacts | None:
        """Everything that is counted of an address; None when it has no place."""
        slot = self.find_target(group_key, name, ip, port)
        return self.states.target(slot) if slot else None

    def mark(self, group_key: str, name: str, ip: str, port: int, *, healthy: bool) -> bool:
        """Make an address healthy or unhealthy, at once for every worker. True when that is a change."""
        slot, _ = self.target(group_key, name, ip, port)
        return self.states.set(self.find_group(group_key), slot, healthy, monotonic_ms())

    @staticmethod
    def tell(upstream: str, target: str, ip: str, port: int, *, healthy: bool, why: str) -> None:
        """Log that requests begin or cease to go to an address."""
        log.log(
            NOTICE if healthy else logging.WARNING,
            "upstream %s: target %s (%s) is %s now (%s)",
            upstream,
            target,
            address_text(ip, port),
            "healthy" if healthy else "unhealthy",
            why,
        )
