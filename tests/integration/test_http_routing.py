"""Routes over the wire: which one is taken, what path and Host its upstream sees (proxying.md §1 and §2)."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.integration.conftest import StartUpstream
from tests.support.client import Client
from tests.support.conformance import MATERIAL
from tests.support.gateway import Gateway, one_service
from tests.support.upstreams import Upstream


@pytest.fixture
def client(shared_gateway: Gateway) -> Iterator[Client]:
    with Client(shared_gateway.proxy_port) as client:
        yield client


def consecutive_ports(count: int) -> int:
    """The first of so many ports in a row that are free now."""
    for base in range(20_000, 32_000, count):
        with ExitStack() as stack:
            try:
                for port in range(base, base + count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
            return base
    raise AssertionError("no free ports")


@pytest.mark.skipif(not MATERIAL.exists(), reason=f"no conformance material in {MATERIAL}")
def test_router_cases(shared_gateway: Gateway) -> None:
    """Kong's table of router cases, with the runner that comes with it."""
    ran = subprocess.run(
        [
            sys.executable,
            MATERIAL / "replay_router.py",
            "--admin",
            f"http://127.0.0.1:{shared_gateway.admin_port}",
            "--proxy",
            f"127.0.0.1:{shared_gateway.proxy_port}",
            "--base-port",
            str(consecutive_ports(64)),
            "--settle",
            "0",
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    last = ran.stdout.splitlines()[-1]
    assert " passed, 0 failed," in last
    assert int(last.split(" ")[0]) > 200


# --- which route -------------------------------------------------------------------------------------------
ROUTES: list[dict[str, Any]] = [
    {"name": "root", "paths": ["/"]},
    {"name": "users", "paths": ["/users"]},
    {"name": "regex", "paths": [r"~/items/(?<id>\d+)$"]},
    {"name": "put", "paths": ["/users"], "methods": ["PUT"]},
    {"name": "host", "hosts": ["a.test"]},
    {"name": "host-path", "hosts": ["a.test"], "paths": ["/users"]},
    {"name": "wildcard", "hosts": ["*.a.test"], "paths": ["/"]},
    {"name": "wildcard-end", "hosts": ["b.*"], "paths": ["/"]},
    {"name": "port", "hosts": ["p.test:8080"]},
    {"name": "header", "paths": ["/users"], "headers": {"X-Version": ["2", "3"]}},
    {"name": "header-regex", "paths": ["/users"], "headers": {"X-Mode": ["~*^beta-[0-9]+$"]}},
    {"name": "query", "paths": ["/users"], "query_params": {"v": ["2"]}},
    {"name": "sni", "paths": ["/sni"], "snis": ["s.test"]},
]


@pytest.fixture(scope="module")
def routed() -> Iterator[tuple[Gateway, dict[str, Upstream]]]:
    """A gateway with an upstream for each of ROUTES."""
    with ExitStack() as stack:
        behind = {route["name"]: stack.enter_context(Upstream()) for route in ROUTES}
        services = [
            {"name": name, "host": "127.0.0.1", "port": upstream.port, "routes": [route]}
            for (name, upstream), route in zip(behind.items(), ROUTES, strict=True)
        ]
        yield stack.enter_context(Gateway({"_format_version": "3.0", "services": services})), behind


CASES: list[tuple[str, str]] = [
    ("GET / host=x.test", "root"),
    ("GET /user host=x.test", "root"),
    ("GET /users host=x.test", "users"),
    ("GET /usersx host=x.test", "users"),
    ("GET /Users host=x.test", "root"),
    ("GET /a/../users host=x.test", "users"),
    ("GET //users host=x.test", "users"),
    ("GET /%75sers host=x.test", "users"),
    ("GET /users?x=/items/1 host=x.test", "users"),
    ("GET /items/12 host=x.test", "regex"),
    ("GET /items/12x host=x.test", "root"),
    ("PUT /users host=x.test", "put"),
    ("DELETE /users host=x.test", "users"),
    ("GET / host=a.test", "host"),
    ("GET / host=A.TEST", "host"),
    ("GET / host=a.test:99", "host"),
    ("GET /users host=a.test", "host-path"),
    ("GET / host=www.a.test", "wildcard"),
    ("GET / host=x.y.a.test", "wildcard"),
    ("GET / host=b.example", "wildcard-end"),
    ("GET / host=p.test:8080", "port"),
    ("GET / host=p.test", "root"),
    ("GET /users host=x.test X-Version:2", "header"),
    ("GET /users host=x.test x-version:3", "header"),
    ("GET /users host=x.test X-Version:4", "users"),
    ("GET /users host=x.test X-Mode:beta-7", "header-regex"),
    ("GET /users host=x.test X-Mode:BETA-7", "header-regex"),
    ("GET /users host=x.test X-Mode:beta-", "users"),
    ("GET /users?v=2 host=x.test", "query"),
    ("GET /users?v=1&v=2 host=x.test", "query"),
    ("GET /users?v=22 host=x.test", "users"),
    ("GET /sni host=x.test", "sni"),
]


@pytest.mark.parametrize(("request_text", "route"), CASES)
def test_route(routed: tuple[Gateway, dict[str, Upstream]], request_text: str, route: str) -> None:
    gateway, behind = routed
    method, target, host, *fields = request_text.split(" ")
    for upstream in behind.values():
        upstream.heads.clear()
    lines = [f"{method} {target} HTTP/1.1", "Host: " + host.removeprefix("host="), *fields]
    with Client(gateway.proxy_port) as client:
        client.send("\r\n".join(lines).encode() + b"\r\n\r\n")
        assert client.response().status == 200
    assert [name for name, upstream in behind.items() if upstream.heads] == [route]


# --- the upstream's path -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("service_path", "route", "target", "expected"),
    [
        (None, {"paths": ["/api"]}, "/api", "/"),
        (None, {"paths": ["/api"]}, "/api/x", "/x"),
        (None, {"paths": ["/api"]}, "/apix", "/x"),
        (None, {"paths": ["/api"], "strip_path": False}, "/api/x", "/api/x"),
        ("/srv", {"paths": ["/api"]}, "/api/x?q=1", "/srv/x?q=1"),
        ("/srv/", {"paths": ["/api"]}, "/api", "/srv"),
        ("/srv", {"hosts": ["a.test"]}, "/x", "/srv/x"),
        (None, {"paths": [r"~/v\d+/"]}, "/v12/x", "/x"),
        (None, {"paths": ["/"]}, "/a%2Fb/%7Euser/%c3%a4?%zz", "/a%2Fb/~user/%C3%A4?%zz"),
        (None, {"paths": ["/"]}, "/x?", "/x?"),
        (None, {"paths": ["/"]}, "/a/./b/../c//d/", "/a/c/d/"),
        (None, {"paths": ["/"]}, "/?a=b?c=/../d#".rstrip("#"), "/?a=b?c=/../d"),
    ],
)
def test_upstream_path(
    upstream: StartUpstream,
    client: Client,
    service_path: str | None,
    route: dict[str, Any],
    target: str,
    expected: str,
) -> None:
    behind = upstream(path=service_path, routes=[{"name": "r", **route}])
    assert client.request(target).response().status == 200
    assert behind.heads[0].split(b" ")[1].decode() == expected


def test_long_paths(upstream: StartUpstream, client: Client) -> None:
    """Around the size up to which a path needs no buffer of its own, and up to the longest line."""
    behind = upstream()
    for length in (1000, 1023, 1024, 1025, 2000, 8000):
        target = "/" + "a" * (length - 1)
        assert client.request(target).response().status == 200
        assert behind.heads[-1].startswith(f"GET {target} HTTP/1.1\r\n".encode())


def test_escaped_line_break(upstream: StartUpstream, client: Client) -> None:
    """What is decoded for matching never becomes a line of the head."""
    behind = upstream(routes=[{"name": "r", "paths": [r"~/a[^/]*/"]}])
    assert client.request("/a%0d%0aX-Evil:%201/x").response().status == 200
    assert b"\r\nx-evil" not in behind.heads[0].lower()


# --- Host --------------------------------------------------------------------------------------------------
def host_seen(behind: Upstream) -> bytes:
    (host,) = [line for line in behind.heads[-1].split(b"\r\n") if line.lower().startswith(b"host:")]
    return host.removeprefix(b"Host: ")


def test_host_of_an_address(upstream: StartUpstream, client: Client) -> None:
    behind = upstream()
    client.request().response()
    assert host_seen(behind) == b"127.0.0.1:%d" % behind.port


def test_host_of_a_name(shared_gateway: Gateway, client: Client) -> None:
    with Upstream() as behind:
        shared_gateway.configure(one_service(behind.port, host="localhost"))
        assert client.request().response().status == 200
        assert host_seen(behind) == b"localhost:%d" % behind.port


@pytest.mark.parametrize("host", ["shop.test", "shop.test:8000", "SHOP.test", "[::1]:80", "1.2.3.4"])
def test_preserve_host(upstream: StartUpstream, client: Client, host: str) -> None:
    behind = upstream(routes=[{"name": "r", "paths": ["/"], "preserve_host": True}])
    client.send(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).response()
    assert host_seen(behind) == host.encode()


def test_preserve_host_without_host(upstream: StartUpstream, client: Client) -> None:
    behind = upstream(routes=[{"name": "r", "paths": ["/"], "preserve_host": True}])
    client.send(b"GET / HTTP/1.0\r\n\r\n").response(version=0)
    assert host_seen(behind) == b"127.0.0.1:%d" % behind.port


@pytest.mark.parametrize("header", [None, "shop.test"])
def test_host_of_an_upstream(shared_gateway: Gateway, client: Client, header: str | None) -> None:
    with Upstream() as behind:
        document = one_service(80, host="group")
        group = {"name": "group", "host_header": header, "targets": [{"target": f"localhost:{behind.port}"}]}
        shared_gateway.configure({**document, "upstreams": [group]})
        assert client.request().response().status == 200
        assert host_seen(behind) == f"{header or 'localhost'}:{behind.port}".encode()


# --- changes -----------------------------------------------------------------------------------------------
def test_a_new_configuration_counts_from_its_answer_on(shared_gateway: Gateway, client: Client) -> None:
    """On connections that stand already, too."""
    with Upstream() as one, Upstream() as two:
        for number in range(6):
            behind = (one, two)[number % 2]
            shared_gateway.configure(one_service(behind.port))
            assert client.request(f"/{number}").response().status == 200
            assert behind.heads[-1].startswith(b"GET /%d " % number)


def test_a_request_keeps_its_configuration(
    upstream: StartUpstream, shared_gateway: Gateway, client: Client
) -> None:
    behind = upstream(routes=[{"name": "r", "paths": ["/old"]}])
    client.send(b"POST /old/x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nab")
    with Client(shared_gateway.proxy_port) as other:  # once it is answered, the first has been read as well
        other.request("/old").response()
    shared_gateway.configure({})
    assert client.send(b"cd").response().status == 200
    assert behind.requests[-1][1] == b"abcd"
    assert client.request("/old").response().status == 404
