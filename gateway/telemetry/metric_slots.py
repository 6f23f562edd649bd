"""Which route counts into which metric slot of the workers' blocks, remembered across restarts of the control
process.

Slot 0 is shared by the routes that find no slot of their own. The slot of a deleted route keeps its numbers,
so that they go on when the route returns; such a slot is given to another route only when no untouched one is
left, and then what it had counted until that moment (its baseline) is subtracted from what is shown.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import orjson

from gateway.snapshot.files import write_atomically
from native.shm import RouteMetrics

SlotReader = Callable[[int], RouteMetrics | None]


class MetricSlots:
    """Slots 1..limit-1 by route id. `read` gives what all workers have counted in a slot.

    One thread at a time may assign; reading needs no lock.
    """

    def __init__(self, path: Path, limit: int, read: SlotReader) -> None:
        self._path = path
        self._limit = limit
        self._read = read
        self._slots: dict[str, int] = {}
        self._gone: dict[str, None] = {}  # deleted routes that still own a slot, oldest first
        self._baselines: dict[int, RouteMetrics] = {}

    def restore(self) -> None:
        """Take up what an earlier control process of this master wrote; a damaged file is no file."""
        try:
            saved = orjson.loads(self._path.read_bytes())
            slots = {str(route): int(slot) for route, slot in saved["slots"].items()}
            gone = {str(route): None for route in saved["gone"] if route in slots}
            baselines = {int(slot): from_json(one) for slot, one in saved["baselines"].items()}
        except (OSError, ValueError, TypeError, KeyError, AttributeError):
            return
        if any(not 0 < slot < self._limit for slot in slots.values()):
            return
        self._slots, self._gone, self._baselines = slots, gone, baselines

    def forget(self) -> None:
        """A new master has fresh counters: the file of an earlier one means nothing."""
        self._path.unlink(missing_ok=True)

    def assign(self, routes: Iterable[str]) -> Mapping[str, int]:
        """The slot of each of these route ids, which are all the routes of the new configuration."""
        wanted = list(routes)
        present = set(wanted)
        changed = False
        for route in self._slots:
            if route in present and route in self._gone:
                del self._gone[route]
                changed = True
            elif route not in present and route not in self._gone:
                self._gone[route] = None
                changed = True
        for route in wanted:
            if route not in self._slots:
                changed |= self._give(route)
        if changed:
            self._save()
        return {route: self._slots.get(route, 0) for route in wanted}

    def metrics(self, route: str) -> RouteMetrics | None:
        """What this route has counted; None when nothing, or when it shares slot 0."""
        slot = self._slots.get(route)
        if slot is None:
            return None
        counted = self._read(slot)
        baseline = self._baselines.get(slot)
        return subtract(counted, baseline) if counted is not None and baseline is not None else counted

    def shared_metrics(self) -> RouteMetrics | None:
        """What the routes without a slot of their own have counted together."""
        return self._read(0)

    def _give(self, route: str) -> bool:
        if len(self._slots) + 1 < self._limit:
            # Slots are never handed back, so the number of owners is the highest slot in use.
            self._slots[route] = len(self._slots) + 1
            return True
        oldest = next(iter(self._gone), None)
        if oldest is None:
            return False
        del self._gone[oldest]
        slot = self._slots.pop(oldest)
        counted = self._read(slot)
        if counted is not None:
            self._baselines[slot] = counted
        self._slots[route] = slot
        return True

    def _save(self) -> None:
        baselines = {str(slot): to_json(metrics) for slot, metrics in self._baselines.items()}
        document = {"slots": self._slots, "gone": list(self._gone), "baselines": baselines}
        write_atomically(self._path, orjson.dumps(document))


def subtract(counted: RouteMetrics, baseline: RouteMetrics) -> RouteMetrics:
    """What was counted after the baseline was taken."""

    def differences(after: list[int], before: list[int]) -> list[int]:
        return [one - other for one, other in zip(after, before, strict=True)]

    before_codes = baseline["codes"]
    codes = {key: count - before_codes.get(key, 0) for key, count in counted["codes"].items()}
    return RouteMetrics(
        ingress_bytes=counted["ingress_bytes"] - baseline["ingress_bytes"],
        egress_bytes=counted["egress_bytes"] - baseline["egress_bytes"],
        consumer_ingress_bytes=counted["consumer_ingress_bytes"] - baseline["consumer_ingress_bytes"],
        consumer_egress_bytes=counted["consumer_egress_bytes"] - baseline["consumer_egress_bytes"],
        kong_latency=differences(counted["kong_latency"], baseline["kong_latency"]),
        kong_latency_sum_ms=counted["kong_latency_sum_ms"] - baseline["kong_latency_sum_ms"],
        upstream_latency=differences(counted["upstream_latency"], baseline["upstream_latency"]),
        upstream_latency_sum_ms=counted["upstream_latency_sum_ms"] - baseline["upstream_latency_sum_ms"],
        request_latency=differences(counted["request_latency"], baseline["request_latency"]),
        request_latency_sum_ms=counted["request_latency_sum_ms"] - baseline["request_latency_sum_ms"],
        codes={key: count for key, count in codes.items() if count},
    )


def to_json(metrics: RouteMetrics) -> dict[str, Any]:
    """JSON has no tuple keys: codes become [status, source, count]."""
    return {**metrics, "codes": [[code, source, count] for (code, source), count in metrics["codes"].items()]}


def from_json(saved: dict[str, Any]) -> RouteMetrics:
    """The reverse of to_json."""
    codes = {(code, source): count for code, source, count in saved["codes"]}
    return RouteMetrics(**{**saved, "codes": codes})  # type: ignore[typeddict-item]
