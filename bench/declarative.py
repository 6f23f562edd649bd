"""Declarative files for the gateway: one catch-all route, or thousands of routes of mixed kinds.

Every tenth of the routes has the same mix, so that 10 and 10,000 of them differ in number only:
six with a path, three with a host and a path, one with a wildcard host and a path.
"""

from __future__ import annotations

import json
import random
from typing import Any

ROUTES_PER_SERVICE = 10
SHUFFLE_SEED = 20
HOST = "bench.test"  # what requests for a route without a host ask for


def one_route(backend_port: int) -> dict[str, Any]:
    """Everything goes to the backend with its path as it is."""
    return {
        "_format_version": "3.0",
        "services": [
            {
                "name": "backend",
                "url": f"http://127.0.0.1:{backend_port}",
                "routes": [{"name": "everything", "paths": ["/"], "strip_path": False}],
            }
        ],
    }


def many_routes(backend_port: int, count: int) -> dict[str, Any]:
    """`count` routes over count/10 services, all to the one backend; every route leads to the small body."""
    services = []
    for first in range(0, count, ROUTES_PER_SERVICE):
        numbers = range(first, min(first + ROUTES_PER_SERVICE, count))
        services.append(
            {
                "name": f"service-{first // ROUTES_PER_SERVICE}",
                "url": f"http://127.0.0.1:{backend_port}/small",
                "routes": [_route(number) for number in numbers],
            }
        )
    return {"_format_version": "3.0", "services": services}


def _route(number: int) -> dict[str, Any]:
    route: dict[str, Any] = {"name": f"route-{number}", "paths": [_path(number)], "strip_path": True}
    kind = number % 10
    if 6 <= kind <= 8:
        route["hosts"] = [f"service-{number}.example.test"]
    elif kind == 9:
        route["hosts"] = [f"*.tenant-{number}.example.test"]
    return route


def _path(number: int) -> str:
    return f"/team-{number % 37}/api/v{number % 3 + 1}/resource-{number}"


def targets(count: int) -> list[str]:
    """One "<host> <path>" per route, in an order that is random but always the same."""
    found = []
    for number in range(count):
        kind = number % 10
        host = HOST
        if 6 <= kind <= 8:
            host = f"service-{number}.example.test"
        elif kind == 9:
            host = f"eu.tenant-{number}.example.test"
        found.append(f"{host} {_path(number)}/items/42")
    random.Random(SHUFFLE_SEED).shuffle(found)
    return found


def with_revision(document: dict[str, Any], revision: int) -> bytes:
    """The document with one tag changed, so that the gateway sees a new configuration of the same meaning."""
    first, *others = document["services"]
    changed = {**document, "services": [{**first, "tags": [f"revision-{revision}"]}, *others]}
    return json.dumps(changed).encode()
