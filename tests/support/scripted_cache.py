"""The plugin proxy-cache before an upstream whose answers are scripted."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from tests.support.client import Client, Response
from tests.support.gateway import Gateway, one_service, wait_for
from tests.support.plugged import Sent, plugin
from tests.support.upstreams import Connection, Upstream, response

Script = Callable[[Sent], bytes]
"""What is answered to a request."""


def answer(*fields: str, body: bytes = b"x", status: str = "200 OK") -> bytes:
    """A response of text/plain, unless `fields` say another type."""
    if not any(field.lower().startswith("content-type:") for field in fields):
        fields = (*fields, "Content-Type: text/plain")
    return response(body, status, *(field.encode() for field in fields))


def not_modified(*fields: str) -> bytes:
    lines = ["HTTP/1.1 304 Not Modified", *fields]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Told:
    """What the client got."""

    def __init__(self, got: Response) -> None:
        self.response = got
        self.status = got.status
        self.body = got.body
        self.cache = got.get("x-cache-status")
        self.key = got.get("x-cache-key")
        self.age = got.get("age")

    def get(self, name: str) -> str | None:
        return self.response.get(name)


class Cached:
    """A service whose upstream does what `script` says, one request at a time: by default, it numbers its
    answers."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.seen: list[Sent] = []
        self.script: Script = self.numbered()
        self.lock = threading.Lock()
        self.plugin_id = ""
        self.upstream = Upstream(self.serve)

    def numbered(self, *fields: str) -> Script:
        return lambda _: answer(*fields, body=f"number {len(self.seen)}".encode())

    def serve(self, connection: Connection) -> None:
        while (request := connection.read_request())[0]:
            sent = Sent(*request)
            with self.lock:
                self.seen.append(sent)
                scripted = self.script(sent)
            connection.send(scripted)
            if b"Connection: close" in scripted:
                return

    def configure(self, *plugins: dict[str, Any], **entities: Any) -> None:
        self.gateway.configure({**one_service(self.upstream.port, plugins=list(plugins)), **entities})

    def cache(self, *others: dict[str, Any], entities: dict[str, Any] | None = None, **config: Any) -> None:
        """An empty cache with this configuration, and `others`; the upstream counts from 1."""
        self.script = self.numbered()
        self.seen.clear()
        # a plugin of its own, so that nothing is there that another test has stored
        self.plugin_id = str(uuid.uuid4())
        self.configure(self.plugin(**config), *others, **(entities or {}))

    def plugin(self, **config: Any) -> dict[str, Any]:
        """The same plugin with another configuration."""
        return {**plugin("proxy-cache", **{"strategy": "memory", **config}), "id": self.plugin_id}

    def ask(
        self, target: str = "/", *fields: str, method: str = "GET", body: bytes = b"", host: str = "a.test"
    ) -> Told:
        """One request on a connection of its own. `fields`: "Name: value"."""
        lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *fields]
        if body:
            lines.append(f"Content-Length: {len(body)}")
        client = Client(self.gateway.proxy_port)
        try:
            client.send("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
            return Told(client.response(method))
        finally:
            client.socket.close()

    def outcomes(self, *targets: str | Sequence[str]) -> list[str | None]:
        """X-Cache-Status of these requests in turn: targets, or targets with fields."""
        return [
            (self.ask(target) if isinstance(target, str) else self.ask(*target)).cache for target in targets
        ]

    def ask_until_it_is_no_hit(self, target: str = "/") -> Told:
        """The answer after which a new response is stored."""

        def asked() -> Told | None:
            told = self.ask(target)
            return None if told.cache == "Hit" else told

        told = wait_for(asked, what="the end of what is stored")
        assert told is not None
        return told

    def close(self) -> None:
        self.upstream.close()
