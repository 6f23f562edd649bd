"""GET /status of the Admin API, in Kong's shape."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from gateway.status.app import dns_endpoints, kong_status

from .descriptions import INTEGER, MESSAGE, OBJECT, Answer, Description, Parameter, object_of
from .endpoints import Endpoint
from .responses import json_response

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane

STATUS = Description(
    "The node's connections, requests and memory.",
    {
        200: Answer("Numbers of now.", object_of({"memory": OBJECT, "server": OBJECT}, {"database": OBJECT})),
        400: Answer("The unit or the scale is not valid.", MESSAGE),
    },
    query=(
        Parameter("unit", "Of memory: k, m, g, or b for plain numbers."),
        Parameter("scale", "Digits after the point.", {**INTEGER, "minimum": 0, "default": 2}),
    ),
)


def status_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """The node's connections, requests and memory."""

    async def status(request: Request) -> Response:
        found = kong_status(plane, request)
        return found if isinstance(found, Response) else json_response(200, found)

    return [Endpoint("/status", {"GET": status}, {"GET": STATUS}), *dns_endpoints()]
