"""Upstreams: virtual hosts whose requests are spread over targets."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import msgspec

from gateway.entities import texts
from gateway.entities.fields import (
    Array,
    Boolean,
    Errors,
    Field,
    Foreign,
    Integer,
    Map,
    Number,
    Reference,
    Text,
)
from gateway.entities.hosts import HostKind, InvalidHost, parse_host
from gateway.entities.record import CreatedAt, Entity, Group, Record, RecordCheck, UpdatedAt
from gateway.entities.record_checks import Conditional, Distinct
from gateway.entities.value_checks import (
    cookie_name_problem,
    header_name_problem,
    host_and_port_problem,
    path_problem,
    server_name_problem,
)

ALGORITHMS = ("consistent-hashing", "least-connections", "round-robin", "latency")
STICKY_SESSIONS = "sticky-sessions"
"""the name that later versions of Kong have for balancing by a cookie"""
HASH_INPUTS = ("none", "consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture")
CHECK_TYPES = ("tcp", "http", "https", "grpc", "grpcs")


def upstream_name_problem(name: str) -> str | None:
    """The name of an upstream looks like a host name, since services use it as their host."""
    try:
        host = parse_host(name)
    except InvalidHost:
        return f"Invalid name ('{name}'); must be a valid hostname"
    if host.kind is not HostKind.NAME:
        return f"Invalid name ('{name}'); no ip addresses allowed"
    return None if host.port is None else f"Invalid name ('{name}'); no port allowed"


def _statuses(doc: str) -> Field:
    return Array(doc, elements=Integer("A status.", between=(100, 999)))


def _count(doc: str) -> Field:
    return Integer(doc, between=(0, 255))


def _path(doc: str, *, extension: bool = False) -> Field:
    return Text(
        doc,
        starts_with="/",
        match_none=(("//", texts.EMPTY_SEGMENTS),),
        rule=path_problem,
        extension=extension,
    )


class ActiveHealthy(Record, frozen=True, kw_only=True):
    """When probes make a target healthy."""

    interval: Annotated[
        float | None, Number("Seconds between probes of healthy targets; 0: none.", between=(0, 65535))
    ] = 0
    http_statuses: Annotated[list[int] | None, _statuses("The statuses that count as healthy.")] = (
        msgspec.field(default_factory=lambda: [200, 302])
    )
    successes: Annotated[int | None, _count("How many successes in a row make it healthy; 0: never.")] = 0


class ActiveUnhealthy(Record, frozen=True, kw_only=True):
    """When probes make a target unhealthy."""

    interval: Annotated[
        float | None, Number("Seconds between probes of unhealthy targets; 0: none.", between=(0, 65535))
    ] = 0
    http_statuses: Annotated[list[int] | None, _statuses("The statuses that count as unhealthy.")] = (
        msgspec.field(default_factory=lambda: [429, 404, 500, 501, 502, 503, 504, 505])
    )
    tcp_failures: Annotated[
        int | None, _count("How many failed connections make it unhealthy; 0: any number is fine.")
    ] = 0
    timeouts: Annotated[int | None, _count("How many timeouts make it unhealthy; 0: any number is fine.")] = 0
    http_failures: Annotated[
        int | None, _count("How many bad statuses make it unhealthy; 0: any number is fine.")
    ] = 0


class PassiveHealthy(Record, frozen=True, kw_only=True):
    """When proxied requests make a target healthy."""

    http_statuses: Annotated[list[int] | None, _statuses("The statuses that count as healthy.")] = (
        msgspec.field(default_factory=lambda: [*range(200, 209), 226, *range(300, 309)])
    )
    successes: Annotated[int | None, _count("How many successes in a row make it healthy; 0: never.")] = 0


class PassiveUnhealthy(Record, frozen=True, kw_only=True):
    """When proxied requests make a target unhealthy."""

    http_statuses: Annotated[list[int] | None, _statuses("The statuses that count as unhealthy.")] = (
        msgspec.field(default_factory=lambda: [429, 500, 503])
    )
    tcp_failures: Annotated[
        int | None, _count("How many failed connections make it unhealthy; 0: any number is fine.")
    ] = 0
    timeouts: Annotated[int | None, _count("How many timeouts make it unhealthy; 0: any number is fine.")] = 0
    http_failures: Annotated[
        int | None, _count("How many bad statuses make it unhealthy; 0: any number is fine.")
    ] = 0


class ActiveChecks(Record, frozen=True, kw_only=True):
    """Probes sent to the targets."""

    type: Annotated[str | None, Text("How targets are probed.", one_of=CHECK_TYPES)] = "http"
    timeout: Annotated[float | None, Number("Seconds a probe may take.", between=(0, 65535))] = 1
    concurrency: Annotated[
        int | None, Integer("How many targets are probed at once.", between=(1, 2**31))
    ] = 10
    http_path: Annotated[str | None, _path("The path of the probe.")] = "/"
    https_sni: Annotated[
        str | None, Text("The TLS server name of the probe.", required=False, rule=server_name_problem)
    ] = None
    https_verify_certificate: Annotated[
        bool, Boolean("Whether a probe verifies the target's certificate.", required=True)
    ] = True
    headers: Annotated[
        dict[str, list[str]] | None,
        Map(
            "Headers of the probe.",
            required=False,
            keys=Text("A header's name.", rule=header_name_problem),
            values=Array("Its values.", elements=Text("A value.")),
        ),
    ] = None
    healthy: Annotated[
        ActiveHealthy,
        Group("When a target is healthy.", required=True, declares_default=True, record=ActiveHealthy),
    ] = msgspec.field(default_factory=ActiveHealthy)
    unhealthy: Annotated[
        ActiveUnhealthy,
        Group("When a target is unhealthy.", required=True, declares_default=True, record=ActiveUnhealthy),
    ] = msgspec.field(default_factory=ActiveUnhealthy)


class PassiveChecks(Record, frozen=True, kw_only=True):
    """Conclusions from the requests that are proxied."""

    type: Annotated[str | None, Text("What is looked at.", one_of=CHECK_TYPES)] = "http"
    healthy: Annotated[
        PassiveHealthy,
        Group("When a target is healthy.", required=True, declares_default=True, record=PassiveHealthy),
    ] = msgspec.field(default_factory=PassiveHealthy)
    unhealthy: Annotated[
        PassiveUnhealthy,
        Group("When a target is unhealthy.", required=True, declares_default=True, record=PassiveUnhealthy),
    ] = msgspec.field(default_factory=PassiveUnhealthy)


class HealthChecks(Record, frozen=True, kw_only=True):
    """How the health of targets is found out."""

    active: Annotated[
        ActiveChecks, Group("Probes.", required=True, declares_default=True, record=ActiveChecks)
    ] = msgspec.field(default_factory=ActiveChecks)
    passive: Annotated[
        PassiveChecks, Group("Proxied requests.", required=True, declares_default=True, record=PassiveChecks)
    ] = msgspec.field(default_factory=PassiveChecks)
    threshold: Annotated[
        float | None,
        Number(
            "The percentage of weight that must be available for the upstream to be used.", between=(0, 100)
        ),
    ] = 0


def _needs(value: str, primary: str, fallback: str) -> tuple[RecordCheck, RecordCheck]:
    return (
        Conditional("hash_on", if_match=f"^{value}$", then_field=primary, then_required=True),
        Conditional("hash_fallback", if_match=f"^{value}$", then_field=fallback, then_required=True),
    )


def _allows(value: str, *fallbacks: str) -> RecordCheck:
    return Conditional(
        "hash_on", if_match=f"^{value}$", then_field="hash_fallback", then_one_of=("none", *fallbacks)
    )


class Upstream(Entity, frozen=True, kw_only=True):
    """A name for a group of targets, with the way requests are spread over them."""

    type_name: ClassVar[str] = "upstreams"
    singular: ClassVar[str] = "upstream"
    endpoint_key: ClassVar[str | None] = "name"
    record_checks: ClassVar[tuple[RecordCheck, ...]] = (
        *_needs("header", "hash_on_header", "hash_fallback_header"),
        *_needs("cookie", "hash_on_cookie", "hash_on_cookie"),
        _allows("none"),
        _allows("cookie"),
        _allows("consumer", "ip", "header", "cookie", "path", "query_arg", "uri_capture"),
        _allows("ip", "consumer", "header", "cookie", "path", "query_arg", "uri_capture"),
        # In Kong's order, which its message shows.
        _allows("path", "consumer", "header", "cookie", "query_arg", "ip", "uri_capture"),
        Distinct(("hash_on_header", "hash_fallback_header")),
        *_needs("query_arg", "hash_on_query_arg", "hash_fallback_query_arg"),
        Distinct(("hash_on_query_arg", "hash_fallback_query_arg")),
        *_needs("uri_capture", "hash_on_uri_capture", "hash_fallback_uri_capture"),
        Distinct(("hash_on_uri_capture", "hash_fallback_uri_capture")),
        Conditional(
            "algorithm",
            if_equal=STICKY_SESSIONS,
            then_field="sticky_sessions_cookie",
            then_required=True,
            extension=True,
        ),
    )

    created_at: CreatedAt
    updated_at: UpdatedAt
    name: Annotated[
        str,
        Text(
            "The name, which services have as their host.",
            required=True,
            unique=True,
            rule=upstream_name_problem,
        ),
    ]
    algorithm: Annotated[
        str | None,
        Text("How the next target is chosen.", one_of=ALGORITHMS, extension_values=(STICKY_SESSIONS,)),
    ] = "round-robin"
    hash_on: Annotated[str | None, Text("What is hashed to choose the target.", one_of=HASH_INPUTS)] = "none"
    hash_fallback: Annotated[
        str | None, Text("What is hashed when there is nothing to hash otherwise.", one_of=HASH_INPUTS)
    ] = "none"
    hash_on_header: Annotated[str | None, Text("The header to hash.", rule=header_name_problem)] = None
    hash_fallback_header: Annotated[
        str | None, Text("The header to hash as the fallback.", rule=header_name_problem)
    ] = None
    hash_on_cookie: Annotated[str | None, Text("The cookie to hash.", rule=cookie_name_problem)] = None
    hash_on_cookie_path: Annotated[str | None, _path("The path of the cookie that is set for hashing.")] = "/"
    hash_on_query_arg: Annotated[str | None, Text("The query parameter to hash.")] = None
    hash_fallback_query_arg: Annotated[str | None, Text("The query parameter to hash as the fallback.")] = (
        None
    )
    hash_on_uri_capture: Annotated[str | None, Text("The capture of the route's path to hash.")] = None
    hash_fallback_uri_capture: Annotated[
        str | None, Text("The capture of the route's path to hash as the fallback.")
    ] = None
    slots: Annotated[int | None, Integer("The size of the hash ring.", between=(10, 65536))] = 10000
    healthchecks: Annotated[
        HealthChecks,
        Group(
            "How the health of targets is found out.",
            required=True,
            declares_default=True,
            default_without=("threshold",),
            record=HealthChecks,
        ),
    ] = msgspec.field(default_factory=HealthChecks)
    host_header: Annotated[
        str | None, Text("The Host header of requests to the targets.", rule=host_and_port_problem)
    ] = None
    client_certificate: Annotated[
        Reference | None, Foreign("The certificate shown to the targets.", reference="certificates")
    ] = None
    use_srv_name: Annotated[
        bool | None, Boolean("Whether the name in an SRV record becomes the Host header of the request.")
    ] = False
    sticky_sessions_cookie: Annotated[
        str | None,
        Text(
            "The cookie that tells which target a client's requests go to.",
            rule=cookie_name_problem,
            extension=True,
        ),
    ] = None
    sticky_sessions_cookie_path: Annotated[
        str | None, _path("The path of that cookie; none: /.", extension=True)
    ] = None
    slow_start: Annotated[
        float | None,
        Number(
            "Seconds in which a target that begins to get requests comes to its full share; none: at once.",
            between=(0, 3600),
            extension=True,
        ),
    ] = None

    @classmethod
    def prepare(cls, values: dict[str, Any]) -> dict[Any, Errors]:
        """`algorithm` and `hash_on` imply each other."""
        if values.get("algorithm") in ("least-connections", "latency", STICKY_SESSIONS):
            values["hash_on"] = "none"
        elif "hash_on" in values and values["hash_on"] is None:
            # Other than when it is written so, this leaves the algorithm alone.
            values["hash_on"] = "none"
        elif values.get("hash_on") == "none":
            values["algorithm"] = "round-robin"
        elif values.get("hash_on") is not None:
            values["algorithm"] = "consistent-hashing"
        return {}
