"""Kong's rules for writes, applied to a draft: what may be created, changed and removed, and what goes
with it.

`values` are decoded JSON: what a client sent, with the types the fields have (see `gateway.admin.forms` for
how form texts become that). Every function raises EntityError for what Kong refuses and leaves the draft as it
was.

What is wrong is looked for in Kong's order: references by name (13), the values themselves (2), an id that is
taken (3), values that must be unique (5), references to nothing (4).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from gateway.entities.fields import Errors
from gateway.entities.merging import check_change
from gateway.entities.record import Entity, check_entity, shape_of
from gateway.store.draft import Draft
from gateway.store.errors import primary_key_violation, schema_violation
from gateway.store.integrity import check_integrity, removed_with
from gateway.store.names import NamedChildren
from gateway.store.references import resolve_references


def create(draft: Draft, kind: type[Entity], values: Mapping[str, Any]) -> Entity:
    """Add an entity (POST)."""
    written = dict(values)
    names = NamedChildren(kind, written)
    resolve_references(draft, kind, written)
    clean, errors = check_entity(kind, written)
    _refuse(draft, kind, clean, {**names.errors, **errors})
    names.check(draft, None)
    if (given := clean.get("id")) is not None and draft.get(kind.type_name, given) is not None:
        raise primary_key_violation(given)
    clean.pop("updated_at", None)
    entity = _built(kind, clean, written)
    check_integrity(draft, entity)
    draft.put(entity)
    names.write(draft, entity)
    return entity


def update(draft: Draft, entity: Entity, values: Mapping[str, Any]) -> Entity:
    """Change some fields (PATCH): records are merged, everything else is replaced, null means the default.
    The id stays what it is, whatever `values` say."""
    kind = type(entity)
    written = {name: value for name, value in values.items() if name != "id"}
    names = NamedChildren(kind, written)
    resolve_references(draft, kind, written)
    clean, errors = check_change(entity, written)
    _refuse(draft, kind, clean, {**names.errors, **errors})
    names.check(draft, entity.id)
    clean.pop("updated_at", None)
    changed = _built(kind, clean, written)
    check_integrity(draft, changed)
    draft.put(changed)
    names.write(draft, changed)
    return changed


def replace(draft: Draft, kind: type[Entity], key: Mapping[str, str], values: Mapping[str, Any]) -> Entity:
    """Add or replace the entity that `key` names (PUT): `{"id": …}`, or `{"name": …}` or another unique
    field, or the fields that are unique together (`{"consumer": id, "group": …}`).

    What is not in `values` gets its default, the time at which it was made included. The key wins over
    `values`; an entity that is found by another key than its id keeps its id.
    """
    shape = shape_of(kind)
    present = _holder(draft, kind, key)
    written = dict(values)
    written.update({name: {"id": text} if name in shape.foreign else text for name, text in key.items()})
    if present is not None:
        written["id"] = present.id
    names = NamedChildren(kind, written)
    resolve_references(draft, kind, written)
    clean, errors = check_entity(kind, written)
    _refuse(draft, kind, clean, {**names.errors, **errors})
    names.check(draft, present.id if present is not None else None)
    if present is None and (given := clean.get("id")) and draft.get(kind.type_name, given) is not None:
        raise primary_key_violation(given)
    clean.pop("updated_at", None)
    entity = _built(kind, clean, written)
    check_integrity(draft, entity)
    draft.put(entity)
    names.write(draft, entity)
    return entity


def remove(draft: Draft, entity: Entity) -> None:
    """Take an entity out, with those that cannot be without it (DELETE)."""
    for one in reversed(removed_with(draft, entity)):
        draft.remove(one)


def check(kind: type[Entity], values: Mapping[str, Any]) -> None:
    """Check values as for a new entity, without looking at other entities (POST /schemas/…/validate)."""
    written = dict(values)
    names = NamedChildren(kind, written)
    _, errors = check_entity(kind, written)
    if errors := {**names.errors, **errors}:
        raise schema_violation(errors)


def _holder(draft: Draft, kind: type[Entity], key: Mapping[str, str]) -> Entity | None:
    """The entity that a key names."""
    if "id" in key:
        return draft.get(kind.type_name, key["id"].lower())
    fields = tuple(key) if len(key) == 1 else kind.cache_key
    return draft.find_combination(kind.type_name, fields, tuple(key.get(name) for name in fields))


def _refuse(draft: Draft, kind: type[Entity], clean: dict[str, Any], errors: dict[Any, Errors]) -> None:
    """Raise EntityError (2) for errors, or else for what is wrong beside the entities referred to."""
    if not errors:
        errors = kind.check_related({**shape_of(kind).defaults, **clean}, draft)
    if errors:
        raise schema_violation(errors)


def _built(kind: type[Entity], clean: dict[str, Any], written: Mapping[str, Any]) -> Entity:
    """The entity of valid values, in the form that is stored; `written`: the fields the client gave."""
    kind.transform(clean)
    clean.setdefault("id", str(uuid.uuid4()))
    shape_of(kind).complete(clean, time.time())
    if any(name in written for name in kind.hashed):
        kind.hash_secrets(clean)
    return kind(**clean)
