"""Kong's rules for writes, applied to a draft: what may be created, changed and removed, and what goes
with it.

`values` are decoded JSON: what a client sent, with the types the fields have (see `gateway.admin.forms` for
how form texts become that). Every function raises EntityError for what Kong refuses and leaves the draft as
it was.

What is wrong is looked for in Kong's order: references by name (13), the values themselves (2), an id that is
taken (3), values that must be unique (5), references to nothing (4).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from gateway.entities.expiry import is_expired
from gateway.entities.fields import Errors
from gateway.entities.merging import check_change
from gateway.entities.record import Entity, check_entity, shape_of
from gateway.store.draft import Draft
from gateway.store.errors import entity_not_found, invalid_options, primary_key_violation, schema_violation
from gateway.store.integrity import check_integrity, removed_with
from gateway.store.named_children import NamedChildren
from gateway.store.references import resolve_references


def create(draft: Draft, kind: type[Entity], values: Mapping[str, Any]) -> Entity:
    """Add an entity (POST)."""
    return _write(draft, kind, dict(values), None, partial(check_entity, kind))


def update(draft: Draft, entity: Entity, values: Mapping[str, Any]) -> Entity:
    """Change some fields (PATCH): records are merged, everything else is replaced, null means the default.
    The id stays what it is, whatever `values` say."""
    if is_expired(entity, time.time()):
        raise entity_not_found({"id": entity.id})
    written = {name: value for name, value in values.items() if name != "id"}
    return _write(draft, type(entity), written, entity, partial(check_change, entity))


def replace(
    draft: Draft,
    kind: type[Entity],
    key: Mapping[str, str],
    values: Mapping[str, Any],
    *,
    already_hashed: bool = False,
) -> Entity:
    """Add or replace the entity that `key` names (PUT): `{"id": …}`, or `{"name": …}` or another unique
    field, or the fields that are unique together (`{"consumer": id, "group": …}`).

    What is not in `values` gets its default, the time at which it was made included. The key wins over
    `values`; an entity that is found by another key than its id keeps its id. `already_hashed`: secrets in
    `values` are in the form that is stored.
    """
    foreign = shape_of(kind).foreign
    present = _holder(draft, kind, key)
    written = dict(values)
    written.update({name: {"id": text} if name in foreign else text for name, text in key.items()})
    if present is not None:
        written["id"] = present.id
    return _write(draft, kind, written, present, partial(check_entity, kind), already_hashed)


def restore(draft: Draft, entity: Entity) -> None:
    """Put an entity in the form that is stored, as an import does: only what holds between entities is looked
    at."""
    for one in check_integrity(draft, entity, time.time()):
        remove(draft, one)
    draft.put(entity)


def remove(draft: Draft, entity: Entity) -> None:
    """Take an entity out, with those that cannot be without it (DELETE)."""
    for one in reversed(removed_with(draft, entity)):
        draft.remove(one)


def remove_expired(draft: Draft, now: float) -> int:
    """Take out what has expired by `now` (seconds since the epoch); how many there were."""
    expired = [one for one in draft.base.expired(now) if draft.get(one.type_name, one.id) is one]
    for one in expired:
        remove(draft, one)
    return len(expired)


def check(kind: type[Entity], values: Mapping[str, Any]) -> None:
    """Check values as for a new entity, without looking at other entities (POST /schemas/…/validate)."""
    written = dict(values)
    names = NamedChildren(kind, written)
    _, errors = check_entity(kind, written)
    refuse_errors(kind, {**names.errors, **errors})


def refuse_errors(kind: type[Entity], errors: dict[Any, Errors]) -> None:
    """Raise EntityError for errors, when there are any: 11 for options, 2 for fields."""
    if not errors:
        return
    options = {name: str(errors[name]) for name in kind.options if name in errors}
    if options:
        raise invalid_options(options)
    raise schema_violation(errors)


def _write(
    draft: Draft,
    kind: type[Entity],
    written: dict[str, Any],
    present: Entity | None,
    checked: Callable[[Mapping[str, Any]], tuple[dict[str, Any], dict[Any, Errors]]],
    already_hashed: bool = False,
) -> Entity:
    """Put the entity that `written` makes in the place of `present`; `checked` validates what was written and
    gives the values of all fields. Nothing is changed before everything is found to be right."""
    now = time.time()
    names = NamedChildren(kind, written)
    resolve_references(draft, kind, written)
    clean, errors = checked(written)
    problems = {**names.errors, **errors}
    refuse_errors(kind, kind.tell(problems) if present is None else problems)
    refuse_errors(kind, kind.check_related(clean, draft))
    names.check(draft, present.id if present is not None else None)
    if present is None and (identifier := clean.get("id")) is not None:
        holder = draft.get(kind.type_name, identifier)
        if holder is not None and not is_expired(holder, now):
            raise primary_key_violation(identifier)
    hashes = not already_hashed and any(name in written for name in kind.hashed)
    given = {name: clean[name] for name in kind.hashed if name in clean}
    entity = _built(kind, clean, now, hashes)
    if hashes:
        draft.given_secrets[kind.type_name, entity.id] = {
            name: value for name, value in given.items() if getattr(entity, name) != value
        }
    restore(draft, entity)
    names.write(draft, entity, now)
    return entity


def _holder(draft: Draft, kind: type[Entity], key: Mapping[str, str]) -> Entity | None:
    """The entity that a key names."""
    if "id" in key:
        found = draft.get(kind.type_name, key["id"].lower())
    else:
        fields = tuple(key) if len(key) == 1 else kind.cache_key
        found = draft.find_combination(kind.type_name, fields, tuple(key.get(name) for name in fields))
    return None if found is not None and is_expired(found, time.time()) else found


def _built(kind: type[Entity], clean: dict[str, Any], now: float, hashes: bool) -> Entity:
    """The entity of valid values, in the form that is stored; `hashes`: its secrets have to be hashed."""
    kind.transform(clean)
    clean.setdefault("id", str(uuid.uuid4()))
    clean.pop("updated_at", None)
    shape_of(kind).complete(clean, now)
    if hashes:
        kind.hash_secrets(clean)
    return kind(**clean)
