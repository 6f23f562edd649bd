"""Kong's form of a schema, made of the declarations of fields: what `/schemas/…` show.

`{"fields": [{name: attributes}, …], "entity_checks": […]}`; the attributes have the names that the kinds of
`gateway.entities.fields` have. Rules that are functions have no form and are left out, as in Kong.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from gateway.entities.fields import Anything, Array, Field, Foreign, Integer, Map, Number, Set, Text
from gateway.entities.plugins import Plugin
from gateway.entities.record import Entity, Group, Record, RecordCheck, shape_of
from gateway.entities.record_checks import (
    AllOrNoneOf,
    AtLeastOneOf,
    Conditional,
    Distinct,
    OnlyOneOf,
    OnlyOneOrNoneOf,
)
from gateway.entities.vaults import BUILT_IN as VAULTS
from gateway.plugins import PluginDefinition

Attributes = dict[str, Any]

FLAGS = ("required", "unique", "auto", "referenceable", "uuid", "timestamp", "is_regex")
LISTS = ("one_of", "not_one_of", "between", "mutually_exclusive_subsets")
TEXTS = ("starts_with", "match")


def entity_schema(kind: type[Entity]) -> Attributes:
    """What `/schemas/{entity}` shows."""
    return {"fields": record_fields(kind), "entity_checks": shown_checks(kind.record_checks)}


def plugin_schema(definition: PluginDefinition) -> Attributes:
    """What `/schemas/plugins/{name}` shows: the fields in which the plugin differs from others."""
    general = shape_of(Plugin).foreign
    config = group_attributes(Group("", required=True, record=definition.config))
    config.pop("shorthand_fields", None)
    shown = {name: field for name, field in definition.config.shorthands.items() if field.removed_in}
    if shown:
        config["shorthand_fields"] = [
            {name: deprecated_attributes(definition.name, name, field)} for name, field in shown.items()
        ]
    fields: list[Attributes] = [{"config": config}]
    for name in ("route", "service", "consumer"):
        if name not in definition.scopes:
            reference = general[name].reference
            fields.append({name: {"type": Foreign.kind, "reference": reference, "eq": None}})
    options = list(definition.allowed_protocols or definition.protocols)
    elements = {"type": "string", "required": True, "one_of": options}
    default = list(definition.protocols)
    fields.append({"protocols": {"type": "set", "required": True, "elements": elements, "default": default}})
    return {"fields": fields, "entity_checks": shown_checks(definition.checks)}


def deprecated_attributes(plugin: str, name: str, field: Field) -> Attributes:
    """What the schema of a plugin shows of an old name of a field."""
    (path,) = field.stands_for
    return {
        "type": field.kind,
        "deprecation": {
            "message": f"{plugin}: config.{name} is deprecated, please use config.{path} instead",
            "removal_in_version": field.removed_in,
            "replaced_with": [{"path": path.split(".")}],
        },
    }


def plugin_config_schema(definition: PluginDefinition) -> Attributes:
    """What the older `/plugins/schema/{name}` shows: the configuration alone."""
    checks = shown_checks(definition.config.record_checks)
    return {"fields": record_fields(definition.config), "entity_checks": checks}


def vault_schema(name: str) -> Attributes:
    """What `/schemas/vaults/{name}` shows; KeyError for a vault that there is not."""
    config = group_attributes(Group("", required=True, record=VAULTS[name]))
    return {"fields": [{"config": config}], "entity_checks": []}


def record_fields(record: type[Record]) -> list[Attributes]:
    """The fields of a record, in the order of their declaration."""
    shape = shape_of(record)
    return [
        {name: field_attributes(field, shape.defaults.get(name))}
        for name, field in shape.fields.items()
        if not field.extension
    ]


def field_attributes(field: Field, default: object = None) -> Attributes:
    """A field's attributes as Kong names them; `default`: of the record that the field is in."""
    attributes: Attributes = {"type": field.kind, "description": field.doc}
    for name in FLAGS:
        # `required` may also be said to be false.
        if (value := getattr(field, name, None)) or (name == "required" and value is not None):
            attributes[name] = value
    # Kong looks up by what is unique, so it cannot encrypt that.
    if field.encrypted and not field.unique:
        attributes["encrypted"] = True
    for name in (*TEXTS, *LISTS):
        if value := getattr(field, name, None):
            attributes[name] = msgspec.to_builtins(value)
    attributes.update(kind_attributes(field))
    if isinstance(field, Group):
        if default is not None and field.declares_default:
            shown = without_nulls(msgspec.to_builtins(default))
            attributes["default"] = {name: shown[name] for name in shown if name not in field.default_without}
    elif default is not None:
        attributes["default"] = msgspec.to_builtins(default)
    elif field.null_default:
        attributes["default"] = None
    return attributes


def kind_attributes(field: Field) -> Attributes:
    """The attributes that only fields of this kind have."""
    match field:
        case Text():
            shown: Attributes = {"len_min": field.len_min} if field.len_min != 1 else {}
            if field.match_none:
                shown["match_none"] = [{"pattern": one, "err": err} for one, err in field.match_none]
            if field.match_any:
                shown["match_any"] = {"patterns": list(field.match_any), "err": field.match_any_text}
            return shown
        case Number() | Integer():
            return {"gt": field.gt} if field.gt is not None else {}
        case Set() | Array():
            shown = {"elements": {**field_attributes(field.elements), "required": True}}
            return {**shown, "len_min": field.len_min} if field.len_min else shown
        case Map():
            keys, values = field_attributes(field.keys), field_attributes(field.values)
            shown = {"keys": {**keys, "required": True}, "values": {**values, "required": True}}
            return {**shown, "len_min": field.len_min} if field.len_min else shown
        case Foreign():
            shown = {"reference": field.reference}
            return {**shown, "on_delete": "cascade"} if field.cascade else shown
        case Group():
            return group_attributes(field)
        case Anything():
            return {"abstract": True}
        case _:
            return {}


def group_attributes(group: Group) -> Attributes:
    """What a record in a record shows beside what every field shows."""
    shown: Attributes = {"type": group.kind, "fields": record_fields(group.record)}
    if group.required is not None:
        shown["required"] = group.required
    if group.record.shorthands:
        shown["shorthand_fields"] = [
            {name: field_attributes(field)} for name, field in group.record.shorthands.items()
        ]
    if checks := shown_checks(group.record.record_checks):
        shown["entity_checks"] = checks
    return shown


def shown_checks(checks: Iterable[RecordCheck]) -> list[Attributes]:
    """The rules over several fields that have a form in Kong's schemas."""
    shown: list[Attributes] = []
    for check in checks:
        match check:
            case AtLeastOneOf():
                shown.append({"at_least_one_of": list(check.fields)})
            case OnlyOneOf():
                shown.append({"only_one_of": list(check.fields)})
            case OnlyOneOrNoneOf():
                shown.append({"only_one_or_none_of": list(check.fields)})
            case AllOrNoneOf():
                shown.append({"mutually_required": list(check.fields)})
            case Distinct():
                shown.append({"distinct": list(check.fields)})
            case Conditional(extension=False):
                shown.append({"conditional": shown_condition(check)})
    return shown


def shown_condition(check: Conditional) -> Attributes:
    """A condition: what must hold of one field when something holds of another."""
    if check.if_equal is not None:
        condition: Attributes = {"eq": check.if_equal}
    elif check.if_greater_than is not None:
        condition = {"gt": check.if_greater_than}
    elif check.if_match:
        condition = {"match": check.if_match}
    elif check.if_one_of:
        condition = {"one_of": list(check.if_one_of)}
    else:
        condition = {"not_one_of": list(check.if_not_one_of)}
    consequence: Attributes = {}
    if check.then_null:
        consequence["eq"] = None
    if check.then_required:
        consequence["required"] = True
    if check.then_one_of:
        consequence["one_of"] = list(check.then_one_of)
    if check.then_contains:
        consequence["contains"] = check.then_contains
    return {
        "if_field": check.if_field,
        "if_match": condition,
        "then_field": check.then_field,
        "then_match": consequence,
    }


def without_nulls(value: Any) -> Any:
    """A default, in which what has no value is not mentioned."""
    if isinstance(value, Mapping):
        return {name: without_nulls(member) for name, member in value.items() if member is not None}
    return value
