"""What an upstream sends behind a response never becomes somebody else's response."""

from __future__ import annotations

import pytest

from tests.support.gateway import Gateway, one_service
from tests.support.upstreams import Connection, Upstream, response

POISON = response(b"POISON")
LARGE_BUFFER = 69632


def first_with_extra(body_length: int) -> bytes:
    """A response whose head and body together have `body_length` bytes, and another one behind it."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %6d\r\n\r\n"
    length = body_length - len(head % 0)
    return head % length + b"x" * length + POISON


@pytest.mark.parametrize(
    "size", [200, LARGE_BUFFER - 1, LARGE_BUFFER, LARGE_BUFFER + 1, 2 * LARGE_BUFFER, 300_000]
)
def test_bytes_behind_a_response_are_thrown_away(shared_gateway: Gateway, size: int) -> None:
    def serve(connection: Connection) -> None:
        while connection.read_head():
            if connection.number == 0:
                connection.send(first_with_extra(size))
            else:
                connection.send(response(b"second"))

    with Upstream(serve) as upstream:
        shared_gateway.configure(one_service(upstream.port))
        status, _, body = shared_gateway.request("/first")
        assert status == 200
        assert set(body) == {ord("x")}
        for _ in range(3):
            assert shared_gateway.request("/victim")[2] == b"second"


def test_regexes_of_one_request_have_a_common_budget(shared_gateway: Gateway) -> None:
    """256 values times a catastrophic pattern times many routes: the worker answers all the same."""
    with Upstream() as upstream:
        routes = [
            {"name": f"r{i}", "paths": ["/x"], "headers": {"x-v": [f"~*^(a+)+{i}$"]}} for i in range(20)
        ]
        shared_gateway.configure(one_service(upstream.port, routes=routes))
        before = shared_gateway.status()["workers"][0]["pid"]
        fields = b"X-V: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa!\r\n" * 200
        answer = shared_gateway.raw(b"GET /x HTTP/1.1\r\nHost: a\r\nConnection: close\r\n" + fields + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 404")
        assert shared_gateway.request("/x", headers={"X-V": "aaaa7"})[0] == 200
        assert shared_gateway.status()["workers"][0]["pid"] == before
