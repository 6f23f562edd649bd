"""Reading request bodies: JSON, forms, multipart and raw YAML, with a size limit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import Any
from urllib.parse import parse_qsl

import orjson
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request

from gateway.garbage import collection_paused

from .responses import ApiError, html_error, invalid_media_type, message_response

BODY_LIMIT = 10 * 1024 * 1024  # bytes; the default of the setting ADMIN_CLIENT_MAX_BODY_SIZE
# A body beyond the limit is read on and thrown away up to this size, so that a client that sends before it
# reads sees the 413 and not a reset connection.
DISCARD_LIMIT = 256 * 1024 * 1024
BODY_TIMEOUT = 60.0  # seconds for a whole body: who dawdles must not hold memory for ever
UNWANTED_BODY_TIMEOUT = 10.0  # seconds for one that nobody reads: its sender may be anybody
FIELD_LIMIT = 1000
CHARSETS = (b"utf-8", b"us-ascii", b"iso-8859-1")
"""of multipart forms; some others of Python's make half characters, or take time without end"""
DEEPEST_VALUE = 64  # arrays and objects within one another; nothing that is configured lies so deep
SMALL_BODY = 64 * 1024  # bytes of JSON that may be decoded at once

JSON_BODY = "application/json"
FORM_BODY = "application/x-www-form-urlencoded"
MULTIPART_BODY = "multipart/form-data"
YAML_BODIES = ("text/yaml", "application/yaml", "application/x-yaml", "text/x-yaml")


@dataclass(frozen=True)
class Body:
    """A request body."""

    raw: bytes
    media_type: str  # lower case, without parameters; empty without a body
    pairs: tuple[tuple[str, str], ...] = ()
    """The names and texts of a form, in order."""

    @property
    def is_json(self) -> bool:
        return bool(self.raw) and self.media_type == JSON_BODY

    @property
    def is_large(self) -> bool:
        """Whether decoding it takes long enough to use a thread for."""
        return len(self.raw) >= SMALL_BODY

    @cached_property
    def fields(self) -> dict[str, Any]:
        """The members of a JSON object or a form (of a repeated name the last); empty for raw text. A large
        object is decoded when they are first asked for: use a thread. Raises ApiError (400)."""
        return json_fields(self.raw) if self.is_json else dict(self.pairs)


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
    if media_type == JSON_BODY:
        body = Body(raw, media_type)
        if not body.is_large:
            _ = body.fields  # so that nobody has to think of it
        return body
    if media_type == FORM_BODY:
        pairs = await asyncio.to_thread(form_pairs, raw) if len(raw) >= SMALL_BODY else form_pairs(raw)
        return Body(raw, media_type, pairs)
    if media_type == MULTIPART_BODY:
        return Body(raw, media_type, await multipart_pairs(request, raw))
    if yaml and media_type in YAML_BODIES:
        return Body(raw, media_type)
    raise ApiError(invalid_media_type())


async def read_limited(request: Request, limit: int) -> bytes:
    """The whole body, at most `limit` bytes; 0: any number."""
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_TIMEOUT):
            async for chunk in request.stream():
                size += len(chunk)
                if not limit or size <= limit:
                    chunks.append(chunk)
                elif chunks:
                    chunks.clear()
                if limit and size > max(limit, DISCARD_LIMIT):
                    break
    except TimeoutError:
        raise ApiError(html_error(408, "408 Request Time-out", {"Connection": "close"})) from None
    except ClientDisconnect:  # nobody reads the answer, but it is in the log
        raise ApiError(message_response(400, "The body did not come to its end")) from None
    if limit and size > limit:
        raise ApiError(html_error(413, "413 Request Entity Too Large"))
    return b"".join(chunks)


async def discard_body(request: Request) -> None:
    """Read a body that nobody wants, so that its sender comes to read the answer."""
    size = 0
    with suppress(ClientDisconnect, TimeoutError):
        async with asyncio.timeout(UNWANTED_BODY_TIMEOUT):
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


def form_pairs(raw: bytes) -> tuple[tuple[str, str], ...]:
    """The names and texts of a URL-encoded form."""
    if raw.count(b"&") >= FIELD_LIMIT:
        raise ApiError(message_response(400, "Too many arguments"))
    try:
        return tuple(parse_qsl(raw.decode(), keep_blank_values=True, errors="strict"))
    except UnicodeDecodeError:
        raise ApiError(message_response(400, "Cannot parse form body")) from None


async def multipart_pairs(request: Request, raw: bytes) -> tuple[tuple[str, str], ...]:
    """The names and texts of a multipart form, the content of files as text."""
    _, parameters = parse_options_header(request.headers["content-type"])
    if parameters.get(b"charset", b"utf-8").lower() not in CHARSETS:
        raise ApiError(message_response(400, "Cannot parse multipart body"))
    parser = MultiPartParser(
        request.headers, once(raw), max_files=FIELD_LIMIT, max_fields=FIELD_LIMIT, max_part_size=len(raw)
    )
    try:
        form = await parser.parse()
    except MultiPartException as error:
        many = error.message.startswith("Too many")
        raise ApiError(
            message_response(400, "Too many arguments" if many else "Cannot parse multipart body")
        ) from None
    except (KeyError, ValueError):
        raise ApiError(message_response(400, "Cannot parse multipart body")) from None
    pairs: list[tuple[str, str]] = []
    for name, value in form.multi_items():
        if isinstance(value, UploadFile):
            pairs.append((name, (await value.read()).decode("utf-8", "replace")))
            await value.close()
        else:
            pairs.append((name, value))
    return tuple(pairs)


def refuse_unusable(fields: dict[str, Any]) -> None:
    """Values that no entity can have: nested too deep, or with characters that databases do not keep. Raises
    ApiError (400)."""
    level: deque[Any] = deque([fields])
    for _ in range(DEEPEST_VALUE):
        below: deque[Any] = deque()
        for value in level:
            if isinstance(value, str):
                if "\0" in value:
                    raise ApiError(message_response(400, "The body must not contain NUL characters"))
            elif isinstance(value, dict):
                below.extend(value.keys())
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(value)
        if not below:
            return
        level = below
    raise ApiError(message_response(400, f"The body is nested deeper than {DEEPEST_VALUE} levels"))


async def once(data: bytes) -> AsyncGenerator[bytes, None]:
    """A body that was read already, as the parser wants it."""
    yield data
    yield b""
