"""Active checks: probes of the targets of every upstream that asks for them, each upstream in its own rhythm.

An upstream has two rhythms, one for the addresses that get requests and one for those that get none. A
round probes the addresses whose turn it is, some at a time; the next one begins an interval after this one
began, but never before it is over. What is found goes to shared memory, where the workers look.
"""

from __future__ import annotations

import asyncio
import logging
import random
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import cast

from gateway.entities.hosts import parse_host
from gateway.entities.targets import Target
from gateway.entities.upstreams import Upstream
from gateway.snapshot import Resolution
from gateway.snapshot.peers import target_addresses, target_resolution
from gateway.snapshot.slots import upstream_group
from gateway.snapshot.target_health import is_checked
from gateway.store import Configuration

from .probe import Outcome, Recipe, probe
from .slots import KEPT_FOR, HealthSlots, monotonic_ms

log = logging.getLogger(__name__)

MOST_PROBES = 256
"""at the same time, of all upstreams"""
SHORTEST_INTERVAL = 0.05
"""seconds between the beginnings of two rounds, whatever is configured"""
TIDY_EVERY = 1.0  # seconds
PAUSE_AFTER_ERROR = 1.0  # seconds


@dataclass(frozen=True, slots=True)
class Address:
    """One address of a target, and its place in shared memory."""

    group: int
    slot: int
    target: str
    host: str
    ip: str
    port: int


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for an upstream."""

    upstream: Upstream
    recipe: Recipe
    limits: tuple[int, int, int, int]
    """of successes, tcp failures, timeouts, http failures"""
    addresses: tuple[Address, ...]
    members: frozenset[Address]
    """the same, to look for one"""

    def interval(self, available: bool) -> float:
        """Seconds between rounds for the addresses that get requests, or for the others; 0: no rounds."""
        active = self.upstream.healthchecks.active
        found = (active.healthy if available else active.unhealthy).interval or 0
        return max(found, SHORTEST_INTERVAL) if found else 0


Source = tuple[Upstream, list[Target], list[Resolution]]


class Prober:
    """The probes of this node, and what keeps shared memory in order. Belongs to the event loop."""

    def __init__(self, slots: HealthSlots) -> None:
        self._slots = slots
        self._rhythms: dict[str, UpstreamRhythms] = {}
        self._sources: dict[str, Source] = {}
        """what the plans of the upstreams were made from"""
        self._unchecked_since: dict[str, int] = {}
        """monotonic ms since when an upstream that was checked is not"""
        self._checked: set[str] = set()
        self._known: tuple[object, ...] = ()
        self._room = asyncio.Semaphore(MOST_PROBES)
        self._tidying: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin. There is nothing to probe before the first update()."""
        self._tidying = asyncio.get_running_loop().create_task(self._tidy(), name="health")

    async def close(self) -> None:
        """Stop. What was found out stays."""
        rhythms, self._rhythms = self._rhythms, {}
        tasks = [task for one in rhythms.values() for task in one.stop()]
        if self._tidying:
            self._tidying.cancel()
            tasks.append(self._tidying)
        await asyncio.gather(*tasks, return_exceptions=True)

    def update(self, configuration: Configuration, resolutions: Mapping[str, Resolution]) -> None:
        """Probe what this configuration says, from now on. Never raises."""
        known = (configuration.of("upstreams"), configuration.of("targets"), resolutions)
        # (The tables of a configuration are the same objects as long as nothing in them changes.)
        if self._known and known[:2] == self._known[:2] and resolutions == self._known[2]:
            return
        self._known = known
        try:
            self._update(configuration, resolutions)
        except Exception:
            log.exception("the health checks could not be brought up to date")
            self._known = ()

    def _update(self, configuration: Configuration, resolutions: Mapping[str, Resolution]) -> None:
        upstreams = cast("Mapping[str, Upstream]", configuration.of("upstreams"))
        sources: dict[str, Source] = {}
        for upstream in upstreams.values():
            active = upstream.healthchecks.active
            if not (active.healthy.interval or active.unhealthy.interval):
                continue
            targets = [
                target
                for target in cast(
                    "list[Target]", configuration.children("targets", "upstreams", upstream.id)
                )
                if target.weight
            ]
            answers = [target_resolution(target, resolutions) for target in targets]
            sources[upstream.id] = source = (upstream, targets, answers)
            if self._sources.get(upstream.id) == source and upstream.id in self._rhythms:
                continue
            plan = self._plan(*source)
            rhythms = self._rhythms.get(upstream.id)
            if rhythms:
                rhythms.follow(plan)
            else:
                self._rhythms[upstream.id] = UpstreamRhythms(plan, self._slots, self._room)
        for identifier in self._rhythms.keys() - sources.keys():
            self._rhythms.pop(identifier).stop()
        self._sources = sources
        self._forget_unchecked(configuration, upstreams, resolutions)

    def _plan(self, upstream: Upstream, targets: list[Target], answers: list[Resolution]) -> Plan:
        active = upstream.healthchecks.active
        key = upstream_group(upstream.id)
        group = self._slots.find_group(key)
        addresses = []
        for target, resolution in zip(targets, answers, strict=True):
            for ip, port, _ in target_addresses(target, resolution):
                slot = self._slots.find_target(key, target.target, ip, port)
                if slot:
                    host = parse_host(target.target).host
                    addresses.append(Address(group, slot, target.target, host, ip, port))
        tls = tls_context(active.https_verify_certificate) if active.type == "https" else None
        return Plan(
            upstream,
            Recipe.of(active, upstream.host_header, tls),
            (
                active.healthy.successes or 0,
                active.unhealthy.tcp_failures or 0,
                active.unhealthy.timeouts or 0,
                active.unhealthy.http_failures or 0,
            ),
            tuple(addresses),
            frozenset(addresses),
        )

    def _forget_unchecked(
        self,
        configuration: Configuration,
        upstreams: Mapping[str, Upstream],
        resolutions: Mapping[str, Resolution],
    ) -> None:
        """Where health checks were off for long, what was known before does not count when they are on again
        (as in Kong, where it is forgotten)."""
        now = monotonic_ms()
        checked = {upstream.id for upstream in upstreams.values() if is_checked(upstream)}
        for identifier in self._checked - checked:
            self._unchecked_since[identifier] = now
        for identifier in self._unchecked_since.keys() & (checked | (self._checked - upstreams.keys())):
            since = self._unchecked_since.pop(identifier)
            if identifier in checked and now - since > KEPT_FOR:
                for target in cast(
                    "list[Target]", configuration.children("targets", "upstreams", identifier)
                ):
                    for ip, port, _ in target_addresses(target, target_resolution(target, resolutions)):
                        self._slots.mark(upstream_group(identifier), target.target, ip, port, healthy=True)
        self._checked = checked

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_EVERY)
            try:
                self._slots.tidy()
            except Exception:
                log.exception("the table of targets could not be tidied")


class UpstreamRhythms:
    """The rounds of probes of one upstream."""

    def __init__(self, plan: Plan, slots: HealthSlots, room: asyncio.Semaphore) -> None:
        self._plan = plan
        self._slots = slots
        self._room = room
        self._changed = {True: asyncio.Event(), False: asyncio.Event()}
        loop = asyncio.get_running_loop()
        name = f"checks of {plan.upstream.name}"
        self._tasks = [loop.create_task(self._rounds(available), name=name) for available in (True, False)]

    def follow(self, plan: Plan) -> None:
        """Go by another plan from now on; a round that is under way ends by the new one."""
        self._plan = plan
        for event in self._changed.values():
            event.set()

    def stop(self) -> list[asyncio.Task[None]]:
        """End; the tasks that may be waited for."""
        for task in self._tasks:
            task.cancel()
        return self._tasks

    async def _rounds(self, available: bool) -> None:
        """Probe, again and again, the addresses that get requests, or the others."""
        # Not all upstreams at the same time: the first round comes at any time within the first interval.
        begun = time.monotonic() - random.random() * self._plan.interval(available)
        while True:
            await self._wait(available, begun)
            begun = time.monotonic()
            try:
                await self._round(available)
            except Exception:
                log.exception("upstream %s: the probes of its targets failed", self._plan.upstream.name)
                await asyncio.sleep(PAUSE_AFTER_ERROR)

    async def _wait(self, available: bool, begun: float) -> None:
        """Until the interval since the last round is over, by the plan of that time."""
        changed = self._changed[available]
        while True:
            changed.clear()
            interval = self._plan.interval(available)
            left = begun + interval - time.monotonic() if interval else None
            if left is not None and left <= 0:
                return
            try:
                await asyncio.wait_for(changed.wait(), left)
            except TimeoutError:
                return

    async def _round(self, available: bool) -> None:
        plan = self._plan
        is_available = self._slots.states.is_available
        waiting = iter([one for one in plan.addresses if is_available(one.slot) == available])

        async def some() -> None:
            for address in waiting:
                async with self._room:
                    await self._check(address)

        at_once = min(plan.upstream.healthchecks.active.concurrency or 1, len(plan.addresses), MOST_PROBES)
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(some())

    async def _check(self, address: Address) -> None:
        outcome = await probe(self._plan.recipe, address.ip, address.port, address.host)
        plan = self._plan
        if address not in plan.members:
            return  # it has been removed meanwhile
        log.debug("upstream %s: probe of %s: %s", plan.upstream.name, address.target, outcome.reason)
        if outcome.report is not None and self._slots.states.report(
            address.group, address.slot, outcome.report, plan.limits, monotonic_ms()
        ):
            self._tell(plan, address, outcome)

    def _tell(self, plan: Plan, address: Address, outcome: Outcome) -> None:
        self._slots.tell(
            plan.upstream.name,
            address.target,
            address.ip,
            address.port,
            healthy=self._slots.states.is_available(address.slot),
            why=f"active check: {outcome.reason}",
        )


@lru_cache(2)
def tls_context(verified: bool) -> ssl.SSLContext:
    """TLS for probes, with the authorities of this machine."""
    context = ssl.create_default_context()
    if not verified:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
