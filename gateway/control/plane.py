"""The state of the control process: which configuration is live, and how another one becomes it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from gateway.dns import Resolver, ResolverOptions
from gateway.garbage import set_aside
from gateway.settings import Settings
from gateway.snapshot import host_names
from gateway.store import EMPTY_HASH, Configuration, EntityJson, LoadMemory
from gateway.telemetry.collect import Scrape
from gateway.telemetry.metric_slots import MetricSlots
from native.shm import SharedState, WorkerState

from .logs import NOTICE
from .publisher import Publisher
from .remembered import Remembered

log = logging.getLogger(__name__)

FIRST_RESOLUTION = 1.0  # seconds that a new configuration waits for its names
COALESCE = 0.02  # seconds in which changes of addresses are gathered into one publication
RETRY_DELAY = 1.0  # seconds after a publication of peers failed


class ControlPlane:
    """One per control process; every method belongs to its event loop unless it says otherwise."""

    def __init__(
        self,
        settings: Settings,
        shared: SharedState,
        publisher: Publisher,
        slots: MetricSlots,
        remembered: Remembered,
        node_id: str,
    ) -> None:
        self.settings = settings
        self.shared = shared
        self.node_id = node_id
        self.configuration: Configuration = Configuration.EMPTY
        self.memory = LoadMemory()
        self.entity_json = EntityJson()
        self.loading = False
        self.stopping = False
        self._publisher = publisher
        self._slots = slots
        self._remembered = remembered
        self._changing = asyncio.Lock()
        self._addresses_changed = asyncio.Event()
        self._resolver = Resolver(
            ResolverOptions.from_settings(settings), lambda names: self._addresses_changed.set()
        )
        self._follower: asyncio.Task[None] | None = None
        self._names_of: list[tuple[Configuration, set[str]]] = []

    def start(self) -> None:
        """Begin to follow the addresses of names."""
        self._resolver.start()
        self._follower = asyncio.get_running_loop().create_task(self._follow_addresses(), name="peers")

    async def close(self) -> None:
        """Stop the background work. What was published stays."""
        self.stopping = True
        await self._resolver.close()
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.gather(self._follower, return_exceptions=True)

    @contextmanager
    def claim_loading(self) -> Iterator[None]:
        """While one load through the Admin API runs, others are turned away (they look at `loading`)."""
        self.loading = True
        try:
            yield
        finally:
            self.loading = False

    async def apply(
        self,
        configuration: Configuration,
        settings: Settings | None = None,
        *,
        resolve_within: float = FIRST_RESOLUTION,
    ) -> bool:
        """Make `configuration` live, with other settings when given.

        True when every worker serves it; False when some did not acknowledge in time (they will follow).
        Raises, and leaves everything as it was, when it cannot be compiled or written.
        """
        async with self._changing:
            started = time.monotonic()
            if settings is not None:
                self._resolver.configure(ResolverOptions.from_settings(settings))
            self._resolver.use(self._names([configuration, self.configuration]))
            await self._resolver.settle(resolve_within)
            try:
                metric_slots = await asyncio.to_thread(self._slots.assign, configuration.of("routes"))
                self._addresses_changed.clear()  # what is known now goes into this publication
                acknowledged = await self._publisher.publish(
                    configuration, settings or self.settings, self._resolver.resolutions(), metric_slots
                )
                milliseconds = (time.monotonic() - started) * 1000
            except BaseException:
                self._resolver.configure(ResolverOptions.from_settings(self.settings))
                self._addresses_changed.set()
                raise
            finally:
                self._resolver.use(self._names(self._publisher.configurations()))
            self.configuration = configuration
            self.settings = settings or self.settings
            try:
                await asyncio.to_thread(self._remembered.save, configuration, self.entity_json)
            except OSError as error:
                # It is live; only a crash of this process would bring back an older one.
                log.error("the configuration could not be kept for a restart: %s", error)
            await asyncio.to_thread(set_aside)
        log.log(
            NOTICE,
            "configuration %d is live%s: hash %s, %s",
            self.shared.configuration_number,
            f" in all workers after {milliseconds:.0f} ms" if acknowledged else "",
            configuration.hash,
            summary(configuration),
        )
        return acknowledged

    def not_ready_because(self) -> str | None:
        """Why this node should get no traffic; None when it is ready. Texts as Kong's where Kong has the
        case.
        """
        if self.stopping:
            return "exiting"
        if not self.shared.configuration_number:
            return "no configuration available (configuration hash is not initialized)"
        if self.shared.configuration_hash == EMPTY_HASH:
            return "no configuration available (empty configuration present)"
        serving = (
            worker["configuration_number"]
            for worker in self.shared.workers()
            if worker["pid"] and worker["state"] == WorkerState.WORKER_SERVING
        )
        return None if any(serving) else "no worker serves the configuration yet"

    def scrape(self) -> Scrape:
        """What the page of GET /metrics is made of now; a thread may make the page of it."""
        return Scrape(
            shared=self.shared,
            slots=self._slots,
            configuration=self.configuration,
            resolutions=self._resolver.resolutions(),
            node_id=self.node_id,
        )

    def _names(self, configurations: Iterable[Configuration]) -> set[str]:
        """The names that these need resolved; those of a large configuration take a while to gather."""
        known = {id(configuration): names for configuration, names in self._names_of}
        self._names_of = [(one, known.get(id(one)) or host_names(one)) for one in configurations]
        return set().union(*(names for _, names in self._names_of))

    async def _follow_addresses(self) -> None:
        """Publish the peers again whenever the addresses of a name in use have changed."""
        while True:
            await self._addresses_changed.wait()
            await asyncio.sleep(COALESCE)
            async with self._changing:
                if not self._addresses_changed.is_set():
                    continue  # a new configuration has taken the change along
                self._addresses_changed.clear()
                try:
                    await self._publisher.publish_peers(self._resolver.resolutions())
                except Exception:
                    log.exception("publishing peers failed")
                    self._addresses_changed.set()
            if self._addresses_changed.is_set():
                await asyncio.sleep(RETRY_DELAY)


def summary(configuration: Configuration) -> str:
    """`services 2, routes 5`, or `empty`."""
    counts = [f"{name} {len(entities)}" for name, entities in configuration.entities.items() if entities]
    return ", ".join(counts) or "empty"
