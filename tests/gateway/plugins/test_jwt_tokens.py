"""jwt on the plugin thread: tokens of all algorithms, what must hold of their claims, a table of attacks."""

from __future__ import annotations

import json
import struct
import time
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.plugin_thread import Job, WorkerContext
from gateway.plugins._jwt_handler import ALWAYS, FOR_EVER, JwtHandler, Outcome, Verb
from gateway.plugins._jwt_keys import ALGORITHM_NAMES
from gateway.plugins._jwt_rules import ClaimsError, rules_of
from gateway.plugins._jwt_tokens import TokenError, read_token
from gateway.plugins.jwt import JwtConfig
from tests.support.attack_tokens import HS256, UNKNOWN, attack_tokens
from tests.support.tokens import ALGORITHMS, SECRET, ed448_pair, make_pair, pair, with_hmac

NUMBERS = {name: number for number, name in ALGORITHM_NAMES.items()}
Keys = list[tuple[str, str]]
CREDENTIALS: dict[str, tuple[str, str]] = {
    "k": ("HS256", SECRET),
    "rs": ("RS256", pair("RS256").public),
    "es": ("ES256", pair("ES256").public),
}
NOW = 1_700_000_000


@pytest.fixture
def handler() -> JwtHandler:
    return JwtHandler(cast("WorkerContext", SimpleNamespace(log=SimpleNamespace(warn=print))))


class Asked:
    """What a handler answered."""

    def __init__(self, result: bytes) -> None:
        self.outcome = Outcome(result[0])
        self.name = ""
        self.body: dict[str, str] = {}
        if self.outcome == Outcome.READ:
            self.name = result[1:].decode()
        elif self.outcome == Outcome.REFUSED:
            self.body = json.loads(result[1:])
        elif self.outcome == Outcome.VERIFIED:
            _, self.begins, self.expires, self.known_until, self.place = struct.unpack_from("<BqqqI", result)
            self.name = result[29:].decode()


def ask(handler: JwtHandler, verb: Verb, payload: bytes, config: dict[str, Any]) -> Asked:
    plugin = SimpleNamespace(config_hash=hash(json.dumps(config, sort_keys=True)))
    job = SimpleNamespace(verb=int(verb), payload=payload, config=config, plugin=plugin)
    result = handler.handle(cast("Job", job))
    assert isinstance(result, bytes)
    return Asked(result)


def read(handler: JwtHandler, token: str, **config: Any) -> Asked:
    return ask(handler, Verb.READ, token.encode(), config)


def verify(handler: JwtHandler, token: str, keys: Keys, **config: Any) -> Asked:
    packed = struct.pack("<I", len(keys))
    for algorithm, key in keys:
        packed += struct.pack("<BI", NUMBERS[algorithm], len(key.encode())) + key.encode()
    return ask(handler, Verb.VERIFY, packed + token.encode(), config)


def judge(handler: JwtHandler, token: str) -> Asked:
    """Both jobs, with the credential looked up between them as the step does."""
    told = read(handler, token)
    if told.outcome != Outcome.READ:
        return told
    if told.name not in CREDENTIALS:
        return Asked(bytes((Outcome.REFUSED,)) + json.dumps({"message": UNKNOWN}).encode())
    return verify(handler, token, [CREDENTIALS[told.name]])


# --- good tokens ------------------------------------------------------------------------------------
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_every_algorithm(handler: JwtHandler, algorithm: str) -> None:
    keys = pair(algorithm)
    token = keys.sign({"iss": "somebody", "name": "Zoë", "list": [1, 2.5, None]})
    assert read(handler, token).name == "somebody"
    found = verify(handler, token, [(algorithm, keys.public)])
    assert (found.outcome, found.name, found.place) == (Outcome.VERIFIED, "somebody", 0)
    assert (found.begins, found.expires, found.known_until) == (ALWAYS, FOR_EVER, FOR_EVER)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_of_another_key_of_every_algorithm(handler: JwtHandler, algorithm: str) -> None:
    token = pair(algorithm).sign({"iss": "a"})
    other = SECRET + "!" if algorithm.startswith("HS") else make_pair(algorithm).public
    assert verify(handler, token, [(algorithm, other)]).body == {"message": "Invalid signature"}


def test_no_algorithm_takes_the_token_of_another_one(handler: JwtHandler) -> None:
    for claimed in ALGORITHMS:
        token = pair(claimed).sign({"iss": "a"})
        for algorithm in ALGORITHMS:
            if algorithm != claimed:
                found = verify(handler, token, [(algorithm, pair(algorithm).public)])
                assert found.body == {"message": "Invalid algorithm"}
                # not even when the key would fit
                found = verify(handler, token, [(algorithm, pair(claimed).public)])
                assert found.body == {"message": "Invalid algorithm"}


def test_the_other_curve_of_eddsa(handler: JwtHandler) -> None:
    keys = ed448_pair()
    found = verify(handler, keys.sign({"iss": "a"}), [("EdDSA", keys.public)])
    assert found.outcome == Outcome.VERIFIED


def test_a_curve_that_is_not_the_algorithms(handler: JwtHandler) -> None:
    token = pair("ES256").sign({"iss": "a"})
    found = verify(handler, token, [("ES256", pair("ES384").public)])
    assert found.body == {"message": "Invalid key/secret"}


def test_headers_that_say_nothing_about_keys(handler: JwtHandler) -> None:
    for headers in ({"typ": "at+jwt"}, {"typ": None}, {"cty": "JWT"}, {"kid": "anything"}):
        token = pair("HS256").sign({"iss": "k"}, **headers)
        assert judge(handler, token).outcome == Outcome.VERIFIED


# --- attacks ----------------------------------------------------------------------------------------
ATTACKS = attack_tokens()


@pytest.mark.parametrize("attack", ATTACKS)
def test_attacks_are_refused(handler: JwtHandler, attack: str) -> None:
    token, message = ATTACKS[attack]
    begin = time.process_time()
    found = judge(handler, token)
    assert time.process_time() - begin < 1.0, "of processor time"
    assert (found.outcome, found.body) == (Outcome.REFUSED, {"message": message})


@given(st.data())
@settings(max_examples=300)
def test_a_good_token_has_one_spelling(data: st.DataObject) -> None:
    """Whatever character is changed, put in or left out."""
    handler = JwtHandler(cast("WorkerContext", SimpleNamespace(log=SimpleNamespace(warn=print))))
    good = with_hmac(HS256, {"iss": "k", "sub": "someone"}, SECRET.encode())
    place = data.draw(st.integers(0, len(good)))
    cut = data.draw(st.integers(0, 2))
    put = data.draw(st.text(st.characters(max_codepoint=255), max_size=2))
    token = good[:place] + put + good[place + cut :]
    if token != good:
        assert judge(handler, token).outcome == Outcome.REFUSED


@given(st.binary(max_size=200))
@settings(max_examples=300)
def test_any_bytes_are_refused_in_words(text: bytes) -> None:
    with pytest.raises(TokenError):
        read_token(text)


# --- the name of the credential -----------------------------------------------------------------------
def test_another_claim_or_header_names_the_credential(handler: JwtHandler) -> None:
    token = pair("HS256").sign({"iss": "a", "sub": "b"}, kid="c")
    assert read(handler, token, key_claim_name="sub").name == "b"
    assert read(handler, token, key_claim_name="kid").name == "c"
    assert read(handler, pair("HS256").sign({"kid": "d"}, kid="c"), key_claim_name="kid").name == "d"
    assert read(handler, token, key_claim_name="azp").body == {"message": "No mandatory 'azp' in claims"}
    assert read(handler, token, key_claim_name=None).name == "a"


# --- keys ---------------------------------------------------------------------------------------------
def test_the_first_key_that_fits_counts(handler: JwtHandler) -> None:
    token = pair("HS256").sign({"iss": "a"})
    keys = [("HS256", "other"), ("RS256", pair("RS256").public), ("HS256", SECRET), ("HS256", SECRET)]
    assert verify(handler, token, keys).place == 2
    assert verify(handler, token, keys[:2]).body == {"message": "Invalid signature"}
    assert verify(handler, token, keys[1:2]).body == {"message": "Invalid algorithm"}


@pytest.mark.parametrize(
    "key", ["", "no key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"]
)
def test_keys_that_are_none(handler: JwtHandler, key: str) -> None:
    for algorithm in ("RS256", "ES256", "EdDSA"):
        token = pair(algorithm).sign({"iss": "a"})
        assert verify(handler, token, [(algorithm, key)]).body == {"message": "Invalid key/secret"}


def test_a_public_key_is_no_secret(handler: JwtHandler) -> None:
    """Somebody has put it into the wrong field: everybody knows it."""
    public = pair("RS256").public
    token = with_hmac(HS256, {"iss": "a"}, public.encode())
    assert verify(handler, token, [("HS256", public)]).body == {"message": "Invalid key/secret"}


@pytest.mark.parametrize("secret", ["AQIDcmF3IQ", "AQIDcmF3IQ==", "AQIDcmF3IQ="])
def test_secrets_in_base64(handler: JwtHandler, secret: str) -> None:
    token = with_hmac(HS256, {"iss": "a"}, b"\1\2\3raw!")
    assert verify(handler, token, [("HS256", secret)], secret_is_base64=True).outcome == Outcome.VERIFIED
    assert verify(handler, token, [("HS256", secret)]).body == {"message": "Invalid signature"}


def test_secrets_in_both_alphabets(handler: JwtHandler) -> None:
    token = with_hmac(HS256, {"iss": "a"}, b"\xfb\xef\xff")
    for secret in ("++//", "--__"):
        assert verify(handler, token, [("HS256", secret)], secret_is_base64=True).outcome == Outcome.VERIFIED
    found = verify(handler, token, [("HS256", "no base64!")], secret_is_base64=True)
    assert found.body == {"message": "Invalid key/secret"}


def test_public_keys_are_never_in_base64(handler: JwtHandler) -> None:
    keys = pair("RS256")
    found = verify(handler, keys.sign({"iss": "a"}), [("RS256", keys.public)], secret_is_base64=True)
    assert found.outcome == Outcome.VERIFIED


# --- claims -------------------------------------------------------------------------------------------
def checked(claims: dict[str, Any], now: int = NOW, **config: Any) -> tuple[int | None, int | None] | Any:
    """The period in which the claims hold, or what is wrong with them."""

    try:
        period = rules_of(config).check(claims, now)
    except ClaimsError as problem:
        return problem.problems
    return period.begins, period.expires


EXP, NBF = {"claims_to_verify": ["exp"]}, {"claims_to_verify": ["nbf"]}
BOTH = {"claims_to_verify": ["exp", "nbf"]}


def test_claims_are_not_looked_at_unless_asked_for() -> None:
    assert checked({"exp": 1, "nbf": 9e12}) == (None, None)
    assert checked({"exp": "x"}, claims_to_verify=None) == (None, None)
    assert checked({"exp": 1}, **NBF) == {"nbf": "must be a number"}


def test_expiry() -> None:
    assert checked({"exp": NOW + 1}, **EXP) == (None, NOW + 1)
    assert checked({"exp": NOW}, **EXP) == {"exp": "token expired"}
    assert checked({"exp": NOW + 0.5}, **EXP) == (None, NOW + 1)
    assert checked({"exp": -1}, **EXP) == {"exp": "token expired"}


def test_not_before() -> None:
    assert checked({"nbf": NOW}, **NBF) == (NOW, None)
    assert checked({"nbf": NOW + 1}, **NBF) == {"nbf": "token not valid yet"}
    assert checked({"nbf": NOW - 0.5}, **NBF) == (NOW, None)


def test_both() -> None:
    assert checked({"exp": NOW + 9, "nbf": NOW - 9}, **BOTH) == (NOW - 9, NOW + 9)
    assert checked({}, **BOTH) == {"exp": "must be a number", "nbf": "must be a number"}
    assert checked({"exp": 1, "nbf": NOW + 5}, **BOTH) == {
        "exp": "token expired",
        "nbf": "token not valid yet",
    }


@pytest.mark.parametrize("value", [None, "1", "", True, [], {}, [NOW + 5]])
def test_what_is_no_number(value: object) -> None:
    assert checked({"exp": value}, **EXP) == {"exp": "must be a number"}


@pytest.mark.parametrize("value", [1e300, 10**30, 10**4000, (1 << 63), (1 << 64) - 1])
def test_times_beyond_all_bounds(value: float) -> None:
    """They are as good as never, and fit into what native code reads."""
    begins, expires = checked({"exp": value, "nbf": -value}, **BOTH)
    assert struct.pack("<qq", begins, expires)
    assert begins < 0
    assert expires > 1 << 60
    assert checked({"exp": value}, **EXP, maximum_expiration=5) == {
        "exp": "exceeds maximum allowed expiration"
    }


def test_maximum_expiration() -> None:
    config = {**EXP, "maximum_expiration": 100}
    assert checked({"exp": NOW + 100}, **config) == (NOW, NOW + 100)
    assert checked({"exp": NOW + 101}, **config) == {"exp": "exceeds maximum allowed expiration"}
    assert checked({"exp": NOW + 101}, **{**EXP, "maximum_expiration": 0}) == (None, NOW + 101)
    # it stays good until it expires, but was not before
    assert checked({"exp": NOW + 40}, **config) == (NOW - 60, NOW + 40)


def test_expired_tokens_are_told_after_the_signature(handler: JwtHandler) -> None:
    token = pair("HS256").sign({"iss": "a", "exp": 1})
    assert verify(handler, token, [("HS256", SECRET)], **EXP).body == {"exp": "token expired"}
    assert verify(handler, token, [("HS256", "x")], **EXP).body == {"message": "Invalid signature"}


# --- what makes two configurations different ----------------------------------------------------------
def test_rules_that_differ_have_other_digests() -> None:
    configs: list[dict[str, Any]] = [
        {},
        {"key_claim_name": "sub"},
        {"secret_is_base64": True},
        EXP,
        NBF,
        BOTH,
        {**EXP, "maximum_expiration": 10},
        {**EXP, "maximum_expiration": 10.5},
        {"jwks_uri": "https://a.example/"},
        {"jwks_uri": "https://b.example/"},
        {"jwks_uri": "https://a.example/", "jwks_cache_ttl": 5},
        {"jwks_uri": "https://a.example/", "jwks_audiences": ["a"]},
        {"jwks_uri": "https://a.example/", "jwks_audiences": ["a", "b"]},
    ]
    assert len({rules_of(config).digest() for config in configs}) == len(configs)


def test_places_of_tokens_are_no_rules() -> None:
    one = rules_of(JwtConfig(header_names=["a"], cookie_names=["b"], realm="c", anonymous="d"))
    assert one.digest() == rules_of(JwtConfig()).digest() == rules_of({}).digest()
    assert rules_of(JwtConfig(claims_to_verify=["nbf", "exp"])).digest() == rules_of(BOTH).digest()
