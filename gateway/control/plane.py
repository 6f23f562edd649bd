"""The state of the control process: which configuration is live, and how another one becomes it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from typing import Any

from gateway.admin.audit import observed
from gateway.cluster import events_of
from gateway.health import HealthMarks, Prober
from gateway.settings import Settings
from gateway.snapshot import Resolution
from gateway.store import EMPTY_HASH, Configuration, EntityJson, LoadMemory
from gateway.store.errors import StoreUnavailable
from gateway.store.interface import GivenSecrets, Operation, Store
from gateway.store.operations import remove_expired
from gateway.store.read_only import ReadOnlyStore
from gateway.store.source import DeclarativeSource
from gateway.store.writable_file import WritableFileStore
from gateway.stored_responses import StoredResponses
from gateway.telemetry.collect import Scrape
from gateway.telemetry.metric_slots import MetricSlots
from native.shm import SharedState, WorkerState

from .logs import set_level
from .publication import FIRST_RESOLUTION, Publication
from .publisher import Publisher
from .remembered import Remembered
from .transactions import Transactions

log = logging.getLogger(__name__)

EXPIRY_INTERVAL = 1.0  # seconds between two looks for what has expired


class ControlPlane:
    """One per control process; every method belongs to its event loop unless it says otherwise.

    What is read comes from `configuration`, the newest state of the store, or from `fresh()`. What is written
    goes through `write()`, or through `apply()` when it is everything at once.
    """

    def __init__(
        self,
        settings: Settings,
        shared: SharedState,
        publisher: Publisher,
        slots: MetricSlots,
        remembered: Remembered | None,
        node_id: str,
        store: Store,
        memory: LoadMemory,
    ) -> None:
        """`store` is not open yet; `remembered`: for one that keeps nothing itself; `memory`: of the
        declarative texts that were loaded."""
        self.settings = settings
        self.shared = shared
        self.node_id = node_id
        self.store = store
        self.memory = memory
        self.entity_json = EntityJson()
        self.loading = False
        self.stopping = False
        self.health = publisher.slots
        self.events = events_of(settings, node_id)
        self.stored_responses = StoredResponses(shared, self.events, settings)
        self._slots = slots
        self._remembered = remembered
        self._publication = Publication(settings, publisher, slots, lambda: store.configuration)
        self.health_marks = HealthMarks(self.health, self.events, self.fresh, self.resolutions)
        self._prober = Prober(self.health)
        publisher.on_peers = self._prober.update
        self._transactions = Transactions(store, self._committed)
        self._known = store.configuration
        self._tasks: set[asyncio.Task[None]] = set()

    async def open(self, *, after_crash: bool = False) -> None:
        """Load what the store holds; `after_crash`: of this master's earlier control process.

        What was live before the crash goes before the declarative file, be it from there or from POST
        /config. Raises StoreError, DeclarativeError.
        """
        if after_crash and self._remembered is not None:
            restored = await asyncio.to_thread(self._remembered.load)
            if restored is not None:
                await self._transactions.run(partial(self.store.replace, restored))
                return
        await self._transactions.run(self.store.open)

    def start(self) -> None:
        """Begin to publish what is written, here and on other nodes, and to follow the addresses of names."""
        self._publication.start()
        self._prober.start()
        loop = asyncio.get_running_loop()

        def look() -> None:
            loop.call_soon_threadsafe(self._take_over)

        self.store.follow(look)
        self.events.start()
        self.stored_responses.follow(self.configuration)
        if not isinstance(self.store, ReadOnlyStore):
            self._spawn(self._remove_expired())

    async def close(self) -> None:
        """Stop the background work and close the store. What was published stays."""
        self.stopping = True
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.events.close()
        await self.stored_responses.close()
        await self._prober.close()
        await self._publication.close()
        await self._transactions.close()

    # --- reading ------------------------------------------------------------------------------------

    @property
    def configuration(self) -> Configuration:
        """The newest state of the store that this node knows. Any thread may look."""
        return self.store.configuration

    async def fresh(self) -> Configuration:
        """The newest state of the store, other nodes' writes included; the newest known one when the database
        cannot be reached."""
        if self.store.is_shared and self.store.is_reachable:
            try:
                await self._transactions.catch_up()
            except StoreUnavailable as error:
                log.debug("showing what is known: %s", error)
        return self.store.configuration

    # --- writing ------------------------------------------------------------------------------------

    async def write(self, operation: Operation) -> Any:
        """Run an operation and commit what it changes; gives its result.

        Returns when every worker serves the change, or after a short wait when publications take long: then
        they follow soon. Raises EntityError, StoreUnavailable: nothing was changed.
        """
        outcome = await self._transactions.write(observed(operation))
        if outcome.error is not None:
            raise outcome.error
        if outcome.changed:
            await self._publication.served_soon()
        return outcome.result

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
        given_secrets: GivenSecrets | None = None,
    ) -> bool:
        """Make `configuration` the whole content of a store without a database, and live, with other settings
        when given; `given_secrets` of a declarative text, for a file that holds them so.

        True when every worker serves it; False when some did not acknowledge in time (they will follow).
        Raises, and leaves everything as it was, when it cannot be written, compiled or published.
        """
        before = self.store.configuration
        if configuration is not before:
            await self._transactions.run(partial(self.store.replace, configuration, given_secrets))
        after = self.store.configuration
        try:
            acknowledged = await self._publication.publish(settings, within=resolve_within)
        except BaseException:
            if self.store.configuration is after is not before:
                await self._transactions.run(partial(self.store.replace, before))
            raise
        self.settings = settings or self.settings
        self.stored_responses.follow(self.store.configuration)
        await self._remember(configuration)
        return acknowledged

    async def reload(self, settings: Settings) -> None:
        """Take other settings, and read the declarative configuration again that they name. Raises
        DeclarativeError, StoreError; then, and when publishing fails, what is live stays."""
        before = self.store.configuration
        if isinstance(self.store, ReadOnlyStore | WritableFileStore):
            source = DeclarativeSource.from_settings(settings)
            await self._transactions.run(partial(self.store.reload, source))
        try:
            await self.apply(self.store.configuration, settings)
        except BaseException:
            if isinstance(self.store, ReadOnlyStore):
                await self._transactions.run(partial(self.store.replace, before))
            raise

    async def set_log_level(self, level: str) -> None:
        """Have this process and the workers log at and above another level, until settings are read again."""
        settings = replace(self.settings, log_level=level)
        await self._publication.publish(settings)
        self.settings = settings
        set_level(level)

    def resolutions(self) -> Mapping[str, Resolution]:
        """Every name in use with what is known of its addresses."""
        return self._publication.resolutions()

    async def _remember(self, configuration: Configuration) -> None:
        if self._remembered is not None:
            try:
                await asyncio.to_thread(self._remembered.save, configuration, self.entity_json)
            except OSError as error:
                # It is live; only a crash of this process would bring back an older one.
                log.error("the configuration could not be kept for a restart: %s", error)

    # --- in the background --------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _take_over(self) -> None:
        """Other nodes may have written something."""

        async def catch_up() -> None:
            try:
                await self._transactions.catch_up()
            except StoreUnavailable as error:  # the store has said so in the log
                log.debug("following the database: %s", error)

        if not self.stopping:
            self._spawn(catch_up())

    async def _remove_expired(self) -> None:
        """Remove the entities whose time is over."""
        while True:
            await asyncio.sleep(EXPIRY_INTERVAL)
            now = time.time()
            expiry = self.store.configuration.next_expiry()
            if expiry is None or expiry > now:
                continue
            try:
                outcome = await self._transactions.write(
                    Operation("remove", "expired", partial(remove_expired, now=now))
                )
            except StoreUnavailable as error:
                log.debug("removing what has expired: %s", error)
                continue
            if outcome.error is not None:
                log.error("what has expired could not be removed: %r", outcome.error)
            elif outcome.result:
                log.info("%d expired credentials were removed", outcome.result)

    def _committed(self) -> None:
        if self.store.configuration is not self._known:
            self._known = self.store.configuration
            self.stored_responses.follow(self._known)
            self._publication.request()

    # --- what others ask ----------------------------------------------------------------------------

    def not_ready_because(self) -> str | None:
        """Why this node should get no traffic; None when it is ready. Texts as Kong's where Kong has the
        case.
        """
        if self.stopping:
            return "exiting"
        if not self.shared.configuration_number:
            return "no configuration available (configuration hash is not initialized)"
        takes_writes = self.settings.database != "off" or self.settings.declarative_writable
        if not takes_writes and self.shared.configuration_hash == EMPTY_HASH:
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
            resolutions=self._publication.resolutions(),
            node_id=self.node_id,
            datastore_reachable=self.store.is_reachable,
            stored_responses=self.stored_responses.statistics(),
            health=self.health,
        )
