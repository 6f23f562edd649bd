"""What tests of the plugin jwt do with a gateway."""

from __future__ import annotations

from tests.support.gateway import Gateway

HITS, MISSES = "sluicegate_jwt_cache_hits_total", "sluicegate_jwt_cache_misses_total"


def bearer(token: str) -> str:
    """The header field with a token."""
    return f"Authorization: Bearer {token}"


def counted(gateway: Gateway, name: str) -> int:
    """The value of a counter on the page of metrics."""
    status, _, page = gateway.call(gateway.status_port, "GET", "/metrics")
    assert status == 200
    (line,) = [line for line in page.decode().splitlines() if line.startswith(f"{name} ")]
    return int(float(line.split()[1]))
