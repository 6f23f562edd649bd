"""jwt: the key sets of issuers. When they are fetched, what is taken from them, and what is not."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import jwt
import pytest

from gateway.plugins import _jwt_key_sets
from gateway.plugins._jwt_key_sets import (
    KEPT_WHEN_UNREACHABLE,
    MOST_BYTES,
    MOST_KEYS,
    MOST_SETS,
    RETRY_INTERVAL,
    UNKNOWN_KEY_INTERVAL,
    KeySetProblem,
    KeySets,
    KeySetUnavailable,
    read_key_set,
)
from gateway.plugins._jwt_tokens import read_token
from tests.support.tokens import KeyPair, encoded, make_pair, pair, with_hmac

URL = "https://issuer.example/keys"
TTL = 300.0

Responder = Callable[[httpx.Request], httpx.Response | Awaitable[httpx.Response]]


class Issuer:
    """An address that answers as it is told, a clock that goes as it is told, and key sets that use them."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.responder: Responder = lambda _: httpx.Response(200, json={"keys": self.keys})
        self.requests: list[str] = []
        self.problems: list[str] = []
        self.now = 1000.0
        self.sets = KeySets(
            self.problems.append, clock=lambda: self.now, transport=httpx.MockTransport(self._answer)
        )

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(str(request.url))
        await asyncio.sleep(0)
        answer = self.responder(request)
        return answer if isinstance(answer, httpx.Response) else await answer

    async def verify(self, token: str, url: str = URL, ttl: float = TTL) -> float | None:
        return await self.sets.verify(url, ttl, read_token(token.encode()))

    def fail(self, status: int = 500) -> None:
        self.responder = lambda _: httpx.Response(status)


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


def signed(keys: KeyPair, **headers: Any) -> str:
    return keys.sign({"iss": "issuer"}, **headers)


# --- verifying ----------------------------------------------------------------------------------------
@pytest.mark.parametrize("algorithm", ["RS256", "RS512", "PS384", "ES256", "ES384", "ES512", "EdDSA"])
def test_every_algorithm_with_public_keys(issuer: Issuer, algorithm: str) -> None:
    issuer.keys = [make_pair("RS256").jwk(kid="other"), pair(algorithm).jwk(kid="mine")]

    async def run() -> None:
        assert await issuer.verify(signed(pair(algorithm), kid="mine")) == TTL
        assert await issuer.verify(signed(pair(algorithm))) == TTL  # without kid all that fit are tried
        assert await issuer.verify(signed(make_pair(algorithm), kid="mine")) is None
        assert await issuer.verify(signed(make_pair(algorithm))) is None

    asyncio.run(run())
    assert issuer.requests == [URL]


def test_public_keys_are_no_secrets(issuer: Issuer) -> None:
    keys = pair("RS256")
    issuer.keys = [keys.jwk(kid="a"), {"kty": "oct", "k": encoded(b"secret"), "kid": "b"}]

    async def run() -> None:
        for secret in (b"secret", keys.public.encode(), json.dumps(keys.jwk()).encode()):
            for kid in ("a", "b"):
                token = with_hmac({"alg": "HS256", "kid": kid}, {"iss": "x"}, secret)
                assert await issuer.verify(token) is None

    asyncio.run(run())
    assert issuer.requests == []


def test_a_key_for_one_algorithm_is_not_used_with_another(issuer: Issuer) -> None:
    issuer.keys = [pair("RS256").jwk(kid="a", alg="RS256")]

    async def run() -> None:
        assert await issuer.verify(signed(pair("RS256"), kid="a"))
        private = KeyPair("PS256", pair("RS256").private, "")
        assert await issuer.verify(signed(private, kid="a")) is None

    asyncio.run(run())


@pytest.mark.parametrize(
    "members", [{"use": "enc"}, {"key_ops": ["encrypt"]}, {"key_ops": "verify"}, {"kid": 5}, {"use": None}]
)
def test_keys_for_other_uses_are_left_out(issuer: Issuer, members: dict[str, Any]) -> None:
    issuer.keys = [pair("RS256").jwk(**{"kid": "a", **members})]
    assert asyncio.run(issuer.verify(signed(pair("RS256"), kid="a"))) is None


def test_private_keys_in_a_set_are_as_good_as_public_ones() -> None:

    private = jwt.get_algorithm_by_name("RS256").to_jwk(pair("RS256").private, as_dict=True)
    (key, *_) = read_key_set(json.dumps({"keys": [{**private, "key_ops": ["verify"]}]}).encode())
    assert not hasattr(key.key, "private_numbers")


# --- what is no key set -------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b'"keys"',
        b"{}",
        b'{"keys":null}',
        b'{"keys":{}}',
        b"[" * 100_000,
        b"\xff\xfe",
        json.dumps({"keys": [{}] * (MOST_KEYS + 1)}).encode(),
    ],
)
def test_what_is_no_key_set(document: bytes) -> None:
    with pytest.raises(KeySetProblem):
        read_key_set(document)


@pytest.mark.parametrize(
    "member",
    [
        None,
        1,
        [],
        {},
        {"kty": "RSA"},
        {"kty": "RSA", "n": 1, "e": "AQAB"},
        {"kty": "RSA", "n": "!", "e": "AQAB"},
        {"kty": "RSA", "n": encoded(b"\xc1" * 32), "e": "AQAB"},
        {"kty": "RSA", "n": "", "e": ""},
        {"kty": ["RSA"], "n": "a", "e": "AQAB"},
        {"kty": "EC", "crv": "P-256", "x": "AA", "y": "AA"},
        {"kty": "EC", "crv": "P-256", "x": encoded(bytes(32)), "y": encoded(bytes(32))},
        {"kty": "EC", "crv": "secp256k1", "x": encoded(bytes(32)), "y": encoded(bytes(32))},
        {"kty": "OKP", "crv": "X25519", "x": encoded(bytes(32))},
        {"kty": "OKP", "crv": "Ed25519", "x": encoded(bytes(31))},
        {"kty": "AKP", "alg": "ML-DSA-44", "pub": "AA"},
    ],
)
def test_unusable_keys_are_left_out_and_others_used(member: Any) -> None:
    good = pair("ES256").jwk(kid="good")
    found = read_key_set(json.dumps({"keys": [member, good]}).encode())
    assert [(key.kid, key.algorithm) for key in found] == [("good", "ES256")]


# --- keeping ------------------------------------------------------------------------------------------
def test_fetched_again_after_its_time(issuer: Issuer) -> None:
    issuer.keys = [pair("ES256").jwk(kid="a")]
    token = signed(pair("ES256"), kid="a")

    async def run() -> None:
        assert await issuer.verify(token) == TTL
        issuer.now += 299
        assert await issuer.verify(token) == 1.0  # what is left of its time
        assert len(issuer.requests) == 1
        issuer.now += 1
        issuer.keys = []
        assert await issuer.verify(token) is None
        assert len(issuer.requests) == 2

    asyncio.run(run())


def test_requests_that_come_together_share_a_fetch(issuer: Issuer) -> None:
    issuer.keys = [pair("ES256").jwk(kid="a")]
    token = signed(pair("ES256"), kid="a")

    async def run() -> None:
        assert await asyncio.gather(*(issuer.verify(token) for _ in range(50))) == [TTL] * 50

    asyncio.run(run())
    assert len(issuer.requests) == 1


def test_a_request_that_goes_away_does_not_end_the_fetch_of_others(issuer: Issuer) -> None:
    issuer.keys = [pair("ES256").jwk(kid="a")]
    token = signed(pair("ES256"), kid="a")

    async def run() -> None:
        first = asyncio.create_task(issuer.verify(token))
        second = asyncio.create_task(issuer.verify(token))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == TTL

    asyncio.run(run())
    assert len(issuer.requests) == 1


def test_an_unknown_key_asks_again_but_not_often(issuer: Issuer) -> None:
    old, new = pair("ES256"), make_pair("ES256")
    issuer.keys = [old.jwk(kid="old")]

    async def run() -> None:
        assert await issuer.verify(signed(new, kid="new")) is None
        assert len(issuer.requests) == 1  # it has just been fetched
        issuer.keys = [old.jwk(kid="old"), new.jwk(kid="new")]
        assert await issuer.verify(signed(new, kid="new")) == TTL
        assert len(issuer.requests) == 2
        for number in range(100):
            assert await issuer.verify(signed(new, kid=f"none-{number}")) is None
        assert len(issuer.requests) == 2
        assert await issuer.verify(signed(old, kid="old")) == TTL
        issuer.now += UNKNOWN_KEY_INTERVAL
        assert await asyncio.gather(*(issuer.verify(signed(new, kid="none")) for _ in range(9))) == [None] * 9
        assert len(issuer.requests) == 3

    asyncio.run(run())


# --- failures -----------------------------------------------------------------------------------------
def test_failures_are_remembered_for_a_while(issuer: Issuer) -> None:
    issuer.keys = [pair("ES256").jwk(kid="a")]
    working, token = issuer.responder, signed(pair("ES256"), kid="a")
    issuer.fail()

    async def run() -> None:
        for _ in range(20):
            with pytest.raises(KeySetUnavailable):
                await issuer.verify(token)
        assert len(issuer.requests) == 1
        issuer.responder = working
        issuer.now += RETRY_INTERVAL
        assert await issuer.verify(token) == TTL

    asyncio.run(run())
    assert issuer.problems == [f"no key set from {URL}: status 500"]


def test_known_keys_outlast_an_issuer_that_is_away(issuer: Issuer) -> None:
    issuer.keys = [pair("ES256").jwk(kid="a")]
    token = signed(pair("ES256"), kid="a")

    async def run() -> None:
        assert await issuer.verify(token)
        issuer.fail()
        issuer.now += TTL + KEPT_WHEN_UNREACHABLE - 1
        assert await issuer.verify(token) == 1.0
        issuer.now += 2
        with pytest.raises(KeySetUnavailable):
            await issuer.verify(token)

    asyncio.run(run())


def test_an_issuer_that_never_answers(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_jwt_key_sets, "REQUEST_TIME", 0.1)
    token = signed(pair("ES256"), kid="a")

    async def hang(_: httpx.Request) -> httpx.Response:
        await asyncio.Event().wait()
        raise AssertionError

    issuer.responder = hang

    async def run() -> None:
        with pytest.raises(KeySetUnavailable):
            await issuer.verify(token)
        await issuer.sets.close()

    asyncio.run(run())
    assert len(issuer.requests) == 1


def answers(**described: Any) -> Responder:
    return lambda _: httpx.Response(**described)


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (answers(status_code=404), "status 404"),
        (answers(status_code=204), "status 204"),
        (answers(status_code=200, content=b"x" * (MOST_BYTES + 1)), f"it is longer than {MOST_BYTES} bytes"),
        (answers(status_code=200, content=b"<html>"), "no JSON"),
        (answers(status_code=302, headers={"location": "https://other.example/keys"}), "another host"),
        (answers(status_code=302, headers={"location": "http://issuer.example/keys"}), "another host"),
        (answers(status_code=302, headers={"location": "https://issuer.example:444/keys"}), "another host"),
        (answers(status_code=302, headers={"location": "//other.example/keys"}), "another host"),
        (
            answers(status_code=302, headers={"location": "https://issuer.example@other.example/"}),
            "another host",
        ),
        (answers(status_code=302, headers={"location": "file:///etc/passwd"}), "another host"),
        (answers(status_code=302, headers={"location": "/keys"}), "too many redirects"),
        (answers(status_code=302), "status 302"),
    ],
)
def test_answers_that_are_refused(issuer: Issuer, response: Responder, reason: str) -> None:
    issuer.responder = response

    async def run() -> None:
        with pytest.raises(KeySetUnavailable):
            await issuer.verify(signed(pair("ES256"), kid="a"))

    asyncio.run(run())
    assert reason in issuer.problems[0]
    assert all(url.startswith("https://issuer.example/") for url in issuer.requests)


def test_redirects_within_the_origin_are_followed(issuer: Issuer) -> None:
    keys = {"keys": [pair("ES256").jwk(kid="a")]}

    def respond(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/keys":
            return httpx.Response(301, headers={"location": "certs?v=2"})
        return httpx.Response(200, json=keys)

    issuer.responder = respond
    assert asyncio.run(issuer.verify(signed(pair("ES256"), kid="a"))) == TTL
    assert issuer.requests == [URL, "https://issuer.example/certs?v=2"]


def test_connections_that_fail(issuer: Issuer) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused", request=request)

    issuer.responder = respond

    async def run() -> None:
        with pytest.raises(KeySetUnavailable):
            await issuer.verify(signed(pair("ES256"), kid="a"))

    asyncio.run(run())
    assert issuer.problems == [f"no key set from {URL}: refused"]


def test_sets_of_configurations_that_are_gone_are_forgotten(issuer: Issuer) -> None:
    issuer.keys = [pair("ES256").jwk(kid="a")]
    token = signed(pair("ES256"), kid="a")

    async def run() -> None:
        for number in range(MOST_SETS + 10):
            assert await issuer.verify(token, f"https://issuer.example/{number}")
        assert len(issuer.sets._sets) <= MOST_SETS

    asyncio.run(run())
