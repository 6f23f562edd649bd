"""response-transformer: what the client gets differs from what the upstream sent."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.entities.fields import Array, Text
from gateway.entities.plugins import Plugin
from gateway.entities.record import Group, Record
from gateway.plugins import PluginDefinition
from native.steps.response_transformer import pack_config

from ._pairs import (
    CHANGES,
    header_names_problem,
    header_problem,
    header_value_problem,
    pairs,
    split_pair,
    words,
)


class Names(Record, frozen=True, kw_only=True):
    """What is removed."""

    json: Annotated[list[str], words("Members of a JSON object.")] = msgspec.field(default_factory=list)
    headers: Annotated[list[str], words("Headers.", header_problem)] = msgspec.field(default_factory=list)


class NewNames(Record, frozen=True, kw_only=True):
    """What gets another name."""

    json: Annotated[list[str], pairs("Members of a JSON object, `old:new`.")] = msgspec.field(
        default_factory=list
    )
    headers: Annotated[list[str], pairs("Headers, `old:new`.", header_names_problem)] = msgspec.field(
        default_factory=list
    )


class Values(Record, frozen=True, kw_only=True):
    """What is added, replaced or appended."""

    json: Annotated[list[str], pairs("Members of a JSON object, `name:value`.")] = msgspec.field(
        default_factory=list
    )
    json_types: Annotated[
        list[str],
        Array(
            "The types of the values of `json`, in the same order; a text where there is none.",
            required=True,
            elements=Text("A type.", one_of=("boolean", "number", "string")),
        ),
    ] = msgspec.field(default_factory=list)
    headers: Annotated[list[str], pairs("Headers, `name:value`.", header_value_problem)] = msgspec.field(
        default_factory=list
    )


class ResponseTransformerConfig(Record, frozen=True, kw_only=True):
    """What is changed, in this order: remove, rename, replace, add, append."""

    remove: Annotated[Names, Group("What is removed.", required=True, record=Names)] = msgspec.field(
        default_factory=Names
    )
    rename: Annotated[NewNames, Group("What gets another name.", required=True, record=NewNames)] = (
        msgspec.field(default_factory=NewNames)
    )
    replace: Annotated[
        Values, Group("What gets another value, where it is there.", required=True, record=Values)
    ] = msgspec.field(default_factory=Values)
    add: Annotated[Values, Group("What is added where it is not there.", required=True, record=Values)] = (
        msgspec.field(default_factory=Values)
    )
    append: Annotated[Values, Group("What is added to what is there.", required=True, record=Values)] = (
        msgspec.field(default_factory=Values)
    )


def pack(config: ResponseTransformerConfig, plugin: Plugin) -> bytes:
    """Rules for headers, in the order in which they apply; JSON is what the handler is for."""
    changes = [(change, getattr(config, name)) for name, change in CHANGES]
    return pack_config(
        rules=[(change, *split_pair(pair)) for change, what in changes for pair in what.headers],
        changes_body=changes_body(config),
    )


def changes_body(config: ResponseTransformerConfig) -> bool:
    """Whether there are rules for JSON."""
    return any(getattr(config, name).json for name, _ in CHANGES)


PLUGIN = PluginDefinition(
    "response-transformer",
    ResponseTransformerConfig,
    priority=800,
    pack=pack,
    handler="gateway.plugins._transform_handler:ResponseBodies",
    needs_handler=changes_body,
)
