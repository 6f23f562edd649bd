"""bot-detection: clients that their User-Agent shows to be programs are refused."""

from __future__ import annotations

from typing import Annotated

import msgspec

from gateway.entities.fields import Array, Text
from gateway.entities.patterns import pattern_problem
from gateway.entities.record import Record
from gateway.plugins import PluginDefinition

from ._fields import NO_CONSUMER


def _pattern_problem(pattern: str) -> str | None:
    return None if pattern_problem(pattern) is None else f"not a valid regex: {pattern}"


PATTERN = Text("A regular expression, found anywhere in User-Agent.", rule=_pattern_problem)


class BotDetectionConfig(Record, frozen=True, kw_only=True):
    """What counts before the patterns that are built in; `allow` before `deny`."""

    allow: Annotated[list[str] | None, Array("Clients that may pass.", elements=PATTERN)] = msgspec.field(
        default_factory=list
    )
    deny: Annotated[list[str] | None, Array("Clients that may not pass.", elements=PATTERN)] = msgspec.field(
        default_factory=list
    )


PLUGIN = PluginDefinition("bot-detection", BotDetectionConfig, NO_CONSUMER, priority=2500)
