"""What a declarative document holds after a change of entities.

The form in which people wrote it stays as far as possible: what is nested stays nested, what refers by name
goes on doing so, fields that did not change are not touched. Ids are written down where they would not come
out the same again by themselves; so are the times of entities that were changed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES
from gateway.entities.expiry import Expiring
from gateway.entities.fields import UUID, Reference
from gateway.entities.identifiers import derived_id, key_of_kong
from gateway.entities.record import Entity, shape_of
from gateway.entities.services import Service, fields_of_url
from gateway.store.changes import Changes, EntityId
from gateway.store.configuration import Configuration
from gateway.store.editing.edit import same
from gateway.store.editing.forms import sparse_form
from gateway.store.editing.working_copy import Spot, WorkingCopy, at
from gateway.store.export import declarative_form
from gateway.store.items import Item
from gateway.store.loader import BEFORE_REGEX_PREFIX, Loader

Secrets = Mapping[EntityId, Mapping[str, Any]]

MOST_ROUNDS = 20
"""How often ids and references are put right; every round has a reason in the one before."""
_URL = ("protocol", "host", "port", "path")


class CannotExpress(Exception):
    """The document cannot hold that in the form it has."""


@dataclass(frozen=True, slots=True)
class Manner:
    """How far the document may be converted."""

    stored_secrets: bool = False
    """Secrets stand there as they are stored (`_transform: false`), not as they were given."""
    format_3: bool = False
    """Paths stand there in the form of format 3.0."""


@dataclass(frozen=True, slots=True)
class State:
    """A document, and what stands where in it."""

    document: dict[str, Any]
    items: list[Item]

    @property
    def transforms(self) -> bool:
        """Whether secrets stand in the document as they were given."""
        return self.document.get("_transform") is not False

    @property
    def is_older_format(self) -> bool:
        """Whether paths have another meaning in the document than in the Admin API."""
        return str(self.document.get("_format_version")) in BEFORE_REGEX_PREFIX


def state_of(document: dict[str, Any]) -> State:
    """The state of a document that can be loaded."""
    return State(document, Loader(document, "", lambda path: None, "").collect())


class Planner:
    """Makes the document after one change."""

    def __init__(
        self,
        state: State,
        before: Configuration,
        after: Configuration,
        changes: Changes,
        secrets: Secrets,
        manner: Manner,
    ) -> None:
        """`secrets`: as they were given, of those that were changed."""
        self._state = state
        self._before = before
        self._after = after
        self._changes = changes
        self._secrets = secrets
        self._manner = manner
        self._gives_secrets = state.transforms and not manner.stored_secrets
        self.copy = WorkingCopy(state.document, state.items)
        self._last_sibling: dict[tuple[str, str, str], Spot] = {}
        """Type, foreign field and id of what it refers to -> the last element that does."""
        self._places: Counter[tuple[str, bool]] = Counter()
        """How many elements of a type are nested, and how many are not."""
        for spot in self.copy.spots.values():
            self._note(spot, self._after.of(spot.type_name).get(spot.key[1]))

    def _note(self, spot: Spot, entity: Entity | None) -> None:
        if entity is None:
            return
        self._places[spot.type_name, spot.parent is not None] += 1
        for name in shape_of(type(entity)).foreign:
            if (reference := getattr(entity, name)) is not None:
                self._last_sibling[spot.type_name, name, reference.id] = spot

    def run(self) -> State:
        """The state after the change. Raises CannotExpress."""
        self._convert()
        gone = [self.copy.spots.pop(key) for key, entity in self._changes.items() if entity is None]
        if gone:
            self._remove(gone)
        # Types that others refer to come first.
        for type_name in ENTITY_TYPES:
            for (changed_type, identifier), entity in self._changes.items():
                if changed_type != type_name or entity is None:
                    continue
                spot = self.copy.spots.get((type_name, identifier))
                if spot is None:
                    self._add(entity)
                else:
                    self._change(spot, self._before.of(type_name)[identifier], entity)
        return self._put_right()

    # What is converted

    def _convert(self) -> None:
        if self._manner.stored_secrets:
            self.copy.document["_transform"] = False
            for spot in self.copy.spots.values():
                kind = ENTITY_TYPES[spot.type_name]
                entity = self._after.of(spot.type_name).get(spot.key[1])
                for name in kind.hashed if entity is not None else ():
                    if name in spot.values and isinstance(value := getattr(entity, name), str):
                        self._set(spot, (name,), value)
        if self._manner.format_3:
            self.copy.document["_format_version"] = "3.0"
            for identifier, route in self._before.of("routes").items():
                found = self.copy.spots.get(("routes", identifier))
                if found is not None and found.values.get("paths"):
                    self._set(found, ("paths",), declarative_form(route)["paths"])

    def _set(self, spot: Spot, path: tuple[str, ...], value: Any) -> None:
        inner: Any = spot.values
        for name in path:
            inner = inner.get(name) if isinstance(inner, dict) else None
        if inner is None or not same(inner, value):
            self.copy.set(spot, path, value)

    # Entities that go

    def _remove(self, gone: list[Spot]) -> None:
        parents = set(map(id, gone))
        for spot in [one for one in self.copy.spots.values() if id(one.parent) in parents]:
            self.copy.take_out(spot)  # it can be without the other
            self._place(spot, self._after.of(spot.type_name)[spot.key[1]])
        for spot in gone:
            self.copy.take_out(spot)

    # Entities that are new

    def _add(self, entity: Entity) -> None:
        kind = type(entity)
        spot = Spot((kind.type_name, entity.id), sparse_form(entity), None, True)
        for name in shape_of(kind).foreign:
            if name in spot.values:
                spot.values[name] = self._reference(kind, name, entity)
        self._give_secrets(spot, entity)
        parent = self._place(spot, entity)
        parents = {} if parent is None else {CHILDREN[parent.type_name][kind.type_name]: parent.key[1]}
        key = key_of_kong(kind, spot.values, parents)
        if key is not None and derived_id(kind.type_name, key) == entity.id:
            del spot.values["id"]

    def _place(self, spot: Spot, entity: Entity) -> Spot | None:
        """Put an element where others of its kind are; the element that it is nested in."""
        parent = self._home(entity)
        kind = type(entity)
        nested_by = None if parent is None else CHILDREN[parent.type_name][kind.type_name]
        for name in shape_of(kind).foreign:
            if name == nested_by:
                spot.values.pop(name, None)
            elif getattr(entity, name) is not None and name not in spot.values:
                spot.values[name] = self._reference(kind, name, entity)
        self.copy.append(spot, parent)
        self._note(spot, entity)
        return parent

    def _home(self, entity: Entity) -> Spot | None:
        """What an element should be nested in: where its siblings are, else where most of its type are."""
        kind = type(entity)
        parents = []
        for name, field in shape_of(kind).foreign.items():
            reference = getattr(entity, name)
            if reference is None or not (field.cascade or kind.type_name == "routes"):
                continue
            parent = self.copy.spots.get((field.reference, reference.id))
            if parent is not None and kind.type_name not in shape_of(ENTITY_TYPES[field.reference]).fields:
                parents.append((name, parent))
        if not parents:
            return None
        for name, parent in parents:
            sibling = self._last_sibling.get((kind.type_name, name, parent.key[1]))
            if sibling is not None and sibling.key in self.copy.spots and sibling.key[1] != entity.id:
                return parent if sibling.parent is parent else None
        nested, listed = (self._places[kind.type_name, is_nested] for is_nested in (True, False))
        if not nested and not listed and kind.type_name == "keys":
            return None  # nobody nests them
        return parents[0][1] if nested >= listed else None

    def _reference(self, kind: type[Entity], name: str, entity: Entity) -> Any:
        """A reference as it is written: by name where the other entity has one."""
        reference: Reference | None = getattr(entity, name)
        if reference is None:
            return None
        other_type = ENTITY_TYPES[shape_of(kind).foreign[name].reference]
        other = self._after.of(other_type.type_name).get(reference.id)
        key = other_type.endpoint_key
        if other is not None and key is not None and shape_of(other_type).fields[key].unique:
            written = getattr(other, key)
            if written is not None and not UUID.fullmatch(written):
                return written
        return reference.id

    def _give_secrets(self, spot: Spot, entity: Entity) -> None:
        """Put secrets as they were given into an element, where the document holds them so."""
        kind = type(entity)
        if not self._gives_secrets or not kind.hashed:
            return
        given = self._secrets.get(spot.key)
        if given is None:
            values = msgspec.structs.asdict(entity)
            kind.hash_secrets(values)
            if any(values[name] != getattr(entity, name) for name in kind.hashed):
                raise CannotExpress("only the hash of a secret is known, and it would be hashed again")
            return
        self.copy.own(spot).update(given)

    # Entities that are different

    def _change(self, spot: Spot, before: Entity, after: Entity) -> None:
        kind = type(after)
        old, new, sparse = declarative_form(before), declarative_form(after), sparse_form(after)
        shape = shape_of(kind)
        nested_by = None if spot.parent is None else CHILDREN[spot.parent.type_name][kind.type_name]
        if nested_by is not None and not same(old[nested_by], new[nested_by]):
            self.copy.take_out(spot)
            parent = self._place(spot, after)
            nested_by = None if parent is None else CHILDREN[parent.type_name][kind.type_name]
        left_out = {"id", nested_by}
        if kind is Service and "url" in spot.values:
            if any(not same(old[name], new[name]) for name in _URL):
                self._change_url(spot, new)
            left_out.update(_URL)
        if isinstance(after, Expiring) and "ttl" in spot.values:  # it would begin anew at every load
            self.copy.drop(spot, ("ttl",))
            self._set_or_drop(spot, "expires_at", new.get("expires_at"))
        for name in shape.fields:
            if name in left_out:
                continue
            is_different = not same(old.get(name), new.get(name)) or (name in old) != (name in new)
            if name in shape.foreign:
                if is_different:
                    self._set_or_drop(spot, name, self._reference(kind, name, after))
            elif name in shape.automatic and name not in spot.values:
                self._set(spot, (name,), new[name])
            elif is_different:
                self._change_value(spot, (name,), old, new, sparse)
        if any(not same(old.get(name), new.get(name)) for name in kind.hashed):
            self._give_secrets(spot, after)

    def _change_url(self, spot: Spot, new: Mapping[str, Any]) -> None:
        """A service's `url` goes on standing for four fields, where it can."""
        port = "" if new["port"] == (443 if new["protocol"] == "https" else 80) else f":{new['port']}"
        url = f"{new['protocol']}://{new['host']}{port}{new['path'] or ''}"
        if fields_of_url(url) == {name: new[name] for name in _URL}:
            self._set(spot, ("url",), url)
            return
        self.copy.drop(spot, ("url",))
        for name in _URL:
            self._set_or_drop(spot, name, new[name])

    def _set_or_drop(self, spot: Spot, name: str, value: Any) -> None:
        if value is not None:
            self._set(spot, (name,), value)
        elif name in spot.values:
            self.copy.drop(spot, (name,))

    def _change_value(
        self,
        spot: Spot,
        path: tuple[str, ...],
        old: Mapping[str, Any],
        new: Mapping[str, Any],
        sparse: Mapping[str, Any],
    ) -> None:
        """Change what is at a path: of records the fields that differ, else all of it. `old`, `new`: the
        record around it before and after; `sparse`: the same without defaults."""
        *outer, name = path
        written = at(spot.values, outer)
        before, after = old.get(name), new.get(name)
        if all(isinstance(value, dict) for value in (written.get(name), before, after)):
            assert before is not None
            assert after is not None
            for inner in {**before, **after}:
                if not same(before.get(inner), after.get(inner)) or (inner in before) != (inner in after):
                    self._change_value(spot, (*path, inner), before, after, sparse.get(name) or {})
        elif name in sparse:
            self._set(spot, path, sparse[name])
        elif name in written:  # the default, written out where something is written
            if after is None or isinstance(after, dict):
                self.copy.drop(spot, path)
            else:
                self._set(spot, path, after)

    # What follows

    def _put_right(self) -> State:
        """Write down ids that would come out differently now, and names that have changed."""
        for _ in range(MOST_ROUNDS):
            loader = Loader(self.copy.document, "", lambda path: None, "")
            state = State(self.copy.document, loader.collect())
            by_object = {id(spot.values): spot for spot in self.copy.spots.values()}
            placed = [(item, by_object[id(at(state.document, item.path))]) for item in state.items]
            wrong_ids = [spot for item, spot in placed if item.id != spot.key[1]]
            for spot in wrong_ids:
                self.copy.set(spot, ("id",), spot.key[1])
            if wrong_ids:
                continue
            wrong_references = [
                (spot, name)
                for item, spot in placed
                for name, field in shape_of(item.kind).foreign.items()
                if (written := item.values.get(name)) is not None
                and not self._refers_to(spot, name, loader.referred(field.reference, written))
            ]
            for spot, name in wrong_references:
                entity = self._after.of(spot.type_name)[spot.key[1]]
                self._set_or_drop(spot, name, self._reference(type(entity), name, entity))
            if not wrong_references:
                return state
        raise CannotExpress("ids and references could not be put right")

    def _refers_to(self, spot: Spot, name: str, identifier: str | None) -> bool:
        reference = getattr(self._after.of(spot.type_name)[spot.key[1]], name)
        return reference is not None and reference.id == identifier
