"""request-size-limiting: announced and chunked bodies (plugins.md; corrections.md, 25)."""

from __future__ import annotations

import threading

import pytest

from tests.support.client import Client, CutOffError, chunked
from tests.support.gateway import Gateway
from tests.support.plugged import Plugged, plugin
from tests.support.upstreams import Connection, Upstream

TOO_LARGE = "Request size limit exceeded"


@pytest.mark.parametrize(
    ("config", "limit"),
    [
        ({"allowed_payload_size": 10, "size_unit": "bytes"}, 10),
        ({"allowed_payload_size": 2, "size_unit": "kilobytes"}, 2048),
        ({"allowed_payload_size": 1}, 1024 * 1024),
        ({"allowed_payload_size": 0}, 0),
    ],
)
def test_content_length(plugged: Plugged, config: dict[str, object], limit: int) -> None:
    plugged.configure(plugin("request-size-limiting", **config))
    assert plugged.request("/", method="POST", body=b"x" * limit).status == 200
    answer = plugged.request("/", method="POST", body=b"x" * (limit + 1))
    assert (answer.status, answer.message) == (413, TOO_LARGE)
    assert answer.response.get("content-type") == "application/json; charset=utf-8"


def test_the_default_is_128_megabytes(plugged: Plugged) -> None:
    plugged.configure(plugin("request-size-limiting"))
    client = Client(plugged.gateway.proxy_port)
    assert (
        client.request("/", f"Content-Length: {128 * 1024 * 1024 + 1}", method="POST").response().status
        == 413
    )
    client.close()


def test_expect_continue(plugged: Plugged) -> None:
    """A client that asks before it sends is refused with 417, and the connection can be used again."""
    plugged.configure(plugin("request-size-limiting", allowed_payload_size=10, size_unit="bytes"))
    client = Client(plugged.gateway.proxy_port)
    answer = client.request("/", "Content-Length: 11", "Expect: 100-continue", method="POST").response()
    assert (answer.status, answer.interim) == (417, [])
    client.close()
    allowed = Client(plugged.gateway.proxy_port)
    allowed.request("/", "Content-Length: 3", "Expect: 100-continue", method="POST")
    allowed.until(b"HTTP/1.1 100 Continue\r\n\r\n")
    assert allowed.send(b"abc").response().status == 200
    allowed.close()


@pytest.mark.parametrize("size", [0, 10, 11, 5000, 300_000])
@pytest.mark.parametrize("limit", [10, 100_000])
def test_chunked_bodies(plugged: Plugged, limit: int, size: int) -> None:
    plugged.configure(plugin("request-size-limiting", allowed_payload_size=limit, size_unit="bytes"))
    client = Client(plugged.gateway.proxy_port)
    body = chunked(*(b"x" * min(1000, size - start) for start in range(0, size, 1000)))
    client.request("/", "Transfer-Encoding: chunked", method="POST", body=body)
    answer = client.response()
    assert answer.status == (200 if size <= limit else 413)
    assert answer.closes == (size > limit)
    if size > limit:
        assert TOO_LARGE.encode() in answer.body
    client.close()


def test_a_chunked_body_that_is_too_long_is_stopped_while_it_streams(shared_gateway: Gateway) -> None:
    """The upstream sees that it is cut off: no last chunk comes."""
    ended = threading.Event()
    received = bytearray()

    def read_to_the_end(connection: Connection) -> None:
        connection.read_head()
        received.extend(connection.wait_for_end())
        ended.set()

    with Upstream(read_to_the_end) as upstream:
        plugged = Plugged(shared_gateway, upstream)
        plugged.configure(plugin("request-size-limiting", allowed_payload_size=200, size_unit="kilobytes"))
        client = Client(shared_gateway.proxy_port)
        client.request("/", "Transfer-Encoding: chunked", method="POST")
        for _ in range(220):
            client.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        assert client.response().status == 413
        assert ended.wait(10)
        assert not bytes(received).endswith(b"0\r\n\r\n")
        assert received.count(b"x") <= 200 * 1024
        client.close()


def test_a_response_that_has_begun_is_cut_off(shared_gateway: Gateway) -> None:
    def answer_early(connection: Connection) -> None:
        connection.read_head()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab")
        connection.wait_for_end()

    with Upstream(answer_early) as upstream:
        plugged = Plugged(shared_gateway, upstream)
        plugged.configure(plugin("request-size-limiting", allowed_payload_size=200, size_unit="kilobytes"))
        client = Client(shared_gateway.proxy_port)
        client.request("/", "Transfer-Encoding: chunked", method="POST")
        client.send(b"19000\r\n" + b"x" * 0x19000 + b"\r\n")
        client.until(b"ab")
        try:
            client.send(b"20000\r\n" + b"x" * 0x20000 + b"\r\n")
            assert client.rest() == b""
        except (ConnectionError, CutOffError):
            pass
        client.close()


def test_content_length_can_be_required(plugged: Plugged) -> None:
    plugged.configure(plugin("request-size-limiting", require_content_length=True))
    answer = plugged.request()
    assert (answer.status, answer.message) == (411, "A valid Content-Length header is required")
    assert plugged.request("/", "Content-Length: 0", method="POST").status == 200
    client = Client(plugged.gateway.proxy_port)
    client.request("/", "Transfer-Encoding: chunked", method="POST", body=chunked(b"abc"))
    assert client.response().status == 200
    client.close()


def test_other_plugins_see_a_body_only_up_to_the_limit(plugged: Plugged) -> None:
    """key-auth wants the body before this plugin counts it."""
    limit = plugin("request-size-limiting", allowed_payload_size=20, size_unit="bytes")
    plugged.configure(
        plugin("key-auth", key_in_body=True),
        limit,
        consumers=[{"username": "bob", "keyauth_credentials": [{"key": "k"}]}],
    )
    form = "Content-Type: application/x-www-form-urlencoded"
    client = Client(plugged.gateway.proxy_port)
    for body, status in ((b"apikey=k&a=1", 200), (b"apikey=k&a=" + b"1" * 100, 413)):
        answer = client.request(
            "/", form, "Transfer-Encoding: chunked", method="POST", body=chunked(body)
        ).response()
        assert answer.status == status
    client.close()


def test_the_limit_ends_with_the_request(plugged: Plugged) -> None:
    """What a plugin said about one request does not count for the next one on the connection."""
    service = {"name": "s", "host": "127.0.0.1", "port": plugged.behind.port}
    limited = {
        "paths": ["/limited"],
        "plugins": [plugin("request-size-limiting", allowed_payload_size=5, size_unit="bytes")],
    }
    plugged.gateway.configure({"services": [{**service, "routes": [limited, {"paths": ["/free"]}]}]})
    client = Client(plugged.gateway.proxy_port)
    for path in ("/limited", "/free", "/limited"):
        size = 5 if path == "/limited" else 500
        client.request(path, "Transfer-Encoding: chunked", method="POST", body=chunked(b"x" * size))
        assert client.response().status == 200
    client.close()
