"""Foreign keys as clients write them: by id, or by another unique field of what they refer to."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import UUID, Foreign
from gateway.entities.record import Entity, shape_of
from gateway.store.draft import Draft
from gateway.store.errors import braces, unresolved_references


def resolve_references(draft: Draft, kind: type[Entity], values: dict[str, Any]) -> None:
    """Replace `{"name": "x"}` and the like by `{"id": …}` (in place). Raises EntityError (13) where nothing
    has that name; what is no reference at all is left for the check of the field."""
    errors: dict[str, dict[str, str]] = {}
    for name, field in shape_of(kind).foreign.items():
        value = values.get(name)
        if not isinstance(value, Mapping) or _is_primary_key(value):
            continue
        found, problems = _named(draft, field, value)
        if found is not None:
            values[name] = {"id": found.id}
        elif problems:
            errors[name] = problems
    if errors:
        raise unresolved_references(errors)


def _is_primary_key(value: Mapping[Any, Any]) -> bool:
    identifier = value.get("id")
    return isinstance(identifier, str) and UUID.fullmatch(identifier) is not None


def _named(draft: Draft, field: Foreign, value: Mapping[Any, Any]) -> tuple[Entity | None, dict[str, str]]:
    """The entity that a unique field names, and the problems of those that name none."""
    problems: dict[str, str] = {}
    shape = shape_of(ENTITY_TYPES[field.reference])
    for unique in shape.unique:
        wanted = value.get(unique)
        if wanted is None or shape.fields[unique].check(wanted)[1] is not None:
            continue
        found = draft.find_unique(field.reference, unique, wanted)
        if found is not None:
            return found, {}
        problems[unique] = (
            f"the foreign key cannot be resolved with '{braces({unique: wanted})}' for an existing "
            f"'{field.reference}' entity"
        )
    return None, problems
