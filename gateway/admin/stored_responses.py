"""/proxy-cache: looking at stored responses, and purging them.

Kong's endpoints, which work for response-caching as well; and, beyond Kong, purging by tag, by address and by
plugin, and numbers of the store. What is purged is purged on every node.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.stored_responses import CacheUnavailable, InvalidPurge, Purge, PurgeProblem
from gateway.stored_responses.purges import KEY
from native.cache_image import read_fields

from .descriptions import INTEGER, MESSAGE, OBJECT, TEXT, Answer, Description, Parameter, object_of
from .endpoints import Endpoint
from .responses import ApiError, html_error, json_response, message_response

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane

PATH = "/proxy-cache"
GROUP = "stored responses"
ARGUMENTS = ("tag", "prefix", "host")
VERSION = 1
"""of the form of an answer, as in Kong"""


def stored_response_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """All of /proxy-cache."""

    async def purge(request: Request) -> Response:
        return await purged(plane, asked_purge(request))

    async def statistics(request: Request) -> Response:
        return json_response(200, dict(plane.stored_responses.statistics()))

    async def show(request: Request) -> Response:
        return await shown(plane, request.path_params["key"])

    async def remove(request: Request) -> Response:
        name = request.path_params["key"]
        if is_plugin(plane, name):
            return await purged(plane, asked_purge(request, plugin=name))
        return await removed(plane, name)

    async def show_of_plugin(request: Request) -> Response:
        return await shown(plane, request.path_params["key"], plugin_of(plane, request))

    async def remove_of_plugin(request: Request) -> Response:
        return await removed(plane, request.path_params["key"], plugin_of(plane, request))

    return [
        Endpoint(PATH, {"DELETE": purge}, {"DELETE": PURGE}),
        Endpoint(f"{PATH}/statistics", {"GET": statistics}, {"GET": STATISTICS}),
        Endpoint(f"{PATH}/{{key}}", {"GET": show, "DELETE": remove}, {"GET": SHOW, "DELETE": REMOVE}),
        Endpoint(
            f"{PATH}/{{plugins}}/caches/{{key}}",
            {"GET": show_of_plugin, "DELETE": remove_of_plugin},
            {"GET": SHOW_OF_PLUGIN, "DELETE": REMOVE_OF_PLUGIN},
        ),
    ]


async def shown(plane: ControlPlane, key: str, plugin_id: str | None = None) -> Response:
    """A stored response, as Kong shows it."""
    if not KEY.fullmatch(key):
        return unknown()
    try:
        found: Any = await plane.stored_responses.find(key, plugin_id)
    except CacheUnavailable as error:
        return message_response(503, str(error))
    if found is None:
        return unknown()
    fields = found.get("fields")
    if fields is None:
        fields = read_fields(found["prelude"], found["field_count"]) or []
    fresh_ms = max(0, found["fresh_until_ms"] - found["stored_ms"])
    return json_response(
        200,
        {
            "status": found["status"],
            "headers": {**headers_of(fields), "X-Cache-Key": key},
            "body": found["body"].decode("utf-8", "replace"),
            "body_len": len(found["body"]),
            "timestamp": found["stored_ms"] // 1000,
            "ttl": fresh_ms // 1000,
            "version": VERSION,
            "req_body": "",
        },
    )


def headers_of(fields: Iterable[tuple[bytes, bytes]]) -> dict[str, str | list[str]]:
    """Names and values; a name that is repeated has a list, under its first spelling."""
    texts = [(name.decode("latin-1"), value.decode("utf-8", "replace")) for name, value in fields]
    counts = Counter(name.lower() for name, _ in texts)
    spellings: dict[str, str] = {}
    found: dict[str, Any] = {}
    for name, value in texts:
        shown_name = spellings.setdefault(name.lower(), name)
        if counts[name.lower()] > 1:
            found.setdefault(shown_name, []).append(value)
        else:
            found[shown_name] = value
    return found


async def removed(plane: ControlPlane, key: str, plugin_id: str | None = None) -> Response:
    """DELETE of a key."""
    if not KEY.fullmatch(key):
        return unknown()
    try:
        if await plane.stored_responses.find(key, plugin_id) is None:
            return unknown()
    except CacheUnavailable:
        pass  # purging will say so
    return await purged(plane, Purge(plugin=plugin_id, key=key))


async def purged(plane: ControlPlane, purge: Purge) -> Response:
    """The answer to a purge."""
    try:
        await plane.stored_responses.purge(purge)
    except PurgeProblem as problem:
        return message_response(503, f"purged on this node, but not everywhere: {problem}; try again")
    return Response(status_code=204)


def asked_purge(request: Request, plugin: str | None = None) -> Purge:
    """What the query says is to be purged. Answers 400 when that makes no sense: what is misspelled must not
    purge everything."""
    query = request.query_params
    unknown_names = sorted(set(query) - set(ARGUMENTS))
    repeated = [name for name in ("prefix", "host") if len(query.getlist(name)) > 1]
    try:
        if unknown_names:
            raise InvalidPurge(f"unknown argument: {unknown_names[0]}")
        if repeated:
            raise InvalidPurge(f"{repeated[0]} can be given once")
        return Purge(
            plugin=plugin,
            tags=tuple(dict.fromkeys(query.getlist("tag"))),
            prefix=query.get("prefix"),
            host=query["host"].lower() if "host" in query else None,
        ).check()
    except InvalidPurge as error:
        raise ApiError(message_response(400, str(error))) from None


def is_plugin(plane: ControlPlane, name: str) -> bool:
    """Whether it is the id of a plugin that stores responses."""
    return any(plugin.id == name.lower() for plugin in plane.stored_responses.plugins())


def plugin_of(plane: ControlPlane, request: Request) -> str:
    """The plugin of a path. Answers 404 when there is none that stores responses."""
    name = request.path_params["plugins"]
    try:
        found = str(uuid.UUID(name))
    except ValueError:
        found = ""
    if not is_plugin(plane, found):
        raise ApiError(unknown())
    return found


def unknown() -> Response:
    """What Kong's web server says (corrections.md 9)."""
    return html_error(404, "404 Not Found")


# --- for the document of the API ------------------------------------------------------------------------

PAGE = "text/html"
KEY_PATH = {"key": "The key of a response, as in X-Cache-Key: 64 hex digits."}
PLUGIN_PATH = {"plugins": "The id of a plugin that stores responses.", **KEY_PATH}
PURGING = (
    Parameter("tag", "Purge what has this tag (Surrogate-Key, Cache-Tag); several: what has one of them."),
    Parameter("prefix", "Purge what is below this path, as clients send it."),
    Parameter("host", "Purge what is of this host, with `prefix` or without."),
)
DONE = Answer("It has gone, on every node.")
INVALID = Answer("The query makes no sense.", MESSAGE)
NOT_EVERYWHERE = Answer("It has gone here, but a Redis or the database was not reached.", MESSAGE)
ABSENT = Answer("There is no such response.", media_type=PAGE)
STORED = Answer(
    "The response.",
    object_of(
        {
            "status": INTEGER,
            "headers": OBJECT,
            "body": TEXT,
            "body_len": INTEGER,
            "timestamp": INTEGER,
            "ttl": INTEGER,
            "version": INTEGER,
            "req_body": TEXT,
        }
    ),
)
NOT_REACHED = Answer("A Redis that may have it was not reached.", MESSAGE)

PURGE = Description(
    "Purge stored responses: all, or what the query chooses.",
    {204: DONE, 400: INVALID, 503: NOT_EVERYWHERE},
    group=GROUP,
    query=PURGING,
)
STATISTICS = Description(
    "Numbers of this node's store.",
    {200: Answer("Entries, bytes, and what became of others.", OBJECT)},
    group=GROUP,
)
SHOW = Description(
    "A stored response.", {200: STORED, 404: ABSENT, 503: NOT_REACHED}, group=GROUP, path=KEY_PATH
)
REMOVE = Description(
    "Purge a stored response; with the id of a plugin instead of a key, all of its own, or what the query "
    "chooses of them.",
    {204: DONE, 400: INVALID, 404: ABSENT, 503: NOT_EVERYWHERE},
    group=GROUP,
    query=PURGING,
    path={"key": "The key of a response, or the id of a plugin that stores responses."},
)
SHOW_OF_PLUGIN = Description(
    "A stored response of a plugin.",
    {200: STORED, 404: ABSENT, 503: NOT_REACHED},
    group=GROUP,
    path=PLUGIN_PATH,
)
REMOVE_OF_PLUGIN = Description(
    "Purge a stored response of a plugin.",
    {204: DONE, 404: ABSENT, 503: NOT_EVERYWHERE},
    group=GROUP,
    path=PLUGIN_PATH,
)
