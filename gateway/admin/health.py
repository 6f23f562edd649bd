"""The health of upstreams: GET /upstreams/{u}/health, and targets that are made healthy or not by hand."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

from starlette.requests import Request
from starlette.responses import Response

from gateway.entities.fields import Reference
from gateway.entities.hosts import HostKind, InvalidHost, parse_host
from gateway.entities.targets import Target
from gateway.entities.upstreams import Upstream
from gateway.snapshot import Resolution, ResolutionState
from gateway.snapshot.peers import TargetAddress
from gateway.snapshot.target_health import address_of, is_checked, serves
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

UPSTREAM = "/upstreams/{upstreams}"
TARGET = f"{UPSTREAM}/targets/{{targets}}"
PATH = {
    "upstreams": "The id or name of an upstream.",
    "targets": "The id, or host and port, of a target.",
    "address": "The IP address and port.",
}


class Health(UpstreamHealth):
    """What the Admin API shows of an upstream."""

    def __init__(self, plane: ControlPlane, upstream: Upstream) -> None:
        super().__init__(upstream, plane.health, plane.resolutions())

    def host_fields(self, target: Target) -> dict[str, Any]:
        """The members that a target has in both forms of the answer, but its addresses."""
        host = parse_host(target.target)
        return {
            "host": host.host,
            "port": host.port,
            "dns": record_type(host.kind, self.resolution(target)),
            "nodeWeight": target.weight,
            "weight": self.weights((target, address) for address in self.addresses(target)),
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
    address = None if text is None else parsed_address(text)
    if text is not None and address not in known:
        raise NotThere
    if not known:
        return message_response(400, f"the addresses of {target.target} are not known")
    await plane.health_marks.mark(upstream, target, None if address is None else (address,), healthy=healthy)
    return Response(status_code=204)


def upstream_of(configuration: Configuration, request: Request) -> Upstream:
    """The upstream of a path. Raises EntityError (404, 400)."""
    found = naming_of(Upstream).find(configuration, request.path_params["upstreams"])
    if not isinstance(found, Upstream):
        raise NotThere
    return found


def parsed_address(text: str) -> tuple[str, int] | None:
    """`127.0.0.1:80` or `[::1]:80`; None for anything else."""
    try:
        host = parse_host(text)
        return None if host.port is None else address_of(host.host.strip("[]"), host.port)
    except (InvalidHost, ValueError):
        return None


def target_health(health: Health, target: Target, *, details: bool) -> dict[str, Any]:
    """The members that a target has besides its fields. `details`: with everything that is counted."""
    addresses = health.addresses(target)
    if not addresses and target.weight:
        return {"health": "DNS_ERROR"}
    shown = [
        {
            "ip": address.ip,
            "port": address.port,
            "weight": address.weight,
            "health": health.word(health.is_healthy(target, address)),
            **(counted(health, target, address) if details else {}),
        }
        for address in addresses
    ]
    healthy = any(health.is_healthy(target, address) for address in addresses)
    return {
        "health": health.word(healthy or not addresses),
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
                    "ip": address.ip,
                    "port": address.port,
                    "weight": address.weight,
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
    """The type of the DNS records behind a target; an address counts as its own record."""
    if kind is HostKind.IPV6:
        return "AAAA"
    if resolution.state is not ResolutionState.READY:
        return "A"
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
            404: Answer("There is no such upstream, target or address.", REFUSAL),
        },
        group="upstreams",
        path=PATH,
    )
