"""proxy-circuit-breaker: a service or target that fails gets no requests for a while. Not a plugin of Kong's.

It runs behind proxy-cache, so that what is cached is still served while nobody asks the service.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

from gateway.entities.fields import Boolean, Integer, Number, Set, Text
from gateway.entities.record import Record
from gateway.plugins import PluginDefinition
from native.circuit import MAX_CIRCUIT_FAILURES, MAX_CIRCUIT_PROBES, circuit_seed
from native.steps.proxy_circuit_breaker import pack_config

from ._fields import NO_CONSUMER

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin

NAME = "proxy-circuit-breaker"
GUARDED = ("service", "target")
LONGEST_TIMEOUT = 31_536_000
"""seconds"""


def timeout_problem(seconds: float) -> str | None:
    """A circuit that stays open for more than a year is a service that should be disabled."""
    return None if seconds <= LONGEST_TIMEOUT else f"value must not be greater than {LONGEST_TIMEOUT}"


class CircuitBreakerConfig(Record, frozen=True, kw_only=True):
    """What counts as a failure, and what follows from how many."""

    http_failures: Annotated[
        int,
        Integer(
            "How many failures in a row open the circuit.", required=True, between=(1, MAX_CIRCUIT_FAILURES)
        ),
    ] = 5
    timeout: Annotated[
        float,
        Number(
            "Seconds that it stays open before requests are let through again, as probes.",
            required=True,
            gt=0,
            rule=timeout_problem,
        ),
    ] = 10
    http_statuses: Annotated[
        list[int],
        Set(
            "The statuses of responses that are failures.",
            required=True,
            elements=Integer("A status.", between=(100, 599)),
        ),
    ] = msgspec.field(default_factory=lambda: [500, 502, 503, 504])
    half_open_requests: Annotated[
        int,
        Integer(
            "How many probes are let through at a time; when as many have succeeded the circuit is closed.",
            required=True,
            between=(1, MAX_CIRCUIT_PROBES),
        ),
    ] = 1
    count_connect_errors: Annotated[
        bool,
        Boolean(
            "Whether it is a failure when the service cannot be reached, or its response is malformed or cut "
            "off.",
            required=True,
        ),
    ] = True
    count_timeouts: Annotated[
        bool, Boolean("Whether it is a failure when the service takes too long.", required=True)
    ] = True
    per: Annotated[
        str,
        Text("What has a circuit of its own: each service, or each target.", required=True, one_of=GUARDED),
    ] = "service"


def timeout_ms(config: CircuitBreakerConfig) -> int:
    """How long an open circuit stays open; at least a millisecond."""
    return max(1, round(config.timeout * 1000))


def pack(config: CircuitBreakerConfig, plugin: Plugin) -> bytes:
    """The form that native/circuit_breaker.pyx reads."""
    return pack_config(
        seed=circuit_seed(plugin.id),
        failures=config.http_failures,
        timeout_ms=timeout_ms(config),
        probes=config.half_open_requests,
        statuses=config.http_statuses,
        per_target=config.per == "target",
        counts_errors=config.count_connect_errors,
        counts_timeouts=config.count_timeouts,
    )


PLUGIN = PluginDefinition(NAME, CircuitBreakerConfig, scopes=NO_CONSUMER, priority=90, pack=pack)
