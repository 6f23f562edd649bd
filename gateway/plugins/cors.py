"""cors: pages of other origins may use what it is for (the Fetch standard's CORS protocol)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.entities.fields import Array, Boolean, Number, Text
from gateway.entities.patterns import pattern_problem
from gateway.entities.record import Record
from gateway.entities.value_checks import control_character_problem, header_name_problem
from gateway.plugins import PluginDefinition
from native.regex import check_pattern
from native.steps.cors import OriginKind, OriginRule, normalized, pack_config

from ._fields import NO_CONSUMER

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

PLAIN = re.compile(r"[A-Za-z0-9.:/-]*|[a-z]+://\[[0-9A-Fa-f:.]+\](?::[0-9]+)?")
"""What is no regular expression: Kong's rule, and hosts that are IPv6 addresses."""
METHODS = ("GET", "HEAD", "PUT", "PATCH", "POST", "DELETE", "OPTIONS", "TRACE", "CONNECT")
NAME = Text("The name of a header.", rule=control_character_problem)


def _name_problem(piece: str) -> str | None:
    return None if piece == "*" else header_name_problem(piece)


def _is_no_origin(piece: str) -> str | None:
    """Commas separate origins, but may be in a regular expression, too."""
    return None if piece == "*" or "://" in piece else "is no origin"


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
            pieces=_is_no_origin,
        ),
    ] = None
    headers: Annotated[
        list[str] | None,
        Array("Access-Control-Allow-Headers; none: those asked for.", elements=NAME, pieces=_name_problem),
    ] = None
    exposed_headers: Annotated[
        list[str] | None, Array("Access-Control-Expose-Headers.", elements=NAME, pieces=_name_problem)
    ] = None
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


def _listed(origin: str) -> tuple[int, str] | None:
    """How a request's origin is compared with one that is configured; None: nothing matches it."""
    if PLAIN.fullmatch(origin):
        return OriginKind.PLAIN_ORIGIN, normalized(origin)[0]
    kind = OriginKind.ORIGIN_PATTERN if ":" in origin else OriginKind.HOST_PATTERN
    # The whole must match; workers compile it so that the beginning does.
    pattern = f"(?:{origin})$"
    return None if check_pattern(pattern) else (kind, pattern)


def pack(config: CorsConfig, _plugin: Plugin) -> bytes:
    """The form that native/steps/cors.pyx reads."""
    origins = config.origins or []
    rule, origin = OriginRule.LISTED_ORIGINS, ""
    if not origins or origins == ["*"]:
        rule = OriginRule.ANY_ORIGIN
    elif len(origins) == 1 and PLAIN.fullmatch(origins[0]):
        rule, origin = OriginRule.ONE_ORIGIN, origins[0]
    return pack_config(
        rule=rule,
        origin=origin,
        listed=[entry for entry in map(_listed, origins) if entry is not None]
        if rule == OriginRule.LISTED_ORIGINS
        else [],
        methods=",".join(config.methods or ()),
        headers=",".join(config.headers or ()),
        exposed_headers=",".join(config.exposed_headers or ()),
        max_age="" if config.max_age is None else str(config.max_age),
        credentials=config.credentials,
        private_network=config.private_network,
        preflight_continue=config.preflight_continue,
    )


PLUGIN = PluginDefinition("cors", CorsConfig, NO_CONSUMER, priority=2000, pack=pack)
