"""Who the client is: nobody says it but the plugins, and no credential gets where it can be read."""

from __future__ import annotations

import base64
import re
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.gateway import wait_for
from tests.support.plugged import Plugged, plugin

BOB = {
    "username": "bob",
    "custom_id": "b",
    "keyauth_credentials": [{"key": "k"}],
    "basicauth_credentials": [{"username": "u", "password": "secret-password"}],
    "hmacauth_credentials": [{"username": "u", "secret": "s"}],
}
EVE = {"username": "eve", "basicauth_credentials": [{"username": "e", "password": "p"}]}
ANON = {"username": "anon"}
AS_EVE = f"Authorization: Basic {base64.b64encode(b'e:p').decode()}"

# --- what clients say of themselves ------------------------------------------------------------------------
OURS = ("x_consumer_", "x_credential_", "x_anonymous_consumer", "x_authenticated_")
FIELDS = [
    "X-Consumer-ID",
    "X-Consumer-Custom-ID",
    "X-Consumer-Username",
    "X-Consumer-Groups",
    "X-Consumer-Anything",
    "X-Credential-Identifier",
    "X-Credential-Username",
    "X-Anonymous-Consumer",
    "X-Authenticated-Groups",
    "X-Authenticated-Scope",
    "X-Authenticated-UserId",
]


def as_variable(name: str) -> str:
    """How CGI, WSGI and others call a field."""
    return re.sub("[^a-z0-9]", "_", name.lower())


@st.composite
def spellings(draw: st.DrawFn) -> str:
    name = draw(st.sampled_from(FIELDS))
    return "".join(
        draw(st.sampled_from("-_.~!'*+^|`")) if c == "-" else draw(st.sampled_from([c.lower(), c.upper()]))
        for c in name
    )


SETTINGS: dict[str, list[dict[str, Any]]] = {
    "no plugin": [],
    "no authentication": [plugin("correlation-id")],
    "a key": [plugin("key-auth")],
    "anonymous": [plugin("key-auth", anonymous="anon", key_names=["other"])],
    "a preflight": [plugin("key-auth", run_on_preflight=False, key_names=["other"])],
    "several": [plugin("key-auth"), plugin("acl", deny=["x"], hide_groups_header=True)],
}


@pytest.mark.parametrize("name", SETTINGS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(FIELDS)
@example([name.replace("-", "_") for name in FIELDS])
@example([name.lower() for name in FIELDS])
@given(st.lists(spellings(), min_size=1, max_size=8))
def test_identities_that_clients_claim(plugged: Plugged, name: str, claimed: list[str]) -> None:
    plugged.ensure(*SETTINGS[name], consumers=[BOB, ANON])
    fields = [f"{field}: forged" for field in claimed]
    method = "OPTIONS" if name == "a preflight" else "GET"
    answer = plugged.request("/", "apikey: k", *fields, method=method)
    assert answer.status == 200
    for field, values in answer.upstream.fields.items():
        assert not as_variable(field).startswith(OURS) or "forged" not in values, field
    identity = answer.upstream.identity
    if name in ("a key", "several"):
        assert identity.pop("x-consumer-id")
        assert identity.pop("x-credential-identifier")
        assert identity == {"x-consumer-custom-id": "b", "x-consumer-username": "bob"}
    elif name == "anonymous":
        assert identity.pop("x-consumer-id")
        assert identity == {"x-consumer-username": "anon", "x-anonymous-consumer": "true"}
    else:
        assert identity == {}


def test_fields_of_the_gateway_are_not_the_clients_to_remove(plugged: Plugged) -> None:
    """Connection names fields that end at the gateway (RFC 9110 §7.6.1): those of the client, not its own."""
    plugged.configure(plugin("key-auth"), plugin("acl", deny=["x"]), consumers=[BOB])
    names = "X-Consumer-ID, X-Consumer-Username, X-Credential-Identifier, X-Consumer-Groups"
    sent = plugged.request("/", "apikey: k", f"Connection: {names}").upstream
    assert sent.get("x-consumer-username") == "bob"
    assert sent.get("x-consumer-groups") == ""
    assert sent.get("x-consumer-id")


def test_trailers_tell_no_identity(plugged: Plugged) -> None:
    plugged.configure(plugin("key-auth", anonymous="anon"), consumers=[ANON])
    plugged.gateway.raw(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X-Consumer-Username\r\n\r\n"
        b"1\r\na\r\n0\r\nX-Consumer-Username: forged\r\nX-Consumer-ID: forged\r\n\r\n"
    )
    head, body = plugged.behind.requests[-1]
    assert b"forged" not in head + body
    assert b"anon" in head


# --- several plugins ---------------------------------------------------------------------------------------
def test_the_last_of_several_plugins_says_who_it_is(plugged: Plugged) -> None:
    plugged.configure(plugin("key-auth"), plugin("basic-auth"), consumers=[BOB, EVE])
    sent = plugged.request("/", "apikey: k", AS_EVE).upstream
    identity = sent.identity
    assert identity.pop("x-consumer-id")
    assert identity == {"x-consumer-username": "eve", "x-credential-identifier": "e"}, (
        "nothing is left of bob"
    )
    assert plugged.request("/", "apikey: k").challenge == 'Basic realm="service"'
    assert plugged.request("/", AS_EVE).challenge == "Key"


def test_any_of_several_plugins_will_do(plugged: Plugged) -> None:
    either = [plugin(name, anonymous="anon") for name in ("key-auth", "basic-auth", "hmac-auth")]
    plugged.configure(*either, consumers=[BOB, EVE, ANON])
    for fields, name in (
        (["apikey: k"], "bob"),
        ([AS_EVE], "eve"),
        # the first one that succeeds, not the last
        (["apikey: k", AS_EVE], "bob"),
        (["apikey: z", AS_EVE], "eve"),
        (["apikey: z"], "anon"),
        ([], "anon"),
    ):
        sent = plugged.request("/", *fields).upstream
        assert sent.get("x-consumer-username") == name
        assert sent.get("x-anonymous-consumer") == ("true" if name == "anon" else None)
        assert (sent.get("x-credential-identifier") is None) == (name == "anon")


def test_answers_of_plugins_behind_those_that_let_unknown_clients_pass(plugged: Plugged) -> None:
    plugged.configure(plugin("key-auth", anonymous="anon"), plugin("basic-auth"), consumers=[BOB, EVE, ANON])
    answer = plugged.request("/", "apikey: k")
    assert (answer.status, answer.response.all("www-authenticate")) == (401, ['Basic realm="service"'])
    assert plugged.request("/", AS_EVE).upstream.get("x-anonymous-consumer") is None


# --- secrets -----------------------------------------------------------------------------------------------
def test_credentials_are_neither_logged_nor_told(plugged: Plugged) -> None:
    plugged.configure(
        plugin("key-auth", anonymous="nobody", key_names=["apikey", "other"]),
        plugin("correlation-id"),
        consumers=[BOB],
    )
    wrong = "wrong-key-7431"
    basic = base64.b64encode(b"u:wrong-pass-7431").decode()
    bodies = [
        plugged.request(
            f"/?a=first-7431&apikey={wrong}&b=between&%61pikey={wrong}&c=last-7431"
        ).response.body,
        plugged.request(f"/?other={wrong}").response.body,
        plugged.request("/", f"apikey: {wrong}").response.body,
    ]
    plugged.configure(plugin("basic-auth"), consumers=[BOB])
    bodies.append(plugged.request("/", f"Authorization: Basic {basic}").response.body)
    plugged.configure(plugin("hmac-auth"), consumers=[BOB])
    bodies.append(plugged.request("/", f"Authorization: hmac username={wrong}").response.body)
    plugged.configure(plugin("jwt", uri_param_names=["token"]), consumers=[BOB])
    bodies.append(plugged.request(f"/?token={wrong}&x=jwt-7431").response.body)
    # answered before key-auth has looked at it
    plugged.configure(plugin("key-auth"), plugin("bot-detection", deny=["badbot"]), consumers=[BOB])
    answer = plugged.request("/?x=seen-7431&apikey=k-7431", "User-Agent: badbot")
    assert answer.status == 403
    good = plugged.request("/?apikey=k&x=served-7431")
    assert good.upstream.target == "/?apikey=k&x=served-7431", "the upstream gets what was sent"
    access_log = plugged.gateway.prefix / "access.log"
    wait_for(lambda: "served-7431" in access_log.read_text(), what="the last line is written")
    logged = access_log.read_text() + plugged.gateway.output()
    assert "GET /?a=first-7431&apikey=REDACTED&c=last-7431 HTTP/1.1" in logged
    assert "GET /?x=seen-7431&apikey=REDACTED HTTP/1.1" in logged
    assert "GET /?apikey=REDACTED&x=served-7431 HTTP/1.1" in logged
    assert "GET /?other=REDACTED HTTP/1.1" in logged
    assert "GET /?token=REDACTED&x=jwt-7431 HTTP/1.1" in logged
    for secret in (wrong, "wrong-pass-7431", basic, "k-7431", "secret-password"):
        assert secret not in logged
        assert secret.encode() not in b"".join(bodies)
