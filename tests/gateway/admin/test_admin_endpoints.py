"""Kong's manners on every endpoint: header fields, methods, unknown paths, faults."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest
from asgi_client import NODE, Node, ask, with_node
from starlette.requests import Request
from starlette.responses import Response

from gateway import KONG_VERSION, __version__
from gateway.admin.endpoints import Endpoint, KongApi
from gateway.admin.responses import json_response
from gateway.settings import load_settings


def test_every_answer_has_kongs_header_fields(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for target, status in (("/", 200), ("/nope", 404), ("/config", 200), ("/metrics", 200)):
            answer = await ask(node.admin, "GET", target)
            assert answer.status == status
            assert answer.headers["server"] == f"kong/{KONG_VERSION}"
            assert answer.headers["x-kong-admin-latency"].isdigit()
            assert answer.headers["access-control-allow-origin"] == "*"
            assert answer.headers["access-control-allow-credentials"] == "true"

    with_node(tmp_path, test)


def test_root(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        node.shared.master_pid = 4711
        node.shared.set_worker(2, pid=4712)
        found = (await ask(node.admin, "GET", "/")).json()
        assert found["tagline"] == "Welcome to kong"
        assert (found["version"], found["edition"]) == (KONG_VERSION, "community")
        assert found["configuration"]["product"] == f"Sluicegate {__version__}"
        assert found["node_id"] == NODE
        assert found["pids"] == {"master": 4711, "workers": [4712]}
        assert found["plugins"]["available_on_server"]["key-auth"] == {
            "version": __version__,
            "priority": 1250,
        }
        assert found["plugins"]["enabled_in_cluster"] == []
        assert {"hostname", "timers", "lua_version"} < found.keys()
        configuration = found["configuration"]
        assert configuration["database"] == "off"
        assert configuration["router_flavor"] == "traditional_compatible"
        assert configuration["proxy_listen"] == ["127.0.0.1:9000"]
        assert configuration["proxy_listeners"][0]["port"] == 9000
        assert configuration["trusted_ips"] == ["10.0.0.0/8"]

    with_node(tmp_path, test, proxy_listen="127.0.0.1:9000", trusted_ips="10.0.0.0/8")


def test_secrets_are_masked(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        answer = await ask(node.admin, "GET", "/")
        assert b"hunter2" not in answer.body
        assert answer.json()["configuration"]["declarative_config_string"] == "******"

    with_node(tmp_path, test, declarative_config_string='{"_format_version":"3.0","_comment":"hunter2"}')


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE", "OPTIONS", "BREW"])
def test_unknown_paths(tmp_path: Path, method: str) -> None:
    async def test(node: Node) -> None:
        for target in ("/nope", "//config", "/Config", "/config/x", "/config//"):
            answer = await ask(node.admin, method, target)
            assert (answer.status, answer.json()) == (404, {"message": "Not found"})

    with_node(tmp_path, test)


def test_wrong_methods(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for method, target in (("PUT", "/config"), ("DELETE", "/"), ("POST", "/status"), ("BREW", "/config")):
            answer = await ask(node.admin, method, target)
            assert (answer.status, answer.json()) == (405, {"message": "Method not allowed"})

    with_node(tmp_path, test)


def test_trace_is_refused_before_kong(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        answer = await ask(node.admin, "TRACE", "/config")
        assert (answer.status, answer.headers["content-type"]) == (405, "text/html; charset=utf-8")
        assert "x-kong-admin-latency" not in answer.headers

    with_node(tmp_path, test)


def test_head_is_get_without_body(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for target in ("/config", "/nope"):
            get, head = await ask(node.admin, "GET", target), await ask(node.admin, "HEAD", target)
            assert head.status == get.status
            assert head.body == b""
            assert head.headers["content-length"] == str(len(get.body))
            assert head.headers["content-type"] == get.headers["content-type"]

    with_node(tmp_path, test)


def test_options_lists_the_methods(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for target, methods in (("/", "GET, HEAD, OPTIONS"), ("/config", "GET, HEAD, OPTIONS, POST")):
            answer = await ask(node.admin, "OPTIONS", target)
            assert (answer.status, answer.body) == (204, b"")
            assert answer.headers["allow"] == answer.headers["access-control-allow-methods"] == methods
            assert answer.headers["access-control-allow-headers"] == "Content-Type"
            assert "content-type" not in answer.headers
        asked = {"Access-Control-Request-Headers": "X-Token"}
        answer = await ask(node.admin, "OPTIONS", "/", headers=asked)
        assert answer.headers["access-control-allow-headers"] == "X-Token"

    with_node(tmp_path, test)


def test_one_trailing_slash_is_tolerated(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        assert (await ask(node.admin, "GET", "/config/")).status == 200

    with_node(tmp_path, test)


def test_a_fault_is_a_500_without_a_trace(caplog: pytest.LogCaptureFixture) -> None:
    async def broken(request: Request) -> Response:
        raise RuntimeError("the secret reason")

    async def test() -> None:
        with caplog.at_level(logging.ERROR):
            answer = await ask(KongApi([Endpoint("/x", {"GET": broken})], load_settings), "GET", "/x")
        assert (answer.status, answer.json()) == (500, {"message": "An unexpected error occurred"})
        assert answer.headers["server"] == f"kong/{KONG_VERSION}"
        assert "the secret reason" in caplog.text

    asyncio.run(test())


def test_path_parameters_reach_the_handler() -> None:
    async def show(request: Request) -> Response:
        return json_response(200, request.path_params)

    async def test() -> None:
        app = KongApi([Endpoint("/things/{thing}", {"GET": show})], load_settings)
        for sent, decoded in (
            ("a%20b", "a b"),
            ("a%2Fb%25", "a/b%"),
            ("%C3%A9", "é"),
            ("%5B::1%5D:80", "[::1]:80"),
        ):
            assert (await ask(app, "GET", f"/things/{sent}")).json() == {"thing": decoded}
        answer = await ask(app, "GET", "/things/%ff")
        assert (answer.status, answer.json()) == (
            400,
            {"message": "Cannot decode the path: it is not valid UTF-8"},
        )

    asyncio.run(test())


# --- status ---------------------------------------------------------------------------------------------


def test_admin_status(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        node.shared.set_worker(0, pid=1, requests_total=5, connections_accepted=3, connections_active=2)
        node.shared.set_worker(1, requests_total=4, connections_active=9)
        found = (await ask(node.admin, "GET", "/status")).json()
        assert found["server"] == {
            "connections_accepted": 3,
            "connections_active": 2,
            "connections_handled": 0,
            "connections_reading": 0,
            "connections_waiting": 0,
            "connections_writing": 0,
            "total_requests": 9,
        }
        assert found["configuration_hash"] == "0" * 32
        assert found.keys() == {"server", "memory", "configuration_hash"}

    with_node(tmp_path, test)


@pytest.mark.parametrize(
    ("query", "pattern"),
    [
        ("", "MiB"),
        ("?unit=k", "KiB"),
        ("?unit=G&scale=5", "GiB"),
        ("?scale=nonsense", "MiB"),
        ("?scale=1e400", "MiB"),
    ],
)
def test_memory_units(tmp_path: Path, query: str, pattern: str) -> None:
    async def test(node: Node) -> None:
        found = (await ask(node.admin, "GET", "/status" + query)).json()
        (shared,) = found["memory"]["lua_shared_dicts"].values()
        assert shared["capacity"].endswith(pattern)
        if "scale=5" in query:
            assert len(shared["capacity"].split(".")[1]) == len("12345 GiB")

    with_node(tmp_path, test)


def test_memory_in_bytes_is_a_number(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        found = (await ask(node.admin, "GET", "/status?unit=b")).json()
        (shared,) = found["memory"]["lua_shared_dicts"].values()
        assert shared["capacity"] == node.shared.size

    with_node(tmp_path, test)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("?unit=zz", "invalid unit 'zz' (expected 'k/K', 'm/M', or 'g/G')"),
        ("?scale=-1", "scale must be equal or greater than 0"),
    ],
)
def test_bad_units_are_refused(tmp_path: Path, query: str, message: str) -> None:
    async def test(node: Node) -> None:
        for app in (node.admin, node.status):
            answer = await ask(app, "GET", "/status" + query)
            assert (answer.status, answer.json()) == (400, {"message": message})

    with_node(tmp_path, test)


def test_metrics_on_both_listeners(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for app in (node.admin, node.status):
            answer = await ask(app, "GET", "/metrics")
            assert answer.headers["content-type"] == "text/plain; charset=UTF-8"
            assert b"kong_node_info" in answer.body

    with_node(tmp_path, test)


def test_filter_chains_are_told_to_be_off(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for method, target in (("GET", "/filter-chains"), ("DELETE", "/services/s/filter-chains/f")):
            answer = await ask(node.admin, method, target)
            expected = {"message": "this endpoint is only available when wasm is enabled"}
            assert (answer.status, answer.json()) == (400, expected)

    with_node(tmp_path, test)
