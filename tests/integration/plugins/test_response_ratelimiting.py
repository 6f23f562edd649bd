"""response-ratelimiting: costs that upstreams tell (plugins.md; corrections.md, 23)."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.gateway import Gateway, one_service, wait_for
from tests.support.plugged import Plugged, plugin
from tests.support.upstreams import Connection, Upstream
from tests.support.valkey import Valkey


def tell_costs(connection: Connection) -> None:
    """Answers "/<number of bytes>", and with the fields that come in X-Answer, separated by "|"."""
    while head := connection.read_request()[0]:
        lines = re.findall(rb"(?im)^x-answer: *(.*?)\r$", head)
        fields = b"".join(b"%b\r\n" % line for line in lines[0].split(b"|")) if lines else b""
        size = int(head.split(b" ")[1].strip(b"/") or 4)
        connection.send(b"HTTP/1.1 200 OK\r\nServer: behind\r\nContent-Length: %d\r\n" % size + fields)
        connection.send(b"\r\n" + b"x" * size)


class Costing(Plugged):
    """A service of a new name, hence with new counters, in each configuration."""

    def limit(self, limits: dict[str, Any], **config: Any) -> None:
        plugins = [plugin("response-ratelimiting", limits=limits, **config)]
        self.gateway.configure(one_service(self.behind.port, name=f"s{uuid.uuid4().hex}", plugins=plugins))

    def cost(self, *costs: str, target: str = "/") -> Any:
        """The response to a request that costs this."""
        lines = "|".join(f"X-Kong-Limit: {cost}" for cost in costs)
        return self.request(target, *([f"X-Answer: {lines}"] if costs else [])).response


@pytest.fixture(scope="module")
def costing(shared_gateway: Gateway) -> Iterator[Costing]:
    with Upstream(tell_costs) as upstream:
        yield Costing(shared_gateway, upstream)


def told(response: Any) -> dict[str, str]:
    return {name: value for name, value in response.fields if name.startswith("x-ratelimit")}


def test_costs_are_counted_and_told(costing: Costing) -> None:
    costing.limit({"sms": {"day": 5, "year": 10}, "video": {"day": 3}})
    first = costing.cost("sms=2, video=1")
    assert told(first) == {
        "x-ratelimit-remaining-sms": "5",
        "x-ratelimit-remaining-video": "3",
        "x-ratelimit-limit-sms-day": "5",
        "x-ratelimit-remaining-sms-day": "3",
        "x-ratelimit-limit-sms-year": "10",
        "x-ratelimit-remaining-sms-year": "8",
        "x-ratelimit-limit-video-day": "3",
        "x-ratelimit-remaining-video-day": "2",
    }
    assert first.get("x-kong-limit") is None
    again = costing.cost()
    assert (again.get("x-ratelimit-remaining-sms"), again.get("x-ratelimit-remaining-sms-day")) == ("3", "3")


def test_what_is_used_up_refuses_the_response(costing: Costing) -> None:
    costing.limit({"sms": {"day": 2}, "video": {"day": 2}})
    assert costing.cost("sms=5").status == 200, "a response may cost more than what is left"
    assert costing.cost().status == 200, "what costs nothing passes"
    refused = costing.cost("video=1, sms=1")
    assert (refused.status, refused.body) == (429, b"")
    assert (refused.get("server"), refused.get("x-kong-limit")) == ("behind", None)
    assert refused.get("x-ratelimit-remaining-sms-day") == "0"
    assert costing.cost().get("x-ratelimit-remaining-video") == "2", "refused costs are counted nowhere"


def test_responses_with_long_bodies_are_refused_too(costing: Costing) -> None:
    costing.limit({"sms": {"day": 1}})
    assert len(costing.cost("sms=1", target="/3000000").body) == 3_000_000
    for size in (100, 300_000, 30_000_000):
        refused = costing.cost("sms=1", target=f"/{size}")
        assert (refused.status, refused.body) == (429, b"")


def test_the_first_violation_blocks_requests(costing: Costing) -> None:
    costing.limit({"sms": {"day": 1}}, block_on_first_violation=True)
    assert costing.cost("sms=1").status == 200
    blocked = costing.request()
    assert (blocked.status, blocked.message) == (429, "API rate limit exceeded for 'sms'")
    assert told(blocked.response) == {}


def test_hidden_fields_and_another_header(costing: Costing) -> None:
    costing.limit({"sms": {"day": 9}}, hide_client_headers=True, header_name="X-Used")
    response = costing.request("/", "X-Answer: X-Used: sms=2|X-Kong-Limit: sms=3").response
    assert told(response) == {"x-ratelimit-remaining-sms": "9"}
    assert (response.get("x-used"), response.get("x-kong-limit")) == (None, "sms=3")
    assert told(costing.cost()) == {"x-ratelimit-remaining-sms": "7"}


@pytest.mark.parametrize(
    ("costs", "left"),
    [
        (["sms=1,sms=3"], 97),
        (["sms=1", "sms=4"], 96),
        ([" sms = 2 ,\tother=9"], 98),
        (["sms=1.5"], 98),
        (["sms=-5"], 100),
        (["sms=0x10"], 100),
        (["sms=1e9"], 100),
        (["sms", "=5", "sms=", ",,", "SMS=5"], 100),
        (["sms=99999999999999999999"], 0),
    ],
)
def test_costs_as_they_are_written(costing: Costing, costs: list[str], left: int) -> None:
    costing.limit({"sms": {"day": 100}})
    assert costing.cost(*costs).get("x-ratelimit-remaining-sms-day") == str(left)
    assert costing.cost().get("x-ratelimit-remaining-sms-day") == str(left)


def test_consumers_count_for_themselves(costing: Costing) -> None:
    names = [uuid.uuid4().hex for _ in range(2)]
    costing.gateway.configure(
        {
            **one_service(costing.behind.port, plugins=[plugin("key-auth")]),
            "consumers": [{"username": name, "keyauth_credentials": [{"key": name}]} for name in names],
            "plugins": [plugin("response-ratelimiting", limits={"sms": {"day": 5}})],
        }
    )
    for name in names:
        response = costing.request("/", f"apikey: {name}", "X-Answer: X-Kong-Limit: sms=2").response
        assert response.get("x-ratelimit-remaining-sms-day") == "3"


def test_in_redis(costing: Costing, valkey: Valkey) -> None:
    valkey.empty()
    costing.limit({"sms": {"day": 3}}, policy="redis", redis=valkey.settings())
    assert costing.cost("sms=2").get("x-ratelimit-remaining-sms-day") == "1"
    wait_for(lambda: list(valkey.contents().values()) == [2], what="the costs are in Redis")
    assert costing.cost("sms=2").get("x-ratelimit-remaining-sms-day") == "0"
    wait_for(lambda: list(valkey.contents().values()) == [4], what="the costs are in Redis")
    refused = costing.cost("sms=1")
    assert (refused.status, refused.body) == (429, b"")
    [key] = valkey.contents()
    assert re.fullmatch(r"response-ratelimit:[0-9a-f-]{36}:[0-9a-f-]{36}:127\.0\.0\.1:\d{13}:sms:day", key)


@pytest.mark.parametrize("tolerant", [True, False])
def test_without_redis(costing: Costing, tolerant: bool) -> None:
    redis = {"host": "127.0.0.1", "port": 1, "timeout": 300}
    costing.limit({"sms": {"day": 1}}, policy="redis", redis=redis, fault_tolerant=tolerant)
    for _ in range(2):
        response = costing.cost("sms=1")
        assert response.status == (200 if tolerant else 500)
        assert told(response) == {}
        assert response.get("x-kong-limit") is None
