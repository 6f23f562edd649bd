"""jwt on several workers: what one of them knows all know; what is revoked is revoked everywhere at once."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from gateway.client import AdminClient
from tests.support.attack_tokens import HS256
from tests.support.client import Client
from tests.support.gateway import Gateway, free_port, wait_for
from tests.support.jwt_requests import HITS, MISSES, bearer, counted
from tests.support.stores import admin_of, gateway_on
from tests.support.tokens import SECRET, pair, with_hmac
from tests.support.upstreams import Upstream

WORKERS = 2


class Everywhere:
    """Connections to all workers of a gateway, so that a request can be sent to each of them."""

    def __init__(self, gateway: Gateway, port: int, admin: AdminClient) -> None:
        self.gateway = gateway
        self.port = port
        self.admin = admin
        self.connections: list[Client] = []
        self.exits = ExitStack()
        wait_for(self._connect, what="a connection to every worker")

    def _connect(self) -> bool:
        """Open one more; whether each worker has one."""
        client = self.exits.enter_context(Client(self.port))
        self.connections.append(client)
        client.request("/").response()
        return len([w for w in self.gateway.status()["workers"] if w["connections_active"]]) == WORKERS

    def statuses(self, token: str) -> set[int]:
        """What each connection answers to a token, all at once."""
        for client in self.connections:
            client.request("/", bearer(token))
        return {client.response().status for client in self.connections}


@pytest.fixture(scope="module")
def everywhere() -> Iterator[Everywhere]:
    port = free_port()
    with (
        Upstream() as upstream,
        # with `reuseport` the kernel spreads connections over the workers
        gateway_on("sqlite", worker_processes=WORKERS, also_listen=f"127.0.0.1:{port} reuseport") as gateway,
        admin_of(gateway) as admin,
    ):
        admin.services.create({"name": "s", "host": "127.0.0.1", "port": upstream.port})
        admin.routes.create({"name": "r", "paths": ["/"], "service": {"name": "s"}})
        admin.plugins.create({"name": "jwt"})
        found = Everywhere(gateway, port, admin)
        with found.exits:
            yield found


@pytest.fixture
def consumer(everywhere: Everywhere) -> Iterator[dict[str, Any]]:
    made = everywhere.admin.consumers.create({"username": "api-client"})
    yield made
    everywhere.admin.consumers.delete(made["id"])


def add_secret(everywhere: Everywhere, consumer: dict[str, Any], **fields: Any) -> str:
    """The path of a new credential."""
    path = f"/consumers/{consumer['id']}/jwt"
    return f"{path}/{admin_call(everywhere, 'POST', path, fields)['id']}"


def admin_call(everywhere: Everywhere, method: str, path: str, values: Any = None) -> Any:
    """One request to the Admin API; the test fails when it is refused."""
    body = json.dumps(values).encode() if values is not None else None
    gateway = everywhere.gateway
    status, _, answer = gateway.call(
        gateway.admin_port, method, path, body, {"Content-Type": "application/json"}
    )
    assert status < 300, answer
    return json.loads(answer) if answer else None


def token_of(issuer: str) -> str:
    """A new one."""
    return pair("HS256").sign({"iss": issuer, "jti": time.monotonic_ns()})


def test_what_one_worker_knows_all_know(everywhere: Everywhere, consumer: dict[str, Any]) -> None:
    add_secret(everywhere, consumer, key="k", secret=SECRET)
    token = token_of("k")
    everywhere.connections[0].request("/", bearer(token))
    assert everywhere.connections[0].response().status == 200
    hits, misses = (counted(everywhere.gateway, name) for name in (HITS, MISSES))
    for _ in range(3):
        assert everywhere.statuses(token) == {200}
    assert counted(everywhere.gateway, MISSES) == misses
    assert counted(everywhere.gateway, HITS) == hits + 3 * len(everywhere.connections)


def test_a_deleted_credential_stops_everywhere(everywhere: Everywhere, consumer: dict[str, Any]) -> None:
    for _ in range(5):
        path = add_secret(everywhere, consumer, key="k", secret=SECRET)
        token = token_of("k")
        assert everywhere.statuses(token) == {200}
        admin_call(everywhere, "DELETE", path)
        assert everywhere.statuses(token) == {401}


def test_a_changed_secret_counts_everywhere(everywhere: Everywhere, consumer: dict[str, Any]) -> None:
    path = add_secret(everywhere, consumer, key="k", secret=SECRET)
    token = token_of("k")
    other = with_hmac(HS256, {"iss": "k"}, b"other")
    for _ in range(5):
        assert everywhere.statuses(token) == {200}
        admin_call(everywhere, "PATCH", path, {"secret": "other"})
        assert (everywhere.statuses(token), everywhere.statuses(other)) == ({401}, {200})
        admin_call(everywhere, "PATCH", path, {"secret": SECRET})
        assert (everywhere.statuses(token), everywhere.statuses(other)) == ({200}, {401})


def test_a_deleted_consumer_stops_everywhere(everywhere: Everywhere) -> None:
    for name in ("k", "short-lived"):  # by key, and by user name
        consumer = everywhere.admin.consumers.create({"username": "short-lived"})
        add_secret(everywhere, consumer, key="k", secret=SECRET)
        token = token_of(name)
        assert everywhere.statuses(token) == {200}
        everywhere.admin.consumers.delete(consumer["id"])
        assert everywhere.statuses(token) == {401}


def test_a_renamed_consumer_stops_everywhere(everywhere: Everywhere, consumer: dict[str, Any]) -> None:
    add_secret(everywhere, consumer, secret=SECRET)
    token = token_of("api-client")
    for _ in range(3):
        assert everywhere.statuses(token) == {200}
        everywhere.admin.consumers.update(consumer["id"], {"username": "renamed"})
        assert everywhere.statuses(token) == {401}
        everywhere.admin.consumers.update(consumer["id"], {"username": "api-client"})


def test_a_flood_of_bad_tokens_disturbs_nobody_who_is_known(
    everywhere: Everywhere, consumer: dict[str, Any]
) -> None:
    add_secret(everywhere, consumer, key="k", secret=SECRET)
    token = token_of("k")
    assert everywhere.statuses(token) == {200}
    hits = counted(everywhere.gateway, HITS)
    flood = 2000
    with ExitStack() as exits:
        clients = [exits.enter_context(Client(everywhere.port)) for _ in range(20)]
        for number in range(flood // len(clients)):
            for place, client in enumerate(clients):
                bad = with_hmac(HS256, {"iss": "k", "n": [number, place]}, b"wrong")
                client.request("/", bearer(bad))
            if number % 10 == 0:
                assert everywhere.statuses(token) == {200}
            assert {client.response().status for client in clients} == {401}
    assert counted(everywhere.gateway, HITS) >= hits + len(everywhere.connections)
    assert everywhere.statuses(token_of("k")) == {200}


def has_loaded(pid: int, package: str) -> bool:
    """Whether a process has a native module of a Python package."""
    return f"/{package}/" in Path(f"/proc/{pid}/maps").read_text()


def test_a_killed_worker_takes_nothing_with_it(everywhere: Everywhere, consumer: dict[str, Any]) -> None:
    """Last in this module: it ends connections."""
    add_secret(everywhere, consumer, key="k", secret=SECRET)
    gateway = everywhere.gateway
    token = token_of("k")
    assert everywhere.statuses(token) == {200}
    before = set(gateway.worker_pids())
    victim = before.pop()
    os.kill(victim, signal.SIGKILL)
    wait_for(lambda: len(set(gateway.worker_pids()) - {victim}) == WORKERS, what="a new worker")
    (fresh,) = set(gateway.worker_pids()) - before
    wait_for(lambda: has_loaded(fresh, "cryptography"), what="it is ready before anybody asks")
    misses = counted(gateway, MISSES)
    for _ in range(20):
        status, _, _ = gateway.request("/", headers={"Authorization": f"Bearer {token}"})
        assert status == 200
    assert counted(gateway, MISSES) == misses
