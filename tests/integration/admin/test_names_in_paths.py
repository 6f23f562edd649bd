"""Names in paths as they come over the wire, through the web server that is under the Admin API."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.gateway import Gateway, read_all
from tests.support.stores import gateway_on


@pytest.fixture(scope="module")
def gateway() -> Iterator[Gateway]:
    with gateway_on("sqlite") as running:
        yield running


def ask(gateway: Gateway, method: str, path: str, value: Any = None) -> tuple[int, Any]:
    body = None if value is None else json.dumps(value).encode()
    headers = {} if body is None else {"Content-Type": "application/json"}
    status, _, answer = gateway.call(gateway.admin_port, method, path, body, headers)
    return status, json.loads(answer) if answer else None


@pytest.mark.parametrize(
    "username", ["a/b", "a%2Fb", "%", "sp ace", "日本", "a?b#c", "a+b", "..", ".", "a;b=c"]
)
def test_every_character_can_be_part_of_a_name(gateway: Gateway, username: str) -> None:
    path = f"/consumers/{quote(username, safe='')}"
    status, made = ask(gateway, "PUT", path, {})
    assert (status, made["username"]) == (200, username)
    assert ask(gateway, "GET", path) == (200, made)
    assert ask(gateway, "GET", f"{path}/") == (200, made)
    status, key = ask(gateway, "POST", f"{path}/key-auth", {"key": f"{username}/1"})
    assert status == 201
    assert ask(gateway, "GET", f"{path}/key-auth/{quote(key['key'], safe='')}") == (200, key)
    status, page = ask(gateway, "GET", f"{path}/key-auth?size=1")
    assert (status, page["data"]) == (200, [key])
    assert ask(gateway, "DELETE", path)[0] == 204
    assert ask(gateway, "GET", path)[0] == 404


@pytest.mark.parametrize("written", ["[::1]:80", "%5B::1%5D:80", "[0:0::1]:80"])
def test_targets_with_an_ipv6_address(gateway: Gateway, written: str) -> None:
    ask(gateway, "PUT", "/upstreams/u", {})
    ask(gateway, "POST", "/upstreams/u/targets", {"target": "[::1]:80"})
    status, target = ask(gateway, "GET", f"/upstreams/u/targets/{written}")
    assert (status, target["target"]) == (200, "[0000:0000:0000:0000:0000:0000:0000:0001]:80")


def raw(gateway: Gateway, head: bytes) -> bytes:
    """The answer to a request as it is written here."""
    with socket.create_connection(("127.0.0.1", gateway.admin_port), timeout=10) as connection:
        connection.sendall(head + b"\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return read_all(connection)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        (b"/services/%ff", b"400"),
        (b"/services/%zz", b"400"),
        (b"/services/%00", b"400"),
        (b"/consumers/%00", b"404"),
        (b"//services", b"404"),
        (b"/services//routes", b"404"),
        (b"/services/../services", b"404"),
        (b"/services/x/y/z", b"404"),
        (b"/consumers/\xc3\xa9", b"404"),
        (b"http://localhost/services", b"200"),
    ],
)
def test_odd_paths(gateway: Gateway, target: bytes, status: bytes) -> None:
    assert raw(gateway, b"GET " + target + b" HTTP/1.1").split(b" ")[1] == status


def test_a_body_that_is_not_wanted_does_not_hang(gateway: Gateway) -> None:
    for method, path, expected in (
        ("GET", "/services", 200),
        ("DELETE", "/services/none", 204),
        ("PUT", "/services", 405),
        ("POST", "/nope", 404),
    ):
        assert ask(gateway, method, path, {"host": "h", "tags": ["x" * 100_000]})[0] == expected
