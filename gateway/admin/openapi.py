"""GET /openapi.json: the whole Admin API as an OpenAPI 3.1 document, made of the tables of endpoints and the
declarations of fields."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from gateway import __version__

from .access import READING
from .bodies import FORM_BODY, JSON_BODY, MULTIPART_BODY
from .descriptions import (
    INTEGER,
    MESSAGE,
    OBJECT,
    REFUSAL,
    TEXT,
    Answer,
    Description,
    Parameter,
    Schema,
    component,
    list_of,
    object_of,
)
from .endpoints import Endpoint
from .json_schemas import entity_json_schemas
from .responses import json_text_response

Document = dict[str, Any]

HTML = "text/html"
ABOUT = (
    "Kong's Admin API, and what Sluicegate has beyond it. Every path answers HEAD as GET without the body, "
    "and OPTIONS with its methods. A slash at the end of a path is ignored. Without a database, changes are "
    "refused with 405 unless the node may write its declarative file."
)

COMPONENTS: dict[str, Schema] = {
    "message": {**object_of({"message": TEXT}), "additionalProperties": False},
    "error": {
        **object_of(
            {"message": TEXT, "name": TEXT, "code": INTEGER},
            {
                "fields": {**OBJECT, "description": "What is wrong, by field; of the whole in `@entity`."},
                "options": {**OBJECT, "description": "What is wrong, by parameter of the query."},
                "flattened_errors": list_of(OBJECT),
            },
        ),
        "additionalProperties": False,
    },
    "refusal": {"anyOf": [component("error"), component("message")]},
    "form": {
        "type": "object",
        "description": (
            "The fields as texts. `a.b` is a field of the record `a`; `a[]`, `a[1]` and a repeated `a` are "
            "elements of a list; an empty text is null."
        ),
        "additionalProperties": {"anyOf": [TEXT, list_of(TEXT)]},
    },
}

SECURITY_SCHEMES = {
    "token": {
        "type": "apiKey",
        "in": "header",
        "name": "Kong-Admin-Token",
        "description": "The setting ADMIN_TOKEN, or for GET alone ADMIN_READ_TOKEN. Needed where one is set.",
    },
    "bearer": {"type": "http", "scheme": "bearer", "description": "The same as a bearer token."},
}

EVERYWHERE = {
    400: Answer("The request cannot be understood.", REFUSAL),
    401: Answer("A token is needed and is missing or wrong.", MESSAGE),
    403: Answer("The token is for reading only, or a browser asks for a page of another site.", MESSAGE),
    429: Answer("Too many wrong tokens came from this address, or another load runs.", MESSAGE),
    500: Answer("The database is not available, or a fault of the gateway.", REFUSAL),
    503: Answer("Too many requests at once, or the node is stopping.", MESSAGE),
}
"""What any method may answer."""
WITH_A_BODY = {
    408: Answer("The body takes too long.", media_type=HTML),
    413: Answer("The body is too big.", media_type=HTML),
    415: Answer("The body is of a type that is not read here.", media_type=HTML),
}
"""What any method may answer that reads a body."""
GENERAL = {**EVERYWHERE, **WITH_A_BODY}


def openapi_endpoint(every: Callable[[], Iterable[Endpoint]]) -> Endpoint:
    """`/openapi.json`; `every` gives all endpoints, this one too. The document is made when it is first asked
    for."""

    @functools.cache
    def document() -> bytes:
        return orjson.dumps(openapi_document(every()))

    async def show(request: Request) -> Response:
        return json_text_response(200, await asyncio.to_thread(document))

    return Endpoint("/openapi.json", {"GET": show}, {"GET": DESCRIPTION})


def openapi_document(endpoints: Iterable[Endpoint]) -> Document:
    """The document of these endpoints."""
    # Some paths are only there to be listed, as in Kong, and have no methods.
    with_methods = sorted((one for one in endpoints if one.handlers), key=lambda one: one.path)
    paths = {endpoint.path: path_item(endpoint) for endpoint in with_methods}
    used = {operation["tags"][0] for item in paths.values() for operation in operations_of(item)}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Sluicegate Admin API", "version": __version__, "description": ABOUT},
        "servers": [{"url": "/"}],
        # An empty requirement: without a token configured, none is needed.
        "security": [{}, *({name: []} for name in SECURITY_SCHEMES)],
        "tags": [{"name": name} for name in sorted(used)],
        "paths": paths,
        "components": {
            "schemas": {**COMPONENTS, **entity_json_schemas()},
            "responses": {str(status): response_component(answer) for status, answer in GENERAL.items()},
            "securitySchemes": SECURITY_SCHEMES,
        },
    }


def operations_of(item: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The operations of a path item."""
    return [operation for name, operation in item.items() if name != "parameters"]


def path_item(endpoint: Endpoint) -> Document:
    """The operations of a path."""
    names = re.findall(r"{(\w+)}", endpoint.path)
    described: dict[str, str] = {}
    for description in endpoint.descriptions.values():
        described.update(description.path)
    item: Document = {
        method.lower(): operation(endpoint.path, method, description)
        for method, description in endpoint.descriptions.items()
    }
    if names:
        item["parameters"] = [path_parameter(name, described.get(name)) for name in names]
    return item


def path_parameter(name: str, doc: str | None) -> Document:
    """A part of a path that is filled in."""
    shown = {"name": name, "in": "path", "required": True, "schema": {**TEXT, "minLength": 1}}
    return {**shown, "description": doc} if doc else shown


def operation(path: str, method: str, description: Description) -> Document:
    """One method of a path."""
    words = re.findall(r"\w+", path.replace("-", "_")) or ["node"]
    answers = {**EVERYWHERE, **(WITH_A_BODY if description.body is not None else {}), **description.answers}
    shown: Document = {
        "operationId": "_".join((method.lower(), *words)),
        "summary": description.summary,
        "tags": [description.group],
        "responses": {str(status): response(status, answers[status]) for status in sorted(answers)},
    }
    if description.query:
        shown["parameters"] = [query_parameter(parameter) for parameter in description.query]
    if description.body is not None and method not in READING:
        shown["requestBody"] = {
            "content": {
                media_type: {"schema": body_schema(media_type, description.body)}
                for media_type in description.body_types
            }
        }
    return shown


def body_schema(media_type: str, schema: Schema) -> Schema:
    """What a body of that type looks like: forms have texts only, other types than JSON no schema."""
    if media_type == JSON_BODY:
        return schema
    return component("form") if media_type in (FORM_BODY, MULTIPART_BODY) else TEXT


def query_parameter(parameter: Parameter) -> Document:
    """A parameter of the query."""
    return {
        "name": parameter.name,
        "in": "query",
        "description": parameter.doc,
        "schema": parameter.schema,
    }


def response(status: int, answer: Answer) -> Document:
    """One of the answers of a method."""
    if GENERAL.get(status) is answer:
        return {"$ref": f"#/components/responses/{status}"}
    return response_component(answer)


def response_component(answer: Answer) -> Document:
    """An answer, told in full."""
    shown: Document = {"description": answer.doc}
    if answer.content_type is not None:
        shown["content"] = {answer.content_type: {"schema": answer.schema or TEXT}}
    return shown


DESCRIPTION = Description(
    "This document.", {200: Answer("An OpenAPI 3.1 document.", object_of({"openapi": TEXT, "paths": OBJECT}))}
)
