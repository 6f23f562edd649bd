"""JSON Schemas (2020-12) of entities, made of the declarations of their fields.

Every type of entity has three: what is shown, what makes a new one (POST, and PUT, which replaces), and what
changes one (PATCH). A schema is sometimes wider than the rules, since those that are functions cannot be said
in one. It is narrower in that it does not tell that to Kong an empty object is an empty array and the other
way round.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Collection, Mapping
from typing import Any

import msgspec

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import (
    UUID,
    Anything,
    Array,
    Boolean,
    Field,
    Foreign,
    Integer,
    Map,
    Number,
    Set,
    Text,
)
from gateway.entities.lua_patterns import regex_of
from gateway.entities.plugins import Plugin
from gateway.entities.record import Entity, Group, Record, shape_of
from gateway.entities.record_checks import AtLeastOneOf
from gateway.entities.vaults import BUILT_IN as VAULTS
from gateway.entities.vaults import Vault
from gateway.plugins import AVAILABLE

from .kong_schemas import without_nulls

JsonSchema = dict[str, Any]

ID: JsonSchema = {"type": "string", "format": "uuid", "pattern": f"^{UUID.pattern}$"}
LARGEST_NUMBER = 2**53


class Use(enum.Enum):
    """What a schema is for."""

    SHOWN = "shown"
    NEW = "new"
    CHANGE = "change"


def component_name(kind: type[Entity], use: Use) -> str:
    """The name under which the document has a schema: "service", "service_new", "service_change"."""
    return kind.singular if use is Use.SHOWN else f"{kind.singular}_{use.value}"


def entity_json_schemas() -> dict[str, JsonSchema]:
    """The schemas of all types, by the names of their components."""
    return {
        component_name(kind, use): entity_json_schema(kind, use)
        for kind in ENTITY_TYPES.values()
        for use in Use
    }


def entity_json_schema(kind: type[Entity], use: Use) -> JsonSchema:
    """The schema of a type of entity."""
    schema = {"description": documentation(kind), **record_json_schema(kind, use)}
    conditions = variants_of(kind, use)
    return {**schema, "allOf": conditions} if conditions else schema


def record_json_schema(record: type[Record], use: Use) -> JsonSchema:
    """The schema of a record: its fields, and no others."""
    shape = shape_of(record)
    properties: dict[str, JsonSchema] = {}
    for name, field in shape.fields.items():
        schema = field_json_schema(field, use)
        mandatory = name in shape.mandatory
        if takes_null(field, mandatory, use):
            schema = or_null(schema)
        if use is not Use.SHOWN and shape.defaults.get(name) is not None:
            schema = {**schema, "default": without_nulls(msgspec.to_builtins(shape.defaults[name]))}
        properties[name] = {"description": field.doc, **schema}
    for name, field in record.shorthands.items():
        properties[name] = shorthand_json_schema(field, use)
    if use is Use.CHANGE and issubclass(record, Entity):
        properties["id"] = {"description": "Not looked at: an entity keeps its id."}
    properties = {name: schema for name, schema in properties.items() if schema}
    found: JsonSchema = {"type": "object", "properties": properties, "additionalProperties": False}
    if use is Use.SHOWN:
        required = [name for name, field in shape.fields.items() if not field.extension]
    elif use is Use.NEW and not issubclass(record, Entity):
        required = list(shape.mandatory)
    else:
        required = []  # see new_entity_body
    return {**found, "required": required} if required else found


def takes_null(field: Field, mandatory: bool, use: Use) -> bool:
    """Whether null may stand for a field's value: in what is sent, where a default takes its place, too."""
    if use is Use.SHOWN:
        return not (field.required or field.auto)
    return not (field.required and mandatory)


def shorthand_json_schema(field: Field, use: Use) -> JsonSchema:
    """A shorthand can be written; what stands for fields is shown only where it is an old name that Kong
    shows."""
    is_hidden = bool(field.stands_for) and not field.removed_in
    if use is Use.SHOWN and is_hidden:
        return {}
    schema: JsonSchema = {"description": field.doc, **or_null(field_json_schema(field, use))}
    if is_hidden:
        schema["writeOnly"] = True
    return {**schema, "deprecated": True} if field.removed_in else schema


def new_entity_body(kind: type[Entity], given: Collection[str] = ()) -> JsonSchema:
    """The schema of a body that makes an entity, with what must be there; `given`: fields that the path gives
    values to."""
    conditions: list[JsonSchema] = []
    mandatory = [name for name in shape_of(kind).mandatory if name not in given]
    standing = [
        name
        for name, field in kind.shorthands.items()
        if field.stands_for and set(mandatory) <= set(field.stands_for)
    ]
    if standing and mandatory:
        conditions.append({"anyOf": [{"required": names} for names in (mandatory, *([n] for n in standing))]})
    elif mandatory:
        conditions.append({"required": mandatory})
    for check in kind.record_checks:
        if isinstance(check, AtLeastOneOf) and not set(check.fields) & set(given):
            conditions.append({"anyOf": [with_value(name) for name in check.fields]})
    reference = {"$ref": f"#/components/schemas/{component_name(kind, Use.NEW)}"}
    return {"allOf": [reference, *conditions]} if conditions else reference


def with_value(name: str) -> JsonSchema:
    """That a field has a value."""
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def variants_of(kind: type[Entity], use: Use) -> list[JsonSchema]:
    """What the configuration of a plugin or vault looks like, given its name."""
    if use is Use.CHANGE:
        return []  # the name need not be said
    configurations: Mapping[str, type[Record]] = {}
    if kind is Plugin:
        configurations = {name: definition.config for name, definition in AVAILABLE.items()}
    elif kind is Vault:
        configurations = VAULTS
    return [
        {
            "if": {"required": ["name"], "properties": {"name": {"const": name}}},
            "then": {"properties": {"config": optional(record_json_schema(record, use), use)}},
        }
        for name, record in configurations.items()
    ]


def optional(schema: JsonSchema, use: Use) -> JsonSchema:
    """A record that need not be sent, but is always shown."""
    return schema if use is Use.SHOWN else or_null(schema)


def field_json_schema(field: Field, use: Use) -> JsonSchema:
    """The schema of a field's values that are not null."""
    match field:
        case Text():
            return text_json_schema(field)
        case Integer() | Number():
            return number_json_schema(field)
        case Boolean():
            return {"type": "boolean"}
        case Array():
            schema: JsonSchema = {"type": "array", "items": field_json_schema(field.elements, use)}
            if field.len_min:
                schema["minItems"] = field.len_min
            if isinstance(field, Set) and use is Use.SHOWN:
                schema["uniqueItems"] = True
            return schema
        case Map():
            names, values = field_json_schema(field.keys, use), field_json_schema(field.values, use)
            schema = {"type": "object", "propertyNames": names, "additionalProperties": values}
            return {**schema, "minProperties": field.len_min} if field.len_min else schema
        case Foreign():
            return foreign_json_schema(field, use)
        case Group():
            return record_json_schema(field.record, use)
        case Anything():
            return {"type": "object"}
        case _:
            raise TypeError(f"no JSON Schema for fields of the kind {type(field).__name__}")


def text_json_schema(field: Text) -> JsonSchema:
    """A string."""
    if field.uuid:
        return dict(ID)
    schema: JsonSchema = {"type": "string"}
    if field.one_of:
        return {**schema, "enum": [*field.one_of, *field.extension_values]}
    if field.not_one_of:
        schema["not"] = {"enum": list(field.not_one_of)}
    if field.len_min:
        schema["minLength"] = field.len_min
    if field.referenceable:
        return schema
    patterns = []
    if field.starts_with:
        patterns.append(f"^{re.escape(field.starts_with)}")
    if field.match:
        patterns.append(regex_of(field.match))
    if (pattern := getattr(field.rule, "pattern", None)) is not None:
        patterns.append(f"^(?:{pattern})$")
    further: list[JsonSchema] = [{"pattern": pattern} for pattern in patterns]
    further += [{"not": {"pattern": regex_of(pattern)}} for pattern, _ in field.match_none]
    if len(further) == 1:
        return {**schema, **further[0]} if "not" not in schema else {**schema, "allOf": further}
    return {**schema, "allOf": further} if further else schema


def number_json_schema(field: Integer | Number) -> JsonSchema:
    """A number in its range."""
    schema: JsonSchema = {"type": field.kind}
    if field.one_of:
        return {**schema, "enum": list(field.one_of)}
    low, high = field.between or (-LARGEST_NUMBER, LARGEST_NUMBER)
    if field.timestamp:
        return {**schema, "exclusiveMinimum": 0, "maximum": high}
    if field.gt is not None:
        return {**schema, "exclusiveMinimum": field.gt, "maximum": high}
    return {**schema, "minimum": low, "maximum": high}


def foreign_json_schema(field: Foreign, use: Use) -> JsonSchema:
    """A reference: shown with the id, sent with the id or another unique field."""
    if use is Use.SHOWN:
        members: JsonSchema = {"id": dict(ID)}
        return {"type": "object", "properties": members, "required": ["id"], "additionalProperties": False}
    shape = shape_of(ENTITY_TYPES[field.reference])
    members = {name: field_json_schema(shape.fields[name], use) for name in ("id", *shape.unique)}
    return {"type": "object", "properties": members, "anyOf": [{"required": [name]} for name in members]}


def or_null(schema: JsonSchema) -> JsonSchema:
    """The same, or null."""
    if "type" not in schema or "allOf" in schema:
        return {"anyOf": [schema, {"type": "null"}]}
    nullable = {**schema, "type": [schema["type"], "null"]}
    return {**nullable, "enum": [*schema["enum"], None]} if "enum" in schema else nullable


def documentation(record: type[Record]) -> str:
    """What a type is, in a line."""
    return (record.__doc__ or record.__name__).strip().partition("\n")[0]
