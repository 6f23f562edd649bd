"""The one place where snapshots are made public: compile, write, publish, notify, wait, tidy up.

Peers go before the configuration, because a configuration must never name peers that a worker cannot find.
While workers move from one configuration to the next, some still route by the old one: the peers written with
a new configuration therefore hold the old one's hosts and upstreams too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.settings import Settings
from gateway.snapshot import ConfigurationCompiler, PeersCompiler, Resolution
from gateway.snapshot.files import configuration_path, peers_path, remove_older, write_atomically
from gateway.store import Configuration
from native.shm import SharedState, WorkerState

from .joined import joined_for_peers

log = logging.getLogger(__name__)

ACKNOWLEDGE_TIMEOUT = 2.0  # seconds
POLL_INTERVAL = 0.003
ONE = (1).to_bytes(8, "little")  # what an eventfd is written with


class Publisher:
    """Writes snapshots under `prefix` and tells the workers. Callers publish one at a time."""

    def __init__(self, shared: SharedState, notify_fds: Sequence[int], prefix: Path) -> None:
        self._shared = shared
        self._notify_fds = notify_fds
        self._prefix = prefix
        self._configurations = ConfigurationCompiler()
        self._peers = PeersCompiler()
        self._previous: Configuration | None = None
        self._current: Configuration | None = None

    async def publish(
        self,
        configuration: Configuration,
        settings: Settings,
        resolutions: Mapping[str, Resolution],
        metric_slots: Mapping[str, int],
    ) -> bool:
        """Make `configuration` the one that workers serve. True when all of them do, False when that took too
        long.

        Whatever is raised (a configuration that cannot be compiled, a full disk) leaves the workers
        untouched.
        """
        number = self._shared.configuration_number + 1
        peers_number = self._shared.peers_number + 1
        for_peers = joined_for_peers(configuration, self._current)

        def prepare() -> None:
            data = self._configurations.compile(
                configuration, settings, number=number, metric_slots=metric_slots
            )
            peers = self._peers.compile(for_peers, resolutions, number=peers_number)
            write_atomically(peers_path(self._prefix, peers_number), peers)
            write_atomically(configuration_path(self._prefix, number), data)

        await asyncio.to_thread(prepare)
        self._shared.publish_peers(peers_number)
        self._shared.publish_configuration(number, configuration.hash)
        self._previous, self._current = self._current, configuration
        return await self._announce()

    async def publish_peers(self, resolutions: Mapping[str, Resolution]) -> bool:
        """Write the peers of the current configuration again, because addresses changed."""
        if self._current is None:
            return True
        number = self._shared.peers_number + 1
        for_peers = joined_for_peers(self._current, self._previous)

        def prepare() -> None:
            peers = self._peers.compile(for_peers, resolutions, number=number)
            write_atomically(peers_path(self._prefix, number), peers)

        await asyncio.to_thread(prepare)
        self._shared.publish_peers(number)
        return await self._announce()

    def configurations(self) -> tuple[Configuration, ...]:
        """The configurations whose peers are published: the current one and the one before it."""
        return tuple(one for one in (self._current, self._previous) if one is not None)

    @property
    def configuration_number(self) -> int:
        """Number of the configuration that was published last."""
        return self._shared.configuration_number

    async def _announce(self) -> bool:
        """Wake the workers, wait until all serve the published numbers, then delete what nobody opens any
        more.
        """
        number, peers_number = self._shared.configuration_number, self._shared.peers_number
        started = time.monotonic()
        for descriptor in self._notify_fds:
            try:
                os.write(descriptor, ONE)
            except BlockingIOError:
                pass  # the counter is full of earlier notifications: the worker wakes up all the same
        behind = self._behind(number, peers_number)
        while behind and time.monotonic() - started < ACKNOWLEDGE_TIMEOUT:
            await asyncio.sleep(POLL_INTERVAL)
            behind = self._behind(number, peers_number)
        if behind:
            log.warning(
                "configuration %d with peers %d: no acknowledgement within %g s from worker %s",
                number,
                peers_number,
                ACKNOWLEDGE_TIMEOUT,
                ", ".join(map(str, behind)),
            )
            return False
        await asyncio.to_thread(self._tidy, number, peers_number)
        return True

    def _behind(self, number: int, peers_number: int) -> list[int]:
        """Process ids of the living workers that do not serve these numbers yet."""
        return [
            worker["pid"]
            for worker in self._shared.workers()
            if worker["state"] in (WorkerState.WORKER_STARTING, WorkerState.WORKER_SERVING)
            and (worker["configuration_number"] < number or worker["peers_number"] < peers_number)
            and is_alive(worker["pid"])
        ]

    def _tidy(self, number: int, peers_number: int) -> None:
        # One older file of each kind stays: a worker that is just starting may have read the number before
        # this one.
        remove_older(self._prefix, "configuration", number - 1)
        remove_older(self._prefix, "peers", peers_number - 1)


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
