"""Entities that live for a time only: credentials and tokens with `ttl`.

What a client writes and sees is the life that is left, in seconds (`ttl`); what is kept is when it ends
(`expires_at`), which means the same whenever it is read.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from gateway.entities.fields import Checked, Errors, Field, Integer, Number
from gateway.entities.record import Entity

LONGEST_TTL = 100_000_000
"""seconds, about three years"""


@dataclass(frozen=True)
class TimeToLive(Integer):
    """Seconds to live; 0 is forever. Not stored (see `Expiring`); declared among the `shorthands`."""

    between: tuple[int, int] | None = (0, LONGEST_TTL)

    def check(self, value: Any) -> Checked:
        clean, problem = Integer.check(self, value)
        return clean, None if problem is None else f"must be an integer between 0 and {LONGEST_TTL}"


@dataclass(frozen=True)
class ExpiryTime(Number):
    """When it expires, in seconds since the epoch; no later than the longest life lets it."""

    def check(self, value: Any) -> Checked:
        clean, problem = Number.check(self, value)
        if problem is None and clean > time.time() + LONGEST_TTL:
            problem = f"must be at most {LONGEST_TTL} seconds from now"
        return clean, problem


TIME_TO_LIVE = TimeToLive("Seconds until it expires; 0 or null: it does not.")


class Expiring(Entity, frozen=True, kw_only=True):
    """An entity that is gone when its time is over."""

    shorthands: ClassVar[Mapping[str, Field]] = {"ttl": TIME_TO_LIVE}
    options: ClassVar[tuple[str, ...]] = ("ttl",)

    expires_at: Annotated[
        float | None,
        ExpiryTime("When it expires, in seconds since the epoch.", timestamp=True, extension=True),
    ] = None

    @classmethod
    def prepare(cls, values: dict[str, Any]) -> dict[Any, Errors]:
        if "ttl" not in values:
            return {}
        ttl = values.pop("ttl")
        if ttl is not None:
            ttl, problem = TIME_TO_LIVE.check(ttl)
            if problem is not None:
                return {"ttl": problem}
        values["expires_at"] = time.time() + ttl if ttl else None
        return {}


def expiry_of(entity: Entity) -> float | None:
    """When an entity expires, in seconds since the epoch."""
    return entity.expires_at if isinstance(entity, Expiring) else None


def is_expired(entity: Entity, now: float) -> bool:
    """Whether the time of an entity is over: it must not be seen any more."""
    expiry = expiry_of(entity)
    return expiry is not None and expiry <= now


def time_left(entity: Entity, now: float) -> int | None:
    """The whole seconds an entity lives after the current one, as Kong shows them: 3599 at once for 3600."""
    expiry = expiry_of(entity)
    return None if expiry is None else max(math.ceil(expiry - now) - 1, 0)
