"""What is wrong with a declarative file: for people by line, for Admin clients in Kong's forms."""

from __future__ import annotations

import copy
import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import Errors
from gateway.entities.record import ENTITY, Entity, shape_of
from gateway.store.documents import DocumentPath

CODE = 14
NAME = "invalid declarative configuration"


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and where."""

    path: DocumentPath
    text: str
    line: int | None = None
    column: int | None = None
    hint: str = ""
    """For people only; Kong's texts stay as they are."""

    def describe(self, source: str) -> str:
        """`kong.yml:12: services[0].routes[1].paths[0]: should start with: …`"""
        place = source if self.line is None else f"{source}:{self.line}"
        if self.column is not None:
            place += f":{self.column}"
        parts = [place, show_path(self.path), self.text + self.hint]
        return ": ".join(part for part in parts if part)


@dataclass(frozen=True, slots=True)
class InvalidEntity:
    """An entity of the file with everything that is wrong with it, as `flattened_errors` shows it."""

    kind: type[Entity]
    values: Mapping[str, Any]
    """As they stand in the file, without what is nested inside."""
    errors: dict[Any, Errors]


@dataclass(slots=True)
class Findings:
    """Everything found wrong while a file was read."""

    problems: list[Problem] = field(default_factory=list)
    tree: dict[Any, Any] = field(default_factory=dict)
    """Kong's `fields`, arrays as dicts from index to element."""
    outside_entities: dict[Any, Any] = field(default_factory=dict)
    """The part of `tree` that `flattened_errors` has no entity for."""
    entities: list[InvalidEntity] = field(default_factory=list)
    left_out: int = 0
    """How many more problems there are, of which nothing else is known here."""


class DeclarativeError(Exception):
    """A declarative configuration that cannot be used; holds all that is wrong with it."""

    def __init__(self, source: str, findings: Findings) -> None:
        self.source = source
        self.problems = tuple(findings.problems)
        self.fields: dict[str, Any] = as_arrays(findings.tree)
        """Kong's `fields`: nested like the document, arrays with null where there is nothing wrong."""
        self._more = f"… and {findings.left_out:,} more" if findings.left_out else ""
        self.message = self._message_of(self.fields)
        self._outside_entities: dict[str, Any] = as_arrays(findings.outside_entities)
        self._entities = findings.entities
        super().__init__(self.message)

    def lines(self) -> list[str]:
        """Everything that is wrong, one a line, in the order of the file."""
        ordered = sorted(self.problems, key=lambda problem: problem.line or 0)
        return [problem.describe(self.source) for problem in ordered] + [self._more] * bool(self._more)

    def _message_of(self, fields: Mapping[str, Any]) -> str:
        return " ".join(filter(None, (message_of(fields), self._more)))

    def flattened(self) -> list[dict[str, Any]]:
        """Kong's `flattened_errors`: one item for each entity with errors."""
        return [item for entity in self._entities for item in _flattened(entity)]

    def answer(self, flatten: bool = False) -> dict[str, Any]:
        """The body of the Admin API's 400; `flatten`: with `flatten_errors=1`."""
        if not flatten:
            return {"code": CODE, "name": NAME, "message": self.message, "fields": self.fields}
        return {
            "code": CODE,
            "name": NAME,
            "message": self._message_of(self._outside_entities),
            "fields": self._outside_entities,
            # Kong (Lua) writes an empty list as an object.
            "flattened_errors": self.flattened() or {},
        }


def unreadable(source: str, places: list[tuple[int | None, int | None, str]]) -> DeclarativeError:
    """The error for a text that cannot be read at all; `places`: line and column (from 1 or None) and
    text."""
    findings = Findings()
    shown = []
    for line, column, text in places:
        findings.problems.append(Problem((), text, line, column))
        shown.append(text if line is None else f"{line}:{column}: {text}")
    findings.tree["error"] = "failed parsing declarative configuration: " + "; ".join(shown)
    findings.outside_entities = findings.tree
    return DeclarativeError(source, findings)


def flatten_errors(errors: Errors, path: DocumentPath) -> Iterator[tuple[DocumentPath, str]]:
    """Every text in nested errors with the path of what it is about."""
    if isinstance(errors, str):
        yield path, errors
    elif isinstance(errors, list):
        for text in errors:
            yield path, text
    else:
        for name, below in errors.items():
            yield from flatten_errors(below, path if name == ENTITY else (*path, name))


def first_errors(errors: Errors, count: int) -> Errors:
    """Nested errors with only the first `count` texts, at least 1."""
    if isinstance(errors, str):
        return errors
    if isinstance(errors, list):
        return errors[:count]
    first: dict[Any, Errors] = {}
    for name, below in errors.items():
        if count <= 0:
            break
        first[name] = first_errors(below, count)
        count -= sum(1 for _ in flatten_errors(first[name], ()))
    return first


def hint_for(name: str, known: Sequence[str]) -> str:
    """A guess at what was meant by an unknown field."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75)
    return f" (did you mean '{near[0]}'?)" if near else ""


def show_path(path: DocumentPath) -> str:
    """`services[0].routes[1].paths[0]`, indexes from 0 as in most tools that read YAML and JSON."""
    shown = ""
    for step in path:
        shown += f"[{step}]" if isinstance(step, int) else f".{step}" if shown else step
    return shown


def put(tree: dict[Any, Any], path: DocumentPath, errors: Any) -> None:
    """Add errors to a tree at a path. A text that meets other errors of an entity joins them as `@entity`."""
    for step in path[:-1]:
        below = tree.get(step)
        if not isinstance(below, dict):
            below = tree[step] = {} if below is None else {ENTITY: [below]}
        tree = below
    step = path[-1]
    present = tree.get(step)
    if present is None:
        tree[step] = copy.deepcopy(errors)
        return
    if not isinstance(present, dict):
        present = tree[step] = {ENTITY: present if isinstance(present, list) else [present]}
    if isinstance(errors, dict):
        for name, value in errors.items():
            put(present, (name,), value)
    else:
        present.setdefault(ENTITY, []).extend(errors if isinstance(errors, list) else [errors])


def as_arrays(tree: Any) -> Any:
    """A tree with every dict from index to element turned into a list, None where there is no element."""
    if not isinstance(tree, dict):
        return tree
    if tree and all(isinstance(key, int) for key in tree):
        return [as_arrays(tree.get(index)) for index in range(max(tree) + 1)]
    return {key: as_arrays(value) for key, value in tree.items()}


def message_of(fields: Mapping[str, Any]) -> str:
    """Kong's message: the fields as a Lua table."""
    return f"declarative config is invalid: {lua_table(fields)}"


def lua_table(value: Any) -> str:
    """A value as Kong prints it: `{a="x",b={[2]="y"}}`, keys sorted."""
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
    if isinstance(value, list):
        # Elements behind a gap are printed with their index (from 1).
        full = next((index for index, element in enumerate(value) if element is None), len(value))
        items = [lua_table(element) for element in value[:full]]
        items += [
            f"[{index + 1}]={lua_table(element)}"
            for index, element in enumerate(value)
            if index > full and element is not None
        ]
        return "{" + ",".join(items) + "}"
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_lua_key(key)}={lua_table(value[key])}" for key in sorted(value)) + "}"
    return "nil" if value is None else json.dumps(value)


def _lua_key(key: str) -> str:
    return key if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", key) else f"[{lua_table(key)}]"


def _flattened(invalid: InvalidEntity) -> Iterator[dict[str, Any]]:
    """The item of an entity, and items of their own for foreign keys that are written as objects."""
    errors: list[dict[str, str]] = []
    foreign = shape_of(invalid.kind).foreign
    for name, below in invalid.errors.items():
        if name == ENTITY:
            errors += [{"type": "entity", "message": text} for text in below]
        elif name in foreign and isinstance(below, dict):
            value = invalid.values.get(name)
            values = value if isinstance(value, Mapping) else {}
            yield _item(ENTITY_TYPES[foreign[name].reference], values, _field_errors(below, ()))
        else:
            errors += _field_errors(below, (name,))
    if errors:
        yield _item(invalid.kind, invalid.values, errors)


def _field_errors(errors: Errors, path: DocumentPath) -> list[dict[str, str]]:
    return [
        {
            "type": "field",
            "field": ".".join(str(step + 1) if isinstance(step, int) else step for step in where),
            "message": text,
        }
        for where, text in flatten_errors(errors, path)
    ]


def _item(kind: type[Entity], values: Mapping[str, Any], errors: list[dict[str, str]]) -> dict[str, Any]:
    item: dict[str, Any] = {"entity_type": kind.singular, "entity": dict(values), "errors": errors}
    for key, name in (("entity_id", "id"), ("entity_name", "name"), ("entity_tags", "tags")):
        if values.get(name) is not None:
            item[key] = values[name]
    return item
