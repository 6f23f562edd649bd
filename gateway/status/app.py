"""The status listener's endpoints: /status, /status/ready, /metrics."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from gateway import __version__
from gateway.admin.descriptions import MESSAGE, Answer, Description
from gateway.admin.endpoints import Endpoint, KongApi
from gateway.admin.responses import json_response, message_response
from gateway.telemetry.collect import metrics_page
from gateway.telemetry.exposition import CONTENT_TYPE

from .statistics import memory_statistics, server_statistics, unit_and_scale, worker_statistics

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane


def status_app(plane: ControlPlane) -> KongApi:
    """The application of the status listener."""
    return KongApi([*status_endpoints(plane), *metrics_endpoints(plane)], lambda: plane.settings)


def status_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """GET /status in more detail than the Admin API's, and readiness."""

    async def status(request: Request) -> Response:
        response = kong_status(plane, request)
        if isinstance(response, Response):
            return response
        shared = plane.shared
        more = {
            "version": __version__,
            "node_id": plane.node_id,
            "workers": worker_statistics(shared),
            "generation": shared.generation,
            "configuration_hash": shared.configuration_hash or plane.configuration.hash,
            "configuration_number": shared.configuration_number,
            "peers_number": shared.peers_number,
            "identities_number": shared.identities_number,
            "control": {"pid": shared.control_pid, "restarts": shared.control_restarts},
            "worker_restarts": shared.worker_restarts,
        }
        return json_response(200, {**response, **more})

    async def ready(request: Request) -> Response:
        reason = plane.not_ready_because()
        return message_response(200, "ready") if reason is None else message_response(503, reason)

    return [
        Endpoint("/status", {"GET": status}),
        Endpoint("/status/ready", {"GET": ready}),
        *dns_endpoints(),
    ]


def dns_endpoints() -> list[Endpoint]:
    """Kong's statistics of its newer DNS client, which nobody asks a Kong for that has the usual one."""

    async def dns(request: Request) -> Response:
        return message_response(501, "not implemented with the legacy DNS client")

    answer = Answer("Not available, as in a Kong with its usual DNS client.", MESSAGE)
    return [
        Endpoint(
            "/status/dns", {"GET": dns}, {"GET": Description("Statistics of a DNS client.", {501: answer})}
        )
    ]


def kong_status(plane: ControlPlane, request: Request) -> dict[str, object] | Response:
    """What Kong shows at /status, or its 400 for a bad unit or scale."""
    query = request.query_params
    try:
        unit, scale = unit_and_scale(query.get("unit"), query.get("scale"))
    except ValueError as error:
        return message_response(400, str(error))
    found: dict[str, object] = {
        "memory": memory_statistics(plane.shared, unit, scale),
        "server": server_statistics(plane.shared),
    }
    if plane.settings.database == "off":
        found["configuration_hash"] = plane.shared.configuration_hash or plane.configuration.hash
    else:
        found["database"] = {"reachable": plane.store.is_reachable}
    return found


def metrics_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """GET /metrics, on both listeners."""

    async def metrics(request: Request) -> Response:
        page = await asyncio.to_thread(metrics_page, plane.scrape())
        return Response(page, headers={"Content-Type": CONTENT_TYPE})

    answer = Answer("A page for Prometheus.", media_type=CONTENT_TYPE.partition(";")[0])
    return [
        Endpoint(
            "/metrics", {"GET": metrics}, {"GET": Description("The metrics of the node.", {200: answer})}
        )
    ]
