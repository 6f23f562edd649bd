"""A declarative text cut into its elements, without reading them.

Reading and checking a text takes far longer than cutting it. Whoever knows what an element's text means from
an earlier load (`memory`) needs to read only the others.

What is cut in another place than a reader would cut it must never be taken for an element. So this gives up
(None) for everything unusual, and the text is then read as a whole:

- JSON: an object of lists. Every byte between the lists is looked at.
- YAML: block style, the lists of entities at the top level under keys of their own lines. A line that begins
  like an element may still be part of a text in quotes: `Pieces.fits` tells, by a document that was read as a
  whole, whether each piece is an element. Put together, pieces that are elements each by itself are a list
  of these elements, as long as no alias refers from one to another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import msgspec

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.store.documents import Document, UnreadableDocument, read_json, read_yaml

Piece: TypeAlias = "str | bytes"
"""Text of one element: of YAML (str) with the dash before it, of JSON (bytes) exactly."""


@dataclass(frozen=True)
class Pieces:
    """The parts of a document: `header` is what is no list of entities, decoded."""

    header: Mapping[str, Any]
    elements: Mapping[str, list[Piece]]
    """Name of an entity type -> its elements in order."""
    names: tuple[str, ...]
    """The keys of the document."""
    read: Callable[[Any], Any] = field(repr=False)
    """Decodes an element; raises ValueError, also where it is not known to be one."""
    digest: str = ""
    """Of JSON: md5 of names and pieces, without the space between them."""
    lenient: bool = False
    """Whether `read` accepts what others refuse."""

    def fits(self, document: Document) -> bool:
        """Whether `document`, read from the same text, has just these elements."""
        if document.has_aliases or not isinstance(document.value, dict):
            return False
        return tuple(document.value) == self.names and all(
            len(document.value[name] or ()) == len(elements) for name, elements in self.elements.items()
        )


def split_text(text: str) -> Pieces | None:
    """Cut a declarative text. None: read it as a whole."""
    return split_json(text) if text.lstrip()[:1] in ("{", "[") else split_yaml(text)


# --- JSON -----------------------------------------------------------------------------------------

ELEMENT_DEPTH = 2
"""how deep an element of a list of entities lies in the document"""
_SPACE = re.compile(rb"[ \t\r\n]*")
_BEFORE = rb"[ \t\r\n]*%s[ \t\r\n]*%s[ \t\r\n]*:[ \t\r\n]*"
_END = re.compile(rb"[ \t\r\n]*\}[ \t\r\n]*")


def split_json(
    text: str, left_out: frozenset[str] = frozenset(), read: Callable[[bytes], Any] | None = None
) -> Pieces | None:
    """Cut a JSON object. The keys `left_out` do not count; `read`, if given, decodes elements instead of
    `read_json`, and less strictly."""
    header: dict[str, Any] = {}
    elements: dict[str, list[Piece]] = {}
    try:
        data = text.encode()
        document = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        parts = {name: bytes(part) for name, part in document.items()}
        if not _is_whole(data, parts):
            return None
        digest = hashlib.md5(usedforsecurity=False)
        for name, part in parts.items():
            if name in left_out:
                continue
            digest.update(b"%d:%b%d:%b" % (len(name), name.encode(), len(part), part))
            if name not in ENTITY_TYPES:
                header[name] = read_json(part.decode(), above=1)
            elif part in (b"null", b"{}"):
                elements[name] = []
            else:
                elements[name] = [bytes(one) for one in msgspec.json.decode(part, type=list[msgspec.Raw])]
    except ValueError:  # no JSON, or not of this form
        return None
    names = tuple(name for name in parts if name not in left_out)
    return Pieces(header, elements, names, read or _read_json_piece, digest.hexdigest(), read is not None)


def _is_whole(data: bytes, parts: Mapping[str, bytes]) -> bool:
    """Whether `data` consists of these parts: a decoder keeps only the last of several with one key."""
    place = 0
    for number, (name, part) in enumerate(parts.items()):
        key = re.escape(msgspec.json.encode(name))
        before = re.compile(_BEFORE % (b"," if number else rb"\{", key)).match(data, place)
        if before is None or not data.startswith(part, before.end()):
            return False
        place = before.end() + len(part)
    return bool(parts) and _END.fullmatch(data, place) is not None


def _read_json_piece(piece: bytes) -> Any:
    return read_json(piece.decode(), above=ELEMENT_DEPTH)


# --- YAML -----------------------------------------------------------------------------------------

# A line that begins at its first column, other than a comment or an element of a list.
_TOP_LINE = re.compile(r"\n(?!-(?:[ \r\n]|$))[^ \n\r#]")
_KEY = re.compile(r"([A-Za-z_]+):(?=[ \r\n]|$)")
_NOTHING_ELSE = re.compile(r"[ ]*(?:[ ]#[^\n]*)?\r?(?:\n|$)")
_EMPTY_LINES = re.compile(r"(?:[ ]*(?:#[^\n]*)?\r?\n)*")
_DASH = re.compile(r"( *)-(?=[ \r\n]|$)")
_OTHER_BREAKS = "\x85\u2028\u2029"
"""What ends a line for YAML besides line feed and carriage return."""


def split_yaml(text: str) -> Pieces | None:
    """Cut a YAML document in block style."""
    text = "\n" + text.removeprefix("---\n")
    if any(one in text for one in _OTHER_BREAKS) or text.count("\r") != text.count("\r\n"):
        return None
    starts = [found.start() + 1 for found in _TOP_LINE.finditer(text)]
    if not starts or not _is_empty(text[1 : starts[0]]):
        return None
    header: list[str] = []
    elements: dict[str, list[Piece]] = {}
    names: list[str] = []
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        key = _KEY.match(text, start)
        if key is None or key[1] in names:
            return None
        names.append(key[1])
        if key[1] not in ENTITY_TYPES:
            header.append(text[start:end])
            continue
        rest = _NOTHING_ELSE.match(text, key.end(), end)
        found = _cut_list(text[rest.end() : end]) if rest else None
        if found is None:
            return None
        elements[key[1]] = found
    try:
        read = read_yaml("".join(header))
    except UnreadableDocument:
        return None
    values = {} if read.value is None else read.value
    if read.has_aliases or not isinstance(values, dict) or len(values) + len(elements) != len(names):
        return None
    return Pieces(values, elements, tuple(names), _read_yaml_piece)


def _is_empty(text: str) -> bool:
    return _EMPTY_LINES.fullmatch(text if text.endswith("\n") else text + "\n") is not None


def _cut_list(text: str) -> list[Piece] | None:
    """The elements of the list that a text in block style holds."""
    before = _EMPTY_LINES.match(text)
    first = before.end() if before else 0
    dash = _DASH.match(text, first)
    if dash is None:
        return [] if _is_empty(text) else None
    line = re.compile(rf"\n {{{len(dash[1])}}}-(?=[ \r\n]|$)")
    starts = [first, *(found.start() + 1 for found in line.finditer(text, dash.end()))]
    return [text[start:end] for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def _read_yaml_piece(piece: str) -> Any:
    document = read_yaml(piece, above=ELEMENT_DEPTH - 1)
    if document.has_aliases or not isinstance(document.value, list) or len(document.value) != 1:
        raise UnreadableDocument([(None, None, "not an element by itself")])
    return document.value[0]
