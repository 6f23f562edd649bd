"""GET and PUT /debug/node/log-level: another log level for a while, without a reload."""

from __future__ import annotations

import asyncio
import logging
import math
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from gateway.logs import LEVELS

from .descriptions import INTEGER, MESSAGE, Answer, Description, Parameter
from .endpoints import Endpoint
from .responses import message_response

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane
    from gateway.settings import Settings

log = logging.getLogger(__name__)

TIMEOUT = 60  # seconds that a level holds when the request does not say
LONGEST = 7 * 86400
"""seconds; who wants a level for longer sets LOG_LEVEL"""
PATH = "/debug/node/log-level"


class LogLevel:
    """The log level of this node: that of the settings, or another one for a while."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane
        self._changing = asyncio.Lock()
        self._own: Settings | None = None
        """the settings that were in force with the level changed"""
        self._usual = ""
        self._return: asyncio.Task[None] | None = None

    @property
    def current(self) -> str:
        """The level at and above which is logged now."""
        return self._plane.settings.log_level

    async def change(self, level: str, seconds: int) -> None:
        """Log at another level, and at the usual one again afterwards; 0 seconds: until settings are read
        again."""
        async with self._changing:
            if not self._is_changed():
                self._usual = self.current
            self._cancel_return()
            if level != self.current:
                await self._plane.set_log_level(level)
                log.warning("log level %s, by the Admin API", level)
            self._own = self._plane.settings
            if seconds and level != self._usual:
                self._return = asyncio.get_running_loop().create_task(
                    self._go_back(seconds), name="log level"
                )

    def _is_changed(self) -> bool:
        """Whether the level is one of ours: a reload brings that of the settings back."""
        return self._own is self._plane.settings

    def _cancel_return(self) -> None:
        if self._return is not None:
            self._return.cancel()
            self._return = None

    async def _go_back(self, seconds: int) -> None:
        await asyncio.sleep(seconds)
        async with self._changing:
            self._return = None
            if not self._is_changed():
                return
            try:
                await self._plane.set_log_level(self._usual)
            except Exception:
                log.exception("the usual log level could not be set again")
            else:
                log.warning("log level %s again", self._usual)


def debug_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """The log level of the node."""
    level = LogLevel(plane)

    async def show(request: Request) -> Response:
        return message_response(200, f"log level: {level.current}")

    async def change(request: Request) -> Response:
        wanted = request.path_params["log_level"]
        if wanted not in LEVELS:
            return message_response(400, f"unknown log level: {wanted}")
        try:
            seconds = timeout_of(request.query_params.get("timeout"))
        except ValueError as error:
            return message_response(400, str(error))
        if wanted == level.current:
            await level.change(wanted, seconds)
            return message_response(200, f"log level is already {wanted}")
        await level.change(wanted, seconds)
        return message_response(200, "log level changed")

    return [
        Endpoint(PATH, {"GET": show}, {"GET": SHOW}),
        Endpoint(f"{PATH}/{{log_level}}", {"PUT": change}, {"PUT": CHANGE}),
    ]


def timeout_of(text: str | None) -> int:
    """Seconds, rounded up. ValueError with the text of the answer."""
    if text is None:
        return TIMEOUT
    try:
        seconds = math.ceil(float(text))
    except (ValueError, OverflowError):
        raise ValueError("timeout must be a number of seconds") from None
    if not 0 <= seconds <= LONGEST:
        raise ValueError(f"timeout must be between 0 and {LONGEST}")
    return seconds


SHOW = Description("The log level of this node.", {200: Answer("In words.", MESSAGE)})
CHANGE = Description(
    "Change the log level of this node for a while.",
    {
        200: Answer("Control process and workers log so.", MESSAGE),
        400: Answer("There is no such level, or the timeout is none.", MESSAGE),
    },
    query=(
        Parameter(
            "timeout",
            "Seconds until the usual level comes back; 0: when settings are read again.",
            {**INTEGER, "minimum": 0, "maximum": LONGEST, "default": TIMEOUT},
        ),
    ),
    path={"log_level": "One of " + ", ".join(LEVELS) + "."},
)
