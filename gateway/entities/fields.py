"""What one field of an entity may hold, declared once.

A field of an entity struct is annotated with its Python type and with one of the kinds of this module::

    retries: Annotated[int | None, Integer("How often a request is tried again.", between=(0, 32767))] = 5

The default is the struct's default; everything else (kind, rules, documentation) is the annotation.
Validation, the Admin API's schemas and the OpenAPI document are all made from this one declaration. The
attribute names of the kinds are Kong's schema vocabulary (`one_of`, `between`, `len_min`, `starts_with`,
`match_none`, …).

`check(value)` takes a decoded JSON or YAML value that is not null and answers `(clean value, None)` or
`(anything, errors)`. Errors have Kong's form: a text; for a record a dict from field to errors; for an array
a dict from the element's index to errors (see `gateway.store.declarative_errors` for how that becomes JSON).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any, ClassVar, TypeAlias

import msgspec

from gateway.entities import texts
from gateway.entities.lua_patterns import compiled
from gateway.entities.patterns import pattern_problem

Errors: TypeAlias = "str | list[str] | dict[Any, Errors]"
"""A text, several texts (`@entity`), or errors by field name or by element index (0-based)."""

Checked: TypeAlias = "tuple[Any, Errors | None]"
ValueCheck: TypeAlias = Callable[[Any], "str | None"]
"""A rule about one value: the text of what is wrong, or None."""

UUID = re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}")


class Reference(msgspec.Struct, frozen=True):
    """A foreign key."""

    id: str


@dataclass(frozen=True)
class Field:
    """What all kinds of field have in common."""

    doc: str
    _: KW_ONLY
    required: bool | None = None
    """Null is not a value of this field (a default, where there is one, stands in for null). None is the same
    as False, but Kong's schemas do not mention it."""
    null_default: bool = False
    """Kong's schemas tell that the default is null, which else goes without saying."""
    unique: bool = False
    """No two entities of a type have the same value."""
    auto: bool = False
    """Filled in when the entity is made without it: ids, time stamps, generated keys."""
    referenceable: bool = False
    """May be a `{vault://…}` reference instead of the value itself."""
    encrypted: bool = False
    """A secret: never logged, never part of a derived id."""
    extension: bool = False
    """Not a field of Kong's schemas: left out of the Kong form of an entity while it is null."""

    stands_for: tuple[str, ...] = ()
    """Of a shorthand: the fields that it gives values to."""
    removed_in: str = ""
    """Of a shorthand of a plugin's configuration: it is shown, as Kong does up to that version."""

    kind: ClassVar[str]
    """The name of the type in Kong's schemas."""

    def check(self, value: Any) -> Checked:
        """Validate a value that is not null."""
        raise NotImplementedError


@dataclass(frozen=True)
class Text(Field):
    """A string, never empty unless `len_min` is 0. The rules run in this order; the first that fails is
    reported."""

    _: KW_ONLY
    one_of: tuple[str, ...] = ()
    extension_values: tuple[str, ...] = ()
    """More values, which Kong's schema does not have: its texts do not list them."""
    not_one_of: tuple[str, ...] = ()
    uuid: bool = False
    reference: str = ""
    """In an array: the type whose ids these are. What is listed cannot be deleted."""
    len_min: int = 1
    starts_with: str = ""
    match_none: tuple[tuple[str, str], ...] = ()
    """(Lua pattern, text): none may be found."""
    match: str = ""
    """A Lua pattern (see `lua_patterns`) that must be found in the value."""
    match_any: tuple[str, ...] = ()
    """Lua patterns of which one must be found, or `match_any_text` is what is wrong."""
    match_any_text: str = ""
    is_regex: bool = False
    rule: ValueCheck | None = None

    kind = "string"

    def check(self, value: Any) -> Checked:
        if not isinstance(value, str):
            return value, texts.EXPECTED_STRING
        return value.lower() if self.uuid else value, self._problem(value)

    def _problem(self, value: str) -> str | None:
        if self.one_of and value not in self.one_of and value not in self.extension_values:
            return texts.one_of(self.one_of)
        if self.not_one_of and value in self.not_one_of:
            return texts.not_one_of(self.not_one_of)
        if self.uuid:
            return None if UUID.fullmatch(value) else texts.EXPECTED_UUID
        if len(value) < self.len_min:
            return texts.length_at_least(self.len_min)
        if self.referenceable and is_vault_reference(value):
            return None
        if self.starts_with and not value.startswith(self.starts_with):
            return texts.starts_with(self.starts_with)
        for pattern, text in self.match_none:
            if compiled(pattern).search(value):
                return text
        if self.match and not compiled(self.match).search(value):
            return texts.invalid_value(value)
        if self.match_any and not any(compiled(pattern).search(value) for pattern in self.match_any):
            return self.match_any_text
        if self.is_regex and pattern_problem(value) is not None:
            return texts.not_a_regex(value)
        return self.rule(value) if self.rule else None


@dataclass(frozen=True)
class Integer(Field):
    """A whole number; `5.0` counts as one, as in Kong."""

    _: KW_ONLY
    between: tuple[int, int] | None = None
    gt: int | None = None
    one_of: tuple[int, ...] = ()
    timestamp: bool = False
    """Seconds since the epoch."""
    rule: ValueCheck | None = None

    kind = "integer"

    def check(self, value: Any) -> Checked:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int) or isinstance(value, bool):
            return value, texts.EXPECTED_INTEGER
        return value, _number_problem(self, value) or (self.rule(value) if self.rule else None)


@dataclass(frozen=True)
class Number(Field):
    """A number; one without a fraction is kept as an int, since that is how it is shown."""

    _: KW_ONLY
    between: tuple[int, int] | None = None
    gt: int | None = None
    one_of: tuple[int, ...] = ()
    timestamp: bool = False
    """Seconds since the epoch, with milliseconds as the fraction."""
    rule: ValueCheck | None = None

    kind = "number"

    def check(self, value: Any) -> Checked:
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if not isinstance(value, int | float) or isinstance(value, bool) or value != value:
            return value, texts.EXPECTED_NUMBER
        return value, _number_problem(self, value) or (self.rule(value) if self.rule else None)


def _number_problem(field: Integer | Number, value: float) -> str | None:
    if field.one_of and value not in field.one_of:
        return texts.one_of(field.one_of)
    if field.timestamp and value <= 0:
        return texts.EXPECTED_TIMESTAMP
    if field.between and not field.between[0] <= value <= field.between[1]:
        return texts.between(*field.between)
    if field.gt is not None and value <= field.gt:
        return texts.greater_than(field.gt)
    # What JSON readers elsewhere (and Kong's doubles) cannot hold exactly is not a number to configure with.
    if not -(2**53) <= value <= 2**53:
        return texts.between(-(2**53), 2**53)
    return None


@dataclass(frozen=True)
class Boolean(Field):
    """true or false, and no words for them."""

    kind = "boolean"

    def check(self, value: Any) -> Checked:
        return value, None if isinstance(value, bool) else texts.EXPECTED_BOOLEAN


@dataclass(frozen=True)
class Array(Field):
    """A list of `elements`, in order, repetitions kept."""

    _: KW_ONLY
    elements: Field
    len_min: int = 0
    pieces: ValueCheck | None = None
    """In a form, a text with commas is several elements when this rule has nothing against any of them. None:
    when the text would be no valid element."""

    kind = "array"
    type_problem: ClassVar[str] = texts.EXPECTED_ARRAY

    def check(self, value: Any) -> Checked:
        # An empty JSON object is an empty array to Kong (Lua does not tell them apart).
        if value == {} and isinstance(value, dict):
            value = []
        if not isinstance(value, list):
            return value, self.type_problem
        clean: list[Any] = []
        errors: dict[Any, Errors] = {}
        check = self.elements.check
        for index, element in enumerate(value):
            if element is None:
                errors[index] = texts.REQUIRED
                continue
            element, problem = check(element)
            if problem is not None:
                errors[index] = problem
            clean.append(element)
        if errors:
            return value, errors
        if len(clean) < self.len_min:
            return value, texts.length_at_least(self.len_min)
        return clean, None


@dataclass(frozen=True)
class Set(Array):
    """An array without repetitions: repeated elements are dropped silently, the order of the first ones is
    kept."""

    _: KW_ONLY
    mutually_exclusive_subsets: tuple[tuple[str, ...], ...] = ()
    """All elements are of one of these."""

    kind = "set"
    type_problem: ClassVar[str] = texts.EXPECTED_SET

    def check(self, value: Any) -> Checked:
        clean, errors = Array.check(self, value)
        if errors is not None:
            return value, errors
        unique = list(dict.fromkeys(clean))
        return unique, self._problem(unique)

    def _problem(self, elements: list[Any]) -> str | None:
        # The subsets are named in the order in which the elements came.
        chosen = [
            subset for element in elements for subset in self.mutually_exclusive_subsets if element in subset
        ]
        subsets = list(dict.fromkeys(chosen))
        return texts.mutually_exclusive_sets(subsets) if len(subsets) > 1 else None


@dataclass(frozen=True)
class Map(Field):
    """Names to values of one kind. The first problem found is reported for the whole map, as in Kong."""

    _: KW_ONLY
    keys: Field
    values: Field
    len_min: int = 0

    kind = "map"

    def check(self, value: Any) -> Checked:
        if value == [] and isinstance(value, list):
            value = {}
        if not isinstance(value, dict):
            return value, texts.EXPECTED_MAP
        clean = {}
        for name, element in value.items():
            name, problem = self.keys.check(name)
            if problem is not None:
                return value, problem
            if element is None:
                return value, texts.REQUIRED
            element, problem = self.values.check(element)
            if problem is not None:
                return value, problem
            clean[name] = element
        if len(clean) < self.len_min:
            return value, texts.length_at_least(self.len_min)
        return clean, None


@dataclass(frozen=True)
class Foreign(Field):
    """A reference to another entity, held and shown as `{"id": …}`."""

    _: KW_ONLY
    reference: str
    """The name of the type it refers to, such as "services"."""
    cascade: bool = False
    """Deleting the other entity deletes this one."""

    kind = "foreign"

    def check(self, value: Any) -> Checked:
        if isinstance(value, Reference):
            return value, None
        identifier = value.get("id") if isinstance(value, Mapping) else None
        if identifier is None:
            return value, {"id": texts.MISSING_PRIMARY_KEY}
        if not isinstance(identifier, str):
            return value, {"id": texts.EXPECTED_STRING}
        if not UUID.fullmatch(identifier):
            return value, {"id": texts.EXPECTED_UUID}
        return Reference(id=identifier.lower()), None


@dataclass(frozen=True)
class Anything(Field):
    """A record whose fields somebody else declares (a plugin's configuration); checked there."""

    kind = "record"

    def check(self, value: Any) -> Checked:
        if value == [] and isinstance(value, list):
            value = {}
        return value, None if isinstance(value, dict) else texts.EXPECTED_RECORD


def is_vault_reference(value: object) -> bool:
    """Whether a value is a `{vault://…}` reference."""
    return isinstance(value, str) and value.startswith("{vault://") and value.endswith("}")
