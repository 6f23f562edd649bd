"""The configuration in memory: all entities, immutable."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import ClassVar

from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES
from gateway.entities.record import Entity, to_kong

EMPTY_HASH = "0" * 32
"""The hash of a configuration without entities, as Kong shows it."""

_NOTHING: Mapping[str, Entity] = MappingProxyType({})


class Configuration:
    """All entities, by type name and id, in the order they were declared."""

    __slots__ = ("_by_key", "entities", "hash")

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
        self._by_key: dict[str, dict[str, Entity]] = {}

    def of(self, type_name: str) -> Mapping[str, Entity]:
        """The entities of a type by id ("services" -> {id: Service}); empty when there are none."""
        return self.entities.get(type_name, _NOTHING)

    def find(self, type_name: str, key: str) -> Entity | None:
        """The entity of a type with that id, or with that value of its endpoint key (name, username, …)."""
        table = self.of(type_name)
        if (found := table.get(key.lower())) is not None:
            return found
        endpoint_key = ENTITY_TYPES[type_name].endpoint_key
        if endpoint_key is None:
            return None
        if type_name not in self._by_key:
            self._by_key[type_name] = {
                value: entity
                for entity in table.values()
                if (value := getattr(entity, endpoint_key)) is not None
            }
        return self._by_key[type_name].get(key)

    def children(self, type_name: str, parent_type: str, parent_id: str) -> list[Entity]:
        """The entities of a type that refer to one of another type: the routes of a service."""
        field = CHILDREN[parent_type][type_name]
        return [
            entity
            for entity in self.of(type_name).values()
            if (reference := getattr(entity, field)) is not None and reference.id == parent_id
        ]

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
