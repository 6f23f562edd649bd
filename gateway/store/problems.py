"""The problems of a declarative document, as the loader finds them.

In Kong's `fields`, the place of a problem depends on which step of loading finds it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Sequence
from typing import Any

from gateway.entities import texts
from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES
from gateway.entities.record import ENTITY, shape_of
from gateway.store.declarative_errors import (
    DeclarativeError,
    Findings,
    InvalidEntity,
    Problem,
    first_errors,
    flatten_errors,
    hint_for,
    put,
)
from gateway.store.documents import DocumentPath
from gateway.store.items import Item

HEADER = ("_format_version", "_transform")
ANNOTATIONS = ("_comment", "_ignore")
MOST_PROBLEMS = 1000
"""How many problems are told; more are counted. A hostile text could have millions."""

LineOf = Callable[[DocumentPath], "int | None"]
"""The line of a part of the document, counted from 1; None where that is not known."""


class Problems:
    """Everything that is wrong with a document; what is wrong with the fields of an item is noted there."""

    def __init__(self, source: str, line_of: LineOf, listed: Collection[str]) -> None:
        """`source`: names the document in messages; `listed`: the types that it has lists of at the top."""
        self._source = source
        self._line_of = line_of
        self._listed = listed
        self._findings = Findings()
        self._keyed: list[tuple[Item, Any, DocumentPath]] = []
        """Those that Kong shows under the key of an entity: item, text or texts, path of what is wrong."""
        self._next_index: Counter[str] = Counter()

    def __bool__(self) -> bool:
        return bool(self._findings.problems)

    def _note(self, path: DocumentPath, text: str, known: Sequence[str] = ()) -> bool:
        """Note a problem; `known`: the fields there are. False: there are so many that it is only counted."""
        if len(self._findings.problems) >= MOST_PROBLEMS:
            self._findings.left_out += 1
            return False
        hint = hint_for(str(path[-1]), known) if text == texts.UNKNOWN_FIELD and known else ""
        self._findings.problems.append(Problem(path, text, self._line_of(path), hint=hint))
        return True

    def outside(self, path: DocumentPath, text: str) -> None:
        """A problem with the document rather than with an entity in it."""
        if self._note(path, text, (*ENTITY_TYPES, *HEADER, *ANNOTATIONS)):
            put(self._findings.tree, path, text)
            put(self._findings.outside_entities, path, text)

    def repeated(self, item: Item, text: str) -> None:
        """A repeated id or combination: shown where the entity stands."""
        if self._note(item.path, text):
            put(self._findings.tree, item.path, text)
            self._add_invalid(item, text)

    def repeated_key(self, item: Item, text: str) -> None:
        """A repeated endpoint key: shown in the list of the entity's type, at its index in its own list."""
        type_name = item.kind.type_name
        if item.parent is None or type_name in self._listed:
            self.repeated(item, text)
            return
        if not self._note(item.path, text):
            return
        index = max(int(item.path[-1]), self._next_index[type_name])
        self._next_index[type_name] = index + 1
        put(self._findings.tree, (type_name, index), text)
        put(self._findings.outside_entities, (type_name, index), text)

    def repeated_value(self, item: Item, text: str) -> None:
        """A repeated value of another unique field: shown under the entity's key or id."""
        if self._note(item.path, text):
            self._keyed.append((item, text, item.path))
            self._add_invalid(item, text)

    def bad_reference(self, item: Item, name: str, text: str) -> None:
        """A reference to nothing: shown under the key or id of the entity that has it. As in Kong,
        `flattened_errors` leaves it out."""
        path = (*item.path, name)
        if self._note(path, text):
            self._keyed.append((item, [text], path))

    def _add_invalid(self, item: Item, text: str) -> None:
        values = {**item.values, "id": item.id}
        if item.parent is not None:
            values[item.parent_field] = {"id": item.parent.id}
        self._findings.entities.append(InvalidEntity(item.kind, values, {ENTITY: [text]}))

    def error(self, items: Sequence[Item]) -> DeclarativeError:
        """All that was noted, and what is wrong with the fields of the items."""
        tree = self._findings.tree
        for item in items:
            if not item.errors:
                continue
            room = MOST_PROBLEMS - len(self._findings.problems)
            known = (*shape_of(item.kind).fields, *CHILDREN[item.kind.type_name])
            for path, text in flatten_errors(item.errors, item.path):
                self._note(path, text, known if len(path) == len(item.path) + 1 else ())
            if room > 0:
                errors = first_errors(item.errors, room)
                assert isinstance(errors, dict)
                put(tree, item.path, errors)
                self._findings.entities.append(InvalidEntity(item.kind, item.values, errors))
        for item, errors, path in self._keyed:
            # Kong makes an object of what is an array otherwise. Where there is an array already, use the
            # path.
            listed = tree.setdefault(item.kind.type_name, {})
            if isinstance(listed, dict) and not any(isinstance(key, int) for key in listed):
                key = item.key or item.id
                present = listed.get(key)
                listed[key] = [*present, *errors] if isinstance(present, list) else errors
            else:
                put(tree, path, errors[0] if isinstance(errors, list) else errors)
        return DeclarativeError(self._source, self._findings)
