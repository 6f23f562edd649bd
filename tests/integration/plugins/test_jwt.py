"""jwt: where tokens are looked for, which ones are refused and how, whose they are, what is remembered."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from tests.support.attack_tokens import HS256, attack_tokens
from tests.support.gateway import wait_for
from tests.support.jwt_requests import HITS, MISSES, bearer, counted
from tests.support.plugged import Answer, Plugged, plugin
from tests.support.tokens import ALGORITHMS, SECRET, KeyPair, make_pair, pair, with_hmac
from tests.support.upstreams import Connection, Upstream, response

INVALID = 'Bearer error="invalid_token"'
BOB = {
    "username": "bob",
    "custom_id": "bob-9",
    "jwt_secrets": [{"key": "k", "secret": SECRET}],
}


def credential(algorithm: str, key: str) -> dict[str, Any]:
    if algorithm.startswith("HS"):
        return {"key": key, "algorithm": algorithm, "secret": SECRET}
    return {"key": key, "algorithm": algorithm, "rsa_public_key": pair(algorithm).public}


def configure(plugged: Plugged, *consumers: dict[str, Any], **config: Any) -> None:
    plugged.configure(plugin("jwt", **config), consumers=list(consumers) or [BOB, {"username": "anon"}])


def good(**claims: Any) -> str:
    return pair("HS256").sign({"iss": "k", **claims})


def assert_bob(answer: Answer, key: str = "k") -> None:
    assert answer.status == 200, answer.response
    identity = {name: value for name, value in answer.upstream.identity.items() if name != "x-consumer-id"}
    assert identity == {
        "x-consumer-username": "bob",
        "x-consumer-custom-id": "bob-9",
        "x-credential-identifier": key,
    }
    assert re.fullmatch("[0-9a-f-]{36}", answer.upstream.get("x-consumer-id") or "")


def assert_refused(answer: Answer, message: str | dict[str, str], challenge: str = INVALID) -> None:
    assert answer.status == 401, answer.response
    assert answer.challenge == challenge
    assert answer.response.get("content-type") == "application/json; charset=utf-8"
    body = answer.response.body
    assert json.loads(body) == ({"message": message} if isinstance(message, str) else message)
    assert b"\n" not in body  # on one line, without request_id


# --- where tokens are ---------------------------------------------------------------------------------
def test_no_token(plugged: Plugged) -> None:
    configure(plugged)
    for fields in (
        [],
        ["Authorization: Basic YTpi"],
        ["Authorization: Bearer"],
        ["Authorization: bearertoken"],
    ):
        assert_refused(plugged.request("/", *fields), "Unauthorized", "Bearer")
    assert_refused(plugged.request("/?jwt=&a=1", "Cookie: jwt=x"), "Unauthorized", "Bearer")


def test_header(plugged: Plugged) -> None:
    configure(plugged)
    for field in ("Authorization: Bearer {}", "AUTHORIZATION: bearer {}", "Authorization:  Bearer \t {} "):
        assert_bob(plugged.request("/", field.format(good())))
    assert_refused(plugged.request("/", f"X-Token: Bearer {good()}"), "Unauthorized", "Bearer")


def test_query(plugged: Plugged) -> None:
    configure(plugged)
    token = good()
    escaped = "".join(f"%{ord(c):02x}" for c in token)
    for target in (
        f"/?jwt={token}",
        f"/?a=1&jwt={token}&b=%zz",
        f"/?jwt={escaped}",
        f"/?%6awt={token}",
        f"/?jwt={token}&jwt={token}&&=",
        f"/?JWT=x&jw=x&jwtt=x&jwt={quote(token)}",
    ):
        answer = plugged.request(target)
        assert_bob(answer)
        assert answer.upstream.target == target
    assert_refused(plugged.request(f"/?JWT={token}"), "Unauthorized", "Bearer")
    assert_refused(plugged.request("/?jwt"), "Unrecognizable token")


def test_cookie(plugged: Plugged) -> None:
    configure(plugged, cookie_names=["session", "token"])
    for cookies in ("token={}", "a=1; token={}", "session={}; b", "token={};a=2", ";; =;token=;session={}"):
        assert_bob(plugged.request("/", f"Cookie: {cookies.format(good())}"))
    assert_bob(plugged.request("/", "Cookie: a=1", f"Cookie: token={good()}"))
    assert_refused(plugged.request("/", f"Cookie: xtoken={good()}; jwt={good()}"), "Unauthorized", "Bearer")


def test_other_names(plugged: Plugged) -> None:
    configure(plugged, header_names=["X-Token", "X-Other"], uri_param_names=["t", "u"])
    assert_bob(plugged.request("/", f"x-token: Bearer {good()}"))
    assert_bob(plugged.request("/", f"x-other: Bearer {good()}", "X-Token: none"))
    assert_bob(plugged.request(f"/?u={good()}"))
    assert_refused(plugged.request(f"/?jwt={good()}", bearer(good())), "Unauthorized", "Bearer")
    configure(plugged, header_names=[], uri_param_names=[])
    assert_refused(plugged.request(f"/?jwt={good()}", bearer(good())), "Unauthorized", "Bearer")


def test_several_tokens_must_be_the_same(plugged: Plugged) -> None:
    configure(plugged, cookie_names=["jwt"], header_names=["authorization", "x-token"])
    one, other = good(), good(a=1)
    assert_bob(plugged.request(f"/?jwt={one}", bearer(one), f"Cookie: jwt={one}"))
    for target, *fields in (
        (f"/?jwt={one}", bearer(other)),
        (f"/?jwt={one}&jwt={other}",),
        (f"/?jwt&jwt={other}",),
        ("/", bearer(one), f"Cookie: jwt={other}"),
        ("/", bearer(one), f"X-Token: Bearer {other}"),
        ("/?jwt=x", bearer(one)),
    ):
        assert_refused(plugged.request(target, *fields), "Multiple tokens provided")


def test_many_arguments(plugged: Plugged) -> None:
    configure(plugged)
    many = "&".join(f"%61{number}={number}" for number in range(700))
    assert_bob(plugged.request(f"/?{many}&jwt={good()}"))
    assert_refused(plugged.request(f"/?{many}&jwt=x"), "Bad token; invalid JSON")


# --- which tokens are good ----------------------------------------------------------------------------
def test_every_algorithm(plugged: Plugged) -> None:
    secrets = [credential(algorithm, f"key-{algorithm}") for algorithm in ALGORITHMS]
    configure(plugged, {**BOB, "jwt_secrets": secrets})
    for algorithm in ALGORITHMS:
        token = pair(algorithm).sign({"iss": f"key-{algorithm}"})
        for _ in range(2):  # verified, and known
            assert_bob(plugged.request("/", bearer(token)), f"key-{algorithm}")
        changed = token[:-6] + ("A" if token[-6] != "A" else "B") + token[-5:]
        assert_refused(plugged.request("/", bearer(changed)), "Invalid signature")


def test_attacks(plugged: Plugged) -> None:
    configure(plugged, {**BOB, "jwt_secrets": [
        {"key": "k", "secret": SECRET}, credential("RS256", "rs"), credential("ES256", "es"),
    ]})  # fmt: skip
    assert_bob(plugged.request("/", bearer(good())))  # so that it is known
    tried = 0
    for token, message in attack_tokens().values():
        if len(token) < 7000:
            assert_refused(plugged.request("/", bearer(token)), message)
            tried += 1
    assert tried > 120
    assert_bob(plugged.request("/", bearer(good())))


def test_tokens_longer_than_any_buffer(plugged: Plugged) -> None:
    configure(plugged)
    for length in (3800, 3904, 3905, 8000, 20_000):
        token = good(padding="x" * (length * 3 // 4))
        for _ in range(2):
            assert_bob(plugged.request("/", bearer(token)))


def test_the_claim_that_names_the_credential(plugged: Plugged) -> None:
    configure(plugged, key_claim_name="sub")
    assert_bob(plugged.request("/", bearer(pair("HS256").sign({"sub": "k"}))))
    assert_bob(plugged.request("/", bearer(pair("HS256").sign({}, sub="k"))))
    assert_refused(plugged.request("/", bearer(good())), "No mandatory 'sub' in claims")
    token = pair("HS256").sign({"sub": "nobody"})
    assert_refused(plugged.request("/", bearer(token)), "No credentials found for given 'sub'")
    configure(plugged, key_claim_name='a"\\b')
    assert_refused(plugged.request("/", bearer(good())), "No mandatory 'a\"\\b' in claims")
    token = pair("HS256").sign({'a"\\b': "nobody"})
    assert_refused(plugged.request("/", bearer(token)), "No credentials found for given 'a\"\\b'")


def test_a_consumers_user_name_instead_of_a_key(plugged: Plugged) -> None:
    """Walk-through A: a credential without a key of its own."""
    client = {"username": "api-client", "jwt_secrets": [{"algorithm": "HS256", "secret": "my-secret-key"}]}
    configure(plugged, client, {"username": "without"})
    claims = {"iss": "api-client", "exp": int(time.time()) + 3600}
    token = with_hmac(HS256, claims, b"my-secret-key")
    for _ in range(2):
        answer = plugged.request("/", bearer(token))
        assert answer.upstream.get("x-consumer-username") == "api-client"
        assert len(answer.upstream.get("x-credential-identifier") or "") == 32  # its key, which was drawn
    assert_refused(plugged.request("/", bearer(with_hmac(HS256, claims, b"other"))), "Invalid signature")
    token = with_hmac(HS256, {"iss": "without"}, b"my-secret-key")
    assert_refused(plugged.request("/", bearer(token)), "No credentials found for given 'iss'")


def test_a_key_comes_before_a_user_name(plugged: Plugged) -> None:
    mallory = {"username": "mallory", "jwt_secrets": [{"key": "bob", "secret": "mallorys"}]}
    bob = {**BOB, "jwt_secrets": [{"key": "drawn", "secret": SECRET}]}
    token = pair("HS256").sign({"iss": "bob"})
    configure(plugged, bob)
    assert_bob(plugged.request("/", bearer(token)), "drawn")
    configure(plugged, bob, mallory)
    assert_refused(plugged.request("/", bearer(token)), "Invalid signature")  # also where it was known
    answer = plugged.request("/", bearer(with_hmac(HS256, {"iss": "bob"}, b"mallorys")))
    assert answer.upstream.get("x-consumer-username") == "mallory"
    configure(plugged, bob)
    assert_bob(plugged.request("/", bearer(token)), "drawn")


def test_any_credential_of_the_named_consumer(plugged: Plugged) -> None:
    keys = [
        *({"key": f"old-{number}", "secret": f"old-{number}"} for number in range(10)),
        credential("RS256", "rs"),
        {"key": "new", "secret": SECRET},
    ]
    configure(plugged, {**BOB, "jwt_secrets": keys})
    for _ in range(2):
        assert_bob(plugged.request("/", bearer(pair("HS256").sign({"iss": "bob"}))), "new")
        assert_bob(plugged.request("/", bearer(pair("RS256").sign({"iss": "bob"}))), "rs")
    token = pair("ES256").sign({"iss": "bob"})
    assert_refused(plugged.request("/", bearer(token)), "Invalid algorithm")


# --- refusals -----------------------------------------------------------------------------------------
def test_realm(plugged: Plugged) -> None:
    configure(plugged, realm='a "b"')
    assert_refused(plugged.request("/"), "Unauthorized", 'Bearer realm="a \\"b\\""')
    answer = plugged.request("/", bearer("x"))
    assert_refused(answer, "Bad token; invalid JSON", 'Bearer realm="a \\"b\\"" error="invalid_token"')


def test_anonymous(plugged: Plugged) -> None:
    configure(plugged, anonymous="anon")
    for fields in (
        [],
        [bearer("x")],
        [bearer(with_hmac(HS256, {"iss": "k"}, b"x"))],
        [bearer(good(a="b")) + "x"],
    ):
        answer = plugged.request("/?jwt", *fields, "X-Consumer-Username: bob", "X-Credential-Identifier: k")
        assert answer.status == 200
        assert answer.challenge is None
        assert answer.upstream.get("x-consumer-username") == "anon"
        assert answer.upstream.get("x-anonymous-consumer") == "true"
        assert answer.upstream.get("x-credential-identifier") is None
    assert_bob(plugged.request("/", bearer(good()), "X-Anonymous-Consumer: true"))
    configure(plugged, anonymous="nobody")
    assert plugged.request("/").status == 500


def test_preflight(plugged: Plugged) -> None:
    configure(plugged)
    assert_refused(plugged.request("/", method="OPTIONS"), "Unauthorized", "Bearer")
    configure(plugged, run_on_preflight=False)
    assert plugged.request("/", method="OPTIONS").upstream.identity == {}
    assert_refused(plugged.request("/"), "Unauthorized", "Bearer")


def test_logs_show_no_token(plugged: Plugged) -> None:
    configure(plugged)
    mark = f"mark-{time.monotonic_ns()}"
    tokens = [good(seen=mark), with_hmac(HS256, {"iss": "k", "seen": mark}, b"wrong"), f"x{mark}y"]
    for token in tokens:
        plugged.request(f"/?{mark}=1&jwt={token}&b=2", bearer(token))
    prefix = plugged.gateway.prefix
    wait_for(lambda: (prefix / "access.log").read_text().count(f"{mark}=1") == 3, what="the lines of the log")
    logged = (prefix / "access.log").read_text() + plugged.gateway.output()
    assert [token for token in tokens if token in logged] == []
    assert SECRET not in logged


# --- what is remembered -------------------------------------------------------------------------------
def test_known_tokens_need_no_plugin_thread(plugged: Plugged) -> None:
    configure(plugged)
    token = good(seen=time.time())
    assert_bob(plugged.request("/", bearer(token)))
    hits, misses = (counted(plugged.gateway, name) for name in (HITS, MISSES))
    for _ in range(10):
        assert_bob(plugged.request("/", bearer(token)))
    assert counted(plugged.gateway, HITS) == hits + 10
    assert counted(plugged.gateway, MISSES) == misses


def test_refused_tokens_are_not_remembered(plugged: Plugged) -> None:
    configure(plugged)
    known = good(seen=time.time())
    assert_bob(plugged.request("/", bearer(known)))
    hits = counted(plugged.gateway, HITS)
    for number in range(50):
        token = with_hmac(HS256, {"iss": "k", "n": number % 5}, b"wrong")
        assert_refused(plugged.request("/", bearer(token)), "Invalid signature")
    assert counted(plugged.gateway, HITS) == hits
    assert_bob(plugged.request("/", bearer(known)))
    assert counted(plugged.gateway, HITS) == hits + 1


def test_known_tokens_expire(plugged: Plugged) -> None:
    configure(plugged, claims_to_verify=["exp", "nbf"])
    begin = int(time.time())
    token = good(exp=begin + 3, nbf=begin)
    assert_bob(plugged.request("/", bearer(token)))
    hits = counted(plugged.gateway, HITS)
    assert_bob(plugged.request("/", bearer(token)))
    wait_for(lambda: plugged.request("/", bearer(token)).status != 200, what="the token has expired")
    assert time.time() >= begin + 3
    assert_refused(plugged.request("/", bearer(token)), {"exp": "token expired"})
    misses = counted(plugged.gateway, MISSES)
    assert_refused(plugged.request("/", bearer(token)), {"exp": "token expired"})
    assert counted(plugged.gateway, MISSES) == misses  # that is known, too
    assert counted(plugged.gateway, HITS) > hits


def test_other_rules_verify_again(plugged: Plugged) -> None:
    """What was good by the rules of one configuration may not be by those of another."""
    configure(plugged)
    expired = good(exp=1)
    for _ in range(2):
        assert_bob(plugged.request("/", bearer(expired)))
    configure(plugged, claims_to_verify=["exp"])
    assert_refused(plugged.request("/", bearer(expired)), {"exp": "token expired"})
    configure(plugged, claims_to_verify=["exp"], maximum_expiration=60)
    token = good(exp=int(time.time()) + 600)
    assert_refused(plugged.request("/", bearer(token)), {"exp": "exceeds maximum allowed expiration"})
    configure(plugged, secret_is_base64=True)
    assert plugged.request("/", bearer(expired)).status == 401


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ([], "No credentials found for given 'iss'"),
        ([{"username": "bob"}], "No credentials found for given 'iss'"),
        ([{**BOB, "jwt_secrets": [{"key": "k2", "secret": SECRET}]}], "No credentials found for given 'iss'"),
        ([{**BOB, "jwt_secrets": [{"key": "k", "secret": "other"}]}], "Invalid signature"),
        ([{**BOB, "jwt_secrets": [{**credential("HS512", "k")}]}], "Invalid algorithm"),
        ([{**BOB, "jwt_secrets": [{**credential("RS256", "k"), "secret": SECRET}]}], "Invalid algorithm"),
    ],
)
def test_a_changed_credential_ends_known_tokens(plugged: Plugged, after: list[Any], message: str) -> None:
    configure(plugged)
    for _ in range(2):
        assert_bob(plugged.request("/", bearer(good())))
    plugged.configure(plugin("jwt"), consumers=after)
    assert_refused(plugged.request("/", bearer(good())), message)
    configure(plugged)
    assert_bob(plugged.request("/", bearer(good())))


def test_a_credential_that_moves_to_another_consumer(plugged: Plugged) -> None:
    configure(plugged)
    assert_bob(plugged.request("/", bearer(good())))
    configure(plugged, {**BOB, "username": "alice", "custom_id": None}, {"username": "bob"})
    answer = plugged.request("/", bearer(good()))
    assert answer.upstream.get("x-consumer-username") == "alice"
    assert answer.upstream.get("x-consumer-custom-id") is None


def test_a_renamed_consumer_ends_tokens_by_its_name(plugged: Plugged) -> None:
    ids = {"id": "11111111-2222-4333-8444-555555555555"}
    secret = {"id": "11111111-2222-4333-8444-666666666666", "key": "drawn", "secret": SECRET}
    token = pair("HS256").sign({"iss": "bob"})
    configure(plugged, {**BOB, **ids, "jwt_secrets": [secret]})
    assert_bob(plugged.request("/", bearer(token)), "drawn")
    configure(plugged, {**BOB, **ids, "username": "rob", "jwt_secrets": [secret]})
    assert_refused(plugged.request("/", bearer(token)), "No credentials found for given 'iss'")


# --- key sets -----------------------------------------------------------------------------------------
class Issuer:
    """Serves a key set."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.status = "200 OK"
        self.upstream = Upstream(self._serve)

    def _serve(self, connection: Connection) -> None:
        while connection.read_request()[0]:
            connection.send(response(json.dumps({"keys": self.keys}).encode(), self.status))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.upstream.port}/keys/{time.monotonic_ns()}"

    @property
    def asked(self) -> int:
        return len(self.upstream.requests)


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    found = Issuer()
    with found.upstream:
        yield found


def of_issuer(keys: KeyPair, kid: str, **claims: Any) -> str:
    return bearer(keys.sign({"iss": "https://issuer.example", **claims}, kid=kid))


ISSUED = ({"username": "https://issuer.example"}, {"username": "carol", "custom_id": "subject-7"}, BOB)


def test_key_set(plugged: Plugged, issuer: Issuer) -> None:
    old, new = pair("ES256"), make_pair("ES256")
    issuer.keys = [old.jwk(kid="old")]
    configure(plugged, *ISSUED, jwks_uri=issuer.url)
    for _ in range(3):
        answer = plugged.request("/", of_issuer(old, "old"))
        assert answer.upstream.get("x-consumer-username") == "https://issuer.example"
        assert answer.upstream.get("x-credential-identifier") == "https://issuer.example"
    assert issuer.asked == 1
    issuer.keys = [old.jwk(kid="old"), new.jwk(kid="new")]
    assert plugged.request("/", of_issuer(new, "new")).status == 200  # rotation
    assert issuer.asked == 2
    for number in range(20):
        assert_refused(plugged.request("/", of_issuer(make_pair("ES256"), f"{number}")), "Invalid signature")
    assert issuer.asked == 2
    assert_bob(plugged.request("/", bearer(good())))  # credentials go on to count


def test_consumers_of_a_key_set(plugged: Plugged, issuer: Issuer) -> None:
    keys = pair("ES256")
    issuer.keys = [keys.jwk(kid="a")]
    configure(plugged, *ISSUED, jwks_uri=issuer.url, key_claim_name="sub")
    for name in ("carol", "subject-7"):
        answer = plugged.request("/", of_issuer(keys, "a", sub=name))
        assert answer.upstream.get("x-consumer-username") == "carol"
        assert answer.upstream.get("x-credential-identifier") == name
    answer = plugged.request("/", of_issuer(keys, "a", sub="nobody"))
    assert_refused(answer, "No credentials found for given 'sub'")
    # who has credentials speaks for himself
    for name in ("bob", "k"):
        assert_refused(plugged.request("/", of_issuer(keys, "a", sub=name)), "Invalid algorithm")
    configure(plugged, ISSUED[0], BOB, jwks_uri=issuer.url, key_claim_name="sub")
    answer = plugged.request("/", of_issuer(keys, "a", sub="carol"))
    assert_refused(answer, "No credentials found for given 'sub'")


def test_audiences_of_a_key_set(plugged: Plugged, issuer: Issuer) -> None:
    keys = pair("ES256")
    issuer.keys = [keys.jwk(kid="a")]
    configure(plugged, *ISSUED, jwks_uri=issuer.url, jwks_audiences=["here", "also here"])
    for audience in ("here", ["there", "also here"]):
        for _ in range(2):
            assert plugged.request("/", of_issuer(keys, "a", aud=audience)).status == 200
    for audience in ("there", [], ["her"], None, 1, {"here": 1}, [["here"]]):
        answer = plugged.request("/", of_issuer(keys, "a", aud=audience))
        assert_refused(answer, {"aud": "not for this audience"})
    assert_refused(plugged.request("/", of_issuer(keys, "a")), {"aud": "not for this audience"})
    assert_bob(plugged.request("/", bearer(good())))  # credentials are for here anyway


def test_an_issuer_without_keys(plugged: Plugged, issuer: Issuer) -> None:
    issuer.status = "503 Service Unavailable"
    configure(plugged, *ISSUED, jwks_uri=issuer.url)
    for _ in range(3):
        answer = plugged.request("/", of_issuer(pair("ES256"), "a"))
        assert (answer.status, answer.message) == (503, "The keys of the token's issuer are not available")
    assert issuer.asked == 1


def test_known_tokens_of_a_key_set_are_verified_again_in_time(plugged: Plugged, issuer: Issuer) -> None:
    keys = pair("ES256")
    issuer.keys = [keys.jwk(kid="a")]
    configure(plugged, *ISSUED, jwks_uri=issuer.url, jwks_cache_ttl=1)
    assert plugged.request("/", of_issuer(keys, "a")).status == 200
    issuer.keys = []
    wait_for(
        lambda: plugged.request("/", of_issuer(keys, "a")).status != 200, what="the key is asked for again"
    )


def test_later_plugins_find_the_token_where_kongs_do(plugged: Plugged) -> None:
    field = "X-Token:$(shared.authenticated_jwt_token)"
    plugged.configure(plugin("jwt"), plugin("request-transformer", add={"headers": [field]}), consumers=[BOB])
    token = good()
    for _ in range(2):  # verified, then remembered
        assert plugged.request("/", f"Authorization: Bearer {token}").upstream.get("x-token") == token
