"""GATEWAY_HEADERS: which of the gateway's own headers a response has."""

from __future__ import annotations

import pytest

from tests.support.gateway import Gateway, one_service
from tests.support.upstreams import Upstream

OWN = {
    "server",
    "via",
    "x-kong-upstream-latency",
    "x-kong-proxy-latency",
    "x-kong-response-latency",
    "x-kong-upstream-status",
    "x-kong-request-id",
}


def own_headers(gateway: Gateway, path: str) -> set[str]:
    _, headers, _ = gateway.call(gateway.proxy_port, "GET", path)
    return OWN & {name.lower() for name in headers}


@pytest.mark.parametrize(
    ("headers", "proxied", "own"),
    [
        ("X-Kong-Proxy-Latency, Server", {"x-kong-proxy-latency", "server"}, {"server"}),
        (
            "Via, X-Kong-Upstream-Latency, X-Kong-Response-Latency",
            {"via", "x-kong-upstream-latency"},
            {"x-kong-response-latency"},
        ),
    ],
)
def test_single_headers(headers: str, proxied: set[str], own: set[str]) -> None:
    upstream = Upstream()
    try:
        with Gateway(
            one_service(upstream.port, routes=[{"name": "up", "paths": ["/up"]}]), headers=headers
        ) as gateway:
            assert own_headers(gateway, "/up") == proxied
            assert own_headers(gateway, "/nothing") == own
    finally:
        upstream.close()
