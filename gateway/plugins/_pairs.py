"""`name:value` texts of the transformers."""

from __future__ import annotations

from gateway.entities.fields import Array, Field, Text, ValueCheck
from gateway.entities.value_checks import header_name_problem

PAIR = "^[^:]+:.*$"


def header_problem(pair: str) -> str | None:
    """The name of a header, or `name:value`: the name is one."""
    name = pair.partition(":")[0]
    return None if header_name_problem(name) is None else f"'{name}' is not a valid header"


def header_names_problem(pair: str) -> str | None:
    """`old:new`: both are names of headers."""
    if problem := header_problem(pair):
        return problem
    new = pair.partition(":")[2].lstrip(":")
    return None if header_name_problem(new) is None else f"'{new}' is not a valid header"


def words(doc: str, rule: ValueCheck | None = None) -> Field:
    """An array of names."""
    return Array(doc, required=True, elements=Text("A name.", rule=rule))


def pairs(doc: str, rule: ValueCheck | None = None, *, match: str = PAIR) -> Field:
    """An array of `name:value`."""
    return Array(doc, required=True, elements=Text("name:value", match=match, rule=rule))
