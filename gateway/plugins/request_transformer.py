"""request-transformer: what the upstream gets differs from what the client sent."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.entities.fields import Text
from gateway.entities.plugins import Plugin
from gateway.entities.record import Group, Record
from gateway.plugins import PluginDefinition
from native.steps.request_transformer import TransformArea, pack_config

from ._fields import ANY_PROTOCOL
from ._pairs import (
    CHANGES,
    header_names_problem,
    header_problem,
    header_value_problem,
    pairs,
    split_pair,
    words,
)
from ._template_programs import compile_template, template_problem
from ._templates import LONGEST, is_template

FORM_MOVES_FOR = frozenset(("GET", "HEAD", "TRACE"))
"""methods whose requests have no body: with them, a form also goes into the query"""

AREAS = (
    ("headers", TransformArea.AREA_HEADERS),
    ("querystring", TransformArea.AREA_QUERY),
    ("body", TransformArea.AREA_BODY),
)


def _value_problem(pair: str) -> str | None:
    """Arguments and body fields have a value, which may be a template."""
    name, value = split_pair(pair)
    return template_problem(value) if value else f"key '{name}' has no value"


def _header_problem(pair: str) -> str | None:
    return header_value_problem(pair) or template_problem(split_pair(pair)[1])


def _uri_problem(uri: str) -> str | None:
    """A template; its text begins with "/" as far as that is known before there is a request."""
    if len(uri) > LONGEST:
        return f"length must be at most {LONGEST}"
    if problem := template_problem(uri):
        return problem
    return None if uri.startswith(("/", "$(")) else "should start with: /"


VALUES_OF_BODY = pairs("Body fields, `name:value`.", _value_problem, match="")
VALUES_OF_HEADERS = pairs("Headers, `name:value`.", _header_problem)
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

    uri: Annotated[str | None, Text("The path that is asked for.", rule=_uri_problem)] = None


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


def pack(config: RequestTransformerConfig, plugin: Plugin) -> bytes:
    """Rules in the order in which they apply. Names are names; values and new names may be templates."""
    rules = [
        (area, change, *_packed_pair(pair))
        for area_name, area in AREAS
        for change_name, change in CHANGES
        for pair in getattr(getattr(config, change_name), area_name)
    ]
    return pack_config(
        method=config.http_method or "",
        path=compile_template(config.replace.uri) if config.replace.uri else b"",
        rules=rules,
        moves_form=config.http_method in FORM_MOVES_FOR,
    )


def changes_body(config: RequestTransformerConfig) -> bool:
    """Whether there are rules for bodies. (Forms move to the query natively.)"""
    return any(getattr(config, name).body for name, _ in CHANGES)


def _packed_pair(pair: str) -> tuple[str, bytes, bool]:
    name, value = split_pair(pair)
    if is_template(value):
        return name, compile_template(value), True
    return name, value.encode(), False


PLUGIN = PluginDefinition(
    "request-transformer",
    RequestTransformerConfig,
    priority=801,
    allowed_protocols=ANY_PROTOCOL,
    pack=pack,
    handler="gateway.plugins._transform_handler:RequestBodies",
    needs_handler=changes_body,
)
