"""/proxy-cache on one gateway: looking, purging in every way, bad input, numbers."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from tests.support.cached import PLUGIN_ID, CountingUpstream, admin, cached, caching, get, purge, shown
from tests.support.client import Response
from tests.support.gateway import Gateway
from tests.support.prometheus_text import parse

OTHER = "00000000-0000-4000-8000-000000000001"


@pytest.fixture(scope="module")
def upstream() -> Iterator[CountingUpstream]:
    with CountingUpstream() as running:
        yield running


@pytest.fixture(scope="module")
def gateway(shared_gateway: Gateway, upstream: CountingUpstream) -> Gateway:
    shared_gateway.configure(caching(upstream, strategy="memory"))
    return shared_gateway


def key_of(response: Response) -> str:
    key = response.get("x-cache-key")
    assert key is not None
    return key


def is_stored(gateway: Gateway, *targets: str) -> list[bool]:
    return [cached(gateway, target)[0] == "Hit" for target in targets]


@pytest.mark.parametrize("base", ["", f"/{PLUGIN_ID}/caches"])
def test_a_response_is_shown_and_purged(gateway: Gateway, base: str) -> None:
    purge(gateway, "")
    key = key_of(get(gateway, "/one?tags=a"))
    found = shown(gateway, f"{base}/{key}")
    assert abs(found.pop("timestamp") - time.time()) < 60
    body = found["body"]
    assert body.startswith("/one?tags=a ")
    assert found == {
        "status": 200,
        "headers": {"Content-Type": "text/plain", "Surrogate-Key": "a", "X-Cache-Key": key},
        "body": body,
        "body_len": len(body),
        "ttl": 300,
        "version": 1,
        "req_body": "",
    }
    assert is_stored(gateway, "/one?tags=a") == [True]
    purge(gateway, f"{base}/{key}")
    for method in ("GET", "DELETE"):
        status, page = admin(gateway, method, f"/proxy-cache{base}/{key}")
        assert status == 404
        assert b"404 Not Found" in page
    assert is_stored(gateway, "/one?tags=a") == [False]


@pytest.mark.parametrize(
    ("path", "left"),
    [
        ("", [False] * 4),
        (f"/{PLUGIN_ID}", [False] * 4),
        ("?tag=red", [False, False, True, True]),
        (f"/{PLUGIN_ID}?tag=blue&tag=none", [False, True, False, True]),
        ("?prefix=/a", [False, True, True, True]),
        ("?prefix=/a&host=a.test", [False, True, True, True]),
        ("?prefix=/A", [False, True, True, True]),
        ("?prefix=/a&host=other.test", [True] * 4),
        ("?host=A.test", [False] * 4),
        (f"/{PLUGIN_ID}?prefix=/c", [True, True, False, True]),
    ],
)
def test_purges(gateway: Gateway, path: str, left: list[bool]) -> None:
    targets = ["/a/1?tags=red+blue", "/b/1?tags=red", "/c?tags=blue", "/d"]
    for target in targets:
        cached(gateway, target)
    assert is_stored(gateway, *targets) == [True] * 4
    purge(gateway, path)
    assert is_stored(gateway, *targets) == left


@pytest.mark.parametrize(
    "path",
    [
        "?tag=",
        "?tag=a%20b",
        "?tag=a,b",
        "?tag=" + "x" * 2000,
        "?prefix=",
        "?prefix=a",
        "?prefix=/a&prefix=/b",
        "?prefix=/" + "x" * 9000,
        "?host=",
        "?host=a/b",
        "?host=a%0Ab",
        "?tag=a&prefix=/a",
        "?tags=a",
        "?prefx=/a",
        "?key=" + "0" * 64,
        "?" + "&".join(f"tag=t{number}" for number in range(300)),
        f"/{PLUGIN_ID}?prefx=/a",
    ],
)
def test_what_makes_no_sense_purges_nothing(gateway: Gateway, path: str) -> None:
    cached(gateway, "/kept")
    status, body = admin(gateway, "DELETE", f"/proxy-cache{path}")
    assert status == 400
    assert json.loads(body)["message"]
    assert is_stored(gateway, "/kept") == [True]


@pytest.mark.parametrize(
    "path",
    [
        f"/{'0' * 64}",
        f"/{'0' * 63}",
        f"/{'0' * 65}",
        f"/{'A' * 64}",
        "/none",
        "/%00",
        "/%C3%A4",
        f"/{OTHER}",
        f"/{PLUGIN_ID}/caches/none",
        f"/{PLUGIN_ID}/caches/{'0' * 64}",
        f"/{OTHER}/caches/{'0' * 64}",
        f"/none/caches/{'0' * 64}",
        f"/%0A/caches/{'0' * 64}",
    ],
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_what_there_is_not(gateway: Gateway, method: str, path: str) -> None:
    status, body = admin(gateway, method, f"/proxy-cache{path}")
    assert status == 404
    assert body.startswith(b"<html>")


@pytest.mark.parametrize("path", ["", f"/{'0' * 64}", f"/{PLUGIN_ID}/caches/{'0' * 64}"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH"])
def test_methods_that_there_are_not(gateway: Gateway, method: str, path: str) -> None:
    status, body = admin(gateway, method, f"/proxy-cache{path}")
    assert (status, json.loads(body)) == (405, {"message": "Method not allowed"})


def test_get_of_all_is_kongs_405(gateway: Gateway) -> None:
    assert admin(gateway, "GET", "/proxy-cache")[0] == 405


def test_a_plugin_that_stores_nothing_has_no_responses(gateway: Gateway, upstream: CountingUpstream) -> None:
    document = caching(upstream, strategy="memory")
    document["services"][0]["plugins"].append(
        {"id": OTHER, "name": "correlation-id", "config": {"header_name": "X-Id"}}
    )
    gateway.configure(document)
    key = key_of(get(gateway, "/of-one"))
    assert admin(gateway, "GET", f"/proxy-cache/{OTHER}/caches/{key}")[0] == 404
    assert admin(gateway, "DELETE", f"/proxy-cache/{OTHER}")[0] == 404
    assert shown(gateway, f"/{PLUGIN_ID}/caches/{key}")["status"] == 200


def test_response_caching_has_the_same_endpoints(gateway: Gateway, upstream: CountingUpstream) -> None:
    gateway.configure(caching(upstream, name="response-caching"))
    key = key_of(get(gateway, "/alias"))
    assert shown(gateway, f"/{PLUGIN_ID}/caches/{key}")["body"].startswith("/alias ")
    purge(gateway, f"/{PLUGIN_ID}")
    assert admin(gateway, "GET", f"/proxy-cache/{key}")[0] == 404


def test_numbers(gateway: Gateway) -> None:
    def metrics() -> dict[str, float]:
        _, _, page = gateway.call(gateway.admin_port, "GET", "/metrics")
        families = parse(page).items()
        return {name: family.value(name) for name, family in families if name.startswith("sluicegate_cache")}

    before = metrics()
    cached(gateway, "/counted?size=5000")
    cached(gateway, "/counted?size=5000")
    found = shown(gateway, "/statistics")
    assert found["entries"] >= 1
    assert 5000 < found["bytes"] < found["size"]
    after = metrics()
    assert after["sluicegate_cache_entries"] == found["entries"]
    assert after["sluicegate_cache_bytes"] == found["bytes"]
    assert after["sluicegate_cache_size_bytes"] == found["size"]
    for name in ("hits", "misses", "stored"):
        assert after[f"sluicegate_cache_{name}_total"] - before[f"sluicegate_cache_{name}_total"] == 1
