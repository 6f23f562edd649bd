"""rate-limiting: how many requests one may send in a second, a minute, …"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from gateway.entities import texts
from gateway.entities.fields import Boolean, Field, Integer, Number, Text
from gateway.entities.record_checks import AtLeastOneOf, Conditional
from gateway.entities.value_checks import header_name_problem, path_problem, status_problem
from gateway.plugins import PluginDefinition
from native.steps.limiting import CountingPlace
from native.steps.rate_limiting import pack_config

from ._limits import PERIODS, Limits, counts_elsewhere, scope_of, shown
from ._redis import FLAT_FIELDS, POLICY, REDIS, Redis, redis_checks, redis_problem

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

LIMIT_BY = ("consumer", "credential", "ip", "service", "header", "path")
ALGORITHMS = ("fixed-window", "sliding-window", "token-bucket")
OTHER_ALGORITHMS = {"sliding-window": 4_194_303, "token-bucket": 1_000_000_000}
"""those that Kong does not have, with the highest limit that their counters can hold"""
SHORTEST_SYNC = 0.02
"""seconds"""


class RateLimitingConfig(Limits, frozen=True, kw_only=True):
    """The limits, whose requests are counted together, and where they are counted."""

    shorthands: ClassVar[Mapping[str, Field]] = FLAT_FIELDS

    limit_by: Annotated[
        str | None, Text("What requests have in common that are counted together.", one_of=LIMIT_BY)
    ] = "consumer"
    header_name: Annotated[str | None, Text("The header to limit by.", rule=header_name_problem)] = None
    path: Annotated[
        str | None,
        Text(
            "The path to limit by.",
            starts_with="/",
            match_none=(("//", texts.EMPTY_SEGMENTS),),
            rule=path_problem,
        ),
    ] = None
    policy: Annotated[str | None, POLICY] = "local"
    fault_tolerant: Annotated[
        bool, Boolean("Whether requests pass when they cannot be counted.", required=True)
    ] = True
    redis: Annotated[Redis, REDIS] = msgspec.field(default_factory=Redis)
    hide_client_headers: Annotated[
        bool, Boolean("Whether clients are not told their limits.", required=True)
    ] = False
    error_code: Annotated[float | None, Number("The status of refusals.", gt=0, rule=status_problem)] = 429
    error_message: Annotated[str | None, Text("The message of refusals.")] = "API rate limit exceeded"
    sync_rate: Annotated[
        float,
        Number(
            "Seconds between the times when counts are taken to Redis; -1: with every request.",
            required=True,
        ),
    ] = -1
    algorithm: Annotated[
        str | None, Text("How requests are counted; none: fixed-window.", one_of=ALGORITHMS, extension=True)
    ] = None
    burst: Annotated[
        int | None,
        Integer(
            "Of token-bucket: requests that may come at once; none: the limit itself.",
            gt=0,
            extension=True,
        ),
    ] = None
    stacked: Annotated[
        bool | None,
        Boolean(
            "Whether it holds besides other limits for the same request, under its instance_name.",
            extension=True,
        ),
    ] = None

    def problem(self) -> str | None:
        """The limits fit each other; what only some policies and algorithms have is used with those."""
        if text := super().problem():
            return text
        return self._sync_problem() or self._algorithm_problem() or redis_problem(self.redis)

    def _sync_problem(self) -> str | None:
        if self.sync_rate == -1:
            return None
        if self.policy != "redis":
            return "sync_rate can only be used with the redis policy"
        if self.sync_rate < SHORTEST_SYNC:
            return f"sync_rate must be greater than {SHORTEST_SYNC}, or -1 to disable"
        if self.algorithm in OTHER_ALGORITHMS:
            return "sync_rate can only be used with the algorithm fixed-window"
        return None

    def _algorithm_problem(self) -> str | None:
        if self.burst is not None and self.algorithm != "token-bucket":
            return "burst can only be used with the algorithm token-bucket"
        if self.algorithm not in OTHER_ALGORITHMS:
            return None
        if self.policy == "cluster":
            return "algorithm can only be used with the policies local and redis"
        most = OTHER_ALGORITHMS[self.algorithm]
        if any(limit > most for _, limit in self.configured()) or (self.burst or 0) > most:
            return f"the limits of {self.algorithm} cannot be higher than {most}"
        return None


def pack(config: RateLimitingConfig, plugin: Plugin) -> bytes:
    """What the step reads."""
    place = CountingPlace.COUNT_HERE
    if counts_elsewhere(config.policy):
        place = CountingPlace.COUNT_ELSEWHERE if config.sync_rate == -1 else CountingPlace.COUNT_AND_TELL
    limit_by = config.limit_by or "consumer"
    return pack_config(
        scope=f"ratelimit:{instance_of(plugin)}{scope_of(plugin)}".encode(),
        limits=[(period, limit, *shown(limit)) for period, limit in config.configured()],
        algorithm=ALGORITHMS.index(config.algorithm or "fixed-window") + 1,
        burst=config.burst or 0,
        limit_by=LIMIT_BY.index(limit_by),
        name=(config.header_name if limit_by == "header" else config.path) or "",
        place=place,
        status=int(config.error_code or 429),
        message=config.error_message or "",
        fault_tolerant=config.fault_tolerant,
        hidden=config.hide_client_headers,
    )


def instance_of(plugin: Plugin) -> str:
    """What begins the keys of a stacked instance, which counts for itself; empty for others."""
    return f"{plugin.instance_name}:" if plugin.config.get("stacked") else ""


PLUGIN = PluginDefinition(
    "rate-limiting",
    RateLimitingConfig,
    priority=910,
    pack=pack,
    handler="gateway.plugins._limits_handler:LimitsHandler",
    needs_handler=lambda config: counts_elsewhere(config.policy),
    checks=(
        AtLeastOneOf(tuple(f"config.{period}" for period in PERIODS)),
        *redis_checks(),
        Conditional(
            "config.limit_by", if_equal="header", then_field="config.header_name", then_required=True
        ),
        Conditional("config.limit_by", if_equal="path", then_field="config.path", then_required=True),
        Conditional(
            "config.stacked", if_equal=True, then_field="instance_name", then_required=True, extension=True
        ),
    ),
)
