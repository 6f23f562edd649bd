"""The recorded router table of ../shared/conformance against the matcher (by wire: replay_router.py)."""

import json
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
from router_support import route, router, service

from gateway.snapshot import compile_configuration
from native.regex import CompiledPattern
from native.router import Router
from native.uri import normalize, upstream_path

CASES = Path(__file__).parents[3] / "shared" / "conformance" / "router-cases.json"

MATCHED_ON = ("hosts", "paths", "methods", "headers", "snis")
ROUTE_FIELDS = (*MATCHED_ON, "id", "name", "protocols", "strip_path", "path_handling", "preserve_host")
HTTP = {"http", "https"}
# what a case may expect beside the route, and where this test looks for it
COMPARED = {"upstream_uri", "prefix", "route", "service"}


def recorded():
    return json.loads(CASES.read_text())["router"] if CASES.exists() else []


def not_applicable(case) -> str | None:
    """Why a case cannot be put to the matcher, or None."""
    protocols = {name for pair in case["routes"] for name in pair["route"].get("protocols") or HTTP}
    if protocols & {"tcp", "tls", "udp", "tls_passthrough"}:
        return "stream routes"
    if not case["request"].get("method"):
        return "no request in the case"
    if not ("route" in case["expect"] or case["expect"].get("fields") or "match" in case["expect"]):
        return "nothing expected"
    return None


@cache
def built(pairs: str) -> Router:
    routes = []
    for number, pair in enumerate(json.loads(pairs)):
        given = {name: pair["route"][name] for name in ROUTE_FIELDS if name in pair["route"]}
        routes.append(route(number, **(given | {"name": f"r{number}"})))
    return router(*routes)


def query_of(given):
    host, _, port = (given.get("host") or "").partition(":")
    https = given.get("scheme") == "https"
    headers = []
    for name, value in (given.get("headers") or {}).items():
        if name == "host":
            host, _, port = value.partition(":")
        headers += [(name, one) for one in (value if isinstance(value, list) else [value])]
    uri, _, query = given["uri"].partition("?")
    return {
        "method": given["method"],
        "host": host,
        "port": int(port or (443 if https else 80)),
        "path": normalize(uri.encode()),
        "query": query,
        "headers": headers,
        "https": https,
        "sni": given.get("sni"),
    }


def captures_of(pattern: str, found) -> dict[str, str | None]:
    """Kong's uri_captures: groups by number and by name; a group that took no part is absent or empty."""
    texts = [None if text is None else text.decode() for text in found["captures"]]
    named = CompiledPattern(pattern).names
    return {str(number): text for number, text in enumerate(texts)} | {
        name: texts[number] if number < len(texts) else None for name, number in named.items()
    }


@pytest.mark.skipif(not CASES.exists(), reason="../shared/conformance is not here")
@pytest.mark.parametrize("case", recorded(), ids=lambda case: str(case["id"]))
def test_recorded_case(case):
    if reason := not_applicable(case):
        pytest.skip(reason)
    query = query_of(case["request"])
    found = built(json.dumps(case["routes"])).match(**query)
    expect = case["expect"]
    if expect.get("match") is False:
        assert found is None
        return
    assert found is not None
    number = int(found["name"].removeprefix("r"))
    if "route" in expect:
        assert number == expect["route"]
    given = case["routes"][number]["route"]
    strip = found["matched_length"] if given.get("strip_path", True) else 0
    for name, value in expect.get("fields", {}).items():
        if name == "route":
            assert found["route_id"] == value["id"]
        elif name == "upstream_uri":
            base = (case["routes"][number].get("service") or {}).get("path") or "/"
            assert upstream_path(base.encode(), query["path"], strip) == value.encode()
        elif name == "prefix":
            assert (query["path"][:strip].decode() or None) == value
        elif name == "matches.uri_captures":
            # Kong leaves the captures out when a pattern has no groups
            assert value is None
            assert len(found["captures"]) <= 1
        elif name.startswith("matches.uri_captures."):
            captures = captures_of(given["paths"][0][1:], found)
            assert captures.get(name.removeprefix("matches.uri_captures.")) == value
        elif name == "matches.uri" and value is None:
            # the route does not look at the path
            assert not given.get("paths")
            assert found["matched_length"] == 0
        else:
            # fields of Kong's own match table that say what the route was matched by, or that the service
            # and its upstream decide and not the matcher
            assert name in ALIEN_FIELDS, name


ALIEN_FIELDS = {
    "matches.method",
    "matches.host",
    "matches.headers",
    "matches.uri",
    "service",
    "service.protocol",
    "upstream_host",
    "upstream_url_t.host",
    "upstream_url_t.port",
}


@pytest.mark.skipif(not CASES.exists(), reason="../shared/conformance is not here")
def test_every_case_is_accounted_for():
    reasons = Counter(not_applicable(case) or "applied" for case in recorded())
    assert reasons == {"applied": 201, "stream routes": 12, "no request in the case": 1}


def test_a_disabled_service_takes_its_routes_out():
    from router_support import configuration, settings

    given = configuration(route(1, paths=["/d"]), services=(service(enabled=False),))
    data = compile_configuration(given, settings(), number=1, metric_slots={})
    assert Router(data).match(path="/d") is None
