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
    ("a backtracking verb", re.compile(r"\(\*[A-Z]")),
)
ESCAPED_OR_CLASS = re.compile(r"\\(?:Q.*?(?:\\E|$)|[^1-9kg])|\[\^?\]?(?:\\.|\[:\w+:\]|[^\]\\])*\]", re.DOTALL)


def pattern_problem(pattern: str) -> str | None:
    """The text of what is wrong with a pattern, or None when the router can compile it."""
    problem = _compiler()(pattern)
    return None if problem is None else f"invalid regex: '{pattern}' (PCRE returned: {problem})"


def unsupported_construct(pattern: str) -> str | None:
    """The first construct of a valid pattern that Kong's router does not have, or None.

    Such patterns are refused so that a configuration means the same here and in Kong, and because they are
    the ones whose matching time can explode.
    """
    bare = ESCAPED_OR_CLASS.sub("_", pattern)
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
