"""A client of the Admin API (ours or Kong's): `AdminClient` blocks, `AsyncAdminClient` awaits.

    with AdminClient("http://127.0.0.1:8001") as admin:
        admin.services.create({"name": "users", "url": "http://users:8080"})
        admin.services("users").routes.create({"paths": ["/users"]})
        for route in admin.routes.list(tags=["team-a"]):
            print(route["name"], route["paths"])

docs/client.md is the guide.
"""

from gateway.client.clients import AdminClient, AsyncAdminClient
from gateway.client.errors import (
    ClientError,
    Conflict,
    NotAllowed,
    NotFound,
    NotUnderstood,
    Refused,
    Unreachable,
)
from gateway.client.exchange import Answer, Retries

__all__ = (
    "AdminClient",
    "Answer",
    "AsyncAdminClient",
    "ClientError",
    "Conflict",
    "NotAllowed",
    "NotFound",
    "NotUnderstood",
    "Refused",
    "Retries",
    "Unreachable",
)
