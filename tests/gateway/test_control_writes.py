"""Writes through the control plane: transactions that go together, and what is published after them."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from gateway.control import publication as publication_module
from gateway.control.differences import EVERY_KIND, kinds_that_differ
from gateway.control.plane import ControlPlane
from gateway.control.publisher import Publisher
from gateway.control.transactions import Transactions
from gateway.entities.consumers import Consumer
from gateway.entities.record import Entity
from gateway.entities.routes import Route
from gateway.entities.upstreams import Upstream
from gateway.run_directory import RunDirectory
from gateway.settings import load_settings
from gateway.store import Configuration, LoadMemory, load_declarative_document
from gateway.store.draft import Draft
from gateway.store.errors import EntityError, StoreUnavailable, unique_violation
from gateway.store.interface import Operation, Outcome
from gateway.telemetry.metric_slots import MetricSlots
from native.identities import Identities, IdentityKind
from native.shm import ROUTE_METRIC_SLOTS, SharedState, WorkerState
from tests.support.gateway import PATIENCE
from tests.support.memory_store import MemoryStore


class NodeStore(MemoryStore):
    """The store of one of several nodes; a test says when it commits and what the others write."""

    is_shared = True

    def __init__(self, configuration: Configuration) -> None:
        super().__init__(configuration)
        self.threads: set[int] = set()
        self.may_commit = threading.Event()
        self.may_commit.set()
        self.others: list[dict[tuple[str, str], Entity | None]] = []
        """what other nodes wrote"""
        self.on_change: Callable[[], None] = lambda: None
        self.catch_ups = 0

    def transact(self, operations: Sequence[Operation]) -> list[Outcome]:
        self.threads.add(threading.get_ident())
        assert self.may_commit.wait(PATIENCE)
        self._require_reachable()
        return super().transact(operations)

    def catch_up(self) -> bool:
        self.catch_ups += 1
        self._require_reachable()
        found, self.others = self.others, []
        for changes in found:
            self.adopt(changes)
        return bool(found)

    def _require_reachable(self) -> None:
        if not self.is_reachable:
            raise StoreUnavailable("the database is down")

    def follow(self, on_change: Callable[[], None]) -> None:
        self.on_change = on_change


def document(**more: Any) -> Configuration:
    return load_declarative_document(
        {
            "_format_version": "3.0",
            "services": [
                {"name": "s", "host": "10.0.0.1", "routes": [{"name": "r", "paths": ["/r"]}]},
                {"name": "balanced", "host": "u"},
            ],
            "upstreams": [{"name": "u", "targets": [{"target": "10.0.0.1:80", "weight": 10}]}],
            "consumers": [{"username": "bob", "keyauth_credentials": [{"key": "k"}]}],
            **more,
        }
    )


def only(configuration: Configuration, type_name: str) -> Any:
    """The first entity of a type."""
    return next(iter(configuration.of(type_name).values()))


def put(entity: Entity) -> Operation:
    def run(draft: Draft) -> str:
        draft.put(entity)
        return entity.id

    return Operation("update", entity.type_name, run)


def renamed(configuration: Configuration, name: str) -> Operation:
    return put(msgspec.structs.replace(cast(Route, only(configuration, "routes")), name=name))


def run(test: Awaitable[None]) -> None:
    asyncio.run(asyncio.wait_for(test, PATIENCE * 2))


async def until(condition: Callable[[], Any]) -> Any:
    async with asyncio.timeout(PATIENCE):
        while not (result := condition()):
            await asyncio.sleep(0.002)
    return result


# --- which snapshots a change needs --------------------------------------------------------------


def after(before: Configuration, entity: Entity | None, key: tuple[str, str] | None = None) -> Configuration:
    if key is None:
        assert entity is not None
        key = (entity.type_name, entity.id)
    return before.changed({key: entity}, "c" * 32)


def test_only_what_differs_is_made() -> None:
    before = document()
    route, service = only(before, "routes"), only(before, "services")
    upstream, target = cast(Upstream, only(before, "upstreams")), only(before, "targets")
    consumer, key = cast(Consumer, only(before, "consumers")), only(before, "keyauth_credentials")
    replace = msgspec.structs.replace
    expected: list[tuple[Configuration, set[str]]] = [
        (before, set()),
        (after(before, replace(route, name="x")), {"configuration"}),
        (after(before, replace(service, port=81)), {"configuration", "peers"}),
        (after(before, replace(target, weight=5)), {"peers"}),
        (after(before, replace(upstream, tags=["t"])), {"peers"}),
        (after(before, replace(upstream, name="v")), {"configuration", "peers"}),
        (after(before, replace(consumer, custom_id="17")), {"identities"}),
        (after(before, None, ("keyauth_credentials", key.id)), {"identities"}),
        (
            after(after(before, replace(consumer, custom_id="1")), replace(route, name="x")),
            {"identities", "configuration"},
        ),
    ]
    for configuration, kinds in expected:
        assert kinds_that_differ(before, configuration) == kinds
    assert kinds_that_differ(None, before) == EVERY_KIND


# --- transactions --------------------------------------------------------------------------------


def test_writes_that_come_meanwhile_go_together() -> None:
    async def test() -> None:
        store = NodeStore(document())
        store.may_commit.clear()
        commits: list[str] = []
        transactions = Transactions(store, lambda: commits.append(store.configuration.hash))
        first = asyncio.create_task(transactions.write(renamed(store.configuration, "first")))
        await until(lambda: store.threads)
        others = [
            asyncio.create_task(transactions.write(renamed(store.configuration, f"n{number}")))
            for number in range(20)
        ]
        await asyncio.sleep(0)
        store.may_commit.set()
        outcomes = await asyncio.gather(first, *others)
        assert list(map(len, store.batches)) == [1, 20]
        assert all(outcome.error is None for outcome in outcomes)
        assert only(store.configuration, "routes").name == "n19"
        assert len(commits) == 2
        assert len(store.threads) == 1
        await transactions.close()
        assert store.closed

    run(test())


def test_each_writer_hears_what_became_of_its_own_write() -> None:
    async def test() -> None:
        store = NodeStore(document())
        transactions = Transactions(store, lambda: None)

        def refuse(draft: Draft) -> None:
            draft.put(msgspec.structs.replace(only(draft.base, "routes"), name="never"))
            raise unique_violation({"name": "never"})

        good, bad = await asyncio.gather(
            transactions.write(renamed(store.configuration, "good")),
            transactions.write(Operation("update", "routes", refuse)),
        )
        assert (good.error, good.changed) == (None, True)
        assert isinstance(bad.error, EntityError)
        assert only(store.configuration, "routes").name == "good"
        store.is_reachable = False
        lost = await asyncio.gather(*(transactions.write(renamed(document(), "x")) for _ in range(3)))
        assert all(isinstance(outcome.error, StoreUnavailable) for outcome in lost)
        await transactions.close()

    run(test())


def test_a_write_whose_writer_goes_away_is_done_all_the_same() -> None:
    async def test() -> None:
        store = NodeStore(document())
        store.may_commit.clear()
        transactions = Transactions(store, lambda: None)
        impatient = asyncio.create_task(transactions.write(renamed(store.configuration, "first")))
        waiting = asyncio.create_task(transactions.write(renamed(store.configuration, "second")))
        await until(lambda: store.threads)
        for task in (impatient, waiting):
            task.cancel()
        await asyncio.gather(impatient, waiting, return_exceptions=True)
        store.may_commit.set()
        await until(lambda: only(store.configuration, "routes").name == "second")
        await transactions.close()

    run(test())


def test_looks_at_other_nodes_are_shared_but_never_too_old() -> None:
    async def test() -> None:
        store = NodeStore(document())
        store.may_commit.clear()
        transactions = Transactions(store, lambda: None)
        writing = asyncio.create_task(transactions.write(renamed(store.configuration, "x")))
        await until(lambda: store.threads)
        looks = [asyncio.create_task(transactions.catch_up()) for _ in range(10)]
        await asyncio.sleep(0)
        store.may_commit.set()
        await asyncio.gather(writing, *looks)
        assert store.catch_ups == 1
        await transactions.catch_up()
        assert store.catch_ups == 2
        await transactions.close()

    run(test())


# --- plane ---------------------------------------------------------------------------------------


class Node:
    """A control plane over a memory store, with one worker that takes over what is published."""

    def __init__(self, prefix: Path, configuration: Configuration) -> None:
        self.directory = RunDirectory(prefix)
        self.shared = SharedState.create(2)
        self.notify = os.eventfd(0, os.EFD_NONBLOCK)
        self.settings = load_settings(None, {}, {"prefix": str(prefix), "database": "sqlite"})
        self.store = NodeStore(configuration)
        slots = MetricSlots(prefix / "slots.json", ROUTE_METRIC_SLOTS, self.shared.route_metrics)
        publisher = Publisher(self.shared, [self.notify], prefix)
        self.plane = ControlPlane(
            self.settings, self.shared, publisher, slots, None, "node", self.store, LoadMemory()
        )
        self.acknowledges = True

    def numbers(self) -> dict[str, int]:
        """What is published."""
        return {
            "configuration": self.shared.configuration_number,
            "peers": self.shared.peers_number,
            "identities": self.shared.identities_number,
        }

    def take_over(self) -> None:
        os.eventfd_read(self.notify)
        if self.acknowledges:
            self.shared.set_worker(0, **{f"{kind}_number": n for kind, n in self.numbers().items()})

    def identities(self) -> Identities:
        return Identities(self.directory.snapshot("identities", self.shared.identities_number).read_bytes())


@asynccontextmanager
async def started(prefix: Path, configuration: Configuration | None = None) -> AsyncIterator[Node]:
    node = Node(prefix, configuration or document())
    node.shared.set_worker(0, pid=os.getpid(), state=WorkerState.WORKER_SERVING)
    loop = asyncio.get_running_loop()
    loop.add_reader(node.notify, node.take_over)
    await node.plane.open()
    node.plane.start()
    await node.plane.apply(node.plane.configuration)
    try:
        yield node
    finally:
        await node.plane.close()
        loop.remove_reader(node.notify)
        os.close(node.notify)


def test_after_a_write_the_workers_serve_it(tmp_path: Path) -> None:
    async def test() -> None:
        async with started(tmp_path) as node:
            route = only(node.plane.configuration, "routes")
            assert await node.plane.write(renamed(node.plane.configuration, "other")) == route.id
            assert node.plane.configuration.of("routes")[route.id].name == "other"  # type: ignore[attr-defined]
            assert node.numbers() == {"configuration": 2, "peers": 1, "identities": 1}
            assert node.shared.worker(0)["configuration_number"] == 2
            assert node.shared.configuration_hash == node.plane.configuration.hash

    run(test())


def test_a_credential_does_not_make_routes_be_compiled(tmp_path: Path) -> None:
    async def test() -> None:
        async with started(tmp_path) as node:
            key = only(node.plane.configuration, "keyauth_credentials")
            await node.plane.write(put(msgspec.structs.replace(key, key="another")))
            assert node.numbers() == {"configuration": 1, "peers": 1, "identities": 2}
            assert node.shared.configuration_hash == node.plane.configuration.hash
            assert node.identities().credential(IdentityKind.KEY_AUTH, "another") is not None
            assert node.identities().credential(IdentityKind.KEY_AUTH, "k") is None

    run(test())


def test_a_write_that_changes_nothing_or_is_refused_publishes_nothing(tmp_path: Path) -> None:
    async def test() -> None:
        async with started(tmp_path) as node:
            before = node.numbers()
            await node.plane.write(Operation("update", "routes", lambda draft: None))
            with pytest.raises(EntityError):
                await node.plane.write(Operation("update", "routes", refuse))
            await asyncio.sleep(0.05)
            assert node.numbers() == before

    def refuse(draft: Draft) -> None:
        raise unique_violation({"name": "x"})

    run(test())


def test_publications_of_many_writes_are_few_and_end_with_the_newest(tmp_path: Path) -> None:
    async def test() -> None:
        async with started(tmp_path) as node:
            configuration = node.plane.configuration
            await asyncio.gather(
                *(node.plane.write(renamed(configuration, f"n{number}")) for number in range(200))
            )
            assert node.shared.worker(0)["configuration_number"] == node.shared.configuration_number < 100
            assert node.shared.configuration_hash == node.plane.configuration.hash

    run(test())


def test_a_worker_that_hangs_delays_a_write_by_little(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(publication_module, "WRITE_PATIENCE", 0.05)

    async def test() -> None:
        async with started(tmp_path) as node:
            node.acknowledges = False
            await node.plane.write(renamed(node.plane.configuration, "x"))  # ends, or run() does not wait
            assert node.plane.configuration.hash == node.shared.configuration_hash

    run(test())


def test_a_publication_that_fails_is_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(publication_module, "RETRY_DELAY", 0.01)

    async def test() -> None:
        async with started(tmp_path) as node:
            directory = tmp_path / "snapshots"
            hidden = directory.rename(tmp_path / "elsewhere")
            directory.touch()  # no snapshot can be written
            await node.plane.write(renamed(node.plane.configuration, "x"))
            assert node.numbers()["configuration"] == 1
            directory.unlink()
            hidden.rename(directory)
            await until(lambda: node.numbers()["configuration"] == 2)
            assert "publishing the configuration failed" in caplog.text

    run(test())


def test_what_other_nodes_write_is_published(tmp_path: Path) -> None:
    async def test() -> None:
        async with started(tmp_path) as node:
            route = msgspec.structs.replace(only(node.plane.configuration, "routes"), name="theirs")
            node.store.others.append({("routes", route.id): route})
            threading.Thread(target=node.store.on_change).start()
            await until(lambda: node.numbers()["configuration"] == 2)
            assert only(node.plane.configuration, "routes").name == "theirs"

    run(test())


def test_fresh_is_what_other_nodes_wrote_or_what_is_known(tmp_path: Path) -> None:
    async def test() -> None:
        async with started(tmp_path) as node:
            route = msgspec.structs.replace(only(node.plane.configuration, "routes"), name="theirs")
            node.store.others.append({("routes", route.id): route})
            assert only(await node.plane.fresh(), "routes").name == "theirs"
            node.store.is_reachable = False
            assert await node.plane.fresh() is node.plane.configuration
            with pytest.raises(StoreUnavailable):
                await node.plane.write(renamed(node.plane.configuration, "x"))

    run(test())


def test_what_has_expired_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gateway.control import plane as plane_module

    monkeypatch.setattr(plane_module, "EXPIRY_INTERVAL", 0.01)

    async def test() -> None:
        async with started(tmp_path) as node:
            key = only(node.plane.configuration, "keyauth_credentials")
            await node.plane.write(put(msgspec.structs.replace(key, expires_at=1.0)))
            await until(lambda: not node.plane.configuration.of("keyauth_credentials"))
            await until(lambda: node.identities().credential(IdentityKind.KEY_AUTH, "k") is None)
            assert node.plane.configuration.of("consumers")

    run(test())
