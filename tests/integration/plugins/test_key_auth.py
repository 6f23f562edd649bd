"""key-auth: where keys are looked for, which one counts, how they are hidden."""

from __future__ import annotations

import re
from urllib.parse import quote

import pytest

from tests.support.gateway import wait_for
from tests.support.plugged import Plugged, plugin

PLUGIN_BODY_LIMIT = 1024 * 1024
"""the setting's default"""
NO_KEY = "No API key found in request"
BOB = {"username": "bob", "custom_id": "bob-9", "keyauth_credentials": [{"key": "k"}, {"key": "k é+&%"}]}
ANON = {"username": "anon"}
FORM = "Content-Type: application/x-www-form-urlencoded"
JSON = "Content-Type: application/json; charset=utf-8"
MULTIPART = "Content-Type: multipart/form-data; boundary=b0"


def configure(plugged: Plugged, **config: object) -> None:
    plugged.configure(plugin("key-auth", **config), consumers=[BOB, ANON])


def assert_bob(plugged: Plugged, *arguments: str, **options: object) -> None:
    answer = plugged.request(*arguments, **options)  # type: ignore[arg-type]
    assert answer.status == 200, answer.response
    assert answer.upstream.get("x-consumer-username") == "bob"
    assert answer.upstream.get("x-consumer-custom-id") == "bob-9"
    assert re.fullmatch("[0-9a-f-]{36}", answer.upstream.get("x-credential-identifier") or "")


def assert_refused(plugged: Plugged, message: str, *arguments: str, **options: object) -> None:
    answer = plugged.request(*arguments, **options)  # type: ignore[arg-type]
    assert (answer.status, answer.message, answer.challenge) == (401, message, "Key")


# --- where the key is --------------------------------------------------------------------------------------
def test_header_and_query(plugged: Plugged) -> None:
    configure(plugged)
    assert_bob(plugged, "/", "apikey: k")
    assert_bob(plugged, "/", "APIKey:   k  ")
    assert_bob(plugged, "/?apikey=k")
    assert_bob(plugged, "/?a=1&&%61pike%79=%6B")
    assert_bob(plugged, "/?apikey=" + quote("k é+&%"))
    assert_bob(plugged, "/?apikey=k+%C3%A9%2b%26%")
    assert_bob(plugged, "/", "apikey: " + "k é+&%".encode().decode("latin-1"))
    # the header counts, not the query
    assert_bob(plugged, "/?apikey=nobody", "apikey: k")
    assert_refused(plugged, "Unauthorized", "/?apikey=k", "apikey: nobody")


@pytest.mark.parametrize("key", ["nobody", "K", "kk", "k\x80", "x" * 5000])
def test_unknown_keys(plugged: Plugged, key: str) -> None:
    configure(plugged)
    assert_refused(plugged, "Unauthorized", "/", f"apikey: {key}")


def test_no_key(plugged: Plugged) -> None:
    configure(plugged)
    assert_refused(plugged, NO_KEY)
    assert_refused(plugged, NO_KEY, "/", "apikey:")
    assert_refused(plugged, NO_KEY, "/?apikey=")
    assert_refused(plugged, NO_KEY, "/?apikey")
    assert_refused(plugged, NO_KEY, "/?APIKEY=k")
    assert_refused(plugged, NO_KEY, "/", "xapikey: k", "apikeys: k")
    # an empty one is one: what comes after it is not looked at
    assert_refused(plugged, NO_KEY, "/?apikey=k", "apikey:")


def test_several_keys(plugged: Plugged) -> None:
    configure(plugged, key_names=["apikey", "other"])
    duplicate = "Duplicate API key found"
    assert_refused(plugged, duplicate, "/", "apikey: k", "ApiKey: k")
    assert_refused(plugged, duplicate, "/?apikey=k&apikey=k")
    assert_refused(plugged, duplicate, "/?apikey&apikey=k")
    assert_refused(plugged, duplicate, "/?other=k", "apikey: a", "apikey: b")
    assert_bob(plugged, "/?other=z&other=z", "apikey: k")


def test_the_order_of_names(plugged: Plugged) -> None:
    configure(plugged, key_names=["X-First", "second_key"])
    assert_bob(plugged, "/", "x-first: k", "second_key: nobody")
    assert_bob(plugged, "/?X-First=k", "second_key: nobody")
    assert_refused(plugged, "Unauthorized", "/?X-First=nobody", "second_key: k")
    # a name without a value is none, and the next one is looked for
    assert_bob(plugged, "/?X-First", "second_key: k")
    # as in Kong, a header of the name with dashes counts
    assert_bob(plugged, "/", "Second-Key: k")
    assert_bob(plugged, "/", "second_key: k", "second-key: nobody")


def test_places_that_are_switched_off(plugged: Plugged) -> None:
    configure(plugged, key_in_header=False)
    assert_refused(plugged, NO_KEY, "/", "apikey: k")
    assert_bob(plugged, "/?apikey=k", "apikey: nobody")
    configure(plugged, key_in_query=False)
    assert_refused(plugged, NO_KEY, "/?apikey=k")
    assert_bob(plugged, "/?apikey=nobody", "apikey: k")
    assert_refused(plugged, NO_KEY, "/", FORM, method="POST", body=b"apikey=k")


# --- bodies ------------------------------------------------------------------------------------------------
PART = b'--b0\r\nContent-Disposition: form-data; name="apikey"\r\n\r\nk\r\n'
BODIES = [
    (FORM, b"a=1&apikey=k&b", b"a=1&b"),
    (FORM, b"%61pikey=%6b", b""),
    (
        JSON,
        b'{"a": [1, 2.50, "x y"],\n "apikey": "k", "b": {"c": null}}',
        b'{"a":[1,2.50,"x y"],"b":{"c":null}}',
    ),
    (JSON, b'{"\\u0061pikey":"\\u006b"}', b"{}"),
    (
        MULTIPART,
        b'--b0\r\nContent-Disposition: form-data; name="apikey"\r\n\r\nk\r\n'
        b'--b0\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b0--\r\n',
        b'--b0\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b0--\r\n',
    ),
]


@pytest.mark.parametrize(("content_type", "body", "left"), BODIES)
def test_keys_in_bodies(plugged: Plugged, content_type: str, body: bytes, left: bytes) -> None:
    configure(plugged, key_in_body=True)
    assert_bob(plugged, "/", content_type, method="POST", body=body)
    assert plugged.behind.requests[-1][1] == body, "as it came"
    configure(plugged, key_in_body=True, hide_credentials=True)
    assert_bob(plugged, "/", content_type, method="PUT", body=body)
    assert plugged.behind.requests[-1][1] == left


def test_bodies_in_chunks(plugged: Plugged) -> None:
    configure(plugged, key_in_body=True, hide_credentials=True)
    chunks = b"5\r\napike\r\n7\r\ny=k&a=1\r\n0\r\n\r\n"
    answer = plugged.gateway.raw(
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n" + FORM.encode() + b"\r\n\r\n" + chunks
    )
    assert answer.startswith(b"HTTP/1.1 200")
    assert plugged.behind.requests[-1][1] == b"a=1"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("Content-Type: text/plain", b"apikey=k"),
        ("X: y", b"apikey=k"),
        (FORM, b"apikey="),
        (FORM, b"apikey"),
        (JSON, b'{"apikey": "k"'),
        (JSON, b'{"apikey": 5}'),
        (JSON, b'{"apikey": null}'),
        (JSON, b'{"apikey": ""}'),
        (JSON, b'["apikey"]'),
        (JSON, b"[" * 100_000),
        (JSON, b"\xff\x00"),
        (MULTIPART, PART),
        ("Content-Type: multipart/form-data", PART + b"--b0--"),
        ("Content-Encoding: gzip\r\n" + JSON, b"\x1f\x8b\x08"),
    ],
)  # fmt: skip
def test_bodies_without_a_key(plugged: Plugged, content_type: str, body: bytes) -> None:
    configure(plugged, key_in_body=True, hide_credentials=True)
    assert_refused(plugged, NO_KEY, "/", content_type, method="POST", body=body)


def test_several_keys_in_bodies(plugged: Plugged) -> None:
    configure(plugged, key_in_body=True)
    for content_type, body in (
        (FORM, b"apikey=k&apikey=k"),
        (JSON, b'{"apikey": ["k"]}'),
        (MULTIPART, PART + PART + b"--b0--"),
    ):
        assert_refused(plugged, "Duplicate API key found", "/", content_type, method="POST", body=body)


def test_bodies_that_are_longer_than_plugins_may_see(plugged: Plugged) -> None:
    """Nothing is found in them; a key that is elsewhere lets them pass as they are."""
    configure(plugged, key_in_body=True)
    body = b"apikey=k&x=" + b"y" * (PLUGIN_BODY_LIMIT + 1)
    assert_refused(plugged, NO_KEY, "/", FORM, method="POST", body=body)
    configure(plugged, key_in_body=True, hide_credentials=True)
    assert_bob(plugged, "/?apikey=k", FORM, method="POST", body=body)
    assert plugged.behind.requests[-1][1] == body


# --- hiding ------------------------------------------------------------------------------------------------
def test_hiding(plugged: Plugged) -> None:
    configure(plugged, hide_credentials=True, key_names=["apikey", "other_key"])
    answer = plugged.request("/p?apikey=k&a=1&b&apikey&c=%20", "apikey: k", "Other_Key: stays")
    assert answer.status == 200
    assert answer.upstream.target == "/p?a=1&b&c=%20"
    assert answer.upstream.get("apikey") is None
    assert answer.upstream.get("other_key") == "stays", "not the name that the key was found under"
    assert plugged.request("/p?apikey=k").upstream.target == "/p"
    assert plugged.request("/p?%61pikey=k&").upstream.target in ("/p?", "/p")
    answer = plugged.request("/", "other_key: k", "other-key: k")
    assert answer.upstream.get("other_key") is None
    assert answer.upstream.get("other-key") is None


def test_nothing_is_hidden_when_not_asked_for(plugged: Plugged) -> None:
    configure(plugged)
    answer = plugged.request("/p?apikey=z&a=1", "apikey: k")
    assert answer.upstream.target == "/p?apikey=z&a=1"
    assert answer.upstream.get("apikey") == "k"


def test_hiding_of_wrong_keys_from_those_who_may_pass(plugged: Plugged) -> None:
    configure(plugged, hide_credentials=True, anonymous="anon")
    answer = plugged.request("/?a=1", "apikey: secret")
    assert answer.upstream.get("apikey") is None
    assert answer.upstream.get("x-anonymous-consumer") == "true"


# --- anonymous, realm, preflights, expiry ------------------------------------------------------------------
def test_anonymous(plugged: Plugged) -> None:
    configure(plugged, anonymous="anon")
    for fields in ((), ("apikey: nobody",), ("apikey: k", "apikey: k")):
        answer = plugged.request("/", *fields)
        assert answer.status == 200
        assert answer.challenge is None
        assert {**answer.upstream.identity, "x-consumer-id": "an id"} == {
            "x-consumer-id": "an id",
            "x-consumer-username": "anon",
            "x-anonymous-consumer": "true",
        }
    assert_bob(plugged, "/", "apikey: k")


def test_missing_anonymous_consumer(plugged: Plugged) -> None:
    configure(plugged, anonymous="nobody")
    answer = plugged.request("/", "apikey: zzz")
    assert (answer.status, answer.message) == (500, "An unexpected error occurred")
    wait_for(lambda: "anonymous consumer" in plugged.gateway.output(), what="the log tells")
    assert "zzz" not in plugged.gateway.output()
    # a custom id names none
    configure(plugged, anonymous="bob-9")
    assert plugged.request("/").status == 500
    assert_bob(plugged, "/", "apikey: k")


@pytest.mark.parametrize(
    ("realm", "challenge"),
    [("my realm", 'Key realm="my realm"'), ('a"b\\', r'Key realm="a\"b\\"')],
)
def test_realm(plugged: Plugged, realm: str, challenge: str) -> None:
    configure(plugged, realm=realm)
    answer = plugged.request()
    assert (answer.status, answer.challenge) == (401, challenge)
    assert answer.response.all("www-authenticate") == [challenge]


def test_preflights(plugged: Plugged) -> None:
    configure(plugged, run_on_preflight=False)
    answer = plugged.request(method="OPTIONS")
    assert answer.status == 200
    assert answer.upstream.identity == {}
    assert plugged.request(method="GET").status == 401
    configure(plugged)
    assert plugged.request(method="OPTIONS").status == 401


def test_keys_that_have_expired(plugged: Plugged) -> None:
    """Workers look at the clock themselves; nobody has to take the key away."""
    plugged.configure(
        plugin("key-auth"),
        consumers=[{"username": "bob", "keyauth_credentials": [{"key": "short", "ttl": 1}, {"key": "k"}]}],
    )
    assert plugged.request("/", "apikey: short").status == 200
    wait_for(lambda: plugged.request("/", "apikey: short").status == 401, what="the key has expired")
    assert plugged.request("/", "apikey: k").status == 200
