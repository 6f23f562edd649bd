"""proxy-circuit-breaker: what is told of circuits, how long they are kept, and the cache beside them."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Iterator

import pytest

from tests.support.breakers import (
    LONG,
    OPEN,
    SHORT,
    Behind,
    ask,
    breaker,
    circuits,
    fail,
    guarded,
    log_of,
    passes,
)
from tests.support.gateway import Gateway, wait_for
from tests.support.plugged import plugin


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(worker_processes=2) as running:
        yield running


@pytest.fixture
def behind() -> Iterator[Behind]:
    with Behind() as one:
        yield one


# --- what is known of it ------------------------------------------------------------------------------


def test_it_is_kept_when_the_configuration_changes(gateway: Gateway, behind: Behind) -> None:
    known = breaker()
    guarded(gateway, behind.upstream.port, known)
    behind.status = 500
    fail(gateway, 3, 500)
    guarded(gateway, behind.upstream.port, known, plugin("cors"))
    assert ask(gateway) == OPEN
    assert circuits(gateway)[0]["failures"] == 0


def test_the_admin_api_shows_and_closes_it(gateway: Gateway, behind: Behind) -> None:
    guarded(gateway, behind.upstream.port, breaker())
    assert circuits(gateway) == []
    behind.status = 500
    fail(gateway, 2, 500)
    [circuit] = circuits(gateway)
    assert (circuit["state"], circuit["failures"], circuit["retry_in"]) == ("closed", 2, None)
    fail(gateway, 1, 500)
    assert ask(gateway) == OPEN
    [circuit] = circuits(gateway)
    assert (circuit["state"], circuit["opened"], circuit["refused"]) == ("open", 1, 1)
    assert 990 <= circuit["retry_in"] <= LONG
    assert abs(circuit["since"] - time.time()) < 60
    assert circuit["service"]["name"] == "upstream"

    def one(method: str, name: str) -> tuple[int, bytes]:
        status, _, body = gateway.call(gateway.admin_port, method, f"/circuit-breakers/{name}")
        return status, body

    status, body = one("GET", circuit["id"])
    assert (status, json.loads(body)["state"]) == (200, "open")
    assert one("DELETE", circuit["id"])[0] == 204
    behind.status = 200
    assert ask(gateway)[0] == 200
    for unknown in ("0" * 16, "no-number", "-1", "f" * 40):
        assert {one(method, unknown)[0] for method in ("GET", "DELETE")} == {404}


def test_metrics_and_log(gateway: Gateway, behind: Behind) -> None:
    known = breaker(http_failures=1)

    def stays_open_for(seconds: float) -> None:
        known["config"]["timeout"] = seconds
        guarded(gateway, behind.upstream.port, known, name="named")

    stays_open_for(LONG)
    behind.status = 500
    fail(gateway, 1, 500)
    assert ask(gateway) == OPEN
    stays_open_for(SHORT)
    behind.status = 200
    wait_for(lambda: passes(gateway), what="a probe")
    stays_open_for(LONG)
    behind.status = 500
    fail(gateway, 1, 500)
    assert ask(gateway) == OPEN
    _, _, page = gateway.call(gateway.status_port, "GET", "/metrics")
    labels = '{service="named",route="",target="",address=""}'
    lines = page.decode().splitlines()
    assert f"sluicegate_circuit_state{labels} 2" in lines
    assert f"sluicegate_circuit_opened_total{labels} 2" in lines
    [refused] = [line for line in lines if line.startswith("sluicegate_circuit_refused_total ")]
    assert float(refused.split()[1]) >= 2

    wait_for(lambda: len(said_of_named(gateway)) == 4, what="the last line")
    # two workers write it, each when it has time
    assert sorted(said_of_named(gateway)) == ["closed", "half open", "open", "open"]


def said_of_named(gateway: Gateway) -> list[str]:
    """The states that the log tells of the service `named`."""
    pieces = log_of(gateway).split("circuit breaker is ")[1:]
    return [piece.split(":")[0] for piece in pieces if ": named," in piece.partition("\n")[0]]


# --- beside the cache ---------------------------------------------------------------------------------


def test_what_is_stored_is_served_while_it_is_open(gateway: Gateway, behind: Behind) -> None:
    cache = plugin("proxy-cache", strategy="memory", content_type=["text/plain"])
    guarded(gateway, behind.upstream.port, breaker(http_failures=1), cache)
    behind.content_type = b"Content-Type: text/plain"
    path = f"/{uuid.uuid4()}"
    wait_for(lambda: gateway.request(path)[1]["X-Cache-Status"] == "Hit", what="it is stored")
    behind.status = 500
    fail(gateway, 1, 500)
    assert ask(gateway) == OPEN
    for _ in range(4):
        status, headers, _ = gateway.request(path)
        assert (status, headers["X-Cache-Status"], headers["Retry-After"]) == (200, "Hit", None)


def test_a_stale_response_is_served_while_it_is_open(gateway: Gateway, behind: Behind) -> None:
    cache = plugin("proxy-cache", strategy="memory", content_type=["text/plain"], cache_control=True)
    guarded(gateway, behind.upstream.port, breaker(http_failures=1), cache)
    behind.content_type = b"Content-Type: text/plain\r\nCache-Control: public, max-age=1, stale-if-error=600"
    path = f"/{uuid.uuid4()}"
    wait_for(lambda: gateway.request(path)[1]["X-Cache-Status"] == "Hit", what="it is stored")
    behind.content_type = b"Content-Type: text/plain"
    behind.status = 500
    fail(gateway, 1, 500)
    assert ask(gateway) == OPEN
    asked = behind.asked
    headers = wait_for(lambda: older_than(gateway, path, 1), what="it is stale")
    assert headers is not None
    assert headers["Retry-After"] is None
    assert behind.asked == asked


def older_than(gateway: Gateway, path: str, seconds: int) -> http.client.HTTPMessage | None:
    """The header fields of a stored response of that age; None: it is younger."""
    status, headers, _ = gateway.request(path)
    assert status == 200
    return headers if int(headers["Age"]) > seconds else None
