"""What the workers serve follows the store: one publication at a time, always of the newest state."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from gateway.dns import RememberedAddresses, Resolver, ResolverOptions
from gateway.garbage import set_aside
from gateway.logs import NOTICE
from gateway.run_directory import RunDirectory
from gateway.settings import Settings
from gateway.snapshot import Resolution, host_names
from gateway.store import Configuration
from gateway.telemetry.metric_slots import MetricSlots

from .differences import EVERY_KIND, SnapshotKinds
from .publisher import Publisher

log = logging.getLogger(__name__)

FIRST_RESOLUTION = 1.0  # seconds that a new configuration waits for its names
COALESCE = 0.02  # seconds in which changes of addresses are gathered into one publication
RETRY_DELAY = 1.0  # seconds after a publication failed
RESOLUTION_OF_WRITE = 0.05
"""seconds that a write waits for the names it brings: they are published as soon as they are known"""
WRITE_PATIENCE = 1.0
"""seconds that the answer to a write waits for the workers at most"""
SLOW = 0.05
"""seconds: where publications always take longer, the answer to a write does not wait for them"""
SET_ASIDE_EVERY = 10.0  # seconds, while there are writes
LONGEST_PAUSE = 0.05
"""seconds after a publication for which nobody waits: with a stream of writes, publishing a large
configuration leaves time to writes and requests"""


class Publication:
    """Publishes the newest configuration whenever asked to, and the peers whenever addresses change."""

    def __init__(
        self,
        settings: Settings,
        publisher: Publisher,
        slots: MetricSlots,
        newest: Callable[[], Configuration],
    ) -> None:
        self._settings = settings
        self._publisher = publisher
        self._slots = slots
        self._newest = newest
        self._changing = asyncio.Lock()
        self._wanted = asyncio.Event()
        self._requested = 0
        """number of the last request"""
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        """who waits for the publication of which request"""
        self._durations: deque[float] = deque((0.0,), maxlen=5)
        """seconds that the last publications took"""
        self._addresses_changed = asyncio.Event()
        self._addresses = RememberedAddresses(RunDirectory(settings.prefix).addresses)
        self._resolver = Resolver(
            ResolverOptions.from_settings(settings),
            lambda names: self._addresses_changed.set(),
            self._addresses.load(),
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._names_of: list[tuple[Configuration, set[str]]] = []
        self._set_aside_at = time.monotonic()
        self._routes: Mapping[str, object] = {}
        self._metric_slots: Mapping[str, int] = {}
        """of these routes"""

    def start(self) -> None:
        """Begin to follow requests and addresses."""
        self._resolver.start()
        loop = asyncio.get_running_loop()
        self._tasks = [
            loop.create_task(self._follow_requests(), name="publication"),
            loop.create_task(self._follow_addresses(), name="peers"),
        ]

    async def close(self) -> None:
        """Stop. What was published stays."""
        for task in self._tasks:
            task.cancel()
        await self._resolver.close()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def resolutions(self) -> Mapping[str, Resolution]:
        """Every name in use with what is known of it now."""
        return self._resolver.resolutions()

    def request(self) -> None:
        """There is a new configuration."""
        self._requested += 1
        self._wanted.set()

    async def served_soon(self) -> None:
        """Wait until every worker serves what was requested, but not for long."""
        if self._is_slow():
            return
        served = asyncio.get_running_loop().create_future()
        self._waiting.append((self._requested, served))
        await asyncio.wait([served], timeout=WRITE_PATIENCE)

    def _is_slow(self) -> bool:
        """Whether a publication takes long, and not only now and then."""
        return min(self._durations) > SLOW

    async def publish(self, settings: Settings | None = None, *, within: float = FIRST_RESOLUTION) -> bool:
        """Publish the newest configuration, with other settings when given; names get `within` seconds to be
        resolved.

        True when every worker serves it; False when some did not acknowledge in time (they will follow).
        Raises, and leaves the workers as they were, when it cannot be compiled or written.
        """
        async with self._changing:
            configuration = self._newest()
            acknowledged = await self._publish(configuration, EVERY_KIND, settings, within)
            await asyncio.to_thread(set_aside)
        log.log(
            NOTICE,
            "configuration %d is live%s: hash %s, %s",
            self._publisher.configuration_number,
            f" in all workers after {self._durations[-1] * 1000:.0f} ms" if acknowledged else "",
            configuration.hash,
            summary(configuration),
        )
        return acknowledged

    async def _publish(
        self, configuration: Configuration, kinds: SnapshotKinds, settings: Settings | None, within: float
    ) -> bool:
        """Publish these kinds of snapshot of the newest configuration."""
        started = time.monotonic()
        requested = self._requested
        self._wanted.clear()
        if settings is not None:
            self._resolver.configure(ResolverOptions.from_settings(settings))
        if "peers" in kinds:
            self._resolver.use(self._names([configuration, *self._publisher.configurations()]))
            await self._resolver.settle(within)
        try:
            if "configuration" in kinds:
                await asyncio.to_thread(self._assign_slots, configuration)
            if "peers" in kinds:
                self._addresses_changed.clear()  # what is known now goes into this publication
            acknowledged = await self._publisher.publish(
                configuration,
                settings or self._settings,
                self._resolver.resolutions(),
                self._metric_slots,
                kinds,
            )
        except BaseException:
            self._resolver.configure(ResolverOptions.from_settings(self._settings))
            self._addresses_changed.set()
            raise
        finally:
            if "peers" in kinds:
                self._resolver.use(self._names(self._publisher.configurations()))
        self._settings = settings or self._settings
        self._durations.append(time.monotonic() - started)
        self._tell(requested)
        if "peers" in kinds:
            await asyncio.to_thread(self._addresses.save, self._resolver.resolutions())
        return acknowledged

    def _assign_slots(self, configuration: Configuration) -> None:
        """Give every route its slot in the workers' metrics."""
        routes = configuration.of("routes")
        if routes is not self._routes:
            self._metric_slots = self._slots.assign(routes)
            self._routes = routes

    def _tell(self, requested: int) -> None:
        """Everything up to this request is served."""
        waiting, self._waiting = self._waiting, []
        for number, served in waiting:
            if number > requested:
                self._waiting.append((number, served))
            elif not served.done():
                served.set_result(None)

    def _names(self, configurations: Iterable[Configuration]) -> set[str]:
        """The names that these need resolved; those of a large configuration take a while to gather."""
        known = {id(configuration): names for configuration, names in self._names_of}
        self._names_of = [(one, known.get(id(one)) or host_names(one)) for one in configurations]
        return set().union(*(names for _, names in self._names_of))

    # --- background ---------------------------------------------------------------------------------

    async def _follow_requests(self) -> None:
        while True:
            await self._wanted.wait()
            async with self._changing:
                if not self._wanted.is_set():
                    continue  # published by somebody else meanwhile
                try:
                    await self._publish_newest()
                    await self._set_aside()
                    pause = min(self._durations[-1], LONGEST_PAUSE) if self._is_slow() else 0.0
                except Exception:
                    log.exception("publishing the configuration failed")
                    self._wanted.set()
                    pause = RETRY_DELAY
            await asyncio.sleep(pause)

    async def _set_aside(self) -> None:
        """Keep what was written out of the searches for garbage, now and then."""
        now = time.monotonic()
        if now - self._set_aside_at > SET_ASIDE_EVERY:
            self._set_aside_at = now
            await asyncio.to_thread(set_aside)

    async def _publish_newest(self) -> None:
        """Publish what the workers do not serve yet."""
        configuration = self._newest()
        kinds = self._publisher.needed_for(configuration)
        acknowledged = await self._publish(configuration, kinds, None, RESOLUTION_OF_WRITE)
        log.info(
            "%s published%s: hash %s",
            " and ".join(sorted(kinds)) or "nothing",
            f", in all workers after {self._durations[-1] * 1000:.0f} ms" if acknowledged else "",
            configuration.hash,
        )

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
                    await asyncio.to_thread(self._addresses.save, self._resolver.resolutions())
                except Exception:
                    log.exception("publishing peers failed")
                    self._addresses_changed.set()
            if self._addresses_changed.is_set():
                await asyncio.sleep(RETRY_DELAY)


def summary(configuration: Configuration) -> str:
    """`services 2, routes 5`, or `empty`."""
    counts = [f"{name} {len(entities)}" for name, entities in configuration.entities.items() if entities]
    return ", ".join(counts) or "empty"
