"""Rules over several fields of a record, declared beside its fields; the names are those of Kong's
schemas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Any

from gateway.entities import texts
from gateway.entities.fields import Errors, ValueCheck
from gateway.entities.lua_patterns import compiled
from gateway.entities.record import ENTITY


def add_entity_error(errors: dict[Any, Errors], text: str) -> None:
    """Add a text about the entity as a whole."""
    whole = errors.setdefault(ENTITY, [])
    assert isinstance(whole, list)
    whole.append(text)


def is_set(value: object) -> bool:
    """Kong's "non-empty": neither null nor an empty string, array, map or record."""
    return value is not None and value != "" and value != [] and value != {}


@dataclass(frozen=True)
class AtLeastOneOf:
    """At least one of the fields has a value."""

    fields: tuple[str, ...]

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if not any(is_set(values.get(name)) for name in self.fields):
            add_entity_error(errors, texts.at_least_one_of(self.fields))


@dataclass(frozen=True)
class OnlyOneOrNoneOf:
    """At most one of the fields has a value."""

    fields: tuple[str, ...]

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if sum(is_set(values.get(name)) for name in self.fields) > 1:
            add_entity_error(errors, texts.only_one_or_none_of(self.fields))


@dataclass(frozen=True)
class OnlyOneOf:
    """Exactly one of the fields has a value."""

    fields: tuple[str, ...]

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if sum(is_set(values.get(name)) for name in self.fields) != 1:
            add_entity_error(errors, texts.only_one_of(self.fields))


@dataclass(frozen=True)
class AllOrNoneOf:
    """All of the fields have a value, or none has."""

    fields: tuple[str, ...]

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if sum(is_set(values.get(name)) for name in self.fields) not in (0, len(self.fields)):
            add_entity_error(errors, texts.all_or_none_of(self.fields))


@dataclass(frozen=True)
class Distinct:
    """The values of the fields differ, where they have one."""

    fields: tuple[str, ...]

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        given = [values.get(name) for name in self.fields if is_set(values.get(name))]
        if any(value in given[:position] for position, value in enumerate(given)):
            add_entity_error(errors, texts.distinct(self.fields))


@dataclass(frozen=True)
class Conditional:
    """When one field has certain values, another must obey a rule of its own."""

    if_field: str
    _: KW_ONLY
    if_equal: str | bool | None = None
    if_greater_than: float | None = None
    if_match: str = ""
    """A Lua pattern (see `lua_patterns`)."""
    if_one_of: tuple[str, ...] = ()
    if_not_one_of: tuple[str, ...] = ()
    then_field: str
    then_null: bool = False
    then_required: bool = False
    then_one_of: tuple[str, ...] = ()
    then_contains: str = ""
    """An element that the array has."""
    then_rule: ValueCheck | None = None
    extension: bool = False
    """Not a rule of Kong's schemas."""

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if not self._applies(values.get(self.if_field)):
            return
        # What another rule says of the value does not matter here; but a value that is wrong in itself
        # is none of those that are not named.
        if self.if_field in errors and not self._names_values():
            return
        problem = self._problem(values.get(self.then_field), errors.get(self.then_field))
        if problem is not None:
            errors[self.then_field] = problem
            add_entity_error(errors, texts.conditional(self.if_field))

    def _applies(self, value: object) -> bool:
        if self.if_equal is not None:
            return value == self.if_equal
        if self.if_greater_than is not None:
            return isinstance(value, int | float) and value > self.if_greater_than
        if self.if_match:
            return isinstance(value, str) and compiled(self.if_match).search(value) is not None
        if self.if_one_of:
            return value in self.if_one_of
        return value not in self.if_not_one_of

    def _names_values(self) -> bool:
        """Whether the rule says which values of `if_field` it is about; those are right in themselves."""
        return self.if_equal is not None or bool(self.if_match or self.if_one_of)

    def _problem(self, value: Any, own: Errors | None) -> Errors | None:
        """What is wrong with the value of the other field; `own`: what is in itself, which does not obey this
        rule either, as in Kong."""
        if value is None:
            return texts.REQUIRED if self.then_required else None
        if self.then_null:
            return texts.MUST_BE_NULL
        if self.then_one_of and value not in self.then_one_of:
            return texts.one_of(self.then_one_of)
        if own is not None:
            return own
        if self.then_contains and self.then_contains not in value:
            return texts.contains(self.then_contains)
        return self.then_rule(value) if self.then_rule and isinstance(value, str) else None
