"""Two gateways on one PostgreSQL, each with responses of its own: a purge on one is a purge on both."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.store.sql.connections import Address
from tests.support.cached import PLUGIN_ID, CountingUpstream, admin, cached, get, purge
from tests.support.databases import fresh_database, settings_of, shared_server
from tests.support.gateway import Gateway, wait_for


@pytest.fixture(scope="module")
def upstream() -> Iterator[CountingUpstream]:
    with CountingUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def database() -> Iterator[Address]:
    with fresh_database() as address:
        yield address


@pytest.fixture(scope="module")
def nodes(database: Address, upstream: CountingUpstream) -> Iterator[tuple[Gateway, Gateway]]:
    settings: Any = settings_of(database)
    one = Gateway(**settings)
    assert one.run_command("migrations", "bootstrap").returncode == 0
    with one, Gateway(**settings) as other:
        create(one, "/services", name="s", host="127.0.0.1", port=upstream.port)
        create(one, "/services/s/routes", paths=["/"])
        create(one, "/services/s/plugins", id=PLUGIN_ID, name="proxy-cache", config={"strategy": "memory"})
        wait_for(lambda: get(other, "/").get("x-cache-status"), what="the other node serves it")
        yield one, other


def create(gateway: Gateway, path: str, **fields: Any) -> None:
    status, _, answer = gateway.call(
        gateway.admin_port, "POST", path, json.dumps(fields).encode(), {"Content-Type": "application/json"}
    )
    assert status == 201, answer


def store(nodes: tuple[Gateway, Gateway], target: str) -> str:
    """Have both nodes store a response, each its own; its key, which is the same."""
    keys = set()
    for node in nodes:
        found = get(node, target)
        assert found.get("x-cache-status") == "Miss"
        keys.add(found.get("x-cache-key"))
        assert cached(node, target)[0] == "Hit"
    (key,) = keys
    assert key is not None
    return key


@pytest.mark.parametrize("by", ["key", "tag", "prefix", "plugin", "everything"])
def test_a_purge_reaches_both(nodes: tuple[Gateway, Gateway], by: str) -> None:
    one, other = nodes
    target = f"/{by}/1?tags=tag-{by}"
    key = store(nodes, target)
    path = {
        "key": f"/{key}",
        "tag": f"?tag=tag-{by}",
        "prefix": f"?prefix=/{by}",
        "plugin": f"/{PLUGIN_ID}",
        "everything": "",
    }[by]
    purge(one, path)
    assert cached(one, target)[0] == "Miss"
    wait_for(lambda: admin(other, "GET", f"/proxy-cache/{key}")[0] == 404, what="the other node was told")
    assert cached(other, target)[0] == "Miss"


def test_a_control_process_that_was_away_does_it_later(nodes: tuple[Gateway, Gateway]) -> None:
    """Requests are served meanwhile, from the memory that outlives it."""
    one, other = nodes
    key = store(nodes, "/while-away")
    (control,) = [process for process in other.family() if process.name() == "gateway-control"]
    control.send_signal(signal.SIGSTOP)
    try:
        purge(one, f"/{key}")
        assert cached(other, "/while-away")[0] == "Hit"
    finally:
        control.kill()
    wait_for(lambda: cached(other, "/while-away")[0] == "Miss", what="the next one does it", seconds=20)


def test_without_the_database_the_own_responses_go_and_it_is_said(nodes: tuple[Gateway, Gateway]) -> None:
    one, other = nodes
    store(nodes, "/outage")
    server = shared_server()
    server.kill()
    try:
        status, body = admin(one, "DELETE", "/proxy-cache?prefix=/outage")
        assert status == 503
        assert "other nodes were not told" in json.loads(body)["message"]
        assert cached(one, "/outage")[0] == "Miss"
        assert cached(other, "/outage")[0] == "Hit"
    finally:
        server.start()

    def purged() -> bool:
        return admin(one, "DELETE", "/proxy-cache?prefix=/outage")[0] == 204

    wait_for(purged, what="the database is back")
    wait_for(lambda: cached(other, "/outage")[0] == "Miss", what="the other node was told")
