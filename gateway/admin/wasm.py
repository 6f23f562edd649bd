"""/filter-chains: Kong's filters in WebAssembly, which this gateway does not run; Kong answers the same with
its setting `wasm` off."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from .descriptions import MESSAGE, Answer, Description
from .endpoints import Endpoint
from .responses import message_response

TEXT = "this endpoint is only available when wasm is enabled"
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
CHAIN = {"filter_chains": "Id or name of a filter chain."}
PATHS = (
    "/filter-chains",
    "/filter-chains/{filter_chains}",
    "/filter-chains/{filter_chains}/route",
    "/filter-chains/{filter_chains}/service",
    *(
        f"/{owners}/{{{owners}}}/filter-chains{rest}"
        for owners in ("routes", "services")
        for rest in ("", "/{filter_chains}")
    ),
    *(f"/routes/{{routes}}/filters/{which}" for which in ("all", "disabled", "enabled")),
)
PARAMETERS = {**CHAIN, "routes": "Id or name of a route.", "services": "Id or name of a service."}


def wasm_endpoints() -> list[Endpoint]:
    """What Kong has for filter chains."""

    async def refuse(request: Request) -> Response:
        return message_response(400, TEXT)

    return [
        Endpoint(
            path,
            dict.fromkeys(METHODS, refuse),
            dict.fromkeys(
                METHODS,
                Description(
                    "Not available.",
                    {400: Answer(TEXT, MESSAGE)},
                    path={name: text for name, text in PARAMETERS.items() if f"{{{name}}}" in path},
                ),
            ),
        )
        for path in PATHS
    ]
