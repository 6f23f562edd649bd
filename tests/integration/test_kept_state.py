"""What a node knows is kept when its configuration, settings or processes change: stored responses, open
circuits, targets that are out, and whose turn it is."""

from __future__ import annotations

import json
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.footprint import other_control, other_workers
from tests.support.gateway import Gateway, wait_for
from tests.support.upstreams import Connection, Upstream, response

BREAKER_ID = "5d3a4f1e-7c38-4c5b-9a53-0d1f6a7c2b11"
CACHE_ID = "5d3a4f1e-7c38-4c5b-9a53-0d1f6a7c2b12"
LONG = 1000
"""seconds: longer than the test"""


def named(connection: Connection) -> None:
    """Answer with the port."""
    while connection.read_request()[0]:
        connection.send(response(b"%d" % connection.upstream.port, "200 OK", b"Content-Type: text/plain"))


def failing(connection: Connection) -> None:
    while connection.read_request()[0]:
        connection.send(response(b"", "500 Oh"))


def service(name: str, host: str, port: int, *plugins: dict[str, Any]) -> dict[str, Any]:
    routes = [{"name": name, "paths": [f"/{name}"]}]
    return {
        "name": name,
        "host": host,
        "port": port,
        "retries": 0,
        "routes": routes,
        "plugins": list(plugins),
    }


class Behind:
    """The upstreams, and the configuration with all of them."""

    def __init__(self, targets: list[Upstream], bad: Upstream) -> None:
        self.targets = targets
        self.bad = bad

    def document(self, number: int = 0) -> dict[str, Any]:
        """`number`: one that is not like the others."""
        breaker = {"http_failures": 2, "timeout": LONG}
        cache = {"strategy": "memory", "content_type": ["text/plain"]}
        weights = zip((*self.targets, self.bad), (300, 100, 100), strict=True)
        return {
            "_format_version": "3.0",
            "services": [
                service(
                    "cached",
                    "127.0.0.1",
                    self.targets[0].port,
                    {"id": CACHE_ID, "name": "proxy-cache", "config": cache},
                ),
                service(
                    "guarded",
                    "127.0.0.1",
                    self.bad.port,
                    {"id": BREAKER_ID, "name": "proxy-circuit-breaker", "config": breaker},
                ),
                service("balanced", "pool", 80),
            ],
            "upstreams": [
                {
                    "name": "pool",
                    "healthchecks": {"passive": {"unhealthy": {"http_failures": 1}}},
                    "targets": [
                        {"target": f"127.0.0.1:{one.port}", "weight": weight} for one, weight in weights
                    ],
                }
            ],
            "consumers": [{"username": f"consumer-{number}"}],
        }


@pytest.fixture(scope="module")
def behind() -> Iterator[Behind]:
    with Upstream(named) as one, Upstream(named) as other, Upstream(failing) as bad:
        yield Behind([one, other], bad)


@pytest.fixture(scope="module")
def gateway(behind: Behind) -> Iterator[Gateway]:
    with Gateway(behind.document(), worker_processes=2) as gateway:
        yield gateway


def reload(gateway: Gateway) -> None:
    finished = gateway.run_command("reload")
    assert finished.returncode == 0, finished.stderr


def send_configuration(gateway: Gateway, behind: Behind) -> None:
    gateway.configure(behind.document(1))


def reload_the_file(gateway: Gateway, behind: Behind) -> None:
    gateway.config_path.write_text(json.dumps(behind.document(2)))
    reload(gateway)


def change_settings(gateway: Gateway, behind: Behind) -> None:
    """Workers of a new generation take over."""
    old = set(gateway.worker_pids())
    gateway.settings["worker_connections"] = 500 + gateway.status()["generation"]
    reload(gateway)
    wait_for(partial(has_two_others, gateway, old), what="new workers serve alone")


def kill_workers(gateway: Gateway, behind: Behind) -> None:
    old = set(gateway.worker_pids())
    for pid in old:
        os.kill(pid, signal.SIGKILL)
    wait_for(partial(has_two_others, gateway, old), what="other workers serve")


def kill_control_process(gateway: Gateway, behind: Behind) -> None:
    """The next one reads the configuration file again."""
    gateway.config_path.write_text(json.dumps(behind.document(3)))
    old = gateway.status()["control"]["pid"]
    os.kill(old, signal.SIGKILL)
    wait_for(partial(other_control, gateway, old), what="another control process")


def has_two_others(gateway: Gateway, old: set[int]) -> bool:
    return other_workers(gateway, old, 2) and gateway.accepts()


def circuits(gateway: Gateway) -> list[dict[str, Any]]:
    return list(json.loads(gateway.call(gateway.admin_port, "GET", "/circuit-breakers")[2])["data"])


def unhealthy(gateway: Gateway) -> list[int]:
    """Ports of the targets that are out."""
    body = gateway.call(gateway.admin_port, "GET", "/upstreams/pool/health")[2]
    return [one["data"]["port"] for one in json.loads(body)["data"] if one["health"] == "UNHEALTHY"]


@pytest.mark.parametrize(
    "change",
    [send_configuration, reload_the_file, change_settings, kill_workers, kill_control_process],
)
def test_what_is_known_is_kept(
    gateway: Gateway, behind: Behind, change: Callable[[Gateway, Behind], None]
) -> None:
    path = f"/cached/{change.__name__}"
    assert gateway.request(path)[1]["X-Cache-Status"] == "Miss"
    wait_for(lambda: gateway.request("/guarded")[0] == 503, what="the circuit is open")
    wait_for(lambda: unhealthy(gateway) or not gateway.request("/balanced"), what="the target is out")

    def turns(count: int) -> Counter[int]:
        return Counter(int(gateway.request("/balanced")[2]) for _ in range(count))

    asked = len(behind.bad.requests)
    before = turns(10)
    change(gateway, behind)
    assert before + turns(10) == {behind.targets[0].port: 15, behind.targets[1].port: 5}
    assert [gateway.request(path)[1]["X-Cache-Status"] for _ in range(4)] == ["Hit"] * 4
    assert [gateway.request("/guarded")[0] for _ in range(4)] == [503] * 4
    assert len(behind.bad.requests) == asked
    assert unhealthy(gateway) == [behind.bad.port]
    [circuit] = circuits(gateway)
    assert (circuit["state"], circuit["service"]["name"]) == ("open", "guarded")
