"""request-transformer: what the upstream gets differs from what the client sent."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.entities.fields import Text
from gateway.entities.record import Group, Record
from gateway.plugins import PluginDefinition

from ._fields import ANY_PROTOCOL
from ._pairs import header_names_problem, header_problem, pairs, words


def _value_problem(pair: str) -> str | None:
    """Arguments and body fields have a value."""
    name, _, value = pair.partition(":")
    return None if value.lstrip(":") else f"key '{name}' has no value"


VALUES_OF_BODY = pairs("Body fields, `name:value`.", _value_problem, match="")
VALUES_OF_HEADERS = pairs("Headers, `name:value`.", header_problem)
VALUES_OF_QUERY = pairs("Query arguments, `name:value`.", _value_problem, match="")


class Names(Record, frozen=True, kw_only=True):
    """What is removed."""

    body: Annotated[list[str], words("Body fields.")] = msgspec.field(default_factory=list)
    headers: Annotated[list[str], words("Headers.", header_problem)] = msgspec.field(default_factory=list)
    querystring: Annotated[list[str], words("Query arguments.")] = msgspec.field(default_factory=list)


class NewNames(Record, frozen=True, kw_only=True):
    """What gets another name."""

    body: Annotated[list[str], pairs("Body fields, `old:new`.", _value_problem, match="")] = msgspec.field(
        default_factory=list
    )
    headers: Annotated[list[str], pairs("Headers, `old:new`.", header_names_problem)] = msgspec.field(
        default_factory=list
    )
    querystring: Annotated[list[str], pairs("Query arguments, `old:new`.", _value_problem, match="")] = (
        msgspec.field(default_factory=list)
    )


class Values(Record, frozen=True, kw_only=True):
    """What is added. Values may be templates."""

    body: Annotated[list[str], VALUES_OF_BODY] = msgspec.field(default_factory=list)
    headers: Annotated[list[str], VALUES_OF_HEADERS] = msgspec.field(default_factory=list)
    querystring: Annotated[list[str], VALUES_OF_QUERY] = msgspec.field(default_factory=list)


class Replacements(Values, frozen=True, kw_only=True):
    """What gets another value, where it is there."""

    uri: Annotated[str | None, Text("The path that is asked for.")] = None


class RequestTransformerConfig(Record, frozen=True, kw_only=True):
    """What is changed, in this order: remove, rename, replace, add, append."""

    http_method: Annotated[str | None, Text("The method that is used.", match="^%u+$")] = None
    remove: Annotated[Names, Group("What is removed.", required=True, record=Names)] = msgspec.field(
        default_factory=Names
    )
    rename: Annotated[NewNames, Group("What gets another name.", required=True, record=NewNames)] = (
        msgspec.field(default_factory=NewNames)
    )
    replace: Annotated[
        Replacements, Group("What gets another value.", required=True, record=Replacements)
    ] = msgspec.field(default_factory=Replacements)
    add: Annotated[Values, Group("What is added where it is not there.", required=True, record=Values)] = (
        msgspec.field(default_factory=Values)
    )
    append: Annotated[Values, Group("What is added to what is there.", required=True, record=Values)] = (
        msgspec.field(default_factory=Values)
    )


PLUGIN = PluginDefinition(
    "request-transformer", RequestTransformerConfig, priority=801, allowed_protocols=ANY_PROTOCOL
)
