"""request-termination: requests are answered here."""

from __future__ import annotations

import socket
from http import HTTPStatus
from typing import TYPE_CHECKING, Annotated

import orjson

from gateway.entities.fields import Boolean, Integer, Text
from gateway.entities.record import Record
from gateway.entities.value_checks import control_character_problem, header_name_problem, status_problem
from gateway.plugins import PluginDefinition
from native.steps.request_termination import Termination, pack_config

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

UNAVAILABLE = 503
JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=utf-8"
MESSAGES = {
    401: "Unauthorized",
    404: "Not found",
    405: "Method not allowed",
    500: "An unexpected error occurred",
    502: "Bad Gateway",
    503: "Service unavailable",
}
"""What is said with a status when nothing else is."""
ERRORS = frozenset((400, 408, 411, 412, 413, 414, 417, 504))
"""Statuses that have the gateway's own error body then."""
PAGES = frozenset(
    (301, 302, 303, 307, 308, 402, 403, 406, 409, 410, 415, 416, 421, 429, 495, 496, 497, 501, 505, 507)
)
"""Statuses that have a small HTML page then; those in none of the three have no body."""
WITH_CHARSET = frozenset(
    (
        "text/html",
        "text/plain",
        "text/xml",
        "text/vnd.wap.wml",
        "application/javascript",
        "application/rss+xml",
    )
)
"""Types of bodies that are said to be UTF-8, as the configuration is."""


class RequestTerminationConfig(Record, frozen=True, kw_only=True):
    """The answer, and which requests get it."""

    status_code: Annotated[int | None, Integer("The status.", between=(100, 599), rule=status_problem)] = 503
    message: Annotated[str | None, Text("The message, in the form of the gateway's own answers.")] = None
    content_type: Annotated[str | None, Text("The type of `body`.", rule=control_character_problem)] = None
    body: Annotated[str | None, Text("The body, instead of a message.")] = None
    echo: Annotated[bool, Boolean("Whether the answer shows the request.", required=True)] = False
    trigger: Annotated[
        str | None,
        Text(
            "A header or query argument: only requests with it are answered here.", rule=header_name_problem
        ),
    ] = None

    def problem(self) -> str | None:
        """One kind of answer."""
        if self.message and (self.content_type or self.body):
            return "message cannot be used with content_type or body"
        if self.content_type and not self.body:
            return "content_type requires a body"
        if self.echo and (self.content_type or self.body):
            return "echo cannot be used with content_type and body"
        return None


def _page(status: int) -> str:
    known = status in HTTPStatus.__members__.values()
    title = f"{status} {HTTPStatus(status).phrase}" if known else str(status)
    return (
        f"<!doctype html>\n<html>\n<head><title>{title}</title></head>\n"
        f"<body>\n<h1>{title}</h1>\n</body>\n</html>\n"
    )


def _answer(config: RequestTerminationConfig, status: int) -> tuple[Termination, str, str]:
    """Which kind of answer, its Content-Type and its body."""
    message = config.message or MESSAGES.get(status, "")
    if config.echo:
        return Termination.TERMINATE_WITH_ECHO, "", message
    if config.body is not None:
        content_type = config.content_type or ""
        charset = "; charset=UTF-8" if content_type.lower() in WITH_CHARSET else ""
        return Termination.TERMINATE_WITH_BODY, content_type + charset, config.body
    if message:
        return Termination.TERMINATE_WITH_BODY, JSON, orjson.dumps({"message": message}).decode()
    if status in ERRORS:
        return Termination.TERMINATE_WITH_ERROR, "", ""
    if status in PAGES:
        return Termination.TERMINATE_WITH_BODY, HTML, _page(status)
    return Termination.TERMINATE_WITH_BODY, "", ""


def pack(config: RequestTerminationConfig, _plugin: Plugin) -> bytes:
    """The form that native/steps/request_termination.pyx reads."""
    status = config.status_code or UNAVAILABLE
    kind, content_type, body = _answer(config, status)
    return pack_config(
        kind=kind,
        status=status,
        trigger=config.trigger or "",
        content_type=content_type,
        body=body,
        host_name=socket.gethostname() if config.echo else "",
    )


PLUGIN = PluginDefinition("request-termination", RequestTerminationConfig, priority=2, pack=pack)
