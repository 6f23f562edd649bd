"""response-ratelimiting: limits on what upstreams say that their responses cost."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from gateway.entities.fields import Boolean, Field, Map, Text
from gateway.entities.record import Group, Record, RecordCheck
from gateway.entities.record_checks import AtLeastOneOf
from gateway.entities.value_checks import header_name_problem
from gateway.plugins import PluginDefinition
from native.steps.limiting import CountingPlace
from native.steps.response_ratelimiting import pack_config

from ._limits import PERIODS, Limits, counts_elsewhere, scope_of, shown
from ._redis import FLAT_FIELDS, POLICY, REDIS, Redis, redis_checks, redis_problem

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

LIMIT_BY = ("consumer", "credential", "ip")


class NamedLimits(Limits, frozen=True, kw_only=True):
    """The limits of one of the things that are counted."""

    record_checks: ClassVar[tuple[RecordCheck, ...]] = (AtLeastOneOf(PERIODS),)

    def problem(self) -> str | None:
        """That of the other plugin's limits; Kong begins it with a small letter here."""
        text = super().problem()
        return text and text[0].lower() + text[1:]


class ResponseRateLimitingConfig(Record, frozen=True, kw_only=True):
    """The limits, whose responses are counted together, and where they are counted."""

    shorthands: ClassVar[Mapping[str, Field]] = FLAT_FIELDS

    header_name: Annotated[
        str | None, Text("The response header that tells the costs.", rule=header_name_problem)
    ] = "x-kong-limit"
    limit_by: Annotated[
        str | None,
        Text("What requests have in common that are counted together.", one_of=LIMIT_BY),
    ] = "consumer"
    policy: Annotated[str | None, POLICY] = "local"
    fault_tolerant: Annotated[
        bool, Boolean("Whether requests pass when nothing can be counted.", required=True)
    ] = True
    redis: Annotated[Redis, REDIS] = msgspec.field(default_factory=Redis)
    block_on_first_violation: Annotated[
        bool, Boolean("Whether a request is refused when any of the limits is reached.", required=True)
    ] = False
    hide_client_headers: Annotated[
        bool, Boolean("Whether clients are not told their limits.", required=True)
    ] = False
    limits: Annotated[
        dict[str, NamedLimits],
        Map(
            "The limits by name.",
            required=True,
            len_min=1,
            keys=Text("A name, as in the header.", rule=header_name_problem),
            values=Group("Its limits.", required=True, record=NamedLimits),
        ),
    ]

    def problem(self) -> str | None:
        """What the record of Redis says fits each other."""
        return redis_problem(self.redis)


def pack(config: ResponseRateLimitingConfig, plugin: Plugin) -> bytes:
    """What the step reads."""
    return pack_config(
        scope=f"response-ratelimit:{scope_of(plugin)}".encode(),
        names=[
            (name, [(period, PERIODS[period], limit, *shown(limit)) for period, limit in limits.configured()])
            for name, limits in sorted(config.limits.items())
        ],
        header_name=config.header_name or "x-kong-limit",
        limit_by=LIMIT_BY.index(config.limit_by or "consumer"),
        place=CountingPlace.COUNT_ELSEWHERE if counts_elsewhere(config.policy) else CountingPlace.COUNT_HERE,
        fault_tolerant=config.fault_tolerant,
        hidden=config.hide_client_headers,
        blocks=config.block_on_first_violation,
    )


PLUGIN = PluginDefinition(
    "response-ratelimiting",
    ResponseRateLimitingConfig,
    priority=900,
    checks=redis_checks(),
    pack=pack,
    handler="gateway.plugins._limits_handler:LimitsHandler",
    needs_handler=lambda config: counts_elsewhere(config.policy),
)
