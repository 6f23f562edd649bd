"""The declarative file that is written, by real gateways (DATABASE=off, DECLARATIVE_WRITABLE=on)."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from gateway.store import check_file
from tests.support.gateway import Gateway, wait_for
from tests.support.upstreams import Upstream

JSON = {"Content-Type": "application/json"}


def text_for(port: int) -> str:
    return f"""\
# in git
_format_version: "3.0"

services:
# the upstream of the tests
- name: upstream
  host: 127.0.0.1     # here
  port: {port}
  routes:
  - name: first
    paths: [/first]   # by hand
"""


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with Upstream() as running:
        yield running


@pytest.fixture
def file(tmp_path: Path, upstream: Upstream) -> Path:
    path = tmp_path / "kong.yml"
    path.write_text(text_for(upstream.port))
    return path


def gateway_on(file: Path, **settings: object) -> Gateway:
    return Gateway(declarative_config=file, declarative_writable="on", **settings)


def admin(
    gateway: Gateway, method: str, path: str, body: Mapping[str, Any] | None = None
) -> tuple[int, dict[str, Any]]:
    data = None if body is None else json.dumps(body).encode()
    status, _, answer = gateway.call(gateway.admin_port, method, path, data, JSON if data else {})
    return status, json.loads(answer) if answer else {}


def test_a_write_is_live_in_the_file_and_after_a_restart(file: Path) -> None:
    before = file.read_text()
    with gateway_on(file, worker_processes=2) as gateway:
        assert gateway.request("/second")[0] == 404
        status, route = admin(
            gateway, "POST", "/services/upstream/routes", {"name": "second", "paths": ["/second"]}
        )
        assert status == 201, route
        assert gateway.request("/second")[0] == 200
        assert admin(gateway, "PATCH", "/services/upstream", {"retries": 2})[0] == 200
        assert admin(gateway, "PUT", "/consumers/bob", {"custom_id": "7"})[0] == 200
        assert admin(gateway, "DELETE", "/consumers/bob")[0] == 204
        shown = {kind: admin(gateway, "GET", f"/{kind}")[1]["data"] for kind in ("services", "routes")}
    text = file.read_text()
    assert text.startswith(before.partition("  port")[0])
    assert "    paths: [/first]   # by hand\n  - name: second\n" in text
    assert "bob" not in text
    with gateway_on(file) as gateway:
        assert gateway.request("/second")[0] == 200
        assert admin(gateway, "GET", "/services")[1]["data"] == shown["services"]
        assert admin(gateway, "GET", "/routes/second")[1] == route
        assert {one["id"] for one in admin(gateway, "GET", "/routes")[1]["data"]} == {
            one["id"] for one in shown["routes"]
        }


def test_a_hand_edit_and_a_write_are_both_kept(file: Path) -> None:
    with gateway_on(file) as gateway:
        file.write_text(file.read_text().replace("paths: [/first]", "paths: [/by-hand]"))
        assert gateway.request("/by-hand")[0] == 404
        assert admin(gateway, "POST", "/upstreams", {"name": "pool"})[0] == 201
        assert gateway.request("/by-hand")[0] == 200
        assert "[/by-hand]   # by hand" in file.read_text()
        file.write_text(file.read_text().replace("paths: [/by-hand]", "paths: [/again]"))
        assert gateway.run_command("reload").returncode == 0
        assert gateway.request("/again")[0] == 200
        assert admin(gateway, "GET", "/upstreams/pool")[0] == 200


def test_a_broken_file_is_told_and_left_alone(file: Path) -> None:
    with gateway_on(file) as gateway:
        broken = file.read_text().replace("paths: [/first]", "paths: [first]")
        file.write_text(broken)
        status, answer = admin(gateway, "POST", "/upstreams", {"name": "pool"})
        assert status == 500
        assert "kong.yml:11: services[0].routes[0].paths[0]: should start with" in answer["message"]
        assert file.read_text() == broken
        assert gateway.request("/first")[0] == 200
        assert admin(gateway, "GET", "/upstreams/pool")[0] == 404
        file.write_text(broken.replace("[first]", "[/first]"))
        assert admin(gateway, "POST", "/upstreams", {"name": "pool"})[0] == 201


def test_post_config_replaces_the_content(file: Path, upstream: Upstream) -> None:
    with gateway_on(file) as gateway:
        document = {
            "_format_version": "3.0",
            "services": [
                {
                    "name": "upstream",
                    "host": "127.0.0.1",
                    "port": upstream.port,
                    "routes": [{"name": "other", "paths": ["/other"]}],
                }
            ],
            "consumers": [
                {"username": "c", "basicauth_credentials": [{"username": "u", "password": "clear"}]}
            ],
        }
        status, answer = admin(gateway, "POST", "/config", document)
        assert status == 201, answer
        (credential,) = answer["basicauth_credentials"].values()
        assert credential["password"] == "clear"  # noqa: S105
        assert (gateway.request("/first")[0], gateway.request("/other")[0]) == (404, 200)
        assert admin(gateway, "POST", "/config?check_hash=1", document)[0] == 304
        stored = admin(gateway, "GET", "/basic-auths/u")[1]["password"]
    text = file.read_text()
    assert "# the upstream of the tests" in text
    assert "127.0.0.1     # here" in text
    assert "first" not in text
    assert "password: clear" in text
    with gateway_on(file) as gateway:
        assert gateway.request("/other")[0] == 200
        assert admin(gateway, "GET", "/basic-auths/u")[1]["password"] == stored


def test_two_gateways_on_one_file(file: Path) -> None:
    with gateway_on(file) as one, gateway_on(file) as other:

        def write(number: int) -> int:
            gateway = (one, other)[number % 2]
            return admin(gateway, "PUT", f"/services/s{number}", {"host": "h"})[0]

        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(write, range(40))) == {200}
        services = check_file(file).of("services")
        assert {service.name for service in services.values()} == {  # type: ignore[attr-defined]
            "upstream",
            *(f"s{number}" for number in range(40)),
        }
        admin(one, "PUT", "/services/s0", {"host": "h2"})
        assert len(admin(one, "GET", "/services")[1]["data"]) == 41
        status, answer = admin(other, "POST", "/services", {"name": "s0", "host": "h"})
        assert (status, answer["code"]) == (409, 5)


def test_acknowledged_writes_outlive_any_kill(file: Path) -> None:
    """The control process is killed at any moment; the file is whole, and has all that was acknowledged."""
    acknowledged: set[str] = set()
    with gateway_on(file) as gateway:
        stop = threading.Event()

        def write() -> None:
            number = 0
            while not stop.is_set():
                number += 1
                try:
                    status, _ = admin(gateway, "PUT", f"/services/s{number}", {"host": "h"})
                except (OSError, ValueError, http.client.HTTPException):
                    continue
                if status == 200:
                    acknowledged.add(f"s{number}")

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(4):
                wanted = len(acknowledged) + random.randint(1, 9)
                wait_for(partial(has_more_than, acknowledged, wanted), what="writes", seconds=30)
                kill_control_process(gateway)
        finally:
            stop.set()
            writer.join()
        found = {service.name for service in check_file(file).of("services").values()}  # type: ignore[attr-defined]
        assert acknowledged <= found
        wait_for(lambda: shown_services(gateway) == len(found), what="the file is served", seconds=20)
    assert [path.name for path in file.parent.iterdir() if ".new" not in path.name] == ["kong.yml"]


def has_more_than(acknowledged: set[str], count: int) -> bool:
    return len(acknowledged) > count


def shown_services(gateway: Gateway) -> int:
    try:
        return len(admin(gateway, "GET", "/services?size=1000")[1]["data"])
    except (OSError, KeyError):
        return -1


def kill_control_process(gateway: Gateway) -> None:
    workers = set(gateway.worker_pids())
    for process in gateway.family():
        if process.pid not in workers and process.ppid() == gateway.process.pid:  # type: ignore[union-attr]
            os.kill(process.pid, signal.SIGKILL)


@pytest.mark.parametrize(
    ("settings", "text"),
    [
        ({}, "a file in DECLARATIVE_CONFIG"),
        ({"declarative_config": "/nonexistent/kong.yml"}, "no such file"),
    ],
)
def test_a_start_that_could_not_write_is_refused(settings: dict[str, Any], text: str) -> None:
    gateway = Gateway(declarative_writable="on", **settings)
    try:
        with pytest.raises(AssertionError, match=text):
            gateway.start()
    finally:
        gateway.stop()


def test_a_read_only_directory_is_a_clear_error(file: Path) -> None:
    """The file system becomes read-only under a running gateway."""
    with gateway_on(file) as gateway:
        file.parent.chmod(0o555)
        try:
            status, answer = admin(gateway, "POST", "/upstreams", {"name": "pool"})
        finally:
            file.parent.chmod(0o755)
        if psutil.Process(gateway.process.pid).uids().effective:  # type: ignore[union-attr]
            assert (status, "Permission denied" in answer["message"]) == (500, True)
        assert admin(gateway, "PUT", "/upstreams/pool", {})[0] == 200


def test_expired_credentials_leave_the_file(file: Path) -> None:
    with gateway_on(file) as gateway:
        assert admin(gateway, "PUT", "/consumers/bob", {})[0] == 200
        status, credential = admin(gateway, "POST", "/consumers/bob/key-auth", {"key": "short", "ttl": 2})
        assert (status, credential["ttl"]) == (201, 1)
        assert "key: short" in file.read_text()
        wait_for(lambda: "key: short" not in file.read_text(), what="the credential is removed")
        assert admin(gateway, "GET", "/key-auths/short")[0] == 404
        assert "username: bob" in file.read_text()


def test_an_empty_file_is_ready_for_its_first_write(tmp_path: Path) -> None:
    file = tmp_path / "kong.yml"
    file.write_text("_format_version: '3.0'\n")
    with gateway_on(file) as gateway:
        status, _, body = gateway.call(gateway.status_port, "GET", "/status/ready")
        assert (status, json.loads(body)) == (200, {"message": "ready"})
