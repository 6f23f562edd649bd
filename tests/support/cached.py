"""An upstream whose responses tell how often it was asked, and gateways that store them, for tests."""

from __future__ import annotations

import json
import threading
import urllib.parse
from collections import Counter
from typing import Any

from tests.support.client import Client, Response
from tests.support.gateway import Gateway, one_service
from tests.support.upstreams import Connection, Upstream, response

PLUGIN_ID = "6f1cdd20-4b2e-4ab8-a0b4-1f9a4a7f2a01"


class CountingUpstream(Upstream):
    """Answers `/a?tags=red+green` with "/a?tags=red+green 1", then "… 2"; `size=n` adds so many bytes,
    `life=n` is their max-age, `vary=Name` is what they vary on."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self._counting = threading.Lock()
        super().__init__(self._serve)

    def __enter__(self) -> CountingUpstream:
        return self

    def _serve(self, connection: Connection) -> None:
        while head := connection.read_request()[0]:
            target = head.split(b" ")[1].decode()
            with self._counting:
                self.asked[target] += 1
                number = self.asked[target]
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(target).query))
            fields = [b"Content-Type: text/plain"]
            if tags := query.get("tags"):
                fields.append(b"Surrogate-Key: " + tags.encode())
            if vary := query.get("vary"):
                fields.append(b"Vary: " + vary.encode())
            if life := query.get("life"):
                fields.append(b"Cache-Control: max-age=" + life.encode())
            body = f"{target} {number}".encode() + bytes(int(query.get("size", 0)))
            connection.send(response(body, "200 OK", *fields))


def caching(upstream: Upstream, *, name: str = "proxy-cache", **config: Any) -> dict[str, Any]:
    """A document with one service whose responses are stored."""
    plugin = {"id": PLUGIN_ID, "name": name, "config": config}
    return one_service(upstream.port, plugins=[plugin])


def get(gateway: Gateway, target: str, *fields: str) -> Response:
    """One request to the proxy."""
    client = Client(gateway.proxy_port)
    try:
        return client.request(target, *fields).response()
    finally:
        client.socket.close()


def cached(gateway: Gateway, target: str, *fields: str) -> tuple[str | None, bytes]:
    """X-Cache-Status and body of one request."""
    found = get(gateway, target, *fields)
    assert found.status == 200, found
    return found.get("x-cache-status"), found.body


def admin(gateway: Gateway, method: str, path: str) -> tuple[int, bytes]:
    """Status and body of a request to the Admin API."""
    status, _, body = gateway.call(gateway.admin_port, method, path)
    return status, body


def purge(gateway: Gateway, path: str) -> None:
    """DELETE below /proxy-cache, which must succeed."""
    status, body = admin(gateway, "DELETE", f"/proxy-cache{path}")
    assert (status, body) == (204, b"")


def shown(gateway: Gateway, path: str) -> dict[str, Any]:
    """GET below /proxy-cache, which must succeed."""
    status, body = admin(gateway, "GET", f"/proxy-cache{path}")
    assert status == 200, body
    found: dict[str, Any] = json.loads(body)
    return found
