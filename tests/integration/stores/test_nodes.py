"""Real gateways on databases: nodes that follow each other, outages, kills."""

from __future__ import annotations

import http.client
import json
import os
import pwd
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import psutil
import pytest

from gateway.store.sql.connections import Address
from tests.support.databases import fresh_database, settings_of, shared_server
from tests.support.gateway import Gateway, free_port, wait_for


@pytest.fixture
def database() -> Iterator[Address]:
    """A PostgreSQL database without tables."""
    with fresh_database() as address:
        yield address


def call(gateway: Gateway, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, Any]:
    """A request to the Admin API: status and decoded answer."""
    data = None if body is None else json.dumps(body).encode()
    status, _, answer = gateway.call(
        gateway.admin_port, method, path, data, {"Content-Type": "application/json"}
    )
    return status, json.loads(answer) if answer else None


def add_route(gateway: Gateway, name: str) -> None:
    """A route for /name to a port where nobody listens."""
    service = {"name": name, "host": "127.0.0.1", "port": free_port(), "retries": 0}
    status, answer = call(gateway, "POST", "/services", service)
    assert status == 201, answer
    status, answer = call(gateway, "POST", f"/services/{name}/routes", {"name": name, "paths": [f"/{name}"]})
    assert status == 201, answer


def routes(gateway: Gateway, name: str) -> bool:
    """Whether the proxy knows the route: 502 because nobody listens, 404 without it."""
    status, _, _ = gateway.request(f"/{name}")
    assert status in (404, 502)
    return status == 502


def add_target(gateway: Gateway) -> None:
    """A target whose health is checked."""
    upstream = {"name": "pool", "healthchecks": {"passive": {"unhealthy": {"tcp_failures": 3}}}}
    assert call(gateway, "POST", "/upstreams", upstream)[0] == 201
    assert call(gateway, "POST", "/upstreams/pool/targets", {"target": "127.0.0.1:9"})[0] == 201


def mark(gateway: Gateway, word: str) -> None:
    """Make the target healthy or unhealthy."""
    assert call(gateway, "PUT", f"/upstreams/pool/targets/127.0.0.1:9/{word}") == (204, None)


def health(gateway: Gateway) -> str:
    """The health of the target."""
    return str(call(gateway, "GET", "/upstreams/pool/health")[1]["data"][0]["health"])


def end(gateway: Gateway, number: int) -> None:
    """End the gateway, in order (SIGTERM) or by killing every process of it."""
    assert gateway.process is not None
    family = [psutil.Process(gateway.process.pid), *gateway.family()]
    if number == signal.SIGKILL:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.kill()
    else:
        gateway.process.send_signal(number)
    gateway.process.wait(timeout=30)
    _, alive = psutil.wait_procs(family[1:], timeout=30)
    assert not alive


def is_reachable(gateway: Gateway) -> bool:
    return bool(gateway.status()["database"]["reachable"])


def test_database_needs_bootstrapping(database: Address) -> None:
    gateway = Gateway(**settings_of(database))  # type: ignore[arg-type]
    result = gateway.run_command("start")
    assert result.returncode != 0
    assert "Database needs bootstrapping" in result.stdout + result.stderr + gateway.output()
    assert "Traceback" not in result.stdout + result.stderr + gateway.output()
    gateway.directory.cleanup()


def test_nodes_follow_each_other_and_outlive_the_database(database: Address) -> None:
    first = Gateway(**settings_of(database))  # type: ignore[arg-type]
    assert first.run_command("migrations", "bootstrap").returncode == 0
    with first, Gateway(**settings_of(database)) as second:  # type: ignore[arg-type]
        add_route(first, "one")
        assert routes(first, "one"), "at once where it was written"
        wait_for(lambda: routes(second, "one"), what="the other node serves it")
        assert call(second, "GET", "/routes/one")[0] == 200
        status, answer = call(second, "POST", "/services", {"name": "one", "host": "h"})
        assert (status, answer["code"]) == (409, 5)
        add_target(first)
        mark(first, "unhealthy")
        assert health(first) == "UNHEALTHY"
        wait_for(lambda: health(second) == "UNHEALTHY", what="the other node leaves it out, too")
        mark(second, "healthy")
        assert health(second) == "HEALTHY"
        wait_for(lambda: health(first) == "HEALTHY", what="and takes it back")

        server = shared_server()
        server.kill()
        try:
            status, answer = call(first, "POST", "/services", {"name": "two", "host": "h"})
            assert status >= 500
            assert "message" in answer
            assert routes(first, "one")
            assert call(first, "GET", "/routes/one")[0] == 200
            wait_for(lambda: not is_reachable(second), what="the other node notices")
            mark(second, "unhealthy")
            assert (health(first), health(second)) == ("HEALTHY", "UNHEALTHY"), "each for itself"

            end(second, signal.SIGTERM)
            second.start()
            assert routes(second, "one"), "the last known state, after a restart without the database"
            assert not is_reachable(second)
            assert call(second, "GET", "/routes/one")[0] == 200
        finally:
            server.start()
        wait_for(lambda: is_reachable(first) and is_reachable(second), what="both find it again")
        add_route(second, "three")
        wait_for(lambda: routes(first, "three"), what="the first node has caught up")
        assert routes(second, "three")


@pytest.mark.parametrize("whole", [True, False], ids=["gateway", "control process"])
def test_every_acknowledged_write_survives_kills(whole: bool) -> None:
    acknowledged: list[str] = []
    stop = threading.Event()

    def write(gateway: Gateway, writer: int) -> None:
        number = 0
        while not stop.is_set():
            name = f"consumer-{writer}-{number}"
            try:
                status, _ = call(gateway, "POST", "/consumers", {"username": name})
            except (OSError, ValueError, http.client.HTTPException):
                stop.wait(0.05)
                continue
            if status == 201:
                acknowledged.append(name)
            number += 1

    with Gateway(database="sqlite") as gateway:
        add_route(gateway, "one")
        writers = [threading.Thread(target=write, args=(gateway, number)) for number in range(4)]
        for writer in writers:
            writer.start()
        try:
            for _ in range(2):
                seen = len(acknowledged)
                wait_for(lambda seen=seen: len(acknowledged) > seen + 20, seconds=60, what="writes go on")
                if whole:
                    end(gateway, signal.SIGKILL)
                    gateway.start()
                else:
                    state = json.loads((gateway.prefix / "state.json").read_text())
                    psutil.Process(state["control_pid"]).kill()
                    assert routes(gateway, "one"), "traffic goes on"
            seen = len(acknowledged)
            wait_for(lambda: len(acknowledged) > seen + 5, seconds=60, what="writes go on")
        finally:
            stop.set()
            for writer in writers:
                writer.join(60)
        assert routes(gateway, "one")
        lost = [name for name in acknowledged if call(gateway, "GET", f"/consumers/{name}")[0] != 200]
        assert not lost


def test_what_the_command_line_imports_is_served(tmp_path: Any) -> None:
    """Another process writes to the SQLite file of a running gateway."""
    document = tmp_path / "kong.yml"
    document.write_text(
        '_format_version: "3.0"\nservices:\n- name: s\n  url: http://127.0.0.1:1\n'
        "  routes: [{name: imported, paths: [/imported]}]\n"
    )
    with Gateway(database="sqlite") as gateway:
        assert not routes(gateway, "imported")
        result = gateway.run_command("config", "db_import", str(document))
        assert result.returncode == 0, result.stderr
        wait_for(lambda: routes(gateway, "imported"), what="the gateway serves what was imported")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of another user")
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_started_as_root_for_another_user(kind: str, database: Address) -> None:
    """The control process makes and uses its files as that user, commands of root do not take them away."""
    settings = settings_of(database) if kind == "postgres" else {"database": "sqlite"}
    gateway = Gateway(user="nobody", **settings)  # type: ignore[arg-type]
    gateway.prefix.chmod(0o755)
    if kind == "postgres":
        assert gateway.run_command("migrations", "bootstrap").returncode == 0
    with gateway:
        add_route(gateway, "one")
        assert routes(gateway, "one")
        assert gateway.run_command("migrations", "up", "--force").returncode == 0
        add_route(gateway, "two")
        files = list((gateway.prefix / "control").glob("*.sqlite*"))
        assert len(files) == 3
        for file in files:
            found = file.stat()
            assert (found.st_uid, found.st_mode & 0o777) == (pwd.getpwnam("nobody").pw_uid, 0o600)
        end(gateway, signal.SIGTERM)
        gateway.start()
        assert routes(gateway, "two")
