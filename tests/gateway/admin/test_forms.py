"""Form fields become the values that the declarations of the fields ask for."""

from __future__ import annotations

import json
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway import plugins
from gateway.admin.forms import form_values, segments_of
from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import Array, Integer, Map, Set, Text
from gateway.entities.record import Group, Record, check_entity
from gateway.plugins import PluginDefinition

SERVICE, ROUTE, UPSTREAM, PLUGIN, CONSUMER, SNI, CERTIFICATE, KEY = (
    ENTITY_TYPES[name]
    for name in ("services", "routes", "upstreams", "plugins", "consumers", "snis", "certificates", "keys")
)
ID = "5f1d8b4e-6c0a-4a7e-9a51-0c9a2d4f6b11"


class Limit(Record, frozen=True, kw_only=True):
    minute: Annotated[int | None, Integer("How many a minute.")] = None


class Redis(Record, frozen=True, kw_only=True):
    port: Annotated[int | None, Integer("The port.")] = None


class Config(Record, frozen=True, kw_only=True):
    """A configuration with one of everything."""

    redis: Annotated[Redis | None, Group("Where Redis is.", record=Redis)] = None
    limits: Annotated[
        dict[str, Any] | None, Map("Limits.", keys=Text("Name."), values=Group("Limit.", record=Limit))
    ] = None
    headers: Annotated[dict[str, str] | None, Map("Headers.", keys=Text("Name."), values=Text("Value."))] = (
        None
    )
    response_code: Annotated[
        list[int] | None, Array("Codes.", elements=Integer("Code.", between=(100, 900)))
    ] = None
    methods: Annotated[
        list[str] | None, Set("Methods.", elements=Text("Method.", one_of=("GET", "POST", "OPTIONS")))
    ] = None
    message: Annotated[list[str] | None, Array("Texts.", elements=Text("Text."))] = None


@pytest.fixture(autouse=True)
def _one_plugin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(plugins.AVAILABLE, "example", PluginDefinition("example", Config))


def form(text: str) -> list[tuple[str, str]]:
    """`a=1&b=2` without any decoding."""
    return [(name, value) for name, _, value in (pair.partition("=") for pair in text.split("&"))]


@pytest.mark.parametrize(
    ("name", "segments"),
    [
        ("name", ["name"]),
        ("a.b.c", ["a", "b", "c"]),
        ("paths[]", ["paths"]),
        ("paths[1]", ["paths", "1"]),
        ("headers[x-y]", ["headers", "x-y"]),
        ("a.b[c].d[2]", ["a", "b", "c", "d", "2"]),
        ("a[b][]", ["a", "b"]),
        # Not built like a name: one that no field has.
        ("", [""]),
        (".", ["."]),
        ("a..b", ["a..b"]),
        ("a.", ["a."]),
        ("a[", ["a["]),
        ("a[b", ["a[b"]),
        ("a]b", ["a]b"]),
        ("a[[b]]", ["a[[b]]"]),
        ("a[]b", ["a[]b"]),
        ("a[].b", ["a[].b"]),
        ("[a]", ["[a]"]),
        (".".join("a" * 17), [".".join("a" * 17)]),
    ],
)
def test_names(name: str, segments: list[str]) -> None:
    assert segments_of(name) == segments


@pytest.mark.parametrize(
    ("kind", "text", "values"),
    [
        (
            SERVICE,
            "name=s&port=81&enabled=false&retries=",
            {"name": "s", "port": 81, "enabled": False, "retries": None},
        ),
        (SERVICE, "url=http://h:80/a,b", {"url": "http://h:80/a,b"}),
        (SERVICE, "port=1e2&read_timeout=5.0", {"port": 100, "read_timeout": 5}),
        # What is no number or boolean stays a text, for the check to complain about.
        (SERVICE, "port=x&enabled=True", {"port": "x", "enabled": "True"}),
        (
            SERVICE,
            "port=0x10&retries=1_0&read_timeout=inf",
            {"port": "0x10", "retries": "1_0", "read_timeout": "inf"},
        ),
        (SERVICE, "port=1e999", {"port": "1e999"}),
        (SERVICE, "name=a&name=b", {"name": ["a", "b"]}),
        (SERVICE, "nonsense.x=1&more=2", {"nonsense": {"x": "1"}, "more": "2"}),
        (SERVICE, "tags=a", {"tags": ["a"]}),
        (SERVICE, "tags=", {"tags": None}),
        (SERVICE, "tags[]=a&tags[]=b", {"tags": ["a", "b"]}),
        (SERVICE, "tags=a&tags=b", {"tags": ["a", "b"]}),
        (SERVICE, "tags=a, b,,c", {"tags": ["a", "b", "c"]}),
        (ROUTE, "paths[2]=/b&paths[1]=/a&paths[10]=/j", {"paths": ["/a", "/b", "/j"]}),
        (ROUTE, "paths[1]=/a&paths[]=/z", {"paths": ["/a", "/z"]}),
        (ROUTE, "paths.x=/a", {"paths": {"x": "/a"}}),
        (
            ROUTE,
            "methods=GET, POST&hosts=a.com,b.com",
            {"methods": ["GET", "POST"], "hosts": ["a.com", "b.com"]},
        ),
        # A comma is a character of paths: as in Kong, nothing is split that is right as it is.
        (ROUTE, "paths=/a,/b", {"paths": ["/a,/b"]}),
        (ROUTE, "paths[]=~/x{1,2}$", {"paths": ["~/x{1,2}$"]}),
        (ROUTE, "headers.x-y=1&headers[x-z]=2", {"headers": {"x-y": ["1"], "x-z": ["2"]}}),
        (ROUTE, "headers.x-y[]=1&headers.x-y[]=2", {"headers": {"x-y": ["1", "2"]}}),
        (ROUTE, "headers.x-y[1]=1&headers.x-y[2]=2", {"headers": {"x-y": ["1", "2"]}}),
        (ROUTE, "headers.x.y=1", {"headers": {"x.y": ["1"]}}),
        (ROUTE, "sources[1].ip=1.2.3.4&sources[1].port=5", {"sources": [{"ip": "1.2.3.4", "port": 5}]}),
        (ROUTE, "service.id=" + ID, {"service": {"id": ID}}),
        (ROUTE, "service.name=s", {"service": {"name": "s"}}),
        (ROUTE, "service=" + ID, {"service": {"id": ID}}),
        (ROUTE, "service=s", {"service": {"name": "s"}}),
        (ROUTE, "service=", {"service": None}),
        (SNI, "name=a.com&certificate=" + ID, {"name": "a.com", "certificate": {"id": ID}}),
        (SNI, "certificate=nonsense", {"certificate": {"id": "nonsense"}}),
        (CERTIFICATE, "snis[]=a.com&snis[]=b.com", {"snis": ["a.com", "b.com"]}),
        (CERTIFICATE, "snis=a.com,b.com", {"snis": ["a.com", "b.com"]}),
        (
            UPSTREAM,
            "healthchecks.active.healthy.interval=5",
            {"healthchecks": {"active": {"healthy": {"interval": 5}}}},
        ),
        (
            UPSTREAM,
            "healthchecks.passive.unhealthy.http_statuses=500,503",
            {"healthchecks": {"passive": {"unhealthy": {"http_statuses": [500, 503]}}}},
        ),
        (UPSTREAM, "healthchecks=x", {"healthchecks": "x"}),
        (KEY, "pem.public_key=k&pem.private_key=", {"pem": {"public_key": "k", "private_key": None}}),
        (
            PLUGIN,
            "name=example&config.redis.port=6379",
            {"name": "example", "config": {"redis": {"port": 6379}}},
        ),
        (
            PLUGIN,
            "config.limits.sms.minute=20&config.limits[video][minute]=5&name=example",
            {"name": "example", "config": {"limits": {"sms": {"minute": 20}, "video": {"minute": 5}}}},
        ),
        (
            PLUGIN,
            "name=example&config.headers.x.y=b",
            {"name": "example", "config": {"headers": {"x.y": "b"}}},
        ),
        (
            PLUGIN,
            "name=example&config.response_code=200,404",
            {"name": "example", "config": {"response_code": [200, 404]}},
        ),
        (
            PLUGIN,
            "name=example&config.methods=GET, POST",
            {"name": "example", "config": {"methods": ["GET", "POST"]}},
        ),
        (PLUGIN, "name=example&config.message=a, b", {"name": "example", "config": {"message": ["a, b"]}}),
        (PLUGIN, "name=example&config.nonsense=1", {"name": "example", "config": {"nonsense": "1"}}),
        (PLUGIN, "name=example&config=", {"name": "example", "config": None}),
        # A plugin that is not here: nothing is known of its configuration.
        (PLUGIN, "name=other&config.minute=5", {"name": "other", "config": {"minute": "5"}}),
        (PLUGIN, "config.minute=5", {"config": {"minute": "5"}}),
        (PLUGIN, "consumer.username=bob", {"consumer": {"username": "bob"}}),
        (CONSUMER, "username=5&custom_id=true", {"username": "5", "custom_id": "true"}),
    ],
)
def test_values(kind: Any, text: str, values: dict[str, Any]) -> None:
    assert form_values(kind, form(text)) == values


def test_a_change_of_a_plugin_need_not_name_it() -> None:
    values = form_values(PLUGIN, form("config.redis.port=1"), {"name": "example"})
    assert values == {"config": {"redis": {"port": 1}}}


def test_plus_signs_of_a_pem_block_that_were_not_encoded_come_back() -> None:
    block = "-----BEGIN PUBLIC KEY-----\nab cd/ef \n gh==\n-----END PUBLIC KEY-----"
    text = form_values(KEY, [("pem.public_key", block)])["pem"]["public_key"]
    assert text == "-----BEGIN PUBLIC KEY-----\nab+cd/ef+\n+gh==\n-----END PUBLIC KEY-----"
    headed = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\na b\n-----END RSA PRIVATE KEY-----\n"
    assert form_values(KEY, [("pem.private_key", headed)])["pem"]["private_key"] == headed.replace(
        "a b", "a+b"
    )
    one_line = "-----BEGIN PUBLIC KEY----- ab cd -----END PUBLIC KEY-----"
    assert form_values(KEY, [("kid", one_line)]) == {"kid": one_line}
    two = f"a b\n{block}\nc d{block}e f"
    restored = text.join(("a b\n", "\nc d", "e f"))
    assert form_values(KEY, [("pem.public_key", two)])["pem"]["public_key"] == restored


def test_beginnings_of_pem_blocks_without_an_end_cost_little() -> None:
    """A quadratic search took a minute for this."""
    text = "-----BEGIN A-----\n" * 50_000
    assert form_values(KEY, [("kid", text)]) == {"kid": text}


NAMES = st.text(st.sampled_from("ab.[]1-"), max_size=12) | st.sampled_from(
    [
        "paths",
        "paths[]",
        "headers",
        "headers.a",
        "service",
        "service.name",
        "sources[1].ip",
        "config.redis.port",
    ]
)


@given(
    st.sampled_from(sorted(ENTITY_TYPES)),
    st.lists(
        st.tuples(NAMES, st.text(max_size=8) | st.sampled_from(["", "1", "a,b", "true", ","])), max_size=8
    ),
)
def test_whatever_a_form_says_becomes_values_that_can_be_checked(
    type_name: str, pairs: list[tuple[str, str]]
) -> None:
    values = form_values(ENTITY_TYPES[type_name], pairs)
    json.dumps(values)
    check_entity(ENTITY_TYPES[type_name], values)


@given(st.lists(st.from_regex(r"/[a-z]{1,8}", fullmatch=True), min_size=1, max_size=20))
def test_every_way_to_write_a_list_means_the_same(paths: list[str]) -> None:
    bracketed = [("paths[]", path) for path in paths]
    repeated = [("paths", path) for path in paths]
    numbered = [(f"paths[{number}]", path) for number, path in enumerate(paths, 1)]
    for pairs in (bracketed, repeated, numbered, numbered[::-1]):
        assert form_values(ROUTE, pairs) == {"paths": paths}


@given(st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_numbers_are_read_back(number: float) -> None:
    text = repr(number)
    found = form_values(UPSTREAM, [("healthchecks.threshold", text)])["healthchecks"]["threshold"]
    assert found in (number, text), "a number, or as it was written"
    if 1e-3 < abs(number) < 1e15:
        assert found == number
