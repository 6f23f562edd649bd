"""Where requests to an upstream's targets go, and which of their addresses are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from gateway.entities.targets import Target
from gateway.entities.upstreams import Upstream
from gateway.snapshot.peers import TargetAddress, target_addresses, target_resolution
from gateway.snapshot.resolution import Resolution
from gateway.snapshot.slots import upstream_group
from gateway.snapshot.target_health import is_checked
from native.target_state import TargetFacts, TargetHealth

HEALTHCHECKS_OFF = "HEALTHCHECKS_OFF"
DNS_ERROR = "DNS_ERROR"
AVAILABLE = (TargetHealth.TARGET_HEALTHY, TargetHealth.TARGET_MOSTLY_HEALTHY)


class KnownHealth(Protocol):
    """What the node knows of addresses: gateway.health.HealthSlots."""

    def health(self, group_key: str, name: str, ip: str, port: int) -> TargetHealth:
        """The health of an address of a target; one that nothing is known of is healthy."""
        ...

    def facts(self, group_key: str, name: str, ip: str, port: int) -> TargetFacts | None:
        """Everything that is counted of an address, if anything is."""
        ...


class NothingKnown:
    """For whoever looks at upstreams without running workers."""

    def health(self, group_key: str, name: str, ip: str, port: int) -> TargetHealth:
        """Healthy."""
        return TargetHealth.TARGET_HEALTHY

    def facts(self, group_key: str, name: str, ip: str, port: int) -> TargetFacts | None:
        """None."""
        return None


class UpstreamHealth:
    """What is known of an upstream now."""

    def __init__(self, upstream: Upstream, known: KnownHealth, resolutions: Mapping[str, Resolution]) -> None:
        self.upstream = upstream
        self.is_checked = is_checked(upstream)
        self._known = known
        self._resolutions = resolutions
        self._group = upstream_group(upstream.id)

    def resolution(self, target: Target) -> Resolution:
        """What is known of a target's host."""
        return target_resolution(target, self._resolutions)

    def addresses(self, target: Target) -> list[TargetAddress]:
        """The addresses of a target."""
        return target_addresses(target, self.resolution(target))

    def is_healthy(self, target: Target, address: TargetAddress) -> bool:
        """Whether an address may get requests; what has no weight is not checked."""
        if not self.is_checked or not target.weight:
            return True
        return self._known.health(self._group, target.target, address.ip, address.port) in AVAILABLE

    def facts(self, target: Target, address: TargetAddress) -> TargetFacts | None:
        """Everything that is counted of an address, if anything is."""
        return self._known.facts(self._group, target.target, address.ip, address.port)

    def word(self, healthy: bool) -> str:
        """Kong's word for the upstream as a whole."""
        if not self.is_checked:
            return HEALTHCHECKS_OFF
        return "HEALTHY" if healthy else "UNHEALTHY"

    def address_word(self, target: Target, address: TargetAddress) -> str:
        """Kong's word for an address."""
        return self.word(self.is_healthy(target, address)) if target.weight else HEALTHCHECKS_OFF

    def target_word(self, target: Target) -> str:
        """Kong's word for a target: one healthy address is enough."""
        if not target.weight:
            return HEALTHCHECKS_OFF
        addresses = self.addresses(target)
        return self.word(any(self.is_healthy(target, one) for one in addresses)) if addresses else DNS_ERROR

    def weights(self, addresses: Iterable[tuple[Target, TargetAddress]]) -> dict[str, int]:
        """How much weight there is, and how much of it gets requests."""
        every = list(addresses)
        total = sum(address.weight for _, address in every)
        available = sum(address.weight for target, address in every if self.is_healthy(target, address))
        return {"total": total, "available": available, "unavailable": total - available}
