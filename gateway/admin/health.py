"""The health of upstreams: GET /upstreams/{u}/health, and targets that are made healthy or not by hand."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection
from typing import TYPE_CHECKING, Any, cast

from starlette.requests import Request
from starlette.responses import Response

from gateway.entities.fields import Reference
from gateway.entities.hosts import Host, HostKind, InvalidHost, address_text, format_host, parse_host
from gateway.entities.targets import DEFAULT_PORT, Target
from gateway.entities.upstreams import Upstream
from gateway.snapshot import Resolution, ResolutionState
from gateway.snapshot.peers import TargetAddress
from gateway.snapshot.target_health import Address, address_of, is_checked, serves
from gateway.snapshot.upstream_health import UpstreamHealth
from gateway.store import Configuration

from .descriptions import REFUSAL, TEXT, Answer, Description, object_of
from .endpoints import Endpoint
from .entity_form import admin_form
from .lists import children_page
from .naming import NotThere, naming_of
from .responses import json_response, message_response

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane

log = logging.getLogger(__name__)

UPSTREAM = "/upstreams/{upstreams}"
TARGET = f"{UPSTREAM}/targets/{{targets}}"
PATH = {
    "upstreams": "The id or name of an upstream.",
    "targets": "The id, or host and port, of a target.",
    "address": "The IP address and port.",
}
WITHOUT_RECORDS = {
    ResolutionState.PENDING: "unknown",
    ResolutionState.NOT_FOUND: "dns server error: 3 name error",
    ResolutionState.ERROR: "dns server error: 2 server failure",
}
"""Kong's words where a name has no addresses"""


class Health(UpstreamHealth):
    """What the Admin API shows of an upstream."""

    def __init__(self, plane: ControlPlane, upstream: Upstream) -> None:
        super().__init__(upstream, plane.health, plane.resolutions())

    def host_fields(self, target: Target) -> dict[str, Any]:
        """The members that a target has in both forms of the answer, but its addresses."""
        host = parse_host(target.target)
        return {
            "host": format_host(Host(host.kind, host.host, None)),
            "port": host.port,
            "dns": record_type(host.kind, self.resolution(target)),
            "nodeWeight": target.weight,
            "weight": self.weights((target, address) for address in self.addresses(target)),
        }

    def address_fields(self, target: Target, address: TargetAddress) -> dict[str, Any]:
        """The members that an address has in both forms of the answer. IPv6 has brackets, and is written as
        in a target that is an address."""
        host = parse_host(target.target)
        ip = host.host if host.kind is HostKind.IPV6 else address.ip
        return {
            "ip": address_text(ip),
            "port": address.port,
            "weight": address.weight,
        }


def health_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """The health of an upstream, and the marks of its targets."""

    async def show(request: Request) -> Response:
        configuration = await plane.fresh()
        upstream = upstream_of(configuration, request)
        health = Health(plane, upstream)
        targets = cast("list[Target]", configuration.children("targets", "upstreams", upstream.id))
        if request.query_params.get("balancer_health") == "1":
            page: dict[str, Any] = {"data": balancer_health(health, targets), "next": None}
        else:
            now = time.time()
            details = request.query_params.get("details") == "1"
            page = children_page(
                request,
                configuration,
                Target,
                upstream,
                lambda target, view: {
                    **admin_form(target, view, now),
                    **target_health(health, cast("Target", target), details=details),
                },
            )
        return json_response(200, {**page, "node_id": plane.node_id})

    def marking(*, healthy: bool) -> Endpoint:
        async def mark(request: Request) -> Response:
            return await mark_target(plane, request, healthy=healthy)

        word = "healthy" if healthy else "unhealthy"
        return Endpoint(f"{TARGET}/{word}", {"PUT": mark}, {"PUT": mark_description(word)})

    def marking_address(*, healthy: bool) -> Endpoint:
        async def mark(request: Request) -> Response:
            return await mark_target(plane, request, healthy=healthy)

        word = "healthy" if healthy else "unhealthy"
        return Endpoint(f"{TARGET}/{{address}}/{word}", {"PUT": mark}, {"PUT": mark_description(word)})

    return [
        Endpoint(f"{UPSTREAM}/health", {"GET": show}, {"GET": SHOW}),
        *(marking(healthy=healthy) for healthy in (True, False)),
        *(marking_address(healthy=healthy) for healthy in (True, False)),
    ]


async def mark_target(plane: ControlPlane, request: Request, *, healthy: bool) -> Response:
    """PUT …/healthy and …/unhealthy: of all addresses of a target, or of one."""
    configuration = await plane.fresh()
    upstream = upstream_of(configuration, request)
    target = naming_of(Target).find(configuration, request.path_params["targets"], upstream)
    if not isinstance(target, Target) or target.upstream != Reference(upstream.id):
        raise NotThere
    if not is_checked(upstream):
        return message_response(400, f"no healthchecker found for {upstream.name}")
    known = [address_of(one.ip, one.port) for one in Health(plane, upstream).addresses(target)]
    text = request.path_params.get("address")
    addresses = None if text is None else meant_addresses(text, known)
    if not known or (addresses is not None and not set(addresses) & set(known)):
        # As in Kong no failure: whoever marks addresses may know them before or after this node does.
        log.warning("upstream %s: target %s has no address to mark", upstream.name, target.target)
    await plane.health_marks.mark(upstream, target, addresses, healthy=healthy)
    return Response(status_code=204)


def upstream_of(configuration: Configuration, request: Request) -> Upstream:
    """The upstream of a path. Raises EntityError (404, 400)."""
    found = naming_of(Upstream).find(configuration, request.path_params["upstreams"])
    if not isinstance(found, Upstream):
        raise NotThere
    return found


def meant_addresses(text: str, known: Collection[Address]) -> list[Address]:
    """What a path names: `127.0.0.1:80`, `[::1]` (port 8000); a name stands for all known ones with its port.
    Raises NotThere for what cannot be a host."""
    try:
        host = parse_host(text)
    except InvalidHost:
        raise NotThere from None
    port = DEFAULT_PORT if host.port is None else host.port
    if host.kind is HostKind.NAME:
        return [address for address in known if address[1] == port]
    return [address_of(host.host, port)]


def target_health(health: Health, target: Target, *, details: bool) -> dict[str, Any]:
    """The members that a target has besides its fields. `details`: with everything that is counted."""
    shown = [
        {
            **health.address_fields(target, address),
            "health": health.address_word(target, address),
            **(counted(health, target, address) if details else {}),
        }
        for address in health.addresses(target)
    ]
    return {
        "health": health.target_word(target),
        "data": {**health.host_fields(target), "addresses": shown},
    }


def counted(health: Health, target: Target, address: TargetAddress) -> dict[str, Any]:
    """What the node has counted of an address (an extension of Kong's answer)."""
    facts = health.facts(target, address)
    if facts is None:
        return {"counters": None}
    return {
        "counters": {
            "state": facts["health"].name.removeprefix("TARGET_").lower(),
            "successes": facts["successes"],
            "tcp_failures": facts["tcp_failures"],
            "timeouts": facts["timeouts"],
            "http_failures": facts["http_failures"],
            "changes": facts["changes"],
            "open": facts["open"],
            "requests": facts["requests"],
            "failures": facts["failures"],
        }
    }


def balancer_health(health: Health, targets: list[Target]) -> dict[str, Any]:
    """The upstream as a whole."""
    every = [(target, address) for target in targets for address in health.addresses(target)]
    weight = health.weights(every)
    healthy = serves(health.upstream, weight["available"], weight["total"])
    hosts = [
        {
            **health.host_fields(target),
            "addresses": [
                {
                    **health.address_fields(target, address),
                    "healthy": health.is_healthy(target, address),
                }
                for address in health.addresses(target)
            ],
        }
        for target in targets
    ]
    return {
        "id": health.upstream.id,
        "health": health.word(healthy),
        "balancer_health": "HEALTHY" if healthy else "UNHEALTHY",
        "details": {"healthy": healthy, "weight": weight, "hosts": hosts},
    }


def record_type(kind: HostKind, resolution: Resolution) -> str:
    """The type of the DNS records behind a target, or what was wrong; an address counts as its own record."""
    if kind is HostKind.IPV6:
        return "AAAA"
    if resolution.state is not ResolutionState.READY:
        return WITHOUT_RECORDS[resolution.state]
    if any(address.port is not None for address in resolution.addresses):
        return "SRV"
    return "AAAA" if all(":" in address.ip for address in resolution.addresses) else "A"


# --- for the document of the API ------------------------------------------------------------------------

SHOW = Description(
    "The health of the targets of an upstream; with balancer_health=1 of the upstream as a whole; with "
    "details=1 also what was counted of each address.",
    {
        200: Answer(
            "Targets with their addresses, or one object.",
            object_of({"data": {}, "next": {"type": ["string", "null"]}, "node_id": TEXT}),
        ),
        404: Answer("There is no such upstream.", REFUSAL),
    },
    group="upstreams",
    path=PATH,
)


def mark_description(word: str) -> Description:
    """Of one of the marks."""
    return Description(
        f"Mark a target, or one of its addresses, {word}.",
        {
            204: Answer("Every worker knows."),
            400: Answer("The upstream has no health checks.", REFUSAL),
            404: Answer("There is no such upstream or target, or this is no address.", REFUSAL),
        },
        group="upstreams",
        path=PATH,
    )
