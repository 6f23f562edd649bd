"""cors: what is not in Kong's recorded scenarios (plugins.md; corrections.md, 21)."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.client import Response
from tests.support.gateway import Gateway
from tests.support.plugged import Answer, Plugged, plugin
from tests.support.upstreams import Upstream, response, serve_raw

ALLOWED = "access-control-allow-origin"


def allowed(plugged: Plugged, origin: str) -> str | None:
    return plugged.request("/", f"Origin: {origin}").response.get(ALLOWED)


def preflight(plugged: Plugged, *fields: str, origin: str = "https://a.com") -> Answer:
    return plugged.request(
        "/", f"Origin: {origin}", "Access-Control-Request-Method: PUT", *fields, method="OPTIONS"
    )


def cors_fields(answer: Response) -> dict[str, str | None]:
    return {name: answer.get(name) for name, _ in answer.fields if name.startswith("access-control-")}


# --- origins -----------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        ("https://a.com", "https://a.com"),
        ("https://a.com:443", "https://a.com"),
        ("http://b.com", "http://b.com"),
        ("http://b.com:80", "http://b.com"),
        ("http://b.com:8080", None),
        ("https://b.com", None),
        ("http://[::1]:3000", "http://[::1]:3000"),
        ("https://x.c.com:8443", "https://x.c.com:8443"),
        ("https://c.com.evil.org", None),
        ("https://x.c.com.evil.org", None),
        ("https://xc-com", None),
        ("ftp://d.com:99", "ftp://d.com:99"),
        ("http://d.com:99", None),
        ("https://one.org", "https://one.org"),
        ("https://two.org", "https://two.org"),
        ("https://one.org.evil.net", None),
        ("https://evil.net/one.org", None),
        ("null", None),
        ("a.com", None),
        ("", None),
    ],
)
def test_listed_origins(plugged: Plugged, origin: str, expected: str | None) -> None:
    listed = [
        "https://a.com",
        "http://b.com:80",
        "http://[::1]:3000",
        r".*\.c\.com",  # without ":": a pattern for hosts
        r"ftp://d\.com:\d+",
        r"one\.org|two\.org",
    ]
    plugged.configure(plugin("cors", origins=listed))
    assert allowed(plugged, origin) == expected


def test_an_expression_must_match_from_beginning_to_end(plugged: Plugged) -> None:
    plugged.configure(plugin("cors", origins=[r"^good\.com$"]))
    assert [allowed(plugged, f"https://{host}") for host in ("good.com", "good.com.evil", "notgood.com")] == [
        "https://good.com",
        None,
        None,
    ]


@pytest.mark.parametrize("pattern", ["*", r"\Qa.com"])
def test_entries_that_are_no_whole_expressions_match_nothing(plugged: Plugged, pattern: str) -> None:
    """`*` is every origin only when it stands alone, as in Kong; the rest of the list counts."""
    plugged.configure(plugin("cors", origins=[pattern, "https://b.com"]))
    assert allowed(plugged, "https://c.com") is None
    assert allowed(plugged, "https://b.com") == "https://b.com"


def test_an_origin_that_exhausts_an_expression_is_not_allowed(plugged: Plugged) -> None:
    plugged.configure(plugin("cors", origins=["(a+)+"]))
    assert allowed(plugged, f"https://{'a' * 200}!") is None
    assert allowed(plugged, "https://aaa") == "https://aaa"


# --- preflight requests ------------------------------------------------------------------------------------
def test_a_preflight_request_does_not_reach_the_upstream(plugged: Plugged) -> None:
    plugged.configure(plugin("cors", methods=["PUT"], max_age=600, exposed_headers=["X-E"]))
    answer = preflight(plugged)
    assert (answer.status, answer.response.body, answer.sent) == (200, b"", None)
    assert answer.response.get("content-length") == "0"
    assert cors_fields(answer.response) == {
        ALLOWED: "*",
        "access-control-allow-methods": "PUT",
        "access-control-max-age": "600",
    }


def test_headers_that_are_asked_for_are_allowed_unless_they_are_configured(plugged: Plugged) -> None:
    asked = "Access-Control-Request-Headers: x-one, x-two"
    plugged.configure(plugin("cors"))
    assert preflight(plugged, asked).response.get("access-control-allow-headers") == "x-one, x-two"
    assert preflight(plugged).response.get("access-control-allow-headers") is None
    plugged.configure(plugin("cors", headers=["X-A", "X-B"]))
    assert preflight(plugged, asked).response.get("access-control-allow-headers") == "X-A,X-B"


@pytest.mark.parametrize(("value", "expected"), [("true", "true"), ("TRUE", None), ("1", None)])
def test_private_networks(plugged: Plugged, value: str, expected: str | None) -> None:
    plugged.configure(plugin("cors", private_network=True))
    answer = preflight(plugged, f"Access-Control-Request-Private-Network: {value}")
    assert answer.response.get("access-control-allow-private-network") == expected


def test_preflight_continue_leaves_everything_to_the_upstream(plugged: Plugged) -> None:
    plugged.configure(plugin("cors", preflight_continue=True, credentials=True))
    answer = preflight(plugged)
    assert answer.upstream.method == "OPTIONS"
    assert cors_fields(answer.response) == {}
    assert plugged.request("/", "Origin: https://a.com").response.get(ALLOWED) == "https://a.com"


def test_what_is_no_preflight_request(plugged: Plugged) -> None:
    plugged.configure(plugin("cors"))
    for fields in (("Origin: https://a.com",), ("Access-Control-Request-Method: PUT",)):
        answer = plugged.request("/", *fields, method="OPTIONS")
        assert answer.upstream.method == "OPTIONS"
        assert answer.response.get(ALLOWED) == "*"
    answer = plugged.request("/", "Origin: https://a.com", "Access-Control-Request-Method: PUT")
    assert answer.upstream.method == "GET"


# --- other responses ---------------------------------------------------------------------------------------
@pytest.fixture
def with_own_fields(shared_gateway: Gateway) -> Iterator[Plugged]:
    """An upstream with fields of its own."""
    fields = (
        b"access-control-allow-origin: theirs",
        b"Access-Control-Allow-Origin: twice",
        b"Access-Control-Allow-Credentials: false",
        b"Access-Control-Expose-Headers: X-Theirs",
        b"Vary: Accept, ORIGIN",
    )
    with Upstream(serve_raw(response(b"", "200 OK", *fields))) as upstream:
        yield Plugged(shared_gateway, upstream)


def test_the_upstreams_own_fields_give_way(with_own_fields: Plugged) -> None:
    config = {
        "origins": ["https://a.com", "https://b.com"],
        "credentials": True,
        "exposed_headers": ["X-A", "X-B"],
    }
    with_own_fields.configure(plugin("cors", **config))
    answer = with_own_fields.request("/", "Origin: https://b.com").response
    assert answer.all(ALLOWED) == ["https://b.com"]
    assert answer.all("access-control-allow-credentials") == ["true"]
    assert answer.all("access-control-expose-headers") == ["X-A,X-B"]
    assert answer.all("vary") == ["Accept, ORIGIN"], "it is said once"
    refused = with_own_fields.request("/", "Origin: https://c.com").response
    assert refused.all(ALLOWED) == []


def test_what_the_gateway_answers_itself(plugged: Plugged) -> None:
    plugged.configure(
        plugin("cors", origins=["https://a.com"]),
        plugin("request-termination", status_code=500, message="no"),
    )
    answer = plugged.request("/", "Origin: https://a.com")
    assert (answer.status, answer.response.get(ALLOWED), answer.response.get("vary")) == (
        500,
        "https://a.com",
        "Origin",
    )
    plugged.gateway.configure({"plugins": [plugin("cors")]})
    assert plugged.request("/none").response.get(ALLOWED) == "*"


def test_a_preflight_request_that_another_plugin_refuses(plugged: Plugged) -> None:
    """bot-detection runs first: what cors adds is what it adds to any response."""
    plugged.configure(plugin("cors"), plugin("bot-detection"))
    answer = preflight(plugged, "User-Agent: Twitterbot/1.0")
    assert answer.status == 403
    assert cors_fields(answer.response) == {ALLOWED: "*"}
