"""Query arguments: taken apart, changed and written as in Kong, which a model in plain Python does, too."""

from __future__ import annotations

from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from native.arguments import rewrite

Values = dict[bytes, list[bytes | None]]
"""what Kong's table has: values by name; None: without "=" """


# --- the model -----------------------------------------------------------------------------------------
def parsed(encoded: bytes, values: Values) -> Values:
    for piece in encoded.split(b"&"):
        name, equals, value = piece.replace(b"+", b" ").partition(b"=")
        if name:
            values.setdefault(unquote_to_bytes(name), []).append(unquote_to_bytes(value) if equals else None)
    return values


def changed(values: Values, change: tuple) -> Values:
    kind, name, *rest = change
    value = rest[0] if rest else b""
    if kind == "more":
        return parsed(name, values)
    if kind == "remove":
        values.pop(name, None)
    elif kind == "rename":
        if name in values:
            values[value] = values.pop(name)
    elif kind == "replace":
        if name in values:
            values[name] = [value]
    elif kind == "add":
        values.setdefault(name, [value])
    elif values.get(name) == [None]:
        values[name] = [value]
    else:
        values.setdefault(name, []).append(value)
    return values


def written(values: Values) -> bytes:
    """Each name with all its values is a text; the texts are sorted."""
    groups = []
    for name, of_name in values.items():
        key = quote(name, safe="")
        groups.append(
            "&".join(key if value is None else f"{key}={quote(value, safe='')}" for value in of_name)
        )
    return "&".join(sorted(groups)).encode()


def model(encoded: bytes, changes: list[tuple]) -> bytes:
    values = parsed(encoded, {})
    for change in changes:
        values = changed(values, change)
    return written(values)


# --- recorded and told ---------------------------------------------------------------------------------
CHANGES = [
    ("remove", b"rm"),
    ("rename", b"old", b"new"),
    ("replace", b"rep", b"n"),
    ("add", b"add", b"1"),
    ("add", b"have", b"2"),
    ("append", b"app", b"3"),
]


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"rm=1&old=o&rep=x&have=orig&app=0&keep=k", b"add=1&app=0&app=3&have=orig&keep=k&new=o&rep=n"),
        (b"", b"add=1&app=3&have=2"),
        (b"rm&keep", b"add=1&app=3&have=2&keep"),
        (b"app=1&app=2&sp=a%20b%2Bc&e=", b"add=1&app=1&app=2&app=3&e=&have=2&sp=a%20b%2Bc"),
    ],
)
def test_as_kong_did_it(query: bytes, expected: bytes) -> None:
    assert rewrite(query, CHANGES) == expected


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"&&a=1&", b"a=1"),
        (b"=x&a", b"a"),
        (b"a=1=2", b"a=1%3D2"),
        (b"%zz=%4&b=%", b"%25zz=%254&b=%25"),
        (b"a+b=c+d", b"a%20b=c%20d"),
        (b"page=1&page2=2&page-x=3&page", b"page-x=3&page2=2&page=1&page"),
        (b"b&b2=1", b"b&b2=1"),
        (b"%0d%0a=%00", b"%0D%0A=%00"),
        (b"\xff=\xc3\xa9", b"%FF=%C3%A9"),
    ],
)
def test_taken_apart_and_written(query: bytes, expected: bytes) -> None:
    assert rewrite(query, []) == expected == model(query, [])


def test_a_lone_argument_without_value_gives_way_to_what_is_appended() -> None:
    assert rewrite(b"a", [("append", b"a", b"1")]) == b"a=1"
    assert rewrite(b"a&a", [("append", b"a", b"1")]) == b"a&a&a=1"


def test_renaming_what_is_not_there_leaves_what_has_the_new_name() -> None:
    assert rewrite(b"new=1", [("rename", b"old", b"new")]) == b"new=1"
    assert rewrite(b"a=1", [("rename", b"a", b"a")]) == b"a=1"
    assert rewrite(b"old=1&new=2&old=3", [("rename", b"old", b"new")]) == b"new=1&new=3"


def test_many_arguments_in_too_little_memory_are_given_up() -> None:
    query = b"&".join(b"%d=%d" % (number, number) for number in range(2000))
    assert rewrite(query, [], 65536) is None
    assert rewrite(query, []) == model(query, [])


# --- any ---------------------------------------------------------------------------------------------------
NAMES = st.sampled_from([b"a", b"b", b"a1", b"a-", b"a b", b"\xff", b"A"])
VALUES = st.one_of(st.binary(max_size=4), st.sampled_from([b"1", b"x y", b"&=%"]))
ENCODED = st.one_of(
    st.binary(max_size=40),
    st.lists(
        st.sampled_from([b"a", b"b", b"a1", b"a-", b"=", b"&", b"&", b"%61", b"%", b"+", b"1"]), max_size=20
    ).map(b"".join),
)
CHANGE = st.one_of(
    st.tuples(st.just("remove"), NAMES),
    st.tuples(st.sampled_from(["rename", "replace", "add", "append"]), NAMES, VALUES),
    st.tuples(st.just("more"), ENCODED),
).filter(lambda change: change[0] != "rename" or change[2] != b"")


@given(ENCODED, st.lists(CHANGE, max_size=6))
@example(b"a=1&a1=2&a&a-=3", [("append", b"a", b"")])
def test_as_the_model_does_it(query: bytes, changes: list[tuple]) -> None:
    assert rewrite(query, changes) == model(query, changes)
