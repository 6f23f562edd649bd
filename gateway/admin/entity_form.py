"""Entities as the Admin API shows them, which may differ from how they are stored."""

from __future__ import annotations

from typing import Any

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.child_names import ChildNames
from gateway.entities.expiry import Expiring, time_left
from gateway.entities.record import Entity, to_kong
from gateway.entities.shorthands import with_shorthands
from gateway.store.lookups import Lookups


def admin_form(entity: Entity, entities: Lookups, now: float) -> dict[str, Any]:
    """The Admin API's form of an entity: its fields, the names of its children, the life it has left.

    `entities`: the configuration or draft it is part of; `now` in seconds since the epoch.
    """
    form = to_kong(entity)
    for name, field in type(entity).shorthands.items():
        if isinstance(field, ChildNames):
            key = ENTITY_TYPES[field.type_name].endpoint_key
            assert key is not None
            children = entities.children(field.type_name, entity.type_name, entity.id)
            form[name] = sorted(getattr(child, key) for child in children)
    for name, value in form.items():
        if isinstance(value, dict) and (record := type(entity).record_of(name, form)) is not None:
            form[name] = with_shorthands(record, value)
    if isinstance(entity, Expiring):
        form.pop("expires_at", None)
        form["ttl"] = time_left(entity, now)
    return form
