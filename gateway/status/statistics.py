"""Numbers of a node in Kong's shapes, from shared memory."""

from __future__ import annotations

import time
from typing import Any

from gateway.telemetry.collect import resident_memory, shared_resident_memory
from native.shm import SharedState, WorkerState

UNITS = {"k": (1 << 10, "KiB"), "m": (1 << 20, "MiB"), "g": (1 << 30, "GiB")}
STATE_NAMES = {
    WorkerState.WORKER_FREE: "free",
    WorkerState.WORKER_STARTING: "starting",
    WorkerState.WORKER_SERVING: "serving",
    WorkerState.WORKER_DRAINING: "draining",
}
WORKER_FIELDS = (
    "pid",
    "generation",
    "configuration_number",
    "peers_number",
    "identities_number",
    "connections_active",
    "connections_accepted",
    "requests_total",
    "upstream_active",
    "upstream_idle",
    "snapshots_mapped",
    "accept_pauses",
    "timeouts",
    "log_lines_dropped",
)


def bytes_text(count: int, unit: str, scale: int) -> str | int:
    """Bytes as Kong writes them: `("m", 2)` gives "1.50 MiB"; unit b or nothing gives the number.

    ValueError with Kong's message for an unknown unit or a negative scale.
    """
    if unit.lower() in ("", "b"):
        return count
    if scale < 0:
        raise ValueError("scale must be equal or greater than 0")
    if unit.lower() not in UNITS:
        raise ValueError(f"invalid unit '{unit}' (expected 'k/K', 'm/M', or 'g/G')")
    divisor, name = UNITS[unit.lower()]
    return f"{count / divisor:.{min(scale, 20)}f} {name}"


def server_statistics(shared: SharedState) -> dict[str, int]:
    """Connections and requests of all workers."""
    totals = shared.totals()
    states = ("accepted", "active", "handled", "reading", "waiting", "writing")
    found = {f"connections_{state}": totals[f"connections_{state}"] for state in states}
    return {**found, "total_requests": totals["requests_total"]}


def memory_statistics(shared: SharedState, unit: str, scale: int) -> dict[str, Any]:
    """Memory in Kong's shape: the gateway has one shared mapping, and processes instead of Lua VMs.

    Raises ValueError as bytes_text().
    """
    pids = [worker["pid"] for worker in shared.workers() if worker["pid"]]
    touched = max((shared_resident_memory(pid) or 0 for pid in pids), default=0)
    return {
        "lua_shared_dicts": {
            "sluicegate": {
                "capacity": bytes_text(shared.size, unit, scale),
                "allocated_slabs": bytes_text(touched, unit, scale),
            }
        },
        "workers_lua_vms": [
            {"pid": pid, "http_allocated_gc": bytes_text(resident_memory(pid) or 0, unit, scale)}
            for pid in pids
        ],
    }


def worker_statistics(shared: SharedState) -> list[dict[str, Any]]:
    """The workers that run now, each with what tells whether it is well."""
    now = time.monotonic_ns() // 1_000_000
    return [
        {
            "index": worker["index"],
            "state": STATE_NAMES[WorkerState(worker["state"])],
            **{name: worker[name] for name in WORKER_FIELDS},
            "heartbeat_age_ms": max(now - worker["heartbeat"], 0) if worker["heartbeat"] else None,
        }
        for worker in shared.workers()
        if worker["pid"]
    ]


def unit_and_scale(unit: str | None, scale: str | None) -> tuple[str, int]:
    """The parameters of GET /status, checked. ValueError with Kong's message."""
    try:
        digits = int(float(scale)) if scale else 2
    except (ValueError, OverflowError):
        digits = 2  # Kong: tonumber() of nonsense is nil, which is the default
    bytes_text(0, unit if unit is not None else "m", digits)
    return unit if unit is not None else "m", digits
