"""Hypothesis strategies for valid entities of all types, made from the declarations of their fields.

`configurations()` gives whole ones, with references between the entities; `values_of(kind)` what a client
might send for one entity. Nothing here names a field: a new one is covered as soon as it is declared.
"""

from __future__ import annotations

import functools
import json
import uuid
from collections.abc import Mapping
from typing import Any

from hypothesis import strategies as st

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import Anything, Array, Boolean, Field, Foreign, Integer, Map, Number, Set, Text
from gateway.entities.record import Entity, Group, Record, shape_of
from gateway.plugins import AVAILABLE
from gateway.store import Configuration, operations
from gateway.store.draft import Draft
from gateway.store.errors import EntityError
from tests.support import certificates

TRIES = 6
"""How often an entity is begun anew when its values do not go together."""

MOST_FIELDS = 5
"""How many fields that may be missing are given."""

PLAIN_TEXTS = (
    *(
        "a",
        "b",
        "x-y",
        "A_b",
        "name",
        "10",
        "1.0",
        "0x1f",
        "1e3",
        "true",
        "null",
        "~",
        "no",
        "On",
        "2024-01-01",
    ),
    *(
        "host",
        "api.example.com",
        "*.example.com",
        "example.*",
        "10.0.0.1",
        "10.0.0.1:80",
        "[::1]:8000",
        "::1",
    ),
    *("/", "/a", "/a/b-c", "/%41", r"~/(?<n>\d+)$", "~/x", "https://example.com/back", "http://h:81/p?q=1"),
    *(
        "GET",
        "PURGE",
        "10.0.0.0/8",
        "en-1",
        "ünï",
        "名前",
        "a b",
        " lead",
        "trail ",
        "- a",
        "a: b",
        "x-a:x-b",
        "a #b",
        "#",
    ),
    *(
        "'",
        '"',
        "\\",
        "{vault://env/secret}",
        "two\nlines",
        "two\nlines\n",
        "tab\there",
        "\u2028",
        "\U0001f600",
    ),
)


@functools.cache
def texts() -> tuple[str, ...]:
    """Texts of all kinds: for each field, those that it allows are picked."""
    elliptic, rsa = certificates.new_key(), certificates.new_key("rsa")
    authority = certificates.new_key()
    point = elliptic.public_key().public_numbers()  # type: ignore[union-attr]
    jwk = {"kty": "oct", "kid": "a", "k": "AAAA"}
    return (
        *PLAIN_TEXTS,
        certificates.certificate("a.example.com", elliptic),
        certificates.key_pem(elliptic),
        certificates.certificate("b.example.com", rsa),
        certificates.key_pem(rsa),
        certificates.certificate("authority", authority, is_authority=True),
        public_pem(elliptic),
        public_pem(rsa),
        json.dumps(jwk),
        f"{point.x:064x}",  # type: ignore[union-attr]
    )


def public_pem(key: certificates.PrivateKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


RANDOM_TEXTS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=8)


@functools.lru_cache(1000)
def value_of(field: Field) -> st.SearchStrategy[Any]:
    """Values that a field allows, other than null."""
    match field:
        case Text(one_of=choices) if choices:
            return st.sampled_from(choices)
        case Text(uuid=True):
            return st.uuids().map(str)
        case Text():
            allowed = [text for text in texts() if field.check(text)[1] is None]
            if len(allowed) < 0.6 * len(texts()):
                return st.sampled_from(allowed)
            return st.sampled_from(allowed) | RANDOM_TEXTS.filter(lambda text: field.check(text)[1] is None)
        case Integer(one_of=numbers) if numbers:
            return st.sampled_from(numbers)
        case Integer(timestamp=True):
            return st.integers(1_000_000_000, 2_000_000_000)
        case Integer():
            return st.integers(*(field.between or (-(2**40), 2**40)))
        case Number(timestamp=True):
            return st.integers(4_000_000_000_000, 4_100_000_000_000).map(
                lambda thousandths: thousandths / 1000
            )
        case Number():
            low, high = field.between or (-(2**40), 2**40)
            return st.integers(low, high) | st.floats(low, high, allow_nan=False).map(
                lambda value: round(value, 3)
            )
        case Boolean():
            return st.booleans()
        case Set() | Array():
            elements = st.lists(value_of(field.elements), min_size=field.len_min, max_size=3)
            return elements.filter(lambda value: field.check(value)[1] is None)
        case Map():
            maps = st.dictionaries(value_of(field.keys), value_of(field.values), max_size=3)
            return maps.filter(lambda value: field.check(value)[1] is None)
        case Group():
            return record_values(field.record)
        case Anything():
            return st.dictionaries(RANDOM_TEXTS, st.none() | st.booleans() | RANDOM_TEXTS, max_size=2)
    raise NotImplementedError(type(field))


def record_values(record: type[Record]) -> st.SearchStrategy[dict[str, Any]]:
    """Values for the fields of a record, each by itself."""
    return fields_of(shape_of(record).fields, shape_of(record).mandatory)


@st.composite
def fields_of(draw: st.DrawFn, fields: Mapping[str, Field], mandatory: tuple[str, ...]) -> dict[str, Any]:
    """Values for the mandatory fields and a few others, null where it is allowed."""
    others = [name for name in fields if name not in mandatory]
    chosen = draw(st.lists(st.sampled_from(others), unique=True, max_size=MOST_FIELDS)) if others else []
    values = {}
    for name in (*mandatory, *chosen):
        field = fields[name]
        may_be_null = not (field.required or field.auto)
        values[name] = None if may_be_null and draw(st.integers(0, 4)) == 0 else draw(value_of(field))
    return values


@functools.cache
def own_values(kind: type[Entity]) -> st.SearchStrategy[dict[str, Any]]:
    """Values for the fields of an entity without its references."""
    shape = shape_of(kind)
    own = {
        name: field
        for name, field in shape.fields.items()
        if not isinstance(field, Foreign | Anything) and name != "id"
    }
    return fields_of(own, tuple(name for name in shape.mandatory if name in own))


@st.composite
def values_of(
    draw: st.DrawFn, kind: type[Entity], present: Configuration = Configuration.EMPTY
) -> dict[str, Any]:
    """What might be sent for an entity that refers to those that are `present`. It need not be valid: fields
    may contradict each other."""
    shape = shape_of(kind)
    values = dict(draw(own_values(kind)))
    for name, field in shape.foreign.items():
        others = sorted(present.of(field.reference))
        if others and (name in shape.mandatory or draw(st.booleans())):
            values[name] = {"id": draw(st.sampled_from(others))}
    if kind.type_name == "plugins" and AVAILABLE:
        values["name"] = draw(st.sampled_from(sorted(AVAILABLE)))
    for name, field in shape.fields.items():
        if isinstance(field, Anything):
            record = kind.record_of(name, values)
            values[name] = draw(record_values(record) if record is not None else value_of(field))
    if draw(st.booleans()):
        values["id"] = str(draw(st.uuids(version=4)))
    return values


@st.composite
def added(draw: st.DrawFn, draft: Draft, kind: type[Entity]) -> Entity | None:
    """Put a valid entity into a draft; None where none was found."""
    for _ in range(TRIES):
        values = draw(values_of(kind, draft.result("")))
        for _ in range(len(values)):
            try:
                return operations.create(draft, kind, values)
            except EntityError as error:
                at_fault = [name for name in error.fields or () if name in values]
                optional = [name for name in at_fault if name not in shape_of(kind).mandatory]
                if not optional:
                    break
                values.pop(draw(st.sampled_from(sorted(optional))))
    return None


@st.composite
def configurations(draw: st.DrawFn, most: int = 2) -> Configuration:
    """Configurations with up to `most` entities of every type."""
    draft = Draft(Configuration.EMPTY)
    for kind in ENTITY_TYPES.values():
        for _ in range(draw(st.integers(0, most))):
            draw(added(draft, kind))
    return draft.result(uuid.uuid5(uuid.NAMESPACE_URL, "made").hex)
