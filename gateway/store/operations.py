"""Kong's rules for writes, applied to a draft: what may be created, changed and removed, and what goes with it.

`values` are decoded JSON: what a client sent, with the types the fields have (see `gateway.admin.forms` for how
form texts become that). Every function raises EntityError for what Kong refuses and leaves the draft as it was.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.entities.record import Entity
from gateway.store.draft import Draft


def create(draft: Draft, kind: type[Entity], values: Mapping[str, Any]) -> Entity:
    """Add an entity (POST)."""
    raise NotImplementedError


def update(draft: Draft, entity: Entity, values: Mapping[str, Any]) -> Entity:
    """Change some fields (PATCH): records are merged, everything else is replaced, null means the default."""
    raise NotImplementedError


def replace(draft: Draft, kind: type[Entity], key: Mapping[str, str], values: Mapping[str, Any]) -> Entity:
    """Add or replace the entity that `key` names (PUT): `{"id": …}` or `{"name": …}` or another unique field."""
    raise NotImplementedError


def remove(draft: Draft, entity: Entity) -> None:
    """Take an entity out, with those that cannot be without it (DELETE)."""
    raise NotImplementedError


def check(kind: type[Entity], values: Mapping[str, Any]) -> None:
    """Check values as for a new entity, without looking at other entities (POST /schemas/…/validate)."""
    raise NotImplementedError
