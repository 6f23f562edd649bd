"""A configuration with the changes of a transaction that is not committed yet."""

from __future__ import annotations

import functools
from typing import Any

from gateway.entities.catalogue import ENTITY_TYPES, LISTED_BY
from gateway.entities.record import Entity, shape_of
from gateway.store.changes import Changes, EntityId
from gateway.store.configuration import Configuration
from gateway.store.indexes import combination_of, referred_to
from gateway.store.lookups import Lookups


class Draft(Lookups):
    """Reads see what was written before in the same transaction. Knows no rules (see `operations`)."""

    def __init__(self, base: Configuration) -> None:
        self.base = base
        self._changes: dict[EntityId, Entity | None] = {}
        self.given_secrets: dict[EntityId, dict[str, Any]] = {}
        """Fields as they were given, of entities whose secrets are stored hashed: for a store that keeps them
        as given."""
        # What the changes mean for the indexes of `base`; None stands for "no longer that one".
        self._combinations: dict[tuple[str, tuple[str, ...]], dict[tuple[Any, ...], Entity | None]] = {}
        self._referring: dict[tuple[str, str, str], dict[str, Entity | None]] = {}

    @property
    def changes(self) -> Changes:
        """What was put and removed so far, in order."""
        return self._changes

    def get(self, type_name: str, identifier: str) -> Entity | None:
        """The entity with that id (lower case)."""
        key = (type_name, identifier)
        if key in self._changes:
            return self._changes[key]
        return self.base.of(type_name).get(identifier)

    def find_combination(
        self, type_name: str, fields: tuple[str, ...], values: tuple[Any, ...]
    ) -> Entity | None:
        """The entity with these values of fields that are unique together; references are given as ids."""
        overlay = self._combinations.get((type_name, fields), {})
        if values in overlay:
            return overlay[values]
        return self.base.find_combination(type_name, fields, values)

    def referring(self, type_name: str, field: str, identifier: str) -> list[Entity]:
        """The entities of a type that refer to an id in that field."""
        known = self.base.referring(type_name, field, identifier)
        changed = self._referring.get((type_name, field, identifier))
        if not changed:
            return known
        found: dict[str, Entity | None] = {entity.id: entity for entity in known}
        found.update(changed)
        return [entity for entity in found.values() if entity is not None]

    def put(self, entity: Entity) -> None:
        """Add an entity, or replace the one with its id."""
        self._replace(entity.type_name, entity.id, entity)

    def remove(self, entity: Entity) -> None:
        """Take an entity out; nothing else goes with it."""
        self._replace(entity.type_name, entity.id, None)

    def result(self, hash: str) -> Configuration:
        """The configuration that the changes make; `hash` as for Configuration."""
        return self.base.changed(self._changes, hash)

    def _replace(self, type_name: str, identifier: str, new: Entity | None) -> None:
        old = self.get(type_name, identifier)
        if old is None and new is None:
            return
        kind = ENTITY_TYPES[type_name]
        for fields in unique_combinations(kind):
            overlay = self._combinations.setdefault((type_name, fields), {})
            if old is not None and (values := _values(old, fields)) is not None:
                holder = overlay.get(values, old)
                if holder is not None and holder.id == identifier:
                    overlay[values] = None
            if new is not None and (values := _values(new, fields)) is not None:
                overlay[values] = new
        for field in referring_fields(kind):
            if old is not None:
                for other in referred_to(old, field):
                    self._referring.setdefault((type_name, field, other), {})[identifier] = None
            if new is not None:
                for other in referred_to(new, field):
                    self._referring.setdefault((type_name, field, other), {})[identifier] = new
        self._changes[type_name, identifier] = new


def _values(entity: Entity, fields: tuple[str, ...]) -> tuple[Any, ...] | None:
    """The values of fields that are unique together; None where a single field has no value."""
    values = combination_of(entity, fields)
    return None if values == (None,) else values


@functools.cache
def unique_combinations(kind: type[Entity]) -> tuple[tuple[str, ...], ...]:
    """The fields of a type of which no two entities have the same values: single ones, and the cache key."""
    shape = shape_of(kind)
    combinations: list[tuple[str, ...]] = [(name,) for name in shape.unique]
    if kind.cache_key and not (len(kind.cache_key) == 1 and kind.cache_key[0] in shape.unique):
        combinations.append(kind.cache_key)
    return tuple(combinations)


@functools.cache
def referring_fields(kind: type[Entity]) -> tuple[str, ...]:
    """The fields of a type that hold ids of others: foreign keys, and lists of ids."""
    listed = [fields[kind.type_name] for fields in LISTED_BY.values() if kind.type_name in fields]
    return (*shape_of(kind).foreign, *listed)
