"""The rounds of probes: who is probed when, what becomes of it, and that nothing stops them but their end."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from functools import wraps
from typing import Any

import pytest

from gateway.health import HealthMarks, HealthSlots, Prober, prober
from gateway.health.probe import Outcome
from gateway.health.slots import KEPT_FOR
from gateway.logs import NOTICE
from gateway.snapshot import PeersCompiler, Resolution, ResolutionState
from gateway.snapshot.resolution import ResolvedAddress
from gateway.snapshot.slots import upstream_group
from gateway.store import Configuration, load_declarative_document
from native.shm import SharedState
from native.target_state import TargetHealth, TargetReport
from tests.support.gateway import PATIENCE, free_port
from tests.support.upstreams import Connection, Upstream, response


def in_loop(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run a test on an event loop."""

    @wraps(test)
    def run(*arguments: Any, **fixtures: Any) -> None:
        async def whole() -> None:
            await test(*arguments, **fixtures)
            left = asyncio.all_tasks() - {asyncio.current_task()}
            assert not left, left

        asyncio.run(whole())

    return run


OFTEN = {
    "healthy": {"interval": 0.05, "successes": 1},
    "unhealthy": {"interval": 0.05, "tcp_failures": 1, "timeouts": 1, "http_failures": 2},
}


def document(*targets: str | dict[str, Any], name: str = "u", **active: Any) -> dict[str, Any]:
    made = [{"target": one} if isinstance(one, str) else one for one in targets]
    return {"name": name, "healthchecks": {"active": {**OFTEN, **active}}, "targets": made}


class Node:
    """A prober with its places, whose workers are always up to date."""

    def __init__(self) -> None:
        self.shared = SharedState.create(2)
        self.slots = HealthSlots(self.shared)
        self.prober = Prober(self.slots)
        self.configuration = Configuration.EMPTY
        self.resolutions: Mapping[str, Resolution] = {}
        self._compiler = PeersCompiler(self.slots)

    def use(self, *upstreams: dict[str, Any], resolutions: Mapping[str, Resolution] | None = None) -> None:
        self.configuration = load_declarative_document(
            {"_format_version": "3.0", "upstreams": list(upstreams)}
        )
        self.resolutions = resolutions or {}
        number = self.shared.peers_number + 1
        self._compiler.compile(self.configuration, self.resolutions, number=number)
        self.shared.publish_peers(number)
        self.prober.update(self.configuration, self.resolutions)

    def facts(self, name: str, ip: str = "127.0.0.1", upstream: str = "u") -> Any:
        found = self.configuration.find_unique("upstreams", "name", upstream)
        assert found is not None
        return self.slots.facts(upstream_group(found.id), name, ip, int(name.rpartition(":")[2]))

    def health(self, name: str, ip: str = "127.0.0.1", upstream: str = "u") -> TargetHealth:
        return self.facts(name, ip, upstream)["health"]  # type: ignore[no-any-return]

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await asyncio.sleep(0.005)

    async def until_health(self, name: str, health: TargetHealth, upstream: str = "u") -> None:
        await self.until(lambda: self.health(name, upstream=upstream) is health)


@asynccontextmanager
async def running() -> AsyncIterator[Node]:
    node = Node()
    node.prober.start()
    try:
        yield node
    finally:
        await node.prober.close()


class Server(Upstream):
    """Answers with a status that can be changed; 0: hangs."""

    def __init__(self) -> None:
        self.status = 200
        self.paths: list[bytes] = []
        self.at_once = self.most_at_once = 0
        self.delay = 0.0
        self._counting = threading.Lock()
        super().__init__(self.answer)
        self.name = f"127.0.0.1:{self.port}"

    def answer(self, connection: Connection) -> None:
        head = connection.read_head()
        if not head:
            return
        self.paths.append(head.split()[1])
        if not self.status:
            connection.wait_for_end()
            return
        with self._counting:
            self.at_once += 1
            self.most_at_once = max(self.at_once, self.most_at_once)
        time.sleep(self.delay)
        with self._counting:  # before it answers: the next probe may come while this thread still waits
            self.at_once -= 1
        connection.send(response(status=f"{self.status} X"))


HEALTHY, MOSTLY_HEALTHY, MOSTLY_UNHEALTHY, UNHEALTHY = TargetHealth


@in_loop
async def test_a_target_goes_out_and_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(NOTICE)
    with Server() as server:
        async with running() as node:
            node.use(document(server.name, http_path="/up"))
            await node.until(lambda: len(server.paths) >= 2)
            assert set(server.paths) == {b"/up"}
            server.status = 500
            await node.until_health(server.name, UNHEALTHY)
            assert node.facts(server.name)["http_failures"] == 2
            server.status = 200
            await node.until_health(server.name, HEALTHY)
    messages = [(record.levelno, record.getMessage()) for record in caplog.records]
    place = f"upstream u: target {server.name} ({server.name})"
    assert messages == [
        (logging.WARNING, f"{place} is unhealthy now (active check: status 500)"),
        (NOTICE, f"{place} is healthy now (active check: status 200)"),
    ]


@in_loop
async def test_each_kind_of_failure_counts() -> None:
    refused = f"127.0.0.1:{free_port()}"
    with Server() as server:
        server.status = 0
        async with running() as node:
            node.use(document(refused, server.name, timeout=0.1))
            await node.until_health(refused, UNHEALTHY)
            await node.until_health(server.name, UNHEALTHY)
            assert node.facts(refused)["tcp_failures"] == 1
            assert node.facts(server.name)["timeouts"] == 1


@in_loop
async def test_tcp_checks() -> None:
    refused = f"127.0.0.1:{free_port()}"
    with Server() as server:
        server.status = 0
        async with running() as node:
            node.use(document(refused, server.name, type="tcp"))
            await node.until(lambda: server.connections > 2)
            await node.until_health(refused, UNHEALTHY)
            assert node.health(server.name) is HEALTHY
            assert not server.paths


@in_loop
async def test_no_interval_no_probes() -> None:
    with Server() as out, Server() as served:
        async with running() as node:
            node.use(
                document(out.name, name="only-unhealthy", healthy={"interval": 0, "successes": 1}),
                document(served.name, name="only-healthy", unhealthy={"interval": 0, "http_failures": 1}),
            )
            served.status = 500
            await node.until_health(served.name, UNHEALTHY, "only-healthy")
            probes = len(served.paths)
            found = node.configuration.find_unique("upstreams", "name", "only-unhealthy")
            assert found
            assert not out.paths
            group = upstream_group(found.id)
            assert node.slots.mark(group, out.name, "127.0.0.1", out.port, healthy=False)
            await node.until_health(out.name, HEALTHY, "only-unhealthy")
            assert len(out.paths) == 1
            assert len(served.paths) == probes  # it stays out


@in_loop
async def test_changes_take_effect_at_once() -> None:
    with Server() as one, Server() as two:
        async with running() as node:
            node.use(document(one.name, healthy={"interval": 3600, "successes": 1}))
            await asyncio.sleep(0.1)
            assert not one.paths
            node.use(document(one.name, two.name))
            await node.until(lambda: len(one.paths) > 1 and len(two.paths) > 1)
            node.use(document(two.name, http_path="/other"))
            await node.until(lambda: b"/other" in two.paths)
            probes = len(one.paths)
            await node.until(lambda: two.paths.count(b"/other") > 3)
            assert len(one.paths) <= probes + 1  # one may have been under way
            node.use()
            await asyncio.sleep(0.1)
            probes = len(two.paths)
            await asyncio.sleep(0.2)
            assert len(two.paths) == probes


@in_loop
async def test_many_changes_do_not_put_off_the_probes() -> None:
    with Server() as server:
        async with running() as node:
            seldom = {"interval": 0.3, "successes": 1}
            for number in range(100):
                node.use(document(server.name, f"127.0.1.{number}:9", healthy=seldom))
                await asyncio.sleep(0.01)
            assert len(server.paths) >= 2


@in_loop
async def test_no_weight_no_probes() -> None:
    with Server() as one, Server() as two:
        async with running() as node:
            node.use(document(one.name, {"target": two.name, "weight": 0}))
            await node.until(lambda: len(one.paths) > 2)
            assert not two.paths


@in_loop
async def test_targets_are_probed_where_requests_go() -> None:
    with Server() as server:
        both = (ResolvedAddress("127.0.0.1"), ResolvedAddress("127.0.0.9"))
        found = Resolution(ResolutionState.READY, both)
        async with running() as node:
            name = f"svc.test:{server.port}"
            node.use(document(name), resolutions={"svc.test": found})
            await node.until(lambda: node.health(name, "127.0.0.9") is UNHEALTHY)
            assert node.health(name) is HEALTHY
            await node.until(lambda: bool(server.heads))
            assert b"Host: svc.test\r\n" in server.heads[0]
            # another address takes over
            moved = Resolution(ResolutionState.READY, (ResolvedAddress("127.0.0.1"),))
            node.use(document(name), resolutions={"svc.test": moved})
            probes = len(server.paths)
            await node.until(lambda: len(server.paths) > probes + 1)


class Slowness:
    """Takes the place of probe(): each takes a while, and none goes well."""

    def __init__(self) -> None:
        self.probes = self.at_once = self.most_at_once = 0

    async def __call__(self, *_: object) -> Outcome:
        self.at_once += 1
        self.probes += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0.01)
        self.at_once -= 1
        return Outcome(TargetReport.REPORT_TIMEOUT, "timeout")


@in_loop
async def test_as_many_at_once_as_configured(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = Slowness()
    monkeypatch.setattr(prober, "probe", slow)
    async with running() as node:
        node.use(document(*[f"10.0.0.{last}:80" for last in range(1, 21)], concurrency=3))
        await node.until(lambda: slow.probes > 60)
        # one round for those that get requests, another for those that get none
        assert 3 <= slow.most_at_once <= 6


@in_loop
async def test_no_round_overtakes_the_one_before() -> None:
    with Server() as server:
        server.delay = 0.2
        async with running() as node:
            node.use(document(server.name))
            await node.until(lambda: len(server.paths) > 2)
            assert server.most_at_once == 1


@in_loop
async def test_a_thousand_hanging_targets_are_looked_at_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a bound for all upstreams together."""
    slow = Slowness()
    monkeypatch.setattr(prober, "probe", slow)
    async with running() as node:
        upstreams = []
        for number in range(10):
            targets = [f"10.0.{number}.{last}:80" for last in range(1, 101)]
            upstreams.append(document(*targets, name=f"u{number}", concurrency=100))
        node.use(*upstreams)
        await node.until(lambda: slow.probes > 2000)
        assert slow.most_at_once <= prober.MOST_PROBES
        await node.until(lambda: node.health("10.0.3.7:80", "10.0.3.7", "u3") is UNHEALTHY)


@in_loop
async def test_a_mistake_in_a_probe_stops_nothing(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    mistakes = 0
    real = prober.probe

    async def wrong(*arguments: Any) -> Outcome:
        nonlocal mistakes
        if mistakes < 1:
            mistakes += 1
            raise KeyError("a mistake")
        return await real(*arguments)

    monkeypatch.setattr(prober, "probe", wrong)
    monkeypatch.setattr(prober, "PAUSE_AFTER_ERROR", 0.01)
    with Server() as server:
        async with running() as node:
            node.use(document(server.name))
            await node.until(lambda: len(server.paths) > 1)
    assert mistakes == 1
    assert "the probes of its targets failed" in caplog.text


@in_loop
async def test_a_configuration_that_cannot_be_read_is_taken_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with Server() as server:
        async with running() as node:
            with monkeypatch.context() as patched:
                patched.setattr(prober, "target_addresses", None)
                node.use(document(server.name))
            assert "could not be brought up to date" in caplog.text
            node.prober.update(node.configuration, node.resolutions)
            await node.until(lambda: len(server.paths) > 0)


@in_loop
async def test_health_from_before_checks_were_off_for_long_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passive = {"passive": {"unhealthy": {"tcp_failures": 1}}}
    name = "127.0.0.1:1"
    on = {"name": "u", "healthchecks": passive, "targets": [{"target": name}]}
    off = {"name": "u", "targets": [{"target": name}]}
    now = 1_000_000
    monkeypatch.setattr(prober, "monotonic_ms", lambda: now)
    async with running() as node:
        node.use(on)
        found = node.configuration.find_unique("upstreams", "name", "u")
        assert found
        node.slots.mark(upstream_group(found.id), name, "127.0.0.1", 1, healthy=False)
        node.use(off)
        now += KEPT_FOR - 1
        node.use(on)
        assert node.health(name) is UNHEALTHY
        node.use(off)
        now += KEPT_FOR + 1
        node.use(on)
        assert node.health(name) is HEALTHY


# --- marks ------------------------------------------------------------------------------------------------


class Events:
    """A cluster of which this test is the other node."""

    def __init__(self) -> None:
        self.published: list[tuple[str, Mapping[str, Any]]] = []
        self.apply: Any = None

    def subscribe(self, channel: str, apply: Any, missed: Any = None) -> None:
        self.apply = apply

    async def publish(self, channel: str, data: Mapping[str, Any]) -> None:
        self.published.append((channel, data))


@in_loop
async def test_marks_reach_the_other_nodes() -> None:
    both = Resolution(ResolutionState.READY, (ResolvedAddress("192.0.2.1"), ResolvedAddress("192.0.2.2")))
    async with running() as here, running() as there:
        marks = []
        events = Events(), Events()
        for node, own in zip((here, there), events, strict=True):
            node.use(
                {
                    "name": "u",
                    "healthchecks": {"passive": {"unhealthy": {"tcp_failures": 1}}},
                    "targets": [{"target": "svc.test:80"}],
                },
                resolutions={"svc.test": both},
            )

            async def fresh(node: Node = node) -> Configuration:
                return node.configuration

            marks.append(HealthMarks(node.slots, own, fresh, lambda: {"svc.test": both}))  # type: ignore[arg-type]

        def known() -> list[TargetHealth]:
            return [
                node.health("svc.test:80", ip) for node in (here, there) for ip in ("192.0.2.1", "192.0.2.2")
            ]

        upstream: Any = here.configuration.find_unique("upstreams", "name", "u")
        target: Any = next(iter(here.configuration.of("targets").values()))
        await marks[0].mark(upstream, target, [("192.0.2.2", 80)], healthy=False)
        assert known() == [HEALTHY, UNHEALTHY, HEALTHY, HEALTHY]
        await events[1].apply(events[0].published[-1][1])
        assert known() == [HEALTHY, UNHEALTHY, HEALTHY, UNHEALTHY]
        await marks[0].mark(upstream, target, None, healthy=False)
        await events[1].apply(events[0].published[-1][1])
        assert known() == [UNHEALTHY] * 4
        assert not events[1].published  # nothing goes back and forth
        for nonsense in (
            {},
            {"upstream": upstream.id, "target": target.id},
            {"upstream": upstream.id, "target": target.id, "addresses": [["x", 1]], "healthy": True},
            {"upstream": upstream.id, "target": target.id, "addresses": 5, "healthy": True},
            {"upstream": 5, "target": None, "addresses": None, "healthy": True},
        ):
            await events[1].apply(nonsense)
        assert known() == [UNHEALTHY] * 4
