"""rate-limiting: how many requests one may send in a second, a minute, …"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, ClassVar

import msgspec

from gateway.entities import texts
from gateway.entities.fields import Boolean, Field, Integer, Number, Text
from gateway.entities.record_checks import AtLeastOneOf, Conditional
from gateway.entities.value_checks import header_name_problem, path_problem, status_problem
from gateway.plugins import PluginDefinition

from ._limits import PERIODS, Limits
from ._redis import FLAT_FIELDS, POLICY, REDIS, Redis, redis_checks

LIMIT_BY = ("consumer", "credential", "ip", "service", "header", "path")
ALGORITHMS = ("fixed-window", "sliding-window", "token-bucket")
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
        if self.sync_rate != -1:
            if self.policy != "redis":
                return "sync_rate can only be used with the policy redis"
            if self.sync_rate < SHORTEST_SYNC:
                return f"sync_rate must be -1 or at least {SHORTEST_SYNC}"
        if self.burst is not None and self.algorithm != "token-bucket":
            return "burst can only be used with the algorithm token-bucket"
        return None


PLUGIN = PluginDefinition(
    "rate-limiting",
    RateLimitingConfig,
    priority=910,
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
