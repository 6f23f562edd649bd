"""What the resolver is told by the settings `dns_*`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.settings import Settings


@dataclass(frozen=True)
class ResolverOptions:
    """Times are seconds. Empty `nameservers`: those of /etc/resolv.conf."""

    nameservers: tuple[tuple[str, int], ...] = ()
    hosts_file: Path | None = Path("/etc/hosts")
    order: tuple[str, ...] = ("LAST", "SRV", "A", "CNAME")
    valid_ttl: float | None = None  # overrides the TTL of every answer
    stale_ttl: float = 3600.0  # how long old addresses serve while a refresh fails
    not_found_ttl: float = 30.0
    error_ttl: float = 1.0
    timeout: float = 2.0  # one question to one server
    lifetime: float = 5.0  # one name and record type, all servers and search domains together
    concurrency: int = 32

    @classmethod
    def from_settings(cls, settings: Settings) -> ResolverOptions:
        """The options that `settings` ask for."""
        return cls(
            nameservers=settings.dns_resolver,
            hosts_file=settings.dns_hostsfile,
            order=settings.dns_order,
            valid_ttl=settings.dns_valid_ttl,
            stale_ttl=settings.dns_stale_ttl,
            not_found_ttl=settings.dns_not_found_ttl,
            error_ttl=settings.dns_error_ttl,
        )

    def address_families(self) -> tuple[int, ...]:
        """The IP versions that `order` allows, in its order."""
        versions = {"A": 4, "AAAA": 6}
        return tuple(versions[kind] for kind in self.order if kind in versions)
