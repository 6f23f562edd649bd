"""Stored responses in Redis, with a real Valkey: what workers ask and store there, what purges remove."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from types import SimpleNamespace
from typing import Any, TypeVar

import pytest

from gateway.plugin_thread.context import WorkerContext
from gateway.plugins import _cache_redis
from gateway.plugins._cache_keys import TAG_LIFE_MS, entry_key, tag_key
from gateway.plugins._cache_redis import DOWN, FOUND, MISSING, CacheHandler
from gateway.stored_responses.purges import CacheUnavailable, Purge
from gateway.stored_responses.redis_cache import RedisCache
from native.cache_image import SharedCacheVerb
from native.shm import SharedState
from tests.support.cache_images import FULL_KEY, HEAD, KEY, PLUGIN, image_of, key_number
from tests.support.settings import load
from tests.support.valkey import Valkey, cluster_of_one, watched

T = TypeVar("T")


@pytest.fixture(scope="module")
def server() -> Iterator[Valkey]:
    with Valkey() as running:
        yield running


@pytest.fixture
def valkey(server: Valkey) -> Valkey:
    server.empty()
    return server


class Log:
    """An error log in memory."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def error(self, text: str) -> None:
        self.lines.append(text)

    notice = error


class PlayedJob:
    """A job whose answer can be awaited."""

    def __init__(self, redis: dict[str, Any], verb: SharedCacheVerb, payload: bytes, plugin: str) -> None:
        self.config = {"redis": redis}
        self.plugin_id = plugin
        self.verb = verb
        self.payload = payload
        self.abandoned = False
        self.answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    def finish(self, result: bytes) -> None:
        self.answer.set_result(result)


class Worker:
    """A handler and its log."""

    def __init__(self, redis: dict[str, Any]) -> None:
        self.redis = redis
        self.log = Log()
        context: Any = SimpleNamespace(
            settings=load(),
            shared=SharedState.create(1),
            log=self.log,
            worker=0,
            loop=asyncio.get_running_loop(),
        )
        self.context: WorkerContext = context
        self.handler = CacheHandler(self.context)

    def begin(
        self, verb: SharedCacheVerb, payload: bytes, plugin: str = PLUGIN
    ) -> tuple[PlayedJob, bytes | None]:
        job = PlayedJob(self.redis, verb, payload, plugin)
        return job, self.handler.handle(job)  # type: ignore[arg-type]

    async def find(self, key: str = KEY, plugin: str = PLUGIN) -> bytes:
        words = b"".join(int(key[at : at + 16], 16).to_bytes(8, "little") for at in range(0, 64, 16))
        job, result = self.begin(SharedCacheVerb.VERB_FIND, words + FULL_KEY, plugin)
        return await asyncio.wait_for(job.answer, 10) if result is None else result

    async def store(self, image: bytes, plugin: str = PLUGIN) -> None:
        assert self.begin(SharedCacheVerb.VERB_STORE, image, plugin)[1] == b""
        while "tell" in self.cache._tasks:
            await asyncio.sleep(0.005)

    @property
    def cache(self) -> Any:
        (cache,) = self.handler._caches.values()
        return cache


def on_worker(redis: dict[str, Any], work: Callable[[Worker], Awaitable[T]]) -> T:
    async def run() -> T:
        worker = Worker(redis)
        try:
            async with asyncio.timeout(30):
                return await work(worker)
        finally:
            await worker.handler.close()

    return asyncio.run(run())


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.01)


def keys(valkey: Valkey) -> set[bytes]:
    with valkey.client() as client:
        return set(client.keys())


# --- workers -----------------------------------------------------------------------------------------------


def test_what_is_stored_is_found(valkey: Valkey) -> None:
    image = image_of(keep_ms=60_000)

    async def work(worker: Worker) -> None:
        assert await worker.find() == MISSING
        await worker.store(image)
        assert await worker.find() == FOUND + image
        assert await worker.find(plugin="another plugin") == MISSING
        assert worker.log.lines == []

    on_worker(valkey.settings(), work)
    with valkey.client() as client:
        assert client.keys() == [entry_key(PLUGIN, KEY)]
        assert 55_000 < client.pttl(entry_key(PLUGIN, KEY)) <= 60_000


def test_what_is_over_or_broken_is_not_stored(valkey: Valkey) -> None:
    over, broken = image_of(keep_ms=1), image_of()[:-1]

    async def work(worker: Worker) -> None:
        await asyncio.sleep(0.002)
        await worker.store(over)
        await worker.store(broken)
        await worker.store(b"")

    on_worker(valkey.settings(), work)
    assert keys(valkey) == set()


def test_many_ask_together(valkey: Valkey) -> None:
    images = [image_of(key_number(number), b"%d" % number) for number in range(5)]

    async def work(worker: Worker) -> None:
        for image in images:
            await worker.store(image)
        found = await asyncio.gather(*(worker.find(key_number(number % 10)) for number in range(200)))
        assert found == [FOUND + images[n % 10] if n % 10 < 5 else MISSING for n in range(200)]

    on_worker(valkey.settings(), work)


def test_nobody_is_answered_who_does_not_wait(valkey: Valkey) -> None:
    async def work(worker: Worker) -> None:
        gone, _ = worker.begin(SharedCacheVerb.VERB_FIND, bytes(32) + FULL_KEY)
        gone.abandoned = True
        assert await worker.find() == MISSING
        assert not gone.answer.done()

    on_worker(valkey.settings(), work)


def test_garbage_is_a_miss_for_the_loop_thread_to_see(valkey: Valkey) -> None:
    with valkey.client() as client:
        client.set(entry_key(PLUGIN, key_number(1)), b"garbage")
        client.lpush(entry_key(PLUGIN, key_number(2)), b"a list")
        client.setrange(entry_key(PLUGIN, key_number(3)), 50_000_000, b"x")

    async def work(worker: Worker) -> None:
        assert await worker.find(key_number(1)) == FOUND + b"garbage"
        assert await worker.find(key_number(2)) == MISSING
        assert len(await worker.find(key_number(3))) == 1 + (1 << 20), "no more than an image has"
        assert worker.log.lines == []

    on_worker(valkey.settings(), work)


def test_tags_lead_to_entries(valkey: Valkey) -> None:
    head = HEAD[:-2] + b"Surrogate-Key: red green\r\nCache-Tag: red, \xc3\xa4\r\n\r\n"
    image = image_of(head=head, keep_ms=60_000)
    on_worker(valkey.settings(), lambda worker: worker.store(image))
    tags = {tag_key(PLUGIN, tag) for tag in (b"red", b"green", "ä".encode())}
    assert keys(valkey) == {entry_key(PLUGIN, KEY), *tags}
    with valkey.client() as client:
        for tag in tags:
            assert client.zrange(tag, 0, -1) == [KEY.encode()]
            assert client.pttl(tag) > TAG_LIFE_MS - 60_000


def test_without_its_tags_nothing_is_stored(valkey: Valkey) -> None:
    """A purge could not find it."""
    with valkey.client() as client:
        client.set(tag_key(PLUGIN, b"red"), b"no set")
    tagged = image_of(head=HEAD[:-2] + b"Surrogate-Key: red\r\n\r\n")
    other = image_of(key_number(1), head=HEAD[:-2] + b"Surrogate-Key: green\r\n\r\n")

    async def work(worker: Worker) -> None:
        await asyncio.gather(worker.store(tagged), worker.store(other))
        assert await worker.find() == MISSING
        assert await worker.find(key_number(1)) == FOUND + other
        assert len(worker.log.lines) == 1
        assert "does not store them: WRONGTYPE" in worker.log.lines[0]

    on_worker(valkey.settings(), work)


def test_a_full_redis_is_complained_about_once(valkey: Valkey) -> None:
    async def work(worker: Worker) -> None:
        with valkey.client() as client:
            client.config_set("maxmemory", 1)
        try:
            for number in range(3):
                await worker.store(image_of(key_number(number)))
        finally:
            with valkey.client() as client:
                client.config_set("maxmemory", 0)
        assert await worker.find() == MISSING
        assert len(worker.log.lines) == 1
        assert "does not store them: " in worker.log.lines[0]

    on_worker(valkey.settings(), work)


def test_an_outage_costs_few_requests_and_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cache_redis, "FIRST_PAUSE", 0.05)
    image = image_of()
    with Valkey() as valkey:

        async def work(worker: Worker) -> None:
            await worker.store(image)
            assert await worker.find() == FOUND + image
            valkey.kill()
            assert await worker.find() == DOWN
            for _ in range(100):
                assert await worker.find() == DOWN
                await worker.store(image)
            assert len(worker.log.lines) == 1
            assert worker.log.lines[0].startswith("cached responses: Redis at 127.0.0.1")
            assert worker.log.lines[0].endswith("going on without it")
            valkey.start()
            await until(lambda: len(worker.log.lines) == 2)
            assert worker.log.lines[1].endswith("can be used again")
            assert await worker.find() == MISSING
            await worker.store(image)
            assert await worker.find() == FOUND + image

        on_worker(valkey.settings(), work)


def test_silence_holds_nobody_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_cache_redis, "FIRST_PAUSE", 0.05)
    with Valkey() as valkey:

        async def work(worker: Worker) -> None:
            assert await worker.find() == MISSING
            valkey.freeze()
            started = time.monotonic()
            found = await asyncio.gather(*(worker.find(key_number(number)) for number in range(200)))
            assert set(found) == {DOWN}
            assert time.monotonic() - started < 10
            assert len(worker.log.lines) == 1
            valkey.thaw()
            await until(lambda: len(worker.log.lines) == 2)
            assert await worker.find() == MISSING

        on_worker(valkey.settings(timeout=60_000), work)


def test_what_waits_to_be_stored_has_a_limit(valkey: Valkey, monkeypatch: pytest.MonkeyPatch) -> None:
    image = image_of(body=bytes(1000))
    monkeypatch.setattr(_cache_redis, "MOST_UNTOLD", 3 * len(image))

    async def work(worker: Worker) -> None:
        for number in range(10):
            worker.begin(SharedCacheVerb.VERB_STORE, image_of(key_number(number), bytes(1000)))
        await worker.store(image)

    on_worker(valkey.settings(), work)
    assert len(keys(valkey)) == 3


def test_a_wrong_password_is_an_outage() -> None:
    with Valkey(requirepass="very_secret") as valkey:

        async def work(worker: Worker) -> None:
            assert await worker.find() == DOWN
            [line] = worker.log.lines
            assert "very_wrong" not in line

        on_worker(valkey.settings(password="very_wrong"), work)  # noqa: S106


# --- where it is -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster() -> Iterator[Valkey]:
    with cluster_of_one() as running:
        yield running


@pytest.fixture(scope="module")
def sentinel(server: Valkey) -> Iterator[Valkey]:
    with watched(server, "cached") as running:
        yield running


@pytest.fixture(params=["alone", "cluster", "sentinel"])
def place(request: pytest.FixtureRequest, server: Valkey) -> tuple[dict[str, Any], Valkey]:
    """The record `redis` of a configuration, and the server behind it."""
    if request.param == "alone":
        server.empty()
        return server.settings(), server
    named: Valkey = request.getfixturevalue(request.param)
    nodes = [{"host": "127.0.0.1", "port": named.port}]
    if request.param == "cluster":
        named.empty()
        return {"cluster_nodes": nodes}, named
    server.empty()
    return {"sentinel_master": "cached", "sentinel_nodes": nodes}, server


def full_key(path: str, host: str = "shop.test:8000", plugin: str = PLUGIN) -> bytes:
    return f"{path}\na=1\nhttp://{host}\nGET\n{plugin} 0\nroute\n\n\n".encode()


async def filled(worker: Worker) -> dict[str, str]:
    """Store some responses; their keys by name."""
    tagged = HEAD[:-2] + b"Surrogate-Key: red green\r\n\r\n"
    names = {
        "tagged": image_of(key_number(1), full_key=full_key("/a/1"), head=tagged),
        "below": image_of(key_number(2), full_key=full_key("/a/2")),
        "elsewhere": image_of(key_number(3), full_key=full_key("/b/" + "long" * 3000)),
        "other host": image_of(key_number(4), full_key=full_key("/a/3", "other.test")),
        "other plugin": image_of(key_number(5), full_key=full_key("/a/4", plugin="other"), head=tagged),
    }
    for name, image in names.items():
        await worker.store(image, "other" if name == "other plugin" else PLUGIN)
    return {name: key_number(number) for number, name in enumerate(names, 1)}


async def left(worker: Worker, stored: dict[str, str]) -> set[str]:
    return {
        name
        for name, key in stored.items()
        if await worker.find(key, "other" if name == "other plugin" else PLUGIN) != MISSING
    }


@pytest.mark.parametrize(
    ("purge", "gone"),
    [
        (Purge(), {"tagged", "below", "elsewhere", "other host", "other plugin"}),
        (Purge(plugin=PLUGIN), {"tagged", "below", "elsewhere", "other host"}),
        (Purge(key=key_number(2)), {"below"}),
        (Purge(key=key_number(99)), set()),
        (Purge(tags=("green", "blue")), {"tagged", "other plugin"}),
        (Purge(tags=("blue",)), set()),
        (Purge(prefix="/a"), {"tagged", "below", "other host", "other plugin"}),
        (Purge(prefix="/b/longlong"), {"elsewhere"}),
        (Purge(host="shop.test"), {"tagged", "below", "elsewhere", "other plugin"}),
        (Purge(prefix="/a", host="shop.test:8000"), {"tagged", "below", "other plugin"}),
        (Purge(prefix="/a", plugin=PLUGIN), {"tagged", "below", "other host"}),
    ],
    ids=[
        "everything",
        "a plugin's",
        "a key",
        "an unknown key",
        "tags",
        "an unknown tag",
        "below a path",
        "a long key",
        "a host",
        "a host and a path",
        "below a path of a plugin",
    ],
)
def test_purges(place: tuple[dict[str, Any], Valkey], purge: Purge, gone: set[str]) -> None:
    redis, _ = place

    async def work(worker: Worker) -> None:
        stored = await filled(worker)
        cache = RedisCache(redis, worker.context.settings)
        plugins = [PLUGIN, "other"] if purge.plugin is None else [purge.plugin]
        try:
            await cache.remove(plugins, purge)
        finally:
            await cache.close()
        assert await left(worker, stored) == set(stored) - gone

    on_worker(redis, work)


def test_a_response_and_its_variants_go_together(place: tuple[dict[str, Any], Valkey]) -> None:
    redis, _ = place
    base = full_key("/a/1")

    async def work(worker: Worker) -> None:
        for number, lines in enumerate((b"", b"v accept: a\n", b"v accept: b\n")):
            await worker.store(image_of(key_number(number), full_key=base + lines, vary_count=1))
        await worker.store(image_of(key_number(7), full_key=full_key("/a/11"), vary_count=1))
        cache = RedisCache(redis, worker.context.settings)
        try:
            await cache.remove([PLUGIN], Purge(key=key_number(0)))
        finally:
            await cache.close()
        found = [await worker.find(key_number(number)) != MISSING for number in (0, 1, 2, 7)]
        assert found == [False, False, False, True]

    on_worker(redis, work)


def test_the_control_process_looks_and_is_told(place: tuple[dict[str, Any], Valkey]) -> None:
    redis, server = place

    async def work(worker: Worker) -> None:
        await worker.store(image_of(body=b"found"))
        cache, other = (RedisCache(redis, worker.context.settings) for _ in range(2))
        heard: list[Any] = []

        async def hear(message: Any) -> None:
            heard.append(message)

        try:
            image = await cache.find(PLUGIN, KEY)
            assert image is not None
            assert image["body"] == b"found"
            assert await cache.find(PLUGIN, key_number(1)) is None
            other.listen(hear)
            while not heard:  # until it listens
                await cache.publish({"n": 1})
                await asyncio.sleep(0.02)
            with server.client() as client:
                client.publish("sluicegate:cache-purges", b"no JSON")
                client.client_kill_filter(_type="pubsub")
            heard.clear()
            while not heard:
                await cache.publish({"n": 2})
                await asyncio.sleep(0.02)
            assert heard[-1] == {"n": 2}
        finally:
            await cache.close()
            await other.close()

    on_worker(redis, work)


def test_a_redis_that_is_not_there_is_a_problem() -> None:
    with Valkey() as valkey:
        redis = valkey.settings()

    async def run() -> None:
        cache = RedisCache(redis, load())
        try:
            for asked in (cache.find(PLUGIN, KEY), cache.remove([PLUGIN], Purge()), cache.publish({})):
                with pytest.raises(CacheUnavailable, match=r"Redis at 127\.0\.0\.1"):
                    await asked
        finally:
            await cache.close()

    asyncio.run(run())
