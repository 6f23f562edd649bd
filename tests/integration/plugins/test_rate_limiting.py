"""rate-limiting: fields, who is counted, scopes, stacked limits, and where is counted (plugins.md)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway import Gateway, one_service, wait_for
from tests.support.plugged import Answer, Plugged, plugin
from tests.support.upstreams import Connection, Upstream
from tests.support.valkey import Valkey


class Fresh(Plugged):
    """A service of a new name, hence with a new id and new counters, in each configuration."""

    def configure(self, *plugins: dict[str, Any], **entities: Any) -> None:
        service = one_service(self.behind.port, name=f"s{uuid.uuid4().hex}", plugins=list(plugins))
        self.gateway.configure({**service, **entities})

    def statuses(self, times: int, *fields: str, target: str = "/") -> list[int]:
        return [self.request(target, *fields).status for _ in range(times)]


@pytest.fixture(scope="module")
def fresh(shared_gateway: Gateway) -> Iterator[Fresh]:
    with Upstream() as upstream:
        yield Fresh(shared_gateway, upstream)


def limit(**config: Any) -> dict[str, Any]:
    return plugin("rate-limiting", **config)


def fields(answer: Answer) -> dict[str, str]:
    """What the client is told of its limits; the seconds are only known to be a few."""
    found = {}
    for name, value in answer.response.fields:
        if name.startswith(("x-ratelimit", "ratelimit", "retry-after")):
            assert name not in found, f"{name} repeated"
            found[name] = value
    for name in ("ratelimit-reset", "retry-after"):
        if name in found:
            assert int(found[name]) >= 1
            found[name] = "some"
    return found


# --- what clients are told ---------------------------------------------------------------------------------


def test_fields_of_admitted_and_refused_requests(fresh: Fresh) -> None:
    fresh.configure(limit(hour=2, year=2.5))
    first, second, third = (fresh.request() for _ in range(3))
    assert fields(first) == {
        "x-ratelimit-limit-hour": "2",
        "x-ratelimit-remaining-hour": "1",
        "x-ratelimit-limit-year": "2.5",
        "x-ratelimit-remaining-year": "1.5",
        "ratelimit-limit": "2",
        "ratelimit-remaining": "1",
        "ratelimit-reset": "some",
    }
    assert fields(second)["x-ratelimit-remaining-year"] == "0.5"
    assert fields(third) == {
        **fields(first),
        "x-ratelimit-remaining-hour": "0",
        "x-ratelimit-remaining-year": "0.5",
        "ratelimit-remaining": "0",
        "retry-after": "some",
    }
    assert third.response.get("retry-after") == third.response.get("ratelimit-reset")
    assert (third.status, third.message) == (429, "API rate limit exceeded")
    assert second.upstream.get("x-ratelimit-remaining-hour") is None


def test_the_period_of_which_least_remains_is_told_and_of_equal_ones_the_longer(fresh: Fresh) -> None:
    fresh.configure(limit(hour=99.5, day=100))
    assert fields(fresh.request())["ratelimit-limit"] == "100", "99 remain of both"
    fresh.configure(limit(hour=7, day=9))
    assert fields(fresh.request())["ratelimit-limit"] == "7"


def test_hidden_fields_and_answers_of_ones_own(fresh: Fresh) -> None:
    fresh.configure(limit(hour=1, hide_client_headers=True, error_code=503, error_message="not now"))
    assert fields(fresh.request()) == {}
    refused = fresh.request()
    assert (refused.status, refused.message, fields(refused)) == (503, "not now", {})


def test_fields_of_the_upstream_give_way(shared_gateway: Gateway) -> None:
    def answer(connection: Connection) -> None:
        while connection.read_request()[0]:
            connection.send(
                b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX-RateLimit-Limit-Hour: 9\r\nratelimit-limit: 9\r\n"
                b"X-RateLimit-Limit-Day: 9\r\n\r\n"
            )

    with Upstream(answer) as upstream:
        plugged = Fresh(shared_gateway, upstream)
        plugged.configure(limit(hour=5))
        response = plugged.request().response
        assert response.all("x-ratelimit-limit-hour") == ["5"]
        assert response.all("ratelimit-limit") == ["5"]
        assert response.all("x-ratelimit-limit-day") == ["9"], "not ours"


def test_answers_of_later_plugins_have_the_fields_too(fresh: Fresh) -> None:
    fresh.configure(limit(hour=5), plugin("request-termination", status_code=418))
    answer = fresh.request()
    assert answer.status == 418
    assert fields(answer)["ratelimit-remaining"] == "4"


# --- who is counted ----------------------------------------------------------------------------------------

KEYS = {
    "consumers": [
        {"username": "anna", "keyauth_credentials": [{"key": "a1"}, {"key": "a2"}]},
        {"username": "bert", "keyauth_credentials": [{"key": "b"}]},
        {"username": "nobody"},
    ]
}


def test_by_consumer(fresh: Fresh) -> None:
    fresh.configure(limit(hour=2), plugin("key-auth", anonymous="nobody"), **KEYS)
    assert fresh.statuses(1, "apikey: a1") + fresh.statuses(2, "apikey: a2") == [200, 200, 429]
    assert fresh.statuses(3, "apikey: b") == [200, 200, 429]
    assert fresh.statuses(3) == [200, 200, 429]


def test_by_credential(fresh: Fresh) -> None:
    fresh.configure(limit(hour=1, limit_by="credential"), plugin("key-auth"), **KEYS)
    assert fresh.statuses(2, "apikey: a1") + fresh.statuses(2, "apikey: a2") == [200, 429, 200, 429]


def test_without_a_consumer_the_address_is_counted(fresh: Fresh) -> None:
    for kind in ("consumer", "credential", "ip"):
        fresh.configure(limit(hour=1, limit_by=kind))
        assert fresh.statuses(2) == [200, 429]


def test_by_header(fresh: Fresh) -> None:
    fresh.configure(limit(hour=1, limit_by="header", header_name="X-Who"))
    assert fresh.statuses(2, "x-who: one") + fresh.statuses(2, "X-Who: two") == [200, 429, 200, 429]
    assert fresh.statuses(1, "X-Who: three", "X-Who: four") + fresh.statuses(1, "X-Who: three") == [200, 429]
    assert fresh.statuses(2) == [200, 429], "the address"
    assert fresh.statuses(2, "X-Who:") == [200, 429], "nothing is something"


def test_by_path(fresh: Fresh) -> None:
    fresh.configure(limit(hour=1, limit_by="path", path="/x"))
    assert [fresh.statuses(2, target=target) for target in ("/x", "/x?a=1")] == [[200, 429], [429, 429]]
    assert fresh.statuses(1, target="/y") + fresh.statuses(1, target="/x/") == [200, 429], "the address"


@pytest.mark.parametrize("target", ["/%78", "//x", "/./x", "/a/../x"])
def test_by_path_in_another_spelling(fresh: Fresh, target: str) -> None:
    fresh.configure(limit(hour=1, limit_by="path", path="/x"))
    assert fresh.statuses(1, target="/x") + fresh.statuses(1, target=target) == [200, 429]


def test_by_service(fresh: Fresh, shared_gateway: Gateway) -> None:
    names = [f"s{uuid.uuid4().hex}" for _ in range(2)]
    services = [
        one_service(fresh.behind.port, name=name, routes=[{"paths": [f"/{number}/a", f"/{number}/b"]}])
        for number, name in enumerate(names)
    ]
    shared_gateway.configure(
        {
            "services": [service["services"][0] for service in services],
            "plugins": [limit(hour=2, limit_by="service")],
        }
    )
    assert [fresh.request(target).status for target in ("/0/a", "/0/b", "/0/a")] == [200, 200, 429]
    assert [fresh.request(target).status for target in ("/1/a", "/1/b", "/1/b")] == [200, 200, 429]


# --- scopes ------------------------------------------------------------------------------------------------


def test_a_global_limit_counts_all_services_together_and_one_of_a_service_all_its_routes(
    fresh: Fresh, shared_gateway: Gateway
) -> None:
    def services(*plugins: dict[str, Any]) -> list[Any]:
        return [
            one_service(
                fresh.behind.port,
                name=f"s{uuid.uuid4().hex}",
                routes=[{"paths": [f"/{number}/a"]}, {"paths": [f"/{number}/b"]}],
                plugins=list(plugins),
            )["services"][0]
            for number in range(2)
        ]

    who = f"X-Who: {uuid.uuid4().hex}"
    by_header = {"limit_by": "header", "header_name": "X-Who"}
    shared_gateway.configure({"services": services(), "plugins": [limit(hour=3, **by_header)]})
    assert [fresh.request(path, who).status for path in ("/0/a", "/1/a", "/1/b", "/0/b")] == [200] * 3 + [429]
    shared_gateway.configure({"services": services(limit(hour=2, **by_header))})
    paths = ("/0/a", "/0/b", "/0/a", "/1/a", "/1/b", "/1/a")
    assert [fresh.request(path, who).status for path in paths] == [200, 200, 429] * 2


def test_a_consumers_own_limit_replaces_that_of_the_service(fresh: Fresh) -> None:
    name = f"c{uuid.uuid4().hex}"
    consumers = [
        {
            "username": name,
            "keyauth_credentials": [{"key": name}],
            "plugins": [limit(hour=5)],
        }
    ]
    fresh.configure(limit(hour=1), plugin("key-auth"), consumers=consumers)
    answer = fresh.request("/", f"apikey: {name}")
    assert fields(answer)["x-ratelimit-limit-hour"] == "5"
    assert fresh.statuses(5, f"apikey: {name}") == [200] * 4 + [429]


# --- several limits at once --------------------------------------------------------------------------------


def stacked(name: str, **config: Any) -> dict[str, Any]:
    return {**limit(stacked=True, **config), "instance_name": f"{name}-{uuid.uuid4().hex[:8]}"}


def test_stacked_limits_hold_together_and_the_tightest_is_told(fresh: Fresh) -> None:
    fresh.configure(
        stacked("all", hour=5, limit_by="service"),
        stacked("each", hour=3, day=100, limit_by="header", header_name="X-Who"),
    )
    told = fields(fresh.request("/", "X-Who: a"))
    assert told["x-ratelimit-limit-hour"] == "3"
    assert told["ratelimit-remaining"] == "2"
    assert told["x-ratelimit-remaining-day"] == "99"
    assert fresh.statuses(3, "X-Who: a") == [200, 200, 429]
    # What one refuses, the other does not count: two are left for the service.
    told = fields(fresh.request("/", "X-Who: b"))
    assert (told["x-ratelimit-limit-hour"], told["x-ratelimit-remaining-hour"]) == ("5", "1")
    assert fresh.statuses(2, "X-Who: b") == [200, 429]
    refused = fields(fresh.request("/", "X-Who: c"))
    assert (refused["ratelimit-limit"], refused["ratelimit-remaining"]) == ("5", "0")


def test_a_stacked_limit_beside_an_ordinary_one(fresh: Fresh) -> None:
    fresh.configure(limit(hour=2, limit_by="header", header_name="X-Who"), stacked("all", hour=3))
    assert fresh.statuses(3, "X-Who: a") == [200, 200, 429]
    assert fresh.statuses(2, "X-Who: b") == [200, 429]


# --- algorithms --------------------------------------------------------------------------------------------


def test_a_token_bucket_tells_when_the_next_token_comes(fresh: Fresh) -> None:
    fresh.configure(limit(hour=60, algorithm="token-bucket", burst=2))
    first = fresh.request().response
    assert (first.get("ratelimit-remaining"), first.get("ratelimit-limit")) == ("1", "60")
    assert 59 <= int(first.get("ratelimit-reset") or 0) <= 61
    assert fresh.request().status == 200
    refused = fresh.request()
    assert refused.status == 429
    assert 1 <= int(refused.response.get("retry-after") or 0) <= 60


def test_a_token_bucket_fills(fresh: Fresh) -> None:
    fresh.configure(limit(second=5, algorithm="token-bucket", burst=1))
    assert fresh.request().status == 200
    wait_for(lambda: fresh.request().status == 429, what="the bucket is empty")
    wait_for(lambda: fresh.request().status == 200, what="a token has come")


def test_a_sliding_window(fresh: Fresh) -> None:
    fresh.configure(limit(day=3, algorithm="sliding-window"))
    assert fresh.statuses(4) == [200, 200, 200, 429]


@pytest.mark.parametrize(
    ("config", "problem"),
    [
        ({"burst": 5}, "burst can only be used with the algorithm token-bucket"),
        ({"algorithm": "sliding-window", "year": 5e6}, "cannot be higher than 4194303"),
        ({"algorithm": "token-bucket", "burst": 2_000_000_000}, "cannot be higher than 1000000000"),
        ({"sync_rate": 1}, "sync_rate can only be used with the redis policy"),
        (
            {"policy": "redis", "redis": {"host": "h"}, "sync_rate": 1, "algorithm": "token-bucket"},
            "sync_rate can only be used with the algorithm fixed-window",
        ),
        (
            {"policy": "redis", "redis": {"host": "h"}, "sync_rate": 0.01},
            "sync_rate must be greater than 0.02, or -1 to disable",
        ),
        ({"policy": "redis"}, "failed conditional validation"),
        (
            {"policy": "redis", "redis": {"sentinel_nodes": [{"host": "h"}]}},
            "redis.sentinel_nodes needs redis.sentinel_master",
        ),
        (
            {"policy": "redis", "redis": {"cluster_nodes": [{"host": "h"}], "database": 1}},
            "redis.database must be 0",
        ),
        ({"policy": "cluster"}, "expected one of: local, redis"),
        ({"algorithm": "leaky"}, "expected one of"),
        ({"stacked": True}, "failed conditional validation"),
    ],
)
def test_what_does_not_fit_is_refused(fresh: Fresh, config: dict[str, Any], problem: str) -> None:
    document = one_service(fresh.behind.port, plugins=[limit(**{"year": 5, **config})])
    body = json.dumps(document).encode()
    status, _, answer = Gateway.call(
        fresh.gateway.admin_port, "POST", "/config", body, {"Content-Type": "application/json"}
    )
    assert status == 400
    assert problem in answer.decode()


# --- in Redis ----------------------------------------------------------------------------------------------


def test_redis_holds_the_counts_under_kongs_keys(fresh: Fresh, valkey: Valkey) -> None:
    valkey.empty()
    fresh.configure(limit(day=2, policy="redis", redis=valkey.settings()))
    answers = [fresh.request() for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert fields(answers[0])["x-ratelimit-remaining-day"] == "1"
    assert answers[2].message == "API rate limit exceeded"
    [(key, count)] = valkey.contents().items()
    parts = key.split(":")
    assert (parts[0], parts[1], parts[3], parts[5], count) == (
        "ratelimit",
        "00000000-0000-0000-0000-000000000000",
        "127.0.0.1",
        "day",
        3,
    )


@pytest.mark.parametrize("tolerant", [True, False])
def test_without_redis(fresh: Fresh, tolerant: bool) -> None:
    redis = {"host": "127.0.0.1", "port": 1, "timeout": 300}
    fresh.configure(limit(day=1, policy="redis", redis=redis, fault_tolerant=tolerant))
    answers = [fresh.request() for _ in range(3)]
    assert {answer.status for answer in answers} == {200 if tolerant else 500}
    assert all(fields(answer) == {} for answer in answers)
    if not tolerant:
        assert answers[0].message == "An unexpected error occurred"


def test_counts_are_told_to_redis_now_and_then(fresh: Fresh, valkey: Valkey) -> None:
    valkey.empty()
    fresh.configure(limit(day=50, policy="redis", redis=valkey.settings(), sync_rate=0.02))
    assert fresh.statuses(7) == [200] * 7
    wait_for(lambda: list(valkey.contents().values()) == [7], what="Redis has heard of them")
    [key] = valkey.contents()
    with valkey.client() as client:
        client.set(key, 49)
    # What others have counted meanwhile holds here once this node has told of its next request.
    wait_for(lambda: fresh.request().status == 429, what="the others' requests count")
