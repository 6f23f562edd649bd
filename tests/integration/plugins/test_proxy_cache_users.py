"""proxy-cache: nobody is answered with what was made for somebody else.

The upstream answers with what it knows of who asks. Everybody asks for the same thing in turn, several times,
and must find himself each time.
"""

from __future__ import annotations

import base64
import itertools
import time
from collections.abc import Iterator, Sequence
from typing import Any

import jwt
import pytest

from tests.support.gateway import Gateway
from tests.support.plugged import Sent, plugin
from tests.support.scripted_cache import Cached, Script, answer

KNOWING = ("authorization", "proxy-authorization", "cookie", "x-consumer-id", "x-credential-identifier")
SECRET = "a secret of thirty-two characters"  # noqa: S105
CONSUMERS = [
    {
        "username": name,
        "keyauth_credentials": [{"key": f"key-{name}"}],
        "basicauth_credentials": [
            {"username": name, "password": "pw"},
            {"username": f"{name}2", "password": "pw"},
        ],
        "jwt_secrets": [{"key": f"iss-{name}", "secret": SECRET, "algorithm": "HS256"}],
    }
    for name in ("ann", "bob")
]


@pytest.fixture(scope="module")
def cached(shared_gateway: Gateway) -> Iterator[Cached]:
    cached = Cached(shared_gateway)
    yield cached
    cached.close()


def basic(user: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:pw".encode()).decode()


def token(issuer: str, **claims: Any) -> str:
    return jwt.encode({"iss": f"iss-{issuer}", "exp": int(time.time()) + 3600, **claims}, SECRET, "HS256")


def knowing(*fields: str) -> Script:
    """An upstream that answers with all it sees of who asks."""

    def script(sent: Sent) -> bytes:
        seen = [f"{name}={sent.get(name)}" for name in KNOWING]
        return answer(*fields, body=" ".join((sent.target, *seen)).encode())

    return script


def find_themselves(cached: Cached, *people: Sequence[str]) -> dict[str, int]:
    """Each of them asks thrice, in all orders; how often the upstream was asked, and the hits."""
    hits = 0
    first: dict[int, bytes] = {}
    orders = itertools.cycle(itertools.permutations(range(len(people))))
    for order in itertools.islice(orders, 3):
        for number in order:
            told = cached.ask(*people[number])
            assert told.status == 200
            assert first.setdefault(number, told.body) == told.body, "somebody else's response"
            hits += told.cache == "Hit"
    bodies = list(first.values())
    assert len(set(bodies)) == len(bodies), "they look alike to the upstream: the test shows nothing"
    return {"asked": len(cached.seen), "hits": hits}


ANN, BOB = ("/", "Authorization: " + basic("ann")), ("/", "Authorization: " + basic("bob"))
NOBODY = ("/",)


def test_authorizations_that_the_gateway_does_not_know(cached: Cached) -> None:
    cached.cache()
    cached.script = knowing()
    people = (ANN, BOB, NOBODY, ("/", "Authorization: Bearer x"), ("/", "Authorization: bearer x"))
    assert find_themselves(cached, *people) == {"asked": 5, "hits": 10}


def test_the_same_with_cache_control(cached: Cached) -> None:
    """RFC 9111 §3.5: a response to a request with Authorization is not stored."""
    cached.cache(cache_control=True)
    cached.script = knowing("Cache-Control: max-age=60")
    assert find_themselves(cached, ANN, BOB) == {"asked": 6, "hits": 0}


@pytest.mark.parametrize("control", ["public, max-age=60", "s-maxage=60", "max-age=60, must-revalidate"])
def test_responses_that_say_that_they_are_for_all(cached: Cached, control: str) -> None:
    cached.cache(cache_control=True)
    cached.script = cached.numbered(f"Cache-Control: {control}")
    assert cached.outcomes(ANN, BOB, NOBODY) == ["Miss", "Hit", "Hit"]


def test_private_responses(cached: Cached) -> None:
    cached.cache(plugin("key-auth"), entities={"consumers": CONSUMERS}, cache_control=True)
    cached.script = knowing("Cache-Control: private, max-age=60")
    people = (("/", "apikey: key-ann"), ("/", "apikey: key-bob"))
    assert find_themselves(cached, *people) == {"asked": 6, "hits": 0}


def test_cookies(cached: Cached) -> None:
    cached.cache()
    cached.script = knowing()
    people = (("/", "Cookie: s=ann"), ("/", "Cookie: s=bob"), NOBODY, ("/", "Cookie: s=ann; t=1"))
    assert find_themselves(cached, *people) == {"asked": 4, "hits": 8}


def test_cookies_that_say_nothing(cached: Cached) -> None:
    cached.cache(ignore_cookies=True)
    assert cached.outcomes(("/", "Cookie: a=1"), ("/", "Cookie: a=2"), NOBODY) == ["Miss", "Hit", "Hit"]


@pytest.mark.parametrize("cache_control", [False, True])
def test_consumers(cached: Cached, cache_control: bool) -> None:
    cached.cache(plugin("key-auth"), entities={"consumers": CONSUMERS}, cache_control=cache_control)
    cached.script = knowing("Cache-Control: max-age=60")
    people = (("/", "apikey: key-ann"), ("/", "apikey: key-bob"))
    assert find_themselves(cached, *people) == {"asked": 2, "hits": 4}


@pytest.mark.parametrize("cache_control", [False, True])
def test_consumers_by_what_is_hidden(cached: Cached, cache_control: bool) -> None:
    auth = plugin("key-auth", hide_credentials=True)
    cached.cache(
        auth, entities={"consumers": CONSUMERS}, cache_control=cache_control, vary_query_params=["x"]
    )
    cached.script = knowing("Cache-Control: max-age=60")
    assert find_themselves(cached, ("/?apikey=key-ann",), ("/?apikey=key-bob",)) == {"asked": 2, "hits": 4}


@pytest.mark.parametrize("cache_control", [False, True])
def test_passwords(cached: Cached, cache_control: bool) -> None:
    """A consumer's is the Authorization that the gateway has verified; his user names are one person."""
    cached.cache(plugin("basic-auth"), entities={"consumers": CONSUMERS}, cache_control=cache_control)
    cached.script = knowing("Cache-Control: max-age=60")
    assert find_themselves(cached, ANN, BOB) == {"asked": 2, "hits": 4}
    assert cached.ask("/", "Authorization: " + basic("ann2")).cache == "Hit"


@pytest.mark.parametrize("cache_control", [False, True])
def test_an_authorization_beside_the_verified_one(cached: Cached, cache_control: bool) -> None:
    """Proxy-Authorization is what basic-auth looks at; the upstream looks at the other."""
    cached.cache(plugin("basic-auth"), entities={"consumers": CONSUMERS}, cache_control=cache_control)
    cached.script = knowing("Cache-Control: max-age=60")
    shared = "Proxy-Authorization: " + basic("ann")
    people = [("/", shared, f"Authorization: {value}") for value in ("Bearer a", "Bearer b", basic("x"))]
    find_themselves(cached, *people)


@pytest.mark.parametrize("cache_control", [False, True])
@pytest.mark.parametrize("place", ["header", "query", "cookie"])
def test_tokens_of_one_consumer(cached: Cached, place: str, cache_control: bool) -> None:
    """Many people may have tokens of one issuer, and the upstream may tell them apart by `sub`."""
    auth = plugin("jwt", cookie_names=["token"])
    config = {"cache_control": cache_control, "vary_query_params": ["page"], "ignore_cookies": True}
    cached.cache(auth, entities={"consumers": CONSUMERS}, **config)
    cached.script = knowing("Cache-Control: max-age=60")
    tokens = [token("ann", sub="1"), token("ann", sub="2"), token("bob", sub="1")]
    people = {
        "header": [("/", f"Authorization: Bearer {one}") for one in tokens],
        "query": [(f"/?jwt={one}",) for one in tokens],
        "cookie": [("/", f"Cookie: token={one}") for one in tokens],
    }[place]
    assert find_themselves(cached, *people) == {"asked": 3, "hits": 6}


@pytest.mark.parametrize("cache_control", [False, True])
def test_an_authorization_of_somebody_anonymous(cached: Cached, cache_control: bool) -> None:
    """basic-auth lets pass what it does not know, and the upstream looks at it."""
    auth = plugin("basic-auth", anonymous="ann")
    cached.cache(auth, entities={"consumers": CONSUMERS}, cache_control=cache_control)
    cached.script = knowing("Cache-Control: max-age=60")
    people = (("/", "Authorization: Bearer a"), ("/", "Authorization: Bearer b"), NOBODY, ANN)
    find_themselves(cached, *people)


def test_the_configuration_of_a_consumer(cached: Cached) -> None:
    """Another instance of the plugin applies to ann; neither sees what the other has stored."""
    ann = {**plugin("proxy-cache", strategy="memory", cache_ttl=5), "consumer": "ann"}
    cached.cache(plugin("key-auth"), entities={"consumers": CONSUMERS, "plugins": [ann]})
    cached.script = knowing()
    find_themselves(cached, ("/", "apikey: key-ann"), ("/", "apikey: key-bob"))


@pytest.mark.parametrize("field", ["X-User: {}", "Cookie: s={}", "X-Forwarded-User: {}"])
def test_who_is_known_by_other_fields(cached: Cached, field: str) -> None:
    """vary_headers, or the upstream's Vary, tell them apart."""
    name = field.split(":")[0]

    def script(sent: Sent) -> bytes:
        seen = sent.get(name.lower())
        return answer("Cache-Control: max-age=60", f"Vary: {name}", body=f"{seen}".encode())

    people = [("/", field.format(one)) for one in ("ann", "bob")]
    cached.cache(vary_headers=[name])
    cached.script = script
    assert find_themselves(cached, *people)["hits"] == 4
    cached.cache(cache_control=True)
    cached.script = script
    assert find_themselves(cached, *people)["hits"] == 4


def test_texts_that_look_like_others(cached: Cached) -> None:
    """No text of a request can end a part of the key and begin another."""
    cached.cache(
        plugin("key-auth", key_names=["k"]), entities={"consumers": CONSUMERS}, vary_headers=["X-A", "X-B"]
    )
    cached.script = lambda sent: answer(
        body=repr((sent.target, sorted(sent.fields.items()))).encode()[:30000]
    )
    ann = cached.ask("/?k=key-ann&consumer=x", "X-A: 1").body
    for target, *fields in (
        ("/?k=key-bob&consumer=x", "X-A: 1"),
        ("/?k=key-bob&consumer=x", "X-A: 1\tX-B"),
        ("/?k=key-bob", "X-A: consumer=x"),
        ("/?k=key-bob&consumer=x%0Aconsumer", "X-A: 1"),
        ("/%0A?k=key-bob&consumer=x", "X-A: 1"),
        ("/|GET|?k=key-bob&consumer=x", "X-A: 1"),
    ):
        told = cached.ask(target, *fields)
        assert told.cache == "Miss"
        assert told.body != ann
    assert cached.ask("/?k=key-ann&consumer=x", "X-A: 1").body == ann


def test_two_routes(cached: Cached) -> None:
    cached.cache()
    cached.gateway.configure(
        {
            "_format_version": "3.0",
            "services": [
                {
                    "name": name,
                    "url": f"http://127.0.0.1:{cached.upstream.port}/{name}",
                    "routes": [{"name": name, "hosts": [f"{name}.test"]}],
                }
                for name in ("one", "two")
            ],
            "plugins": [cached.plugin()],
        }
    )
    cached.script = lambda sent: answer(body=sent.target.encode())
    for _ in range(2):
        assert cached.ask("/", host="one.test").body == b"/one"
        assert cached.ask("/", host="two.test").body == b"/two"
    assert len(cached.seen) == 2
