"""proxy-cache with cache_control: HTTP caching (RFC 9111), stale responses (RFC 5861), conditions and ranges
(RFC 9110)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from email.utils import formatdate

import pytest

from tests.support.gateway import Gateway, wait_for
from tests.support.plugged import Sent
from tests.support.scripted_cache import Cached, Told, answer, not_modified


@pytest.fixture(scope="module")
def cached(shared_gateway: Gateway) -> Iterator[Cached]:
    cached = Cached(shared_gateway)
    yield cached
    cached.close()


@pytest.fixture
def controlled(cached: Cached) -> Cached:
    cached.cache(cache_control=True)
    return cached


def http_date(seconds: float = 0) -> str:
    """A time from now."""
    return formatdate(time.time() + seconds, usegmt=True)


def is_stale(cached: Cached, target: str) -> bool:
    """Whether what is stored is not fresh; asking does not change that."""
    return cached.ask(target, "Cache-Control: only-if-cached, min-fresh=0").status == 504


def store_until_stale(cached: Cached, control: str, *fields: str, target: str = "/") -> None:
    """`control` goes with max-age=1."""
    cached.script = cached.numbered(f"Cache-Control: max-age=1, {control}", *fields)
    assert cached.ask(target).cache == "Miss"
    wait_for(lambda: is_stale(cached, target), what="the response to be stale")


# --- what is stored ------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("fields", "stored"),
    [
        (("Cache-Control: max-age=60",), True),
        (("Cache-Control: public, s-maxage=60",), True),
        (("Cache-Control: max-age=0, s-maxage=60",), True),
        (("Cache-Control: max-age=60, s-maxage=0",), False),
        (("Cache-Control: max-age=60", "Cache-Control: private"), False),
        (('Cache-Control: max-age=60, private="x"',), False),
        (("Cache-Control: max-age=60, no-store",), False),
        (("Cache-Control: max-age=60, no-cache",), False),
        (("Cache-Control: public",), False),
        ((), False),
        (("Expires: 0",), False),
        (("Cache-Control: max-age=nonsense",), False),
        (("Cache-Control: max-age=60", "Age: 60"), False),
        (("Cache-Control: max-age=60", "Age: 50"), True),
        (("Cache-Control: max-age=60", "Age: 60, 1"), False),
        (("Cache-Control: max-age=60", "Vary: *"), False),
        (("Cache-Control: max-age=60", "Set-Cookie: a=b"), False),
    ],
)
def test_what_may_be_stored(controlled: Cached, fields: tuple[str, ...], stored: bool) -> None:
    controlled.script = controlled.numbered(*fields)
    outcomes = ["Miss", "Hit"] if stored else ["Bypass", "Bypass"]
    assert controlled.outcomes("/", "/") == outcomes


def test_expires(controlled: Cached) -> None:
    controlled.script = lambda _: answer(f"Expires: {http_date(60)}", f"Date: {http_date()}")
    assert controlled.outcomes("/a", "/a") == ["Miss", "Hit"]
    # what counts is the time from Date, by the origin's clock
    controlled.script = lambda _: answer(f"Expires: {http_date(60)}", f"Date: {http_date(60)}")
    assert controlled.outcomes("/b", "/b") == ["Bypass", "Bypass"]
    controlled.script = lambda _: answer(f"Expires: {http_date(-60)}", "Cache-Control: max-age=60")
    assert controlled.outcomes("/c", "/c") == ["Miss", "Hit"]


def test_age(controlled: Cached) -> None:
    controlled.script = lambda _: answer("Cache-Control: max-age=600", "Age: 100")
    assert controlled.ask("/a").age == "100"  # the upstream's own
    assert controlled.ask("/a").age in ("100", "101")
    controlled.script = lambda _: answer("Cache-Control: max-age=600", f"Date: {http_date(-200)}")
    controlled.ask("/b")
    assert controlled.ask("/b").age in ("199", "200", "201")


def test_heads_tell_what_would_become_of_the_response(controlled: Cached) -> None:
    controlled.script = controlled.numbered("Cache-Control: max-age=60")
    assert [controlled.ask("/", method="HEAD").cache for _ in range(2)] == ["Miss", "Miss"]
    controlled.script = controlled.numbered("Cache-Control: no-store")
    assert controlled.ask("/", method="HEAD").cache == "Bypass"


# --- what the client says ------------------------------------------------------------------------------
def test_requests_that_want_no_stored_response(controlled: Cached) -> None:
    controlled.script = controlled.numbered("Cache-Control: max-age=60")
    controlled.ask("/")
    for field in ("Cache-Control: no-cache", "Cache-Control: x, No-Store", "Pragma: no-cache"):
        told = controlled.ask("/", field)
        assert (told.cache, told.key) == ("Bypass", None)
    assert len(controlled.seen) == 4
    assert controlled.ask("/", "Pragma: no-cache", "Cache-Control: max-age=60").cache == "Hit"


def test_how_old_and_how_fresh(controlled: Cached) -> None:
    def again(field: str) -> str | None:
        controlled.script = lambda _: answer("Cache-Control: max-age=100", "Age: 50")
        return controlled.ask("/", field).cache

    assert again("X: y") == "Miss"
    assert again("Cache-Control: max-age=60") == "Hit"
    assert again("Cache-Control: min-fresh=40") == "Hit"
    assert again("Cache-Control: max-age=40") == "Refresh"
    assert again("Cache-Control: min-fresh=60") == "Refresh"
    assert again("Cache-Control: max-age=40, max-stale=100") == "Refresh"


def test_only_if_cached(controlled: Cached) -> None:
    controlled.script = controlled.numbered("Cache-Control: max-age=60")
    told = controlled.ask("/", "Cache-Control: only-if-cached")
    assert (told.status, told.cache) == (504, None)
    assert told.key is not None
    told = controlled.ask("/", "Cache-Control: only-if-cached", method="HEAD")
    assert (told.status, told.cache) == (504, None)
    assert controlled.seen == []
    controlled.ask("/")
    assert controlled.ask("/", "Cache-Control: only-if-cached").cache == "Hit"


# --- Vary ----------------------------------------------------------------------------------------------
def test_all_of_vary(controlled: Cached) -> None:
    controlled.script = lambda sent: answer(
        "Cache-Control: max-age=60",
        "Vary: accept-language, X-Other",
        "Vary: Cookie",
        body=f"{sent.get('accept-language')} {sent.get('x-other')} {sent.get('cookie')}".encode(),
    )
    german, french = ("/", "Accept-Language: de"), ("/", "Accept-Language: fr", "X-Other: 1")
    assert controlled.outcomes(german, german, french, french) == ["Miss", "Hit", "Miss", "Hit"]
    assert controlled.outcomes(("/", "Cookie: a=1"), ("/", "Cookie: a=2")) == ["Miss", "Miss"]
    for asked in (german, french, ("/", "Cookie: a=1"), ("/", "Cookie: a=2")):
        told = controlled.ask(*asked)
        assert told.cache == "Hit"
    assert controlled.ask(*french).body == b"fr 1 None"


def test_what_varies_on_more_than_before(controlled: Cached) -> None:
    """Neither is answered with the other's, whichever came first."""

    def script(sent: Sent) -> bytes:
        vary = "X-A, X-B" if sent.get("x-a") else "X-A"
        return answer("Cache-Control: max-age=60", f"Vary: {vary}", body=f"{sent.fields}".encode())

    controlled.script = script
    one, two, three = ("/", "X-B: 1"), ("/", "X-A: 1", "X-B: 1"), ("/", "X-A: 1", "X-B: 2")
    for asked in (one, two, three, one, two, three):
        told = controlled.ask(*asked)
        assert told.cache == "Miss" or (str(asked[-1])[-1].encode() in told.body)
    assert controlled.ask(*two).body != controlled.ask(*three).body
    assert controlled.ask(*three).cache == "Hit"


# --- confirming ----------------------------------------------------------------------------------------
def test_the_upstream_confirms_what_is_stored(controlled: Cached) -> None:
    modified = http_date(-1000)
    store_until_stale(
        controlled, "x", 'ETag: "one"', f"Last-Modified: {modified}", "X-Kept: 1", "X-Changed: 1"
    )
    controlled.script = lambda _: not_modified("X-Changed: 2", "Cache-Control: max-age=90", 'ETag: "one"')
    told = controlled.ask("/")
    assert (told.status, told.cache, told.body) == (200, "Refresh", b"number 1")
    assert (told.get("x-kept"), told.get("x-changed")) == ("1", "2")
    assert told.get("cache-control") == "max-age=90"
    assert told.age in ("0", "1")
    sent = controlled.seen[-1]
    assert (sent.get("if-none-match"), sent.get("if-modified-since")) == ('"one"', modified)
    # and it is fresh again, with its new fields
    again = controlled.ask("/")
    assert (again.cache, again.body, again.get("x-changed")) == ("Hit", b"number 1", "2")
    assert len(controlled.seen) == 2


def test_a_large_body_is_confirmed(controlled: Cached) -> None:
    body = bytes(i * 3 % 255 for i in range(200_000))
    controlled.script = lambda _: answer("Cache-Control: max-age=1", 'ETag: "e"', body=body)
    controlled.ask("/")
    wait_for(lambda: is_stale(controlled, "/"), what="the response to be stale")
    controlled.script = lambda _: not_modified("Cache-Control: max-age=60")
    assert [(told := controlled.ask("/")).body == body and told.cache for _ in range(3)] == [
        "Refresh",
        "Hit",
        "Hit",
    ]


def test_the_upstream_has_something_new(controlled: Cached) -> None:
    store_until_stale(controlled, "x", 'ETag: "one"')
    controlled.script = controlled.numbered("Cache-Control: max-age=60", 'ETag: "two"')
    told = controlled.ask("/")
    assert (told.cache, told.body, told.get("etag")) == ("Miss", b"number 2", '"two"')
    assert controlled.ask("/").body == b"number 2"


def test_a_confirmed_response_that_is_no_longer_for_storing(controlled: Cached) -> None:
    store_until_stale(controlled, "x", 'ETag: "one"')
    controlled.script = lambda _: not_modified("Cache-Control: private")
    told = controlled.ask("/")
    assert (told.cache, told.body) == ("Refresh", b"number 1")
    controlled.script = controlled.numbered()
    assert controlled.ask("/").cache == "Bypass"


@pytest.mark.parametrize("field", ['ETag: "two"', "Vary: X-A, X-B", "Vary: *"])
def test_a_confirmation_that_is_not_of_what_is_stored(controlled: Cached, field: str) -> None:
    """It answers the one who asked. Others may have other values of the fields that it varies on now."""
    store_until_stale(controlled, "x", 'ETag: "one"', "Vary: X-A")
    controlled.script = lambda _: not_modified("Cache-Control: max-age=60", field)
    assert controlled.ask("/").body == b"number 1"
    controlled.script = controlled.numbered("Cache-Control: max-age=60")
    told = controlled.ask("/", "X-B: 1")
    assert (told.cache, told.body) == ("Miss", b"number 3")


def test_a_variant_that_is_confirmed_is_found_as_long_as_it_is_fresh(cached: Cached) -> None:
    """The names of the fields that it varies on stay as long."""
    cached.cache(cache_control=True, storage_ttl=2)
    begun = time.monotonic()
    store_until_stale(cached, "x", 'ETag: "one"', "Vary: X-A")
    again = "Cache-Control: max-age=60"
    # (a machine so slow that it is gone already gets another one)
    cached.script = lambda sent: (
        not_modified(again) if sent.get("if-none-match") else answer(again, "Vary: X-A")
    )
    assert cached.ask("/").status == 200
    while time.monotonic() < begun + 2.3:
        assert cached.ask("/").cache == "Hit"
        time.sleep(0.05)


def test_a_confirmation_with_a_weak_tag(controlled: Cached) -> None:
    store_until_stale(controlled, "x", 'ETag: "one"')
    controlled.script = lambda _: not_modified("Cache-Control: max-age=60", 'ETag: W/"one"')
    assert controlled.outcomes("/", "/") == ["Refresh", "Hit"]


def test_clients_own_conditions_go_to_the_upstream(controlled: Cached) -> None:
    """A 304 for what the client has says nothing about what is stored."""
    store_until_stale(controlled, "x", 'ETag: "one"')
    controlled.script = lambda _: not_modified('ETag: "mine"', "Cache-Control: max-age=60")
    told = controlled.ask("/", 'If-None-Match: "mine"')
    assert (told.status, told.cache) == (304, "Bypass")
    assert controlled.seen[-1].get("if-none-match") == '"mine"'
    assert is_stale(controlled, "/")


def test_a_client_that_has_what_is_stored_and_stale(controlled: Cached) -> None:
    """It is confirmed for everybody, and the client is told that it still has it."""
    store_until_stale(controlled, "x", 'ETag: "one"')
    controlled.script = lambda _: not_modified('ETag: "one"', "Cache-Control: max-age=60")
    told = controlled.ask("/", 'If-None-Match: "zero", "one"')
    assert (told.status, told.cache, told.body) == (304, "Refresh", b"")
    assert controlled.seen[-1].get("if-none-match") == '"one"'
    assert controlled.ask("/").cache == "Hit"


def test_a_client_that_has_what_is_no_longer_there(controlled: Cached) -> None:
    store_until_stale(controlled, "x", 'ETag: "one"')
    controlled.script = controlled.numbered("Cache-Control: max-age=60", 'ETag: "two"')
    told = controlled.ask("/", 'If-None-Match: "one"')
    assert (told.status, told.body) == (200, b"number 2")
    assert controlled.ask("/", 'If-None-Match: "one"').status == 200
    assert controlled.ask("/", 'If-None-Match: "two"').status == 304


def test_the_client_is_told_that_it_has_it(controlled: Cached) -> None:
    modified = http_date(-1000)
    control = ("Cache-Control: max-age=60", "Vary: X-V")
    controlled.script = lambda _: answer(*control, 'ETag: W/"e,f"', f"Last-Modified: {modified}", "X-Not: 1")
    controlled.ask("/")
    for field in ('If-None-Match: "x", "e,f"', "If-None-Match: *", f"If-Modified-Since: {modified}"):
        told = controlled.ask("/", field)
        assert (told.status, told.body, told.cache) == (304, b"", "Hit")
        assert told.get("etag") == 'W/"e,f"'
        assert told.get("vary") == "X-V"
        assert told.get("content-type") is None
        assert told.get("x-not") is None
        assert told.get("content-length") is None
    for field in ('If-None-Match: "x"', f"If-Modified-Since: {http_date(-2000)}", "If-Modified-Since: x"):
        assert controlled.ask("/", field).status == 200
    # If-None-Match is what counts
    assert controlled.ask("/", 'If-None-Match: "x"', f"If-Modified-Since: {modified}").status == 200
    assert len(controlled.seen) == 1


@pytest.mark.parametrize(
    ("fields", "status", "body", "range_"),
    [
        (("Range: bytes=0-3",), 206, b"0123", "bytes 0-3/10"),
        (("Range: bytes=-1",), 206, b"9", "bytes 9-9/10"),
        (("Range: bytes=10-",), 416, b"", "bytes */10"),
        (("Range: bytes=0-1,5-6",), 200, b"0123456789", None),
        (("Range: items=0-1",), 200, b"0123456789", None),
        (("Range: bytes=0-1", "Range: bytes=3-4"), 200, b"0123456789", None),
        (("Range: bytes=0-3", 'If-Range: "e"'), 206, b"0123", "bytes 0-3/10"),
        (("Range: bytes=0-3", 'If-Range: W/"e"'), 200, b"0123456789", None),
        (("Range: bytes=0-3", 'If-Range: "f"'), 200, b"0123456789", None),
        (("Range: bytes=99-", 'If-Range: "f"'), 200, b"0123456789", None),
        (("Range: bytes=0-3", 'If-None-Match: "e"'), 304, b"", None),
    ],
)
def test_ranges(
    controlled: Cached, fields: tuple[str, ...], status: int, body: bytes, range_: str | None
) -> None:
    controlled.script = lambda _: answer("Cache-Control: max-age=60", 'ETag: "e"', body=b"0123456789")
    controlled.ask("/")
    told = controlled.ask("/", *fields)
    assert (told.status, told.body, told.get("content-range")) == (status, body, range_)
    assert told.cache == "Hit"
    assert len(controlled.seen) == 1


def test_ranges_of_what_has_a_date(controlled: Cached) -> None:
    """A date in If-Range must be the very one of Last-Modified."""
    modified = http_date(-1000)
    fields = ("Cache-Control: max-age=60", f"Last-Modified: {modified}", f"Date: {http_date()}")
    controlled.script = lambda _: answer(*fields, body=b"0123456789")
    controlled.ask("/")
    for date, status, body in (
        (modified, 206, b"0123"),
        (http_date(-900), 200, b"0123456789"),
        ("nonsense", 200, b"0123456789"),
    ):
        told = controlled.ask("/", "Range: bytes=0-3", f"If-Range: {date}")
        assert (told.status, told.body, told.cache) == (status, body, "Hit")
    assert len(controlled.seen) == 1


def test_a_part_of_a_large_body(controlled: Cached) -> None:
    body = bytes(i * 11 % 249 for i in range(400_000))
    controlled.script = lambda _: answer("Cache-Control: max-age=60", body=body)
    controlled.ask("/")
    told = controlled.ask("/", "Range: bytes=1025-390000")
    assert told.body == body[1025:390_001]
    assert told.get("content-range") == "bytes 1025-390000/400000"


# --- stale responses -----------------------------------------------------------------------------------
def test_clients_that_take_stale_ones(controlled: Cached) -> None:
    store_until_stale(controlled, "x", 'ETag: "e"')
    for field in ("Cache-Control: max-stale", "Cache-Control: max-stale=100"):
        told = controlled.ask("/", field)
        assert (told.cache, told.body) == ("Hit", b"number 1")
        assert int(told.age or 0) >= 1
    assert controlled.ask("/", "Cache-Control: max-stale=0").cache == "Miss"


@pytest.mark.parametrize("control", ["must-revalidate", "proxy-revalidate", "s-maxage=1"])
def test_what_must_not_be_stale(controlled: Cached, control: str) -> None:
    store_until_stale(controlled, f"{control}, stale-if-error=0", 'ETag: "e"')
    controlled.script = lambda _: b"nonsense\r\n\r\n"
    told = controlled.ask("/", "Cache-Control: max-stale, stale-if-error=100")
    assert (told.status, told.cache) == (502, "Bypass")


@pytest.mark.parametrize(
    ("control", "field"),
    [("stale-if-error=100", "X: y"), ("x", "Cache-Control: stale-if-error=100")],
)
def test_stale_is_better_than_an_error(controlled: Cached, control: str, field: str) -> None:
    store_until_stale(controlled, control, 'ETag: "e"')
    for scripted in (answer(status="503 Busy"), b"nonsense\r\n\r\n", answer(status="500 Oh")):
        controlled.script = lambda _, scripted=scripted: scripted
        told = controlled.ask("/", field)
        assert (told.status, told.cache, told.body) == (200, "Hit", b"number 1")
        assert int(told.age or 0) >= 1
    controlled.script = lambda _: answer(status="404 Not Found")
    assert controlled.ask("/", field).status == 404


def test_stale_while_it_is_fetched(controlled: Cached) -> None:
    store_until_stale(controlled, "stale-while-revalidate=100", 'ETag: "e"')
    controlled.script = controlled.numbered("Cache-Control: max-age=60")
    told = controlled.ask("/")
    assert (told.cache, told.body) == ("Hit", b"number 1")

    def fetched() -> Told | None:
        told = controlled.ask("/")
        assert told.cache == "Hit"
        return told if told.body == b"number 2" else None

    wait_for(fetched, what="the new response")
    assert len(controlled.seen) == 2  # once, however many were answered meanwhile
    assert controlled.seen[1].get("if-none-match") == '"e"'


@pytest.mark.parametrize("field", ['If-None-Match: "e"', "Range: bytes=0-0"])
def test_stale_parts_while_the_whole_is_fetched(controlled: Cached, field: str) -> None:
    store_until_stale(controlled, "stale-while-revalidate=100", 'ETag: "e"')
    controlled.script = controlled.numbered("Cache-Control: max-age=60", 'ETag: "f"')
    assert controlled.ask("/", field).status in (206, 304)
    wait_for(lambda: not is_stale(controlled, "/"), what="the new response")
    assert controlled.seen[-1].get("range") is None
    assert controlled.ask("/").body == b"number 2"


def test_stale_while_it_is_confirmed(controlled: Cached) -> None:
    store_until_stale(controlled, "stale-while-revalidate=100", 'ETag: "e"')
    controlled.script = lambda _: not_modified("Cache-Control: max-age=60")
    assert controlled.ask("/").body == b"number 1"
    wait_for(lambda: not is_stale(controlled, "/"), what="the confirmation")
    assert controlled.ask("/").body == b"number 1"
    assert len(controlled.seen) == 2


# --- invalidation --------------------------------------------------------------------------------------
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "PURGE"])
def test_unsafe_methods_void_what_is_stored(controlled: Cached, method: str) -> None:
    controlled.script = controlled.numbered("Cache-Control: max-age=60")
    paths = ("/a?x=1&y=2", "/a", "/b", "/c", "/d")
    assert controlled.outcomes(*paths) == ["Miss"] * 5
    controlled.script = lambda _: answer(
        "Location: http://A.test/b", "Content-Location: /c?", status="201 Created"
    )
    assert controlled.ask("/a?y=2&x=1", method=method, body=b"x").cache == "Bypass"
    controlled.script = controlled.numbered("Cache-Control: max-age=60")
    assert controlled.outcomes(*paths) == ["Miss", "Hit", "Miss", "Miss", "Hit"]


def test_what_unsafe_methods_do_not_void(controlled: Cached) -> None:
    controlled.script = controlled.numbered("Cache-Control: max-age=60")
    controlled.outcomes("/a", "/b")
    controlled.script = lambda _: answer("Location: http://b.test/b", status="403 Forbidden")
    controlled.ask("/a", method="POST")
    controlled.script = lambda _: answer("Location: http://b.test/b", "Content-Location: //b.test/b")
    controlled.ask("/x", method="POST")
    controlled.ask("/a", method="OPTIONS")
    controlled.ask("/a", method="POST", host="b.test")
    assert controlled.outcomes("/a", "/b") == ["Hit", "Hit"]


def test_variants_are_voided_together(controlled: Cached) -> None:
    controlled.script = controlled.numbered("Cache-Control: max-age=60", "Vary: X-V")
    variants = [("/", "X-V: 1"), ("/", "X-V: 2")]
    assert controlled.outcomes(*variants, *variants) == ["Miss", "Miss", "Hit", "Hit"]
    controlled.ask("/", method="DELETE")
    assert controlled.outcomes(*variants) == ["Miss", "Miss"]


def test_what_is_fetched_while_it_is_voided_is_not_stored(controlled: Cached) -> None:
    """The response may have been made before the change."""

    def voided_meanwhile(sent: Sent) -> bytes:
        if sent.method == "GET" and len(controlled.seen) == 1:
            controlled.lock.release()
            controlled.ask("/", method="PUT", body=b"x")
            controlled.lock.acquire()
            return answer("Cache-Control: max-age=60", body=b"from before")
        return controlled.numbered("Cache-Control: max-age=60")(sent)

    controlled.script = voided_meanwhile
    assert controlled.ask("/").body == b"from before"
    assert controlled.outcomes("/", "/") == ["Miss", "Hit"]
