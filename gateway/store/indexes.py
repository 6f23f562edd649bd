"""How entities of one type are found other than by their id.

An index never changes: `changed` gives the next one and shares nothing that could change. Copying a dict of
100,000 members takes about a millisecond, which is what a write costs; nothing is searched.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right, insort
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, TypeAlias

from gateway.entities.expiry import expiry_of
from gateway.entities.fields import Reference
from gateway.entities.record import Entity

Replacement: TypeAlias = "tuple[Entity | None, Entity | None]"
"""An entity before and after a change: (None, new) was added, (old, None) was removed."""

LAST_ID = "~"
"""comes after every id"""
MANY = 64
"""from so many changes on, ids are sorted anew"""


class Index(Protocol):
    def changed(self, replacements: Sequence[Replacement]) -> Index:
        """The index of the entities after these changes."""


def combination_of(entity: Entity, fields: Sequence[str]) -> tuple[Any, ...]:
    """The values of these fields, references as ids; and what else tells the entity from others with them."""
    if len(fields) == 1:  # nearly always
        value = getattr(entity, fields[0])
        return (value.id if isinstance(value, Reference) else value,)
    values = (getattr(entity, name) for name in fields)
    combination = tuple(value.id if isinstance(value, Reference) else value for value in values)
    distinction = entity.distinction(partial(getattr, entity))
    return combination if distinction is None else (*combination, distinction)


def referred_to(entity: Entity, field: str) -> Sequence[str]:
    """The ids that a field refers to: one, none, or those that it lists."""
    value = getattr(entity, field)
    if value is None:
        return ()
    return (value.id,) if isinstance(value, Reference) else value


class ByCombination:
    """Values of fields that are unique together -> entity. Of a single field: only entities that have a
    value."""

    def __init__(self, fields: tuple[str, ...], entities: Iterable[Entity]) -> None:
        self._fields = fields
        self._found: dict[tuple[Any, ...], Entity] = {}
        self._put(self._found, entities)

    def find(self, values: tuple[Any, ...]) -> Entity | None:
        return self._found.get(values)

    def changed(self, replacements: Sequence[Replacement]) -> ByCombination:
        found = self._found.copy()
        for old, _ in replacements:
            if old is not None:
                found.pop(combination_of(old, self._fields), None)
        self._put(found, (new for _, new in replacements if new is not None))
        following = ByCombination(self._fields, ())
        following._found = found
        return following

    def _put(self, found: dict[tuple[Any, ...], Entity], entities: Iterable[Entity]) -> None:
        if len(self._fields) == 1:
            (name,) = self._fields
            for entity in entities:
                if (value := getattr(entity, name)) is not None:
                    found[(value,)] = entity
            return
        for entity in entities:
            found[combination_of(entity, self._fields)] = entity


class ByParent:
    """Id of what a field refers to -> the entities that refer to it, by id, oldest first."""

    def __init__(self, field: str, entities: Iterable[Entity]) -> None:
        self._field = field
        self._found: dict[str, dict[str, Entity]] = {}
        for entity in entities:
            for parent_id in referred_to(entity, field):
                self._found.setdefault(parent_id, {})[entity.id] = entity

    def of(self, parent_id: str) -> Mapping[str, Entity]:
        return self._found.get(parent_id, {})

    def changed(self, replacements: Sequence[Replacement]) -> ByParent:
        found = self._found.copy()
        owned: set[str] = set()

        def children_of(parent_id: str) -> dict[str, Entity]:
            if parent_id not in owned:
                owned.add(parent_id)
                found[parent_id] = dict(found.get(parent_id, ()))
            return found[parent_id]

        for old, new in replacements:
            after = referred_to(new, self._field) if new is not None else ()
            if old is not None:
                for parent_id in referred_to(old, self._field):
                    if parent_id not in after:
                        children_of(parent_id).pop(old.id, None)
            if new is not None:
                for parent_id in after:
                    children_of(parent_id)[new.id] = new
        for parent_id in owned:
            if not found[parent_id]:
                del found[parent_id]
        following = ByParent(self._field, ())
        following._found = found
        return following


class ByExpiry:
    """When entities expire, the next one first."""

    def __init__(self, entities: Iterable[Entity]) -> None:
        self._sorted = sorted(
            (expiry, entity.id) for entity in entities if (expiry := expiry_of(entity)) is not None
        )

    def first(self) -> float | None:
        """When the next one expires."""
        return self._sorted[0][0] if self._sorted else None

    def until(self, now: float) -> list[str]:
        """The ids of those that have expired by then."""
        return [identifier for _, identifier in self._sorted[: bisect_right(self._sorted, (now, LAST_ID))]]

    def changed(self, replacements: Sequence[Replacement]) -> ByExpiry:
        removed = _expiries(old for old, _ in replacements)
        added = _expiries(new for _, new in replacements)
        if removed == added:
            return self
        following = ByExpiry(())
        if len(removed) + len(added) > MANY:
            gone = set(removed)
            following._sorted = sorted([one for one in self._sorted if one not in gone] + added)
            return following
        following._sorted = self._sorted.copy()
        for one in removed:
            del following._sorted[bisect_left(following._sorted, one)]
        for one in added:
            insort(following._sorted, one)
        return following


def _expiries(entities: Iterable[Entity | None]) -> list[tuple[float, str]]:
    return [
        (expiry, entity.id)
        for entity in entities
        if entity is not None and (expiry := expiry_of(entity)) is not None
    ]


class SortedIds:
    """All ids in order, for paging."""

    def __init__(self, identifiers: Iterable[str]) -> None:
        self._sorted = sorted(identifiers)

    def after(self, identifier: str | None, count: int) -> list[str]:
        """At most `count` ids that follow `identifier`, which itself may not exist any more."""
        start = 0 if identifier is None else bisect_right(self._sorted, identifier)
        return self._sorted[start : start + count]

    def changed(self, replacements: Sequence[Replacement]) -> SortedIds:
        added = [new.id for old, new in replacements if old is None and new is not None]
        removed = [old.id for old, new in replacements if new is None and old is not None]
        following = SortedIds(())
        if len(added) + len(removed) > MANY:
            gone = set(removed)
            following._sorted = sorted([one for one in self._sorted if one not in gone] + added)
            return following
        following._sorted = self._sorted.copy() if added or removed else self._sorted
        for identifier in removed:
            del following._sorted[bisect_left(following._sorted, identifier)]
        for identifier in added:
            insort(following._sorted, identifier)
        return following
