"""Loading a declarative text again and again, most of it the same as the last time.

The control process keeps a LoadMemory. It knows the texts of elements that were loaded without a problem, and
the entities they became. An element that stands in the next text in the same form is not read and checked
again: it keeps its entities, with the times at which they were made. What an element means together with the
others (what it refers to, what must be unique, ids that count repetitions) is looked at in every load.

Only texts without any problem are loaded this way; of another one, every problem is wanted with its place,
so it is loaded as if nothing were known.
"""

from __future__ import annotations

import marshal
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import Reference
from gateway.entities.record import Entity
from gateway.store.documents import DocumentPath
from gateway.store.items import Item, Parsed
from gateway.store.loader import IGNORED, Loader
from gateway.store.pieces import Piece, Pieces
from gateway.store.problems import ANNOTATIONS, HEADER, LineOf

MANY_CHILDREN = 16
"""From so many in one list on, nested entities are known one by one, besides the element they are part of."""

Key: TypeAlias = "tuple[str, str, str | bytes]"
"""Type, id of the parent (empty at the top level), form of the element."""


@dataclass(frozen=True, slots=True, eq=False)
class Known:
    """What became of an element."""

    items: tuple[Item, ...]
    """Itself and what is nested in it."""
    nested: tuple[tuple[Key, Known], ...]
    """Those nested in it, at any depth, that are known one by one."""


class LoadMemory:
    """The elements of the text that was loaded last. One load at a time should use it; when two do, the one
    that ends last is remembered."""

    def __init__(self) -> None:
        self._context: tuple[object, ...] | None = None
        self._lenient = False
        self._known: dict[Key, Known] = {}

    def load(self, pieces: Pieces, source: str, digest: str) -> Parsed | None:
        """The configuration that the pieces make. None when the text must be read as a whole: when most of it
        is new, or something in it is wrong."""
        if self._context != _context(pieces) or (self._lenient and not pieces.lenient):
            return None
        all_known = self._known
        found = [
            (name, piece, all_known.get((name, "", piece)))
            for name, elements in pieces.elements.items()
            for piece in elements
        ]
        if 2 * sum(known is None for _, _, known in found) > len(found):
            return None
        loader = _Reloader(pieces, source, digest, all_known)
        parsed = loader.load_pieces(found)
        if parsed is not None:
            self._known, self._lenient = loader.memory(), pieces.lenient
        return parsed

    def load_first(self, document: Any, pieces: Pieces, source: str, line_of: LineOf, digest: str) -> Parsed:
        """Load a whole document, and remember the pieces that it consists of. Raises DeclarativeError."""
        loader = _Recorder(document, source, line_of, digest, pieces)
        parsed = loader.load()
        self._context, self._known, self._lenient = _context(pieces), loader.memory(), pieces.lenient
        return parsed


def _context(pieces: Pieces) -> tuple[object, ...]:
    """What besides its own text decides what an element becomes."""
    header = pieces.header
    return header.get("_format_version"), header.get("_transform") is not False


class _Recorder(Loader):
    """Notes which items each element becomes."""

    def __init__(
        self, document: Any, source: str, line_of: LineOf, digest: str, pieces: Pieces | None = None
    ) -> None:
        super().__init__(document, source, line_of, digest)
        self._pieces = pieces
        self._spans: list[tuple[Key, int, int, Known | None]] = []
        """Of each element, nested ones first: the number of its first item, that of the first item after it,
        and what was known of it."""

    def _collect_element(
        self,
        kind: type[Entity],
        element: dict[str, Any],
        path: DocumentPath,
        parent: Item | None,
        parent_field: str,
        siblings: int,
    ) -> None:
        key = self._key_of(kind.type_name, element, path, parent, siblings)
        first = len(self._items)
        super()._collect_element(kind, element, path, parent, parent_field, siblings)
        if key is not None:
            self._spans.append((key, first, len(self._items), None))

    def _key_of(
        self, type_name: str, element: dict[str, Any], path: DocumentPath, parent: Item | None, siblings: int
    ) -> Key | None:
        if parent is None:
            assert self._pieces is not None
            return type_name, "", self._pieces.elements[type_name][int(path[-1])]
        if siblings < MANY_CHILDREN:
            return None
        # Unlike JSON this tells all values apart, and it is made in no time; version 0 is a function of the
        # value alone.
        return type_name, parent.id, marshal.dumps(element, 0)

    def memory(self) -> dict[Key, Known]:
        """The elements of a document that was loaded."""
        for item in self._items:
            if item.values:
                item.values, item.clean = {}, {}  # only messages need them; the entity has the values
        all_known: dict[Key, Known] = {}
        open_spans: list[tuple[int, Key, Known]] = []
        for key, first, last, known in self._spans:
            nested: list[tuple[Key, Known]] = []
            while open_spans and open_spans[-1][0] >= first:
                _, inner_key, inner = open_spans.pop()
                nested += [(inner_key, inner), *inner.nested]
            if known is None:
                known = Known(tuple(self._items[first:last]), tuple(nested))
            all_known[key] = known
            for inner_key, inner in known.nested:
                all_known[inner_key] = inner
            open_spans.append((first, key, known))
        return all_known


class _Reloader(_Recorder):
    """Loads pieces, with what is known of them. Any problem ends the load without a word about it."""

    def __init__(self, pieces: Pieces, source: str, digest: str, known: dict[Key, Known]) -> None:
        super().__init__(dict(pieces.header), source, lambda path: None, digest)
        self._parts = pieces
        self._known = known

    def load_pieces(self, found: Sequence[tuple[str, Piece, Known | None]]) -> Parsed | None:
        """What the pieces make; `found` has them in order, with their types and what is known of them."""
        header = self._parts.header
        if header.keys() - {*HEADER, *ANNOTATIONS, *IGNORED}:
            return None
        self._read_header(header)
        for type_name, piece, known in found:
            key = (type_name, "", piece)
            if known is not None and self._reuse(key, known):
                continue
            try:
                element = self._parts.read(piece)
            except ValueError:
                return None
            if not isinstance(element, dict):
                return None
            first = len(self._items)
            self._collect(ENTITY_TYPES[type_name], element, (type_name, 0), None, "")
            self._spans.append((key, first, len(self._items), None))
        for item in self._items:
            if item.entity is None:
                self._validate(item)
            elif item.references and not self._refers_as_before(item):
                return None
        self._check_unique_fields()
        return None if self._has_problems() else self._build()

    def _collect_element(
        self,
        kind: type[Entity],
        element: dict[str, Any],
        path: DocumentPath,
        parent: Item | None,
        parent_field: str,
        siblings: int,
    ) -> None:
        key = self._key_of(kind.type_name, element, path, parent, siblings)
        known = None if key is None else self._known.get(key)
        if key is None or known is None or not self._reuse(key, known):
            super()._collect_element(kind, element, path, parent, parent_field, siblings)

    def _reuse(self, key: Key, known: Known) -> bool:
        """Take the items of an element over. False when they cannot have the ids they had."""
        for item in known.items:
            if (
                item.content is not None
                and self._repetitions[item.kind.type_name, item.content] != item.repetition
            ):
                return False
        first = len(self._items)
        self._items += known.items
        for item in known.items:
            if item.content is not None:
                self._repetitions[item.kind.type_name, item.content] += 1
            self._register(item)
        self._spans.append((key, first, len(self._items), known))
        return True

    def _refers_as_before(self, item: Item) -> bool:
        for name, type_name, value, identifier in item.references:
            found = self._resolve(name, type_name, value)
            if not isinstance(found, Reference) or found.id != identifier:
                return False
        return True
