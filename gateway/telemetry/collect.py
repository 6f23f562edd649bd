"""From shared memory and the current configuration to the metrics page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from gateway import KONG_VERSION, __version__
from gateway.snapshot import Resolution
from gateway.snapshot.upstream_health import KnownHealth, NothingKnown
from gateway.store import Configuration
from native.limiter import LimitTable
from native.shm import SharedState, WorkerState

from . import metrics as m
from .circuits import add_circuits
from .exposition import Exposition
from .metric_slots import MetricSlots
from .requests import add_requests
from .shown import ShownMetrics
from .upstreams import SUBSYSTEM, add_upstreams

CONNECTION_STATES = ("accepted", "active", "handled", "reading", "waiting", "writing")
WORKER_STATES = {
    WorkerState.WORKER_STARTING: "starting",
    WorkerState.WORKER_SERVING: "serving",
    WorkerState.WORKER_DRAINING: "draining",
}


@dataclass(frozen=True)
class Scrape:
    """All that one metrics page is made of."""

    shared: SharedState
    slots: MetricSlots
    configuration: Configuration
    resolutions: Mapping[str, Resolution]
    node_id: str
    datastore_reachable: bool = True  # with a declarative file the store is memory
    health: KnownHealth = field(default_factory=NothingKnown)
    """of the addresses of targets"""
    stored_responses: Mapping[str, int] = field(default_factory=dict)
    """how the cache stands (CacheView.statistics)"""


def metrics_page(scrape: Scrape) -> bytes:
    """The whole page. Takes time with many routes (about 60 lines for each that has seen a request, and as
    many again under Kong 2's names): use a thread.
    """
    page = Exposition()
    shown = ShownMetrics(scrape.configuration)
    add_node(page, scrape)
    add_workers(page, scrape)
    add_requests(page, scrape, shown)
    add_circuits(page, scrape)
    if shown.target_health:
        add_upstreams(page, scrape)
    return page.text()


def add_node(page: Exposition, scrape: Scrape) -> None:
    """What Kong shows of a node, and our snapshot numbers."""
    totals = scrape.shared.totals()
    for state in CONNECTION_STATES:
        page.add(m.CONNECTIONS, totals[f"connections_{state}"], scrape.node_id, SUBSYSTEM, state)
    page.add(m.REQUESTS, totals["requests_total"], scrape.node_id, SUBSYSTEM)
    page.add(m.NODE_INFO, 1, scrape.node_id, KONG_VERSION)
    page.add(m.DATASTORE_REACHABLE, int(scrape.datastore_reachable))
    page.add(m.METRIC_ERRORS, 0)
    page.add(m.INFO, 1, __version__)
    page.add(m.CONFIGURATION_NUMBER, scrape.shared.configuration_number)
    page.add(m.PEERS_NUMBER, scrape.shared.peers_number)
    page.add(m.IDENTITIES_NUMBER, scrape.shared.identities_number)
    page.add(m.WORKER_RESTARTS, scrape.shared.worker_restarts)
    page.add(m.CONTROL_RESTARTS, scrape.shared.control_restarts)
    for word, metric in (*m.WORKER_COUNTERS.items(), *m.WORKER_GAUGES.items()):
        page.add(metric, totals[word])
    limits = LimitTable(scrape.shared).statistics()
    page.add(m.LIMIT_EVICTIONS, limits["evictions"])
    page.add(m.LIMIT_PLACES, limits["places"])
    page.add(m.LIMIT_PLACES_USED, limits["used_places"])
    for metric, name in (
        (m.CACHE_ENTRIES, "entries"),
        (m.CACHE_BYTES, "bytes"),
        (m.CACHE_SIZE, "size"),
        (m.CACHE_EVICTIONS, "evictions"),
        (m.CACHE_EMPTIED, "emptied"),
    ):
        page.add(metric, scrape.stored_responses.get(name, 0))
    for type_name, entities in sorted(scrape.configuration.entities.items()):
        page.add(m.CONFIGURATION_SIZE, len(entities), type_name)
    states = Counter(resolution.state.name.lower() for resolution in scrape.resolutions.values())
    for state, count in sorted(states.items()):
        page.add(m.NAMES, count, state)


def add_workers(page: Exposition, scrape: Scrape) -> None:
    """Workers by state, and the memory of each."""
    living = [worker for worker in scrape.shared.workers() if worker["pid"]]
    states = Counter(worker["state"] for worker in living)
    for state, name in WORKER_STATES.items():
        page.add(m.WORKERS, states[state], name)
    for worker in living:
        memory = resident_memory(worker["pid"])
        if memory is not None:
            page.add(m.WORKER_MEMORY, memory, scrape.node_id, str(worker["pid"]), SUBSYSTEM)


def resident_memory(pid: int) -> int | None:
    """Resident bytes of a process; None when it is gone."""
    return status_kib(pid, "VmRSS")


def shared_resident_memory(pid: int) -> int | None:
    """Bytes of shared memory that a process has touched; None when it is gone."""
    return status_kib(pid, "RssShmem")


def status_kib(pid: int, field: str) -> int | None:
    """A memory field of /proc/<pid>/status, in bytes."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    for line in status.splitlines():
        name, _, value = line.partition(":")
        if name == field:
            return int(value.split()[0]) * 1024
    return None
