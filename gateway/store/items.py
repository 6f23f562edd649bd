"""What a declarative document becomes: while it is read an `Item` for each entity, in the end `Parsed`."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from gateway.entities.fields import Errors
from gateway.entities.record import Entity, to_kong
from gateway.store.configuration import Configuration
from gateway.store.documents import DocumentPath
from gateway.store.rendering import EntityJson


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
