"""Where the parts of a YAML or JSON text stand: a tree of ranges.

Only for texts that `gateway.store.documents` has read without a problem, so that nesting is bounded.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import yaml

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


Kind: TypeAlias = Literal["scalar", "mapping", "sequence", "alias"]


@dataclass(slots=True)
class Node:
    """A part of a text: `text[start:end]`, without the comments and empty lines after it."""

    kind: Kind
    start: int
    """Where it begins, anchor and tag included."""
    end: int
    is_flow: bool = False
    """Whether a mapping or sequence stands in brackets."""
    text: str = ""
    """What a scalar says; the name of an alias."""
    entries: list[tuple[Node, Node]] = field(default_factory=list)
    """Keys and values of a mapping, in order."""
    items: list[Node] = field(default_factory=list)
    """The elements of a sequence."""

    def entry(self, name: str) -> tuple[Node, Node] | None:
        """Key and value by the name of the key."""
        return next((entry for entry in self.entries if entry[0].text == name), None)


def yaml_nodes(text: str) -> Node:
    """The tree of a YAML text with one document."""
    stack: list[Node] = []
    keys: list[Node | None] = []
    """Of each open mapping the key whose value comes next."""
    root: Node | None = None
    event: Any
    for event in yaml.parse(text, Loader=_LOADER):
        kind = type(event)
        if kind is yaml.ScalarEvent:
            node = Node("scalar", event.start_mark.index, _end_of_scalar(text, event), text=event.value)
        elif kind is yaml.AliasEvent:
            node = Node("alias", event.start_mark.index, event.end_mark.index, text=event.anchor)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            name: Kind = "mapping" if kind is yaml.MappingStartEvent else "sequence"
            start, end = event.start_mark.index, event.end_mark.index
            stack.append(Node(name, start, end, bool(event.flow_style)))
            keys.append(None)
            continue
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            node = stack.pop()
            keys.pop()
            if node.is_flow:
                node.end = event.end_mark.index
            elif last := node.items[-1:] or [value for _, value in node.entries[-1:]]:
                node.end = last[0].end
        else:
            continue
        if not stack:
            root = node
        elif stack[-1].kind == "sequence":
            stack[-1].items.append(node)
        elif (key := keys[-1]) is None:
            keys[-1] = node
        else:
            stack[-1].entries.append((key, node))
            keys[-1] = None
    assert root is not None, "the text was read before"
    return root


def _end_of_scalar(text: str, event: Any) -> int:
    start, end = event.start_mark.index, event.end_mark.index
    if event.style not in ("|", ">"):
        return int(end)
    header = text[start : text.find("\n", start)].partition("#")[0]
    if "+" in header:  # the empty lines after it belong to it
        return int(end) - (1 if text[end - 1 : end] == "\n" else 0)
    return int(start) + len(text[start:end].rstrip())


_SPACE = re.compile(r"[ \t\r\n]*")
_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_OTHER = re.compile(r"[^ \t\r\n,\]}]+")


def json_nodes(text: str) -> Node:
    """The tree of a JSON text."""
    return _json_value(text, _skip(text, 0))


def _skip(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    return found.end() if found else place


def _json_value(text: str, start: int) -> Node:
    if text[start] == "{":
        return _json_container(text, Node("mapping", start, start + 1, True), "}")
    if text[start] == "[":
        return _json_container(text, Node("sequence", start, start + 1, True), "]")
    found = (_STRING if text[start] == '"' else _OTHER).match(text, start)
    assert found is not None, "the text was read before"
    return Node("scalar", start, found.end(), text=_json_text(found[0]))


def _json_text(text: str) -> str:
    if text[0] != '"':
        return text
    return str(json.loads(text, strict=False)) if "\\" in text else text[1:-1]


def _json_container(text: str, node: Node, closing: str) -> Node:
    place = _skip(text, node.start + 1)
    while text[place] != closing:
        if text[place] == ",":
            place = _skip(text, place + 1)
        part = _json_value(text, place)
        place = _skip(text, part.end)
        if node.kind == "mapping":
            value = _json_value(text, _skip(text, place + 1))
            node.entries.append((part, value))
            place = _skip(text, value.end)
        else:
            node.items.append(part)
    node.end = place + 1
    return node
