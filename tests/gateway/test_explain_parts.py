"""The parts of an explanation that need no gateway; the rest is in tests/integration/test_explain.py."""

from __future__ import annotations

import dataclasses
from ipaddress import IPv6Address
from typing import Any

import pytest

from gateway.explain import InvalidRequest, parse_request
from gateway.explain.plugins import known_after, rewriting
from gateway.explain.text import lines_of
from gateway.plugins import AVAILABLE, find_plugin
from gateway.snapshot.matchers import deciding_criterion, matchers_of
from tests.native.router_support import route


@pytest.mark.parametrize(
    ("url", "headers", "head"),
    [
        ("/a?b=c", (), b"GET /a?b=c HTTP/1.0\r\n\r\n"),
        ("http://a.test:81", (), b"GET / HTTP/1.1\r\nHost: a.test:81\r\n\r\n"),
        ("HTTPS://a.test?q#f", (), b"GET /?q HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ("http://me:secret@a.test/", (), b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n"),
        ("http://a.test/", (("host", "b.test"),), b"GET / HTTP/1.1\r\nhost: b.test\r\n\r\n"),
        ("/é b%20", (("X-A", "1"),), b"GET /%C3%A9%20b%20 HTTP/1.0\r\nX-A: 1\r\n\r\n"),
        ("*", (), b"GET * HTTP/1.0\r\n\r\n"),
    ],
)
def test_heads(url: str, headers: tuple[tuple[str, str], ...], head: bytes) -> None:
    assert parse_request("GET", url, headers).head() == head


def test_where_a_request_comes_from() -> None:
    assert str(parse_request("GET", "/").peer) == "127.0.0.1"
    assert parse_request("GET", "/", client_ip="::1").peer == IPv6Address("::1")
    assert parse_request("GET", "https://a.test/").tls
    assert not parse_request("GET", "http://a.test/").tls


@pytest.mark.parametrize(
    ("method", "url", "headers"),
    [
        ("G T", "/", ()),
        ("", "/", ()),
        ("GET", "", ()),
        ("GET", "a.test/", ()),
        ("GET", "http:///", ()),
        ("GET", "/" + "x" * 70000, ()),
        ("GET", "/", (("a b", "c"),)),
        ("GET", "/", (("a", "b\nc: d"),)),
        ("GET", "http://a\r\nb/", ()),
        ("GET", "/", (("a", "b"),) * 201),
    ],
)
def test_what_is_no_request(method: str, url: str, headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(InvalidRequest):
        parse_request(method, url, headers)


def place(step: str, name: str = "") -> dict[str, Any]:
    """One of a plan."""
    return {"step": step, "plugin": {"name": name} if name else None, "choices": [], "choice_count": 0}


def test_who_tells_the_consumer() -> None:
    places = [place("cors"), place("jwt"), place("key_auth"), place("acl")]
    assert known_after(places) == 2
    assert known_after(places, "key_auth") == 3
    assert known_after(places, "basic_auth") is None
    assert known_after([]) is None


def test_plugins_before_routing(monkeypatch: pytest.MonkeyPatch) -> None:
    definition = find_plugin("correlation-id")
    assert definition is not None
    monkeypatch.setitem(AVAILABLE, "early", dataclasses.replace(definition, name="early", rewrites=True))
    places = [place("python_plugin", "early"), place("cors", "cors"), place("jwt")]
    assert rewriting(places) == ["early"]


@pytest.mark.parametrize(
    ("first", "second", "criterion"),
    [
        ({"paths": ["/"], "methods": ["GET"]}, {"paths": ["/long"]}, "more kinds of conditions"),
        ({"hosts": ["a.test"]}, {"hosts": ["*.test"]}, "no wildcard among its hosts"),
        ({"paths": ["~/a"]}, {"paths": ["/a/b"]}, "a regex path"),
        ({"paths": ["~/a"], "regex_priority": 1}, {"paths": ["~/a"]}, "a higher regex_priority"),
        ({"paths": ["/ab"]}, {"paths": ["/a"]}, "a longer path"),
        ({"hosts": ["a.test:80"]}, {"hosts": ["a.test"]}, "a host with a port"),
        ({"paths": ["/a"], "created_at": 1}, {"paths": ["/a"], "created_at": 2}, "greater age"),
        ({"paths": ["/a"], "created_at": 1}, {"paths": ["/a"], "created_at": 1}, "the lower id"),
    ],
)
def test_what_decides_between_routes(first: dict[str, Any], second: dict[str, Any], criterion: str) -> None:
    (one,), (other,) = matchers_of(route(1, **first)), matchers_of(route(2, **second))
    assert one.order < other.order
    assert deciding_criterion(one.order, other.order) == criterion


def test_lines_for_a_person() -> None:
    found: dict[str, Any] = {
        "request": {"method": "GET"},
        "outcome": {"answered_by": "gateway", "status": 400, "message": "no"},
        **dict.fromkeys(("route", "service", "consumer", "target")),
        "plugins": [],
        "other_routes": [],
        "rewritten_by": ["early"],
    }
    assert list(lines_of(found)) == [
        "request     GET",
        "            which early may change first",
        "answer      of the gateway: 400 no",
    ]
