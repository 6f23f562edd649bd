"""What a change of some fields of an entity means (PATCH): records are merged, everything else is
replaced."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.entities import texts
from gateway.entities.fields import Anything, Errors
from gateway.entities.record import Entity, Group, Record, shape_of, unknown_kind
from gateway.entities.shorthands import expanded

UPDATING = "when updating, "


def check_change(entity: Entity, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[Any, Errors]]:
    """Validate new values of some fields: (what all fields are then, all errors).

    Shorthands stand for the fields they give, whatever the entity had; null means the default where the field
    must have a value.
    """
    kind = type(entity)
    given = dict(values)
    shape = shape_of(kind)
    chosen = {kind.kind_field: getattr(entity, kind.kind_field)} if kind.kind_field else {}
    if errors := kind.prepare(given) or unknown_kind(kind, {**chosen, **given}):
        return {}, errors
    for name, value in given.items():
        field, present = shape.fields.get(name), getattr(entity, name, None)
        if value == [] and isinstance(field, Group | Anything):
            value = {}  # an empty list is an empty record to Kong: nothing to change
        if not isinstance(value, Mapping):
            continue
        match field:
            case Group() if present is not None:
                given[name] = _merged(type(present), msgspec.to_builtins(present), value)
            case Anything() if present is not None:
                record = kind.record_of(name, {"name": getattr(entity, "name", None), **given})
                changes = value if record is None else expanded(record, value)
                given[name] = _merged(record, present, changes)
    whole, errors = shape.check_change(entity, given)
    return whole, _as_update(errors)


def _merged(
    record: type[Record] | None, before: Mapping[str, Any], values: Mapping[str, Any]
) -> dict[str, Any]:
    """The values of a record; records within are merged as well. `record` is None where nobody declares what
    is in it."""
    fields = shape_of(record).fields if record is not None else {}
    merged = dict(before)
    for name, value in values.items():
        field, present = fields.get(name), merged.get(name)
        if isinstance(field, Group) and isinstance(value, Mapping) and isinstance(present, Mapping):
            value = _merged(field.record, present, value)
        merged[name] = value
    return merged


def _as_update(errors: Any) -> Any:
    """Kong says of missing alternatives that this is about an update; the client may not have named them."""
    if isinstance(errors, str):
        return UPDATING + errors if errors.startswith(texts.at_least_one_of(())) else errors
    if isinstance(errors, list):
        return [_as_update(text) for text in errors]
    return {name: _as_update(below) for name, below in errors.items()}
