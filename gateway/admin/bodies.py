"""Reading request bodies: JSON, forms, multipart and raw YAML, with a size limit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import orjson
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from gateway.garbage import collection_paused

from .responses import ApiError, html_error, invalid_media_type, message_response

BODY_LIMIT = 10 * 1024 * 1024  # Kong's nginx_admin_client_max_body_size
# A body beyond the limit is read on and thrown away up to this size, so that a client that sends before it
# reads sees the 413 and not a reset connection.
DISCARD_LIMIT = 256 * 1024 * 1024
BODY_TIMEOUT = 60.0  # seconds for a whole body: who dawdles must not hold memory for ever
FIELD_LIMIT = 1000
SMALL_BODY = 64 * 1024  # bytes of JSON that may be decoded at once

JSON = "application/json"
YAML_TYPES = ("text/yaml", "application/yaml", "application/x-yaml", "text/x-yaml")


@dataclass(frozen=True)
class Body:
    """A request body."""

    raw: bytes
    media_type: str  # lower case, without parameters; empty without a body
    form: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The members of a JSON object or a form; empty for raw text. A large object is decoded when they are
        first asked for: use a thread. Raises ApiError (400)."""
        return json_fields(self.raw) if self.raw and self.media_type == JSON else self.form


async def read_body(request: Request, *, yaml: bool = False, limit: int = BODY_LIMIT) -> Body:
    """The body of a request. Raises ApiError: 400 (not parsable; for large JSON see `Body.fields`), 408 (too
    slow), 413 (too big), 415 (type not read here).

    `yaml` allows YAML types, whose text is given raw.
    """
    raw = await read_limited(request, limit)
    types = request.headers.getlist("content-type")
    if len(types) > 1:
        raise ApiError(message_response(400, "Only one Content-Type header is allowed"))
    media_type = types[0].partition(";")[0].strip().lower() if types else ""
    if not raw:
        return Body(b"", media_type)
    if media_type == JSON:
        body = Body(raw, media_type)
        if len(raw) < SMALL_BODY:
            _ = body.fields  # so that nobody has to think of it
        return body
    if media_type == "application/x-www-form-urlencoded":
        return Body(raw, media_type, form_fields(raw))
    if media_type == "multipart/form-data":
        return Body(raw, media_type, await multipart_fields(request, raw, limit))
    if yaml and media_type in YAML_TYPES:
        return Body(raw, media_type)
    raise ApiError(invalid_media_type())


async def read_limited(request: Request, limit: int) -> bytes:
    """The whole body, at most `limit` bytes."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                size += len(chunk)
                if size <= limit:
                    chunks.append(chunk)
                elif chunks:
                    chunks.clear()
                if size > DISCARD_LIMIT:
                    break
    except TimeoutError:
        raise ApiError(html_error(408, "408 Request Time-out", {"Connection": "close"})) from None
    if size > limit:
        raise ApiError(html_error(413, "413 Request Entity Too Large"))
    return b"".join(chunks)


async def discard_body(request: Request) -> None:
    """Read a body that nobody wants, so that its sender comes to read the answer."""
    size = 0
    with suppress(ClientDisconnect, TimeoutError):
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                size += len(chunk)
                if size > DISCARD_LIMIT:
                    return


def json_fields(raw: bytes) -> dict[str, Any]:
    """The members of a JSON object. An empty array counts as an empty object (corrections.md 8)."""
    try:
        with collection_paused():
            value = orjson.loads(raw)
    except orjson.JSONDecodeError:
        raise ApiError(message_response(400, "Cannot parse JSON body")) from None
    if value == []:
        return {}
    if not isinstance(value, dict):
        # Kong fails with a 500 here; the body is the client's mistake.
        raise ApiError(message_response(400, "Cannot parse JSON body"))
    return value


def form_fields(raw: bytes) -> dict[str, Any]:
    """The fields of a URL-encoded form; of a repeated field the last."""
    try:
        pairs = parse_qsl(raw.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=FIELD_LIMIT)
    except ValueError:
        raise ApiError(message_response(400, "Too many arguments")) from None
    return dict(pairs)


async def multipart_fields(request: Request, raw: bytes, limit: int) -> dict[str, Any]:
    """The fields of a multipart form, the content of files as text."""
    parser = MultiPartParser(
        request.headers, once(raw), max_files=FIELD_LIMIT, max_fields=FIELD_LIMIT, max_part_size=limit
    )
    try:
        form = await parser.parse()
    except (MultiPartException, KeyError, ValueError):
        raise ApiError(message_response(400, "Cannot parse multipart body")) from None
    fields: dict[str, Any] = {}
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            fields[name] = (await value.read()).decode("utf-8", "replace")
            await value.close()
        else:
            fields[name] = value
    return fields


async def once(data: bytes) -> AsyncGenerator[bytes, None]:
    """A body that was read already, as the parser wants it."""
    yield data
    yield b""
