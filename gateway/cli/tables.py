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
WIDTH_OF_A_PIPE = 10_000
"""characters; what reads from a pipe gets whole lines"""


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
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    on_terminal = sys.stdout.isatty()
    console = Console() if on_terminal else Console(width=WIDTH_OF_A_PIPE, no_color=True, highlight=False)
    table = Table(box=box.SIMPLE_HEAD if on_terminal else None, header_style="bold", pad_edge=False)
    columns = columns_for(kind, documents)
    for name in columns:
        table.add_column(name, overflow="fold")
    for document in documents:
        cells = [cell(kind, name, document.get(name), names) for name in columns]
        table.add_row(*(Text(text) for text in cells))
    console.print(table)


def print_fields(kind: type[Entity], document: Document, names: Names) -> None:
    """Print one entity, a line for each field."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    on_terminal = sys.stdout.isatty()
    console = Console() if on_terminal else Console(width=WIDTH_OF_A_PIPE, no_color=True, highlight=False)
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in document.items():
        shown = cell(kind, name, value, names) if value is not None else "-"
        table.add_row(Text(name), Text(shown))
    console.print(table)


def columns_for(kind: type[Entity], documents: Sequence[Document]) -> list[str]:
    """The fields that are worth a column: what identifies an entity, what it belongs to, and what differs
    from its default somewhere."""
    shape = shape_of(kind)
    first = [name for name in (kind.endpoint_key, *shape.foreign) if name is not None]
    telling = [
        name
        for name in shape.fields
        if name not in (*first, *LAST, *NEVER)
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
    from gateway.admin.masking import hide_secrets

    if isinstance(value, str):
        first, newline, _ = value.partition("\n")
        return f"{first}…" if newline else value
    if isinstance(value, list) and all(isinstance(item, str | int) for item in value):
        return ", ".join(map(str, value))
    if isinstance(value, dict | list):
        return json.dumps(hide_secrets(value), ensure_ascii=False)
    return json.dumps(value)
