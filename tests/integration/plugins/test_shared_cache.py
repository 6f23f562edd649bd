"""Two gateways that share a Redis: what one has stored the other answers with, what one purges goes on both;
and when Redis is gone, requests are served without it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from tests.support.cached import PLUGIN_ID, CountingUpstream, admin, cached, caching, get, purge, shown
from tests.support.client import Client
from tests.support.gateway import Gateway, wait_for
from tests.support.valkey import Valkey, cluster_of_one, watched

TOLD_SECONDS = 4.5
"""after five, a node asks Redis again by itself"""


@pytest.fixture(scope="module")
def upstream() -> Iterator[CountingUpstream]:
    with CountingUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def other_gateway() -> Iterator[Gateway]:
    with Gateway() as running:
        yield running


class Pair:
    """Both gateways, configured alike."""

    def __init__(self, one: Gateway, other: Gateway, upstream: CountingUpstream) -> None:
        self.one = one
        self.other = other
        self.upstream = upstream

    def configure(self, redis: dict[str, Any], **config: Any) -> None:
        for gateway in (self.one, self.other):
            gateway.configure(caching(self.upstream, strategy="redis", redis=redis, **config))

    def listens(self, valkey: Valkey, listeners: int = 2) -> None:
        """Wait until both hear of purges."""
        with valkey.client() as client:
            wait_for(
                lambda: (
                    dict(client.pubsub_numsub("sluicegate:cache-purges"))[b"sluicegate:cache-purges"]
                    >= listeners
                ),
                what="both nodes listen",
            )

    def store(self, valkey: Valkey, target: str) -> str:
        """Have one node store a response; its key, once it is in Redis."""
        found = get(self.one, target)
        assert (found.status, found.get("x-cache-status")) == (200, "Miss")
        key = found.get("x-cache-key")
        assert key is not None
        with valkey.client() as client:
            wait_for(lambda: client.exists(entry(key)), what="the response is in Redis")
        return key

    def share(self, valkey: Valkey, target: str) -> str:
        """The same, and the other node answers with it."""
        key = self.store(valkey, target)
        status, body = cached(self.one, target)
        assert (status, body) == cached(self.other, target)
        assert status == "Hit"
        return key


def entry(key: str) -> str:
    """What a response is called in Redis."""
    return f"sluicegate:cache:{PLUGIN_ID}:{key}"


@pytest.fixture(scope="module")
def nodes(shared_gateway: Gateway, other_gateway: Gateway, upstream: CountingUpstream) -> Pair:
    return Pair(shared_gateway, other_gateway, upstream)


@pytest.fixture
def pair(nodes: Pair, valkey: Valkey) -> Pair:
    """With an empty Redis."""
    nodes.configure(valkey.settings())
    nodes.listens(valkey)
    purge(nodes.one, "")
    valkey.empty()
    return nodes


def test_what_varies_is_found_with_two_questions(pair: Pair, valkey: Valkey) -> None:
    """The first answer names the fields that it varies on, the second is the response."""
    target = "/varied?vary=Accept-Encoding"
    pair.share(valkey, target)
    assert cached(pair.other, target, "Accept-Encoding: gzip") == ("Miss", f"{target} 2".encode())


def test_what_one_node_has_stored_is_a_hit_on_the_other(pair: Pair, valkey: Valkey) -> None:
    """With its fields, and its age."""
    target = "/shared?size=200000&tags=a"
    key = pair.share(valkey, target)
    answers = [get(gateway, target) for gateway in (pair.one, pair.other)]
    assert pair.upstream.asked[target] == 1
    for answer in answers:
        assert answer.body == f"{target} 1".encode() + bytes(200_000)
        assert (answer.get("content-type") or "").startswith("text/plain")
        assert answer.get("surrogate-key") == "a"
        assert answer.get("x-cache-key") == key
        assert int(answer.get("age") or -1) >= 0


def test_an_unsafe_request_voids_it_on_all_nodes(pair: Pair, valkey: Valkey) -> None:
    """Also what is only in Redis any more."""
    pair.configure(valkey.settings(), cache_control=True)
    changed, kept = "/changed?life=600", "/kept?life=600"
    for target in (changed, kept):
        pair.share(valkey, target)
    client = Client(pair.one.proxy_port)
    assert client.request(changed, "Content-Length: 0", method="POST").response().status == 200
    client.socket.close()
    assert cached(pair.one, changed)[1].endswith(b"3")
    wait_for(lambda: not cached(pair.other, changed)[1].endswith(b"1"), what="the other node to hear of it")
    for gateway in (pair.one, pair.other):
        assert cached(gateway, kept) == ("Hit", f"{kept} 1".encode())


def test_it_is_in_redis_until_it_is_over(pair: Pair, valkey: Valkey) -> None:
    key = pair.store(valkey, "/kept")
    with valkey.client() as client:
        assert 290_000 < client.pttl(entry(key)) <= 300_000


def test_the_admin_api_of_the_other_node_shows_it(pair: Pair, valkey: Valkey) -> None:
    key = pair.store(valkey, "/looked-at")
    for path in (f"/{key}", f"/{PLUGIN_ID}/caches/{key}"):
        assert shown(pair.other, path)["body"] == "/looked-at 1"
    purge(pair.other, f"/{key}")
    wait_for(
        lambda: (
            [admin(node, "GET", f"/proxy-cache/{key}")[0] for node in (pair.one, pair.other)] == [404, 404]
        ),
        what="it has gone",
    )


@pytest.mark.parametrize("by", ["key", "tag", "prefix", "plugin", "everything"])
def test_purges_reach_redis_and_both_nodes(pair: Pair, valkey: Valkey, by: str) -> None:
    target, kept = f"/{by}/1?tags=tag-{by}", f"/kept-{by}"
    key = pair.share(valkey, target)
    pair.share(valkey, kept)
    path = {
        "key": f"/{key}",
        "tag": f"?tag=tag-{by}",
        "prefix": f"?prefix=/{by}/",
        "plugin": f"/{PLUGIN_ID}",
        "everything": "",
    }[by]
    purge(pair.other, path)
    assert cached(pair.other, target) == ("Miss", f"{target} 2".encode())
    first = f"{target} 1".encode()
    wait_for(
        lambda: cached(pair.one, target)[1] != first, what="the other node was told", seconds=TOLD_SECONDS
    )
    is_kept = by in ("key", "tag", "prefix")
    for gateway in (pair.one, pair.other):
        cached(gateway, kept)
    assert pair.upstream.asked[kept] == 1 if is_kept else pair.upstream.asked[kept] > 1


def test_what_somebody_has_put_into_redis_is_a_miss(pair: Pair, valkey: Valkey) -> None:
    key = pair.store(valkey, "/garbage")
    with valkey.client() as client:
        image: bytes = client.get(entry(key))
        for broken in (b"", b"garbage", image[:-1], image[:20] + b"\0" + image[21:], b"\xff" * 3_000_000):
            purge(pair.other, f"/{key}")
            client.set(entry(key), broken)
            pair.store(valkey, "/garbage")
            wait_for(partial(is_mended, pair, client, key, broken), what="the good one is stored")
        purge(pair.other, f"/{key}")
        client.lpush(entry(key), b"a list")
        assert cached(pair.other, "/garbage")[0] == "Miss"


def is_mended(pair: Pair, client: Any, key: str, broken: bytes) -> bool:
    """Whether a request has put something else there; a purge still on its way may void what one before it
    fetched."""
    assert get(pair.one, "/garbage").status == 200
    return bool(client.get(entry(key)) != broken)


def test_large_responses_stay_on_their_node(pair: Pair) -> None:
    target = "/large?size=2000000"
    assert cached(pair.one, target)[0] == "Miss"
    assert cached(pair.one, target)[0] == "Hit"
    assert cached(pair.other, target)[0] == "Miss"


@pytest.mark.parametrize("form", ["cluster", "sentinel"])
def test_clusters_and_sentinels(nodes: Pair, valkey: Valkey, form: str) -> None:
    if form == "cluster":
        with cluster_of_one() as cluster:
            check_place(nodes, cluster, {"cluster_nodes": [{"host": "127.0.0.1", "port": cluster.port}]})
        return
    with watched(valkey, "cached") as sentinel:
        sentinels = [{"host": "127.0.0.1", "port": sentinel.port}]
        check_place(nodes, valkey, {"sentinel_master": "cached", "sentinel_nodes": sentinels})


def check_place(nodes: Pair, server: Valkey, redis: dict[str, Any]) -> None:
    nodes.configure(redis)
    nodes.listens(server)
    target = f"/{sorted(redis)[0]}?tags=placed"
    nodes.share(server, target)
    purge(nodes.other, "?tag=placed")
    first = f"{target} 1".encode()
    wait_for(
        lambda: cached(nodes.one, target)[1] != first, what="the other node was told", seconds=TOLD_SECONDS
    )


def test_without_redis_requests_are_served(nodes: Pair) -> None:
    with Valkey() as valkey:
        nodes.configure(valkey.settings())
        nodes.share(valkey, "/before")
        valkey.kill()
        seen: Counter[str | None] = Counter()
        for number in range(50):
            found = get(nodes.one, f"/without/{number}")
            assert found.status == 200
            assert found.body == f"/without/{number} 1".encode()
            seen[found.get("x-cache-status")] += 1
        assert seen == {"Bypass": 50}
        status, body = admin(nodes.one, "DELETE", "/proxy-cache")
        assert status == 503
        assert b"Redis at 127.0.0.1" in body
        valkey.start()
        wait_for(lambda: cached(nodes.one, "/again")[0] == "Hit", what="Redis is used again")


def test_under_load_redis_may_come_and_go(nodes: Pair) -> None:
    """No request fails, and none waits for long."""
    with Valkey() as valkey:
        nodes.configure(valkey.settings())
        failures: list[Any] = []
        seconds: list[float] = []
        """that requests took"""
        ended = threading.Event()

        def load(gateway: Gateway, worker: int) -> None:
            number = 0
            while not ended.is_set():
                number += 1
                target = f"/load/{number % 20}"
                started = time.monotonic()
                found = get(gateway, target)
                seconds.append(time.monotonic() - started)
                if found.status != 200 or not found.body.startswith(target.encode() + b" "):
                    failures.append((worker, found))
                    return

        threads = [
            threading.Thread(target=load, args=(gateway, worker))
            for worker, gateway in enumerate((nodes.one, nodes.other) * 2)
        ]
        for thread in threads:
            thread.start()
        try:
            for disturb in (valkey.kill, valkey.start, valkey.freeze, valkey.thaw):
                disturb()
                seen = len(seconds)
                wait_for(partial(has_more, seconds, seen + 500), what="requests go on")
        finally:
            ended.set()
            for thread in threads:
                thread.join(60)
        assert failures == []
        assert max(seconds) < 10


def has_more(list_of_something: list[float], number: int) -> bool:
    return len(list_of_something) > number
