"""Limits for periods of time, which two plugins have."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Annotated

from gateway.entities.fields import Number
from gateway.entities.record import Record

from ._node import shares_database

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

ANYTHING = "00000000-0000-0000-0000-000000000000"
"""stands in keys for a route or service when the plugin is not restricted to one"""
PERIODS = ("second", "minute", "hour", "day", "month", "year")


class Limits(Record, frozen=True, kw_only=True):
    """How many, for each period that is limited."""

    second: Annotated[float | None, Number("In a second.", gt=0)] = None
    minute: Annotated[float | None, Number("In a minute.", gt=0)] = None
    hour: Annotated[float | None, Number("In an hour.", gt=0)] = None
    day: Annotated[float | None, Number("In a day.", gt=0)] = None
    month: Annotated[float | None, Number("In a month.", gt=0)] = None
    year: Annotated[float | None, Number("In a year.", gt=0)] = None

    def problem(self) -> str | None:
        """A longer period allows at least as many as a shorter one."""
        given = [(name, getattr(self, name)) for name in PERIODS if getattr(self, name) is not None]
        for position, (short, limit) in enumerate(given):
            for long, longer_limit in given[position + 1 :]:
                if longer_limit < limit:
                    return (
                        f"The limit for {long}({longer_limit:.1f}) cannot be lower than "
                        f"the limit for {short}({limit:.1f})"
                    )
        return None

    def configured(self) -> list[tuple[int, float]]:
        """(number of the period, limit) of those that there are, the shortest first."""
        return [
            (number, limit)
            for number, name in enumerate(PERIODS)
            if (limit := getattr(self, name)) is not None
        ]


def scope_of(plugin: Plugin) -> str:
    """Kong's part of a counter's key that says for which route and service the plugin is: those it is
    restricted to, not those of the request, so a global plugin counts all requests together."""
    route = plugin.route.id if plugin.route else ANYTHING
    service = plugin.service.id if plugin.service else ANYTHING
    return f"{route}:{service}"


def counts_elsewhere(policy: str | None) -> bool:
    """Whether Redis or a database counts. One that is a file has this node only, whose workers count together
    anyway."""
    return policy == "redis" or (policy == "cluster" and shares_database())


def shown(limit: float) -> tuple[str, str]:
    """A limit as clients see it, and its fraction (".5" or empty)."""
    text = f"{limit:.14g}"
    return text, f".{text.partition('.')[2]}" if "." in text and math.floor(limit) != limit else ""
