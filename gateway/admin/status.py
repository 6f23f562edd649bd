"""GET /status of the Admin API, in Kong's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from gateway.status.app import dns_endpoints, kong_status

from .endpoints import Endpoint
from .responses import json_response

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane


def status_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """The node's connections, requests and memory."""

    async def status(request: Request) -> Response:
        found = kong_status(plane, request)
        return found if isinstance(found, Response) else json_response(200, found)

    return [Endpoint("/status", {"GET": status}), *dns_endpoints()]
