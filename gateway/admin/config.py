"""GET and POST /config: the declarative configuration of a node without a database.

A POST replaces everything or nothing. It answers only when every worker serves the new configuration.
"""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.store import (
    DeclarativeError,
    LoadMemory,
    Parsed,
    export_declarative,
    parse_declarative,
    parse_declarative_document,
    parse_declarative_json,
    parse_known_json,
)

from .bodies import FORM_BODY, JSON_BODY, MULTIPART_BODY, YAML_BODIES, Body, discard_body, read_body
from .descriptions import (
    MESSAGE,
    OBJECT,
    REFUSAL,
    TEXT,
    Answer,
    Description,
    Parameter,
    object_of,
)
from .endpoints import Endpoint
from .responses import ApiError, json_response, json_text_response, message_response

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane

RETRY_AFTER = "1"  # seconds until another load may be tried
PARALLEL_BODIES = 4
"""bodies in memory at once, though one is loaded at a time; more clients are told to come again"""
SOURCE = "POST /config"
OPTIONS = frozenset(("check_hash", "flatten_errors"))
"""members of a body that say how to load, not what"""

DATABASE = Answer("The node has a database.", MESSAGE)
DESCRIPTIONS = {
    "GET": Description(
        "Show the whole declarative configuration of a node without a database.",
        {200: Answer("It, as YAML.", object_of({"config": TEXT})), 400: DATABASE},
        "config",
    ),
    "POST": Description(
        "Replace the whole declarative configuration of a node without a database.",
        {
            201: Answer("The entities by type and id.", OBJECT),
            304: Answer("It is the same already."),
            400: Answer("The node has a database, or the configuration is not valid.", REFUSAL),
            429: Answer("Another load runs.", MESSAGE),
            504: Answer("Some workers did not follow in time; they will.", MESSAGE),
        },
        "config",
        (
            Parameter("check_hash", "1: answer 304 when nothing would change."),
            Parameter("flatten_errors", "1: tell errors by entity, too."),
        ),
        body=OBJECT,
        body_types=(JSON_BODY, FORM_BODY, MULTIPART_BODY, *YAML_BODIES),
    ),
}


def config_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """The declarative configuration as a whole."""
    places = asyncio.Semaphore(PARALLEL_BODIES)

    async def show(request: Request) -> Response:
        refuse_with_database(plane)
        text = await asyncio.to_thread(export_declarative, plane.configuration)
        return json_response(200, {"config": text})

    async def replace(request: Request) -> Response:
        refuse_with_database(plane)
        if places.locked():
            await discard_body(request)
            return busy()
        async with places:
            return await load(request)

    async def load(request: Request) -> Response:
        body = await read_body(request, yaml=True, limit=plane.settings.admin_client_max_body_size)
        if plane.stopping:
            return message_response(503, "Kong currently exiting")
        if plane.loading:
            return busy()
        with plane.claim_loading():
            try:
                parsed = await asyncio.to_thread(parse_body, body, plane.memory)
            except DeclarativeError as error:
                flatten = is_truthy(option(request, body, "flatten_errors"))
                return json_response(400, error.answer(flatten))
            unchanged = plane.shared.configuration_hash == parsed.configuration.hash
            if unchanged and str(option(request, body, "check_hash")) == "1":
                return Response(status_code=304)
            acknowledged = await plane.apply(parsed.configuration, given_secrets=parsed.given_secrets)
            if len(plane.configuration) == len(parsed.configuration):  # a file may have had the times before
                parsed = dataclasses.replace(parsed, configuration=plane.configuration)
        if not acknowledged:
            return message_response(504, "Timed out while loading configuration")
        return json_text_response(201, await asyncio.to_thread(parsed.answer, plane.entity_json))

    return [Endpoint("/config", {"GET": show, "POST": replace}, DESCRIPTIONS)]


def busy() -> Response:
    """The answer to a load while another one runs."""
    return message_response(429, "Currently loading previous configuration", {"Retry-After": RETRY_AFTER})


def refuse_with_database(plane: ControlPlane) -> None:
    """Kong has this endpoint only without a database."""
    if plane.settings.database != "off":
        text = "this endpoint is only available when Kong is configured to not use a database"
        raise ApiError(message_response(400, text))


def option(request: Request, body: Body, name: str) -> Any:
    """A parameter of the load, from the query or (Kong mixes them) from a form or JSON body."""
    return request.query_params.get(name, body.fields.get(name))


def is_truthy(value: object) -> bool:
    """What Kong takes for yes."""
    return value is True or str(value).lower() in ("true", "1", "on", "yes")


def parse_body(body: Body, memory: LoadMemory) -> Parsed:
    """The configuration that a body holds, in any of the ways in which Kong takes it."""
    if body.media_type == JSON_BODY:
        known = parse_known_json(body.raw, left_out=OPTIONS, source=SOURCE, memory=memory)
        if known is not None:
            return known
    config = body.fields.get("config")
    if not body.raw:
        raise ApiError(message_response(400, "expected a declarative configuration"))
    if body.fields.get("_format_version") or (config is None and body.media_type == JSON_BODY):
        if body.media_type == JSON_BODY:
            return parse_declarative_json(
                body.raw, body.fields, left_out=OPTIONS, source=SOURCE, memory=memory
            )
        document = {name: value for name, value in body.fields.items() if name not in OPTIONS}
        return parse_declarative_document(document, source=SOURCE)
    if config is None:
        config = body.raw
    if not isinstance(config, str | bytes):
        return parse_declarative_document(config, source=SOURCE)
    return parse_declarative(config, source=SOURCE, memory=memory)
