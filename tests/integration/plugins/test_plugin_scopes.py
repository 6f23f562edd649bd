"""Which configuration of a plugin applies, and what still runs when one has answered (proxying.md §8)."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.client import Client, Response
from tests.support.plugged import Plugged, plugin
from tests.support.upstreams import Upstream, response, serve_raw

ROUTES = {"r1": "s1", "r2": "s1", "r3": "s2", "alone": None}
"""name of a route -> its service"""
CONSUMERS = ("bob", "eve", "anon")

PRECEDENCE = (
    ("route", "service", "consumer"),
    ("route", "consumer"),
    ("service", "consumer"),
    ("route", "service"),
    ("consumer",),
    ("route",),
    ("service",),
    (),
)
"""What a configuration is restricted to, the most specific first."""
Scope = frozenset[tuple[str, str]]
"""What a configuration is restricted to: kind and name"""


def identifier(name: str) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, name))


def label_of(scope: Scope) -> str:
    return "+".join(sorted(name for _, name in scope)) or "everything"


def scoped(name: str, scope: Scope = frozenset(), *, enabled: bool = True, **config: Any) -> dict[str, Any]:
    """A plugin of a document, restricted to `scope`."""
    return {**plugin(name, **config), "enabled": enabled, **{kind: identifier(who) for kind, who in scope}}


def stop(scope: Scope, **fields: Any) -> dict[str, Any]:
    """A plugin that answers with what it is restricted to."""
    return scoped("request-termination", scope, status_code=200, message=label_of(scope), **fields)


def configure(plugged: Plugged, *plugins: dict[str, Any], anonymous: str | None = "anon") -> None:
    """Two services, their routes, consumers with keys of their names; key-auth for everybody."""
    upstream = {"host": "127.0.0.1", "port": plugged.behind.port}
    plugged.gateway.configure(
        {
            "services": [{"id": identifier(name), "name": name, **upstream} for name in ("s1", "s2")],
            "routes": [
                {
                    "id": identifier(name),
                    "name": name,
                    "paths": [f"/{name}"],
                    **({"service": identifier(service)} if service else {}),
                }
                for name, service in ROUTES.items()
            ],
            "consumers": [
                {"id": identifier(name), "username": name, "keyauth_credentials": [{"key": name}]}
                for name in CONSUMERS
            ],
            "plugins": [plugin("key-auth", anonymous=anonymous), *plugins],
        }
    )


def applies(scopes: set[Scope], route: str, consumer: str) -> str | None:
    """Kong's rule, written down once more."""
    met = {("route", route), ("consumer", consumer), ("service", ROUTES[route] or "")}
    for kinds in PRECEDENCE:
        for scope in scopes:
            if scope <= met and {kind for kind, _ in scope} == set(kinds):
                return label_of(scope)
    return None


def ask(client: Client, route: str, consumer: str) -> str | None:
    """What the plugin that applies says; None: the request went on."""
    key = [] if consumer == "anon" else [f"apikey: {consumer}"]
    answer = client.request(f"/{route}", *key).response()
    if answer.body.startswith(b'{"message":'):
        return answer.body.decode().split('"')[3]
    assert answer.status == (200 if ROUTES[route] else 503)
    return None


def found(plugged: Plugged) -> dict[tuple[str, str], str | None]:
    """What is answered to each consumer on each route."""
    client = Client(plugged.gateway.proxy_port)
    answers = {(route, consumer): ask(client, route, consumer) for route in ROUTES for consumer in CONSUMERS}
    client.close()
    return answers


def expected(scopes: set[Scope]) -> dict[tuple[str, str], str | None]:
    return {(route, consumer): applies(scopes, route, consumer) for route in ROUTES for consumer in CONSUMERS}


# --- precedence --------------------------------------------------------------------------------------------
def scope_of(kinds: tuple[str, ...]) -> Scope:
    names = {"route": "r1", "service": "s1", "consumer": "bob"}
    return frozenset((kind, names[kind]) for kind in kinds)


def test_all_eight_levels_one_after_the_other(plugged: Plugged) -> None:
    """Each level is seen as soon as those above it are gone."""
    for level in range(len(PRECEDENCE)):
        scopes = {scope_of(kinds) for kinds in PRECEDENCE[level:]}
        configure(plugged, *map(stop, scopes))
        answers = found(plugged)
        assert answers == expected(scopes)
        assert answers["r1", "bob"] == label_of(scope_of(PRECEDENCE[level]))


@pytest.mark.parametrize("level", range(len(PRECEDENCE) - 1))
def test_a_disabled_configuration_is_as_absent(plugged: Plugged, level: int) -> None:
    """The next specific one applies."""
    scopes = [scope_of(kinds) for kinds in PRECEDENCE]
    configure(plugged, *(stop(scope, enabled=place > level) for place, scope in enumerate(scopes)))
    assert found(plugged) == expected(set(scopes[level + 1 :]))


names = {
    "route": st.sampled_from(sorted(ROUTES)),
    "service": st.sampled_from(["s1", "s2"]),
    "consumer": st.sampled_from(CONSUMERS),
}
any_scope = st.sampled_from(PRECEDENCE).flatmap(
    lambda kinds: st.tuples(*(names[kind].map(lambda name, kind=kind: (kind, name)) for kind in kinds)).map(
        frozenset
    )
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(scopes=st.sets(any_scope, max_size=14))
def test_any_configurations(plugged: Plugged, scopes: set[Scope]) -> None:
    configure(plugged, *map(stop, scopes))
    assert found(plugged) == expected(scopes)


def test_the_consumer_counts_only_once_it_is_known(plugged: Plugged) -> None:
    """correlation-id runs before key-auth: its response function goes on with what it has begun with."""
    bob = frozenset({("consumer", "bob")})
    configure(
        plugged,
        scoped("correlation-id", header_name="X-All", echo_downstream=True),
        scoped("correlation-id", bob, header_name="X-Bob", echo_downstream=True),
        scoped("ip-restriction", bob, deny=["127.0.0.1"]),
    )
    answer = plugged.request("/r1", "apikey: bob")
    assert (answer.status, answer.message) == (403, "IP address not allowed: 127.0.0.1")
    assert answer.response.get("x-all")
    assert answer.response.get("x-bob") is None
    assert plugged.request("/r1", "apikey: eve").status == 200


@pytest.mark.parametrize(("protocols", "runs"), [(["https"], True), (["grpc"], True), (["tcp"], False)])
def test_protocols(plugged: Plugged, protocols: list[str], runs: bool) -> None:
    """As in Kong, they only tell requests from streams."""
    configure(
        plugged,
        {**scoped("ip-restriction", deny=["127.0.0.1"]), "protocols": protocols},
    )
    assert plugged.request("/r1").status == (403 if runs else 200)


# --- what a short-circuit leaves ---------------------------------------------------------------------------
def cors_and_marks(**fields: Any) -> list[dict[str, Any]]:
    """Plugins before and behind authentication that add something to responses."""
    return [
        scoped("cors", **fields),
        scoped("correlation-id", echo_downstream=True),
        scoped("response-transformer", add={"headers": ["X-Mark:everybody"]}),
        scoped("response-transformer", frozenset({("consumer", "bob")}), add={"headers": ["X-Mark:bob"]}),
    ]


def marks(answer: Response) -> tuple[str | None, str | None, bool]:
    return (
        answer.get("access-control-allow-origin"),
        answer.get("x-mark"),
        bool(answer.get("kong-request-id")),
    )


def test_response_functions_run_after_any_answer(plugged: Plugged) -> None:
    configure(plugged, *cors_and_marks(), anonymous=None)
    refused = plugged.request("/r1")
    assert (refused.status, marks(refused.response)) == (401, ("*", "everybody", True))
    passed = plugged.request("/r1", "apikey: eve")
    assert (passed.status, marks(passed.response)) == (200, ("*", "everybody", True))
    no_service = plugged.request("/alone", "apikey: eve")
    assert (no_service.status, marks(no_service.response)) == (503, ("*", "everybody", True))


def test_what_runs_after_an_answer_knows_the_consumer_that_was_found(plugged: Plugged) -> None:
    configure(plugged, *cors_and_marks(), scoped("ip-restriction", deny=["127.0.0.1"]))
    assert marks(plugged.request("/r1", "apikey: bob").response) == ("*", "bob", True)
    assert marks(plugged.request("/r1").response) == ("*", "everybody", True)


def test_access_functions_do_not_run_after_an_answer(plugged: Plugged) -> None:
    """The limit is not used up by what never reaches it."""
    limit = scoped("rate-limiting", year=1)
    configure(plugged, limit, scoped("ip-restriction", frozenset({("route", "r1")}), deny=["127.0.0.1"]))
    assert [plugged.request("/r1").status for _ in range(5)] == [403] * 5
    assert plugged.request("/r2").response.get("x-ratelimit-remaining-year") == "0"


def test_no_plugin_that_answers_is_asked_without_a_route(plugged: Plugged) -> None:
    """Only response functions of what is for everything."""
    configure(plugged, *cors_and_marks(), stop(frozenset()), anonymous=None)
    answer = plugged.request("/none")
    assert (answer.status, answer.message) == (404, "no Route matched with those values")
    assert marks(answer.response) == ("*", "everybody", True)


def test_errors_of_upstreams_and_of_the_gateway(plugged: Plugged) -> None:
    with Upstream(serve_raw(b"nonsense\r\n\r\n", close=True)) as broken:
        behind = Plugged(plugged.gateway, broken)
        configure(behind, *cors_and_marks())
        with Client(plugged.gateway.proxy_port) as client:
            answer = client.request("/r1").response()
            assert (answer.status, marks(answer)) == (502, ("*", "everybody", True))
    with Client(plugged.gateway.proxy_port) as client:
        answer = client.request("/r1").response()
        assert (answer.status, marks(answer)) == (502, ("*", "everybody", True)), "nobody listens there now"


def test_the_responses_of_one_connection_do_not_mix(plugged: Plugged) -> None:
    """What a plugin said about one request is not there for the next one, pipelined or not."""
    with Upstream(serve_raw(response(b"x", "200 OK", b"X-Own: 1"))) as upstream:
        behind = Plugged(plugged.gateway, upstream)
        configure(behind, *cors_and_marks(), stop(frozenset({("route", "r2")})))
        client = Client(plugged.gateway.proxy_port)
        for _ in range(3):
            client.request("/r1", "apikey: bob").request("/r2", "apikey: eve").request("/none")
            answers = [client.response() for _ in range(3)]
            assert [answer.status for answer in answers] == [200, 200, 404]
            assert [answer.get("x-mark") for answer in answers] == ["bob", "everybody", "everybody"]
            assert [answer.get("x-own") for answer in answers] == ["1", None, None]
        client.close()
