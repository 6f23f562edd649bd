"""The status listener: workers, snapshot numbers, readiness."""

from __future__ import annotations

import time
from pathlib import Path

from asgi_client import Node, ask, with_node

from native.shm import WorkerState

SOMETHING = {"_format_version": "3.0", "services": [{"name": "a", "url": "http://127.0.0.1:1"}]}


def test_status_shows_the_workers(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        await node.load(SOMETHING)
        now = time.monotonic_ns() // 1_000_000
        node.shared.set_worker(
            1,
            pid=99,
            state=WorkerState.WORKER_SERVING,
            generation=2,
            heartbeat=now,
            configuration_number=1,
            peers_number=1,
            identities_number=1,
            connections_active=4,
            requests_total=6,
        )
        node.shared.generation = 2
        node.shared.control_restarts = 3
        found = (await ask(node.status, "GET", "/status")).json()
        (worker,) = found["workers"]
        assert 0 <= worker.pop("heartbeat_age_ms") < 60_000
        assert (
            worker.items()
            >= {
                "index": 1,
                "state": "serving",
                "pid": 99,
                "generation": 2,
                "configuration_number": 1,
                "peers_number": 1,
                "identities_number": 1,
                "connections_active": 4,
                "connections_accepted": 0,
                "requests_total": 6,
                "upstream_active": 0,
                "upstream_idle": 0,
            }.items()
        )
        assert found["configuration_number"] == 1
        assert found["configuration_hash"] == node.plane.configuration.hash
        assert found["control"]["restarts"] == 3
        assert found["generation"] == 2
        assert found["server"]["total_requests"] == 6

    with_node(tmp_path, test)


def test_readiness_needs_a_configuration_and_a_worker_that_serves_it(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        async def ready() -> tuple[int, str]:
            answer = await ask(node.status, "GET", "/status/ready")
            return answer.status, answer.json()["message"]

        assert await ready() == (
            503,
            "no configuration available (configuration hash is not initialized)",
        )
        await node.load({"_format_version": "3.0"})
        assert await ready() == (503, "no configuration available (empty configuration present)")
        await node.load(SOMETHING)
        assert await ready() == (503, "no worker serves the configuration yet")
        node.shared.set_worker(0, pid=1, state=WorkerState.WORKER_STARTING, configuration_number=2)
        assert (await ready())[0] == 503
        node.shared.set_worker(0, state=WorkerState.WORKER_SERVING)
        assert await ready() == (200, "ready")
        node.plane.stopping = True
        assert await ready() == (503, "exiting")

    with_node(tmp_path, test)


def test_the_status_listener_has_nothing_of_the_admin_api(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for target in ("/", "/config"):
            assert (await ask(node.status, "GET", target)).status == 404
        assert (await ask(node.admin, "GET", "/status/ready")).status == 404
        assert (await ask(node.status, "POST", "/status")).status == 405

    with_node(tmp_path, test)
