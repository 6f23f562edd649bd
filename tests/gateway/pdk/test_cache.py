"""What plugins remember."""

from __future__ import annotations

import asyncio

import pytest

from gateway.pdk import Cache
from gateway.pdk import cache as module


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    return now


def test_things_are_forgotten_after_their_time(clock: list[float]) -> None:
    cache = Cache(10)
    cache.set("a", 1, ttl=5)
    cache.set("b", 2)
    clock[0] += 4.9
    assert cache.get("a") == 1
    clock[0] += 0.1
    assert (cache.get("a", "none"), cache.get("b")) == ("none", 2)
    cache.delete("b")
    cache.delete("b")
    assert len(cache) == 0


def test_what_was_not_asked_for_longest_goes() -> None:
    cache = Cache(2)
    cache.set("a", 1)
    cache.set("b", 2)
    cache.get("a")
    cache.set("c", 3)
    assert (cache.get("a"), cache.get("b"), cache.get("c")) == (1, None, 3)
    cache.clear()
    assert cache.get("a") is None


def test_many_wait_for_one() -> None:
    cache = Cache(10)
    made = []

    async def make() -> int:
        made.append(1)
        await asyncio.sleep(0)
        return len(made)

    async def ask() -> None:
        assert await asyncio.gather(*(cache.get_or_make("k", make) for _ in range(5))) == [1] * 5
        assert await cache.get_or_make("k", make) == 1

    asyncio.run(ask())


def test_a_failure_is_not_remembered() -> None:
    cache = Cache(10)
    tries = []

    async def make() -> str:
        tries.append(1)
        await asyncio.sleep(0)
        if len(tries) == 1:
            raise ValueError("not yet")
        return "made"

    async def ask() -> None:
        first, second = await asyncio.gather(
            cache.get_or_make("k", make), cache.get_or_make("k", make), return_exceptions=True
        )
        assert isinstance(first, ValueError)
        assert isinstance(second, ValueError)
        assert await cache.get_or_make("k", make) == "made"

    asyncio.run(ask())


def test_who_makes_it_may_go_away() -> None:
    cache = Cache(10)
    begun = []

    async def make() -> str:
        begun.append(1)
        await asyncio.sleep(60 if len(begun) == 1 else 0)
        return "made"

    async def ask() -> None:
        first = asyncio.create_task(cache.get_or_make("k", make))
        second = asyncio.create_task(cache.get_or_make("k", make))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        assert await asyncio.wait_for(second, 5) == "made"
        assert len(begun) == 2

    asyncio.run(ask())
