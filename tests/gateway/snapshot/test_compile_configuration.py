import copy
import sys
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.entities.fields import Reference
from gateway.entities.routes import Route
from gateway.entities.services import Service
from gateway.entities.upstreams import Upstream
from gateway.settings import load_settings
from gateway.snapshot import ConfigurationCompiler, compile_configuration
from gateway.store.configuration import Configuration
from native.router import Router
from native.snapshot import ProtocolBit, RouteFlag, describe, peer_key
from native.uri import upstream_path

HASH = "0123456789abcdef" * 2


def an_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def service(number: int, **fields) -> Service:
    return Service(
        **{"id": an_id(number), "created_at": 1, "updated_at": 1, "host": f"h{number}.test"} | fields
    )


def route(number: int, **fields) -> Route:
    return Route(**{"id": an_id(number), "created_at": number, "updated_at": number, "paths": ["/"]} | fields)


def compiled(*entities, metric_slots=None, **flags) -> bytes:
    chosen = load_settings(None, {}, flags)
    slots = metric_slots or {}
    return compile_configuration(Configuration(entities, HASH), chosen, number=3, metric_slots=slots)


def test_empty_configuration():
    data = compile_configuration(Configuration.EMPTY, load_settings(None, {}, {}), number=1, metric_slots={})
    described = describe(data)
    assert described["configuration_hash"] == "0" * 32
    assert described["services"] == described["routes"] == []
    assert Router(data).match(path="/") is None


def test_services():
    data = compiled(
        service(1, name="one", protocol="https", host="a.test", port=8443, path="/base", retries=0),
        service(2, host="b.test", connect_timeout=1, read_timeout=2, write_timeout=3),
        service(3, host="balanced"),
        service(4, host="2001:db8::1", port=81),
        service(5, retries=None, connect_timeout=None),
        Upstream(id=an_id(9), created_at=1, updated_at=1, name="balanced"),
    )
    described = describe(data)
    assert described["number"] == 3
    assert described["configuration_hash"] == HASH
    one, two, three, four, five = described["services"]
    assert one == {
        "id": an_id(1),
        "name": "one",
        "host": "a.test",
        "host_header": "a.test:8443",
        "path": "/base",
        "peer_key": peer_key("host:a.test:8443"),
        "connect_timeout_ms": 60000,
        "read_timeout_ms": 60000,
        "write_timeout_ms": 60000,
        "port": 8443,
        "retries": 0,
        "protocol": ProtocolBit.PROTOCOL_HTTPS,
        "is_upstream": 0,
    }
    assert (two["host_header"], two["path"], two["name"]) == ("b.test", "/", "")
    assert [two[f"{kind}_timeout_ms"] for kind in ("connect", "read", "write")] == [1, 2, 3]
    assert (three["host_header"], three["is_upstream"]) == ("", 1)
    assert three["peer_key"] == peer_key("upstream:balanced")
    assert four["host_header"] == "[2001:db8::1]:81"
    assert (five["retries"], five["connect_timeout_ms"]) == (5, 60000)


def test_routes():
    data = compiled(
        service(1),
        route(11, name="r", service=Reference(an_id(1)), https_redirect_status_code=308, protocols=["https"]),
        route(
            12,
            strip_path=False,
            preserve_host=True,
            request_buffering=False,
            response_buffering=False,
            path_handling="v1",
        ),
        metric_slots={an_id(11): 7},
    )
    first, second = describe(data)["routes"]
    assert first == {
        "id": an_id(11),
        "name": "r",
        "service": 0,
        "metrics_slot": 7,
        "https_redirect_status": 308,
        "protocols": ProtocolBit.PROTOCOL_HTTPS,
        "flags": RouteFlag.ROUTE_STRIP_PATH
        | RouteFlag.ROUTE_REQUEST_BUFFERING
        | RouteFlag.ROUTE_RESPONSE_BUFFERING,
        "plan_offset": 0,
    }
    # without a service; path_handling v1 is v0 in Kong's default router flavor
    assert second["service"] is None
    assert second["flags"] == RouteFlag.ROUTE_PRESERVE_HOST
    assert second["metrics_slot"] == 0


def test_left_out():
    data = compiled(
        service(1, enabled=False),
        service(2, protocol="tcp"),
        service(3),
        route(11, service=Reference(an_id(1))),
        route(12, service=Reference(an_id(2))),
        route(13, protocols=["tcp"], paths=None, sources=None),
        route(14, protocols=["tls_passthrough"], paths=None, snis=["a.test"]),
        route(15, service=Reference(an_id(3))),
    )
    described = describe(data)
    assert [one["id"] for one in described["services"]] == [an_id(3)]
    assert [one["id"] for one in described["routes"]] == [an_id(15)]
    assert Router(data).match(path="/")["service"] == 0


def test_routes_for_grpc_alone_are_found_by_any_request():
    data = compiled(
        service(1, protocol="grpc"),
        route(
            11, service=Reference(an_id(1)), protocols=["grpc", "grpcs"], strip_path=False, paths=["/hello"]
        ),
        route(12, paths=["/"]),
    )
    grpc, _ = describe(data)["routes"]
    assert grpc["protocols"] == ProtocolBit.PROTOCOL_GRPC | ProtocolBit.PROTOCOL_GRPCS
    assert Router(data).match(path="/hello/x")["route"] == 0
    assert Router(data).match(path="/hell")["route"] == 1


@pytest.mark.parametrize(
    ("flavor", "handling", "kept"),
    [
        ("traditional", "v1", True),
        ("traditional", "v0", False),
        ("traditional_compatible", "v1", False),
        ("traditional_compatible", "v0", False),
    ],
)
def test_only_the_traditional_router_knows_path_handling_v1(flavor, handling, kept):
    data = compiled(route(11, path_handling=handling), router_flavor=flavor)
    assert bool(describe(data)["routes"][0]["flags"] & RouteFlag.ROUTE_PATH_HANDLING_V1) is kept


# the table of reference/proxying.md §2, column v1: service's path, route's path, strip_path, request, result
V1_PATHS = [
    ("/", "/route", False, "/route/x", "/route/x"),
    ("/", "/route", True, "/route", "/"),
    ("/", "/route", True, "/route/", "/"),
    ("/", "/route", True, "/routereq", "/req"),
    ("/srv", "/rou", False, "/roureq", "/srvroureq"),
    ("/srv", "/rou", True, "/roureq", "/srvreq"),
    ("/srv/", "/rou", True, "/rou", "/srv/"),
    ("/service", "/route", True, "/route", "/service"),
    ("/service", "/route", True, "/route/", "/service/"),
    ("/service", "/route", True, "/route/a", "/service/a"),
    ("/service", "/route", False, "/route", "/serviceroute"),
    ("/service", "/route/", True, "/route/", "/service"),
    ("/service/", "/route/", True, "/route/r", "/service/r"),
    ("/service", "/", True, "/", "/service"),
    ("/service", "/", False, "/", "/service"),
    ("/service", None, True, "/", "/service"),
    ("/service/", "/", True, "/", "/service/"),
    ("/service/", "/", False, "/", "/service/"),
]


@pytest.mark.parametrize(("service_path", "route_path", "strip", "request_path", "expected"), V1_PATHS)
def test_path_handling_v1(service_path, route_path, strip, request_path, expected):
    """From the entities to the path for the upstream, by the steps a worker takes."""
    paths = {"paths": [route_path]} if route_path else {"paths": None, "methods": ["GET"]}
    data = compiled(
        service(1, path=None if service_path == "/" else service_path),
        route(11, service=Reference(an_id(1)), strip_path=strip, path_handling="v1", **paths),
        router_flavor="traditional",
    )
    described = describe(data)
    found = Router(data).match(path=request_path)
    flags = described["routes"][found["route"]]["flags"]
    stripped = found["matched_length"] if flags & RouteFlag.ROUTE_STRIP_PATH else 0
    sent = upstream_path(
        described["services"][found["service"]]["path"].encode(),
        request_path.encode(),
        stripped,
        bool(flags & RouteFlag.ROUTE_PATH_HANDLING_V1),
    )
    assert sent == expected.encode()


def test_equal_input_gives_equal_bytes():
    entities = [service(n) for n in range(1, 30)]
    entities += [route(100 + n, service=Reference(an_id(n)), paths=[f"/{n}"]) for n in range(1, 30)]
    assert compiled(*entities, trusted_ips="::/0") == compiled(*entities, trusted_ips="::/0")


# Entities that differ in one thing from another of the same id: any mixture of them is a configuration.
SERVICES = [
    service(n, **fields) for n in (1, 2, 3) for fields in ({}, {"host": "balanced"}, {"enabled": False})
]
UPSTREAM = Upstream(id=an_id(9), created_at=1, updated_at=1, name="balanced")
ROUTES = [
    route(number, **fields)
    for number in range(11, 15)
    for fields in (
        {},
        {"paths": ["/a", "/b", "~/c"], "service": Reference(an_id(1))},
        {"hosts": ["a.test", "*.b.test:81", "c.*"], "path_handling": "v1", "service": Reference(an_id(2))},
        {"headers": {"X-A": ["1", "~*2"]}, "methods": ["GET", "LIST"], "query_params": {"q": ["x"]}},
        {"protocols": ["tcp"], "paths": None, "sources": None},
    )
]


@st.composite
def configurations(draw) -> Configuration:
    def some(entities):
        return draw(st.lists(st.sampled_from(entities), unique_by=lambda entity: entity.id, max_size=4))

    chosen = [*some(SERVICES), *some(ROUTES), *draw(st.sampled_from([[], [UPSTREAM]]))]
    # sometimes equal but another object, as it comes from a file that was read again
    return Configuration([copy.copy(one) if draw(st.booleans()) else one for one in chosen], HASH)


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(configurations(), st.sampled_from(["traditional", "traditional_compatible"])), max_size=6
    )
)
def test_what_a_compiler_keeps_changes_nothing(history):
    compiler = ConfigurationCompiler()
    for number, (configuration, flavor) in enumerate(history):
        chosen = load_settings(None, {}, {"router_flavor": flavor})
        slots = {an_id(11): number}
        data = compiler.compile(configuration, chosen, number=number, metric_slots=slots)
        assert data == compile_configuration(configuration, chosen, number=number, metric_slots=slots)
        Router(data)


def test_a_compiler_keeps_nothing_of_what_is_gone():
    compiler = ConfigurationCompiler()
    chosen = load_settings(None, {}, {})
    one = route(11)
    references = sys.getrefcount(one)
    for entities in ([one], []):
        compiler.compile(Configuration(entities, HASH), chosen, number=1, metric_slots={})
    assert sys.getrefcount(one) == references


def test_a_pattern_that_does_not_compile_is_found_by_the_router():
    with pytest.raises(ValueError, match="regular expression"):
        Router(compiled(route(1, paths=["~/(a"])))
