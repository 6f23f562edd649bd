"""Which upstreams have health checks, and how much of one must be healthy.

The health itself is in shared memory, see gateway/health.
"""

from __future__ import annotations

from ipaddress import ip_address

from gateway.entities.upstreams import Upstream

Address = tuple[str, int]
"""IP address, in its usual form, and port"""


def address_of(ip: str, port: int) -> Address:
    """An address in the form in which it is compared."""
    return str(ip_address(ip)), port


def is_checked(upstream: Upstream) -> bool:
    """Whether an upstream has a health checker, as Kong sees it: only then its targets are healthy or not."""
    active, passive = upstream.healthchecks.active, upstream.healthchecks.passive
    return any(
        (
            active.healthy.interval,
            active.unhealthy.interval,
            passive.unhealthy.tcp_failures,
            passive.unhealthy.timeouts,
            passive.unhealthy.http_failures,
        )
    )


def serves(upstream: Upstream, available: float, total: float) -> bool:
    """Whether an upstream takes requests with so much of its weight available (`healthchecks.threshold`)."""
    return total > 0 and available * 100 / total > (upstream.healthchecks.threshold or 0)
