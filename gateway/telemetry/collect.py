"""From shared memory and the current configuration to the metrics page."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gateway import KONG_VERSION, __version__
from gateway.entities.routes import Route
from gateway.entities.services import Service
from gateway.snapshot import Resolution
from gateway.store import Configuration
from native.shm import RouteMetrics, SharedState, WorkerState

from . import metrics as m
from .exposition import Exposition
from .metric_slots import MetricSlots

WORKSPACE = "default"  # the only one in Kong OSS
CONSUMER = ""  # per-consumer counting comes with the prometheus plugin
SUBSYSTEM = "http"
SOURCES = ("service", "kong")
# Routes that found no metric slot of their own are counted together under this route label.
OVERFLOW = "(routes without a slot of their own)"
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


def metrics_page(scrape: Scrape) -> bytes:
    """The whole page. Takes time with many routes (about 60 lines for each that has seen a request): use a
    thread.
    """
    page = Exposition()
    add_node(page, scrape)
    add_workers(page, scrape)
    add_routes(page, scrape)
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


def add_routes(page: Exposition, scrape: Scrape) -> None:
    """Counters and histograms of every route that has counted something."""
    services = scrape.configuration.of("services")
    for route_id, route in scrape.configuration.of("routes").items():
        assert isinstance(route, Route)
        if route.service is None:
            continue  # Kong counts only what belongs to a service
        service = services[route.service.id]
        assert isinstance(service, Service)
        counted = scrape.slots.metrics(route_id)
        if counted is not None:
            add_route(page, counted, service.name or service.host, route.name or route_id)
    rest = scrape.slots.shared_metrics()
    if rest is not None:
        add_route(page, rest, "", OVERFLOW)


def add_route(page: Exposition, counted: RouteMetrics, service: str, route: str) -> None:
    """The samples of one route. Kong makes a series when it first counts: zero counters are left out."""
    for (code, source), count in sorted(counted["codes"].items()):
        status = str(code) if code else "other"  # 0: the code table of the route was full
        page.add(m.HTTP_REQUESTS, count, service, route, status, SOURCES[source], WORKSPACE, CONSUMER)
    for direction, count in (("egress", counted["egress_bytes"]), ("ingress", counted["ingress_bytes"])):
        if count:
            page.add(m.BANDWIDTH, count, service, route, direction, WORKSPACE, CONSUMER)
    histograms = (
        (m.KONG_LATENCY, counted["kong_latency"], counted["kong_latency_sum_ms"]),
        (m.UPSTREAM_LATENCY, counted["upstream_latency"], counted["upstream_latency_sum_ms"]),
        (m.REQUEST_LATENCY, counted["request_latency"], counted["request_latency_sum_ms"]),
    )
    for metric, counts, total in histograms:
        if any(counts):
            page.add_histogram(metric, counts, total, service, route, WORKSPACE)


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
