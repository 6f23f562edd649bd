"""proxy-cache as Kong has it (plugins.md, corrections.md 22): what is stored, under which key, and what the
client is told."""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator

import pytest

from tests.support.client import Client
from tests.support.gateway import Gateway, wait_for
from tests.support.plugged import Sent, plugin
from tests.support.scripted_cache import Cached, answer


@pytest.fixture(scope="module")
def cached(shared_gateway: Gateway) -> Iterator[Cached]:
    cached = Cached(shared_gateway)
    yield cached
    cached.close()


# --- hits ----------------------------------------------------------------------------------------------
def test_the_second_request_is_a_hit(cached: Cached) -> None:
    cached.cache()
    cached.script = lambda _: answer("X-Own: 1", 'ETag: "e"', "Connection: x-hop", "X-Hop: 1", body=b"one")
    first, second = cached.ask("/a"), cached.ask("/a")
    assert (first.cache, first.age, first.body) == ("Miss", None, b"one")
    assert (second.cache, second.status, second.body) == ("Hit", 200, b"one")
    assert second.key == first.key
    assert re.fullmatch("[0-9a-f]{64}", str(first.key))
    assert second.age in ("0", "1")
    assert second.get("x-own") == "1"
    assert second.get("content-type") == "text/plain; charset=UTF-8"
    assert second.get("x-hop") is None
    assert second.get("etag") == '"e"'
    assert second.get("x-kong-upstream-latency") is not None
    assert second.get("via") is not None
    assert len(cached.seen) == 1


def test_what_clients_are_told_can_be_chosen(cached: Cached) -> None:
    cached.cache(response_headers={"age": False, "X-Cache-Status": False, "X-Cache-Key": False})
    for _ in range(2):
        told = cached.ask("/a")
        assert (told.cache, told.key, told.age) == (None, None, None)
    assert len(cached.seen) == 1


def test_what_upstreams_say_about_another_cache_is_not_believed(cached: Cached) -> None:
    cached.cache()
    cached.script = lambda _: answer("X-Cache-Status: Hit", "X-Cache-Key: evil", "Age: 1000")
    assert [cached.ask("/a").cache for _ in range(2)] == ["Miss", "Hit"]
    assert cached.ask("/a").age in ("0", "1")


def test_several_requests_on_one_connection(cached: Cached) -> None:
    cached.cache()
    client = Client(cached.gateway.proxy_port)
    got = [client.request(target).response() for target in ("/a", "/a", "/b", "/a")]
    client.socket.close()
    assert [one.get("x-cache-status") for one in got] == ["Miss", "Hit", "Miss", "Hit"]
    assert [one.body for one in got] == [b"number 1", b"number 1", b"number 2", b"number 1"]


@pytest.mark.parametrize("length", [0, 1, 32_768, 32_769, 400_000])
def test_bodies_of_all_sizes(cached: Cached, length: int) -> None:
    cached.cache()
    body = bytes(i * 31 % 251 for i in range(length))
    cached.script = lambda _: answer(body=body)
    assert [cached.ask("/a").body == body for _ in range(3)] == [True] * 3
    assert len(cached.seen) == 1


def test_a_chunked_body_is_stored_decoded(cached: Cached) -> None:
    cached.cache()
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n"
    cached.script = lambda _: head + b"3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n"
    first, second = cached.ask("/a"), cached.ask("/a")
    assert (first.body, second.body, second.cache) == (b"abcdefg", b"abcdefg", "Hit")
    assert second.get("content-length") == "7"
    assert second.get("transfer-encoding") is None


def test_a_body_that_is_cut_off_is_not_stored(cached: Cached) -> None:
    cached.cache()
    cut = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 10\r\nConnection: close\r\n\r\nabc"
    cached.script = lambda _: cut if len(cached.seen) == 1 else answer(body=b"whole")
    client = Client(cached.gateway.proxy_port).request("/a")
    with pytest.raises(Exception, match="after"):
        client.response()
    client.socket.close()
    told = cached.ask("/a")
    assert (told.cache, told.body) == ("Miss", b"whole")


def test_a_slow_client_of_a_large_stored_body(cached: Cached) -> None:
    """It is sent from where it lies, also after it was purged, and while others fill the cache."""
    cached.cache()
    body = bytes(i * 7 % 253 for i in range(1_500_000))
    cached.script = lambda _: answer(body=body)
    cached.ask("/a")
    slow = Client(cached.gateway.proxy_port, receive_buffer=4096).request("/a")
    wait_for(slow.fill, what="the first bytes")
    assert cached.gateway.call(cached.gateway.admin_port, "DELETE", "/proxy-cache")[0] == 204
    cached.script = lambda _: answer(body=b"z" * 1_500_000)
    for number in range(20):
        cached.ask(f"/{number}")
    assert slow.response().body == body
    slow.socket.close()


# --- the key -------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("/a?x=1&y=2", "/a?y=2&x=1", True),
        ("/a?x=1&x=2", "/a?x=2&x=1", True),
        ("/a", "/a?", True),
        ("/a?x=1", "/a?x=2", False),
        ("/a?x=1", "/a", False),
        ("/a?x", "/a?x=", False),
        ("/a?x=1&y=2", "/a?x=1:y=2", False),
        ("/a?x=1&y=2", "/a?x=1%26y=2", False),
        ("/a?x=1%0Ay", "/a?x=1", False),
        ("/a", "/A", False),
        ("/a/b", "/a%2Fb", False),
        ("http://a.test/a", "/a", True),
    ],
)
def test_what_counts_of_the_target(cached: Cached, one: str, other: str, same: bool) -> None:
    cached.cache()
    assert cached.outcomes(one, other) == ["Miss", "Hit" if same else "Miss"]


def test_paths_in_any_case(cached: Cached) -> None:
    cached.cache(ignore_uri_case=True)
    assert cached.outcomes("/Path?x=A", "/pATH?x=A", "/path?x=a", "/path?X=A") == [
        "Miss",
        "Hit",
        "Miss",
        "Miss",
    ]


def test_some_arguments_count(cached: Cached) -> None:
    cached.cache(vary_query_params=["a", "b"])
    assert cached.outcomes("/?a=1&c=1", "/?c=2&a=1", "/?a=1&b=", "/?a=2") == ["Miss", "Hit", "Miss", "Miss"]
    # names as the upstream reads them
    assert cached.outcomes("/?%61=3", "/") == ["Miss", "Miss"]


def test_some_headers_count(cached: Cached) -> None:
    cached.cache(vary_headers=["X-A", "x-b"])
    asked = [
        ("/", "x-a: 1"),
        ("/", "X-A: 1", "X-C: 1"),
        ("/", "X-A: 2"),
        ("/", "X-B: 1"),
        ("/",),
        ("/", "X-A: "),
        ("/", "X-A: 1", "X-A: 2"),
        ("/", "X-A: 1\tX-B: 1"),
    ]
    outcomes = ["Miss", "Hit", *["Miss"] * 6]
    assert cached.outcomes(*asked) == outcomes
    assert cached.outcomes(*asked) == ["Hit"] * 8


def test_many_arguments(cached: Cached) -> None:
    cached.cache()
    arguments = [f"a{i}=1" for i in range(200)]
    target, turned = "/?" + "&".join(arguments), "/?" + "&".join(reversed(arguments))
    assert cached.outcomes(target, target, turned) == ["Miss", "Hit", "Miss"]


def test_hosts_and_methods_have_their_own(cached: Cached) -> None:
    cached.cache(request_method=["GET", "POST"])
    assert cached.ask("/").cache == "Miss"
    assert cached.ask("/", host="A.TEST").cache == "Hit"
    assert cached.ask("/", host="b.test").cache == "Miss"
    assert cached.ask("/", host="a.test:1234").cache == "Miss"
    assert cached.ask("/", method="POST", body=b"x").cache == "Miss"
    assert cached.ask("/", method="POST", body=b"y").cache == "Hit"


def test_a_request_that_another_plugin_has_changed(cached: Cached) -> None:
    """What the upstream is asked for depends on a header: so does the key."""
    transformer = plugin("request-transformer", replace={"uri": "/of/$(headers.x_user)"})
    cached.cache(transformer)
    asked = [("/", "X-User: a"), ("/", "X-User: b"), ("/", "X-User: a")]
    assert cached.outcomes(*asked) == ["Miss", "Miss", "Hit"]


def test_a_change_of_the_rules_forgets_what_was_stored_by_others(cached: Cached) -> None:
    cached.cache(vary_headers=["X-A"])
    assert cached.ask("/", "X-A: secret").cache == "Miss"
    cached.configure(cached.plugin(vary_headers=["X-B"]))
    assert cached.ask("/", "X-B: secret").cache == "Miss"
    cached.configure(cached.plugin(cache_control=True))
    assert cached.ask("/").cache == "Bypass"


# --- what is stored ------------------------------------------------------------------------------------
def test_methods(cached: Cached) -> None:
    cached.cache()
    for _ in range(2):
        posted = cached.ask("/", method="POST", body=b"x")
        assert (posted.cache, posted.key) == ("Bypass", None)
    for _ in range(2):
        head = cached.ask("/", method="HEAD")
        assert head.cache == "Miss"
        assert head.key is not None
    assert cached.ask("/", method="OPTIONS").cache == "Bypass"


def test_statuses(cached: Cached) -> None:
    cached.cache(response_code=[200, 404])
    for status, second in (("404 Not Found", "Hit"), ("500 Oh", "Bypass"), ("201 Created", "Bypass")):
        cached.script = lambda _, status=status: answer(status=status)
        path = f"/{status[:3]}"
        assert cached.outcomes(path, path) == ["Miss" if second == "Hit" else "Bypass", second]
    assert cached.ask("/500").key is not None


def test_parts_are_never_stored(cached: Cached) -> None:
    cached.cache(response_code=[200, 206, 304])
    part = "Content-Range: bytes 0-0/10"
    cached.script = lambda _: answer(part, status="206 Partial Content")
    assert [cached.ask("/", "Range: bytes=0-0").cache for _ in range(2)] == ["Bypass", "Bypass"]
    cached.script = lambda _: answer(part)
    assert cached.outcomes("/", "/") == ["Bypass", "Bypass"]


@pytest.mark.parametrize(
    ("configured", "sent", "stored"),
    [
        (["application/json"], "application/json", True),
        (["application/json"], "application/json; charset=utf-8", False),
        (["application/json; charset=utf-8"], "application/json;charset=utf-8", True),
        (["text/*"], "text/css", True),
        (["*/*"], "image/png", True),
        (["*"], "image/png", True),
        (["text/html", "image/png"], "image/png", True),
        (["image/png"], "", False),
    ],
)
def test_content_types(cached: Cached, configured: list[str], sent: str, stored: bool) -> None:
    cached.cache(content_type=configured)
    cached.script = lambda _: answer(f"Content-Type: {sent}")
    assert cached.outcomes("/", "/") == (["Miss", "Hit"] if stored else ["Bypass", "Bypass"])


def test_without_content_type(cached: Cached) -> None:
    cached.cache(content_type=["*/*"])
    cached.script = lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx"
    assert cached.outcomes("/", "/") == ["Bypass", "Bypass"]


def test_headers_of_the_response_do_not_count(cached: Cached) -> None:
    cached.cache()
    cached.script = lambda _: answer("Cache-Control: private, no-store, max-age=0", "Vary: X-Y")
    assert cached.outcomes("/", ("/", "Cache-Control: no-cache", "X-Y: 1")) == ["Miss", "Hit"]


def test_answers_of_the_gateway(cached: Cached) -> None:
    cached.cache()
    cached.script = lambda _: b"nonsense\r\n\r\n"
    told = cached.ask("/")
    assert (told.status, told.cache) == (502, "Bypass")
    assert told.key is not None


def test_cookies_are_not_shared(cached: Cached) -> None:
    cached.cache()
    cached.script = lambda _: answer("Set-Cookie: session=1")
    assert cached.outcomes("/", "/") == ["Bypass", "Bypass"]
    assert cached.ask("/").get("set-cookie") == "session=1"
    cached.cache(cache_set_cookie=True)
    cached.script = lambda _: answer("Set-Cookie: session=1")
    assert cached.outcomes("/", "/") == ["Miss", "Hit"]
    assert cached.ask("/").get("set-cookie") == "session=1"


# --- variants ------------------------------------------------------------------------------------------
def test_encodings_have_their_own(cached: Cached) -> None:
    cached.cache()

    def encoded(sent: Sent) -> bytes:
        coding = sent.get("accept-encoding")
        fields = ["Vary: Accept-Encoding"] + (
            ["Content-Encoding: gzip"] if coding and "gzip" in coding else []
        )
        return answer(*fields, body=f"{coding}".encode())

    cached.script = encoded
    zipped, plain = ("/", "Accept-Encoding: gzip, br"), ("/",)
    assert cached.outcomes(zipped, zipped, plain, plain) == ["Miss", "Hit", "Miss", "Hit"]
    assert cached.ask("/", "Accept-Encoding: BR;q=0.5 , gzip").body == b"gzip, br"
    assert cached.ask("/", "Accept-Encoding: gzip;q=0, br").cache == "Miss"
    assert cached.ask("/").body == b"None"
    assert cached.ask(*zipped).key != cached.ask(*plain).key


def test_what_varies_on_everything_is_not_stored(cached: Cached) -> None:
    cached.cache()
    cached.script = lambda _: answer("Vary: Accept-Encoding, *")
    assert cached.outcomes("/", "/") == ["Bypass", "Bypass"]


# --- time ----------------------------------------------------------------------------------------------
def test_what_is_over_is_fetched_again(cached: Cached) -> None:
    cached.cache(cache_ttl=1)
    assert cached.outcomes("/", "/") == ["Miss", "Hit"]
    told = cached.ask_until_it_is_no_hit()
    assert (told.cache, told.body) == ("Miss", b"number 2")


def test_what_is_kept_longer_is_refreshed(cached: Cached) -> None:
    cached.cache(cache_ttl=1, storage_ttl=100)
    assert cached.outcomes("/", "/") == ["Miss", "Hit"]
    told = cached.ask_until_it_is_no_hit()
    assert (told.cache, told.body, told.age) == ("Refresh", b"number 2", None)
    assert cached.ask("/").cache == "Hit"


# --- beside others -------------------------------------------------------------------------------------
def test_a_new_configuration_keeps_what_is_stored(cached: Cached) -> None:
    cached.cache()
    assert cached.outcomes("/", "/") == ["Miss", "Hit"]
    cached.configure(cached.plugin(cache_ttl=200), plugin("correlation-id"))
    assert cached.ask("/").cache == "Hit"


def test_a_shorter_life_is_for_what_is_stored_already(cached: Cached) -> None:
    cached.cache()
    wait_for(lambda: int(cached.ask("/").age or 0) >= 1, what="a response of a second ago")
    cached.configure(cached.plugin(cache_ttl=1))
    assert cached.outcomes("/", "/") == ["Refresh", "Hit"]


def test_response_caching_is_another_name(cached: Cached) -> None:
    cached.cache()
    cached.configure({**plugin("response-caching", cache_ttl=60), "id": str(uuid.uuid4())})
    assert cached.outcomes("/", "/") == ["Miss", "Hit"]
    # both at once: the one that comes first does it
    cached.configure(plugin("response-caching"), plugin("proxy-cache", strategy="memory"))
    assert cached.ask("/two").cache == "Miss"
    assert cached.ask("/two").cache == "Hit"


def test_plugins_change_what_is_stored_each_time_anew(cached: Cached) -> None:
    """A stored response is what the upstream has sent; what plugins make of it is theirs."""
    cached.cache(
        plugin("correlation-id", header_name="X-Id", echo_downstream=True),
        plugin("response-transformer", add={"headers": ["X-Added:1"], "json": ["added:1"]}),
    )
    cached.script = lambda _: answer("Content-Type: application/json", body=b'{"a":1}')
    first, second = cached.ask("/"), cached.ask("/")
    assert (first.body, second.body) == (b'{"a":1,"added":"1"}',) * 2
    assert second.cache == "Hit"
    assert second.get("x-added") == "1"
    assert first.get("x-id") != second.get("x-id")


def test_plugins_change_what_clients_are_told(cached: Cached) -> None:
    cached.cache(
        plugin(
            "response-transformer",
            remove={"headers": ["X-Cache-Key", "Age"]},
            rename={"headers": ["X-Cache-Status:X-Stored"]},
        )
    )
    told = [cached.ask("/"), cached.ask("/")]
    assert [one.get("x-stored") for one in told] == ["Miss", "Hit"]
    assert [(one.cache, one.key, one.age) for one in told] == [(None, None, None)] * 2


def test_what_is_true_of_one_delivery_is_not_told_again(cached: Cached) -> None:
    cached.cache(plugin("rate-limiting", hour=9, policy="local"))
    cached.script = lambda _: answer(
        "X-RateLimit-Remaining-Sms: 5", "Proxy-Authenticate: Basic", "X-RateLimit-Limit-Sms: 9"
    )
    told = [cached.ask("/"), cached.ask("/")]
    assert [one.get("x-ratelimit-remaining-sms") for one in told] == ["5", None]
    assert [one.get("proxy-authenticate") for one in told] == ["Basic", None]
    assert [one.get("x-ratelimit-limit-sms") for one in told] == ["9", "9"]
    assert [one.get("x-ratelimit-remaining-hour") for one in told] == ["8", "7"]


def test_refusals_go_first(cached: Cached) -> None:
    cached.cache(plugin("rate-limiting", year=3, policy="local"))
    assert [cached.ask("/").status for _ in range(4)] == [200, 200, 200, 429]
    assert cached.ask("/").cache is None
    assert len(cached.seen) == 1


def test_parts_and_confirmations_of_what_is_stored(cached: Cached) -> None:
    cached.cache()
    cached.script = lambda _: answer('ETag: "e"', body=b"0123456789")
    assert cached.ask("/").cache == "Miss"
    part = cached.ask("/", "Range: bytes=2-4")
    assert (part.status, part.body, part.get("content-range")) == (206, b"234", "bytes 2-4/10")
    known = cached.ask("/", 'If-None-Match: "e"')
    assert (known.status, known.body, known.cache) == (304, b"", "Hit")
