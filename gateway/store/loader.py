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
from collections.abc import Collection, Mapping
from typing import Any

from gateway.entities import texts
from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES
from gateway.entities.fields import UUID, Reference, Text
from gateway.entities.identifiers import derived_id, key_of_content, key_of_kong
from gateway.entities.paths import path_of_older_format
from gateway.entities.record import Entity, check_entity, shape_of
from gateway.garbage import collection_paused
from gateway.store.configuration import Configuration
from gateway.store.declarative_errors import unreadable
from gateway.store.documents import DocumentPath
from gateway.store.items import Item, Parsed
from gateway.store.problems import ANNOTATIONS, HEADER, LineOf, Problems

FORMAT_VERSIONS = ("1.1", "2.1", "3.0")
BEFORE_REGEX_PREFIX = ("1.1", "2.1")
# Written by decK beside the entities; they say nothing about what the gateway should do.
IGNORED = ("_konnect", "_workspace", "_plugin_configs")


class Loader:
    """Loads one document."""

    def __init__(self, document: Any, source: str, line_of: LineOf, digest: str) -> None:
        """`source`: names it in messages; `digest`: the hash that the configuration gets."""
        self._document = document
        self._source = source
        self._hash = digest
        listed = document if isinstance(document, dict) else {}
        self._problems = Problems(source, line_of, {name for name, value in listed.items() if value})
        self._items: list[Item] = []
        self._by_id: dict[str, dict[str, Item]] = {name: {} for name in ENTITY_TYPES}
        self._by_key: dict[str, dict[str, Item]] = {name: {} for name in ENTITY_TYPES}
        self._repetitions: Counter[tuple[str, str]] = Counter()
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
            raise self._problems.error(self._items)
        return self._build()

    def collect(self) -> list[Item]:
        """The entities of the document, a mapping, in its order: only found and given their ids. Problems are
        noted, not told."""
        self._read_header(self._document)
        for name, value in self._document.items():
            if name in ENTITY_TYPES:
                self._collect_list(name, value, (), None, "")
            elif name not in (*HEADER, *ANNOTATIONS, *IGNORED):
                self._problems.outside((name,), texts.UNKNOWN_FIELD)
        return self._items

    def referred(self, type_name: str, value: Any) -> str | None:
        """The id of what a written reference to a type stands for, once everything is collected."""
        found = self._resolve("", type_name, value)
        return found.id if isinstance(found, Reference) else None

    def _has_problems(self) -> bool:
        return bool(self._problems) or any(item.errors for item in self._items)

    # Step 1: collect

    def _read_header(self, document: Mapping[str, Any]) -> None:
        version = document.get("_format_version")
        # Unquoted in YAML, a version is a number; there is no doubt about which one is meant.
        if isinstance(version, float):
            version = str(version)
        if version is None:
            self._problems.outside(("_format_version",), texts.REQUIRED)
        elif not isinstance(version, str):
            self._problems.outside(("_format_version",), texts.EXPECTED_STRING)
        elif version not in FORMAT_VERSIONS:
            self._problems.outside(("_format_version",), texts.one_of(FORMAT_VERSIONS))
        self._older_format = version in BEFORE_REGEX_PREFIX
        transform = document.get("_transform")
        if transform is not None and not isinstance(transform, bool):
            self._problems.outside(("_transform",), texts.EXPECTED_BOOLEAN)
        self._transform = transform is not False
        for name in ANNOTATIONS:
            if problem := _annotation_problem(name, document.get(name)):
                self._problems.outside((name,), problem)

    def _collect_list(
        self, type_name: str, value: Any, path: DocumentPath, parent: Item | None, parent_field: str
    ) -> None:
        path = (*path, type_name)
        if value is None or (value == {} and isinstance(value, dict)):
            return
        if not isinstance(value, list):
            if parent is None:
                self._problems.outside(path, texts.EXPECTED_ARRAY)
            else:
                parent.errors[type_name] = texts.EXPECTED_ARRAY
            return
        kind = ENTITY_TYPES[type_name]
        for index, element in enumerate(value):
            if isinstance(element, dict):
                self._collect_element(kind, element, (*path, index), parent, parent_field, len(value))
            else:
                self._problems.outside(
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
                self._problems.repeated_key(item, text)
                return
            by_key[key] = item
        if item.id in by_id:
            self._problems.repeated(item, texts.already_declared(type_name, "primary key", item.id))
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
                self._problems.bad_reference(item, name, text)
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
                        self._problems.repeated_value(item, texts.already_declared(type_name, name, value))
                    seen.add((name, value))
                if combined:
                    distinction = item.kind.distinction(item.value_of)
                    combination = (*(_plain(item.value_of(name)) for name in combined), distinction)
                    if ("", combination) in seen:
                        what, value = ", ".join(combined), ", ".join(map(str, combination[:-1]))
                        self._problems.repeated(item, texts.already_declared(type_name, what, value))
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
