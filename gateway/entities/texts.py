"""The texts of validation errors, word for word as Kong has them (reference/entities.md §6).

Admin clients and decK match on these texts, so every text that more than one check uses stands here once.
"""

from collections.abc import Iterable

REQUIRED = "required field missing"
UNKNOWN_FIELD = "unknown field"
MUST_BE_NULL = "value must be null"

EXPECTED_ARRAY = "expected an array"
EXPECTED_SET = "expected a set"
EXPECTED_MAP = "expected a map"
EXPECTED_RECORD = "expected a record"
EXPECTED_STRING = "expected a string"
EXPECTED_NUMBER = "expected a number"
EXPECTED_INTEGER = "expected an integer"
EXPECTED_BOOLEAN = "expected a boolean"
EXPECTED_UUID = "expected a valid UUID"
EXPECTED_TIMESTAMP = "expected a valid timestamp"
MISSING_PRIMARY_KEY = "missing primary key"

EMPTY_SEGMENTS = "must not have empty segments"


def between(low: int, high: int) -> str:
    """`value should be between 0 and 65535`."""
    return f"value should be between {low} and {high}"


def greater_than(limit: int) -> str:
    """`value must be greater than 0`."""
    return f"value must be greater than {limit}"


def length_at_least(length: int) -> str:
    """`length must be at least 1`."""
    return f"length must be at least {length}"


def length_exactly(length: int) -> str:
    """`length must be 0`."""
    return f"length must be {length}"


def one_of(options: Iterable[object]) -> str:
    """`expected one of: a, b`."""
    return "expected one of: " + ", ".join(map(str, options))


def not_one_of(options: Iterable[object]) -> str:
    """`must not be one of: a, b`."""
    return "must not be one of: " + ", ".join(map(str, options))


def contains(element: str) -> str:
    """`expected to contain: exp`."""
    return f"expected to contain: {element}"


def not_a_regex(pattern: str) -> str:
    """`not a valid regex: (`."""
    return f"not a valid regex: {pattern}"


def starts_with(prefix: str) -> str:
    """`should start with: /`."""
    return f"should start with: {prefix}"


def invalid_value(value: str) -> str:
    """`invalid value: bad host`."""
    return f"invalid value: {value}"


def quoted(words: Iterable[str]) -> str:
    """`'a', 'b'`."""
    return ", ".join(f"'{word}'" for word in words)


def at_least_one_of(names: Iterable[str]) -> str:
    """Of a check over several fields of an entity."""
    return f"at least one of these fields must be non-empty: {quoted(names)}"


def only_one_of(names: Iterable[str]) -> str:
    """Of a check over several fields of an entity."""
    return f"exactly one of these fields must be non-empty: {quoted(names)}"


def only_one_or_none_of(names: Iterable[str]) -> str:
    """Of a check over several fields of an entity."""
    return f"only one or none of these fields must be set: {quoted(names)}"


def all_or_none_of(names: Iterable[str]) -> str:
    """Of a check over several fields of an entity."""
    return f"all or none of these fields must be set: {quoted(names)}"


def distinct(names: Iterable[str]) -> str:
    """Of a check over several fields of an entity."""
    return f"values of these fields must be distinct: {quoted(names)}"


def conditional(field: str) -> str:
    """Stands beside the text at the field that the condition is about."""
    return f"failed conditional validation given value of field '{field}'"


def mutually_exclusive_sets(sets: Iterable[Iterable[str]]) -> str:
    """`these sets are mutually exclusive: ('http', 'https'), ('tcp', 'tls', 'udp')`."""
    return "these sets are mutually exclusive: " + ", ".join(f"({quoted(names)})" for names in sets)


def unknown_type(value: str) -> str:
    """Of a record whose kind is chosen by a field (route protocols)."""
    return f"unknown type: {value}"


def plugin_not_enabled(name: str) -> str:
    """Of a plugin entity whose plugin is not available here."""
    return f"plugin '{name}' not enabled; add it to the 'plugins' configuration property"


def already_declared(type_name: str, what: str, value: str) -> str:
    """A second entity in one declarative file with the same unique value."""
    return f"uniqueness violation: '{type_name}' entity with {what} set to '{value}' already declared"


def invalid_reference(field: str, value: str, type_name: str) -> str:
    """A foreign key in a declarative file that names no entity of the file."""
    return f"invalid reference '{field}: {value}' (no such entry in '{type_name}')"
