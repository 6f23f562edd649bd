"""How the workers choose among the targets of an upstream, in the form of the peers snapshot."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple

from gateway.entities.upstreams import STICKY_SESSIONS, Upstream
from gateway.snapshot.target_health import is_checked
from native.snapshot import BalancingAlgorithm, HashInput

ALGORITHMS = {
    "round-robin": BalancingAlgorithm.BALANCE_ROUND_ROBIN,
    "least-connections": BalancingAlgorithm.BALANCE_LEAST_CONNECTIONS,
    "consistent-hashing": BalancingAlgorithm.BALANCE_CONSISTENT_HASHING,
    "latency": BalancingAlgorithm.BALANCE_LATENCY,
    STICKY_SESSIONS: BalancingAlgorithm.BALANCE_STICKY,
}
INPUTS = {
    "none": HashInput.HASH_NONE,
    "consumer": HashInput.HASH_CONSUMER,
    "ip": HashInput.HASH_IP,
    "header": HashInput.HASH_HEADER,
    "cookie": HashInput.HASH_COOKIE,
    "path": HashInput.HASH_PATH,
    "query_arg": HashInput.HASH_QUERY_ARGUMENT,
    "uri_capture": HashInput.HASH_URI_CAPTURE,
}
DEFAULT_SLOTS = 10_000


class HealthRules(NamedTuple):
    """What passive checks count, and how much of the weight must be available; see native/snapshot.pxd."""

    healthy_statuses: Collection[int]
    unhealthy_statuses: Collection[int]
    successes: int
    tcp_failures: int
    timeouts: int
    http_failures: int
    threshold: float


def balancing_of(upstream: Upstream) -> dict[str, Any]:
    """What PreparedPeerSet takes besides the peers."""
    algorithm = ALGORITHMS[upstream.algorithm or "round-robin"]
    found: dict[str, Any] = {"rules": _health_rules(upstream)}
    if algorithm == BalancingAlgorithm.BALANCE_CONSISTENT_HASHING:
        hash_on, hash_fallback = upstream.hash_on or "none", upstream.hash_fallback or "none"
        if (hash_on, hash_fallback) == ("none", "none"):
            return found  # nothing to hash: turns
        found |= {
            "hash_on": INPUTS[hash_on],
            "hash_fallback": INPUTS[hash_fallback],
            "hash_name": _name_of(upstream, "hash_on", hash_on),
            "hash_fallback_name": _name_of(upstream, "hash_fallback", hash_fallback),
            "cookie_path": upstream.hash_on_cookie_path or "/",
            "hash_slots": upstream.slots or DEFAULT_SLOTS,
        }
    elif algorithm == BalancingAlgorithm.BALANCE_STICKY:
        found |= {
            "hash_name": upstream.sticky_sessions_cookie or "",
            "cookie_path": upstream.sticky_sessions_cookie_path or "/",
        }
    else:
        found["slow_start_ms"] = round((upstream.slow_start or 0) * 1000)
    return {**found, "algorithm": algorithm}


def _name_of(upstream: Upstream, prefix: str, kind: str) -> str:
    """Name of the header, cookie, argument or capture that is hashed; there is one cookie for both."""
    if kind == "cookie":
        return upstream.hash_on_cookie or ""
    return getattr(upstream, f"{prefix}_{kind}", None) or ""


def _health_rules(upstream: Upstream) -> HealthRules | None:
    if not is_checked(upstream):
        return None
    healthy, unhealthy = upstream.healthchecks.passive.healthy, upstream.healthchecks.passive.unhealthy
    return HealthRules(
        healthy.http_statuses or (),
        unhealthy.http_statuses or (),
        healthy.successes or 0,
        unhealthy.tcp_failures or 0,
        unhealthy.timeouts or 0,
        unhealthy.http_failures or 0,
        upstream.healthchecks.threshold or 0,
    )
