"""proxy-circuit-breaker: two workers know as one when a service or target gets no requests (plugins.md)."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

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
from tests.support.gateway import Gateway, free_port, one_service, wait_for
from tests.support.plugged import plugin
from tests.support.upstreams import Connection, Upstream, serve_echo


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(worker_processes=2) as running:
        yield running


@pytest.fixture
def behind() -> Iterator[Behind]:
    with Behind() as one:
        yield one


@pytest.fixture
def other() -> Iterator[Behind]:
    with Behind() as one:
        yield one


# --- opening ------------------------------------------------------------------------------------------


def test_failures_in_a_row_open_it_for_all_workers(gateway: Gateway, behind: Behind) -> None:
    guarded(gateway, behind.upstream.port, breaker())
    behind.status = 500
    fail(gateway, 3, 500)
    for _ in range(20):
        status, headers, body = gateway.request("/")
        assert (status, json.loads(body)["message"]) == OPEN
        assert 990 <= int(headers["Retry-After"]) <= LONG
    assert behind.asked == 3


def test_a_success_in_between_begins_anew(gateway: Gateway, behind: Behind) -> None:
    guarded(gateway, behind.upstream.port, breaker())
    with in_turn(gateway) as one_more:
        for _ in range(3):
            behind.status = 503
            assert [one_more(), one_more()] == [503, 503]
            behind.status = 404
            assert one_more() == 404
        behind.status = 500
        assert [one_more() for _ in range(3)] == [500, 500, 500]
    assert ask(gateway) == OPEN


def test_which_statuses_are_failures(gateway: Gateway, behind: Behind) -> None:
    guarded(gateway, behind.upstream.port, breaker(http_statuses=[404, 599]))
    with in_turn(gateway) as one_more:
        behind.status = 500
        assert [one_more() for _ in range(5)] == [500] * 5
        behind.status = 404
        assert [one_more(), one_more()] == [404, 404]
        behind.status = 599
        assert one_more() == 599
    assert ask(gateway) == OPEN


@contextmanager
def in_turn(gateway: Gateway) -> Iterator[Callable[[], int]]:
    """Requests on one connection: each begins when the one before it is over for the worker, too."""
    connection = http.client.HTTPConnection("127.0.0.1", gateway.proxy_port, timeout=10)

    def one_more() -> int:
        connection.request("GET", "/")
        answer = connection.getresponse()
        answer.read()
        return answer.status

    yield one_more
    connection.close()


def refuse(connection: Connection) -> None:
    connection.reset()


def say_nothing(connection: Connection) -> None:
    connection.read_request()
    connection.wait_for_end()


def cut_off(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")


def garble(connection: Connection) -> None:
    connection.read_request()
    connection.send(b"SSH-2.0-OpenSSH\r\n\r\n")


@pytest.mark.parametrize(
    ("handler", "switch"),
    [
        (None, "count_connect_errors"),
        (refuse, "count_connect_errors"),
        (garble, "count_connect_errors"),
        (cut_off, "count_connect_errors"),
        (say_nothing, "count_timeouts"),
    ],
    ids=["nobody listens", "reset", "no HTTP", "half a body", "no answer"],
)
@pytest.mark.parametrize("counts", [True, False], ids=["counted", "not counted"])
def test_tries_without_a_response(gateway: Gateway, handler: Any, switch: str, counts: bool) -> None:
    with Upstream(handler or serve_echo) as upstream:
        port = upstream.port if handler else free_port()
        # short only where it is to be spent
        read_timeout = 50 if handler is say_nothing else 60_000
        guarded(gateway, port, breaker(**{switch: counts}), read_timeout=read_timeout)

        def once() -> int:
            try:
                return gateway.request("/", "POST", b"x")[0]
            except (OSError, http.client.HTTPException):
                return 0  # cut off

        statuses = [once() for _ in range(5)]
        failed = {None: 502, say_nothing: 504, cut_off: 0}.get(handler, 502)
        assert statuses == [failed] * (3 if counts else 5) + [503] * (2 if counts else 0)


def test_what_another_plugin_answers_is_no_outcome(gateway: Gateway, behind: Behind) -> None:
    """request-termination runs behind the breaker."""
    stop = plugin("request-termination", status_code=500, trigger="x-stop")
    guarded(gateway, behind.upstream.port, breaker(http_failures=2), stop)
    behind.status = 500
    fail(gateway, 1, 500)
    for _ in range(3):
        assert gateway.request("/", headers={"x-stop": "1"})[0] == 500
    assert behind.asked == 1
    fail(gateway, 1, 500)
    assert ask(gateway) == OPEN


def test_requests_that_are_refused_before_it_do_not_ask_it(gateway: Gateway, behind: Behind) -> None:
    guarded(gateway, behind.upstream.port, breaker(http_failures=1), plugin("key-auth"))
    fail(gateway, 3, 401)
    assert circuits(gateway) == []


# --- half open ----------------------------------------------------------------------------------------


def opened(gateway: Gateway, behind: Behind) -> None:
    """A circuit that has just opened, and is half open in a moment."""
    guarded(gateway, behind.upstream.port, breaker(http_failures=1, timeout=SHORT))
    behind.status = 500
    fail(gateway, 1, 500)
    behind.status = 200


def test_a_probe_that_succeeds_closes_it(gateway: Gateway, behind: Behind) -> None:
    opened(gateway, behind)
    wait_for(lambda: passes(gateway), what="a probe")
    fail(gateway, 5, 200)
    assert circuits(gateway)[0]["state"] == "closed"


def test_a_probe_that_fails_opens_it_again(gateway: Gateway, behind: Behind) -> None:
    opened(gateway, behind)
    behind.status = 500
    wait_for(lambda: ask(gateway)[0] == 500, what="a probe")
    [circuit] = circuits(gateway)
    assert (circuit["state"], circuit["opened"]) == ("open", 2)
    assert behind.asked == 2


def send_probe(gateway: Gateway, behind: Behind, **config: Any) -> socket.socket:
    """A probe that waits for its answer, while the circuit gives nobody else its place: it would do so after
    LONG only. `config`: of the breaker from then on."""
    known = breaker(http_failures=1, timeout=SHORT)
    guarded(gateway, behind.upstream.port, known)
    behind.status = 500
    fail(gateway, 1, 500)
    behind.status = 200
    behind.free.clear()
    wait_for(lambda: circuits(gateway)[0]["retry_in"] == 0, what="its time is over")
    client = gateway.connect()
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_for(lambda: behind.waiting == 1, what="the probe")
    known["config"] = {"http_failures": 1, "timeout": LONG, **config}
    guarded(gateway, behind.upstream.port, known)
    return client


@pytest.mark.parametrize("probes", [1, 3])
def test_no_more_probes_than_allowed(gateway: Gateway, behind: Behind, probes: int) -> None:
    with send_probe(gateway, behind, half_open_requests=probes) as client, ThreadPoolExecutor(24) as clients:
        answers = [clients.submit(ask, gateway) for _ in range(24)]
        wait_for(lambda: sum(one.done() for one in answers) == 25 - probes, what="the others are refused")
        assert {one.result() for one in answers if one.done()} == {OPEN}
        assert behind.asked == 1 + probes
        assert circuits(gateway)[0]["state"] == "half_open"
        behind.free.set()
        assert client.recv(12) == b"HTTP/1.1 200"
        assert sorted(one.result()[0] for one in answers) == [200] * (probes - 1) + [503] * (25 - probes)
    assert circuits(gateway)[0]["state"] == "closed"


def test_a_client_that_goes_away_leaves_its_place_to_another(gateway: Gateway, behind: Behind) -> None:
    client = send_probe(gateway, behind)
    assert ask(gateway) == OPEN
    client.close()
    behind.free.set()
    wait_for(lambda: passes(gateway), what="another probe")
    assert circuits(gateway)[0]["state"] == "closed"


def test_a_probe_that_hangs_is_replaced(gateway: Gateway, behind: Behind) -> None:
    opened(gateway, behind)
    behind.free.clear()
    with ThreadPoolExecutor(2) as clients:
        wait_for(lambda: circuits(gateway)[0]["retry_in"] == 0, what="its time is over")
        first = clients.submit(ask, gateway)
        wait_for(lambda: behind.waiting == 1, what="a probe")
        second = clients.submit(lambda: wait_for(lambda: passes(gateway), what="another probe"))
        wait_for(lambda: behind.waiting == 2, what="the other probe")
        behind.free.set()
        assert first.result()[0] == 200
        assert second.result()
    assert circuits(gateway)[0]["state"] == "closed"


# --- who has a circuit --------------------------------------------------------------------------------


def balanced(gateway: Gateway, ports: list[int], *plugins: dict[str, Any], **service: Any) -> None:
    """One service on targets at these ports."""
    targets = [{"target": f"127.0.0.1:{port}", "weight": 100} for port in ports]
    document = one_service(80, plugins=list(plugins), **{"retries": 0, **service, "host": "group.test"})
    gateway.configure({**document, "upstreams": [{"name": "group.test", "targets": targets}]})


def test_each_target_has_its_own(gateway: Gateway, behind: Behind, other: Behind) -> None:
    balanced(gateway, [behind.upstream.port, other.upstream.port], breaker(per="target"))
    behind.status = 500
    answers = [ask(gateway)[0] for _ in range(16)]
    assert (answers.count(500), answers.count(200)) == (3, 13)
    fail(gateway, 10, 200)
    assert behind.asked == 3
    other.status = 503
    wait_for(lambda: ask(gateway) == OPEN, what="the other one is open, too")
    asked = other.asked
    for _ in range(6):
        status, headers, body = gateway.request("/")
        assert (status, json.loads(body)["message"]) == OPEN
        assert 990 <= int(headers["Retry-After"]) <= LONG
    assert (behind.asked, other.asked) == (3, asked)
    assert {one["address"]: one["state"] for one in circuits(gateway)} == {
        f"127.0.0.1:{behind.upstream.port}": "open",
        f"127.0.0.1:{other.upstream.port}": "open",
    }


def test_a_target_comes_back(gateway: Gateway, behind: Behind, other: Behind) -> None:
    ports = [behind.upstream.port, other.upstream.port]
    balanced(gateway, ports, breaker(per="target", http_failures=1, timeout=SHORT))
    behind.status = 500
    wait_for(lambda: ask(gateway)[0] == 500, what="it fails")
    behind.status = 200
    wait_for(lambda: ask(gateway) and behind.asked > 4, what="it is asked again")


def test_retries_go_to_targets_whose_circuit_is_closed(gateway: Gateway, behind: Behind) -> None:
    nobody = free_port()
    balanced(gateway, [nobody, behind.upstream.port], breaker(per="target"), retries=3)
    fail(gateway, 20, 200)
    failed = f"connect to upstream failed: 127.0.0.1:{nobody}"
    wait_for(lambda: f"circuit breaker is open: 127.0.0.1:{nobody}" in log_of(gateway), what="the last line")
    wait_for(lambda: log_of(gateway).count(failed) >= 3, what="the lines of the other worker")
    assert log_of(gateway).count(failed) == 3


def test_a_request_that_succeeds_with_a_retry_is_a_success(gateway: Gateway, behind: Behind) -> None:
    balanced(gateway, [free_port(), behind.upstream.port], breaker(http_failures=1), retries=3)
    fail(gateway, 10, 200)
    assert circuits(gateway)[0]["state"] == "closed"


def test_one_that_fails_with_every_try_counts_once(gateway: Gateway) -> None:
    guarded(gateway, free_port(), breaker(), retries=4)
    fail(gateway, 3, 502)
    assert ask(gateway) == OPEN


def test_an_address_without_an_upstream(gateway: Gateway, behind: Behind) -> None:
    guarded(gateway, behind.upstream.port, breaker(per="target"))
    behind.status = 500
    fail(gateway, 3, 500)
    assert ask(gateway) == OPEN
    [circuit] = circuits(gateway)
    assert (circuit["target"], circuit["address"]) == ("127.0.0.1", f"127.0.0.1:{behind.upstream.port}")


def test_services_of_one_breaker_have_one_each(gateway: Gateway, behind: Behind, other: Behind) -> None:
    services = [
        {
            "name": name,
            "host": "127.0.0.1",
            "port": port,
            "routes": [{"paths": [f"/{name}"]}],
        }
        for name, port in (("a", behind.upstream.port), ("b", other.upstream.port))
    ]
    gateway.configure({"services": services, "plugins": [breaker()]})
    behind.status = 500
    assert [ask(gateway, "/a")[0] for _ in range(4)] == [500, 500, 500, 503]
    assert ask(gateway, "/b")[0] == 200
    assert sorted((one["service"]["name"], one["state"]) for one in circuits(gateway)) == [
        ("a", "open"),
        ("b", "closed"),
    ]
