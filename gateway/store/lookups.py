"""How entities are looked up: the same in a configuration and in the draft of a transaction."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES
from gateway.entities.record import Entity, shape_of


class Lookups(ABC):
    """Entities that can be found by id, by what is unique about them, and by what they refer to."""

    __slots__ = ()

    @abstractmethod
    def get(self, type_name: str, identifier: str) -> Entity | None:
        """The entity with that id (lower case)."""

    @abstractmethod
    def find_combination(
        self, type_name: str, fields: tuple[str, ...], values: tuple[Any, ...]
    ) -> Entity | None:
        """The entity of a type with these values of fields that are unique together; references are given as
        ids."""

    @abstractmethod
    def referring(self, type_name: str, field: str, identifier: str) -> list[Entity]:
        """The entities of a type that refer to an id in that field. Oldest first."""

    def find(self, type_name: str, key: str) -> Entity | None:
        """The entity of a type with that id, or with that value of its endpoint key (name, username, …),
        where that is unique."""
        if (found := self.get(type_name, key.lower())) is not None:
            return found
        kind = ENTITY_TYPES[type_name]
        if kind.endpoint_key is None or not shape_of(kind).fields[kind.endpoint_key].unique:
            return None
        return self.find_unique(type_name, kind.endpoint_key, key)

    def find_unique(self, type_name: str, field: str, value: Any) -> Entity | None:
        """The entity of a type with that value of a unique field."""
        return self.find_combination(type_name, (field,), (value,))

    def children(self, type_name: str, parent_type: str, parent_id: str) -> list[Entity]:
        """The entities of a type that refer to one of another type: the routes of a service. Oldest first."""
        return self.referring(type_name, CHILDREN[parent_type][type_name], parent_id)
