"""The metrics page of a running gateway, by what the prometheus plugin says and for those who read it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.footprint import at_rest
from tests.support.gateway import Gateway, wait_for
from tests.support.prometheus_text import Family, parse
from tests.support.upstreams import Upstream

ABBREVIATED = {
    f"{name} metric names should not contain abbreviated units"
    for name in ("kong_kong_latency_ms", "kong_upstream_latency_ms", "kong_request_latency_ms")
}
"""What Prometheus' linter has to say about names that Kong gave; nothing else."""


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as started:
        yield started


@pytest.fixture(scope="module")
def gateway(upstream: Upstream) -> Iterator[Gateway]:
    """With a service, a route and two consumers with keys."""
    with Gateway(database="sqlite", worker_processes=2) as started:
        service = {"name": "users", "url": f"http://127.0.0.1:{upstream.port}"}
        admin(started, "POST", "/services", service)
        admin(started, "POST", "/services/users/routes", {"name": "users", "paths": ["/users"]})
        yield started


def admin(gateway: Gateway, method: str, path: str, value: Any = None) -> Any:
    """A request to the Admin API that must be accepted."""
    body = None if value is None else json.dumps(value).encode()
    status, _, answer = gateway.call(
        gateway.admin_port, method, path, body, {"Content-Type": "application/json"}
    )
    assert 200 <= status < 300, answer
    return json.loads(answer) if answer else None


def send(gateway: Gateway, path: str, headers: dict[str, str] | None = None, times: int = 1) -> int:
    """Requests on connections of their own, until they are over for the workers, too: only then are they
    counted. The status of the last."""
    status = 0
    for _ in range(times):
        status, _, _ = gateway.call(gateway.proxy_port, "GET", path, None, headers)
    at_rest(gateway)
    return status


def page(gateway: Gateway) -> bytes:
    status, headers, body = gateway.call(gateway.admin_port, "GET", "/metrics")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; charset=UTF-8"
    return body


def families(gateway: Gateway) -> dict[str, Family]:
    return parse(page(gateway))


def value(gateway: Gateway, name: str, **labels: str) -> float:
    """The sum of a metric's samples with these labels; 0 without any."""
    found = families(gateway).get(name)
    samples = found.samples.items() if found else ()
    return sum(count for (_, own), count in samples if labels.items() <= dict(own).items())


@pytest.fixture
def plugin(gateway: Gateway) -> Iterator[str]:
    """`curl -X POST /plugins --data name=prometheus`, and nothing else."""
    status, _, answer = gateway.call(
        gateway.admin_port,
        "POST",
        "/plugins",
        urlencode({"name": "prometheus"}).encode(),
        {"Content-Type": "application/x-www-form-urlencoded"},
    )
    assert status == 201, answer
    identifier = json.loads(answer)["id"]
    yield identifier
    admin(gateway, "DELETE", f"/plugins/{identifier}")


def test_names_of_kong_2_and_3_with_the_plugin_alone(gateway: Gateway, plugin: str) -> None:
    before = value(gateway, "kong_http_status", code="200", service="users", route="users")
    assert send(gateway, "/users", times=5) == 200
    send(gateway, "/nowhere")
    for name in ("kong_http_status", "kong_http_requests_total"):
        assert value(gateway, name, code="200", service="users", route="users") == before + 5
        assert value(gateway, name, code="404") == 0  # of no route
    found = families(gateway)
    labels = {"service": "users", "route": "users"}
    assert found["kong_latency"].value("kong_latency_count", type="request", **labels) == before + 5
    assert found["kong_latency"].value("kong_latency_bucket", type="kong", le="+Inf", **labels) == before + 5
    assert found["kong_bandwidth"].value("kong_bandwidth", type="egress", **labels) > 0
    admin(gateway, "PATCH", f"/plugins/{plugin}", {"config": {"legacy_metrics": False}})
    assert "kong_http_status" not in families(gateway)
    admin(gateway, "PATCH", f"/plugins/{plugin}", {"config": {"status_code_metrics": True}})
    assert "kong_bandwidth_bytes" not in families(gateway)


def test_readers_take_the_page(gateway: Gateway, plugin: str) -> None:
    config = {"upstream_health_metrics": True, "per_consumer": True}
    admin(gateway, "PATCH", f"/plugins/{plugin}", {"config": config})
    admin(gateway, "PUT", "/upstreams/u", {})
    admin(gateway, "POST", "/upstreams/u/targets", {"target": "127.0.0.1:9"})
    send(gateway, "/users")
    text = page(gateway)
    read = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert read["kong_http_requests"].type == "counter"
    assert {sample.labels["state"] for sample in read["kong_upstream_target_health"].samples} == {
        "dns_error",
        "healthchecks_off",
        "healthy",
        "unhealthy",
    }
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed; prometheus_client has read the page")
    ran = subprocess.run(
        [promtool, "check", "metrics"], input=text, capture_output=True, timeout=60, check=False
    )
    assert set((ran.stdout + ran.stderr).decode().splitlines()) == ABBREVIATED


def test_requests_by_consumer(gateway: Gateway, plugin: str) -> None:
    """Counted by both workers, and not among those of nobody in particular; series of the deleted go."""
    admin(gateway, "PATCH", f"/plugins/{plugin}", {"config": {"per_consumer": True}})
    auth = admin(gateway, "POST", "/routes/users/plugins", {"name": "key-auth"})
    for name in ("bob", "eve"):
        admin(gateway, "PUT", f"/consumers/{name}", {})
        admin(gateway, "POST", f"/consumers/{name}/key-auth", {"key": f"{name}s-key"})
    nobody = value(gateway, "kong_http_requests_total", route="users", consumer="")
    total = value(gateway, "kong_http_status", route="users")
    bytes_before = value(gateway, "kong_bandwidth", route="users", type="egress")
    assert send(gateway, "/users", {"apikey": "bobs-key"}, times=12) == 200
    assert send(gateway, "/users", {"apikey": "eves-key"}, times=3) == 200
    assert send(gateway, "/users", times=2) == 401
    assert value(gateway, "kong_http_requests_total", route="users", consumer="bob", code="200") == 12
    assert value(gateway, "kong_http_requests_total", route="users", consumer="eve", code="200") == 3
    assert value(gateway, "kong_http_requests_total", route="users", consumer="") == nobody + 2
    assert value(gateway, "kong_http_consumer_status", consumer="bob", code="200") == 12
    assert value(gateway, "kong_http_status", route="users") == total + 17
    bobs = value(gateway, "kong_bandwidth_bytes", consumer="bob", direction="egress")
    assert bobs > 0
    assert value(gateway, "kong_bandwidth", route="users", type="egress") > bytes_before + bobs
    assert value(gateway, "kong_bandwidth_bytes", consumer="eve", direction="ingress") > 0
    admin(gateway, "DELETE", "/consumers/bob")
    assert value(gateway, "kong_http_requests_total", consumer="bob") == 0
    assert value(gateway, "kong_http_requests_total", consumer="eve") == 3
    assert value(gateway, "kong_http_status", route="users") == total + 17
    # another one of the same name begins anew
    admin(gateway, "PUT", "/consumers/bob", {})
    admin(gateway, "POST", "/consumers/bob/key-auth", {"key": "bobs-key"})
    assert value(gateway, "kong_http_requests_total", consumer="bob") == 0
    assert send(gateway, "/users", {"apikey": "bobs-key"}) == 200
    assert value(gateway, "kong_http_requests_total", consumer="bob") == 1
    # a configuration of the consumer's own can leave it out
    admin(
        gateway, "POST", "/consumers/eve/plugins", {"name": "prometheus", "config": {"per_consumer": False}}
    )
    assert send(gateway, "/users", {"apikey": "eves-key"}) == 200
    assert value(gateway, "kong_http_requests_total", consumer="eve") == 3
    for name in ("bob", "eve"):
        admin(gateway, "DELETE", f"/consumers/{name}")
    admin(gateway, "DELETE", f"/plugins/{auth['id']}")


def test_counts_outlive_their_worker(gateway: Gateway, plugin: str) -> None:
    admin(gateway, "PATCH", f"/plugins/{plugin}", {"config": {"per_consumer": True}})
    auth = admin(gateway, "POST", "/routes/users/plugins", {"name": "key-auth"})
    admin(gateway, "PUT", "/consumers/max", {})
    admin(gateway, "POST", "/consumers/max/key-auth", {"key": "max-key"})
    assert send(gateway, "/users", {"apikey": "max-key"}, times=10) == 200
    before = set(gateway.worker_pids())
    for pid in before:
        subprocess.run(["kill", "-KILL", str(pid)], check=True)
    wait_for(lambda: len(set(gateway.worker_pids()) - before) == 2, what="new workers")
    assert value(gateway, "kong_http_requests_total", consumer="max") == 10
    assert send(gateway, "/users", {"apikey": "max-key"}, times=5) == 200
    assert value(gateway, "kong_http_requests_total", consumer="max") == 15
    admin(gateway, "DELETE", f"/plugins/{auth['id']}")


def test_series_of_a_deleted_route_expire(gateway: Gateway, plugin: str) -> None:
    admin(gateway, "POST", "/services/users/routes", {"name": "gone", "paths": ["/gone"]})
    assert send(gateway, "/gone") == 200
    assert b'route="gone"' in page(gateway)
    admin(gateway, "DELETE", "/routes/gone")
    assert b'route="gone"' not in page(gateway)
    admin(gateway, "POST", "/services/users/routes", {"name": "gone", "paths": ["/gone"]})
    assert b'route="gone"' not in page(gateway)  # another route of that name begins anew
    admin(gateway, "DELETE", "/routes/gone")
