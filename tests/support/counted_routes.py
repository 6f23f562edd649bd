"""Route metrics as workers would have counted them."""

from __future__ import annotations

from native.shm import RouteMetrics


def counted(requests: int) -> RouteMetrics:
    """The metrics of a route after so many requests."""
    return RouteMetrics(
        ingress_bytes=10 * requests,
        egress_bytes=20 * requests,
        consumer_ingress_bytes=0,
        consumer_egress_bytes=0,
        kong_latency=[requests] + [0] * 17,
        kong_latency_sum_ms=requests,
        upstream_latency=[requests] + [0] * 13,
        upstream_latency_sum_ms=2 * requests,
        request_latency=[requests] + [0] * 13,
        request_latency_sum_ms=3 * requests,
        codes={(200, 0): requests},
    )


class Workers:
    """What the workers have counted, by slot."""

    def __init__(self) -> None:
        self.by_slot: dict[int, RouteMetrics] = {}

    def __call__(self, slot: int) -> RouteMetrics | None:
        return self.by_slot.get(slot)
