"""New parts of a declarative file as text that people like to read: YAML in block style, or JSON."""

from __future__ import annotations

import functools
import json
import re
from dataclasses import dataclass
from typing import Any

import yaml

from gateway.store.documents import plain_value

_PLAIN = re.compile(
    r"(?:[^\s\-?:,\[\]{}#&*!|>'\"%@`=<\x00-\x1f\x7f-\xa0]|[-?:][^\s,\[\]{}:#\x00-\x1f\x7f-\xa0-])[^\x00-\x1f\x7f-\xa0]*"
)
_NOT_PLAIN = re.compile(r": |:$| #| $|[\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")
_NOT_IN_FLOW = re.compile(r"[,?\[\]{}:]")
_NOT_IN_LITERAL = re.compile(
    r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]|(?:^|\n)[ ]+(?:\n|$)"
)
_ESCAPED = re.compile(r"[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_RESOLVERS: dict[str, list[tuple[str, re.Pattern[str]]]] = yaml.SafeLoader.yaml_implicit_resolvers


LONGEST_KEY = 1000
"""characters of a key that stands before its colon in one line (YAML 1.1 §9.1: at most 1024)"""


@dataclass(frozen=True, slots=True)
class YamlStyle:
    """Block style, indented like the rest of the file."""

    step: int = 2
    """Spaces before the keys of a mapping in a mapping."""
    dash: int = 0
    """Spaces before the dashes of a list in a mapping."""

    def block_lines(self, value: Any) -> list[str]:
        """Lines of a value that is no scalar, from the first column on."""
        lines: list[str] = []
        if isinstance(value, dict):
            for name, below in value.items():
                lines += self.entry_lines(name, below)
        else:
            for item in value:
                lines += self.item_lines(item)
        return lines

    def entry_lines(self, name: str, value: Any) -> list[str]:
        """The lines of a key with its value."""
        key = _key(name)
        before = [] if len(key) <= LONGEST_KEY else [f"? {key}"]
        start = "" if before else key
        if is_block(value):
            indent = self.step if isinstance(value, dict) or before else self.dash
            return [*before, f"{start}:", *_indented(self.block_lines(value), indent)]
        first, *rest = self.scalar_lines(value)
        return [*before, f"{start}: {first}", *_indented(rest, self.step)]

    def item_lines(self, value: Any) -> list[str]:
        """The lines of an item of a list, from its dash on."""
        lines = self.block_lines(value) if is_block(value) else self.scalar_lines(value)
        first, *rest = lines
        return [f"- {first}", *_indented(rest, 2)]

    def scalar_lines(self, value: Any) -> list[str]:
        """The lines of what needs no lines of its own; those after the first still without indentation."""
        if isinstance(value, str) and "\n" in value and (lines := _literal(value)):
            return lines
        return [self.inline(value)]

    def inline(self, value: Any) -> str:
        """A value in one line."""
        if isinstance(value, dict):
            members = (f"{_flow_key(name)}: {self.inline_in_flow(below)}" for name, below in value.items())
            return "{" + ", ".join(members) + "}"
        if isinstance(value, list):
            return "[" + ", ".join(map(self.inline_in_flow, value)) + "]"
        return _scalar(value)

    def inline_in_flow(self, value: Any) -> str:
        """A value in one line, between brackets."""
        return self.inline(value) if isinstance(value, dict | list) else _scalar(value, in_flow=True)


@dataclass(frozen=True, slots=True)
class JsonStyle:
    """JSON; `indent` spaces a level, None: everything in one line."""

    indent: int | str | None = None

    def inline(self, value: Any) -> str:
        return json.dumps(value, ensure_ascii=False)

    def inline_in_flow(self, value: Any) -> str:
        """The same; JSON has nothing but flow style."""
        return self.inline(value)

    def block_lines(self, value: Any) -> list[str]:
        return json.dumps(value, ensure_ascii=False, indent=self.indent).split("\n")


def _key(name: str) -> str:
    return _scalar(name, in_flow=True)


def _flow_key(name: str) -> str:
    key = _key(name)
    return key if len(key) <= LONGEST_KEY else f"? {key} "


def is_block(value: Any) -> bool:
    """Whether a value takes lines of its own in block style."""
    return isinstance(value, dict | list) and bool(value)


def _indented(lines: list[str], spaces: int) -> list[str]:
    return [" " * spaces + line if line else line for line in lines]


def _literal(text: str) -> list[str] | None:
    """A text of several lines as it is (a PEM block); None where that form cannot hold it."""
    if text[0] in " \n\t" or text.endswith("\n\n") or _NOT_IN_LITERAL.search(text):
        return None
    return ["|" if text.endswith("\n") else "|-", *text.removesuffix("\n").split("\n")]


def _scalar(value: Any, *, in_flow: bool = False) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float):
        return _number(value)
    return _text(value, in_flow)


@functools.lru_cache(4096)  # names of fields, and values that many entities have
def _text(value: str, in_flow: bool) -> str:
    if _may_be_plain(value) and not (in_flow and _NOT_IN_FLOW.search(value)):
        return value
    quoted = json.dumps(value, ensure_ascii=False)
    return _ESCAPED.sub(lambda found: f"\\u{ord(found[0]):04x}", quoted)


def _number(value: float) -> str:
    mantissa, exponent, power = repr(value).partition("e")
    if exponent and "." not in mantissa:
        mantissa += ".0"  # or YAML takes it for a text
    return mantissa + exponent + power


def _may_be_plain(text: str) -> bool:
    """Whether a string without quotes is that string to every reader of YAML, of version 1.1 too."""
    if not _PLAIN.fullmatch(text) or _NOT_PLAIN.search(text) or not isinstance(plain_value(text), str):
        return False
    resolvers = [*_RESOLVERS.get(text[0], ()), *_RESOLVERS.get(None, ())]  # type: ignore[call-overload]
    return not any(pattern.match(text) for _, pattern in resolvers)
