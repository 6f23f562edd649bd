"""response-transformer: what the client gets for what the upstream, or the gateway itself, answered."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.client import Client, Response
from tests.support.gateway import Gateway
from tests.support.plugged import Plugged, plugin
from tests.support.upstreams import Connection, Upstream, response

JSON = b"Content-Type: application/json"


class Answering:
    """An upstream that answers with the bytes it is told."""

    def __init__(self) -> None:
        self.answer = b""

    def __call__(self, connection: Connection) -> None:
        while connection.read_request()[0]:
            connection.send(self.answer)


@pytest.fixture(scope="module")
def answering() -> Answering:
    return Answering()


@pytest.fixture(scope="module")
def plugged(shared_gateway: Gateway, answering: Answering) -> Iterator[Plugged]:
    with Upstream(answering) as upstream:
        yield Plugged(shared_gateway, upstream)


def configure(plugged: Plugged, *others: dict[str, Any], **config: Any) -> None:
    plugged.configure(plugin("response-transformer", **config), *others)


def get(plugged: Plugged, *fields: str, method: str = "GET") -> Response:
    client = Client(plugged.gateway.proxy_port)
    try:
        return client.request("/", *fields, method=method).response(method)
    finally:
        client.socket.close()


# --- headers -------------------------------------------------------------------------------------------
def test_headers_in_order_of_operations(plugged: Plugged, answering: Answering) -> None:
    configure(
        plugged,
        remove={"headers": ["X-Gone", "x-absent"]},
        rename={"headers": ["x-old:X-New"]},
        replace={"headers": ["x-rep:r", "x-none:n"]},
        add={"headers": ["x-add:1", "x-have:2", "x-empty:"]},
        append={"headers": ["set-cookie:c=3", "x-fresh:4"]},
    )
    fields = [
        b"x-gone: 1",
        b"X-OLD: 1",
        b"x-old: 2",
        b"x-new: n",
        b"x-rep: a",
        b"X-Have: h",
        b"Set-Cookie: a=1",
    ]
    answering.answer = response(b"ok", "200 OK", *fields)
    answer = get(plugged)
    assert answer.body == b"ok"
    names = (
        "x-gone",
        "x-old",
        "x-new",
        "x-rep",
        "x-none",
        "x-have",
        "x-add",
        "x-empty",
        "x-fresh",
        "set-cookie",
    )
    assert {name: values for name in names if (values := answer.all(name))} == {
        "x-new": ["1", "2"],
        "x-rep": ["r"],
        "x-have": ["h"],
        "x-add": ["1"],
        "x-fresh": ["4"],
        "set-cookie": ["a=1", "c=3"],
    }


def test_fields_that_only_the_gateway_writes_stay(plugged: Plugged, answering: Answering) -> None:
    names = ["Content-Length", "Transfer-Encoding", "Connection", "Via", "X-Kong-Request-Id"]
    configure(plugged, remove={"headers": names}, append={"headers": [f"{name}:x" for name in names]})
    answering.answer = response(b"body")
    answer = get(plugged)
    assert (answer.get("content-length"), answer.body) == ("4", b"body")
    assert answer.get("x-kong-request-id") not in (None, "x")


# --- JSON ----------------------------------------------------------------------------------------------
CHANGES: dict[str, Any] = {
    "remove": {"json": ["rm"]},
    "rename": {"json": ["old:new"]},
    "replace": {"json": ["rep:n", "absent:z"]},
    "add": {"json": ["add:1", "n:5"], "json_types": ["string", "number"]},
    "append": {"json": ["app:3"], "headers": ["x-changed:1"]},
}
BODY = b'{"rm":2, "old":"o", "rep":"x", "app":"y", "big":12345678901234567890}'
CHANGED = b'{"new":"o","rep":"n","app":["y","3"],"big":12345678901234567890,"add":"1","n":5}'


@pytest.mark.parametrize(
    "content_type", ["application/json", "Application/JSON; charset=utf-8", "application/problem+json"]
)
def test_json(plugged: Plugged, answering: Answering, content_type: str) -> None:
    configure(plugged, **CHANGES)
    answering.answer = response(BODY, "200 OK", f"Content-Type: {content_type}".encode())
    answer = get(plugged)
    assert answer.body == CHANGED
    assert answer.get("content-length") == str(len(CHANGED))
    assert answer.all("x-changed") == ["1"]


def test_json_in_chunks_until_the_end_or_with_an_error(plugged: Plugged, answering: Answering) -> None:
    configure(plugged, **CHANGES)
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(piece), piece) for piece in (BODY[:7], BODY[7:30], BODY[30:]))
    answering.answer = (
        b"HTTP/1.1 500 Bad\r\nTransfer-Encoding: chunked\r\n" + JSON + b"\r\n\r\n" + chunks + b"0\r\n\r\n"
    )
    answer = get(plugged)
    assert (answer.status, answer.body) == (500, CHANGED)
    assert answer.get("content-length") == str(len(CHANGED))


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (BODY, [b"Content-Type: text/plain"]),
        (BODY, [b"Content-Type: application/jsonx"]),
        (BODY, []),
        (b"{bad", [JSON]),
        (b"5", [JSON]),
        (gzip.compress(BODY, mtime=0), [JSON, b"Content-Encoding: gzip"]),
        (BODY, [JSON, b"Content-Encoding: br"]),
        (b'{"rm":"' + b"x" * (1 << 20) + b'"}', [JSON]),
        (b"", [JSON]),
    ],
)
def test_bodies_that_stay(plugged: Plugged, answering: Answering, body: bytes, fields: list[bytes]) -> None:
    """The headers are changed all the same."""
    configure(plugged, **CHANGES)
    answering.answer = response(body, "200 OK", *fields)
    answer = get(plugged)
    assert answer.body == body
    assert answer.all("x-changed") == ["1"]


@pytest.mark.parametrize("status", ["204 No Content", "304 Not Modified"])
def test_responses_without_a_body(plugged: Plugged, answering: Answering, status: str) -> None:
    configure(plugged, **CHANGES)
    answering.answer = f"HTTP/1.1 {status}\r\n".encode() + JSON + b"\r\n\r\n"
    answer = get(plugged)
    assert (answer.status, answer.body) == (int(status[:3]), b"")
    assert answer.all("x-changed") == ["1"]


def test_head_requests(plugged: Plugged, answering: Answering) -> None:
    configure(plugged, **CHANGES)
    answering.answer = b"HTTP/1.1 200 OK\r\nContent-Length: 69\r\n" + JSON + b"\r\n\r\n"
    answer = get(plugged, method="HEAD")
    assert (answer.status, answer.body, answer.all("x-changed")) == (200, b"", ["1"])


def test_one_connection_for_many(plugged: Plugged, answering: Answering) -> None:
    """Framing holds when a body is changed on a connection that goes on."""
    configure(plugged, **CHANGES)
    client = Client(plugged.gateway.proxy_port)
    for _ in range(3):
        for body, expected in ((BODY, CHANGED), (b"[1 ]", b"[1]"), (b"{bad", b"{bad")):
            answering.answer = response(body, "200 OK", JSON)
            assert client.request("/").response().body == expected
    client.socket.close()


def test_upstreams_that_break_off(plugged: Plugged, answering: Answering) -> None:
    """What is held back has not been sent, so the client is told that something went wrong."""
    configure(plugged, **CHANGES)

    def break_off(connection: Connection) -> None:
        connection.read_request()
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n" + JSON + b"\r\n\r\n{")

    with Upstream(break_off) as upstream:
        Plugged(plugged.gateway, upstream).configure(plugin("response-transformer", **CHANGES))
        answer = get(plugged)
    assert answer.status == 502
    assert answer.all("x-changed") == ["1"]


# --- the gateway's own answers -------------------------------------------------------------------------
def test_own_answers(plugged: Plugged) -> None:
    configure(
        plugged,
        plugin("key-auth"),
        add={"headers": ["x-add:1"], "json": ["extra:1"]},
        remove={"json": ["request_id"], "headers": ["www-authenticate"]},
    )
    answer = get(plugged)
    assert answer.status == 401
    assert answer.body == b'{"message":"No API key found in request","extra":"1"}'
    assert answer.get("content-length") == str(len(answer.body))
    assert answer.get("x-add") == "1"
    assert answer.get("www-authenticate") is None
    answer = get(plugged, "Accept: text/html")
    assert b"No API key found in request" in answer.body
    assert b"extra" not in answer.body


def test_global_plugins_change_answers_to_what_no_route_matches(plugged: Plugged) -> None:
    plugged.gateway.configure(
        {"plugins": [plugin("response-transformer", add={"headers": ["x-g:1"], "json": ["extra:1"]})]}
    )
    answer = get(plugged)
    assert (answer.status, answer.get("x-g")) == (404, "1")
    assert json.loads(answer.body)["extra"] == "1"
