"""Who gets in when connection slots run out, and which services are refused."""

from __future__ import annotations

from tests.support.gateway import Gateway, one_service, wait_for
from tests.support.upstreams import Upstream


def test_silent_clients_make_room() -> None:
    """Connections that are idle for long are closed when nobody else can be accepted."""
    with Upstream() as upstream, Gateway(one_service(upstream.port), worker_connections=32) as gateway:
        silent = [gateway.connect() for _ in range(40)]
        try:
            assert gateway.request("/late")[0] == 200
            assert wait_for(lambda: gateway.status()["workers"][0]["connections_active"] < 32)
        finally:
            for one in silent:
                one.close()


def test_a_service_that_needs_tls_is_never_spoken_to_in_clear_text(shared_gateway: Gateway) -> None:
    with Upstream() as upstream:
        for protocol in ("https", "grpcs", "grpc"):
            route = {"name": "r", "paths": ["/"], "protocols": ["http"]}
            shared_gateway.configure(one_service(upstream.port, protocol=protocol, routes=[route]))
            status, _, body = shared_gateway.request("/secret")
            assert status == 503
            assert b"protocol of this Service is not available" in body
        assert upstream.connections == 0


def test_given_up_regexes_are_counted(shared_gateway: Gateway) -> None:
    with Upstream() as upstream:
        route = {"name": "r", "paths": ["~/(a+)+$"]}
        shared_gateway.configure(one_service(upstream.port, routes=[route]))
        assert shared_gateway.request("/" + 60 * "a" + "!")[0] == 404
        _, _, page = shared_gateway.call(shared_gateway.status_port, "GET", "/metrics")
        (line,) = [line for line in page.splitlines() if line.startswith(b"sluicegate_regex_limits_total")]
        assert int(line.split()[-1]) >= 1
