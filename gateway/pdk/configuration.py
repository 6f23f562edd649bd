"""From a plugin's `Config` to what the Admin API, files and schemas know of it.

The fields of the struct become fields of a record (gateway.entities.record), with rules from its types and
`msgspec.Meta`; who wants more annotates a field with one of the kinds of gateway.entities.fields. What these
rules do not cover (`__post_init__`, unusual types) is found by msgspec itself when a configuration is
checked.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import msgspec
from msgspec import inspect as types

from gateway.entities.fields import Array, Boolean, Errors, Field, Integer, Map, Number, Set, Text
from gateway.entities.record import Group, Record
from gateway.entities.record_checks import add_entity_error

PLACE = re.compile(r" - at `\$(?P<path>[^`]*)`$")
"""Where msgspec says that a problem is."""
STEP = re.compile(r"\.(?P<name>[^.\[\]]+)|\[(?P<index>[0-9]+|\.\.\.)\]")


class AnyValue(Field):
    """Whatever JSON can say; msgspec checks it."""

    kind = "any"

    def check(self, value: Any) -> tuple[Any, Errors | None]:
        return value, None


class StructCheck:
    """A configuration is one that the plugin's own struct accepts."""

    def __init__(self, config: type[msgspec.Struct]) -> None:
        self._config = config

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if errors:
            return
        try:
            msgspec.convert(msgspec.to_builtins(values), self._config)
        except msgspec.ValidationError as error:
            add_problem(errors, str(error))


def add_problem(errors: dict[Any, Errors], text: str) -> None:
    """Put what msgspec says in the place that it names."""
    found = PLACE.search(text)
    names = [step["name"] for step in STEP.finditer(found["path"])] if found else []
    text = PLACE.sub("", text)
    if not names or names[0] is None:
        add_entity_error(errors, text)
        return
    place = errors
    for name in names[:-1]:
        if name is None:
            break
        inner = place.setdefault(name, {})
        assert isinstance(inner, dict)
        place = inner
    if names[-1] is not None:
        place[names[-1]] = text
    else:  # an element of an array
        add_entity_error(errors, text)


def record_of(config: type[msgspec.Struct], *, outermost: bool = True) -> type[Record]:
    """The record type that stands for a plugin's `Config`. Raises TypeError for a field that cannot be
    written in JSON."""
    described = types.type_info(config)
    assert isinstance(described, types.StructType)
    hints = get_type_hints(config, include_extras=True)
    fields: list[tuple[str, Any, Any]] = []
    for member in described.fields:
        field = declared_field(hints[member.name]) or field_of(member)
        if isinstance(field, Text) and field.one_of:  # msgspec has them in the order of the alphabet
            field = replace(field, one_of=literal_values(hints[member.name]) or field.one_of)
        default = default_of(member, field)
        annotation = Annotated[Any, field]
        fields.append((member.encode_name, annotation, default))
    namespace: dict[str, Any] = {"__doc__": config.__doc__ or ""}
    if outermost:
        namespace["record_checks"] = (StructCheck(config),)
    made = msgspec.defstruct(
        config.__name__,
        fields,
        bases=(Record,),
        namespace=namespace,
        module=config.__module__,
        frozen=True,
        kw_only=True,
    )
    assert issubclass(made, Record)
    return made


def declared_field(annotation: Any) -> Field | None:
    """The kind that the author has given a field."""
    metadata = getattr(annotation, "__metadata__", ())
    return next((extra for extra in metadata if isinstance(extra, Field)), None)


def literal_values(annotation: Any) -> tuple[Any, ...]:
    """The values of the Literal in an annotation, in their order."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    return next(filter(None, map(literal_values, get_args(annotation))), ())


def default_of(member: types.Field, field: Field) -> Any:
    """What stands for a field that is not given, in the form that JSON has; msgspec.NODEFAULT: nothing."""
    if member.required:
        return msgspec.NODEFAULT
    made = member.default if member.default is not msgspec.NODEFAULT else member.default_factory()
    plain = msgspec.json.decode(msgspec.json.encode(made))
    if plain is None:
        return None
    clean, problem = field.check(plain)
    if problem is not None:
        raise TypeError(f"the default of {member.name}: {problem}")
    return msgspec.field(default_factory=_copier(clean)) if isinstance(clean, list | dict) else clean


def _copier(value: Any) -> Callable[[], Any]:
    return lambda: type(value)(value)


def field_of(member: types.Field) -> Field:
    """The kind that follows from the type of a field. Null is a value only where the type says so."""
    inner, nullable = without_none(member.type)
    field = kind_of(inner)
    return field if nullable else replace(field, required=True)


def without_none(kind: types.Type) -> tuple[types.Type, bool]:
    """A type without None, and whether it was there."""
    outer = kind
    if isinstance(kind, types.Metadata):
        kind = kind.type
    if isinstance(kind, types.UnionType):
        others = tuple(one for one in kind.types if not isinstance(one, types.NoneType))
        nullable = len(others) < len(kind.types)
        if nullable and len(others) == 1:
            other = others[0]
            return (replace_metadata(outer, other), True) if outer is not kind else (other, True)
        return outer, nullable
    return outer, isinstance(kind, types.AnyType)


def replace_metadata(outer: types.Type, inner: types.Type) -> types.Type:
    """The metadata around a union, around one of its members."""
    assert isinstance(outer, types.Metadata)
    return types.Metadata(inner, outer.extra_json_schema, outer.extra)


def kind_of(kind: types.Type, doc: str = "", encrypted: bool = False) -> Field:
    """The kind of field for a type."""
    if isinstance(kind, types.Metadata):
        described = kind.extra_json_schema or {}
        secret = bool((kind.extra or {}).get("encrypted"))
        return kind_of(kind.type, str(described.get("description", doc)), secret or encrypted)
    field = _kind_of(kind, doc)
    return replace(field, encrypted=True) if encrypted else field


def _kind_of(kind: types.Type, doc: str) -> Field:
    match kind:
        case types.BoolType():
            return Boolean(doc)
        case types.IntType():
            least = kind.gt + 1 if kind.gt is not None else kind.ge
            most = kind.lt - 1 if kind.lt is not None else kind.le
            if least is not None and most is not None:
                return Integer(doc, between=(least, most))
            return Integer(doc, gt=least - 1 if least is not None else None)
        case types.FloatType():
            both = kind.ge is not None and kind.le is not None
            return Number(doc, between=(kind.ge, kind.le) if both else None)  # type: ignore[arg-type]
        case types.StrType():
            return Text(doc, len_min=kind.min_length or 0, rule=_text_rule(kind))
        case types.LiteralType(values=values) | types.EnumType(cls=values):
            return _choice([getattr(value, "value", value) for value in values], doc)
        case types.ListType(item_type=element) | types.VarTupleType(item_type=element):
            return Array(doc, elements=kind_of(element), len_min=kind.min_length or 0)
        case types.SetType(item_type=element) | types.FrozenSetType(item_type=element):
            return Set(doc, elements=kind_of(element), len_min=kind.min_length or 0)
        case types.DictType(key_type=types.StrType() as key, value_type=value):
            return Map(doc, keys=kind_of(key), values=kind_of(value), len_min=kind.min_length or 0)
        case types.StructType(cls=struct, tag=None, array_like=False):
            return Group(doc, record=record_of(struct, outermost=False))
        case types.DateTimeType() | types.DateType() | types.TimeType() | types.TimeDeltaType():
            return Text(doc)
        case _:
            return AnyValue(doc)


def _choice(values: list[Any], doc: str) -> Field:
    if all(isinstance(value, str) for value in values):
        return Text(doc, one_of=tuple(values))
    if all(isinstance(value, int) for value in values):
        return Integer(doc, one_of=tuple(values))
    return AnyValue(doc)


def _text_rule(kind: types.StrType) -> Callable[[str], str | None] | None:
    """What Text does not know: an upper limit of the length, a regular expression."""
    if kind.max_length is None and kind.pattern is None:
        return None

    def problem(value: str) -> str | None:
        if kind.max_length is not None and len(value) > kind.max_length:
            return f"length must be at most {kind.max_length}"
        if kind.pattern is not None and not re.search(kind.pattern, value):
            return f"must match {kind.pattern}"
        return None

    return problem
