"""The declarative format: one file (or POST /config body) that holds the whole configuration.

A text is read (`documents`), what it holds is loaded (`loader`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import orjson

from gateway.garbage import collection_paused
from gateway.store.configuration import Configuration
from gateway.store.declarative_errors import unreadable
from gateway.store.documents import (
    Document,
    DocumentPath,
    UnreadableDocument,
    check_plain_data,
    decode_text,
    read_document,
    read_yaml,
)
from gateway.store.items import Parsed
from gateway.store.loader import Loader
from gateway.store.memory import LoadMemory
from gateway.store.pieces import ELEMENT_DEPTH, split_json, split_text
from gateway.store.problems import LineOf


def content_hash(text: bytes | str) -> str:
    """The hash of a declarative text: md5 in hex, as Kong shows it (it is no protection against anything)."""
    data = text if isinstance(text, bytes) else text.encode("utf-8", "surrogatepass")
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def load_declarative(
    text: bytes | str, *, source: str = "declarative file", memory: LoadMemory | None = None
) -> Configuration:
    """Read a YAML or JSON text; `source` names it in messages. Raises DeclarativeError.

    With the memory of earlier loads, entities that have not changed cost next to nothing.
    """
    return parse_declarative(text, source=source, memory=memory).configuration


def parse_declarative(
    text: bytes | str, *, source: str = "declarative file", memory: LoadMemory | None = None
) -> Parsed:
    """Like `load_declarative`, with what POST /config answers."""
    with collection_paused():
        return _parse(text, source, memory)


def _parse(text: bytes | str, source: str, memory: LoadMemory | None) -> Parsed:
    digest = content_hash(text)
    pieces = None
    try:
        decoded = decode_text(text) if isinstance(text, bytes) else text
        if memory is not None and (pieces := split_text(decoded)) is not None:
            parsed = memory.load(pieces, source, digest)
            if parsed is not None:
                return parsed
        document = read_document(decoded)
    except UnreadableDocument as problem:
        raise unreadable(source, problem.problems) from None
    line_of = _Lines(decoded, document).of
    if memory is not None and pieces is not None and pieces.fits(document):
        return memory.load_first(document.value, pieces, source, line_of, digest)
    return Loader(document.value, source, line_of, digest).load()


class _Lines:
    """The lines of a document's parts. JSON is read without them, for speed, and once more when there is
    something to tell."""

    def __init__(self, text: str, document: Document) -> None:
        self._text = text
        self._document: Document | None = document

    def of(self, path: DocumentPath) -> int | None:
        if self._document is not None and not self._document.has_lines:
            try:
                self._document = read_yaml(self._text)
            except UnreadableDocument:  # some JSON is not YAML
                self._document = None
        return self._document.line_of(path) if self._document else None


def load_declarative_document(
    document: object, *, source: str = "declarative configuration", positions: LineOf | None = None
) -> Configuration:
    """Read a decoded document; `positions` tells the line of a path, when there is a text. Raises
    DeclarativeError."""
    return parse_declarative_document(document, source=source, positions=positions).configuration


def parse_declarative_document(
    document: object, *, source: str = "declarative configuration", positions: LineOf | None = None
) -> Parsed:
    """Like `load_declarative_document`, with what POST /config answers."""
    with collection_paused():
        _check(document, source)
        return Loader(document, source, positions or _nowhere, _document_hash(document)).load()


def parse_known_json(
    text: bytes, *, left_out: frozenset[str], source: str, memory: LoadMemory
) -> Parsed | None:
    """Like `parse_declarative_json`, before anything was decoded. None: most of it is new, it is no
    declarative document, or there is something wrong with it."""
    with collection_paused():
        try:
            pieces = split_json(text.decode(), left_out, _read_with_orjson)
        except UnicodeDecodeError:
            return None
        return None if pieces is None else memory.load(pieces, source, pieces.digest)


def parse_declarative_json(
    text: bytes, decoded: Mapping[str, object], *, left_out: frozenset[str], source: str, memory: LoadMemory
) -> Parsed:
    """Like `parse_declarative_document`, for a JSON object that was decoded by orjson from `text`; the memory
    is filled, not used.

    The last of repeated keys counts. The keys `left_out` are no part of the configuration.
    """
    with collection_paused():
        pieces = split_json(text.decode(), left_out, _read_with_orjson)
        document = {name: value for name, value in decoded.items() if name not in left_out}
        _check(document, source)
        if pieces is None:
            return Loader(document, source, _nowhere, _document_hash(document)).load()
        return memory.load_first(document, pieces, source, _nowhere, pieces.digest)


def _read_with_orjson(piece: bytes) -> Any:
    value = orjson.loads(piece)
    check_plain_data(value, above=ELEMENT_DEPTH)
    return value


def _check(document: object, source: str) -> None:
    try:
        check_plain_data(document)
    except UnreadableDocument as problem:
        raise unreadable(source, problem.problems) from None


def _document_hash(document: object) -> str:
    return content_hash(json.dumps(document, separators=(",", ":"), default=str))


def _nowhere(path: DocumentPath) -> None:
    """The line of a part of a document without a text."""
