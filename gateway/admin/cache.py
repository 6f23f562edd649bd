"""/cache: Kong's cache of entities, which this gateway does not have.

Workers serve from snapshots that hold everything, so there is nothing that could be missing, stale or
forgotten: a key is never found, and purging is done at once.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from .descriptions import MESSAGE, Answer, Description
from .endpoints import Endpoint
from .responses import not_found

KEY = {"key": "A key of Kong's cache."}


def cache_endpoints() -> list[Endpoint]:
    """The empty cache."""

    async def show(request: Request) -> Response:
        return not_found()

    async def forget(request: Request) -> Response:
        return Response(status_code=204)

    done = Answer("There is nothing in the cache.")
    return [
        Endpoint("/cache", {"DELETE": forget}, {"DELETE": Description("Forget all entities.", {204: done})}),
        Endpoint(
            "/cache/{key}",
            {"GET": show, "DELETE": forget},
            {
                "GET": Description(
                    "Look into the cache of entities.", {404: Answer("It is empty.", MESSAGE)}, path=KEY
                ),
                "DELETE": Description("Forget an entity.", {204: done}, path=KEY),
            },
        ),
    ]
