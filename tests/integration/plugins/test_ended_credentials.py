"""What ends a credential ends it at once: with the answer to the write, in every worker."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.client import Client
from tests.support.gateway import Gateway
from tests.support.stores import gateway_on
from tests.support.upstreams import Connection, Upstream, response

WORKERS = 3
CONNECTIONS = 18
"""enough that each worker most likely has some"""


class Live:
    """A gateway with a writable Admin API, and connections to all of its workers."""

    def __init__(self, gateway: Gateway, upstream: Upstream) -> None:
        self.gateway = gateway
        self.write("POST", "/services", name="s", host="127.0.0.1", port=upstream.port)
        self.write("POST", "/services/s/routes", name="r", paths=["/key"])
        self.write("POST", "/services/s/routes", name="b", paths=["/basic"])
        self.write("POST", "/routes/r/plugins", name="key-auth")
        self.write("POST", "/routes/r/plugins", name="acl", config={"deny": ["bad"]})
        self.write("POST", "/routes/b/plugins", name="basic-auth")
        self.clients = [Client(gateway.proxy_port) for _ in range(CONNECTIONS)]
        # requests of all are served, so each has been accepted by its worker
        assert self.statuses("/key") == {401}

    def write(self, method: str, path: str, **fields: Any) -> dict[str, Any]:
        status, _, body = self.gateway.call(
            self.gateway.admin_port,
            method,
            path,
            json.dumps(fields).encode(),
            {"Content-Type": "application/json"},
        )
        assert status in (200, 201, 204), body
        return json.loads(body) if body else {}

    def statuses(self, path: str, *fields: str) -> set[int]:
        """Of one request on every connection, all sent before the first answer is read."""
        for client in self.clients:
            client.request(path, *fields)
        return {client.response().status for client in self.clients}


@pytest.fixture(scope="module")
def live() -> Iterator[Live]:
    def answer(connection: Connection) -> None:
        while connection.read_request()[0]:
            connection.send(response())

    with Upstream(answer) as upstream, gateway_on("sqlite", worker_processes=WORKERS) as gateway:
        yield Live(gateway, upstream)


def basic(password: str) -> str:
    return f"Authorization: Basic {base64.b64encode(f'u:{password}'.encode()).decode()}"


def ends_key(live: Live, number: int) -> None:
    live.write("DELETE", f"/consumers/c{number}/key-auth/key-{number}")


def ends_consumer(live: Live, number: int) -> None:
    live.write("DELETE", f"/consumers/c{number}")


def changes_key(live: Live, number: int) -> None:
    live.write("PATCH", f"/consumers/c{number}/key-auth/key-{number}", key=f"other-{number}")


@pytest.mark.parametrize("end", [ends_key, ends_consumer, changes_key])
def test_keys_end_with_the_write(live: Live, end: Callable[[Live, int], None]) -> None:
    """Not a moment later: requests that are sent once the write is answered are refused by every worker."""
    for number in range(8):
        live.write("PUT", f"/consumers/c{number}")
        live.write("POST", f"/consumers/c{number}/key-auth", key=f"key-{number}")
        assert live.statuses("/key", f"apikey: key-{number}") == {200}
        end(live, number)
        assert live.statuses("/key", f"apikey: key-{number}") == {401}
    for number in range(8):
        live.write("DELETE", f"/consumers/c{number}")


def test_groups_begin_and_end_with_the_write(live: Live) -> None:
    live.write("PUT", "/consumers/grouped")
    live.write("POST", "/consumers/grouped/key-auth", key="grouped")
    for _ in range(6):
        live.write("POST", "/consumers/grouped/acls", group="bad")
        assert live.statuses("/key", "apikey: grouped") == {403}
        live.write("DELETE", "/consumers/grouped/acls/bad")
        assert live.statuses("/key", "apikey: grouped") == {200}


def test_passwords_end_with_the_write(live: Live) -> None:
    live.write("PUT", "/consumers/p")
    credential = live.write("POST", "/consumers/p/basic-auth", **{"username": "u", "password": "p-0"})["id"]
    for number in range(6):
        assert live.statuses("/basic", basic(f"p-{number}")) == {200}
        live.write("PATCH", f"/consumers/p/basic-auth/{credential}", password=f"p-{number + 1}")
        assert live.statuses("/basic", basic(f"p-{number}")) == {401}
    live.write("DELETE", f"/consumers/p/basic-auth/{credential}")
    assert live.statuses("/basic", basic("p-6")) == {401}
