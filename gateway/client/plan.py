"""What has to change for a gateway to have what a declarative file says. Nothing is read or written here."""

from __future__ import annotations

import enum
import functools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from gateway.client.errors import ClientError
from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import Reference, Text
from gateway.entities.record import Entity, shape_of, to_kong
from gateway.store.configuration import Configuration
from gateway.store.draft import unique_combinations
from gateway.store.indexes import combination_of
from gateway.store.items import Parsed

Selection: TypeAlias = Callable[[Entity], bool]
"""Whether an entity is one of those that this is about."""

STAMPS = ("created_at", "updated_at")


class Action(enum.StrEnum):
    """What is done to an entity."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """One step of a plan."""

    action: Action
    before: Entity | None
    after: Entity | None
    """As it will be stored."""
    given_secrets: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """Fields of `after` as they have to be sent: those of which only a hash is stored."""

    @property
    def entity(self) -> Entity:
        """The newer of both."""
        entity = self.after or self.before
        assert entity is not None, "a change is about something"
        return entity

    def differences(self) -> dict[str, tuple[Any, Any]]:
        """The fields that an update changes: the value before and the value after."""
        if self.before is None or self.after is None:
            return {}
        return differences(self.before, self.after)


@dataclass(frozen=True, slots=True)
class Plan:
    """Changes in the order in which they can be made."""

    current: Configuration
    changes: tuple[Change, ...]

    def count(self, action: Action) -> int:
        """How many entities it is done to."""
        return sum(change.action is action for change in self.changes)

    def result(self, hash: str) -> Configuration:
        """The configuration afterwards."""
        return self.current.changed(
            {(change.entity.type_name, change.entity.id): change.after for change in self.changes}, hash
        )


def make_plan(
    current: Configuration, wanted: Parsed, *, prune: bool = False, selected: Selection = lambda entity: True
) -> Plan:
    """The changes that bring `current` to what is wanted; entities that are not wanted stay unless `prune`.

    Entities are the same when they have the same id, else when they have the same value of a unique field (or
    of fields that are unique together), else, where nothing identifies them, when they are equal. An entity
    that is there keeps its id. Raises ClientError when a selected entity refers to one that is not there and
    not selected.
    """
    planning = _Planning(current, wanted, selected)
    changes = [change for name in ENTITY_TYPES for change in planning.of_type(name)]
    if prune:
        changes += planning.removals()
    return Plan(current, tuple(changes))


def differences(before: Entity, after: Entity) -> dict[str, tuple[Any, Any]]:
    """The fields in which two entities differ that are meant to be the same; time stamps do not count."""
    old, new = to_kong(before), to_kong(after)
    found = {}
    for name in {**old, **new}:
        values = old.get(name), new.get(name)
        if name in STAMPS or values[0] == values[1]:
            continue
        if name == "expires_at" and None not in values:
            continue  # a file may say how long from now, whenever it is read
        found[name] = values
    return found


class _Planning:
    def __init__(self, current: Configuration, wanted: Parsed, selected: Selection) -> None:
        self._current = current
        self._wanted = wanted
        self._selected = selected
        self._ids: dict[tuple[str, str], str] = {}
        """Type and id in the file -> id in the gateway."""
        self._kept: set[tuple[str, str]] = set()
        """Type and id of the entities of the gateway that the file has, too."""

    def of_type(self, type_name: str) -> Iterator[Change]:
        """Creations and updates. Types are gone through in the order of the catalogue."""
        waiting = []
        for entity in self._wanted.configuration.of(type_name).values():
            found = self._same(self._with_references(entity))
            if found is None:
                waiting.append(entity)
            else:
                yield from self._update(entity, found)
        equals = self._nameless(type_name) if waiting else {}
        for entity in waiting:
            candidates = equals.get(_content(self._with_references(entity)))
            if candidates:
                yield from self._update(entity, candidates.pop())
            elif self._selected(entity):
                yield self._create(entity)

    def removals(self) -> Iterator[Change]:
        """What the file does not have; children before their parents."""
        for type_name in reversed(ENTITY_TYPES):
            for entity in self._current.of(type_name).values():
                if (type_name, entity.id) not in self._kept and self._selected(entity):
                    yield Change(Action.DELETE, entity, None)

    def _same(self, entity: Entity) -> Entity | None:
        """The entity of the gateway that one of the file stands for, by id or by what is unique."""
        type_name = entity.type_name
        candidates = [self._current.of(type_name).get(entity.id)]
        for fields in unique_combinations(type(entity)):
            values = combination_of(entity, fields)
            if any(value is not None for value in values):
                candidates.append(self._current.find_combination(type_name, fields, values))
        free = (one for one in candidates if one is not None and (type_name, one.id) not in self._kept)
        return next(free, None)

    def _nameless(self, type_name: str) -> dict[str, list[Entity]]:
        """The entities of the gateway that the file has not got by anything that identifies them, by what
        they consist of."""
        found: dict[str, list[Entity]] = {}
        for entity in self._current.of(type_name).values():
            if (type_name, entity.id) not in self._kept:
                found.setdefault(_content(entity), []).append(entity)
        return found

    def _update(self, entity: Entity, found: Entity) -> Iterator[Change]:
        self._ids[entity.type_name, entity.id] = found.id
        self._kept.add((entity.type_name, found.id))
        if not self._selected(entity):
            return
        stamps = {name: getattr(found, name) for name in STAMPS if hasattr(found, name)}
        kept = {"id": found.id, **stamps}
        # What was made up when the file was read is not what somebody wants.
        kept |= {name: getattr(found, name) for name in self._wanted.generated.get(entity.id, ())}
        after, secrets = self._as_stored(entity, kept, found)
        if differences(found, after):
            yield Change(Action.UPDATE, found, after, secrets)

    def _create(self, entity: Entity) -> Change:
        for name, foreign in shape_of(type(entity)).foreign.items():
            reference = getattr(entity, name)
            if reference is not None and (foreign.reference, reference.id) not in self._ids:
                raise ClientError(
                    f"{describe(entity)} is for {foreign.reference} {reference.id}, "
                    "which is neither there nor selected"
                )
        self._ids[entity.type_name, entity.id] = entity.id
        after, secrets = self._as_stored(entity, {}, None)
        return Change(Action.CREATE, None, after, secrets)

    def _with_references(self, entity: Entity, fields: Mapping[str, Any] | None = None) -> Entity:
        """An entity of the file with the ids that its references have in the gateway."""
        values = {**_values(entity), **(fields or {})}
        for name, foreign in shape_of(type(entity)).foreign.items():
            if values[name] is not None:
                identifier = self._ids.get((foreign.reference, values[name].id), values[name].id)
                values[name] = Reference(identifier)
        return type(entity)(**values)

    def _as_stored(
        self, entity: Entity, kept: Mapping[str, Any], found: Entity | None
    ) -> tuple[Entity, Mapping[str, Any]]:
        """An entity of the file as the gateway will store it, and what has to be sent instead of its hashes.
        `kept`: values that it keeps; `found`: what is there now."""
        kind = type(entity)
        given = self._wanted.given_secrets.get(entity.id, {})
        secrets = {name: value for name, value in given.items() if name not in kept}
        if not secrets:
            return self._with_references(entity, kept), {}
        if found is not None and kind.has_secrets(_values(found), secrets):
            unchanged = {name: getattr(found, name) for name in secrets}
            return self._with_references(entity, {**kept, **unchanged}), secrets
        # The hash may depend on the consumer's id, which is known only now.
        values = _values(self._with_references(entity, {**kept, **secrets}))
        kind.hash_secrets(values)
        return kind(**values), secrets


def _values(entity: Entity) -> dict[str, Any]:
    return {name: getattr(entity, name) for name in shape_of(type(entity)).fields}


def describe(entity: Entity) -> str:
    """An entity in a few words: "service users"."""
    names = (getattr(entity, field) for field in _telling(type(entity)))
    return f"{entity.singular} {next(filter(None, names), entity.id)}"


@functools.cache
def _telling(kind: type[Entity]) -> tuple[str, ...]:
    """The fields by which people know an entity: neither secrets nor what is made up."""
    shape = shape_of(kind)
    fields = {name: shape.fields.get(name) for name in ("name", kind.endpoint_key or "", *shape.unique)}
    fields.update({name: shape.fields[name] for name in kind.cache_key})
    return tuple(
        name
        for name, field in fields.items()
        if isinstance(field, Text) and not field.auto and not field.encrypted
    )


def _content(entity: Entity) -> str:
    """Everything but id and time stamps, as a text to compare."""
    form = to_kong(entity)
    return repr(sorted((name, value) for name, value in form.items() if name not in ("id", *STAMPS)))
