"""Where requests to an upstream's targets go, and which of their addresses are left out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from gateway.entities.targets import Target
from gateway.entities.upstreams import Upstream
from gateway.snapshot.peers import TargetAddress, target_addresses, target_resolution
from gateway.snapshot.resolution import Resolution
from gateway.snapshot.target_health import Marks, address_of, is_checked


class UpstreamHealth:
    """What is known of an upstream now."""

    def __init__(self, upstream: Upstream, marks: Marks, resolutions: Mapping[str, Resolution]) -> None:
        self.upstream = upstream
        self.is_checked = is_checked(upstream)
        self._marks = marks
        self._resolutions = resolutions

    def resolution(self, target: Target) -> Resolution:
        """What is known of a target's host."""
        return target_resolution(target, self._resolutions)

    def addresses(self, target: Target) -> list[TargetAddress]:
        """The addresses of a target."""
        return target_addresses(target, self.resolution(target))

    def is_healthy(self, target: Target, address: TargetAddress) -> bool:
        """Whether requests go to an address."""
        if not self.is_checked:
            return True
        return address_of(address.ip, address.port) not in self._marks.get(target.id, ())

    def word(self, healthy: bool) -> str:
        """Kong's word."""
        if not self.is_checked:
            return "HEALTHCHECKS_OFF"
        return "HEALTHY" if healthy else "UNHEALTHY"

    def weights(self, addresses: Iterable[tuple[Target, TargetAddress]]) -> dict[str, int]:
        """How much weight there is, and how much of it gets requests."""
        every = list(addresses)
        total = sum(address.weight for _, address in every)
        available = sum(address.weight for target, address in every if self.is_healthy(target, address))
        return {"total": total, "available": available, "unavailable": total - available}
