"""Limits for periods of time, which two plugins have."""

from __future__ import annotations

from typing import Annotated

from gateway.entities.fields import Number
from gateway.entities.record import Record

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
