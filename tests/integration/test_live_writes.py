"""A committed write is live: at once, in every worker, without a failed request, also after a crash."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.support.footprint import other_control
from tests.support.gateway import Gateway, wait_for
from tests.support.upstreams import Upstream

WORKERS = 2
ROUTES = 10
CONNECTIONS = 12
"""so many that every worker accepts some of them"""


class Admin:
    """One connection to the Admin API."""

    def __init__(self, gateway: Gateway) -> None:
        self.connection = http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=30)

    def send(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """The decoded answer of a request that succeeds."""
        data = None if body is None else json.dumps(body)
        self.connection.request(method, path, data, {"Content-Type": "application/json"})
        response = self.connection.getresponse()
        answer = response.read()
        assert response.status < 300, answer
        return json.loads(answer) if answer else None


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    """Two workers on SQLite, with ten routes to an upstream."""
    with (
        Upstream() as upstream,
        Gateway(database="sqlite", worker_processes=WORKERS, log_level="info") as started,
    ):
        admin = Admin(started)
        admin.send("POST", "/services", {"name": "s", "host": "127.0.0.1", "port": upstream.port})
        for number in range(ROUTES):
            admin.send("POST", "/services/s/routes", {"name": f"r{number}", "paths": [f"/r{number}"]})
        admin.send("POST", "/consumers", {"username": "bob"})
        yield started


def statuses(gateway: Gateway, path: str) -> set[int]:
    """What the workers answer, on new connections."""
    return {gateway.request(path)[0] for _ in range(CONNECTIONS)}


def numbers(gateway: Gateway) -> dict[str, int]:
    """The snapshots that are published, once all workers serve them."""

    def found() -> dict[str, int]:
        status = gateway.status()
        published = {kind: status[f"{kind}_number"] for kind in ("configuration", "peers", "identities")}
        served = [{kind: worker[f"{kind}_number"] for kind in published} for worker in status["workers"]]
        return published if served == [published] * WORKERS else {}

    return wait_for(found, what="the workers serve what is published")


def test_the_next_request_sees_a_write(gateway: Gateway) -> None:
    admin = Admin(gateway)
    for turn in range(10):
        made = admin.send("POST", "/services/s/routes", {"paths": [f"/new{turn}"]})
        assert statuses(gateway, f"/new{turn}") == {200}
        admin.send("PATCH", f"/routes/{made['id']}", {"paths": [f"/other{turn}"]})
        assert statuses(gateway, f"/new{turn}") == {404}
        assert statuses(gateway, f"/other{turn}") == {200}
        admin.send("DELETE", f"/routes/{made['id']}")
        assert statuses(gateway, f"/other{turn}") == {404}


def test_a_target_moves_without_a_new_configuration(gateway: Gateway) -> None:
    admin = Admin(gateway)
    with Upstream() as first, Upstream() as second:
        admin.send("POST", "/upstreams", {"name": "u"})
        old = admin.send("POST", "/upstreams/u/targets", {"target": f"127.0.0.1:{first.port}"})
        admin.send("POST", "/services", {"name": "balanced", "host": "u"})
        admin.send("POST", "/services/balanced/routes", {"name": "balanced", "paths": ["/balanced"]})
        assert statuses(gateway, "/balanced") == {200}
        before = numbers(gateway)
        admin.send("POST", "/upstreams/u/targets", {"target": f"127.0.0.1:{second.port}"})
        admin.send("DELETE", f"/upstreams/u/targets/{old['id']}")
        seen = len(first.requests)
        assert statuses(gateway, "/balanced") == {200}
        assert (len(first.requests), len(second.requests)) == (seen, CONNECTIONS)
        after = numbers(gateway)
        assert (after["configuration"], after["identities"]) == (
            before["configuration"],
            before["identities"],
        )
        assert after["peers"] > before["peers"]
        for path in ("/routes/balanced", "/services/balanced", "/upstreams/u"):
            admin.send("DELETE", path)


def test_a_credential_makes_no_routes_be_compiled(gateway: Gateway) -> None:
    admin = Admin(gateway)
    before = numbers(gateway)
    key = admin.send("POST", "/consumers/bob/key-auth", {"key": "secret"})
    admin.send("POST", "/consumers/bob/acls", {"group": "admins"})
    admin.send("DELETE", f"/consumers/bob/key-auth/{key['id']}")
    after = numbers(gateway)
    assert after == {**before, "identities": before["identities"] + 3}


def test_no_request_fails_while_everything_changes(gateway: Gateway) -> None:
    ended = threading.Event()
    answers: list[int] = []

    def ask() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", gateway.proxy_port, timeout=30)
        while not ended.is_set():
            connection.request("GET", "/r1")
            response = connection.getresponse()
            response.read()
            answers.append(response.status)

    clients = [threading.Thread(target=ask) for _ in range(4)]
    for client in clients:
        client.start()
    try:
        admin = Admin(gateway)
        for turn in range(60):
            admin.send("PATCH", "/routes/r2", {"paths": [f"/turn{turn}", f"~/turn{turn}/\\d+"]})
            admin.send("PUT", f"/consumers/user{turn % 7}", {"custom_id": f"c{turn}"})
            admin.send("PATCH", "/services/s", {"retries": turn % 5})
    finally:
        ended.set()
        for client in clients:
            client.join()
    assert set(answers) == {200}
    assert len(answers) > 100


def test_many_writers_at_once_share_publications(gateway: Gateway) -> None:
    before = numbers(gateway)["configuration"]

    def write(writer: int) -> None:
        admin = Admin(gateway)
        for turn in range(10):
            admin.send("PATCH", f"/routes/r{writer % ROUTES}", {"tags": [f"t{writer}", f"n{turn}"]})

    writers = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert numbers(gateway)["configuration"] - before < 160


def control_process(gateway: Gateway) -> psutil.Process:
    (found,) = [process for process in gateway.family() if process.name() == "gateway-control"]
    return found


def test_what_was_committed_before_a_crash_is_published_after_it(gateway: Gateway) -> None:
    """The control process commits a write, cannot publish it, and is killed."""
    admin = Admin(gateway)
    snapshots, hidden = gateway.prefix / "snapshots", gateway.prefix / "hidden"
    snapshots.rename(hidden)
    snapshots.touch()
    try:
        admin.send("POST", "/services/s/routes", {"name": "late", "paths": ["/late"]})
        assert statuses(gateway, "/late") == {404}
        control = control_process(gateway)
    finally:
        snapshots.unlink()
        hidden.rename(snapshots)
        control.kill()
    wait_for(lambda: served(gateway, "/late"), what="the new control process publishes")
    wait_for(gateway.serves)
    wait_for(partial(other_control, gateway, control.pid), what="the Admin API is back")
    assert Admin(gateway).send("GET", "/routes/late")["paths"] == ["/late"]
    Admin(gateway).send("DELETE", "/routes/late")
    assert statuses(gateway, "/late") == {404}


def served(gateway: Gateway, path: str) -> bool:
    return statuses(gateway, path) == {200}


def test_a_reload_takes_settings_and_leaves_the_entities(gateway: Gateway) -> None:
    before = numbers(gateway)["configuration"]
    routes = Admin(gateway).send("GET", "/routes")
    report = gateway.prefix / "control" / "reload.json"
    done = sequence(report)
    assert gateway.process is not None
    os.kill(gateway.process.pid, signal.SIGHUP)
    wait_for(lambda: sequence(report) > done, what="the reload is done")
    assert json.loads(report.read_text())["ok"]
    wait_for(lambda: gateway.status()["configuration_number"] > before)
    wait_for(gateway.serves)
    assert Admin(gateway).send("GET", "/routes") == routes
    assert statuses(gateway, "/r1") == {200}


def sequence(report: Path) -> int:
    return int(json.loads(report.read_text())["sequence"]) if report.exists() else 0


def test_a_database_without_entities_is_ready() -> None:
    with Gateway(database="sqlite") as empty:
        assert empty.call(empty.status_port, "GET", "/status/ready")[0] == 200


def test_keys_that_have_expired_are_removed(gateway: Gateway) -> None:
    admin = Admin(gateway)
    before = numbers(gateway)["identities"]
    started = time.monotonic()  # before the answer, which may take longer than the key lasts
    admin.send("POST", "/consumers/bob/key-auth", {"key": "short", "ttl": 1})
    wait_for(lambda: gateway.status()["identities_number"] >= before + 2, what="it is removed")
    assert time.monotonic() - started > 0.5
    assert admin.send("GET", "/consumers/bob/key-auth")["data"] == []
