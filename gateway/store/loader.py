"""Loading a decoded declarative document.

It takes four steps, and every step notes all problems instead of stopping at the first:

1. collect: walk the document, nested entities included, and give every entity its id;
2. resolve the references between entities, which may be ids or names, and validate each entity's fields;
3. check what must be unique;
4. if nothing is wrong, fill in automatic fields and build the entities.

The rules are reference/entities.md §7 and the recorded scenarios dbless-*.
"""

from __future__ import annotations

import functools
import json
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.entities import texts
from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES
from gateway.entities.fields import UUID, Errors, Reference, Text
from gateway.entities.identifiers import derived_id, key_of_content, key_of_kong
from gateway.entities.paths import path_of_older_format
from gateway.entities.record import ENTITY, Entity, check_entity, shape_of, to_kong
from gateway.garbage import collection_paused
from gateway.store.configuration import Configuration
from gateway.store.declarative_errors import (
    DeclarativeError,
    Findings,
    InvalidEntity,
    Problem,
    first_errors,
    flatten_errors,
    hint_for,
    put,
    unreadable,
)
from gateway.store.documents import DocumentPath
from gateway.store.rendering import EntityJson

FORMAT_VERSIONS = ("1.1", "2.1", "3.0")
BEFORE_REGEX_PREFIX = ("1.1", "2.1")
# Written by decK beside the entities; they say nothing about what the gateway should do.
IGNORED = ("_konnect", "_workspace", "_plugin_configs")
ANNOTATIONS = ("_comment", "_ignore")
MOST_PROBLEMS = 1000
"""How many problems are told; more are counted. A hostile text could have millions."""

LineOf = Callable[[DocumentPath], "int | None"]


@dataclass(frozen=True, slots=True)
class Parsed:
    """A declarative configuration that was read without errors."""

    configuration: Configuration
    given_secrets: Mapping[str, Mapping[str, Any]] = field(repr=False)
    """Id -> fields as given, for entities whose secrets were hashed."""
    generated: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Id -> fields that were not given and are new at each reading, for entities with such: keys, secrets."""

    def answer(self, entity_json: EntityJson) -> bytes:
        """Kong's answer to POST /config, in JSON: entities by type and id, secrets as they were given."""
        types = []
        for type_name, table in entity_json.of(self.configuration).items():
            members = [
                b'"%b":%b' % (identifier.encode(), self._with_secrets(entity) or text)
                for identifier, (entity, text) in table.items()
            ]
            types.append(b'"%b":{%b}' % (type_name.encode(), b",".join(members)))
        return b"{%b}" % b",".join(types)

    def _with_secrets(self, entity: Entity) -> bytes | None:
        given = self.given_secrets.get(entity.id)
        return orjson.dumps({**to_kong(entity), **given}) if given else None


@dataclass(slots=True, eq=False)
class Item:
    """An entity of the document."""

    kind: type[Entity]
    values: dict[str, Any]
    """Its fields as they are written."""
    path: DocumentPath
    parent: Item | None
    parent_field: str
    """The foreign field that nesting in the parent stands for."""
    id: str = ""
    key: str | None = None
    """The value of the endpoint key, where that is unique in the whole configuration."""
    content: str | None = None
    """What the id was derived from, where that is the content."""
    repetition: int = 0
    """How many items with this content stand before this one."""
    references: list[tuple[str, str, Any, str]] = field(default_factory=list)
    """Foreign fields that are written out: name, type, value, the id it stands for."""
    errors: dict[Any, Errors] = field(default_factory=dict)
    clean: dict[str, Any] = field(default_factory=dict)
    entity: Entity | None = None
    """What was built of it in the end."""
    given_secrets: dict[str, Any] = field(default_factory=dict)
    """Fields as given, for those whose secrets were hashed."""
    generated: Collection[str] = ()
    """Fields that were not given and made up: keys and secrets."""

    def value_of(self, name: str) -> Any:
        """The valid value of a field."""
        return self.clean.get(name) if self.entity is None else getattr(self.entity, name)


class Loader:
    def __init__(self, document: Any, source: str, line_of: LineOf, digest: str) -> None:
        self._document = document
        self._source = source
        self._line_of = line_of
        self._hash = digest
        self._findings = Findings()
        self._items: list[Item] = []
        self._by_id: dict[str, dict[str, Item]] = {name: {} for name in ENTITY_TYPES}
        self._by_key: dict[str, dict[str, Item]] = {name: {} for name in ENTITY_TYPES}
        self._repetitions: Counter[tuple[str, str]] = Counter()
        self._keyed: list[tuple[Item, Any, DocumentPath]] = []
        """Problems that Kong shows under the key of an entity: item, text or texts, path of what is wrong."""
        self._next_index: Counter[str] = Counter()
        self._older_format = False
        self._transform = True

    def load(self) -> Parsed:
        """What the document holds; raises DeclarativeError."""
        with collection_paused():
            return self._load()

    def _load(self) -> Parsed:
        document = self._document
        if not isinstance(document, dict):  # a list, a word, nothing
            raise unreadable(self._source, [(None, None, "expected an object")])
        self.collect()
        for item in self._items:
            self._validate(item)
        self._check_unique_fields()
        if self._has_problems():
            raise self._error()
        return self._build()

    def collect(self) -> list[Item]:
        """The entities of the document, a mapping, in its order: only found and given their ids. Problems are
        noted, not told."""
        self._read_header(self._document)
        for name, value in self._document.items():
            if name in ENTITY_TYPES:
                self._collect_list(name, value, (), None, "")
            elif name not in ("_format_version", "_transform", *ANNOTATIONS, *IGNORED):
                self._note_outside((name,), texts.UNKNOWN_FIELD)
        return self._items

    def referred(self, type_name: str, value: Any) -> str | None:
        """The id of what a written reference to a type stands for, once everything is collected."""
        found = self._resolve("", type_name, value)
        return found.id if isinstance(found, Reference) else None

    def _has_problems(self) -> bool:
        return bool(self._findings.problems) or any(item.errors for item in self._items)

    # Step 1: collect

    def _read_header(self, document: Mapping[str, Any]) -> None:
        version = document.get("_format_version")
        # Unquoted in YAML, a version is a number; there is no doubt about which one is meant.
        if isinstance(version, float):
            version = str(version)
        if version is None:
            self._note_outside(("_format_version",), texts.REQUIRED)
        elif not isinstance(version, str):
            self._note_outside(("_format_version",), texts.EXPECTED_STRING)
        elif version not in FORMAT_VERSIONS:
            self._note_outside(("_format_version",), texts.one_of(FORMAT_VERSIONS))
        self._older_format = version in BEFORE_REGEX_PREFIX
        transform = document.get("_transform")
        if transform is not None and not isinstance(transform, bool):
            self._note_outside(("_transform",), texts.EXPECTED_BOOLEAN)
        self._transform = transform is not False
        for name in ANNOTATIONS:
            if problem := _annotation_problem(name, document.get(name)):
                self._note_outside((name,), problem)

    def _collect_list(
        self, type_name: str, value: Any, path: DocumentPath, parent: Item | None, parent_field: str
    ) -> None:
        path = (*path, type_name)
        if value is None or (value == {} and isinstance(value, dict)):
            return
        if not isinstance(value, list):
            if parent is None:
                self._note_outside(path, texts.EXPECTED_ARRAY)
            else:
                parent.errors[type_name] = texts.EXPECTED_ARRAY
            return
        kind = ENTITY_TYPES[type_name]
        for index, element in enumerate(value):
            if isinstance(element, dict):
                self._collect_element(kind, element, (*path, index), parent, parent_field, len(value))
            else:
                self._note_outside(
                    (*path, index), texts.REQUIRED if element is None else texts.EXPECTED_RECORD
                )

    def _collect_element(
        self,
        kind: type[Entity],
        element: dict[str, Any],
        path: DocumentPath,
        parent: Item | None,
        parent_field: str,
        siblings: int,
    ) -> None:
        """Collect an element of a list that has `siblings` elements in all."""
        self._collect(kind, element, path, parent, parent_field)

    def _collect(
        self,
        kind: type[Entity],
        element: dict[str, Any],
        path: DocumentPath,
        parent: Item | None,
        parent_field: str,
    ) -> None:
        fields = shape_of(kind).fields
        children = CHILDREN[kind.type_name]
        item = Item(kind, {}, path, parent, parent_field)
        nested = []
        for name, value in element.items():
            if name in children and name not in fields:
                nested.append((name, value))
            elif name in ANNOTATIONS:
                if problem := _annotation_problem(name, value):
                    item.errors[name] = problem
            else:
                item.values[name] = value
        if self._older_format and kind.type_name == "routes" and isinstance(item.values.get("paths"), list):
            item.values["paths"] = [
                path_of_older_format(value) if isinstance(value, str) else value
                for value in item.values["paths"]
            ]
        item.key = _unique_key(kind, item.values)
        item.id = self._id_of(item)
        self._items.append(item)
        self._register(item)
        for name, value in nested:
            self._collect_list(name, value, path, item, children[name])

    def _id_of(self, item: Item) -> str:
        given = item.values.get("id")
        if isinstance(given, str) and UUID.fullmatch(given):
            return given.lower()
        kind = item.kind
        parent = {item.parent_field: item.parent.id} if item.parent else {}
        key = key_of_kong(kind, item.values, parent)
        if key is None:
            key = item.content = key_of_content(kind, item.values, parent, 0)
            item.repetition = self._repetitions[kind.type_name, key]
            self._repetitions[kind.type_name, key] += 1
            if item.repetition:
                key = key_of_content(kind, item.values, parent, item.repetition)
        return derived_id(kind.type_name, key)

    def _register(self, item: Item) -> None:
        """Make an item findable for references; a second one with the same key or id is a problem."""
        type_name = item.kind.type_name
        by_id, by_key = self._by_id[type_name], self._by_key[type_name]
        if (key := item.key) is not None:
            if key in by_key:
                assert item.kind.endpoint_key is not None
                text = texts.already_declared(type_name, item.kind.endpoint_key, key)
                self._note_repeated_key(item, text)
                return
            by_key[key] = item
        if item.id in by_id:
            self._note_repeated(item, texts.already_declared(type_name, "primary key", item.id))
        else:
            by_id[item.id] = item

    # Step 2: resolve and validate

    def _validate(self, item: Item) -> None:
        values = dict(item.values)
        bad_references: dict[str, str] = {}
        for name, foreign in shape_of(item.kind).foreign.items():
            value = values.get(name)
            if value is not None and (reference := self._resolve(name, foreign.reference, value)) is not None:
                if isinstance(reference, str):
                    bad_references[name] = reference
                    reference = Reference(str(value))
                else:
                    item.references.append((name, foreign.reference, value, reference.id))
                values[name] = reference
            if item.parent is not None and name == item.parent_field:
                if isinstance(values.get(name), Reference) and values[name].id != item.parent.id:
                    item.errors[name] = texts.MUST_BE_NULL
                    bad_references.pop(name, None)
                values[name] = Reference(item.parent.id)
        item.clean, errors = check_entity(item.kind, values)
        item.errors.update(errors)
        for name, text in bad_references.items():
            if name not in item.errors:
                self._note_reference(item, name, text)
        if not item.errors:
            item.kind.transform(item.clean)

    def _resolve(self, name: str, type_name: str, value: Any) -> Reference | str | None:
        """The reference, the text of what is wrong with it, or None: let the field's own check speak."""
        if isinstance(value, str):
            by_id, by_key = self._by_id[type_name], self._by_key[type_name]
            found = by_key.get(value) or by_id.get(value.lower())
            if found is not None and UUID.fullmatch(value):  # a name may look like the id of another one
                found = by_id.get(value.lower()) or found
            return Reference(found.id) if found else texts.invalid_reference(name, value, type_name)
        identifier = value.get("id") if isinstance(value, dict) else None
        if not isinstance(identifier, str) or not UUID.fullmatch(identifier):
            return None
        found = self._by_id[type_name].get(identifier.lower())
        shown = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
        return Reference(found.id) if found else texts.invalid_reference(name, shown, type_name)

    # Step 3: uniqueness

    def _check_unique_fields(self) -> None:
        """Unique fields other than the endpoint key, and the combinations that are unique."""
        for type_name, items in self._by_id.items():
            kind = ENTITY_TYPES[type_name]
            names = [name for name in shape_of(kind).unique if name != kind.endpoint_key]
            combined = kind.cache_key if len(kind.cache_key) > 1 else ()
            if not names and not combined:
                continue
            seen: set[tuple[str, Any]] = set()
            for item in items.values():
                if item.errors:
                    continue
                for name in names:
                    value = item.value_of(name)
                    if value is not None and (name, value) in seen:
                        self._note_repeated_value(item, texts.already_declared(type_name, name, value))
                    seen.add((name, value))
                if combined:
                    combination = tuple(_plain(item.value_of(name)) for name in combined)
                    if ("", combination) in seen:
                        what, value = ", ".join(combined), ", ".join(map(str, combination))
                        self._note_repeated(item, texts.already_declared(type_name, what, value))
                    seen.add(("", combination))

    # Step 4: build

    def _build(self) -> Parsed:
        now = time.time()
        entities: list[Entity] = []
        given_secrets: dict[str, dict[str, Any]] = {}
        generated: dict[str, Collection[str]] = {}
        # In the order of the catalogue, each type in the order of the file.
        for items in self._by_id.values():
            for item in items.values():
                entity = item.entity
                if entity is None:
                    entity = self._build_entity(item, now)
                if item.given_secrets:
                    given_secrets[item.id] = item.given_secrets
                if item.generated:
                    generated[item.id] = item.generated
                entities.append(entity)
        return Parsed(Configuration(entities, self._hash), given_secrets, generated)

    def _build_entity(self, item: Item, now: float) -> Entity:
        kind, values = item.kind, item.clean
        values["id"] = item.id
        item.generated = [name for name in _generated_fields(kind) if name not in values]
        shape_of(kind).complete(values, now)
        if self._transform and "hash_secrets" in vars(kind):
            before = dict(values)
            kind.hash_secrets(values)
            item.given_secrets = {name: value for name, value in before.items() if values[name] != value}
        item.entity = kind(**values)
        return item.entity

    # Problems. In Kong's `fields`, their place depends on which step finds them.

    def _note(self, path: DocumentPath, text: str, known: Sequence[str] = ()) -> bool:
        """Note a problem; `known`: the fields there are. False: there are so many that it is only counted."""
        if len(self._findings.problems) >= MOST_PROBLEMS:
            self._findings.left_out += 1
            return False
        hint = hint_for(str(path[-1]), known) if text == texts.UNKNOWN_FIELD and known else ""
        self._findings.problems.append(Problem(path, text, self._line_of(path), hint=hint))
        return True

    def _note_outside(self, path: DocumentPath, text: str) -> None:
        """A problem with the document rather than with an entity in it."""
        if self._note(path, text, (*ENTITY_TYPES, "_format_version", "_transform", *ANNOTATIONS)):
            put(self._findings.tree, path, text)
            put(self._findings.outside_entities, path, text)

    def _note_repeated(self, item: Item, text: str) -> None:
        """A repeated id or combination: shown where the entity stands."""
        if self._note(item.path, text):
            put(self._findings.tree, item.path, text)
            self._add_invalid(item, text)

    def _note_repeated_key(self, item: Item, text: str) -> None:
        """A repeated endpoint key: shown in the list of the entity's type, at its index in its own list."""
        type_name = item.kind.type_name
        if item.parent is None or self._document.get(type_name):
            self._note_repeated(item, text)
            return
        if not self._note(item.path, text):
            return
        index = max(int(item.path[-1]), self._next_index[type_name])
        self._next_index[type_name] = index + 1
        put(self._findings.tree, (type_name, index), text)
        put(self._findings.outside_entities, (type_name, index), text)

    def _note_repeated_value(self, item: Item, text: str) -> None:
        """A repeated value of another unique field: shown under the entity's key or id."""
        if self._note(item.path, text):
            self._keyed.append((item, text, item.path))
            self._add_invalid(item, text)

    def _note_reference(self, item: Item, name: str, text: str) -> None:
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

    def _error(self) -> DeclarativeError:
        tree = self._findings.tree
        for item in self._items:
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


@functools.cache
def _generated_fields(kind: type[Entity]) -> tuple[str, ...]:
    """The fields for which a random value is made when none is given."""
    shape = shape_of(kind)
    return tuple(name for name in shape.automatic if name != "id" and isinstance(shape.fields[name], Text))


def _unique_key(kind: type[Entity], values: Mapping[str, Any]) -> str | None:
    name = kind.endpoint_key
    if name is None or not shape_of(kind).fields[name].unique:
        return None
    value = values.get(name)
    return value if isinstance(value, str) else None


def _annotation_problem(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if name == "_comment":
        return None if isinstance(value, str) else texts.EXPECTED_STRING
    return None if isinstance(value, list) else texts.EXPECTED_ARRAY


def _plain(value: Any) -> Any:
    return value.id if isinstance(value, Reference) else value
