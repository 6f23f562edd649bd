"""What RFC 9111 and RFC 9110 say about caching, as texts and numbers (native/cache_control.pyx)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from native.cache_control import (
    DirectiveFlag,
    RangeResult,
    age_ms_of,
    byte_range,
    cache_directives,
    canonical_media_type,
    lifetime_of,
    list_elements,
    list_words,
    media_type_matches,
    normalised_codings,
    seconds_of,
    tag_listed,
    tags_same,
)

FLAGS = DirectiveFlag
LONGEST = 2147483648


# --- Cache-Control -------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"", {"flags": 0}),
        (b"max-age=60", {"flags": 0, "max_age": 60}),
        (b"Max-Age=60, S-MAXAGE=30", {"flags": 0, "max_age": 60, "s_maxage": 30}),
        (b'max-age="60"', {"flags": 0, "max_age": 60}),
        (b"max-age = 60", {"flags": 0, "max_age": 60}),
        (b"max-age=60,max-age=10", {"flags": 0, "max_age": 10}),
        (b"max-age", {"flags": 0, "max_age": 0}),
        (b"max-age=", {"flags": 0, "max_age": 0}),
        (b"max-age=-1", {"flags": 0, "max_age": 0}),
        (b"max-age=1.5", {"flags": 0, "max_age": 0}),
        (b"max-age=99999999999999999999999999", {"flags": 0, "max_age": LONGEST}),
        (b"no-store", {"flags": FLAGS.CONTROL_NO_STORE}),
        (b' no-cache="a, b" , private', {"flags": FLAGS.CONTROL_NO_CACHE | FLAGS.CONTROL_PRIVATE}),
        (b'private="set-cookie, public"', {"flags": FLAGS.CONTROL_PRIVATE}),
        (b'ext="no-store", public', {"flags": FLAGS.CONTROL_PUBLIC}),
        (b'ext="a\\", no-store", public', {"flags": FLAGS.CONTROL_PUBLIC}),
        (b"must-revalidate,proxy-revalidate,must-understand", {"flags": 32 | 64 | 128}),
        (b"max-stale", {"flags": FLAGS.CONTROL_ANY_STALE}),
        (b"max-stale=5", {"flags": 0, "max_stale": 5}),
        (b"max-stale=x", {"flags": 0}),
        (b"min-fresh=5, min-fresh=7", {"flags": 0, "min_fresh": 7}),
        (b"only-if-cached", {"flags": FLAGS.CONTROL_ONLY_IF_CACHED}),
        (
            b"stale-while-revalidate=1, stale-if-error=2",
            {"flags": 0, "stale_while_revalidate": 1, "stale_if_error": 2},
        ),
        (b",,, no-store ,,", {"flags": FLAGS.CONTROL_NO_STORE}),
        (b"no-storex, xno-store, no-store=", {"flags": FLAGS.CONTROL_NO_STORE}),
        (b'max-age="60', {"flags": 0, "max_age": 0}),
    ],
)
def test_directives(value: bytes, found: dict[str, int]) -> None:
    assert cache_directives(value) == found


def test_directives_of_several_fields_are_put_together() -> None:
    assert cache_directives(b"max-age=60, public", b"max-age=5", b"no-store") == {
        "flags": FLAGS.CONTROL_PUBLIC | FLAGS.CONTROL_NO_STORE,
        "max_age": 5,
    }


@given(st.binary(max_size=200))
def test_any_bytes_are_read(value: bytes) -> None:
    """Without looking beyond their end (make asan), and without numbers that cannot be added."""
    assert all(0 <= number <= LONGEST for number in cache_directives(value).values())
    assert all(element == element.strip(b" \t") and element for element in list_elements(value))
    assert all(word and not set(word) & set(b" \t,") for word in list_words(value))
    tag_listed(value, value)
    tags_same(value, value)
    canonical_media_type(value)
    normalised_codings(value)
    byte_range(value, 1000)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"0", 0), (b"007", 7), (b"", -1), (b" 1", -1), (b"+1", -1), (b"1e3", -1), (b"2147483649", LONGEST)],
)
def test_seconds(text: bytes, seconds: int) -> None:
    assert seconds_of(text) == seconds


# --- freshness -----------------------------------------------------------------------------------------
NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("value", "expires", "date", "seconds"),
    [
        (b"s-maxage=5, max-age=60", NOW + 100, NOW, 5),
        (b"max-age=60", NOW + 100, NOW, 60),
        (b"max-age=0", NOW + 100, NOW, 0),
        (b"", NOW + 100, NOW, 100),
        (b"", NOW + 100, NOW - 10, 110),
        (b"", NOW + 100, -1, 100),
        (b"", 0, NOW, 0),
        (b"", NOW - 1, NOW, 0),
        (b"public", -1, NOW, -1),
        (b"", 253_402_300_799, NOW, LONGEST),
    ],
)
def test_lifetime(value: bytes, expires: int, date: int, seconds: int) -> None:
    assert lifetime_of(value, expires, date, NOW) == seconds


@pytest.mark.parametrize(
    ("age", "date", "requested", "age_ms"),
    [
        (-1, -1, 0, 0),
        (-1, -1, -250, 250),  # made just after it was asked for, at the earliest
        (7, -1, 0, 7000),
        (7, -1, -250, 7250),
        (7, NOW - 60, 0, 59_500),  # its Date says more than its Age
        (90, NOW - 60, 0, 90_000),
        (-1, NOW, 0, 0),
        (-1, NOW - 1, 0, 500),
        (-1, NOW + 3600, 0, 0),  # the origin's clock is ahead
        (-1, -1, +500, 0),  # the clock was set back while it was fetched
    ],
)
def test_age_of_what_comes(age: int, date: int, requested: int, age_ms: int) -> None:
    now = 1000 * NOW + 500
    assert age_ms_of(age, date, now + requested, now) == age_ms


# --- Accept-Encoding -----------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("value", "normal"),
    [
        (b"", b""),
        (b"gzip", b"gzip"),
        (b"GZIP , Br", b"br,gzip"),
        (b"br, gzip", b"br,gzip"),
        (b"gzip;q=1.0, br;q=0.5", b"br,gzip"),
        (b"gzip;q=0, br", b"br,-gzip"),
        (b"gzip;q=0.000", b"-gzip"),
        (b"gzip;q=0.001", b"gzip"),
        (b"gzip,gzip, gzip", b"gzip"),
        (b"*, identity;q=0", b"*,-identity"),
        (b"-gzip, br", b"-gzip, br"),
    ],
)
def test_codings(value: bytes, normal: bytes) -> None:
    assert normalised_codings(value) == normal


def accepted(value: bytes) -> tuple[set[bytes], set[bytes]]:
    """Another reading of Accept-Encoding: what is accepted, and what is refused."""
    yes: set[bytes] = set()
    no: set[bytes] = set()
    for element in value.split(b","):
        name, *parameters = (part.strip() for part in element.split(b";"))
        if name:
            refused = any(parameter in (b"q=0", b"q=0.0") for parameter in parameters)
            (no if refused else yes).add(name.lower())
    return yes, no


CODING = st.sampled_from((b"gzip", b"br", b"identity", b"*", b"x-y", b"GZip"))
WEIGHT = st.sampled_from((b"", b";q=0", b"; q=0.0", b";q=1", b";q=0.4"))
CODINGS = st.lists(st.tuples(CODING, WEIGHT), max_size=8).map(
    lambda items: b", ".join(a + b for a, b in items)
)


@given(CODINGS, CODINGS)
def test_codings_are_equal_only_if_they_mean_the_same(one: bytes, other: bytes) -> None:
    if normalised_codings(one) == normalised_codings(other):
        assert accepted(one) == accepted(other)


# --- validators ----------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("tags", "tag", "listed"),
    [
        (b'"a"', b'"a"', True),
        (b'W/"a"', b'"a"', True),
        (b'"a"', b'W/"a"', True),
        (b'"b" , "a"', b'"a"', True),
        (b'"a,b"', b'"a,b"', True),
        (b'"x, "a"', b'"a"', False),
        (b'"a', b'"a"', False),
        (b'"A"', b'"a"', False),
        (b"*", b'"a"', True),
        (b" * ", b"", True),
        (b'"a"', b"", False),
        (b"", b'"a"', False),
        (b"a, b", b"b", True),
    ],
)
def test_listed_tags(tags: bytes, tag: bytes, listed: bool) -> None:
    assert tag_listed(tags, tag) is listed


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (b'"a"', b'"a"', True),
        (b'W/"a"', b'W/"a"', False),
        (b'"a"', b'W/"a"', False),
        (b'"a"', b'"b"', False),
        (b"a", b"a", False),
        (b"", b"", False),
    ],
)
def test_strong_comparison(one: bytes, other: bytes, same: bool) -> None:
    assert tags_same(one, other) is same


# --- ranges --------------------------------------------------------------------------------------------
WHOLE, PART, NOT_SATISFIABLE = (
    (RangeResult.RANGE_WHOLE,),
    RangeResult.RANGE_PART,
    (RangeResult.RANGE_NOT_SATISFIABLE,),
)


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (b"bytes=0-0", (PART, 0, 1)),
        (b"bytes=0-", (PART, 0, 10)),
        (b"bytes=3-5", (PART, 3, 3)),
        (b"Bytes = 3-5", WHOLE),
        (b"BYTES=3-5", (PART, 3, 3)),
        (b"bytes= 3-5 ", (PART, 3, 3)),
        (b"bytes=3-99", (PART, 3, 7)),
        (b"bytes=9-", (PART, 9, 1)),
        (b"bytes=9-18446744073709551616000", (PART, 9, 1)),
        (b"bytes=-3", (PART, 7, 3)),
        (b"bytes=-99", (PART, 0, 10)),
        (b"bytes=10-", NOT_SATISFIABLE),
        (b"bytes=18446744073709551616-", NOT_SATISFIABLE),
        (b"bytes=-0", NOT_SATISFIABLE),
        (b"bytes=5-3", WHOLE),
        (b"bytes=0-1,3-4", WHOLE),
        (b"bytes=-", WHOLE),
        (b"bytes=a-b", WHOLE),
        (b"bytes=1", WHOLE),
        (b"bytes=", WHOLE),
        (b"items=0-1", WHOLE),
    ],
)
def test_range(value: bytes, result: tuple[int, ...]) -> None:
    assert byte_range(value, 10)[: len(result)] == result


def test_nothing_of_an_empty_body() -> None:
    assert byte_range(b"bytes=0-", 0)[0] == RangeResult.RANGE_NOT_SATISFIABLE
    assert byte_range(b"bytes=-1", 0)[0] == RangeResult.RANGE_NOT_SATISFIABLE


@given(st.binary(max_size=30), st.integers(0, 1000))
def test_a_part_lies_within_the_body(value: bytes, size: int) -> None:
    result, offset, length = byte_range(b"bytes=" + value, size)
    if result == RangeResult.RANGE_PART:
        assert length > 0
        assert offset + length <= size


# --- lists, media types --------------------------------------------------------------------------------
def test_words() -> None:
    assert list_words(b"  a b,c ,, d\te") == [b"a", b"b", b"c", b"d", b"e"]


@pytest.mark.parametrize(
    ("value", "canonical"),
    [
        (b"text/plain", b"text/plain"),
        (b" Text/HTML ; Charset=UTF-8", b"text/html;charset=utf-8"),
        (b'a/b;z=1; a="2"', b"a/b;a=2;z=1"),
        (b"a/b;", b"a/b"),
        (b"*/*", b"*/*"),
        (b"text", b""),
        (b"/b", b""),
        (b"a/", b""),
        (b"", b""),
        (b"a/b;" + b";".join(b"p%d=1" % i for i in range(17)), b""),
        (b"a/" + b"b" * 300, b""),
    ],
)
def test_canonical_media_type(value: bytes, canonical: bytes) -> None:
    assert canonical_media_type(value) == canonical


@pytest.mark.parametrize(
    ("pattern", "value", "matches"),
    [
        (b"application/json", b"application/json", True),
        (b"application/json", b"application/json; charset=utf-8", False),
        (b"application/json;charset=utf-8", b"application/json; Charset=UTF-8", True),
        (b"application/json; charset=utf-8", b"application/json", False),
        (b"text/*", b"text/html", True),
        (b"text/*", b"image/png", False),
        (b"*/*", b"image/png", True),
        (b"*/*", b"", False),
        (b"text/plain", b"nonsense", False),
    ],
)
def test_matching_media_types(pattern: bytes, value: bytes, matches: bool) -> None:
    assert media_type_matches(pattern, value) is matches
