"""Sixteen clients that write at once, on every store that takes writes: the rules hold, no request fails."""

from __future__ import annotations

import http.client
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest

from tests.support.gateway import Gateway
from tests.support.stores import WRITABLE_STORES, gateway_on

CLIENTS = 16
ROUNDS = 6


@pytest.fixture(scope="module", params=WRITABLE_STORES)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateway_on(request.param) as running:
        yield running


class Client:
    """Keeps its connection, so that many requests are under way at the same moment."""

    def __init__(self, gateway: Gateway) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", gateway.admin_port, timeout=60)

    def ask(self, method: str, path: str, value: Any = None) -> tuple[int, Any]:
        body = None if value is None else json.dumps(value).encode()
        headers = {} if body is None else {"Content-Type": "application/json"}
        self._connection.request(method, path, body, headers)
        response = self._connection.getresponse()
        text = response.read()
        assert response.status < 500, text
        return response.status, json.loads(text) if text else None

    def every(self, path: str) -> list[Any]:
        """All entities of a list."""
        found: list[Any] = []
        following: str | None = f"{path}?size=1000"
        while following:
            _, page = self.ask("GET", following)
            found += page["data"]
            following = page["next"]
        return found

    def close(self) -> None:
        self._connection.close()


def at_once(gateway: Gateway, work: Callable[[Client, int], Any]) -> list[Any]:
    """What `work` gives for each of the clients, which begin together."""
    barrier = threading.Barrier(CLIENTS)

    def run(number: int) -> Any:
        client = Client(gateway)
        try:
            barrier.wait(30)
            return work(client, number)
        finally:
            client.close()

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(run, range(CLIENTS)))


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Client]:
    one = Client(gateway)
    yield one
    one.close()


def test_a_name_has_one_winner(gateway: Gateway, client: Client) -> None:
    def make(name: str, one: Client, number: int) -> tuple[int, Any]:
        return one.ask("POST", "/consumers", {"username": name})

    for attempt in range(ROUNDS):
        name = f"winner-{attempt}"
        answers = at_once(gateway, partial(make, name))
        assert Counter(status for status, _ in answers) == {201: 1, 409: CLIENTS - 1}
        (winner,) = (value for status, value in answers if status == 201)
        assert client.ask("GET", f"/consumers/{name}") == (200, winner)


def test_a_combination_has_one_winner(gateway: Gateway, client: Client) -> None:
    client.ask("POST", "/upstreams", {"name": "pool"})
    answers = at_once(
        gateway,
        lambda one, number: one.ask("POST", "/upstreams/pool/targets", {"target": f"h{number % 4}:1"}),
    )
    assert Counter(status for status, _ in answers) == {201: 4, 409: CLIENTS - 4}
    assert len(client.every("/upstreams/pool/targets")) == 4


def test_put_of_one_name_makes_one_entity(gateway: Gateway, client: Client) -> None:
    def put(path: str, one: Client, number: int) -> tuple[int, Any]:
        return one.ask("PUT", path, {"host": f"h{number}"})

    for attempt in range(ROUNDS):
        path = f"/services/put-{attempt}"
        answers = at_once(gateway, partial(put, path))
        assert {status for status, _ in answers} == {200}
        assert len({value["id"] for _, value in answers}) == 1
        _, stored = client.ask("GET", path)
        assert stored["host"] in {value["host"] for _, value in answers}


@dataclass(frozen=True)
class Family:
    """A parent that is removed while children are made for it."""

    collection: str
    parent: dict[str, Any]
    nested: str
    child: dict[str, Any]


CONSUMER_WITH_KEYS = Family("consumers", {"username": "p"}, "key-auth", {})
SERVICE_WITH_ROUTES = Family("services", {"name": "p", "host": "h"}, "routes", {"paths": ["/x"]})


def race(family: Family, one: Client, number: int) -> tuple[str, int]:
    """One of the clients removes the parent."""
    if number == 7:
        return "remove", one.ask("DELETE", f"/{family.collection}/p")[0]
    return "make", one.ask("POST", f"/{family.collection}/p/{family.nested}", family.child)[0]


def test_children_go_with_their_parent(gateway: Gateway, client: Client) -> None:
    for _ in range(ROUNDS):
        _, parent = client.ask("POST", "/consumers", CONSUMER_WITH_KEYS.parent)
        results = Counter(at_once(gateway, partial(race, CONSUMER_WITH_KEYS)))
        assert results["remove", 204] == 1
        assert results["make", 201] + results["make", 404] == CLIENTS - 1
        left = [key for key in client.every("/key-auths") if key["consumer"]["id"] == parent["id"]]
        assert left == [], "no child without its parent"


def test_a_parent_that_is_needed_stays(gateway: Gateway, client: Client) -> None:
    for _ in range(ROUNDS):
        _, parent = client.ask("POST", "/services", SERVICE_WITH_ROUTES.parent)
        results = Counter(at_once(gateway, partial(race, SERVICE_WITH_ROUTES)))
        routes = [
            route
            for route in client.every("/routes")
            if route["service"] and route["service"]["id"] == parent["id"]
        ]
        if results["remove", 204]:
            assert results["make", 404] == CLIENTS - 1
            assert routes == []
        else:
            assert results["make", 201] == len(routes) == CLIENTS - 1
        for route in routes:
            assert client.ask("DELETE", f"/routes/{route['id']}")[0] == 204
        client.ask("DELETE", "/services/p")


def test_changes_of_different_fields_are_not_lost(gateway: Gateway, client: Client) -> None:
    client.ask("PUT", "/services/shared", {"host": "h"})
    fields = ["retries", "port", "connect_timeout", "write_timeout"]

    def change(one: Client, number: int) -> int:
        values = {fields[number % 4]: 100 + number}
        return one.ask("PATCH", "/services/shared", values)[0]

    assert set(at_once(gateway, change)) == {200}
    _, stored = client.ask("GET", "/services/shared")
    for position, name in enumerate(fields):
        assert stored[name] in {100 + number for number in range(position, CLIENTS, 4)}


def test_everything_at_once(gateway: Gateway, client: Client) -> None:
    """A mixture of writes on few names: afterwards every reference leads somewhere and every name is once."""

    def work(one: Client, number: int) -> Counter[int]:
        statuses: Counter[int] = Counter()
        for step in range(25):
            name = f"mix-{(number + step) % 5}"
            method, path, value = [
                ("PUT", f"/services/{name}", {"host": "h", "tags": ["mix"]}),
                ("POST", f"/services/{name}/routes", {"name": f"{name}-r", "paths": ["/"], "tags": ["mix"]}),
                ("POST", "/routes", {"paths": ["/"], "service": {"name": name}, "tags": ["mix"]}),
                ("DELETE", f"/services/{name}", None),
                ("PATCH", f"/routes/{name}-r", {"service": {"name": f"mix-{step % 5}"}}),
                ("DELETE", f"/routes/{name}-r", None),
                ("PUT", f"/services/{name}/routes/{name}-r", {"paths": ["/y"], "tags": ["mix"]}),
            ][(number * 3 + step) % 7]
            statuses[one.ask(method, path, value)[0]] += 1
        return statuses

    total = sum(at_once(gateway, work), Counter())
    assert total.total() == CLIENTS * 25
    assert total.keys() <= {200, 201, 204, 400, 404, 409}
    services = {service["id"]: service["name"] for service in client.every("/services")}
    assert max(Counter(services.values()).values()) == 1
    routes = client.every("/routes")
    assert all(route["service"]["id"] in services for route in routes if route["service"])
    names = Counter(route["name"] for route in routes if route["name"])
    assert not names or max(names.values()) == 1
