"""ip-restriction: who may pass, by the address that a trusted proxy tells (plugins.md)."""

from __future__ import annotations

import ipaddress
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.plugged import Plugged, plugin
from tests.support.upstreams import Upstream


@pytest.fixture(scope="module")
def behind_proxy() -> Iterator[Plugged]:
    """A gateway that believes X-Forwarded-For."""
    settings = {"trusted_ips": "0.0.0.0/0,::/0", "real_ip_header": "X-Forwarded-For"}
    with Gateway(**settings) as gateway, Upstream() as upstream:
        yield Plugged(gateway, upstream)


def statuses(plugged: Plugged, *addresses: str) -> list[int]:
    """What requests of these clients are answered, on one connection."""
    client = Client(plugged.gateway.proxy_port)
    found = [client.request("/", f"X-Forwarded-For: {one}").response().status for one in addresses]
    client.close()
    return found


def test_deny_before_allow(behind_proxy: Plugged) -> None:
    behind_proxy.configure(plugin("ip-restriction", allow=["10.0.0.0/8"], deny=["10.9.0.0/16", "10.1.2.3"]))
    assert statuses(behind_proxy, "10.0.0.1", "10.255.255.255") == [200, 200]
    assert statuses(behind_proxy, "10.9.1.1", "10.1.2.3", "11.0.0.1", "2001:db8::1") == [403, 403, 403, 403]
    refused = behind_proxy.request("/", "X-Forwarded-For: 10.9.1.1")
    assert refused.message == "IP address not allowed: 10.9.1.1"


def test_only_deny_and_only_allow(behind_proxy: Plugged) -> None:
    behind_proxy.configure(plugin("ip-restriction", deny=["2001:db8::/32", "192.0.2.1"]))
    assert statuses(behind_proxy, "2001:db8::1", "192.0.2.1", "192.0.2.2", "2001:db9::1") == [
        403,
        403,
        200,
        200,
    ]
    behind_proxy.configure(plugin("ip-restriction", allow=["2001:db8::/32", "192.0.2.1"]))
    assert statuses(behind_proxy, "2001:db8::1", "192.0.2.1", "192.0.2.2", "2001:db9::1") == [
        200,
        200,
        403,
        403,
    ]


def test_ipv4_mapped_clients(behind_proxy: Plugged) -> None:
    behind_proxy.configure(plugin("ip-restriction", deny=["192.0.2.0/24"]))
    assert statuses(behind_proxy, "::ffff:192.0.2.7", "::ffff:192.0.3.7", "::192.0.2.7") == [403, 200, 200]


def test_the_peer_counts_where_no_proxy_is_trusted(plugged: Plugged) -> None:
    plugged.configure(plugin("ip-restriction", deny=["127.0.0.1"]))
    answer = plugged.request("/", "X-Forwarded-For: 10.0.0.1", "X-Real-IP: 10.0.0.1")
    assert (answer.status, answer.message) == (403, "IP address not allowed: 127.0.0.1")
    plugged.configure(plugin("ip-restriction", allow=["127.0.0.0/8"]))
    assert plugged.request("/", "X-Forwarded-For: 10.0.0.1").status == 200


def test_status_and_message(plugged: Plugged) -> None:
    plugged.configure(plugin("ip-restriction", deny=["127.0.0.1"], status=418, message='not "you"'))
    answer = plugged.request()
    assert (answer.status, answer.message) == (418, 'not "you"')
    assert answer.response.get("content-type") == "application/json; charset=utf-8"
    plain = plugged.request("/", "Accept: text/plain")
    assert plain.response.body.startswith(b'not "you"\nrequest_id: ')


def test_a_client_on_a_unix_socket_has_no_address(tmp_path: Path) -> None:
    """Nothing can be said about it, so it may not pass."""
    path = tmp_path / "proxy.sock"
    with Gateway(also_listen=f"unix:{path}") as gateway, Upstream() as upstream:
        plugged = Plugged(gateway, upstream)
        plugged.configure(plugin("ip-restriction", deny=["10.0.0.1"]))
        assert plugged.request().status == 200
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
            assert connection.recv(65536).startswith(b"HTTP/1.1 403 ")


def test_ten_thousand_ranges(behind_proxy: Plugged) -> None:
    chosen = random.Random(5)
    networks = [
        ipaddress.ip_network((chosen.getrandbits(32), chosen.randint(16, 32)), strict=False)
        for _ in range(10_000)
    ]
    behind_proxy.configure(plugin("ip-restriction", deny=[str(network) for network in networks]))
    clients = [str(chosen.choice(networks)[-1]) for _ in range(30)]
    clients += [str(ipaddress.IPv4Address(chosen.getrandbits(32))) for _ in range(30)]
    edges = [(int(network[0]), int(network[-1])) for network in networks]
    numbers = [int(ipaddress.IPv4Address(client)) for client in clients]
    denied = [any(first <= number <= last for first, last in edges) for number in numbers]
    assert statuses(behind_proxy, *clients) == [403 if one else 200 for one in denied]
