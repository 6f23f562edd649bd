"""How entities are named in paths: by their id, or by what else is unique about them.

Most types have an endpoint key (the name of a service). The others: a certificate goes by one of its server
names; within a consumer an ACL goes by its group; within an upstream a target goes by its address.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from gateway.entities import texts
from gateway.entities.expiry import is_expired
from gateway.entities.fields import UUID
from gateway.entities.hosts import InvalidHost, format_host, parse_host
from gateway.entities.record import Entity, shape_of
from gateway.entities.snis import Sni
from gateway.entities.targets import DEFAULT_PORT
from gateway.store.errors import EntityError, entity_not_found, invalid_primary_key, invalid_unique
from gateway.store.lookups import Lookups


class NotThere(EntityError):
    """A path whose entity does not exist; told by a message only."""

    def __init__(self, message: str = "Not found") -> None:
        super().__init__(6, "not found", 404, message)

    def answer(self) -> dict[str, Any]:
        return {"message": self.message}


class Naming:
    """Names of a type by id and endpoint key."""

    put_changes = False
    """PUT changes one that is there, as PATCH does, and makes none."""

    def __init__(self, kind: type[Entity]) -> None:
        self.kind = kind

    def by(self, text: str) -> str | None:
        """The field that a text is a value of, when it is not an id; for the message of a refused write."""
        return None if UUID.fullmatch(text) else self.kind.endpoint_key

    def key(self, text: str) -> dict[str, str]:
        """The field and value that a text in a path stands for. Raises EntityError: 1, 10 (none can have
        it)."""
        if UUID.fullmatch(text):
            return {"id": text.lower()}
        if self.kind.endpoint_key is None:
            raise invalid_primary_key({"id": texts.EXPECTED_UUID}, {"id": texts.EXPECTED_UUID})
        field = shape_of(self.kind).fields[self.kind.endpoint_key]
        _, problem = field.check(text)
        if problem is not None:
            raise invalid_unique(self.kind.endpoint_key, problem)
        return {self.kind.endpoint_key: text}

    def find(self, entities: Lookups, text: str, parent: Entity | None = None) -> Entity | None:
        """The entity that a text names, unless its time is over. Raises EntityError as `key` does."""
        found = self._look_up(entities, text, parent)
        return None if found is None or is_expired(found, time.time()) else found

    def _look_up(self, entities: Lookups, text: str, parent: Entity | None) -> Entity | None:
        ((field, value),) = self.key(text).items()
        if field == "id":
            return entities.get(self.kind.type_name, value)
        return entities.find_unique(self.kind.type_name, field, value)

    def missing(self, text: str) -> EntityError:
        """What is raised for a change of an entity that does not exist."""
        return entity_not_found(self.key(text))

    def replacement(
        self, entities: Lookups, text: str, parent: Entity | None, values: Mapping[str, Any]
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """What PUT replaces or makes: its key and values."""
        return self.key(text), dict(values)


class CertificateNaming(Naming):
    """Certificates by one of their server names."""

    def by(self, text: str) -> str | None:
        return None

    def _look_up(self, entities: Lookups, text: str, parent: Entity | None) -> Entity | None:
        if UUID.fullmatch(text):
            return super()._look_up(entities, text, parent)
        sni = _sni(entities, text)
        if sni is None:
            raise NotThere("SNI not found")
        return entities.get(self.kind.type_name, sni.certificate.id)

    def replacement(
        self, entities: Lookups, text: str, parent: Entity | None, values: Mapping[str, Any]
    ) -> tuple[dict[str, str], dict[str, Any]]:
        if UUID.fullmatch(text):
            return super().replacement(entities, text, parent, values)
        sni = _sni(entities, text)
        # As in Kong, a new certificate does not get the server name by which it was asked for.
        identifier = str(uuid.uuid4()) if sni is None else sni.certificate.id
        return {"id": identifier}, dict(values)


def _sni(entities: Lookups, name: str) -> Sni | None:
    """The SNI of that name. Raises EntityError (10) for what can be no server name."""
    found = Naming(Sni).find(entities, name)
    assert found is None or isinstance(found, Sni)
    return found


class GroupNaming(Naming):
    """The ACLs of a consumer by their group."""

    def by(self, text: str) -> str | None:
        return None

    def _look_up(self, entities: Lookups, text: str, parent: Entity | None) -> Entity | None:
        if parent is None or UUID.fullmatch(text):
            return super()._look_up(entities, text, parent)
        return entities.find_combination(self.kind.type_name, ("consumer", "group"), (parent.id, text))

    def replacement(
        self, entities: Lookups, text: str, parent: Entity | None, values: Mapping[str, Any]
    ) -> tuple[dict[str, str], dict[str, Any]]:
        if parent is None or UUID.fullmatch(text):
            return super().replacement(entities, text, parent, values)
        return {"consumer": parent.id, "group": text}, dict(values)


class TargetNaming(Naming):
    """The targets of an upstream by their address, which need not be written as it is kept."""

    put_changes = True

    def by(self, text: str) -> str | None:
        return None

    def _look_up(self, entities: Lookups, text: str, parent: Entity | None) -> Entity | None:
        if UUID.fullmatch(text):
            return entities.get(self.kind.type_name, text.lower())
        try:
            target = format_host(parse_host(text), DEFAULT_PORT)
        except InvalidHost:
            return None
        if parent is None:
            return None
        return entities.find_combination(self.kind.type_name, ("upstream", "target"), (parent.id, target))

    def missing(self, text: str) -> EntityError:
        return NotThere()


NAMINGS: dict[str, type[Naming]] = {
    "certificates": CertificateNaming,
    "acls": GroupNaming,
    "targets": TargetNaming,
}


def naming_of(kind: type[Entity]) -> Naming:
    """How a type is named in paths."""
    return NAMINGS.get(kind.type_name, Naming)(kind)
