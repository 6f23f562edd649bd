"""basic-auth: user names and passwords in Authorization and Proxy-Authorization (RFC 7617)."""

from __future__ import annotations

import base64
import hashlib
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.plugged import Plugged, plugin

ACCOUNTS = [
    {"username": "user", "password": "p:w é"},
    {"username": "no-password", "password": "x"},
    {"username": "ü", "password": "pass"},
    {"username": "long", "password": "y" * 4000},
]
BOB = {"username": "bob", "basicauth_credentials": ACCOUNTS}


def configure(plugged: Plugged, **config: object) -> None:
    plugged.configure(plugin("basic-auth", **config), consumers=[BOB, {"username": "anon"}])


def claim(username: str, password: str, *, scheme: str = "Basic") -> str:
    return f"{scheme} {base64.b64encode(f'{username}:{password}'.encode()).decode()}"


@pytest.mark.parametrize("account", ACCOUNTS, ids=lambda account: account["username"])
def test_right_passwords(plugged: Plugged, account: dict[str, str]) -> None:
    configure(plugged)
    header = claim(account["username"], account["password"])
    answer = plugged.request("/", f"Authorization: {header}")
    assert answer.status == 200
    assert answer.upstream.get("authorization") == header
    assert answer.upstream.get("x-consumer-username") == "bob"
    identifier = answer.upstream.get("x-credential-identifier") or ""
    assert identifier.encode("latin-1").decode() == account["username"]


@pytest.mark.parametrize(
    "header",
    [
        claim("user", "p:w"),
        claim("user", "p:w é "),
        claim("user", "P:W É"),
        claim("user", ""),
        claim("USER", "p:w é"),
        claim("nobody", "p:w é"),
        claim("", "p:w é"),
        claim("", ""),
        "Basic dXNlcg==",  # no colon
        "Basic",
        "Basic ",
        "Basic !!!",
        "Basic dXNlcjpwOncgw6k==",
        "Basic dXNlcjpw=OncgWw6k",
        "Bearer dXNlcjpwOncgw6k=",
        "dXNlcjpwOncgw6k=",
        "Basi dXNlcjpwOncgw6k=",
        "Basic " + "A" * 6000,
    ],
)
def test_what_is_refused(plugged: Plugged, header: str) -> None:
    configure(plugged)
    answer = plugged.request("/", f"Authorization: {header}")
    assert (answer.status, answer.message) == (401, "Unauthorized")
    assert answer.challenge == 'Basic realm="service"'


def test_forms_of_the_header(plugged: Plugged) -> None:
    configure(plugged)
    good = claim("user", "p:w é").removeprefix("Basic ")
    for header in (f"basic {good}", f"Basic   {good}", f"Basic\t{good}", f"Basic {good.rstrip('=')}"):
        assert plugged.request("/", f"Authorization: {header}").status == 200


def test_proxy_authorization_comes_first(plugged: Plugged) -> None:
    configure(plugged)
    good, bad = claim("user", "p:w é"), claim("user", "wrong")
    assert plugged.request("/", f"Proxy-Authorization: {good}").status == 200
    assert plugged.request("/", f"Proxy-Authorization: {good}", f"Authorization: {bad}").status == 200
    assert plugged.request("/", f"Proxy-Authorization: {bad}", f"Authorization: {good}").status == 401
    assert plugged.request("/", "Proxy-Authorization: Bearer x", f"Authorization: {good}").status == 200
    # a user of the proxy is none of ours, and does not hide who is
    stranger = claim("stranger", "x")
    assert plugged.request("/", f"Proxy-Authorization: {stranger}", f"Authorization: {good}").status == 200
    assert plugged.request("/", f"Proxy-Authorization: {stranger}", f"Authorization: {bad}").status == 401
    assert plugged.request("/", f"Proxy-Authorization: {stranger}").status == 401


def test_hiding(plugged: Plugged) -> None:
    configure(plugged, hide_credentials=True, anonymous="anon")
    good = claim("user", "p:w é")
    sent = plugged.request("/", f"Authorization: {good}").upstream
    assert (sent.get("authorization"), sent.get("x-consumer-username")) == (None, "bob")
    sent = plugged.request("/", f"Proxy-Authorization: {good}").upstream
    assert (sent.get("proxy-authorization"), sent.get("x-consumer-username")) == (None, "bob")
    # wrong ones are secrets, too; those of other schemes are for others
    sent = plugged.request("/", f"Authorization: {claim('user', 'wrong')}").upstream
    assert (sent.get("authorization"), sent.get("x-consumer-username")) == (None, "anon")
    sent = plugged.request("/", "Authorization: Bearer t").upstream
    assert (sent.get("authorization"), sent.get("x-anonymous-consumer")) == ("Bearer t", "true")


def test_realm(plugged: Plugged) -> None:
    configure(plugged, realm='my "realm"')
    assert plugged.request().challenge == r'Basic realm="my \"realm\""'


def test_passwords_that_are_stored_hashed(plugged: Plugged) -> None:
    """As a database dump of Kong has them; the hash itself is no password."""
    consumer = "9f4a1f7e-4b7c-4a5e-9d0e-111111111111"
    hashed = hashlib.sha1(f"secret{consumer}".encode(), usedforsecurity=False).hexdigest()
    plugged.configure(
        plugin("basic-auth"),
        _transform=False,
        consumers=[
            {
                "username": "bob",
                "id": consumer,
                "basicauth_credentials": [{"username": "u", "password": hashed}],
            }
        ],
    )
    assert plugged.request("/", f"Authorization: {claim('u', 'secret')}").status == 200
    assert plugged.request("/", f"Authorization: {claim('u', hashed)}").status == 401


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=60), st.booleans())
def test_any_header(plugged: Plugged, octets: bytes, encode: bool) -> None:
    """Nobody gets in by chance, and nothing breaks."""
    plugged.ensure(plugin("basic-auth"), consumers=[BOB])
    text = (
        base64.b64encode(octets) if encode else bytes(byte for byte in octets if byte >= 32 and byte != 127)
    )
    answer = plugged.request("/", "Authorization: Basic " + text.decode("latin-1"))
    assert answer.status == 401


def test_many_at_once(plugged: Plugged) -> None:
    """Digests of one connection do not get into those of another."""
    configure(plugged)
    good = [f"Authorization: {claim(account['username'], account['password'])}" for account in ACCOUNTS]
    bad = [f"Authorization: {claim(account['username'], account['password'] + '!')}" for account in ACCOUNTS]
    port = plugged.gateway.proxy_port
    headers = [line.partition(": ")[2] for line in (good + bad) * 10]

    def status(header: str) -> int:
        return plugged.gateway.call(port, "GET", "/", headers={"Authorization": header})[0]

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(status, headers)) == ([200] * 4 + [401] * 4) * 10
