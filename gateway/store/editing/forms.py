"""How an entity is written down in a declarative file: what is as it would be anyway is left out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from gateway.entities.fields import Array, Field, Map
from gateway.entities.record import Entity, Group, Record, Shape, shape_of, to_kong
from gateway.store.export import declarative_form

_NO_DEFAULT = object()
_LAST = ("tags", "created_at", "updated_at")


def sparse_form(entity: Entity) -> dict[str, Any]:
    """The fields that differ from their defaults; references as ids, name and id first. Loading it gives the
    same entity."""
    kind = type(entity)
    form = declarative_form(entity)
    for name in list(form):
        record = kind.record_of(name, form)
        if record is not None and isinstance(form[name], dict):
            form[name] = _sparse_config(record, form[name])
    form = _sparse(shape_of(kind), form)
    first = [name for name in (kind.endpoint_key, "id") if name in form]
    last = [name for name in _LAST if name in form]
    between = [name for name in form if name not in first and name not in last]
    return {name: form[name] for name in (*first, *between, *last) if name is not None}


def defaults_of(shape: Shape) -> Mapping[str, Any]:
    """The defaults of a record's fields as plain data."""
    return {name: msgspec.to_builtins(value) for name, value in shape.defaults.items()}


def _sparse_config(record: type[Record], config: dict[str, Any]) -> dict[str, Any]:
    """A plugin's configuration without defaults; as it is where it was not completed with them."""
    sparse = _sparse(shape_of(record), config)
    clean, errors = shape_of(record).check(sparse)
    return sparse if not errors and to_kong(record(**clean)) == config else config


def _sparse(shape: Shape, form: Mapping[str, Any]) -> dict[str, Any]:
    defaults = defaults_of(shape)
    return {
        name: _sparse_value(shape.fields.get(name), value)
        for name, value in form.items()
        if not _is(value, defaults.get(name, _NO_DEFAULT))
    }


def _sparse_value(field: Field | None, value: Any) -> Any:
    match field, value:
        case Group(), dict():
            return _sparse(shape_of(field.record), value)
        case Array(), list():
            return [_sparse_value(field.elements, element) for element in value]
        case Map(), dict():
            return {name: _sparse_value(field.values, element) for name, element in value.items()}
    return value


def _is(value: Any, default: Any) -> bool:
    return type(value) is type(default) and bool(value == default)
