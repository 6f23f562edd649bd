"""What nodes tell each other: in order, once, also after an outage; alone; when too much was missed."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from gateway.cluster.events import LARGEST, ClusterEvents, SharedEvents
from gateway.store.errors import StoreUnavailable
from gateway.store.sql import event_log
from gateway.store.sql.connections import Address
from tests.support.databases import Interference, fresh_database
from tests.support.nodes import Place

LOOK_EVERY = 30.0
"""seconds: so that what arrives earlier was notified"""


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Address]:
    with fresh_database() as found:
        Place(found, tmp_path_factory.mktemp("unused")).bootstrap()
        yield found


@pytest.fixture(autouse=True)
def _empty(address: Address) -> None:
    with address.connect() as connection:
        connection.execute("TRUNCATE cluster_events RESTART IDENTITY")
        connection.commit()


class Node:
    """The events of a node, and what has arrived."""

    def __init__(self, address: Address, directory: Path, name: str, look_every: float = LOOK_EVERY) -> None:
        self.file = directory / f"{name}.json"
        self.events = SharedEvents(address, look_every, name, self.file)
        self.arrived: list[Any] = []
        self.events.subscribe("test", self.arrived.append, lambda: self.arrived.append("missed"))

    async def ready(self) -> None:
        await until(self.file.exists)


@asynccontextmanager
async def running(*nodes: Node) -> AsyncIterator[None]:
    for node in nodes:
        node.events.start()
    try:
        for node in nodes:
            await node.ready()
        yield
    finally:
        for node in nodes:
            await node.events.close()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.01)


def test_others_are_told_once_and_in_order(address: Address, tmp_path: Path) -> None:
    async def test() -> None:
        one, two, three = (Node(address, tmp_path, name) for name in ("one", "two", "three"))
        async with running(one, two, three):
            await asyncio.gather(*(one.events.publish("test", {"one": n}) for n in range(20)))
            await two.events.publish("other channel", {})
            await two.events.publish("test", {"two": "ä\0"})
            await until(lambda: len(three.arrived) >= 21)
            await until(lambda: len(two.arrived) >= 20 and bool(one.arrived))
            assert three.arrived[:-1] == two.arrived
            assert sorted(event["one"] for event in two.arrived) == list(range(20))
            assert three.arrived[-1] == {"two": "ä\0"}
            assert one.arrived == [{"two": "ä\0"}]

    asyncio.run(test())


def test_subscribers_may_wait_and_fail(address: Address, tmp_path: Path, caplog: Any) -> None:
    async def test() -> None:
        one, two = Node(address, tmp_path, "one"), Node(address, tmp_path, "two")
        seen = []

        async def slow(data: Any) -> None:
            await asyncio.sleep(0.01)
            seen.append(data["n"])
            if data["n"] == 1:
                raise RuntimeError("cannot be applied")

        two.events.subscribe("test", slow)
        async with running(one, two):
            for n in range(3):
                await one.events.publish("test", {"n": n})
            await until(lambda: len(seen) == 3)
        assert seen == [0, 1, 2]

    asyncio.run(test())
    assert "an event of the channel 'test' could not be applied" in caplog.text


def test_what_cannot_be_read_is_passed_over(address: Address, tmp_path: Path, caplog: Any) -> None:
    insert = "INSERT INTO cluster_events (sender, channel, data, created_at) VALUES ('x', 'test', %s, 0)"

    async def test() -> None:
        one, two = Node(address, tmp_path, "one"), Node(address, tmp_path, "two")
        async with running(one, two):
            with address.connect() as connection:
                for text in ("no JSON", "[1]", "null"):
                    connection.execute(insert, (text,))
                connection.commit()
            await one.events.publish("test", {"n": 1})
            await until(lambda: bool(two.arrived))
        assert two.arrived == [{"n": 1}]

    asyncio.run(test())
    assert caplog.text.count("an event of the channel 'test' cannot be read") >= 3


def test_what_was_missed_follows(address: Address, tmp_path: Path) -> None:
    """Over an outage, and over another control process of the same node."""

    async def test(between: Interference) -> None:
        one, two = Node(address, tmp_path, "one"), Node(between.address, tmp_path, "two", look_every=0.05)
        async with running(one, two):
            between.refuse()
            await one.events.publish("test", {"n": 1})
            between.accept_again()
            await until(lambda: bool(two.arrived))
            await until(lambda: json.loads(two.file.read_text())["position"] == 1)
        async with running(one):
            await one.events.publish("test", {"n": 2})
        again = Node(between.address, tmp_path, "two")
        async with running(again):
            await until(lambda: bool(again.arrived))
        assert two.arrived + again.arrived == [{"n": 1}, {"n": 2}]
        # A new node begins with what comes.
        new = Node(address, tmp_path, "new")
        async with running(one, new):
            await one.events.publish("test", {"n": 3})
            await until(lambda: bool(new.arrived))
        assert new.arrived == [{"n": 3}]

    with Interference(dataclasses.replace(address, timeout=1.0)) as between:
        asyncio.run(test(between))


@pytest.mark.parametrize("reason", ["too long ago", "none left"])
def test_when_something_is_lost_the_node_is_told(address: Address, tmp_path: Path, reason: str) -> None:
    async def test() -> None:
        one, two = Node(address, tmp_path, "one"), Node(address, tmp_path, "two")
        async with running(one, two):
            await one.events.publish("test", {"n": 1})
            await until(lambda: two.file.exists() and json.loads(two.file.read_text())["position"] == 1)
            assert two.arrived == [{"n": 1}]
        async with running(one):
            await one.events.publish("test", {"n": 2})
            await one.events.publish("test", {"n": 3})
        with address.connect() as connection:
            statement = {
                "too long ago": "DELETE FROM cluster_events WHERE id < 3",
                "none left": "DELETE FROM cluster_events",
            }[reason]
            connection.execute(statement)
            connection.commit()
        again = Node(address, tmp_path, "two")
        async with running(one, again):
            await one.events.publish("test", {"n": 4})
            await until(lambda: {"n": 4} in again.arrived)
        assert again.arrived[0] == "missed"
        assert again.arrived.count("missed") == 1

    asyncio.run(test())


def test_old_events_are_removed(address: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the old ones the newest stays: by it a node sees that it has missed none."""
    monkeypatch.setattr(event_log, "PRUNING_INTERVAL", 4)

    def ids() -> list[int]:
        with address.connect() as connection:
            return [row[0] for row in connection.execute("SELECT id FROM cluster_events ORDER BY id")]

    async def test() -> None:
        one = Node(address, tmp_path, "one")
        for n in range(3):
            await one.events.publish("test", {"n": n})
        with address.connect() as connection:
            connection.execute("UPDATE cluster_events SET created_at = created_at - 4000 WHERE id < 3")
            connection.commit()
        await one.events.publish("test", {})
        assert ids() == [2, 3, 4]
        monkeypatch.setattr(event_log, "KEPT_EVENTS", 2)
        for _ in range(4):
            await one.events.publish("test", {})
        assert ids() == [6, 7, 8]
        await one.events.close()

    asyncio.run(test())


def test_a_database_that_is_down(address: Address, tmp_path: Path) -> None:
    async def test(between: Interference) -> None:
        one = Node(between.address, tmp_path, "one")
        await one.events.publish("test", {"n": 1})
        between.cut()
        await one.events.publish("test", {"n": 2})  # over a new connection
        between.refuse()
        for _ in range(2):
            with pytest.raises(StoreUnavailable, match="other nodes cannot be told"):
                await one.events.publish("test", {"n": 3})
        between.accept_again()
        await one.events.publish("test", {"n": 4})
        await one.events.close()

    with Interference(dataclasses.replace(address, timeout=1.0)) as between:
        asyncio.run(test(between))


def test_alone_there_is_nobody_to_tell() -> None:
    async def test() -> None:
        events = ClusterEvents()
        events.subscribe("test", lambda data: pytest.fail("nobody publishes"))
        events.start()
        await events.publish("test", {"n": 1})
        with pytest.raises(ValueError, match="too large"):
            await events.publish("test", {"text": "x" * LARGEST})
        await events.close()

    asyncio.run(test())


def test_the_log_of_normal_work_is_empty(address: Address, tmp_path: Path, caplog: Any) -> None:
    async def test() -> None:
        one, two = Node(address, tmp_path, "one"), Node(address, tmp_path, "two")
        async with running(one, two):
            await one.events.publish("test", {"n": 1})
            await until(lambda: bool(two.arrived))

    with caplog.at_level(logging.INFO):
        asyncio.run(test())
    assert not caplog.records
