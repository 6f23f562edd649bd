"""Counting in Redis, with a real Valkey: keys, algorithms, batches, and what happens when it is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Iterator
from pathlib import Path
from typing import Any

import pytest

from native.steps.limiting import LimitVerb
from tests.support.databases import make_authority
from tests.support.limits_handler import CannotTell, Configured, Node, Told, on_node
from tests.support.valkey import TlsProxy, Valkey, cluster_of_one, watched

ZERO = "00000000-0000-0000-0000-000000000000"
NOON = 1_795_348_800  # 2026-11-22 12:00:00 UTC
YEAR = 1_767_225_600
NS = 1_000_000_000


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with Valkey() as running:
        yield running


@pytest.fixture
def valkey(server: Valkey) -> Valkey:
    server.empty()
    return server


def limiting(redis: dict[str, Any], **config: Any) -> Configured:
    return Configured("rate-limiting", {"policy": "redis", "redis": redis, **config})


async def ask_often(node: Node, configured: Configured, times: int, **options: Any) -> list[Told]:
    return [await node.ask(configured, **options) for _ in range(times)]


# --- fixed windows -----------------------------------------------------------------------------------------


def test_keys_and_numbers_are_kongs(valkey: Valkey) -> None:
    configured = limiting(valkey.settings(), minute=2, year=10)
    now = (NOON + 12) * NS
    told = on_node(lambda node: ask_often(node, configured, 3, identifier=b"1.2.3.4", time_ns=now))
    left_of_year = 365 * 86400 - (NOON + 12 - YEAR)
    assert told == [
        Told(None, [(1, 48), (9, left_of_year)]),
        Told(None, [(0, 48), (8, left_of_year)]),
        Told(0, [(0, 48), (8, left_of_year)]),
    ]
    prefix = f"ratelimit:{ZERO}:{ZERO}:1.2.3.4"
    assert valkey.contents() == {f"{prefix}:{NOON}000:minute": 3, f"{prefix}:{YEAR}000:year": 3}
    with valkey.client() as client:
        assert 58 <= client.ttl(f"{prefix}:{NOON}000:minute") <= 60  # type: ignore[operator]
        assert client.ttl(f"{prefix}:{YEAR}000:year") > 31_000_000  # type: ignore[operator]


def test_requests_at_once_are_asked_in_one_batch_and_exactly_the_limit_passes(valkey: Valkey) -> None:
    configured = limiting(valkey.settings(), hour=20)

    async def work(node: Node) -> list[Told]:
        return await asyncio.gather(*(node.ask(configured) for _ in range(50)))

    with valkey.client() as client:
        before = client.info("commandstats")["cmdstat_incrby"]["calls"] if client.dbsize() else 0
        told = on_node(work)
        after = client.info("commandstats")["cmdstat_incrby"]["calls"]
    assert [one.refused for one in told] == [None] * 20 + [0] * 30
    assert [one.remaining for one in told] == [[19 - number] for number in range(20)] + [[0]] * 30
    assert after - before == 1 or before == 0
    assert list(valkey.contents().values()) == [50], "as in Kong, also those that are refused"


def test_who_is_counted_may_be_any_bytes(valkey: Valkey) -> None:
    configured = limiting(valkey.settings(), hour=1)
    strange = [b"", b"a b", b"\xff\xfe", b"}{", b"a\r\nb", b"x" * 5000]

    async def work(node: Node) -> list[Told]:
        return [await node.ask(configured, one) for one in strange + strange]

    assert [one.refused for one in on_node(work)] == [None] * 6 + [0] * 6


# --- other algorithms --------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["sliding-window", "token-bucket"])
def test_exactly_the_limit_passes(valkey: Valkey, algorithm: str) -> None:
    configured = limiting(valkey.settings(), hour=20, day=25, algorithm=algorithm)

    async def work(node: Node) -> list[Told]:
        first = await asyncio.gather(*(node.ask(configured) for _ in range(30)))
        return [*first, await node.ask(configured)]

    told = on_node(work)
    assert [one.refused for one in told] == [None] * 20 + [0] * 11
    assert [one.remaining for one in told[:21]] == [
        *([19 - number, 24 - number] for number in range(20)),
        [0, 5],
    ], "a refused request is counted nowhere"


def test_a_sliding_window_counts_a_share_of_the_one_before(valkey: Valkey) -> None:
    configured = limiting(valkey.settings(), minute=10, algorithm="sliding-window")

    async def work(node: Node) -> list[int]:
        found = []
        for at in (0, 60, 75, 120 + 45):
            told = await ask_often(node, configured, 11, time_ns=(NOON + at) * NS)
            found.append([one.refused for one in told].count(None))
        return found

    # All at once; none as long as all of these count; two, when three quarters do; then all but a quarter of
    # the two.
    assert on_node(work) == [10, 0, 2, 9]


def test_waiting_as_long_as_told_is_enough(valkey: Valkey) -> None:
    sliding = limiting(valkey.settings(), minute=7, algorithm="sliding-window")

    async def work(node: Node) -> None:
        now = (NOON + 20) * NS
        for _ in range(40):
            told = await node.ask(sliding, time_ns=now)
            if told.refused is not None:
                wait = told.states[0][1]
                if wait > 1:
                    early = await node.ask(sliding, time_ns=now + (wait - 1) * NS)
                    assert early.refused == 0
                now += wait * NS
                assert (await node.ask(sliding, time_ns=now)).refused is None

    on_node(work)


def test_a_token_bucket_fills_and_holds_its_burst(valkey: Valkey) -> None:
    configured = limiting(valkey.settings(), second=20, minute=600, algorithm="token-bucket", burst=3)

    async def work(node: Node) -> None:
        told = await ask_often(node, configured, 3)
        assert [one.refused for one in told] == [None] * 3
        assert told[0].remaining == [2, 599]
        passed = 0
        end = time.monotonic() + 0.5
        while time.monotonic() < end:
            passed += (await node.ask(configured)).refused is None
        assert 1 <= passed <= 20 * 0.5 + 20 * (time.monotonic() - end) + 1

    on_node(work)
    with valkey.client() as client:
        assert client.pttl(f"{{ratelimit:{ZERO}:{ZERO}:somebody}}:second:tokens") <= 152  # type: ignore[operator]


# --- now and then ------------------------------------------------------------------------------------------


def test_counts_of_several_nodes_come_together_now_and_then(valkey: Valkey) -> None:
    """The step counts in shared memory (played here), the handlers exchange what was counted."""
    configured = limiting(valkey.settings(), hour=100, sync_rate=0.02)
    key = f"ratelimit:{ZERO}:{ZERO}:somebody:{NOON}000:hour"

    async def work(one: Node) -> None:
        other = Node()
        for node, count in ((one, 30), (other, 12)):
            counting = node.handler._make_counting(
                type("Job", (), {"config": configured.config, "plugin": configured})()
            )
            node.counting = counting  # type: ignore[attr-defined]
            node.table.add(counting._counted, b"somebody", NOON * NS, count)  # type: ignore[attr-defined]
            node.table.add(counting._untold, b"somebody", NOON * NS, count)  # type: ignore[attr-defined]
            await node.ask(configured, verb=LimitVerb.VERB_TELL, time_ns=NOON * NS)
        for _ in range(500):
            if valkey.contents() == {key: 42}:
                break
            await asyncio.sleep(0.01)
        assert valkey.contents() == {key: 42}
        # Each learns of the others' when it next tells something.
        await one.ask(configured, verb=LimitVerb.VERB_TELL, time_ns=NOON * NS)
        for _ in range(500):
            [(remaining, _)] = one.table.look(one.counting._counted, b"somebody", NOON * NS)  # type: ignore[attr-defined]
            if remaining == 58:
                break
            await asyncio.sleep(0.01)
        assert remaining == 58
        await other.handler.close()

    on_node(work)


def test_what_could_not_be_told_is_told_later() -> None:
    with Valkey() as valkey:
        configured = limiting(valkey.settings(), hour=100, sync_rate=0.02)

        async def work(node: Node) -> None:
            counting = node.handler._make_counting(
                type("Job", (), {"config": configured.config, "plugin": configured})()
            )
            valkey.kill()
            node.table.add(counting._untold, b"somebody", NOON * NS, 5)  # type: ignore[attr-defined]
            await node.ask(configured, verb=LimitVerb.VERB_TELL, time_ns=NOON * NS)
            while not node.log.errors:
                await asyncio.sleep(0.01)
            assert node.log.errors[0].startswith(
                "rate limits: cannot tell what was counted: Redis at 127.0.0.1"
            )
            valkey.start()
            for _ in range(500):
                if valkey.contents():
                    break
                await asyncio.sleep(0.01)
            assert list(valkey.contents().values()) == [5]

        on_node(work)


# --- costs of responses ------------------------------------------------------------------------------------


def test_batches_of_one_link_get_their_own_answers(valkey: Valkey) -> None:
    """What responses cost is told while others ask how they stand, over the same connection."""
    configured = Configured(
        "response-ratelimiting",
        {"policy": "redis", "redis": valkey.settings(), "limits": {"video": {"day": 1000}}},
    )
    now = (NOON + 1) * NS
    users = range(1, 9)

    async def work(node: Node) -> list[list[int]]:
        def look(user: int) -> Awaitable[Told]:
            return node.ask(configured, b"u%d" % user, verb=LimitVerb.VERB_LOOK, time_ns=now)

        for _ in range(30):
            for user in users:
                await node.ask(configured, b"u%d" % user, verb=LimitVerb.VERB_ADD, time_ns=now, costs=(user,))
            await asyncio.gather(*map(look, users))
        await node.handler.close()
        return [(await look(user)).remaining for user in users]

    assert on_node(work) == [[1000 - 30 * user] for user in users]


def test_costs_are_looked_at_and_added(valkey: Valkey) -> None:
    configured = Configured(
        "response-ratelimiting",
        {
            "policy": "redis",
            "redis": valkey.settings(),
            "limits": {"video": {"hour": 4}, "sms": {"minute": 10, "day": 20}},
        },
    )
    now = (NOON + 1) * NS

    async def work(node: Node) -> None:
        first = await node.ask(configured, verb=LimitVerb.VERB_LOOK, time_ns=now)
        assert first == Told(None, [(10, 59), (20, 43199), (4, 3599)])
        for _ in range(3):
            await node.ask(configured, verb=LimitVerb.VERB_ADD, time_ns=now, costs=(3, 3, 2))
        for _ in range(500):
            told = await node.ask(configured, verb=LimitVerb.VERB_LOOK, time_ns=now)
            if told.remaining == [1, 11, 0]:
                return
            await asyncio.sleep(0.01)
        raise AssertionError(told)

    on_node(work)
    assert valkey.contents() == {
        f"response-ratelimit:{ZERO}:{ZERO}:somebody:{NOON}000:sms:minute": 9,
        f"response-ratelimit:{ZERO}:{ZERO}:somebody:1795305600000:sms:day": 9,
        f"response-ratelimit:{ZERO}:{ZERO}:somebody:{NOON}000:video:hour": 6,
    }


# --- where it is -------------------------------------------------------------------------------------------


def test_database_user_and_password() -> None:
    with Valkey(requirepass="very_secret", user="limiter on >quiet ~* +@all") as valkey:
        for more, code in (
            ({"password": "very_secret"}, "default"),
            ({"password": "very_secret", "database": 3}, "database"),
            ({"username": "limiter", "password": "quiet"}, "user"),
        ):
            configured = limiting(valkey.settings(**more), hour=1)
            assert on_node(lambda node, c=configured, i=code: node.ask(c, i.encode())).refused is None
        with valkey.client() as client:
            assert client.info("keyspace")["db3"]["keys"] == 1  # type: ignore[index]

        async def work(node: Node) -> None:
            with pytest.raises(CannotTell):
                await node.ask(limiting(valkey.settings(password="wrong"), hour=1))  # noqa: S106
            [text] = node.log.errors
            assert "Redis at 127.0.0.1" in text
            assert "wrong" not in text.lower().replace("wrongpass", "")

        on_node(work)


@pytest.mark.parametrize("algorithm", [None, "sliding-window", "token-bucket"])
def test_a_cluster(cluster: Valkey, algorithm: str | None) -> None:
    cluster.empty()
    nodes = [{"host": "127.0.0.1", "port": cluster.port}]
    configured = limiting({"cluster_nodes": nodes}, hour=3, day=30, algorithm=algorithm)

    async def work(node: Node) -> list[Told]:
        return await asyncio.gather(*(node.ask(configured) for _ in range(5)))

    assert [one.refused for one in on_node(work)] == [None] * 3 + [0] * 2
    assert len(cluster.contents()) == 2


@pytest.fixture(scope="module")
def cluster() -> Iterator[Valkey]:
    with cluster_of_one() as running:
        yield running


def test_sentinels(valkey: Valkey) -> None:
    with watched(valkey, "limits") as sentinel:
        redis = {
            "sentinel_master": "limits",
            "sentinel_nodes": [{"host": "127.0.0.1", "port": sentinel.port}],
        }
        configured = limiting(redis, hour=2)
        told = on_node(lambda node: ask_often(node, configured, 3))
    assert [one.refused for one in told] == [None, None, 0]
    assert list(valkey.contents().values()) == [3]


def test_tls(valkey: Valkey, tmp_path: Path) -> None:
    authority, certificate = make_authority(tmp_path, "redis.test")
    with TlsProxy(valkey.port, certificate) as proxy:
        behind = {"host": "127.0.0.1", "port": proxy.port, "ssl": True}
        plain = limiting(behind, hour=9)
        assert on_node(lambda node: node.ask(plain)).refused is None
        named = limiting({**behind, "ssl_verify": True, "server_name": "redis.test"}, hour=9)
        told = on_node(lambda node: node.ask(named), GATEWAY_PG_SSL_CA_FILE=str(authority))
        assert told.remaining == [7]
        assert proxy.names[-1] == "redis.test"

        async def untrusted(node: Node) -> None:
            for verified in (named, limiting({**behind, "ssl_verify": True}, hour=9)):
                with pytest.raises(CannotTell):
                    await node.ask(verified)

        on_node(untrusted)
    assert list(valkey.contents().values()) == [2]


# --- failures ----------------------------------------------------------------------------------------------


def test_a_server_that_is_killed_and_started_again() -> None:
    with Valkey() as valkey:
        configured = limiting(valkey.settings(), hour=10)

        async def work(node: Node) -> None:
            assert (await node.ask(configured)).remaining == [9]
            valkey.kill()
            for _ in range(3):
                with pytest.raises(CannotTell):
                    await node.ask(configured)
            assert len(node.log.errors) == 1, "not a line for each request"
            assert node.log.errors[0].startswith("rate limits: cannot count: Redis at 127.0.0.1")
            valkey.start()
            assert (await node.ask(configured)).remaining == [9], "with the scripts that it has forgotten"

        on_node(work)


def test_a_server_that_does_not_answer_costs_its_timeout_once() -> None:
    """A stopped process: connections are accepted, and nothing comes."""
    with Valkey() as valkey:
        configured = limiting(valkey.settings(timeout=200), hour=10)

        async def work(node: Node) -> None:
            assert (await node.ask(configured)).remaining == [9]
            valkey.freeze()
            begin = time.monotonic()
            with pytest.raises(CannotTell):
                await node.ask(configured)
            assert time.monotonic() - begin >= 0.2
            with pytest.raises(CannotTell):
                await node.ask(configured)
            first, second = node.log.errors
            assert first.endswith("did not answer in time")
            assert second.endswith("did not answer in time just now"), "it is not asked again at once"
            valkey.thaw()
            for _ in range(500):
                try:
                    told = await node.ask(configured)
                    break
                except CannotTell:
                    await asyncio.sleep(0.01)
            assert told.refused is None

        on_node(work)
