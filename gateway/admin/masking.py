"""What must not be seen: the values of secret fields, in answers, audit log and logged paths."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import UUID, Array, Field, Map
from gateway.entities.record import Group, Record, shape_of
from gateway.plugins import AVAILABLE

MASK = "******"
"""what is shown instead of a secret"""

_KEYS_IN_PATHS = re.compile(r"(/key-auths?/)([^/]+)")
"""API keys may stand in a path instead of the id of their credential"""


def hide_secrets(value: Any) -> Any:
    """JSON data without the values of members that have the name of a secret field anywhere.

    Names decide, whatever the type of the entity: one too many is hidden rather than one too few.
    """
    if isinstance(value, Mapping):
        return {name: hide_member(name, member) for name, member in value.items()}
    if isinstance(value, list):
        return [hide_secrets(item) for item in value]
    return value


def hide_member(name: str, value: Any) -> Any:
    """The value of one member, see hide_secrets(). Schemas describe fields by objects: those stay."""
    if name not in secret_names() or value is None or isinstance(value, bool):
        return hide_secrets(value)
    if isinstance(value, Mapping):
        return hide_secrets(value)
    return [MASK for _ in value] if isinstance(value, list) else MASK


def hide_in_path(path: str) -> str:
    """A path as it may be logged: an API key in it is masked, ids stay."""
    return _KEYS_IN_PATHS.sub(lambda found: found[0] if UUID.fullmatch(found[2]) else found[1] + MASK, path)


def secret_names() -> frozenset[str]:
    """The names of all secret fields of entities and of the plugins that are available."""
    return _names_of((*ENTITY_TYPES.values(), *(plugin.config for plugin in AVAILABLE.values())))


@cache
def _names_of(records: tuple[type[Record], ...]) -> frozenset[str]:
    return frozenset(name for record in records for name in _secrets_of(record))


def _secrets_of(record: type[Record]) -> Iterator[str]:
    for name, field in shape_of(record).fields.items():
        if _is_secret(field):
            yield name
        for inner in _records_in(field):
            yield from _secrets_of(inner)


def _is_secret(field: Field) -> bool:
    if field.encrypted:
        return True
    if isinstance(field, Array):
        return _is_secret(field.elements)
    return isinstance(field, Map) and _is_secret(field.values)


def _records_in(field: Field) -> Iterator[type[Record]]:
    if isinstance(field, Group):
        yield field.record
    elif isinstance(field, Array):
        yield from _records_in(field.elements)
    elif isinstance(field, Map):
        yield from _records_in(field.values)
