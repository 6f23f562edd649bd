"""IPv6, unix sockets, and names with several addresses."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from tests.support.client import Client
from tests.support.gateway import Gateway, one_service
from tests.support.upstreams import Upstream


def ipv6_works() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


needs_ipv6 = pytest.mark.skipif(not ipv6_works(), reason="no IPv6 on this machine")


def free_port_of(address: str) -> int:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as probe:
        probe.bind((address, 0))
        return int(probe.getsockname()[1])


def exchange(connection: socket.socket) -> bytes:
    """One request on the connection; everything until the gateway closes."""
    connection.settimeout(10)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


@needs_ipv6
def test_ipv6_on_both_sides() -> None:
    port = free_port_of("::1")
    with Upstream(address="::1") as behind:
        document = one_service(behind.port, host="::1")
        with (
            Gateway(document) as gateway,
            socket.create_connection(("127.0.0.1", gateway.proxy_port)) as plain,
        ):
            assert exchange(plain).startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"Host: [::1]:%d\r\n" % behind.port in behind.heads[0]
        with Gateway(document, also_listen=f"[::1]:{port}"):
            with socket.create_connection(("::1", port)) as connection:
                answer = exchange(connection)
            assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"X-Forwarded-For: ::1\r\nX-Real-IP: ::1\r\n" in behind.heads[1]


def test_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "proxy.sock"
    with Upstream() as behind, Gateway(one_service(behind.port), also_listen=f"unix:{path}"):
        with socket.socket(socket.AF_UNIX) as connection:
            connection.connect(str(path))
            answer = exchange(connection)
        assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
        assert b"X-Forwarded-For: unix:\r\n" in behind.heads[0]


def test_addresses_of_a_name_take_turns(tmp_path: Path) -> None:
    """Names come from the hosts file here; one of the three addresses refuses."""
    hosts = tmp_path / "hosts"
    hosts.write_text("127.0.0.1 many.test\n127.0.0.2 many.test\n127.0.0.3 many.test\n")
    with Upstream() as first, Upstream(address="127.0.0.2", port=first.port) as second:
        document = one_service(first.port, host="many.test", retries=1)
        with Gateway(document, dns_hostsfile=hosts) as gateway, Client(gateway.proxy_port) as client:
            for _ in range(30):
                assert (
                    client.request("/", "Content-Length: 2", method="POST", body=b"ok").response().status
                    == 200
                )
        assert len(first.requests) + len(second.requests) == 30
        assert min(len(first.requests), len(second.requests)) >= 10
        assert b"Host: many.test:%d\r\n" % first.port in first.heads[0]
