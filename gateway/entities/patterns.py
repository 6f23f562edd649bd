"""Whether a regular expression of the configuration can be used by the router."""

from __future__ import annotations

import re
from collections.abc import Callable

_check: Callable[[str], str | None] | None = None

# Constructs that need backtracking. Kong's router (Rust's regex crate) has none of them.
CONSTRUCTS = (
    ("look-around", re.compile(r"\(\?(?:=|!|<=|<!)")),
    ("an atomic group", re.compile(r"\(\?>")),
    ("a conditional group", re.compile(r"\(\?\(")),
    ("a branch-reset group", re.compile(r"\(\?\|")),
    ("recursion", re.compile(r"\(\?(?:R|&|P>|[+-]?\d+\))")),
    ("a backreference", re.compile(r"\\[1-9]|\\[kg][{<']|\(\?P=")),
    ("a backtracking verb", re.compile(r"\(\*[A-Za-z]")),
)
# Quoted texts, escaped characters, comments and classes, in which nothing is a construct. Each alternative
# matches once it has begun, up to the end of the text if need be: to look for an end that is not there, from
# each beginning anew, would take time that grows with the square of the pattern.
WITHOUT_MEANING = re.compile(
    r"\\(?:Q.*?(?:\\E|\Z)|c.|[^1-9kg])"
    r"|\(\?\#[^)]*+\)?"
    r"|\[\^?\]?(?:\\c.|\\.?|\[:\w++:\]|[^\]\\])*+\]?",
    re.DOTALL,
)
EXTENDED = re.compile(r"\(\?\^?[a-wyzA-Z]*x")
"""the option with which `#` begins a comment, which may hold half of anything"""


def pattern_problem(pattern: str) -> str | None:
    """The text of what is wrong with a pattern, or None when the router can compile it."""
    problem = _compiler()(pattern)
    return None if problem is None else f"invalid regex: '{pattern}' (PCRE returned: {problem})"


def unbounded_pattern_problem(pattern: str) -> str | None:
    """The text of what is wrong with a valid pattern whose matching time is not bounded."""
    construct = unsupported_construct(pattern)
    if construct is None:
        return None
    return (
        f"Router Expression failed validation: regex parse error in '{pattern}': {construct} is not supported"
    )


def unsupported_construct(pattern: str) -> str | None:
    """The first construct of a valid pattern that Kong's router does not have, or None.

    Such patterns are refused so that a configuration means the same here and in Kong, and because they are
    the ones whose matching time can explode.
    """
    bare = pattern if EXTENDED.search(pattern) else WITHOUT_MEANING.sub("_", pattern)
    return next((name for name, construct in CONSTRUCTS if construct.search(bare)), None)


def _compiler() -> Callable[[str], str | None]:
    global _check
    if _check is None:
        try:
            from native.regex import check_pattern

            _check = check_pattern
        except ImportError:
            # The native modules are not built: Python's own syntax is near enough to test the rest with.
            _check = _check_with_python
    return _check


def _check_with_python(pattern: str) -> str | None:
    try:
        # Python spells a named group (?P<name>…) only.
        re.compile(re.sub(r"\(\?<(?![=!])", "(?P<", pattern))
    except (re.error, RecursionError, OverflowError) as problem:
        return str(problem)
    return None
