"""The metrics page: Kong's names and labels, from shared memory and the configuration."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gateway import KONG_VERSION
from gateway.health import HealthSlots
from gateway.snapshot import Resolution, ResolutionState
from gateway.snapshot.slots import upstream_group
from gateway.store import load_declarative_document
from gateway.telemetry.collect import Scrape, metrics_page
from gateway.telemetry.metric_slots import MetricSlots
from gateway.telemetry.requests import OVERFLOW
from native.consumer_counts import count_consumer
from native.hashing import xxh64_digest
from native.identities import consumer_hash
from native.shm import BY_CONSUMER, SharedState, WorkerState
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
        self.slots = MetricSlots(tmp_path / "slots.json", 10, self.workers)
        self.health = HealthSlots(self.shared)
        self.configure()

    def configure(self, **more: Any) -> None:
        """CONFIGURATION with further entities, or others of a type."""
        self.configuration = load_declarative_document({**CONFIGURATION, **more})
        self.ids = {
            getattr(route, "name", None) or route.id: route.id
            for route in self.configuration.of("routes").values()
        }
        self.assigned = self.slots.assign(self.configuration.of("routes"))

    def families(self) -> dict[str, Family]:
        resolutions = {"a.test": Resolution(ResolutionState.NOT_FOUND, ())}
        scrape = Scrape(self.shared, self.slots, self.configuration, resolutions, NODE, health=self.health)
        return parse(metrics_page(scrape))

    def count(self, route: str, requests: int, **more: Any) -> None:
        self.workers.by_slot[self.assigned[self.ids[route]]] = {**counted(requests), **more}  # type: ignore[typeddict-item]

    def count_consumer(self, name: str, route: str, status: int, requests: int = 1, worker: int = 0) -> None:
        """As a worker would; each request of 10 bytes, its response of 100."""
        consumer = self.configuration.find("consumers", name)
        assert consumer
        for _ in range(requests):
            assert count_consumer(
                self.shared,
                worker,
                consumer=consumer_hash(consumer.id),
                route=xxh64_digest(self.ids[route].encode()),
                status=status,
                ingress=10,
                egress=100,
            )


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


# --- what the prometheus plugin says --------------------------------------------------------------

LEGACY = {"kong_http_status", "kong_bandwidth", "kong_latency"}
PER_REQUEST = {
    *("kong_http_requests_total", "kong_bandwidth_bytes"),
    *("kong_kong_latency_ms", "kong_upstream_latency_ms", "kong_request_latency_ms"),
}
LATENCIES = {name for name in PER_REQUEST if name.endswith("_ms")}


def prometheus(**config: Any) -> dict[str, Any]:
    return {"name": "prometheus", "config": config}


@pytest.mark.parametrize(
    ("plugins", "expected"),
    [
        ([], PER_REQUEST),
        ([prometheus()], PER_REQUEST | LEGACY),
        ([prometheus(legacy_metrics=True)], PER_REQUEST | LEGACY),
        ([prometheus(legacy_metrics=False)], PER_REQUEST),
        ([prometheus(per_consumer=True, upstream_health_metrics=True)], PER_REQUEST | LEGACY),
        ([prometheus(status_code_metrics=True)], {"kong_http_requests_total"}),
        ([prometheus(latency_metrics=True)], LATENCIES),
        (
            [prometheus(bandwidth_metrics=True, legacy_metrics=True)],
            {"kong_bandwidth_bytes", "kong_bandwidth"},
        ),
        ([{**prometheus(), "enabled": False}], PER_REQUEST),
    ],
)
def test_metrics_of_requests_are_shown_unless_a_choice_is_made(
    page: Page, plugins: list[dict[str, Any]], expected: set[str]
) -> None:
    page.configure(plugins=plugins)
    page.count("named", 3)
    assert set(page.families()) & (PER_REQUEST | LEGACY) == expected


def test_the_most_specific_plugin_decides_for_a_route(page: Page) -> None:
    page.configure(
        plugins=[
            prometheus(legacy_metrics=False),
            {**prometheus(status_code_metrics=True), "service": "näme"},
            {**prometheus(latency_metrics=True), "route": "named"},
        ]
    )
    for route in ("named", NODE, "of-nameless"):
        page.count(route, 1)
    families = page.families()

    def routes(name: str) -> set[str]:
        return {dict(labels)["route"] for _, labels in families[name].samples}

    assert routes("kong_http_requests_total") == {NODE, "of-nameless"}
    assert routes("kong_kong_latency_ms") == {"named", "of-nameless"}
    assert routes("kong_bandwidth_bytes") == {"of-nameless"}
    assert not LEGACY & set(families)


def test_names_of_kong_2(page: Page) -> None:
    page.configure(plugins=[prometheus()])
    codes = {(200, 0): 4, (502, 1): 2, (502, 0): 1, (200, BY_CONSUMER): 3}
    page.count("named", 7, codes=codes, consumer_ingress_bytes=5, consumer_egress_bytes=6)
    families = page.families()
    labels = {"service": "näme", "route": "named"}
    status = families["kong_http_status"]
    assert status.value("kong_http_status", code="200", **labels) == 7
    assert status.value("kong_http_status", code="502", **labels) == 3
    bandwidth = families["kong_bandwidth"]
    assert bandwidth.value("kong_bandwidth", type="ingress", **labels) == 75
    assert bandwidth.value("kong_bandwidth", type="egress", **labels) == 146
    latency = families["kong_latency"]
    for kind, total, bounds in (("kong", 7, 18), ("upstream", 14, 14), ("request", 21, 14)):
        assert latency.value("kong_latency_sum", type=kind, **labels) == total
        found = [
            own for (name, own) in latency.samples if name == "kong_latency_bucket" and ("type", kind) in own
        ]
        assert len(found) == bounds


# --- by consumer ----------------------------------------------------------------------------------

CONSUMERS = [{"username": "bob"}, {"custom_id": "bob"}, {"custom_id": "no name"}]


def test_requests_by_consumer(page: Page) -> None:
    page.configure(plugins=[prometheus(per_consumer=True)], consumers=CONSUMERS)
    page.count("named", 9, codes={(200, 0): 4, (200, BY_CONSUMER): 5}, consumer_egress_bytes=500)
    page.count_consumer("bob", "named", 200, 2)
    page.count_consumer("bob", "named", 429, 1, worker=2)
    for consumer in page.configuration.of("consumers").values():
        if consumer.custom_id == "no name":  # type: ignore[attr-defined]
            page.count_consumer(consumer.id, "named", 200, 3)
    families = page.families()
    labels = {"service": "näme", "route": "named"}
    requests = families["kong_http_requests_total"]
    by_consumer = {
        (dict(own)["consumer"], dict(own)["code"]): count for (_, own), count in requests.samples.items()
    }
    assert by_consumer == {("", "200"): 4, ("bob", "200"): 2, ("bob", "429"): 1, ("no name", "200"): 3}
    bandwidth = families["kong_bandwidth_bytes"]
    name = "kong_bandwidth_bytes"
    assert bandwidth.value(name, consumer="bob", direction="ingress", **labels) == 30
    assert bandwidth.value(name, consumer="no name", direction="egress", **labels) == 300
    legacy = families["kong_http_consumer_status"]
    assert legacy.value("kong_http_consumer_status", consumer="bob", code="200", **labels) == 2
    assert families["kong_http_status"].value("kong_http_status", code="200", **labels) == 9


def test_two_consumers_of_one_name_are_one_series(page: Page) -> None:
    """The username of one may be the custom id of another; two samples of one series would be an error."""
    page.configure(plugins=[prometheus(per_consumer=True)], consumers=CONSUMERS)
    page.count("named", 1)
    for consumer in page.configuration.of("consumers").values():
        page.count_consumer(consumer.id, "named", 200)
    requests = page.families()["kong_http_requests_total"]
    assert requests.value("kong_http_requests_total", consumer="bob") == 2


def test_series_of_deleted_consumers_and_routes_expire(page: Page) -> None:
    page.configure(plugins=[prometheus(per_consumer=True)], consumers=CONSUMERS)
    page.count("named", 1)
    page.count("of-nameless", 1)
    page.count_consumer("bob", "named", 200)
    page.count_consumer("bob", "of-nameless", 200)

    def series() -> set[tuple[str, str]]:
        found = page.families()["kong_http_requests_total"].samples
        return {(dict(own)["route"], dict(own)["consumer"]) for _, own in found}

    every = {("named", ""), ("named", "bob"), ("of-nameless", ""), ("of-nameless", "bob")}
    assert series() == every
    page.configure(
        plugins=[prometheus(per_consumer=True)], consumers=CONSUMERS, services=CONFIGURATION["services"][:1]
    )
    assert series() == {("named", ""), ("named", "bob")}
    page.configure(plugins=[prometheus(per_consumer=True)])
    assert series() == {("named", ""), ("of-nameless", "")}


# --- targets --------------------------------------------------------------------------------------

UPSTREAMS = [
    {
        "name": "checked",
        "healthchecks": {"passive": {"unhealthy": {"tcp_failures": 1}}},
        "targets": [{"target": "127.0.0.1:80"}, {"target": "[::1]:81"}, {"target": "a.test:82"}],
    },
    {"name": "unchecked", "targets": [{"target": "127.0.0.1:80"}, {"target": "a.test:1", "weight": 0}]},
]


def test_health_of_targets(page: Page) -> None:
    page.configure(upstreams=UPSTREAMS)
    assert "kong_upstream_target_health" not in page.families()
    page.configure(upstreams=UPSTREAMS, plugins=[prometheus(upstream_health_metrics=True)])
    for upstream in page.configuration.of("upstreams").values():
        group = upstream_group(upstream.id)
        page.health.group(group)
        page.health.mark(group, "127.0.0.1:80", "127.0.0.1", 80, healthy=False)
    family = page.families()["kong_upstream_target_health"]
    states = {
        (found["upstream"], found["target"], found["address"]): found["state"]
        for (_, own), count in family.samples.items()
        if count and (found := dict(own))
    }
    assert states == {
        ("checked", "127.0.0.1:80", "127.0.0.1:80"): "unhealthy",
        ("checked", "[0000:0000:0000:0000:0000:0000:0000:0001]:81", "[::1]:81"): "healthy",
        ("checked", "a.test:82", ""): "dns_error",
        ("unchecked", "127.0.0.1:80", "127.0.0.1:80"): "healthchecks_off",
        ("unchecked", "a.test:1", ""): "healthchecks_off",
    }
    assert len(family.samples) == 4 * len(states)
