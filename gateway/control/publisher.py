"""The one place where snapshots are made public: compile, write, publish, notify, wait, tidy up.

Peers and identities go before the configuration, because a configuration must never name what a worker
cannot find. While workers move from one configuration to the next, some still route by the old one: the peers
written with a new configuration therefore hold the old one's hosts and upstreams too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gateway.health.slots import HealthSlots
from gateway.run_directory import RunDirectory, SnapshotKind
from gateway.settings import Settings
from gateway.snapshot import ConfigurationCompiler, IdentitiesCompiler, PeersCompiler, Resolution
from gateway.snapshot.files import remove_older, write_atomically
from gateway.store import Configuration
from native.shm import SharedState, WorkerState

from .differences import SnapshotKinds, kinds_that_differ
from .joined import joined_for_peers

log = logging.getLogger(__name__)

ACKNOWLEDGE_TIMEOUT = 2.0  # seconds
POLL_INTERVAL = 0.001
SLOW_POLL_INTERVAL = 0.01
"""seconds between two looks at what workers have acknowledged; the longer one from the tenth look on"""
ONE = (1).to_bytes(8, "little")  # what an eventfd is written with


@dataclass(frozen=True, slots=True)
class Input:
    """What snapshots are made of."""

    configuration: Configuration
    settings: Settings
    resolutions: Mapping[str, Resolution]
    metric_slots: Mapping[str, int]


class Publisher:
    """Writes snapshots under `prefix` and tells the workers. Callers publish one at a time."""

    def __init__(self, shared: SharedState, notify_fds: Sequence[int], prefix: Path) -> None:
        self._shared = shared
        self._notify_fds = notify_fds
        self._prefix = prefix
        self._directory = RunDirectory(prefix)
        self._configurations = ConfigurationCompiler()
        self.slots = HealthSlots(shared)
        self.on_peers: Callable[[Configuration, Mapping[str, Resolution]], None] = lambda *_: None
        """called, in the event loop, when the peers of a configuration have been written"""
        self._peers = PeersCompiler(self.slots)
        self._identities = IdentitiesCompiler()
        self._previous: Configuration | None = None
        """the one before the current one, while some worker may serve it"""
        self._current: Configuration | None = None
        self._late: set[int] = set()
        """process ids of workers that did not acknowledge in time: nobody waits for them until they do"""

    @property
    def configuration_number(self) -> int:
        """Number of the configuration snapshot that was published last."""
        return self._shared.configuration_number

    def configurations(self) -> tuple[Configuration, ...]:
        """The configurations whose peers are published: the current one, and the one before it while some
        worker may serve it."""
        return tuple(one for one in (self._current, self._previous) if one is not None)

    def needed_for(self, configuration: Configuration) -> SnapshotKinds:
        """The kinds of snapshot that must be made for workers to serve `configuration`."""
        return kinds_that_differ(self._current, configuration)

    async def publish(
        self,
        configuration: Configuration,
        settings: Settings,
        resolutions: Mapping[str, Resolution],
        metric_slots: Mapping[str, int],
        kinds: SnapshotKinds | None = None,
    ) -> bool:
        """Make `configuration` the one that workers serve. True when all of them do, False when that took too
        long. `kinds`: as of `needed_for`; all when it is not given.

        Whatever is raised (a configuration that cannot be compiled, a full disk) leaves the workers
        untouched.
        """
        found = Input(configuration, settings, resolutions, metric_slots)
        kinds = kinds_that_differ(None, configuration) if kinds is None else kinds
        # Where routes stay, those of the current configuration do; some may still have those before them.
        earlier = self._current if "configuration" in kinds else self._previous
        await asyncio.to_thread(self._write, found, kinds, earlier)
        self._previous, self._current = earlier, configuration
        self.on_peers(configuration, resolutions)
        return await self._announce(kinds, configuration.hash)

    async def publish_peers(self, resolutions: Mapping[str, Resolution]) -> bool:
        """Write the peers of the current configuration again, because addresses changed."""
        if self._current is None:
            return True
        for_peers = joined_for_peers(self._current, self._previous)
        number = self._shared.peers_number + 1
        await asyncio.to_thread(
            self._write_one,
            "peers",
            number,
            lambda: self._peers.compile(for_peers, resolutions, number=number),
        )
        self.on_peers(self._current, resolutions)
        return await self._announce(frozenset(("peers",)), None)

    # --- writing ------------------------------------------------------------------------------------

    def _write(self, found: Input, kinds: SnapshotKinds, earlier: Configuration | None) -> None:
        """Compile and write these kinds of snapshot, each with its next number. Runs in a thread."""
        configuration = found.configuration
        if "configuration" in kinds:
            number = self._shared.configuration_number + 1
            data = self._configurations.compile(
                configuration, found.settings, number=number, metric_slots=found.metric_slots
            )
            self._write_one("configuration", number, lambda: data)
        if "peers" in kinds:
            peers_number = self._shared.peers_number + 1
            for_peers = joined_for_peers(configuration, earlier)
            self._write_one(
                "peers",
                peers_number,
                lambda: self._peers.compile(for_peers, found.resolutions, number=peers_number),
            )
        if "identities" in kinds:
            identities_number = self._shared.identities_number + 1
            self._write_one(
                "identities",
                identities_number,
                lambda: self._identities.compile(configuration, number=identities_number),
            )

    def _write_one(self, kind: SnapshotKind, number: int, compiled: Callable[[], bytes]) -> None:
        write_atomically(self._directory.snapshot(kind, number), compiled())

    # --- telling ------------------------------------------------------------------------------------

    async def _announce(self, kinds: SnapshotKinds, configuration_hash: str | None) -> bool:
        """Publish the numbers of what was written, wake the workers, wait until all serve it, then delete
        what nobody opens any more.
        """
        shared = self._shared
        if "peers" in kinds:
            shared.publish_peers(shared.peers_number + 1)
        if "identities" in kinds:
            shared.publish_identities(shared.identities_number + 1)
        if configuration_hash is not None:
            number = shared.configuration_number + ("configuration" in kinds)
            shared.publish_configuration(number, configuration_hash)
        if not kinds:
            return True
        for descriptor in self._notify_fds:
            try:
                os.write(descriptor, ONE)
            except BlockingIOError:
                pass  # the counter is full of earlier notifications: the worker wakes up all the same
        behind = await self._wait_for_workers()
        if not behind:
            self._previous = None
            await asyncio.to_thread(self._tidy)
        return not behind

    async def _wait_for_workers(self) -> set[int]:
        """Wait, not for ever, until every worker serves what is published. Process ids of those that do
        not."""
        started = time.monotonic()
        looks = 0
        while (behind := self._behind()) - self._late:
            if time.monotonic() - started >= ACKNOWLEDGE_TIMEOUT:
                log.warning(
                    "configuration %d with peers %d and identities %d: no acknowledgement within %g s from "
                    "worker %s",
                    self._shared.configuration_number,
                    self._shared.peers_number,
                    self._shared.identities_number,
                    ACKNOWLEDGE_TIMEOUT,
                    ", ".join(map(str, sorted(behind))),
                )
                break
            looks += 1
            await asyncio.sleep(POLL_INTERVAL if looks < 10 else SLOW_POLL_INTERVAL)
        self._late = behind
        return behind

    def _behind(self) -> set[int]:
        """Process ids of the living workers that do not serve what is published yet."""
        shared = self._shared
        published = (shared.configuration_number, shared.peers_number, shared.identities_number)
        return {
            worker["pid"]
            for worker in shared.workers()
            if worker["state"] in (WorkerState.WORKER_STARTING, WorkerState.WORKER_SERVING)
            and any(
                served < number
                for served, number in zip(
                    (
                        worker["configuration_number"],
                        worker["peers_number"],
                        worker["identities_number"],
                    ),
                    published,
                    strict=True,
                )
            )
            and is_alive(worker["pid"])
        }

    def _tidy(self) -> None:
        # One older file of each kind stays: a worker that is just starting may have read the number before
        # this one.
        remove_older(self._prefix, "configuration", self._shared.configuration_number - 1)
        remove_older(self._prefix, "peers", self._shared.peers_number - 1)
        remove_older(self._prefix, "identities", self._shared.identities_number - 1)


def is_alive(pid: int) -> bool:
    """Whether a process with this id exists."""
    if not pid:
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
