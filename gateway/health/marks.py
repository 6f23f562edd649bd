"""Targets that somebody makes healthy or unhealthy by hand: here at once, on other nodes by an event."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any

from gateway.cluster import ClusterEvents
from gateway.entities.targets import Target
from gateway.entities.upstreams import Upstream
from gateway.snapshot import Resolution
from gateway.snapshot.peers import target_addresses, target_resolution
from gateway.snapshot.slots import upstream_group
from gateway.snapshot.target_health import Address, address_of
from gateway.store import Configuration
from gateway.store.errors import StoreUnavailable

from .slots import HealthSlots

log = logging.getLogger(__name__)

CHANNEL = "target-health"


class HealthMarks:
    """Sets marks. Belongs to the event loop."""

    def __init__(
        self,
        slots: HealthSlots,
        events: ClusterEvents,
        fresh: Callable[[], Awaitable[Configuration]],
        resolutions: Callable[[], Mapping[str, Resolution]],
    ) -> None:
        """`fresh` gives the newest configuration, `resolutions` what is known of the names in it."""
        self._slots = slots
        self._events = events
        self._fresh = fresh
        self._resolutions = resolutions
        events.subscribe(CHANNEL, self._apply)

    async def mark(
        self, upstream: Upstream, target: Target, addresses: Collection[Address] | None, *, healthy: bool
    ) -> None:
        """Make addresses of a target, or all of them (None), healthy or unhealthy. Nothing happens to those
        that it does not have, and to a target without weight, which is not checked.

        The next request on this node goes by it. That other nodes cannot be told is no error: their own
        checks go on.
        """
        self._mark(upstream, target, addresses, healthy=healthy)
        event = {
            "upstream": upstream.id,
            "target": target.id,
            "addresses": None if addresses is None else [list(address) for address in addresses],
            "healthy": healthy,
        }
        try:
            await self._events.publish(CHANNEL, event)
        except StoreUnavailable as error:
            log.error("health of %s in %s: %s", target.target, upstream.name, error)

    def _mark(
        self, upstream: Upstream, target: Target, addresses: Collection[Address] | None, *, healthy: bool
    ) -> None:
        if not target.weight:
            return
        for ip, port, _ in target_addresses(target, target_resolution(target, self._resolutions())):
            if addresses is not None and address_of(ip, port) not in addresses:
                continue
            group = upstream_group(upstream.id)
            if self._slots.mark(group, target.target, ip, port, healthy=healthy):
                self._slots.tell(upstream.name, target.target, ip, port, healthy=healthy, why="set by hand")

    async def _apply(self, event: Mapping[str, Any]) -> None:
        """What was marked on another node."""
        configuration = await self._fresh()
        upstream = configuration.get("upstreams", str(event.get("upstream")))
        target = configuration.get("targets", str(event.get("target")))
        if not isinstance(upstream, Upstream) or not isinstance(target, Target):
            return  # removed since
        try:
            given = event["addresses"]
            addresses = None if given is None else {address_of(str(ip), int(port)) for ip, port in given}
            healthy = bool(event["healthy"])
        except (KeyError, TypeError, ValueError):
            log.error("an event about the health of %s cannot be read", target.target)
            return
        self._mark(upstream, target, addresses, healthy=healthy)
