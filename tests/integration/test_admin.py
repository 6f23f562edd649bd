"""The Admin and status listeners of a real gateway: effects on traffic, crashes, reloads, names, limits."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
from collections.abc import Iterator
from typing import Any

import psutil
import pytest

from gateway.run_directory import RunDirectory, read_json
from tests.support.dns_server import RunningDns
from tests.support.gateway import Gateway, one_service, read_all, wait_for
from tests.support.prometheus_text import Family, parse
from tests.support.upstreams import Upstream, response

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(upstream: Upstream) -> Iterator[Gateway]:
    with Gateway(one_service(upstream.port), worker_processes=2) as running:
        yield running


def admin(
    gateway: Gateway, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Status and decoded body (None without one) of an Admin request."""
    status, _, data = gateway.call(gateway.admin_port, method, path, body, headers)
    return status, json.loads(data) if data else None


def control_process(gateway: Gateway) -> psutil.Process:
    return psutil.Process(gateway.status()["control"]["pid"])


def metrics(gateway: Gateway) -> dict[str, Family]:
    return parse(gateway.call(gateway.status_port, "GET", "/metrics")[2])


def route(name: str) -> list[dict[str, Any]]:
    return [{"name": name, "paths": [f"/{name}"]}]


# --- POST /config and traffic ----------------------------------------------------------------------------


def test_a_configuration_is_live_when_it_is_answered(gateway: Gateway, upstream: Upstream) -> None:
    for number in range(20):
        gateway.configure(one_service(upstream.port, routes=route(f"r{number}")))
        assert gateway.request(f"/r{number}")[0] == 200
        assert gateway.request(f"/r{number - 1}")[0] == 404
        workers = gateway.status()["workers"]
        assert {worker["configuration_number"] for worker in workers} == {
            gateway.status()["configuration_number"]
        }
    left = sorted(path.name for path in (gateway.prefix / "snapshots").iterdir())
    assert len(left) <= 6, left  # two of each kind


def test_a_refused_configuration_leaves_traffic_alone(gateway: Gateway, upstream: Upstream) -> None:
    gateway.configure(one_service(upstream.port, routes=route("kept")))
    before = gateway.status()
    for body in (b'{"_format_version":"3.0","services":[{"name":"x"}]}', b"{", b'{"_format_version":"9"}'):
        status, _ = admin(gateway, "POST", "/config", body, JSON)
        assert status == 400
    assert gateway.request("/kept")[0] == 200
    after = gateway.status()
    for name in ("configuration_number", "peers_number", "configuration_hash"):
        assert after[name] == before[name]


@pytest.mark.parametrize(("host", "status"), [(b"localhost", b"413"), (b"evil.test", b"403")])
def test_bodies_beyond_the_limit_get_an_answer(gateway: Gateway, host: bytes, status: bytes) -> None:
    size = 11 << 20
    with socket.create_connection(("127.0.0.1", gateway.admin_port), timeout=20) as connection:
        connection.sendall(
            b"POST /config HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Type: text/yaml\r\n"
            b"Content-Length: %d\r\n\r\n" % (host, size)
        )
        for _ in range(11):
            connection.sendall(b"#" * (1 << 20))
        assert read_all(connection).startswith(b"HTTP/1.1 %s " % status)


def test_loads_at_the_same_time(gateway: Gateway, upstream: Upstream) -> None:
    """Each is answered 201 or 429, and one of the accepted ones is live as a whole."""
    many = [one_service(upstream.port, name=f"n{n}", routes=route(f"n{n}")) for n in range(6)]
    statuses: list[int] = []

    def load(document: dict[str, Any]) -> None:
        statuses.append(admin(gateway, "POST", "/config", json.dumps(document).encode(), JSON)[0])

    threads = [threading.Thread(target=load, args=(document,)) for document in many]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(statuses) <= {201, 429}
    assert 201 in statuses
    live = [n for n in range(6) if gateway.request(f"/n{n}")[0] == 200]
    assert len(live) == 1


def test_readiness_follows_the_configuration(gateway: Gateway, upstream: Upstream) -> None:
    gateway.configure({})
    status, _, body = gateway.call(gateway.status_port, "GET", "/status/ready")
    assert status == 503
    assert json.loads(body) == {"message": "no configuration available (empty configuration present)"}
    gateway.configure(one_service(upstream.port))
    status, _, body = gateway.call(gateway.status_port, "GET", "/status/ready")
    assert (status, json.loads(body)) == (200, {"message": "ready"})


# --- what the listeners show -------------------------------------------------------------------------------


def test_metrics_count_requests(gateway: Gateway, upstream: Upstream) -> None:
    gateway.configure(one_service(upstream.port, name="counted", routes=route("counted-route")))
    for _ in range(7):
        gateway.request("/counted-route", method="POST", body=b"x" * 100)
    labels = {"service": "counted", "route": "counted-route"}
    name = "kong_http_requests_total"

    def requests() -> float:
        family = metrics(gateway).get(name, Family())
        found = [v for (_, own), v in family.samples.items() if dict(own)["route"] == "counted-route"]
        return sum(found)

    wait_for(lambda: requests() == 7, what="seven requests in the metrics")
    page = metrics(gateway)
    assert page[name].value(name, code="200", source="service", consumer="", **labels) == 7
    assert page["kong_bandwidth_bytes"].value("kong_bandwidth_bytes", direction="ingress", **labels) > 700
    for histogram in ("kong_kong_latency_ms", "kong_upstream_latency_ms", "kong_request_latency_ms"):
        assert page[histogram].value(histogram + "_count", **labels) == 7
    assert page["sluicegate_workers"].value("sluicegate_workers", state="serving") == 2
    status, headers, _ = gateway.call(gateway.admin_port, "GET", "/metrics")
    assert (status, headers["Content-Type"]) == (200, "text/plain; charset=UTF-8")


def test_counters_survive_a_change_of_routes(gateway: Gateway, upstream: Upstream) -> None:
    document = one_service(upstream.port, routes=route("comes-back"))

    def count() -> float:
        family = metrics(gateway).get("kong_http_requests_total", Family())
        return sum(v for (_, own), v in family.samples.items() if dict(own)["route"] == "comes-back")

    gateway.configure(document)
    gateway.request("/comes-back")
    wait_for(lambda: count() == 1, what="the first request")
    gateway.configure({})
    assert count() == 0
    gateway.configure(document)
    gateway.request("/comes-back")
    wait_for(lambda: count() == 2, what="the second request")


def test_root_and_header_fields(gateway: Gateway) -> None:
    status, headers, body = gateway.call(gateway.admin_port, "GET", "/")
    assert status == 200
    assert headers["Server"] == "kong/3.9.1"
    assert headers["Content-Type"] == "application/json; charset=utf-8"
    assert set(json.loads(body)["pids"]["workers"]) == set(gateway.worker_pids())
    status, headers, body = gateway.call(gateway.admin_port, "HEAD", "/")
    assert (status, body) == (200, b"")
    assert int(headers["Content-Length"]) > 1000


# --- crashes and reloads ------------------------------------------------------------------------------------


def test_a_killed_control_process_comes_back_with_what_was_posted(
    gateway: Gateway, upstream: Upstream
) -> None:
    gateway.configure(one_service(upstream.port, routes=route("posted")))
    before = gateway.status()
    node = admin(gateway, "GET", "/")[1]["node_id"]
    gateway.request("/posted")
    control_process(gateway).kill()
    assert gateway.request("/posted")[0] == 200
    wait_for(gateway.serves, what="the control process is back")
    after = wait_for(
        lambda: (now := gateway.status())["configuration_number"] > before["configuration_number"] and now,
        what="the configuration is published again",
    )
    assert after["configuration_number"] == before["configuration_number"] + 1
    assert after["configuration_hash"] == before["configuration_hash"]
    assert after["control"]["restarts"] == before["control"]["restarts"] + 1
    assert gateway.request("/posted")[0] == 200
    assert admin(gateway, "GET", "/")[1]["node_id"] == node
    assert "posted" in admin(gateway, "GET", "/config")[1]["config"]
    routes = metrics(gateway)["kong_http_requests_total"].samples
    assert any(dict(labels)["route"] == "posted" for _, labels in routes)


def test_a_reload_takes_the_file_again_and_a_bad_file_changes_nothing(
    gateway: Gateway, upstream: Upstream
) -> None:
    report = RunDirectory(gateway.prefix).reload
    assert gateway.process is not None

    def reload() -> dict[str, Any]:
        sequence = read_json(report).get("sequence", 0)
        os.kill(gateway.process.pid, signal.SIGHUP)  # type: ignore[union-attr]
        return wait_for(
            lambda: (now := read_json(report)).get("sequence", 0) > sequence and now, what="the reload"
        )

    gateway.configure(one_service(upstream.port, routes=route("posted")))
    gateway.config_path.write_text(json.dumps(one_service(upstream.port, routes=route("from-file"))))
    outcome = reload()
    assert (outcome["ok"], outcome["errors"]) == (True, [])
    assert gateway.request("/from-file")[0] == 200
    assert gateway.request("/posted")[0] == 404

    gateway.config_path.write_text('{"_format_version": "3.0",\n "services": [{"name": "x"}]}')
    before = gateway.status()["configuration_number"]
    outcome = reload()
    assert not outcome["ok"]
    assert outcome["errors"] == [f"{gateway.config_path}:2: services[0].host: required field missing"]
    assert gateway.request("/from-file")[0] == 200
    assert gateway.status()["configuration_number"] == before

    gateway.config_path.write_text(json.dumps(one_service(upstream.port)))
    assert reload()["ok"]


def test_an_admin_port_in_use_stops_the_start() -> None:
    gateway = Gateway()
    with socket.create_server(("127.0.0.1", gateway.admin_port)):
        with pytest.raises(AssertionError, match="the gateway ended with 1"):
            gateway.start()
        output = gateway.output()
        gateway.stop()
    assert f"cannot listen on 127.0.0.1:{gateway.admin_port}" in output


def test_a_slow_admin_client_does_not_hold_up_the_stop() -> None:
    with Gateway() as gateway, socket.create_connection(("127.0.0.1", gateway.admin_port)) as connection:
        connection.sendall(b"POST /config HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
        gateway.call(gateway.admin_port, "GET", "/")  # it is served beside the other
        assert gateway.process is not None
        gateway.process.send_signal(signal.SIGTERM)
        assert gateway.process.wait(timeout=15) == 0


# --- names ----------------------------------------------------------------------------------------------


def serve_text(text: bytes) -> Any:
    """A handler that answers every request with a text."""

    def handler(connection: Any) -> None:
        while head := connection.read_head():
            connection.read_body(head)
            connection.send(response(text))

    return handler


def test_traffic_follows_the_addresses_of_a_name() -> None:
    with RunningDns() as names, Upstream(serve_text(b"one")) as one, Upstream(serve_text(b"two")) as two:
        names.zone.set("svc.test", "SRV", f"1 1 {one.port} host.test.", ttl=1)
        names.zone.set("host.test", "A", "127.0.0.1", ttl=1)
        document = {
            "services": [
                {"name": "named", "host": "svc.test", "port": 1, "routes": [{"paths": ["/"]}]},
                {"name": "unknown", "host": "nowhere.test", "port": 1, "routes": [{"paths": ["/unknown"]}]},
            ]
        }
        with Gateway(dns_resolver=f"127.0.0.1:{names.port}", dns_not_found_ttl="1") as gateway:
            gateway.configure(document)
            assert gateway.request("/")[2] == b"one"
            status, _, body = gateway.request("/unknown")
            assert status == 503
            assert b"name resolution failed" in body
            before = gateway.status()
            names.zone.set("svc.test", "SRV", f"1 1 {two.port} host.test.", ttl=1)
            names.zone.set("nowhere.test", "SRV", f"1 1 {one.port} host.test.", ttl=1)
            wait_for(lambda: gateway.request("/")[2] == b"two", what="traffic goes to the new address")
            wait_for(lambda: gateway.request("/unknown")[2] == b"one", what="the name is found at last")
            after = gateway.status()
            assert after["configuration_number"] == before["configuration_number"]
            assert after["peers_number"] > before["peers_number"]
            # With the name server gone, the addresses known last go on serving.
            names.zone.silent = True
            asked = len(names.zone.questions)
            wait_for(lambda: len(names.zone.questions) > asked, what="a question without an answer")
            assert gateway.request("/")[2] == b"two"


# --- browsers --------------------------------------------------------------------------------------------


def test_pages_of_other_sites_and_rebound_names_are_refused(gateway: Gateway) -> None:
    before = gateway.status()["configuration_number"]
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    own = f"127.0.0.1:{gateway.admin_port}"
    for headers, setting in (
        ({"Origin": "http://evil.test"}, "ADMIN_ORIGINS"),
        ({"Sec-Fetch-Site": "cross-site"}, "ADMIN_ORIGINS"),
        ({"Host": "evil.test", "Origin": "http://evil.test"}, "ADMIN_HOSTS"),
    ):
        for port in (gateway.admin_port, gateway.status_port):
            status, answer_headers, body = gateway.call(port, "GET", "/status", None, headers)
            assert (status, setting in json.loads(body)["message"]) == (403, True)
            assert "Access-Control-Allow-Origin" not in answer_headers
        status, answer = admin(gateway, "POST", "/config", b"config=%7B%7D", {**form, **headers})
        assert (status, setting in answer["message"]) == (403, True)
    assert gateway.status()["configuration_number"] == before
    assert admin(gateway, "GET", "/", None, {"Origin": f"http://{own}"})[0] == 200
