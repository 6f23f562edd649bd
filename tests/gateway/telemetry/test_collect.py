"""The metrics page: Kong's names and labels, from shared memory and the configuration."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway import KONG_VERSION
from gateway.snapshot import Resolution, ResolutionState
from gateway.store import load_declarative_document
from gateway.telemetry.collect import OVERFLOW, Scrape, metrics_page
from gateway.telemetry.metric_slots import MetricSlots
from native.shm import SharedState, WorkerState
from tests.support.counted_routes import Workers, counted
from tests.support.prometheus_text import Family, parse

NODE = "6f1cdd20-4b2e-4ab8-a0b4-1f9a4a7f2a01"
CONFIGURATION = {
    "_format_version": "3.0",
    "services": [
        {
            "name": "näme",
            "host": "a.test",
            "routes": [{"name": "named", "paths": ["/a"]}, {"id": NODE, "paths": ["/b"]}],
        },
        {"host": "nameless.test", "routes": [{"name": "of-nameless", "paths": ["/c"]}]},
    ],
    "routes": [{"name": "without-service", "paths": ["/d"]}],
}


class Page:
    """A page with its makers."""

    def __init__(self, tmp_path: Path) -> None:
        self.shared = SharedState.create(4)
        self.workers = Workers()
        self.configuration = load_declarative_document(CONFIGURATION)
        self.slots = MetricSlots(tmp_path / "slots.json", 10, self.workers)
        self.ids = {
            getattr(route, "name", None) or route.id: route.id
            for route in self.configuration.of("routes").values()
        }
        self.assigned = self.slots.assign(self.configuration.of("routes"))

    def families(self) -> dict[str, Family]:
        resolutions = {"a.test": Resolution(ResolutionState.NOT_FOUND, ())}
        return parse(metrics_page(Scrape(self.shared, self.slots, self.configuration, resolutions, NODE)))

    def count(self, route: str, requests: int) -> None:
        self.workers.by_slot[self.assigned[self.ids[route]]] = counted(requests)


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path)


def test_requests_by_service_route_code_and_source(page: Page) -> None:
    page.count("named", 3)
    slot = page.assigned[page.ids[NODE]]
    page.workers.by_slot[slot] = {**counted(7), "codes": {(200, 0): 4, (502, 1): 2, (0, 0): 1}}
    family = page.families()["kong_http_requests_total"]
    assert family.kind == "counter"
    labels = {"workspace": "default", "consumer": ""}
    name = "kong_http_requests_total"
    service = "näme"
    assert family.value(name, service=service, route="named", code="200", source="service", **labels) == 3
    assert family.value(name, service=service, route=NODE, code="502", source="kong") == 2
    assert family.value(name, route=NODE, code="other") == 1
    assert len(family.samples) == 4


def test_bandwidth_and_latencies(page: Page) -> None:
    page.count("of-nameless", 2)
    families = page.families()
    labels = {"service": "nameless.test", "route": "of-nameless", "workspace": "default"}
    bandwidth = families["kong_bandwidth_bytes"]
    assert bandwidth.value("kong_bandwidth_bytes", direction="ingress", **labels) == 20
    assert bandwidth.value("kong_bandwidth_bytes", direction="egress", **labels) == 40
    for name, total, bounds in (
        ("kong_kong_latency_ms", 2, 18),
        ("kong_upstream_latency_ms", 4, 14),
        ("kong_request_latency_ms", 6, 14),
    ):
        family = families[name]
        assert family.kind == "histogram"
        assert family.value(name + "_sum", **labels) == total
        assert family.value(name + "_count", **labels) == 2
        assert sum(sample == name + "_bucket" for sample, _ in family.samples) == bounds
    assert families["kong_kong_latency_ms"].value("kong_kong_latency_ms_bucket", le="750", **labels) == 2


def test_routes_without_service_or_requests_are_left_out(page: Page) -> None:
    page.count("without-service", 5)
    families = page.families()
    assert "kong_http_requests_total" not in families
    assert "kong_kong_latency_ms" not in families


def test_routes_without_a_slot_are_shown_together(page: Page) -> None:
    page.workers.by_slot[0] = counted(9)
    family = page.families()["kong_http_requests_total"]
    assert family.value("kong_http_requests_total", route=OVERFLOW) == 9


def test_node_and_workers(page: Page) -> None:
    page.shared.set_worker(
        0,
        pid=os.getpid(),
        state=WorkerState.WORKER_SERVING,
        requests_total=12,
        connections_active=3,
        upstream_retries=2,
    )
    page.shared.set_worker(1, requests_total=30)  # of a worker that is gone
    page.shared.publish_configuration(4, "a" * 32)
    families = page.families()
    assert families["kong_nginx_requests_total"].value("kong_nginx_requests_total", node_id=NODE) == 42
    connections = families["kong_nginx_connections_total"]
    name = "kong_nginx_connections_total"
    assert connections.value(name, node_id=NODE, subsystem="http", state="active") == 3
    states = {dict(labels)["state"] for _, labels in connections.samples}
    assert states == {"accepted", "active", "handled", "reading", "waiting", "writing"}
    assert families["kong_node_info"].value("kong_node_info", version=KONG_VERSION) == 1
    assert families["kong_datastore_reachable"].value("kong_datastore_reachable") == 1
    assert families["sluicegate_workers"].value("sluicegate_workers", state="serving") == 1
    assert families["sluicegate_upstream_retries_total"].value("sluicegate_upstream_retries_total") == 2
    assert families["sluicegate_configuration_number"].value("sluicegate_configuration_number") == 4
    assert families["sluicegate_entities"].value("sluicegate_entities", type="routes") == 4
    assert families["sluicegate_dns_names"].value("sluicegate_dns_names", state="not_found") == 1
    memory = families["kong_memory_workers_lua_vms_bytes"]
    assert memory.value("kong_memory_workers_lua_vms_bytes", pid=str(os.getpid())) > 1 << 20
