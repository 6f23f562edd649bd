"""Other names of fields in the configuration of a plugin: `redis_host` for `redis.host`.

A record declares them among its `shorthands`, each standing for one field. They may be written instead of it
and are not stored; those that Kong has are shown beside it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import cache
from typing import Any

from gateway.entities.fields import Errors
from gateway.entities.record import Record

log = logging.getLogger(__name__)


def expanded(record: type[Record], values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a record's fields with those that its shorthands stand for, which are taken out.

    A shorthand that is wrong stays, for `shorthand_problems` to tell why.
    """
    found = dict(values)
    for name, field in record.shorthands.items():
        if name not in found or _problem(record, name, found) is not None:
            continue
        value = found.pop(name)
        if value is not None:
            _warn(record, name)
        *outer, last = field.stands_for[0].split(".")
        place = found
        for part in outer:
            inner = place.get(part)
            if not isinstance(inner, Mapping | None):
                break  # what is written there is no record, and its own check says so
            place[part] = dict(inner or {})
            place = place[part]
        else:
            if value is not None or last not in place:
                place[last] = value
    return found


def shorthand_problems(record: type[Record], values: Mapping[str, Any]) -> dict[Any, Errors]:
    """What is wrong with the shorthands that are left in expanded values."""
    problems = {name: _problem(record, name, values) for name in record.shorthands if name in values}
    return {name: problem for name, problem in problems.items() if problem is not None}


def with_shorthands(record: type[Record], form: Mapping[str, Any]) -> dict[str, Any]:
    """The form of a record with the shorthands that Kong shows."""
    shown = {
        name: _value_at(form, field.stands_for[0])
        for name, field in record.shorthands.items()
        if field.removed_in
    }
    return {**form, **shown}


@cache
def _warn(record: type[Record], name: str) -> None:
    """Once in the life of a process: a file may have thousands, and is read again and again."""
    plugin = record.__module__.rpartition(".")[2].replace("_", "-")
    path = record.shorthands[name].stands_for[0]
    log.warning("%s: config.%s is deprecated, please use config.%s instead", plugin, name, path)


def _problem(record: type[Record], name: str, values: Mapping[str, Any]) -> Errors | None:
    value, field = values[name], record.shorthands[name]
    if value is None:
        return None
    _, problem = field.check(value)
    if problem is not None:
        return problem
    (path,) = field.stands_for
    present = _value_at(values, path)
    if present is None or present == value:
        return None
    # Kong tells the values, too; one of the fields is a password.
    return f"both deprecated and new field are used but their values mismatch: {name} vs {path}"


def _value_at(values: Any, path: str) -> Any:
    """The value at a path such as `redis.host`, or None."""
    for part in path.split("."):
        values = values.get(part) if isinstance(values, Mapping) else None
    return values
