"""Responses that plugins hold or change: whatever the upstream does, the client reads whole messages."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator

import pytest

from gateway.testing import PluginGateway
from tests.support.client import Client
from tests.support.upstreams import Connection, Upstream, response

BODY_LIMIT = 65_536
JSON = b"Content-Type: application/json"
PLUGINS = """
import msgspec
from gateway.pdk import BodyTooLong, Plugin

class SetStatus(Plugin):
    class Config(msgspec.Struct):
        status: int

    def response(self, request, response):
        response.status = self.config.status

class Hold(Plugin):
    buffer_response = True

    def response(self, request, response):
        try:
            response.headers["X-Length"] = str(len(response.body))
        except BodyTooLong:
            response.headers["X-Length"] = "too long"
"""


class Answers:
    """An upstream that answers a request with the next of some answers; after an empty one it waits."""

    def __init__(self) -> None:
        self.left: list[bytes] = []
        self.ended = threading.Event()

    def __call__(self, connection: Connection) -> None:
        while connection.read_request()[0]:
            answer = self.left.pop(0)
            connection.send(answer)
            if answer.endswith(b"..."):
                self.ended.wait(60)
                return


@pytest.fixture(scope="module")
def answers() -> Iterator[Answers]:
    answers = Answers()
    yield answers
    answers.ended.set()


@pytest.fixture(scope="module")
def upstream(answers: Answers) -> Iterator[Upstream]:
    with Upstream(answers) as upstream:
        yield upstream


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PluginGateway]:
    path = tmp_path_factory.mktemp("plugins") / "plugins.py"
    path.write_text(PLUGINS)
    with PluginGateway(path, plugin_body_limit=BODY_LIMIT) as gateway:
        yield gateway


def chunked(body: bytes) -> bytes:
    fields = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + JSON
    return fields + b"\r\n\r\n%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)


def configure(
    gateway: PluginGateway, upstream: Upstream, name: str, *, read_timeout: int = 60_000, **config: object
) -> Client:
    service = {
        "name": "upstream",
        "url": f"http://127.0.0.1:{upstream.port}",
        "read_timeout": read_timeout,
        "retries": 1,
        "routes": [{"name": "everything", "paths": ["/"]}],
    }
    document = {
        "_format_version": "3.0",
        "services": [service],
        "plugins": [{"name": name, "config": config}],
    }
    status, _, answer = gateway.admin("POST", "/config", json.dumps(document).encode())
    assert status == 201, answer
    return Client(gateway.proxy_port)


def test_a_held_response_that_stops_is_tried_again(
    gateway: PluginGateway, upstream: Upstream, answers: Answers
) -> None:
    stopping = b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n" + JSON + b'\r\n\r\n{"from": "first"...'
    answers.left = [stopping, response(b'{"from":"second"}', "200 OK", JSON, b"Keep-Alive: timeout=5")]
    client = configure(gateway, upstream, "response-transformer", read_timeout=600, add={"json": ["b:1"]})
    reply = client.request().response()
    assert (reply.status, reply.body) == (200, b'{"from":"second","b":"1"}')
    assert reply.get("keep-alive") is None
    answers.left = [stopping, stopping]
    assert client.request().response().status == 504
    answers.left = [response(b"{}", "200 OK", JSON)]
    assert client.request().response().body == b'{"b":"1"}'


@pytest.mark.parametrize("length", [BODY_LIMIT, BODY_LIMIT + 1, BODY_LIMIT + 100])
def test_a_body_around_the_limit_ends(
    gateway: PluginGateway, upstream: Upstream, answers: Answers, length: int
) -> None:
    answers.left = [chunked(b"x" * length), response(b"next")]
    client = configure(gateway, upstream, "hold")
    reply = client.request().response()
    assert len(reply.body) == length
    assert reply.get("x-length") == (str(length) if length <= BODY_LIMIT else "too long")
    assert client.request().response().body == b"next"


@pytest.mark.parametrize("status", [204, 304])
@pytest.mark.parametrize(
    "answer", [response(response(b"smuggled")), chunked(response(b"smuggled"))], ids=["length", "chunked"]
)
def test_a_status_without_body_leaves_none(
    gateway: PluginGateway, upstream: Upstream, answers: Answers, status: int, answer: bytes
) -> None:
    answers.left = [answer, answer]
    client = configure(gateway, upstream, "set-status", status=status)
    for _ in range(2):
        assert client.request().response().status == status
    assert client.buffer == b""


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n"],
    ids=["204", "304"],
)
def test_a_status_with_a_body_gets_an_empty_one(
    gateway: PluginGateway, upstream: Upstream, answers: Answers, answer: bytes
) -> None:
    answers.left = [answer, answer]
    client = configure(gateway, upstream, "set-status", status=200)
    for _ in range(2):
        reply = client.request().response()
        assert (reply.status, reply.get("content-length"), reply.body) == (200, "0", b"")


def test_a_tunnel_keeps_its_status(gateway: PluginGateway, upstream: Upstream, answers: Answers) -> None:
    upgrade = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    answers.left = [upgrade + response(b"smuggled")]
    client = configure(gateway, upstream, "set-status", status=200)
    handshake = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: x")
    assert client.request("/", *handshake).response().status == 500
