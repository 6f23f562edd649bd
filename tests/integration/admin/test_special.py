"""The special endpoints of a real gateway: health and marks, the log level, what the node says of itself."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.footprint import other_control
from tests.support.gateway import Gateway, wait_for
from tests.support.upstreams import Connection, Upstream, response

CHECKED = {"passive": {"unhealthy": {"http_failures": 1}}}


def answering(text: bytes) -> Any:
    def handler(connection: Connection) -> None:
        while head := connection.read_head():
            connection.read_body(head)
            connection.send(response(text))

    return handler


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[Upstream, Upstream]]:
    with Upstream(answering(b"one")) as one, Upstream(answering(b"two")) as two:
        yield one, two


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(None, database="sqlite", worker_processes=2) as running:
        yield running


def call(gateway: Gateway, method: str, path: str, value: Any = None) -> tuple[int, Any]:
    headers = {} if value is None else {"Content-Type": "application/json"}
    body = None if value is None else json.dumps(value).encode()
    status, _, data = gateway.call(gateway.admin_port, method, path, body, headers)
    return status, json.loads(data) if data else None


@pytest.fixture
def upstream(gateway: Gateway, servers: tuple[Upstream, Upstream]) -> Iterator[dict[str, str]]:
    """An upstream with two targets and a route to it; the ids of its targets by their answer."""
    assert call(gateway, "PUT", "/upstreams/balanced", {"healthchecks": CHECKED})[0] == 200
    ids = {}
    for server, text in zip(servers, ("one", "two"), strict=True):
        status, target = call(
            gateway, "POST", "/upstreams/balanced/targets", {"target": f"127.0.0.1:{server.port}"}
        )
        assert status == 201
        ids[text] = target["id"]
    assert call(gateway, "PUT", "/services/balanced", {"host": "balanced"})[0] == 200
    route = {"paths": ["/balanced"], "service": {"name": "balanced"}}
    assert call(gateway, "PUT", "/routes/balanced", route)[0] == 200
    yield ids
    for path in ("/routes/balanced", "/services/balanced", "/upstreams/balanced"):
        assert call(gateway, "DELETE", path)[0] == 204


def answers(gateway: Gateway, count: int = 20) -> set[tuple[int, bytes]]:
    """What requests are answered: status, and body where it is 200."""
    found = (gateway.request("/balanced") for _ in range(count))
    return {(status, body if status == 200 else b"") for status, _, body in found}


BOTH = {(200, b"one"), (200, b"two")}
NONE = {(503, b"")}


def health_of(gateway: Gateway) -> dict[str, str]:
    """The health of the targets by id."""
    page = call(gateway, "GET", "/upstreams/balanced/health")[1]
    return {target["id"]: target["health"] for target in page["data"]}


# --- health -------------------------------------------------------------------------------------------------


def test_a_mark_takes_a_target_out_at_once_and_back_in(gateway: Gateway, upstream: dict[str, str]) -> None:
    path = f"/upstreams/balanced/targets/{upstream['one']}"
    for _ in range(3):
        assert answers(gateway) == BOTH
        assert call(gateway, "PUT", f"{path}/unhealthy") == (204, None)
        assert answers(gateway) == {(200, b"two")}
        assert health_of(gateway) == {upstream["one"]: "UNHEALTHY", upstream["two"]: "HEALTHY"}
        assert call(gateway, "PUT", f"{path}/healthy") == (204, None)
    assert answers(gateway) == BOTH


def test_marks_by_address_and_by_the_name_of_the_target(
    gateway: Gateway, upstream: dict[str, str], servers: tuple[Upstream, Upstream]
) -> None:
    one, two = (f"127.0.0.1:{server.port}" for server in servers)
    base = "/upstreams/balanced/targets"
    assert call(gateway, "PUT", f"{base}/{one}/{one}/unhealthy")[0] == 204
    assert answers(gateway) == {(200, b"two")}
    assert call(gateway, "PUT", f"{base}/{two}/unhealthy")[0] == 204
    assert answers(gateway, 4) == NONE
    whole = call(gateway, "GET", "/upstreams/balanced/health?balancer_health=1")[1]["data"]
    assert (whole["health"], whole["balancer_health"]) == ("UNHEALTHY", "UNHEALTHY")
    assert whole["details"]["weight"] == {"total": 200, "available": 0, "unavailable": 200}
    assert call(gateway, "PUT", f"{base}/{upstream['two']}/{two}/healthy")[0] == 204
    assert answers(gateway) == {(200, b"two")}
    # as in Kong it is no failure when there is no such address
    for other in (f"{one}/{two}", f"{one}/nonsense", f"{one}/127.0.0.1", f"{one}/[::1]:80"):
        assert call(gateway, "PUT", f"{base}/{other}/healthy")[0] == 204
    assert answers(gateway) == {(200, b"two")}
    for wrong in (f"{one}/a%20b", f"{one}/1.2.3", "nowhere.test:80", "::::"):
        assert call(gateway, "PUT", f"{base}/{wrong}/healthy")[0] == 404
    # a name stands for all addresses with its port
    assert call(gateway, "PUT", f"{base}/{one}/any:{one.partition(':')[2]}/healthy")[0] == 204
    assert answers(gateway) == BOTH
    assert call(gateway, "PUT", f"/upstreams/nowhere/targets/{one}/healthy")[0] == 404
    assert call(gateway, "DELETE", f"{base}/{one}/healthy")[0] == 405


def test_a_mark_holds_while_other_things_change(gateway: Gateway, upstream: dict[str, str]) -> None:
    assert call(gateway, "PUT", f"/upstreams/balanced/targets/{upstream['one']}/unhealthy")[0] == 204
    for number in range(3):
        assert call(gateway, "PUT", "/routes/other", {"paths": [f"/other{number}"]})[0] == 200
        assert call(gateway, "PATCH", "/upstreams/balanced", {"tags": [f"t{number}"]})[0] == 200
        assert answers(gateway, 10) == {(200, b"two")}
    assert call(gateway, "DELETE", "/routes/other")[0] == 204
    assert gateway.process is not None
    gateway.process.send_signal(signal.SIGHUP)
    wait_for(lambda: "reloaded" in gateway.output(), what="the reload")
    assert answers(gateway, 10) == {(200, b"two")}


def test_a_mark_survives_the_processes(gateway: Gateway, upstream: dict[str, str]) -> None:
    assert call(gateway, "PUT", f"/upstreams/balanced/targets/{upstream['one']}/unhealthy")[0] == 204
    control = gateway.status()["control"]["pid"]
    worker, *_ = gateway.worker_pids()
    os.kill(control, signal.SIGKILL)
    wait_for(lambda: other_control(gateway, control), what="the control process is back")
    wait_for(gateway.serves, what="it serves")
    wait_for(lambda: health_of(gateway)[upstream["one"]] == "UNHEALTHY", what="the mark")
    os.kill(worker, signal.SIGKILL)
    wait_for(gateway.serves, what="a new worker")
    assert answers(gateway, 30) == {(200, b"two")}


def test_a_mark_stays_for_a_while_when_its_target_goes(
    gateway: Gateway, upstream: dict[str, str], servers: tuple[Upstream, Upstream]
) -> None:
    path = f"/upstreams/balanced/targets/{upstream['one']}"
    assert call(gateway, "PUT", f"{path}/unhealthy")[0] == 204
    assert call(gateway, "DELETE", path)[0] == 204
    again = {"target": f"127.0.0.1:{servers[0].port}", "id": upstream["one"]}
    assert call(gateway, "POST", "/upstreams/balanced/targets", again)[0] == 201
    assert answers(gateway) == {(200, b"two")}
    assert call(gateway, "PUT", f"{path}/healthy")[0] == 204
    assert answers(gateway) == BOTH


def test_without_health_checks_there_is_nothing_to_mark(gateway: Gateway, upstream: dict[str, str]) -> None:
    path = f"/upstreams/balanced/targets/{upstream['one']}/unhealthy"
    assert call(gateway, "PUT", path)[0] == 204
    off = {"healthchecks": {"passive": {"unhealthy": {"http_failures": 0}}}}
    assert call(gateway, "PATCH", "/upstreams/balanced", off)[0] == 200
    assert answers(gateway) == BOTH
    assert call(gateway, "PUT", path) == (400, {"message": "no healthchecker found for balanced"})
    assert set(health_of(gateway).values()) == {"HEALTHCHECKS_OFF"}


def test_an_upstream_with_a_threshold_gives_up_early(gateway: Gateway, upstream: dict[str, str]) -> None:
    more = {"healthchecks": {**CHECKED, "threshold": 60}}
    assert call(gateway, "PATCH", "/upstreams/balanced", more)[0] == 200
    path = f"/upstreams/balanced/targets/{upstream['one']}"
    assert call(gateway, "PUT", f"{path}/unhealthy")[0] == 204
    assert answers(gateway, 4) == NONE
    whole = call(gateway, "GET", "/upstreams/balanced/health?balancer_health=1")[1]["data"]
    assert whole["balancer_health"] == "UNHEALTHY"
    assert call(gateway, "PUT", f"{path}/healthy")[0] == 204
    assert answers(gateway) == BOTH


def test_names_that_cannot_be_resolved(gateway: Gateway, upstream: dict[str, str]) -> None:
    status, target = call(
        gateway, "POST", "/upstreams/balanced/targets", {"target": "nowhere.invalid:80", "weight": 10}
    )
    assert status == 201
    found = wait_for(lambda: health_of(gateway).get(target["id"]), what="its health")
    assert found == "DNS_ERROR"
    data = call(gateway, "GET", "/upstreams/balanced/health")[1]["data"][0]["data"]
    nothing = {"total": 0, "available": 0, "unavailable": 0}
    assert (data["host"], data["port"], data["nodeWeight"]) == ("nowhere.invalid", 80, 10)
    assert (data["addresses"], data["weight"]) == ([], nothing)
    # (how soon a resolver says so is not ours)
    assert data["dns"] == "unknown" or data["dns"].startswith("dns server error: ")
    assert call(gateway, "PUT", f"/upstreams/balanced/targets/{target['id']}/unhealthy")[0] == 204


def test_a_target_without_weight_is_not_checked(gateway: Gateway, upstream: dict[str, str]) -> None:
    path = f"/upstreams/balanced/targets/{upstream['one']}"
    assert call(gateway, "PATCH", path, {"weight": 0})[0] == 200
    assert call(gateway, "PUT", f"{path}/unhealthy")[0] == 204
    assert health_of(gateway) == {upstream["one"]: "HEALTHCHECKS_OFF", upstream["two"]: "HEALTHY"}
    assert answers(gateway) == {(200, b"two")}
    assert call(gateway, "PATCH", path, {"weight": 100})[0] == 200
    assert health_of(gateway)[upstream["one"]] == "HEALTHY"


def test_ipv6_has_brackets(gateway: Gateway, upstream: dict[str, str]) -> None:
    assert call(gateway, "POST", "/upstreams/balanced/targets", {"target": "::1"})[0] == 201
    first = call(gateway, "GET", "/upstreams/balanced/health")[1]["data"][0]
    written = "[0000:0000:0000:0000:0000:0000:0000:0001]"
    assert (first["target"], first["data"]["host"], first["data"]["dns"]) == (
        f"{written}:8000",
        written,
        "AAAA",
    )
    assert (first["data"]["addresses"][0]["ip"], first["health"]) == (written, "HEALTHY")


def test_health_comes_in_pages(gateway: Gateway, upstream: dict[str, str]) -> None:
    seen: list[str] = []
    path = "/upstreams/balanced/health?size=1"
    while path:
        status, page = call(gateway, "GET", path)
        assert status == 200
        assert len(page["node_id"]) == 36
        seen += [target["id"] for target in page["data"]]
        path = page["next"] and f"{page['next']}&size=1"
    assert Counter(seen) == Counter(upstream.values())
    assert call(gateway, "GET", "/upstreams/balanced/health?size=0")[1]["code"] == 9
    assert call(gateway, "GET", "/upstreams/nowhere/health")[0] == 404


# --- the log level ------------------------------------------------------------------------------------------


def refused_requests(gateway: Gateway) -> int:
    """How many events of level info the workers have logged."""
    return gateway.output().count("client sent a request that is refused")


def send_nonsense(gateway: Gateway) -> None:
    assert gateway.raw(b"NONSENSE\r\n\r\n").startswith(b"HTTP/1.1 400")


def test_a_log_level_holds_for_a_while_in_every_process(gateway: Gateway) -> None:
    assert call(gateway, "GET", "/debug/node/log-level")[1] == {"message": "log level: notice"}
    send_nonsense(gateway)
    before = refused_requests(gateway)
    status, answer = call(gateway, "PUT", "/debug/node/log-level/info?timeout=2")
    assert (status, answer) == (200, {"message": "log level changed"})
    assert call(gateway, "GET", "/debug/node/log-level")[1] == {"message": "log level: info"}
    assert call(gateway, "GET", "/")[1]["configuration"]["log_level"] == "info"
    send_nonsense(gateway)
    wait_for(lambda: refused_requests(gateway) == before + 1, what="the event in the log")
    wait_for(
        lambda: call(gateway, "GET", "/debug/node/log-level")[1] == {"message": "log level: notice"},
        what="the usual level",
    )
    assert "log level notice again" in gateway.output()
    send_nonsense(gateway)
    send_nonsense(gateway)
    assert refused_requests(gateway) == before + 1


def test_a_later_level_takes_the_place_of_an_earlier_one(gateway: Gateway) -> None:
    put = "/debug/node/log-level"
    assert call(gateway, "PUT", f"{put}/debug?timeout=1")[0] == 200
    assert call(gateway, "PUT", f"{put}/info?timeout=600")[0] == 200
    assert call(gateway, "PUT", f"{put}/info?timeout=600")[1] == {"message": "log level is already info"}
    assert call(gateway, "PUT", f"{put}/notice")[0] == 200
    assert call(gateway, "GET", put)[1] == {"message": "log level: notice"}


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("zzz", "unknown log level: zzz"),
        ("INFO", "unknown log level: INFO"),
        ("info?timeout=-1", "timeout must be between 0 and 604800"),
        ("info?timeout=x", "timeout must be a number of seconds"),
        ("info?timeout=nan", "timeout must be a number of seconds"),
        ("info?timeout=1e99", "timeout must be between 0 and 604800"),
        ("info?timeout=inf", "timeout must be a number of seconds"),
    ],
)
def test_levels_that_are_none(gateway: Gateway, path: str, message: str) -> None:
    assert call(gateway, "PUT", f"/debug/node/log-level/{path}") == (400, {"message": message})
    assert call(gateway, "GET", "/debug/node/log-level")[1] == {"message": "log level: notice"}


# --- the node -----------------------------------------------------------------------------------------------


def test_what_the_node_says_of_itself(gateway: Gateway) -> None:
    found = call(gateway, "GET", "/")[1]
    assert found["configuration"]["database"] == "sqlite"
    assert found["pids"]["master"] == (gateway.process and gateway.process.pid)
    assert set(found["pids"]["workers"]) == set(gateway.worker_pids())
    assert found["timers"]["running"] > 0
    status = call(gateway, "GET", "/status")[1]
    assert status["database"] == {"reachable": True}
    assert set(status) == {"database", "memory", "server"}
    assert call(gateway, "GET", "/status?unit=zz")[0] == 400
    timers = call(gateway, "GET", "/timers")[1]
    assert timers["worker"]["id"] == gateway.status()["control"]["pid"]
    assert "publication" in timers["stats"]["timers"]
    assert gateway.call(gateway.status_port, "GET", "/status/ready")[0] == 200


def test_there_is_nothing_in_the_cache(gateway: Gateway) -> None:
    assert call(gateway, "GET", "/cache/services:x") == (404, {"message": "Not found"})
    assert call(gateway, "DELETE", "/cache/services:x") == (204, None)
    assert call(gateway, "DELETE", "/cache") == (204, None)
    assert call(gateway, "POST", "/cache")[0] == 405
