"""The configuration in memory: all entities, immutable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, cast

from gateway.entities.catalogue import ENTITY_TYPES, EXPIRING
from gateway.entities.record import Entity, to_kong
from gateway.store.changes import Changes
from gateway.store.indexes import ByCombination, ByExpiry, ByParent, Index, Replacement, SortedIds
from gateway.store.lookups import Lookups

EMPTY_HASH = "0" * 32
"""The hash of a configuration without entities, as Kong shows it."""

_NOTHING: Mapping[str, Entity] = MappingProxyType({})
IndexName = tuple[str, ...]
AnIndex = TypeVar("AnIndex", bound=Index)


class Configuration(Lookups):
    """All entities, by type name and id, in the order they were declared or made.

    The tables of types that a change leaves alone are the same objects before and after it.
    """

    __slots__ = ("_indexes", "entities", "hash")

    EMPTY: ClassVar[Configuration]

    def __init__(self, entities: Iterable[Entity], hash: str) -> None:
        """`hash`: the md5 of what the entities were read from, in hex; not used when there are none."""
        tables: dict[str, dict[str, Entity]] = {name: {} for name in ENTITY_TYPES}
        for entity in entities:
            tables[entity.type_name][entity.id] = entity
        self.entities: Mapping[str, Mapping[str, Entity]] = MappingProxyType(
            {name: MappingProxyType(table) for name, table in tables.items() if table}
        )
        self.hash = hash if self.entities else EMPTY_HASH
        self._indexes: dict[str, dict[IndexName, Index]] = {}

    def changed(self, changes: Changes, hash: str) -> Configuration:
        """The configuration after these changes; `hash` as for a new one."""
        replacements: dict[str, list[Replacement]] = {}
        for (type_name, identifier), entity in changes.items():
            replacements.setdefault(type_name, []).append((self.of(type_name).get(identifier), entity))
        tables = dict(self.entities)
        following = Configuration((), hash)
        indexes = dict(self._indexes)  # other threads make indexes while this one copies
        for type_name, pairs in replacements.items():
            # Not `dict(…)`, which is slow for a mapping that is no dict.
            table = self._table(type_name).copy()
            for old, new in pairs:
                if new is not None:
                    table[new.id] = new
                elif old is not None:
                    del table[old.id]
            tables[type_name] = MappingProxyType(table)
            indexes[type_name] = {
                name: index.changed(pairs) for name, index in dict(indexes.get(type_name, {})).items()
            }
        following.entities = MappingProxyType(
            {name: tables[name] for name in ENTITY_TYPES if tables.get(name)}
        )
        following.hash = hash if following.entities else EMPTY_HASH
        following._indexes = indexes
        return following

    def of(self, type_name: str) -> Mapping[str, Entity]:
        """The entities of a type by id ("services" -> {id: Service}); empty when there are none."""
        return self.entities.get(type_name, _NOTHING)

    def _table(self, type_name: str) -> MappingProxyType[str, Entity]:
        table = self.of(type_name)
        assert isinstance(table, MappingProxyType)
        return table

    def get(self, type_name: str, identifier: str) -> Entity | None:
        """The entity with that id (lower case)."""
        return self.of(type_name).get(identifier)

    def find_combination(
        self, type_name: str, fields: tuple[str, ...], values: tuple[Any, ...]
    ) -> Entity | None:
        """The entity of a type with these values of fields that are unique together; references are given as
        ids."""
        return self._index(
            type_name, fields, lambda: ByCombination(fields, self.of(type_name).values())
        ).find(values)

    def referring(self, type_name: str, field: str, identifier: str) -> list[Entity]:
        """The entities of a type that refer to an id in that field. Oldest first."""
        index = self._index(type_name, ("child", field), lambda: ByParent(field, self.of(type_name).values()))
        return list(index.of(identifier).values())

    def ids_after(self, type_name: str, identifier: str | None, count: int) -> list[str]:
        """At most `count` ids of a type that follow `identifier` in order; from the first when it is None."""
        return self._index(type_name, ("ids",), lambda: SortedIds(self.of(type_name))).after(
            identifier, count
        )

    def expired(self, now: float) -> list[Entity]:
        """The entities whose time is over; `now` in seconds since the epoch."""
        return [
            self.of(type_name)[identifier]
            for type_name in EXPIRING
            for identifier in self._expiries(type_name).until(now)
        ]

    def next_expiry(self) -> float | None:
        """When the next entity expires, in seconds since the epoch; None when none does."""
        firsts = (self._expiries(type_name).first() for type_name in EXPIRING)
        return min((first for first in firsts if first is not None), default=None)

    def _expiries(self, type_name: str) -> ByExpiry:
        return self._index(type_name, ("expiry",), lambda: ByExpiry(self.of(type_name).values()))

    def _index(self, type_name: str, name: IndexName, make: Callable[[], AnIndex]) -> AnIndex:
        indexes = self._indexes.setdefault(type_name, {})
        if name not in indexes:
            indexes[name] = make()
        return cast("AnIndex", indexes[name])

    def to_kong(self) -> dict[str, dict[str, dict[str, object]]]:
        """Kong's answer to POST /config: type -> id -> entity, only types that have entities."""
        return {
            name: {identifier: to_kong(entity) for identifier, entity in table.items()}
            for name, table in self.entities.items()
        }

    def __len__(self) -> int:
        return sum(map(len, self.entities.values()))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Configuration) and self.entities == other.entities

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        counts = ", ".join(f"{len(table)} {name}" for name, table in self.entities.items())
        return f"<Configuration {self.hash}: {counts or 'empty'}>"


Configuration.EMPTY = Configuration((), EMPTY_HASH)
