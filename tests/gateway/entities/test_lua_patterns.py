"""Lua patterns of Kong's schemas as regular expressions."""

from __future__ import annotations

import pytest

from gateway.entities.lua_patterns import compiled, regex_of


@pytest.mark.parametrize(
    ("pattern", "matching", "others"),
    [
        ("^%u+$", ["GET"], ["get", "", "GET\n", "GEt"]),
        ("^[%a_-][%a%d_-]*$", ["a", "_x9", "-", "a-b"], ["9a", "", "a b", "a\n"]),
        ("^[a-z][a-z%d-]-[a-z%d]+$", ["ab", "a-b", "a9"], ["a", "9a", "a-", "A"]),
        ("^header$", ["header"], ["headers", "aheader"]),
        ("a.c", ["abc", "xa\ncx"], ["ac"]),
        ("^a%.b$", ["a.b"], ["axb"]),
        ("^[^%s/]?x$", ["x", "ax"], [" x", "/x"]),
        ("^[]x]$", ["]", "x"], ["y"]),
        ("//", ["a//b"], ["a/b"]),
    ],
)
def test_patterns_find_what_lua_finds(pattern: str, matching: list[str], others: list[str]) -> None:
    expression = compiled(pattern)
    assert [text for text in matching if not expression.search(text)] == []
    assert [text for text in others if expression.search(text)] == []


def test_a_dollar_elsewhere_is_a_dollar() -> None:
    assert compiled("a$b").search("a$b")
    assert regex_of("a%$") == r"a\$"
    assert compiled("a%$").search("a$b")


@pytest.mark.parametrize("pattern", ["%bxy", "%f[a]", "(a)", "[a", "a%"])
def test_what_has_no_like_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match=r"\S"):
        regex_of(pattern)
