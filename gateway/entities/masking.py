"""What must not be seen: the values of secret fields, in answers, audit log and logged paths."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import UUID, Array, Field, Map
from gateway.entities.record import Entity, Group, Record, shape_of
from gateway.plugins import AVAILABLE

MASK = "******"
"""what is shown instead of a secret"""


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
        in_map = name in _secret_maps(_records())
        return {
            inner: MASK if in_map and isinstance(member, str) else hide_member(inner, member)
            for inner, member in value.items()
        }
    return [MASK for _ in value] if isinstance(value, list) else MASK


def hide_in_path(path: str) -> str:
    """A decoded path as it may be logged: an API key or access token, which may stand there instead of the id
    of its entity, is masked, slashes in it too; ids stay."""
    segments = path.split("/")
    references = _named_by_secrets(tuple(ENTITY_TYPES.values()))
    for place, segment in enumerate(segments):
        fields = references.get(segment.lower())
        following = [one for one in segments[place + 1 :] if one]
        if fields is None or not following:
            continue
        if UUID.fullmatch(following[0]):
            return path
        end = following[-1:] if len(following) > 1 and following[-1] in fields else []
        return "/".join([*segments[: place + 1], MASK, *end])
    return path


@cache
def _named_by_secrets(kinds: tuple[type[Entity], ...]) -> Mapping[str, frozenset[str]]:
    """The parts of paths that are followed by an id or a secret -> what may follow on that: the fields with
    references to other entities."""
    found = {}
    for kind in kinds:
        shape = shape_of(kind)
        if kind.endpoint_key and _is_secret(shape.fields[kind.endpoint_key]):
            for name in (kind.type_name, kind.admin_paths.collection, kind.admin_paths.nested):
                if name:
                    found[name] = frozenset(shape.foreign)
    return found


def secret_names() -> frozenset[str]:
    """The names of all secret fields of entities and of the plugins that are available."""
    return _names_of(_records())


def _records() -> tuple[type[Record], ...]:
    return (*ENTITY_TYPES.values(), *(plugin.config for plugin in AVAILABLE.values()))


@cache
def _names_of(records: tuple[type[Record], ...]) -> frozenset[str]:
    return frozenset(name for record in records for name, _ in _secrets_of(record))


@cache
def _secret_maps(records: tuple[type[Record], ...]) -> frozenset[str]:
    """The names of maps whose values are secrets, whatever their own names are."""
    return frozenset(
        name for record in records for name, field in _secrets_of(record) if isinstance(field, Map)
    )


def _secrets_of(record: type[Record]) -> Iterator[tuple[str, Field]]:
    for name, field in {**shape_of(record).fields, **record.shorthands}.items():
        if _is_secret(field):
            yield name, field
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
