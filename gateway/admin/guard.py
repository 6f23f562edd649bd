"""What stands before the Admin API: who may use it, how many at once, what is hidden, what written down."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import orjson
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from gateway.entities.masking import hide_in_path, hide_secrets

from .access import (
    CALLER,
    QUESTION,
    READING,
    WHOLE_CONFIGURATION,
    Access,
    Caller,
    Refused,
    client_address,
    is_path,
)
from .audit import CURRENT, AuditLog, AuditRecord
from .bodies import discard_body
from .browsers import rebound_name
from .responses import message_response

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane

log = logging.getLogger(__name__)

CHANGES_NOTHING = ("schemas", QUESTION)
"""the first segments of paths whose methods only look like changes"""


class AdminGuard:
    """Wraps the application of the Admin listeners: `guard(app)` is an ASGI application."""

    def __init__(self, plane: ControlPlane, audit: AuditLog) -> None:
        self._plane = plane
        self._audit = audit
        self._access = Access(lambda: plane.settings)
        self._running = 0

    def __call__(self, app: ASGIApp) -> ASGIApp:
        """The application behind this guard."""

        async def guarded(scope: Scope, receive: Receive, send: Send) -> None:
            path = self._plane.settings.admin_audit_log
            if path is None or not is_change(scope):
                await self._pass(app, scope, receive, send)
                return
            nobody = Caller("anonymous", "", client_address(scope))
            record = AuditRecord(nobody, scope["method"], scope["path"])

            async def send_after_writing(message: Message) -> None:
                if message["type"] == "http.response.start":
                    record.status = message["status"]
                    if is_path(scope, WHOLE_CONFIGURATION):
                        record.note_hashes(before.hash, self._plane.configuration.hash)
                    await self._audit.write(path, record)
                await send(message)

            before = self._plane.configuration
            token = CURRENT.set(record)
            try:
                await self._pass(app, scope, receive, send_after_writing)
            except BaseException:
                if not record.status:
                    record.status = 500
                    await self._audit.write(path, record)
                raise
            finally:
                CURRENT.reset(token)

        return guarded

    async def _pass(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request through to `app`, or answer it here."""
        record = CURRENT.get()
        try:
            rebound = rebound_name(scope, self._plane.settings)
            if rebound is not None:
                log.warning("%s %s refused: %s", scope["method"], hide_in_path(scope["path"]), rebound)
                raise Refused(message_response(403, rebound), rebound)
            caller = await self._access.admit(scope)
            if record is not None:
                record.caller = caller
            if self._running >= self._plane.settings.admin_max_requests:
                busy = message_response(503, "too many requests at once", {"Retry-After": "1"})
                raise Refused(busy, "too many requests at once")
        except Refused as refused:
            if refused.caller is not None and record is not None:
                record.caller = refused.caller
            await discard_body(Request(scope, receive))
            response = refused.response
            if scope["method"] == "HEAD":
                response.body = b""
            await response(scope, receive, send)
            return
        self._running += 1
        try:
            hiding = send if caller.sees_secrets else SecretsHidden(send)
            await app({**scope, CALLER: caller}, receive, hiding)
        finally:
            self._running -= 1


def is_change(scope: Scope) -> bool:
    """Whether a request is one for the audit log."""
    return scope["method"] not in READING and not any(is_path(scope, first) for first in CHANGES_NOTHING)


class SecretsHidden:
    """The `send` of a caller who sees no secrets: JSON is held until it is complete and sent without them."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._start: Message | None = None
        self._body = bytearray()

    async def __call__(self, message: Message) -> None:
        """Pass a message of the application on, or hold it."""
        if message["type"] == "http.response.start" and is_json(message):
            self._start = message
        elif self._start is None:
            await self._send(message)
        elif message["type"] == "http.response.body":
            self._body += message.get("body", b"")
            if not message.get("more_body"):
                await self._send_hidden(self._start)

    async def _send_hidden(self, start: Message) -> None:
        if not self._body:  # HEAD
            await self._send(start)
            await self._send({"type": "http.response.body", "body": b""})
            return
        body = orjson.dumps(hide_secrets(orjson.loads(self._body)))
        fields = [field for field in start["headers"] if field[0] != b"content-length"]
        await self._send({**start, "headers": [*fields, (b"content-length", b"%d" % len(body))]})
        await self._send({"type": "http.response.body", "body": body})


def is_json(start: Message) -> bool:
    """Whether the body of an answer is JSON."""
    return any(
        name == b"content-type" and value.startswith(b"application/json")
        for name, value in start.get("headers", ())
    )
