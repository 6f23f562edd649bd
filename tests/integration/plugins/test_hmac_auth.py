"""hmac-auth: signed requests. What is signed is computed here, as the drafts on HTTP signatures say it."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from email.utils import formatdate
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.client import Client
from tests.support.plugged import Answer, Plugged, plugin

NOT_VERIFIED = "HMAC signature cannot be verified"
TOO_OLD = f"{NOT_VERIFIED}, a valid date or x-date header is required for HMAC Authentication"
NO_MATCH = "HMAC signature does not match"
KEY = "s3 é"
BOB = {
    "username": "bob",
    "hmacauth_credentials": [
        {"username": "u", "secret": KEY},
        {"username": 'od"d, "user"', "secret": KEY},
    ],
}


def configure(plugged: Plugged, **config: object) -> None:
    plugged.configure(plugin("hmac-auth", **config), consumers=[BOB, {"username": "anon"}])


def now(offset: float = 0) -> str:
    return formatdate(time.time() + offset, usegmt=True)


def authorization(
    lines: list[str], names: str, *, username: str = "u", algorithm: str = "hmac-sha256", key: str = KEY
) -> str:
    """The value of Authorization for these lines, whose names are `names`."""
    text = "\n".join(lines).encode()
    signature = base64.b64encode(
        hmac.new(key.encode(), text, algorithm.removeprefix("hmac-")).digest()
    ).decode()
    return f'hmac username="{username}", algorithm="{algorithm}", headers="{names}", signature="{signature}"'


def signed(plugged: Plugged, **options: Any) -> Answer:
    """A request that only its date is signed of."""
    date = now()
    return plugged.request(
        "/", f"Date: {date}", f"Authorization: {authorization([f'date: {date}'], 'date', **options)}"
    )


def assert_refused(answer: Answer, message: str) -> None:
    assert (answer.status, answer.message, answer.challenge) == (401, message, "hmac")


# --- signatures --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("algorithm", ["hmac-sha1", "hmac-sha256", "hmac-sha384", "hmac-sha512"])
def test_algorithms(plugged: Plugged, algorithm: str) -> None:
    configure(plugged)
    sent = signed(plugged, algorithm=algorithm).upstream
    assert sent.get("x-consumer-username") == "bob"
    assert sent.get("x-credential-identifier") == "u"
    assert_refused(signed(plugged, algorithm=algorithm, key="other"), NO_MATCH)
    others = [one for one in ("hmac-sha1", "hmac-sha512") if one != algorithm]
    configure(plugged, algorithms=others)
    assert_refused(signed(plugged, algorithm=algorithm), NOT_VERIFIED)


def test_what_is_signed(plugged: Plugged) -> None:
    configure(plugged)
    date = now()
    lines = [
        f"x-date: {date}",
        "POST /a%20b?c=d&e HTTP/1.1",
        "@request-target: post /a%20b?c=d&e",
        "host: a.test",
        "X-Several: one, two",
        "x-missing:",
        "x-empty: ",
    ]
    header = authorization(lines, "x-date request-line @request-target host X-Several x-missing x-empty")
    fields = [f"X-Date: {date}", f"Authorization: {header}", "x-several: one", "X-Several: two", "X-Empty:"]
    answer = plugged.request("/a%20b?c=d&e", *fields, method="POST")
    assert answer.status == 200, answer.response.body
    for other in ("/a%20b?c=d", "/a b?c=d&e".replace(" ", "%20") + "&", "/A%20b?c=d&e"):
        assert_refused(plugged.request(other, *fields, method="POST"), NO_MATCH)
    assert_refused(plugged.request("/a%20b?c=d&e", *fields, method="PUT"), NO_MATCH)
    assert_refused(plugged.request("/a%20b?c=d&e", *fields, "X-Several: three", method="POST"), NO_MATCH)
    assert_refused(plugged.request("/a%20b?c=d&e", *fields, "X-Missing: here", method="POST"), NO_MATCH)


def test_bare_question_marks_and_old_versions(plugged: Plugged) -> None:
    configure(plugged)
    date = now()
    for target, version in (("/a?", "1.1"), ("/a", "1.0"), ("/", "1.1")):
        header = authorization([f"date: {date}", f"GET {target} HTTP/{version}"], "date request-line")
        client = Client(plugged.gateway.proxy_port)
        fields = f"Host: a\r\nDate: {date}\r\nAuthorization: {header}\r\n\r\n"
        client.send(f"GET {target} HTTP/{version}\r\n{fields}".encode())
        assert client.response(version=int(version[-1])).status == 200, target
        client.socket.close()


def test_odd_user_names(plugged: Plugged) -> None:
    configure(plugged)
    assert signed(plugged, username='od"d, "user"').status == 200
    assert_refused(signed(plugged, username="nobody"), NOT_VERIFIED)


def test_enforced_headers(plugged: Plugged) -> None:
    configure(plugged, enforce_headers=["date", "Request-Line"])
    date = now()
    enough = authorization([f"date: {date}", "GET / HTTP/1.1"], "date request-line")
    assert plugged.request("/", f"Date: {date}", f"Authorization: {enough}").status == 200
    too_little = authorization([f"date: {date}"], "date")
    assert_refused(plugged.request("/", f"Date: {date}", f"Authorization: {too_little}"), NOT_VERIFIED)


# --- dates -------------------------------------------------------------------------------------------------
def test_dates(plugged: Plugged) -> None:
    configure(plugged, clock_skew=30)
    for offset, good in ((0, True), (-25, True), (25, True), (-60, False), (60, False)):
        date = now(offset)
        for name in ("Date", "X-Date"):
            header = authorization([f"{name.lower()}: {date}"], name.lower())
            answer = plugged.request("/", f"{name}: {date}", f"Authorization: {header}")
            assert answer.status == (200 if good else 401)
            if not good:
                assert_refused(answer, TOO_OLD)
    # one of the two is enough, as in Kong
    date = now()
    header = authorization([f"date: {date}"], "date")
    fields = (f"X-Date: {now(-1000)}", f"Date: {date}", f"Authorization: {header}")
    assert plugged.request("/", *fields).status == 200


@pytest.mark.parametrize(("old", "new"), [("X-Date", "Date"), ("Date", "X-Date")])
def test_an_old_request_is_not_good_again_with_a_new_date(plugged: Plugged, old: str, new: str) -> None:
    configure(plugged, clock_skew=30)
    date = now(-1000)
    header = authorization([f"{old.lower()}: {date}"], old.lower())
    fields = (f"{old}: {date}", f"{new}: {now()}", f"Authorization: {header}")
    assert_refused(plugged.request("/", *fields), TOO_OLD)


@pytest.mark.parametrize("date", ["", "now", "1700000000", "Sun, 06 Nov 1994 08:49:37 GMT"])
def test_what_is_no_date_of_today(plugged: Plugged, date: str) -> None:
    configure(plugged)
    header = authorization([f"date: {date}"], "date")
    assert_refused(plugged.request("/", f"Date: {date}", f"Authorization: {header}"), TOO_OLD)
    assert_refused(plugged.request("/", f"Authorization: {header}"), TOO_OLD)


# --- headers that are none ---------------------------------------------------------------------------------
def test_without_credentials(plugged: Plugged) -> None:
    configure(plugged)
    assert_refused(plugged.request("/", f"Date: {now()}"), "Unauthorized")
    assert_refused(plugged.request("/", "Authorization: Basic eDp5"), TOO_OLD)
    assert_refused(plugged.request("/", f"Date: {now()}", "Authorization: Basic eDp5"), NOT_VERIFIED)


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header.replace("hmac ", "hmacs ", 1),
        lambda header: header.replace("username=", "user="),
        lambda header: header.replace('username="u"', 'username=""'),
        lambda header: header.replace('username="u", ', ""),
        lambda header: header.replace("hmac-sha256", "hmac-md5"),
        lambda header: header.replace("hmac-sha256", "HMAC-SHA256"),
        lambda header: header.replace('headers="date"', 'headers=""'),
        lambda header: header[:-1].rpartition('"')[0],
        lambda header: header[:-1].rpartition('"')[0] + '""',
        lambda header: "hmac",
        lambda header: "hmac " + "a" * 4000,
    ],
)
def test_headers_that_are_none(plugged: Plugged, change: Any) -> None:
    configure(plugged)
    date = now()
    header = change(authorization([f"date: {date}"], "date"))
    assert_refused(plugged.request("/", f"Date: {date}", f"Authorization: {header}"), NOT_VERIFIED)


@pytest.mark.parametrize(
    "signature", ["!", "AAAA", "A" * 43 + "=", "A" * 88, "A" * 4000, "A" * 42 + "==", "é" * 20]
)
def test_signatures_that_are_none(plugged: Plugged, signature: str) -> None:
    configure(plugged)
    date = now()
    head, _, _ = authorization([f"date: {date}"], "date").rpartition('signature="')
    answer = plugged.request("/", f"Date: {date}", f'Authorization: {head}signature="{signature}"')
    assert_refused(answer, NO_MATCH)


def test_forms_of_the_header(plugged: Plugged) -> None:
    configure(plugged)
    date = now()
    header = authorization([f"date: {date}"], "date")
    for good in (
        header.replace("hmac ", "Hmac", 1),
        header.replace(", ", ",\t  "),
        header.replace('=",', '",'),
    ):
        assert plugged.request("/", f"Date: {date}", f"Authorization: {good}").status == 200
    assert plugged.request("/", f"Date: {date}", f"Proxy-Authorization: {header}").status == 200
    # the first that can be read counts
    bad = authorization([f"date: {date}"], "date", key="x")
    fields = (f"Date: {date}", f"Proxy-Authorization: {bad}", f"Authorization: {header}")
    assert_refused(plugged.request("/", *fields), NO_MATCH)
    fields = (f"Date: {date}", "Proxy-Authorization: Basic eDp5", f"Authorization: {header}")
    assert plugged.request("/", *fields).status == 200


def test_more_is_signed_than_fits(plugged: Plugged) -> None:
    configure(plugged)
    date = now()
    names = ["date"] + ["x-a"] * 300
    header = authorization([f"date: {date}"] + ["x-a: 1"] * 300, " ".join(names))
    assert_refused(plugged.request("/", f"Date: {date}", "X-A: 1", f"Authorization: {header}"), NO_MATCH)
    names = ["date"] + ["x-a"] * 50
    header = authorization([f"date: {date}"] + ["x-a: 1"] * 50, " ".join(names))
    assert plugged.request("/", f"Date: {date}", "X-A: 1", f"Authorization: {header}").status == 200


PIECES = ["hmac ", "hmac", 'username="', "u", '", ', 'algorithm="', "hmac-sha256", 'headers="', "date", " "]
MORE_PIECES = ['signature="', '"', ",", "=", "A" * 44, "\t", "é"]


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(PIECES + MORE_PIECES), max_size=14))
def test_any_header(plugged: Plugged, pieces: list[str]) -> None:
    plugged.ensure(plugin("hmac-auth"), consumers=[BOB])
    answer = plugged.request("/", f"Date: {now()}", "Authorization: " + "".join(pieces))
    assert answer.status == 401


# --- bodies ------------------------------------------------------------------------------------------------
def digest_of(body: bytes) -> str:
    return "SHA-256=" + base64.b64encode(hashlib.sha256(body).digest()).decode()


def send_body(plugged: Plugged, body: bytes, *fields: str, key: str = KEY) -> Answer:
    date = now()
    header = authorization([f"date: {date}"], "date", key=key)
    return plugged.request(
        "/", f"Date: {date}", f"Authorization: {header}", *fields, method="POST", body=body
    )


@pytest.mark.parametrize("body", [b"body", b"x" * 300_000])
def test_digests_of_bodies(plugged: Plugged, body: bytes) -> None:
    configure(plugged, validate_request_body=True, hide_credentials=True)
    answer = send_body(plugged, body, f"Digest: {digest_of(body)}")
    assert answer.status == 200
    assert answer.upstream.body == body
    assert answer.upstream.get("authorization") is None
    assert_refused(send_body(plugged, body), NO_MATCH)
    assert_refused(send_body(plugged, body, f"Digest: {digest_of(body + b'x')}"), NO_MATCH)
    assert_refused(send_body(plugged, body, f"Digest: {digest_of(body).upper()}"), NO_MATCH)
    assert_refused(send_body(plugged, body, f"Digest: {digest_of(body)[8:]}"), NO_MATCH)
    assert_refused(send_body(plugged, body, f"Digest: {digest_of(body)}", key="x"), NO_MATCH)
    configure(plugged)
    assert send_body(plugged, body, "Digest: SHA-256=x").status == 200, "only when it is asked for"


def test_digests_without_a_body(plugged: Plugged) -> None:
    configure(plugged, validate_request_body=True)
    assert signed(plugged).status == 200
    date = now()
    fields = [f"Date: {date}", f"Authorization: {authorization([f'date: {date}'], 'date')}"]
    assert plugged.request("/", *fields, f"Digest: {digest_of(b'')}").status == 200
    assert_refused(plugged.request("/", *fields, f"Digest: {digest_of(b'x')}"), NO_MATCH)


def test_bodies_that_are_longer_than_plugins_may_see(plugged: Plugged) -> None:
    configure(plugged, validate_request_body=True)
    body = b"x" * (1024 * 1024 + 1)
    assert_refused(send_body(plugged, body, f"Digest: {digest_of(body)}"), NO_MATCH)


# --- hiding, anonymous, realm ------------------------------------------------------------------------------
def test_hiding(plugged: Plugged) -> None:
    configure(plugged, hide_credentials=True)
    assert signed(plugged).upstream.get("authorization") is None
    configure(plugged)
    assert signed(plugged).upstream.get("authorization") is not None


def test_anonymous(plugged: Plugged) -> None:
    configure(plugged, anonymous="anon", hide_credentials=True)
    for answer in (plugged.request("/"), signed(plugged, key="x"), signed(plugged, username="nobody")):
        assert answer.upstream.get("x-anonymous-consumer") == "true"
        assert answer.upstream.get("x-consumer-username") == "anon"
        assert answer.upstream.get("authorization") is None
    assert signed(plugged).upstream.get("x-anonymous-consumer") is None


def test_realm(plugged: Plugged) -> None:
    configure(plugged, realm="r")
    assert plugged.request("/").challenge == 'hmac realm="r"'
