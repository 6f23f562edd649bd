"""Entities on a terminal, in a pipe, as JSON and as YAML."""

import json
import sys
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from gateway.entities.fields import Field
from gateway.entities.record import Entity, shape_of

Document = Mapping[str, Any]
Names = Mapping[tuple[str, str], str]
"""what to show for a reference, by type and id"""
LAST = ("tags", "id")
"""columns that stand at the end"""
NEVER = ("created_at", "updated_at")


class Form(StrEnum):
    """How entities are printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def form_of(as_json: bool, as_yaml: bool) -> Form:
    """The form that a command's options ask for."""
    return Form.JSON if as_json else Form.YAML if as_yaml else Form.TABLE


def print_document(document: Any, form: Form) -> None:
    """Print data as JSON or YAML."""
    if form is Form.YAML:
        print(as_yaml(document), end="")
    else:
        print(json.dumps(document, indent=2, ensure_ascii=False))


def as_yaml(document: Any) -> str:
    """Data as YAML, in the order it has."""
    import yaml

    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=2**20)


def print_table(kind: type[Entity], documents: Sequence[Document], names: Names) -> None:
    """Print a row for each entity. `names`: what to show for a reference, by type and id."""
    columns = columns_for(kind, documents)
    rows = [[cell(kind, name, document.get(name), names) for name in columns] for document in documents]
    if not sys.stdout.isatty():
        print_plain([columns, *rows])
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*columns, box=box.SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for column in table.columns:
        column.overflow = "fold"
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def print_fields(kind: type[Entity], document: Document, names: Names) -> None:
    """Print one entity, a line for each field."""
    rows = [
        [name, "-" if value is None else cell(kind, name, value, names)] for name, value in document.items()
    ]
    if not sys.stdout.isatty():
        print_plain(rows)
        return
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row))
    Console().print(table)


def print_plain(rows: Sequence[Sequence[str]]) -> None:
    """Print columns for a pipe: a line for each row, however long."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())


def columns_for(kind: type[Entity], documents: Sequence[Document]) -> list[str]:
    """The fields that are worth a column: what identifies an entity, what it belongs to, and what differs
    from its default somewhere."""
    shape = shape_of(kind)
    key = [kind.endpoint_key] if kind.endpoint_key else []
    used = [name for name in shape.foreign if any(document.get(name) for document in documents)]
    first = [*key, *used]
    telling = [
        name
        for name in shape.fields
        if name not in (*first, *shape.foreign, *LAST, *NEVER)
        and (name in shape.mandatory or any(is_telling(shape.defaults, name, one) for one in documents))
    ]
    return [*first, *telling, *LAST]


def is_telling(defaults: Mapping[str, Any], name: str, document: Document) -> bool:
    """Whether an entity has a field that is not what every one has."""
    return document.get(name) not in (None, [], {}, defaults.get(name))


def cell(kind: type[Entity], name: str, value: Any, names: Names) -> str:
    """A value on one line; secrets are not shown."""
    field = shape_of(kind).fields.get(name)
    foreign = shape_of(kind).foreign.get(name)
    if value is None:
        return ""
    if field is not None and field.encrypted:
        return "(hidden)"
    if foreign is not None:
        return names.get((foreign.reference, value["id"]), value["id"])
    return flat(value, field)


def flat(value: Any, field: Field | None = None) -> str:
    """Data on one line."""
    from gateway.entities.masking import hide_secrets

    if isinstance(value, str):
        first, newline, _ = value.partition("\n")
        return f"{first}…" if newline else value
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ", ".join(map(str, value))
    if isinstance(value, dict | list):
        return json.dumps(hide_secrets(value), ensure_ascii=False)
    return json.dumps(value)
