import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from native.regex import CompiledPattern, RegexResult, check_pattern

MATCH, NO_MATCH, LIMIT = RegexResult.REGEX_MATCH, RegexResult.REGEX_NO_MATCH, RegexResult.REGEX_LIMIT


def test_check_pattern_names_the_mistake():
    assert check_pattern(r"/users/(?<id>\d+)") is None
    assert check_pattern("/a(b") == "missing closing parenthesis at offset 4"
    assert check_pattern("/é(") == "missing closing parenthesis at offset 4"
    assert check_pattern("[b-a]") is not None
    assert check_pattern(r"a\C") is not None, "a match must not end inside a character"
    assert check_pattern("(?<a>x)(?<a>y)") is not None


def test_a_pattern_that_does_not_compile_raises():
    with pytest.raises(ValueError, match="missing closing parenthesis at offset 2"):
        CompiledPattern("(a")


def test_groups_and_names():
    pattern = CompiledPattern(r"/users/(?P<id>\d+)(?<tail>/x)?(/y)?")
    assert pattern.names == {"id": 1, "tail": 2}
    assert pattern.match(b"/users/12") == (MATCH, [(0, 9), (7, 9)])
    assert pattern.match(b"/users/12/y") == (MATCH, [(0, 11), (7, 9), None, (9, 11)])
    assert pattern.match(b"/users/") == (NO_MATCH, [])


def test_more_groups_than_are_reported():
    result, groups = CompiledPattern("(a)" * 40).match(b"a" * 40)
    assert result == MATCH
    assert len(groups) == 32
    assert groups[31] == (30, 31)


def test_anchoring():
    assert CompiledPattern("b").match(b"ab") == (MATCH, [(1, 2)])
    assert CompiledPattern("b", anchored=True).match(b"ab") == (NO_MATCH, [])
    # every alternative, not only the first one
    assert CompiledPattern("x|b", anchored=True).match(b"ab") == (NO_MATCH, [])
    assert CompiledPattern("x|b", anchored=True).match(b"bc") == (MATCH, [(0, 1)])


def test_dialect_is_that_of_kongs_router():
    # Rust: "$" only at the very end, "." everything but LF, both whatever the library was built with
    assert CompiledPattern("a$").match(b"a\n")[0] == NO_MATCH
    assert CompiledPattern("a.b").match(b"a\nb")[0] == NO_MATCH
    assert CompiledPattern("a.b").match(b"a\rb")[0] == MATCH
    assert CompiledPattern("(?i)ABC").match(b"abc")[0] == MATCH


def test_characters_outside_ascii():
    assert CompiledPattern("/é?x").match(b"/x")[0] == MATCH
    assert CompiledPattern("/é{2}$").match("/éé".encode())[0] == MATCH
    # bytes that are no UTF-8 are safe, they just do not match
    assert CompiledPattern("é").match(b"\xff\xc3")[0] == NO_MATCH
    assert CompiledPattern("é").match(b"\xff" + "é".encode()) == (MATCH, [(1, 3)])
    assert CompiledPattern("a.b").match(b"a\xffb")[0] == MATCH


def test_empty_pattern_and_subject():
    assert CompiledPattern("").match(b"") == (MATCH, [(0, 0)])
    assert CompiledPattern("a").match(b"")[0] == NO_MATCH


CATASTROPHIC = [
    r"(a+)+$",
    r"(a|aa)+$",
    r"([a-z]+)*\d",
    r"(\w+\s?)*$",
    r"a*a*a*a*[bc]$",
    r"(a.*){6}[xy]",
    r"[ab]*[ab]*[ab]*[ab]*[xy]",
    r"^(?:a|b)*(?:a|b)*(?:a|b)*[xy]",
    r"(?:a?){30}a{30}[bc]",
]


@pytest.mark.parametrize("pattern", CATASTROPHIC)
def test_catastrophic_patterns_end_at_the_limit(pattern):
    # without a limit each of these runs for longer than this suite may; the time is not asserted
    for anchored in (False, True):
        compiled = CompiledPattern(pattern, anchored=anchored)
        for length in (40, 8_000, 60_000):
            assert compiled.match(b"a" * length + b"!")[0] in (LIMIT, NO_MATCH)
    assert CompiledPattern(pattern).match(b"a" * 60_000 + b"!")[0] == LIMIT


def test_ordinary_patterns_stay_below_the_limit():
    path = b"/" + b"/".join(b"segment%d" % number for number in range(700))
    assert CompiledPattern(r"/(?:[a-z0-9]+/)*segment699$").match(path)[0] == MATCH
    assert CompiledPattern("segment699").match(path)[0] == MATCH
    assert CompiledPattern("linux|windows|bsd").match(b"Mozilla/5.0 " * 500 + b"linux")[0] == MATCH


PATTERN_PIECES = [
    "a",
    "b",
    "/",
    "[ab]",
    r"\d",
    "(a)",
    "(?:b|c)",
    ".",
    "a?",
    "b*",
    "(c)+",
    "^",
    "$",
    r"\.",
    "(a|b)",
]


@settings(max_examples=200)
@given(st.lists(st.sampled_from(PATTERN_PIECES), max_size=6).map("".join), st.text("abc/.1", max_size=8))
def test_against_python(pattern, subject):
    expected = re.search(pattern.replace("$", r"\Z"), subject)
    result, groups = CompiledPattern(pattern).match(subject.encode())
    assert (result == MATCH) == (expected is not None)
    if expected is not None:
        assert groups[0] == expected.span()
