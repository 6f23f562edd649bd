"""Lua patterns, in which Kong's schemas say what a text must look like, as regular expressions.

The schemas show them as they are declared; values are checked by, and JSON Schemas show, the expression that
`regex_of` makes. What regular expressions have no like of (`%b`, `%f`, captures) is refused.
"""

from __future__ import annotations

import functools
import re

# Written so that Python, ECMAScript and Rust read them alike.
CLASSES = {"a": "A-Za-z", "d": "0-9", "l": "a-z", "u": "A-Z", "w": "0-9A-Za-z", "x": "0-9A-Fa-f", "s": r"\s"}
QUANTIFIERS = {"*": "*", "+": "+", "?": "?", "-": "*?"}
SPECIAL = frozenset(r"\.[]{}()*+?^$|")
SPECIAL_IN_CLASS = frozenset(r"\[]^-")
RANGE = re.compile(r".-[^\]]", re.DOTALL)


def regex_of(pattern: str, end: str = "$") -> str:
    """The regular expression (to search with) of a Lua pattern; `end` stands for the end of the text. Raises
    ValueError for what has none."""
    anchored = pattern.startswith("^")
    parts = ["^"] if anchored else []
    position = int(anchored)
    while position < len(pattern):
        character = pattern[position]
        if character == "$" and position == len(pattern) - 1:
            parts.append(end)
            break
        item, position = _item(pattern, position)
        parts.append(item)
        if position < len(pattern) and pattern[position] in QUANTIFIERS:
            parts.append(QUANTIFIERS[pattern[position]])
            position += 1
    return "".join(parts)


@functools.cache
def compiled(pattern: str) -> re.Pattern[str]:
    """The compiled expression of a Lua pattern, whose `$` means the very end."""
    return re.compile(regex_of(pattern, end=r"\Z"))


def _item(pattern: str, position: int) -> tuple[str, int]:
    """One single-character item of a pattern as an expression, and where the next one begins."""
    character = pattern[position]
    if character == "%":
        text, position = _escaped(pattern, position, SPECIAL)
        return (f"[{text}]" if pattern[position - 1] in CLASSES else text), position
    if character == "[":
        return _character_class(pattern, position)
    if character == ".":
        return r"[\s\S]", position + 1
    if character in "()":
        raise ValueError(f"captures have no meaning here: {pattern!r}")
    return literal(character, SPECIAL), position + 1


def _escaped(pattern: str, position: int, special: frozenset[str]) -> tuple[str, int]:
    """What `%x` stands for inside a class, and where the text goes on."""
    if position + 1 == len(pattern):
        raise ValueError(f"ends in '%': {pattern!r}")
    character = pattern[position + 1]
    if character in CLASSES:
        return CLASSES[character], position + 2
    if character.isalnum():
        raise ValueError(f"'%{character}' has no like in regular expressions: {pattern!r}")
    return literal(character, special), position + 2


def _character_class(pattern: str, position: int) -> tuple[str, int]:
    """A bracketed class, and where the text goes on."""
    parts = ["["]
    position += 1
    if pattern[position : position + 1] == "^":
        parts.append("^")
        position += 1
    while position < len(pattern):
        character = pattern[position]
        if character == "]" and parts[-1] not in ("[", "^"):
            return "".join(parts) + "]", position + 1
        if character == "%":
            text, position = _escaped(pattern, position, SPECIAL_IN_CLASS)
            parts.append(text)
        elif RANGE.match(pattern, position):
            first, last = (literal(pattern[place], SPECIAL_IN_CLASS) for place in (position, position + 2))
            parts.append(f"{first}-{last}")
            position += 3
        else:
            parts.append(literal(character, SPECIAL_IN_CLASS))
            position += 1
    raise ValueError(f"a class without an end: {pattern!r}")


def literal(character: str, special: frozenset[str]) -> str:
    """A character that stands for itself."""
    return f"\\{character}" if character in special else character
