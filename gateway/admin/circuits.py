"""/circuit-breakers: where the circuits of proxy-circuit-breaker stand on this node; closing one by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.snapshot.circuits import Circuit, Circuits
from native.circuit import CircuitState

from .descriptions import INTEGER, OBJECT, REFUSAL, TEXT, Answer, Description, list_of, object_of
from .endpoints import Endpoint
from .naming import NotThere
from .responses import json_response

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane

STATES = {
    CircuitState.CIRCUIT_CLOSED: "closed",
    CircuitState.CIRCUIT_HALF_OPEN: "half_open",
    CircuitState.CIRCUIT_OPEN: "open",
}


def circuit_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """All circuits, and one of them."""

    async def circuits() -> Circuits:
        return Circuits(plane.shared, await plane.fresh(), plane.resolutions())

    async def show_all(request: Request) -> Response:
        found = await circuits()
        shown = [circuit_form(found, circuit) for circuit in found.all()]
        return json_response(200, {"data": shown, "next": None, "node_id": plane.node_id})

    async def show(request: Request) -> Response:
        found = await circuits()
        return json_response(200, circuit_form(found, named(found, request)))

    async def close(request: Request) -> Response:
        found = await circuits()
        found.close(named(found, request))
        return Response(status_code=204)

    return [
        Endpoint("/circuit-breakers", {"GET": show_all}, {"GET": SHOW_ALL}),
        Endpoint("/circuit-breakers/{id}", {"GET": show, "DELETE": close}, {"GET": SHOW, "DELETE": CLOSE}),
    ]


def named(circuits: Circuits, request: Request) -> Circuit:
    """The circuit of a path. Raises EntityError (404)."""
    try:
        found = circuits.find(int(request.path_params["id"], 16))
    except ValueError:
        found = None
    if found is None:
        raise NotThere
    return found


def circuit_form(circuits: Circuits, circuit: Circuit) -> dict[str, Any]:
    """A circuit as it is shown."""
    view = circuit.view
    closed = view["state"] is CircuitState.CIRCUIT_CLOSED
    return {
        "id": f"{circuit.identity:016x}",
        "plugin": {"id": circuit.plugin.id},
        "service": {"id": circuit.service.id, "name": circuit.service.name},
        "route": {"id": circuit.route.id, "name": circuit.route.name} if circuit.route else None,
        "target": circuit.target or None,
        "address": circuit.address or None,
        "state": STATES[view["state"]],
        "since": circuits.since(circuit),
        "failures": view["failures"],
        "opened": view["opened"],
        "refused": view["refused"],
        "retry_in": None if closed else math.ceil(view["left_ms"] / 1000),
    }


# --- for the document of the API ------------------------------------------------------------------------

CIRCUIT = object_of(
    {
        "id": TEXT,
        "plugin": OBJECT,
        "service": OBJECT,
        "route": {"type": ["object", "null"]},
        "target": {"type": ["string", "null"]},
        "address": {"type": ["string", "null"]},
        "state": {"enum": list(STATES.values())},
        "since": {"type": ["number", "null"]},
        "failures": INTEGER,
        "opened": INTEGER,
        "refused": INTEGER,
        "retry_in": {"type": ["integer", "null"]},
    }
)
PATH = {"id": "The id of a circuit."}
UNKNOWN = Answer("There is no such circuit.", REFUSAL)

SHOW_ALL = Description(
    "The circuits of proxy-circuit-breaker on this node that requests have asked for.",
    {
        200: Answer(
            "The circuits.",
            object_of({"data": list_of(CIRCUIT), "next": {"type": "null"}, "node_id": TEXT}),
        )
    },
)
SHOW = Description("One circuit.", {200: Answer("The circuit.", CIRCUIT), 404: UNKNOWN}, path=PATH)
CLOSE = Description(
    "Close a circuit by hand; its failures are forgotten.",
    {204: Answer("Requests pass."), 404: UNKNOWN},
    path=PATH,
)
