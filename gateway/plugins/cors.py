"""cors: pages of other origins may use what it is for (the Fetch standard's CORS protocol)."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.entities.fields import Array, Boolean, Number, Text
from gateway.entities.patterns import pattern_problem
from gateway.entities.record import Record
from gateway.entities.value_checks import control_character_problem
from gateway.plugins import PluginDefinition

from ._fields import NO_CONSUMER

METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT")
NAME = Text("The name of a header.", rule=control_character_problem)


def _origin_problem(origin: str) -> str | None:
    if origin == "*":
        return None
    return (
        control_character_problem(origin)
        if pattern_problem(origin) is None
        else f"'{origin}' is not a valid regex"
    )


class CorsConfig(Record, frozen=True, kw_only=True):
    """What preflight requests are answered, and what is added to responses."""

    origins: Annotated[
        list[str] | None,
        Array(
            "Origins, or regular expressions for them; none or `*`: every origin.",
            elements=Text("An origin.", rule=_origin_problem),
        ),
    ] = None
    headers: Annotated[
        list[str] | None, Array("Access-Control-Allow-Headers; none: those asked for.", elements=NAME)
    ] = None
    exposed_headers: Annotated[list[str] | None, Array("Access-Control-Expose-Headers.", elements=NAME)] = (
        None
    )
    methods: Annotated[
        list[str] | None,
        Array("Access-Control-Allow-Methods.", elements=Text("A method.", one_of=METHODS)),
    ] = msgspec.field(default_factory=lambda: list(METHODS))
    max_age: Annotated[float | None, Number("Access-Control-Max-Age, in seconds.")] = None
    credentials: Annotated[bool, Boolean("Access-Control-Allow-Credentials.", required=True)] = False
    private_network: Annotated[bool, Boolean("Access-Control-Allow-Private-Network.", required=True)] = False
    preflight_continue: Annotated[
        bool, Boolean("Whether the upstream answers preflight requests itself.", required=True)
    ] = False


PLUGIN = PluginDefinition("cors", CorsConfig, NO_CONSUMER, priority=2000)
