"""What the methods of an endpoint do, in the form from which `openapi` makes the document of the whole API.

A `Description` stands beside the handler in the table of an `Endpoint`. It tells only what is special about
the method: what every method answers (a token is missing, a body is too big, …) is added by `openapi`.
Schemas are JSON Schemas (2020-12, as in OpenAPI 3.1).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from .bodies import FORM_BODY, JSON_BODY, MULTIPART_BODY

Schema: TypeAlias = Mapping[str, Any]

TEXT: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
OBJECT: Schema = {"type": "object"}


@dataclass(frozen=True)
class Parameter:
    """A parameter of the query."""

    name: str
    doc: str
    schema: Schema = field(default_factory=lambda: TEXT)


@dataclass(frozen=True)
class Answer:
    """One of the answers of a method."""

    doc: str
    schema: Schema | None = None
    """Of its body; None: it has no body, or one that is not JSON."""
    media_type: str | None = None
    """Where it is not JSON: what it is. None without a schema: there is no body."""

    @property
    def content_type(self) -> str | None:
        """The media type of the body; None where there is none."""
        return self.media_type or (JSON_BODY if self.schema is not None else None)


@dataclass(frozen=True)
class Description:
    """What one method of a path does."""

    summary: str
    answers: Mapping[int, Answer]
    """By status; those that only this method gives."""
    group: str = "node"
    """Where the document lists it: the name of a type of entity, or what it is about."""
    query: tuple[Parameter, ...] = ()
    path: Mapping[str, str] = field(default_factory=dict)
    """What the parameters of the path mean, by name."""
    body: Schema | None = None
    """What may be sent; None: no body is read."""
    body_types: tuple[str, ...] = (JSON_BODY, FORM_BODY, MULTIPART_BODY)


def object_of(required: Mapping[str, Schema], optional: Mapping[str, Schema] | None = None) -> Schema:
    """The schema of an object with these members, and perhaps others."""
    return {"type": "object", "properties": {**required, **(optional or {})}, "required": list(required)}


def list_of(elements: Schema) -> Schema:
    """The schema of an array."""
    return {"type": "array", "items": elements}


def component(name: str) -> Schema:
    """A reference to a schema that the document has under this name."""
    return {"$ref": f"#/components/schemas/{name}"}


MESSAGE = component("message")
"""`{"message": …}`"""
ERROR = component("error")
"""Kong's error with its code"""
REFUSAL = component("refusal")
"""one of the two"""
