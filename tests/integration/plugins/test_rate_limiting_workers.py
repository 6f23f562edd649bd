"""Limits that several workers count together under load: exactly as many pass as may, and nothing is lost
when one is killed, or Redis is.
"""

from __future__ import annotations

import json
import os
import signal
import uuid
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway import Gateway, one_service, wait_for
from tests.support.load import Backend, EventLoopThread, Load, Report
from tests.support.stores import gateway_on
from tests.support.valkey import Valkey

LIMIT = 150
WORKERS = 2
CONNECTIONS = 12
ALGORITHMS = (None, "sliding-window", "token-bucket")


@pytest.fixture(scope="module")
def thread() -> Iterator[EventLoopThread]:
    with EventLoopThread() as running:
        yield running


@pytest.fixture(scope="module")
def backend(thread: EventLoopThread) -> Backend:
    return Backend(thread)


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with Gateway(worker_processes=WORKERS) as running:
        yield running


def limited(gateway: Gateway, backend: Backend, **config: Any) -> None:
    """One service, of which nobody has heard before, with a limit."""
    plugin = {"name": "rate-limiting", "config": {"year": LIMIT, **config}}
    gateway.configure(one_service(backend.port, name=f"s{uuid.uuid4().hex}", plugins=[plugin]))


def statuses(report: Report) -> Counter[str]:
    """How many answers there were of each status; "" for requests that got none."""
    seen: Counter[str] = Counter()
    for failure in report.failures:
        status = failure.what.partition(": ")[2][:3]
        seen[status if status.isdigit() else ""] += 1
    seen["200"] = report.succeeded
    return seen


def answered(load: Load) -> int:
    return load.report.succeeded + len(load.report.failures)


def hammer(thread: EventLoopThread, gateway: Gateway, requests: int = 2 * LIMIT) -> Counter[str]:
    """Many requests at once, over more connections than workers."""
    with Load(thread, gateway.proxy_port, connections=CONNECTIONS, pause=0) as load:
        wait_for(lambda: answered(load) >= requests, what="requests are answered")
    return statuses(load.report)


@pytest.mark.parametrize(
    ("place", "algorithm"),
    [*((place, name) for place in ("local", "redis") for name in ALGORITHMS), ("redis now and then", None)],
)
def test_exactly_the_limit_passes(
    thread: EventLoopThread,
    gateway: Gateway,
    backend: Backend,
    valkey: Valkey,
    place: str,
    algorithm: str | None,
) -> None:
    config: dict[str, Any] = {"policy": place.partition(" ")[0], "algorithm": algorithm}
    if place == "redis now and then":
        config["sync_rate"] = 0.05
    if place != "local":
        config["redis"] = valkey.settings()
    limited(gateway, backend, **config)
    before = backend.requests
    seen = hammer(thread, gateway)
    assert seen == {"200": LIMIT, "429": sum(seen.values()) - LIMIT}
    assert backend.requests - before == LIMIT


def test_several_limits_admit_what_the_tightest_does(
    thread: EventLoopThread, gateway: Gateway, backend: Backend
) -> None:
    limited(gateway, backend, day=LIMIT - 50, hour=LIMIT - 50)
    assert hammer(thread, gateway)["200"] == LIMIT - 50
    _, head, _ = gateway.request("/load")
    assert head["X-RateLimit-Remaining-Year"] == "50", "what was refused is not counted"


def test_a_killed_worker_loses_no_count(thread: EventLoopThread, gateway: Gateway, backend: Backend) -> None:
    limit = 4000
    limited(gateway, backend, year=limit)
    before = backend.requests
    with Load(thread, gateway.proxy_port, connections=CONNECTIONS, pause=0) as load:
        wait_for(lambda: load.report.succeeded > limit // 4, what="a part of the limit is used")
        os.kill(gateway.worker_pids()[0], signal.SIGKILL)
        wait_for(lambda: statuses(load.report)["429"] > 100, what="the limit is reached")
    seen = statuses(load.report)
    assert seen["200"] <= backend.requests - before <= limit
    # What was counted and not answered: at most one request for each connection.
    assert seen["200"] >= limit - CONNECTIONS
    wait_for(lambda: len(gateway.worker_pids()) == WORKERS, what="the worker is started again")
    assert {gateway.request("/load")[0] for _ in range(10)} == {429}


@pytest.mark.parametrize("tolerant", [True, False])
def test_redis_that_is_killed_and_started_again_under_load(
    thread: EventLoopThread, gateway: Gateway, backend: Backend, tolerant: bool
) -> None:
    with Valkey() as valkey:
        limited(
            gateway, backend, policy="redis", redis=valkey.settings(timeout=5000), fault_tolerant=tolerant
        )
        failing = "200" if tolerant else "500"
        with Load(thread, gateway.proxy_port, connections=CONNECTIONS, pause=0.001) as load:
            wait_for(lambda: statuses(load.report)["429"] > 50, what="the limit is reached")
            assert statuses(load.report)["200"] == LIMIT
            valkey.kill()
            so_far = statuses(load.report)
            wait_for(
                lambda: statuses(load.report)[failing] > so_far[failing] + 100,
                what=f"requests are answered {failing}",
            )
            valkey.start()
            refused = statuses(load.report)["429"]
            wait_for(lambda: statuses(load.report)["429"] > refused + 50, what="the limit holds again")
        seen = statuses(load.report)
        assert set(seen) == {"200", "429"} if tolerant else {"200", "429", "500"}
        if not tolerant:
            assert seen["200"] == 2 * LIMIT, "once before, once after the count was lost"
    assert "rate limits: cannot count: Redis at 127.0.0.1" in (gateway.prefix / "error.log").read_text()


def test_nodes_that_share_a_database_share_its_limits(thread: EventLoopThread, backend: Backend) -> None:
    with gateway_on("postgres", worker_processes=WORKERS) as gateway:
        for path, entity in (
            ("services", {"name": "s", "host": "127.0.0.1", "port": backend.port}),
            ("services/s/routes", {"paths": ["/"], "strip_path": False}),
            (
                "services/s/plugins",
                {"name": "rate-limiting", "config": {"year": LIMIT, "day": LIMIT, "policy": "cluster"}},
            ),
        ):
            status, _, text = gateway.call(
                gateway.admin_port,
                "POST",
                f"/{path}",
                json.dumps(entity).encode(),
                {"Content-Type": "application/json"},
            )
            assert status == 201, text
        before = backend.requests
        assert hammer(thread, gateway)["200"] == LIMIT
        assert backend.requests - before == LIMIT
        # A second node, which begins with the counts of the first.
        settings = {name: gateway.settings[name] for name in gateway.settings if str(name).startswith("pg_")}
        with Gateway(database="postgres", **settings) as other:
            wait_for(lambda: other.request("/load")[0] != 404, what="the second node has the configuration")
            assert {other.request("/load")[0] for _ in range(5)} == {429}
