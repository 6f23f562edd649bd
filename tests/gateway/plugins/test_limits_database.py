"""Counting in a real PostgreSQL, by several nodes at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from gateway.plugins import _node
from gateway.store.sql.connections import Address
from gateway.store.sql.tables import LIMIT_COUNTS
from native.steps.limiting import LimitVerb
from tests.support.databases import Interference, fresh_database, settings_of
from tests.support.limits_handler import CannotTell, Configured, Node, Told, on_node

NOON = 3_815_035_200  # 2090-11-22 12:00:00 UTC, so that the windows are not over
NS = 1_000_000_000


@pytest.fixture(autouse=True)
def _shared_database(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_node, "_database", "postgres")


@pytest.fixture(scope="module")
def database() -> Iterator[Address]:
    with fresh_database() as address:
        with address.connect() as connection:
            connection.execute(str(CreateTable(LIMIT_COUNTS).compile(dialect=postgresql.dialect())))
        yield address


@pytest.fixture
def place(database: Address) -> Address:
    with database.connect() as connection:
        connection.execute("DELETE FROM limit_counts")
    return database


def environment(place: Address) -> dict[str, str]:
    return {f"GATEWAY_{name.upper()}": str(value) for name, value in settings_of(place).items()}


def contents(place: Address) -> dict[str, int]:
    with place.connect() as connection:
        return dict(connection.execute("SELECT key, count FROM limit_counts").fetchall())


def limiting(**config: Any) -> Configured:
    return Configured("rate-limiting", {"policy": "cluster", **config})


def test_nodes_together_admit_exactly_the_limit(place: Address) -> None:
    configured = limiting(hour=70, day=100)

    async def work(one: Node) -> list[Told]:
        other = Node(**environment(place))
        told: list[Told] = []
        for _ in range(10):
            told += await asyncio.gather(
                *(node.ask(configured, identifier=who) for node in (one, other) for who in (b"a", b"b") * 5)
            )
        await other.handler.close()
        return told

    told = on_node(work, **environment(place))
    assert [one.refused for one in told].count(None) == 2 * 70
    assert {one.refused for one in told} == {None, 0}
    assert min(one.remaining[1] for one in told) == 30, "a refused request is counted nowhere"
    assert sorted(contents(place).values()) == [70] * 4


def test_configurations_that_share_counts_admit_the_limit_together(place: Address) -> None:
    """Those of a consumer and of everybody, by address, asked for in one batch."""
    some = (limiting(hour=50), limiting(hour=50, day=100))

    async def work(node: Node) -> list[Told]:
        return await asyncio.gather(
            *(node.ask(configured, time_ns=NOON * NS) for _ in range(40) for configured in some)
        )

    told = on_node(work, **environment(place))
    assert [one.refused for one in told].count(None) == 50
    assert max(contents(place).values()) == 50


def test_what_requests_are_told(place: Address) -> None:
    configured = limiting(minute=2, hour=5)
    now = (NOON + 12) * NS

    async def work(node: Node) -> list[Told]:
        return [await node.ask(configured, time_ns=now) for _ in range(3)]

    assert on_node(work, **environment(place)) == [
        Told(None, [(1, 48), (4, 3588)]),
        Told(None, [(0, 48), (3, 3588)]),
        Told(0, [(0, 48), (3, 3588)]),
    ]


def test_who_is_counted_may_be_any_bytes(place: Address) -> None:
    configured = limiting(hour=1)
    strange = [
        b"",
        b"\xff\xfe",
        b"a\0b",
        b"a\\b",
        b"'; DROP TABLE limit_counts",
        "ä".encode(),
        b"x" * 900,
    ]

    async def work(node: Node) -> list[Told]:
        return [await node.ask(configured, who) for who in strange + strange]

    told = on_node(work, **environment(place))
    assert [one.refused for one in told] == [None] * len(strange) + [0] * len(strange)


def test_counts_of_windows_that_are_over_go(place: Address) -> None:
    with place.connect() as connection:
        connection.execute("INSERT INTO limit_counts VALUES ('old', 5, 1000), ('new', 5, 99999999999)")
    on_node(lambda node: node.ask(limiting(hour=1)), **environment(place))
    assert "old" not in contents(place)
    assert contents(place)["new"] == 5


def test_costs_are_looked_at_and_added(place: Address) -> None:
    configured = Configured("response-ratelimiting", {"policy": "cluster", "limits": {"sms": {"hour": 10}}})

    async def work(node: Node) -> None:
        assert (await node.ask(configured, verb=LimitVerb.VERB_LOOK)).remaining == [10]
        for _ in range(3):
            await node.ask(configured, verb=LimitVerb.VERB_ADD, costs=(4,))
        for _ in range(500):
            told = await node.ask(configured, verb=LimitVerb.VERB_LOOK)
            if told.remaining == [0]:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(told)

    on_node(work, **environment(place))
    assert list(contents(place).values()) == [12]


def test_a_database_that_goes_away_and_comes_back(place: Address) -> None:
    with Interference(place) as between:

        async def work(node: Node) -> None:
            configured = limiting(hour=5)
            assert (await node.ask(configured)).remaining == [4]
            between.refuse()
            for _ in range(3):
                with pytest.raises(CannotTell):
                    await node.ask(configured)
            assert "rate limits: cannot count in the PostgreSQL database" in node.log.errors[0]
            between.accept_again()
            assert (await node.ask(configured)).remaining == [3]

        on_node(work, **environment(between.address))


def test_a_database_that_says_nothing_costs_its_timeout(place: Address) -> None:
    with Interference(place) as between:

        async def work(node: Node) -> None:
            configured = limiting(hour=5)
            await node.ask(configured)
            between.freeze()
            with pytest.raises(CannotTell):
                await node.ask(configured)
            between.thaw()
            for _ in range(500):
                try:
                    told = await node.ask(configured)
                    break
                except (CannotTell, psycopg.Error):
                    await asyncio.sleep(0.01)
            assert told.refused is None

        on_node(work, **{**environment(between.address), "GATEWAY_PG_TIMEOUT": "700"})


def test_a_database_that_is_a_file_has_one_node_which_counts_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    from native.steps.limiting import CountingPlace

    places = []
    for kind in ("postgres", "sqlite"):
        monkeypatch.setattr(_node, "_database", kind)
        places.append(limiting(hour=1).packed)
    assert places[0] != places[1]
    assert CountingPlace.COUNT_HERE == 0
