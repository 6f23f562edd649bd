"""Records and entities: structs whose annotations carry the rules of their fields (see `fields`)."""

from __future__ import annotations

import functools
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass
from typing import Annotated, Any, ClassVar, Protocol, get_type_hints

import msgspec

from gateway.entities import texts
from gateway.entities.fields import Checked, Errors, Field, Foreign, Integer, Number, Set, Text
from gateway.entities.value_checks import tag_problem

ENTITY = "@entity"
"""The key in errors for what is wrong with an entity as a whole."""


class RecordCheck(Protocol):
    """A rule over several fields of a record.

    One with the attribute `sources` (names of fields) is not asked again when none of these is changed: what
    was true once may not be so for ever, such as that a certificate has not expired.
    """

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        """Look at `values` (valid ones cleaned, defaults filled in) and add to `errors` what is wrong."""


class Surroundings(Protocol):
    """The other entities, for rules that look at them."""

    def get(self, type_name: str, identifier: str) -> Entity | None:
        """The entity with that id."""

    def children(self, type_name: str, parent_type: str, parent_id: str) -> list[Entity]:
        """The entities of a type that refer to one of another type."""


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """A struct whose fields are annotated with their rules."""

    record_checks: ClassVar[tuple[RecordCheck, ...]] = ()
    shorthands: ClassVar[Mapping[str, Field]] = {}
    """What may be written beside the fields and stands for others (`url` of a service) or for other entities
    (`snis` of a certificate). Some are shown, see `gateway.admin.entity_form`. Those of the configuration of
    a plugin stand for one field each, see `gateway.entities.shorthands`."""

    def problem(self) -> str | None:
        """What is wrong with a record whose fields are all right. Of an entity's fields and of plugins'
        configurations; entities themselves have `record_checks`."""
        return None


Identifier = Annotated[str, Text("The UUID that identifies the entity.", uuid=True, auto=True)]
CreatedAt = Annotated[
    int, Integer("When it was made, in seconds since the epoch.", timestamp=True, auto=True)
]
UpdatedAt = Annotated[
    int, Integer("When it was last changed, in seconds since the epoch.", timestamp=True, auto=True)
]
Tags = Annotated[
    list[str] | None,
    Set("Words to group and find entities by.", elements=Text("A tag.", rule=tag_problem)),
]


@dataclass(frozen=True)
class AdminPaths:
    """Where the Admin API has a type, when not under the name of the type, and what its lists do besides."""

    _: KW_ONLY
    collection: str | None = None
    """All of them: "key-auths" for /key-auths."""
    nested: str | None = None
    """Those of a parent: "key-auth" for /consumers/{}/key-auth."""
    disabled: tuple[str, ...] = ()
    """Paths that Kong lists and answers with 404: "" the collection and its members, or a foreign field."""
    lookups: tuple[str, ...] = ()
    """Unique fields by which the collection finds one entity: "custom_id" for /consumers?custom_id=…"""
    newest_first: bool = False
    """Those of a parent are listed by their age; else by id."""
    nested_aliases: tuple[str, ...] = ()
    """Further paths of the list of those of a parent: "all" for /upstreams/{}/targets/all."""


class Entity(Record, frozen=True, kw_only=True):
    """A configurable thing of Kong: a row of its Admin API and an item of the declarative file."""

    type_name: ClassVar[str]
    """Kong's name of the type (plural), as in the declarative file: "services"."""
    singular: ClassVar[str]
    """The type in `flattened_errors`: "service"."""
    endpoint_key: ClassVar[str | None] = None
    """The unique field that may stand for the id in paths and references."""
    cache_key: ClassVar[tuple[str, ...]] = ()
    """The fields that together are unique; Kong derives declarative ids from them."""
    options: ClassVar[tuple[str, ...]] = ()
    """The shorthands that are options of a write to Kong: what is wrong with them has a code of its own."""
    hashed: ClassVar[tuple[str, ...]] = ()
    """The fields that, when they are written, have secrets hashed (see `hash_secrets`)."""
    admin_paths: ClassVar[AdminPaths] = AdminPaths()
    kind_field: ClassVar[str] = ""
    """The field that chooses rules for the others: the name of a plugin. While there are none for its value,
    nothing else is looked at, as in Kong."""

    id: Identifier
    tags: Tags = None

    @classmethod
    def prepare(cls, values: dict[str, Any]) -> dict[Any, Errors]:
        """Resolve shorthands in `values` (in place) before its fields are checked; errors of the
        shorthands, beside which nothing else is looked at, as in Kong."""
        return {}

    @classmethod
    def kind_problem(cls, value: Any) -> str | None:
        """What is wrong with a value of `kind_field` for which there are no rules; None for what is no value
        of that field at all, which its own check tells."""
        return None

    @classmethod
    def record_of(cls, field: str, values: Mapping[str, Any]) -> type[Record] | None:
        """The fields within a field of the kind `Anything`, as far as `values` tell: of the plugin whose
        configuration it is."""
        return None

    @classmethod
    def distinction(cls, value_of: Callable[[str], Any]) -> str | None:
        """What tells an entity from another one with the same cache key, where there may be two: the name of
        a limit that is stacked on others. `value_of` gives the values of its fields, valid or not."""
        return None

    @classmethod
    def transform(cls, values: dict[str, Any]) -> None:
        """Bring valid `values` (in place) into the form that is stored: a target with its port, say."""

    @classmethod
    def hash_secrets(cls, values: dict[str, Any]) -> None:
        """Replace secrets in valid `values` (in place) by the hashes that are stored."""

    @classmethod
    def tell(cls, errors: dict[Any, Errors]) -> dict[Any, Errors]:
        """The errors of a new entity. Kong words some otherwise than those of a change or a file."""
        return errors

    @classmethod
    def has_secrets(cls, stored: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
        """Whether the values of an entity that are `stored` were made of these secrets."""
        values = {**stored, **given}
        cls.hash_secrets(values)
        return all(values[name] == stored[name] for name in given)

    @classmethod
    def check_related(cls, values: Mapping[str, Any], others: Surroundings) -> dict[Any, Errors]:
        """What is wrong with valid `values` (those that are not the default) beside the entities they refer
        to; only where Kong looks there: when one is written, not when a file is read."""
        return {}


class Shape:
    """The compiled field table of a record type."""

    def __init__(self, record: type[Record]) -> None:
        self.record = record
        self.fields: dict[str, Field] = {}
        self.defaults: dict[str, Any] = {}
        """What a missing field is taken to be; a field without an entry must be given or is automatic."""
        hints = get_type_hints(record, include_extras=True)
        self.attributes: dict[str, str] = {}
        """The attribute of a field whose name can be none: `X-Cache-Key` (msgspec's `rename`). For records
        within others only."""
        for member in msgspec.structs.fields(record):
            name = member.encode_name
            if name != member.name:
                self.attributes[name] = member.name
            self.fields[name] = next(
                extra for extra in hints[member.name].__metadata__ if isinstance(extra, Field)
            )
            if member.default is not msgspec.NODEFAULT:
                self.defaults[name] = member.default
            elif member.default_factory is not msgspec.NODEFAULT:
                self.defaults[name] = member.default_factory()
        self.mandatory = tuple(
            name for name, field in self.fields.items() if name not in self.defaults and not field.auto
        )
        self.foreign = {name: field for name, field in self.fields.items() if isinstance(field, Foreign)}
        self.unique = tuple(name for name, field in self.fields.items() if field.unique)
        self.automatic = tuple(name for name, field in self.fields.items() if field.auto)
        self.groups = {name: field.record for name, field in self.fields.items() if isinstance(field, Group)}
        self.extensions = tuple(name for name, field in self.fields.items() if field.extension)
        self.checks = record.record_checks

    def check(self, values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[Any, Errors]]:
        """Validate decoded values: (clean values to build the struct with, all errors)."""
        clean: dict[str, Any] = {}
        errors: dict[Any, Errors] = {}
        fields = self.fields
        for name, value in values.items():
            field = fields.get(name)
            if field is None:
                errors[name] = _unknown_field(name)
            elif value is None:
                if field.auto or (field.required and name in self.defaults):
                    continue
                if field.required:
                    errors[name] = texts.REQUIRED
                else:
                    clean[name] = None
            else:
                clean[name], problem = field.check(value)
                if problem is not None:
                    errors[name] = problem
        for name in self.mandatory:
            if name not in values:
                errors[name] = texts.REQUIRED
        if self.checks:
            whole = {**self.defaults, **clean}
            for check in self.checks:
                check.run(whole, errors)
        return clean, errors

    def check_change(
        self, before: Record, values: Mapping[str, Any]
    ) -> tuple[dict[str, Any], dict[Any, Errors]]:
        """Validate new values of some fields: (what all fields are then, all errors). The other fields are
        not looked at again, but by rules that several fields share. Automatic fields that become null are
        left out."""
        whole: dict[str, Any] = {name: getattr(before, name) for name in self.fields}
        errors: dict[Any, Errors] = {}
        for name, value in values.items():
            field = self.fields.get(name)
            if field is None:
                errors[name] = _unknown_field(name)
            elif value is not None:
                whole[name], problem = field.check(value)
                if problem is not None:
                    errors[name] = problem
            elif field.auto:
                whole.pop(name)
            elif not field.required:
                whole[name] = None
            elif name in self.defaults:
                whole[name] = self.defaults[name]
            else:
                errors[name] = texts.REQUIRED
        for check in self.checks:
            sources = getattr(check, "sources", ())
            if not sources or any(name in values for name in sources):
                check.run(whole, errors)
        return whole, errors

    def complete(self, clean: dict[str, Any], now: float) -> None:
        """Fill in the automatic fields but `id` (in place); `now` in seconds since the epoch."""
        for name in self.automatic:
            if name in clean or name == "id":
                continue
            match self.fields[name]:
                case Integer(timestamp=True):
                    clean[name] = int(now)
                case Number(timestamp=True) as number:
                    clean[name], _ = number.check(round(now, 3))  # a whole second is written without ".0"
                case _:
                    clean[name] = random_key()


def _unknown_field(name: str) -> Errors:
    # A client may name a field as errors of the whole entity are named.
    return [texts.UNKNOWN_FIELD] if name == ENTITY else texts.UNKNOWN_FIELD


@functools.cache
def shape_of(record: type[Record]) -> Shape:
    """The field table of a record type, made once."""
    return Shape(record)


@dataclass(frozen=True)
class Group(Field):
    """A record inside an entity: a struct of its own, whose fields are declared like an entity's."""

    _: KW_ONLY
    record: type[Record]
    declares_default: bool = False
    """Kong's schema has a default for the record as a whole; else it follows from those of its fields."""
    default_without: tuple[str, ...] = ()
    """Fields that this default does not mention."""

    kind = "record"

    def check(self, value: Any) -> Checked:
        if value == [] and isinstance(value, list):
            value = {}
        if not isinstance(value, dict):
            return value, texts.EXPECTED_RECORD
        shape = shape_of(self.record)
        clean, errors = shape.check(value)
        if errors:
            return value, errors
        record = self.record(**{shape.attributes.get(name, name): clean[name] for name in clean})
        return record, record.problem()


def check_entity(kind: type[Entity], values: Mapping[str, Any]) -> tuple[dict[str, Any], dict[Any, Errors]]:
    """Validate the values of an entity, its shorthands included: (clean values, all errors)."""
    prepared = dict(values)
    if errors := kind.prepare(prepared) or unknown_kind(kind, prepared):
        return {}, errors
    return shape_of(kind).check(prepared)


def unknown_kind(kind: type[Entity], values: Mapping[str, Any]) -> dict[Any, Errors]:
    """The error of the field that chooses rules for the others, when there are none for its value; `values`
    are not checked yet."""
    name = kind.kind_field
    if not name:
        return {}
    value = values.get(name)
    if value is None:
        return {} if name in shape_of(kind).defaults else {name: texts.REQUIRED}
    problem = kind.kind_problem(value)
    return {} if problem is None else {name: problem}


def random_key() -> str:
    """A generated key or secret: 32 letters and digits from the system's random source."""
    return "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(32))


def to_kong(entity: Record) -> dict[str, Any]:
    """The Admin API's form of an entity: every field of its schema, null where it has no value."""
    form: dict[str, Any] = msgspec.to_builtins(entity)
    _drop_unset_extensions(type(entity), form)
    return form


def _drop_unset_extensions(record: type[Record], form: dict[str, Any]) -> None:
    shape = shape_of(record)
    for name in shape.extensions:
        if form[name] is None:
            del form[name]
    for name, inner in shape.groups.items():
        if form.get(name) is not None:
            _drop_unset_extensions(inner, form[name])
