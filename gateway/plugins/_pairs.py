"""`name:value` texts of the transformers."""

from __future__ import annotations

from gateway.entities.fields import Array, Field, Text, ValueCheck
from gateway.entities.value_checks import control_character_problem, header_name_problem
from native.header_changes import Change

PAIR = "^[^:]+:.*$"
CHANGES = (
    ("remove", Change.CHANGE_REMOVE),
    ("rename", Change.CHANGE_RENAME),
    ("replace", Change.CHANGE_REPLACE),
    ("add", Change.CHANGE_ADD),
    ("append", Change.CHANGE_APPEND),
)
"""what is done with headers, arguments and fields of bodies, in this order"""


def split_pair(pair: str) -> tuple[str, str]:
    """Name and value; further colons at the beginning of the value do not belong to it, as in Kong."""
    name, _, value = pair.partition(":")
    return name, value.lstrip(":")


def header_problem(pair: str) -> str | None:
    """The name of a header, or `name:value`: the name is one."""
    name = pair.partition(":")[0]
    return None if header_name_problem(name) is None else f"'{name}' is not a valid header"


def header_names_problem(pair: str) -> str | None:
    """`old:new`: both are names of headers."""
    if problem := header_problem(pair):
        return problem
    new = split_pair(pair)[1]
    return None if header_name_problem(new) is None else f"'{new}' is not a valid header"


def header_value_problem(pair: str) -> str | None:
    """`name:value` of a header: the name is one, and the value has nothing in it that ends a line."""
    if problem := header_problem(pair):
        return problem
    value = split_pair(pair)[1]
    return None if control_character_problem(value) is None else f"'{value}' is not a valid header"


def words(doc: str, rule: ValueCheck | None = None) -> Field:
    """An array of names."""
    return Array(doc, required=True, elements=Text("A name.", rule=rule))


def pairs(doc: str, rule: ValueCheck | None = None, *, match: str = PAIR) -> Field:
    """An array of `name:value`."""
    return Array(doc, required=True, elements=Text("name:value", match=match, rule=rule))
