"""A service behind plugins, on a gateway that takes its configuration from POST /config."""

from __future__ import annotations

import json
from typing import Any

from tests.support.client import Client, Response
from tests.support.gateway import Gateway, one_service
from tests.support.upstreams import Upstream


class Sent:
    """What the upstream got."""

    def __init__(self, head: bytes, body: bytes) -> None:
        line, *fields = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
        self.method, self.target, _ = line.split(" ")
        self.body = body
        self.fields: dict[str, list[str]] = {}
        for field in fields:
            name, _, value = field.partition(":")
            self.fields.setdefault(name.lower(), []).append(value.strip(" "))

    def get(self, name: str) -> str | None:
        """The value of the field; None without it; the test fails when it is repeated."""
        values = self.fields.get(name, [])
        assert len(values) <= 1, f"{name} repeated: {values}"
        return values[0] if values else None

    @property
    def identity(self) -> dict[str, str | None]:
        """Those fields that tell who the client is."""
        prefixes = ("x-consumer", "x-credential", "x-anonymous", "x-authenticated")
        return {name: self.get(name) for name in self.fields if name.startswith(prefixes)}


class Answer:
    """What the client got, and `sent`: what the upstream did (None: nothing)."""

    def __init__(self, response: Response, sent: Sent | None) -> None:
        self.response = response
        self.status = response.status
        self.sent = sent

    @property
    def upstream(self) -> Sent:
        assert self.sent is not None, f"nothing reached the upstream: {self.response}"
        return self.sent

    @property
    def message(self) -> str:
        assert self.sent is None, "the upstream was asked"
        return str(json.loads(self.response.body)["message"])

    @property
    def challenge(self) -> str | None:
        return self.response.get("www-authenticate")


class Plugged:
    """One service on an echo upstream, and one route for everything."""

    def __init__(self, gateway: Gateway, upstream: Upstream) -> None:
        self.gateway = gateway
        self.behind = upstream
        self.document: dict[str, Any] | None = None

    def configure(self, *plugins: dict[str, Any], **entities: Any) -> None:
        """`plugins` of the service; `entities` beside it, such as consumers."""
        self.document = {**one_service(self.behind.port, plugins=list(plugins)), **entities}
        self.gateway.configure(self.document)

    def ensure(self, *plugins: dict[str, Any], **entities: Any) -> None:
        """The same, when it is not so already."""
        if self.document != {**one_service(self.behind.port, plugins=list(plugins)), **entities}:
            self.configure(*plugins, **entities)

    def request(self, target: str = "/", *fields: str, method: str = "GET", body: bytes = b"") -> Answer:
        """One request on a connection of its own. `fields`: "Name: value"."""
        before = len(self.behind.requests)
        lengths = [f"Content-Length: {len(body)}"] if body else []
        client = Client(self.gateway.proxy_port)
        try:
            response = client.request(target, *fields, *lengths, method=method, body=body).response(method)
        finally:
            client.socket.close()
        sent = self.behind.requests[before:]
        assert len(sent) <= 1
        return Answer(response, Sent(*sent[0]) if sent else None)


def plugin(name: str, **config: Any) -> dict[str, Any]:
    """A plugin of a document."""
    return {"name": name, "config": config}
