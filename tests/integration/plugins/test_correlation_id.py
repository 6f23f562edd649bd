"""correlation-id: values, who sees them, and whose they are (plugins.md)."""

from __future__ import annotations

import re
import time
import uuid

import pytest

from tests.support.client import Client
from tests.support.gateway import Gateway, wait_for
from tests.support.plugged import Plugged, plugin
from tests.support.upstreams import Upstream, response, serve_raw

UUID = re.compile("[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")


def ids(plugged: Plugged, count: int, name: str = "kong-request-id") -> list[str]:
    """What the client is told, on one connection."""
    client = Client(plugged.gateway.proxy_port)
    found = [client.request().response().get(name) for _ in range(count)]
    client.close()
    return [one for one in found if one is not None]


def test_uuids(plugged: Plugged) -> None:
    plugged.configure(plugin("correlation-id", generator="uuid", echo_downstream=True))
    found = ids(plugged, 600)  # more than fit into what is taken from the kernel at a time
    assert len(set(found)) == 600
    assert all(UUID.fullmatch(one) and uuid.UUID(one).version == 4 for one in found)
    answer = plugged.request()
    assert answer.upstream.get("kong-request-id") == answer.response.get("kong-request-id")


def test_counted(plugged: Plugged) -> None:
    plugged.configure(plugin("correlation-id", echo_downstream=True))
    found = [one.split("#") for one in ids(plugged, 20)]
    assert len({worker for worker, _ in found}) == 1
    assert UUID.fullmatch(found[0][0])
    numbers = [int(number) for _, number in found]
    assert numbers == list(range(numbers[0], numbers[0] + 20))


def test_tracker(plugged: Plugged) -> None:
    """$server_addr-$server_port-$pid-$connection-$connection_requests-$msec"""
    plugged.configure(
        plugin("correlation-id", generator="tracker", header_name="X-Track", echo_downstream=True)
    )
    first, second = ids(plugged, 2, "x-track")
    pattern = rf"127\.0\.0\.1-{plugged.gateway.proxy_port}-(\d+)-(\d+)-(\d+)-(\d+\.\d{{3}})"
    one, other = re.fullmatch(pattern, first), re.fullmatch(pattern, second)
    assert one, first
    assert other, second
    assert int(one[1]) in plugged.gateway.worker_pids()
    assert (one[1], one[2], int(one[3]) + 1) == (other[1], other[2], int(other[3]))
    assert abs(float(one[4]) - time.time()) < 60


def test_the_clients_value_is_kept(plugged: Plugged) -> None:
    plugged.configure(plugin("correlation-id", header_name="X-Corr", echo_downstream=True))
    answer = plugged.request("/", "x-corr: mine \xe9")
    assert answer.upstream.get("x-corr") == answer.response.get("x-corr") == "mine \xe9"
    several = plugged.request("/", "X-Corr: 1", "X-Corr: 2")
    assert several.upstream.fields["x-corr"] == ["1", "2"]
    assert several.response.get("x-corr") == "1"
    empty = plugged.request("/", "X-Corr:")
    assert empty.upstream.get("x-corr") == empty.response.get("x-corr") != ""


def test_without_echo_only_the_upstream_is_told(plugged: Plugged) -> None:
    plugged.configure(plugin("correlation-id"))
    answer = plugged.request()
    assert answer.upstream.get("kong-request-id")
    assert answer.response.get("kong-request-id") is None


def test_the_upstreams_field_of_that_name_gives_way(shared_gateway: Gateway) -> None:
    with Upstream(
        serve_raw(response(b"", "200 OK", b"kong-request-ID: theirs", b"Kong-Request-ID: x"))
    ) as upstream:
        plugged = Plugged(shared_gateway, upstream)
        plugged.configure(plugin("correlation-id", echo_downstream=True))
        assert plugged.request("/", "Kong-Request-ID: mine").response.all("kong-request-id") == ["mine"]


@pytest.mark.parametrize("given", ["mine", None])
def test_requests_without_a_route(plugged: Plugged, given: str | None) -> None:
    plugged.gateway.configure({"plugins": [plugin("correlation-id", generator="uuid", echo_downstream=True)]})
    answer = plugged.request("/none", *([f"Kong-Request-ID: {given}"] if given else []))
    assert answer.status == 404
    told = answer.response.get("kong-request-id")
    assert told == given if given else UUID.fullmatch(told or "")


def test_a_plugin_with_a_higher_priority_has_answered(plugged: Plugged) -> None:
    """Nothing has: correlation-id runs first. What answers later does not change what it has found."""
    plugged.configure(
        plugin("correlation-id", generator="uuid", echo_downstream=True),
        plugin("request-termination", message="no"),
    )
    answer = plugged.request("/", "Kong-Request-ID: mine")
    assert (answer.status, answer.response.get("kong-request-id")) == (503, "mine")


def test_workers_have_ids_of_their_own() -> None:
    with Gateway(worker_processes=2) as gateway, Upstream() as upstream:
        plugged = Plugged(gateway, upstream)
        plugged.configure(plugin("correlation-id", echo_downstream=True))
        found: list[str] = []

        def has_seen_both() -> bool:
            """Which worker takes a connection is the kernel's choice."""
            found.extend(str(plugged.request().response.get("kong-request-id")) for _ in range(20))
            return len({one.split("#")[0] for one in found}) == 2

        wait_for(has_seen_both, what="an id of each worker")
        assert len(set(found)) == len(found)
