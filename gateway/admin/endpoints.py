"""From a table of endpoints to an ASGI application with Kong's manners.

Every answer carries Kong's header fields; HEAD is GET without the body; OPTIONS lists the methods; unknown
paths are 404 and wrong methods 405; one trailing slash is tolerated; an exception becomes a 500 without a
trace of why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.entities.masking import hide_in_path
from gateway.settings import Settings
from gateway.store.errors import EntityError, FileUnavailable, StoreUnavailable, database_error

from .bodies import discard_body
from .browsers import refusal
from .descriptions import Description
from .paths import PathTable, UnreadablePath, path_segments
from .responses import (
    SERVER,
    ApiError,
    html_error,
    json_response,
    message_response,
    method_not_allowed,
    not_found,
    unexpected_error,
)

log = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True)
class Endpoint:
    """A path and its handlers by method. `path` has its parameters in braces (`/services/{services}`); a
    handler finds them, decoded, in `request.path_params`. One without handlers is listed and not found, as
    Kong has some."""

    path: str
    handlers: Mapping[str, Handler]
    descriptions: Mapping[str, Description] = field(default_factory=dict)
    """What the methods do, for /openapi.json. A test sees to it that every handler has one."""

    def methods(self) -> list[str]:
        """Every method that the path answers, sorted as Kong lists them."""
        implied = {"OPTIONS"} | ({"HEAD"} if "GET" in self.handlers else set())
        return sorted(self.handlers.keys() | implied)


class EndpointApp:
    """The ASGI application of one endpoint: picks the handler by method."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._answer(Request(scope, receive))
        if scope["method"] == "HEAD":
            response = without_body(response)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        method = request.method
        if not self._endpoint.handlers:
            return not_found()
        if method == "OPTIONS" and "OPTIONS" not in self._endpoint.handlers:
            return self._options(request)
        handler = self._endpoint.handlers.get("GET" if method == "HEAD" else method)
        if handler is None:
            return method_not_allowed()
        try:
            return await handler(request)
        except ApiError as error:
            return error.response
        except EntityError as error:
            return json_response(error.status, error.answer())
        except StoreUnavailable as error:
            # What exactly is wrong is for the log: it may tell of addresses and users.
            log.error(
                "%s %s: the database is not available: %s", method, hide_in_path(request.url.path), error
            )
            text = "the database is not available; nothing was changed"
            answer = database_error(str(error) if isinstance(error, FileUnavailable) else text)
            return json_response(answer.status, answer.answer())

    def _options(self, request: Request) -> Response:
        methods = ", ".join(self._endpoint.methods())
        wanted = request.headers.get("access-control-request-headers", "Content-Type")
        headers = {
            "Allow": methods,
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": wanted,
        }
        return Response(status_code=204, headers=headers)


class KongApi:
    """The outermost ASGI application of the Admin and status listeners."""

    def __init__(
        self,
        endpoints: Iterable[Endpoint],
        settings: Callable[[], Settings],
        guard: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    ) -> None:
        """`settings` gives the current ones; `guard` is put around everything that answers."""
        self._settings = settings
        self._guarded = guard(self._dispatch)
        self._paths: PathTable[EndpointApp] = PathTable()
        for endpoint in endpoints:
            self._paths.add(endpoint.path, EndpointApp(endpoint))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no websockets here, and the server is told that there is no lifespan
        started = time.perf_counter()
        refused = refusal(scope, self._settings())
        sharing = [] if refused else sharing_headers(header(scope, b"origin"))
        begun = False

        async def send_with_headers(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                latency = int((time.perf_counter() - started) * 1000)
                message["headers"] = [*message.get("headers", ()), *common_headers(latency), *sharing]
            await send(message)

        if scope["method"] == "TRACE":
            # Kong's web server refuses TRACE before any of Kong's code runs, hence without Kong's header
            # fields.
            await html_error(405, "405 Not Allowed")(scope, receive, send)
            return
        if refused:
            log.warning("%s %s refused: %s", scope["method"], hide_in_path(scope["path"]), refused)
            await discard_body(Request(scope, receive))
            response = message_response(403, refused)
            await (without_body(response) if scope["method"] == "HEAD" else response)(
                scope, receive, send_with_headers
            )
            return
        try:
            await self._guarded(scope, receive, send_with_headers)
        except Exception:
            log.exception("%s %s failed", scope["method"], hide_in_path(scope["path"]))
            if not begun:
                await unexpected_error()(scope, receive, send_with_headers)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            found = self._paths.find(path_segments(scope))
        except UnreadablePath:
            response = message_response(400, "Cannot decode the path: it is not valid UTF-8")
        else:
            if found is not None:
                app, parameters = found
                await app({**scope, "path_params": parameters}, receive, send)
                return
            response = not_found()
        await (without_body(response) if scope["method"] == "HEAD" else response)(scope, receive, send)


def without_body(response: Response) -> Response:
    """The same answer for HEAD: all header fields, Content-Length too, and no body."""
    response.body = b""
    return response


def common_headers(latency_ms: int) -> list[tuple[bytes, bytes]]:
    """The fields of every answer of Kong's Admin API."""
    return [
        (b"server", SERVER.encode()),
        (b"x-kong-admin-latency", str(latency_ms).encode()),
    ]


def sharing_headers(origin: bytes | None) -> list[tuple[bytes, bytes]]:
    """By which a browser lets a page of `origin` see the answer. Without an origin Kong sends them too."""
    return [
        (b"access-control-allow-origin", origin or b"*"),
        (b"access-control-allow-credentials", b"true"),
    ]


def header(scope: Scope, name: bytes) -> bytes | None:
    """The first value of a request header field."""
    return next((value for field, value in scope["headers"] if field == name), None)
