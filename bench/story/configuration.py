"""The declarative configuration of the story: everything a gateway is bought for, on at the same time.

- fifteen services with a route, an upstream and two weighted targets each, checked actively and passively
- key-auth on some, jwt on the others; each service has a rate limit, and every other consumer one of its own
- proxy-cache on the services whose answers may be kept
- headers are added to and removed from all requests and responses; metrics of everything
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bench.plugin_setups import NEVER_REACHED, PROMETHEUS
from bench.story.traffic import (
    CONSUMERS_OF_A_KIND,
    HOST,
    SERVICES,
    Service,
    issuer_of,
    key_of,
    secret_of,
)

WEIGHTS = (60, 40)
"""of each service's targets"""
PROBE_SECONDS = 5
HEALTH_PATH = "/health"
HEALTHCHECKS = {
    "active": {
        "type": "http",
        "http_path": HEALTH_PATH,
        "healthy": {"interval": PROBE_SECONDS, "successes": 1},
        "unhealthy": {"interval": PROBE_SECONDS, "http_failures": 3, "tcp_failures": 3, "timeouts": 3},
    },
    "passive": {
        "type": "http",
        "healthy": {"successes": 1},
        "unhealthy": {"http_failures": 5, "tcp_failures": 3, "timeouts": 3},
    },
}
TRANSFORMERS = (
    {
        "name": "request-transformer",
        "config": {"add": {"headers": ["X-Gateway:story"]}, "remove": {"headers": ["X-Debug"]}},
    },
    {
        "name": "response-transformer",
        "config": {"add": {"headers": ["X-Served-By:story"]}, "remove": {"headers": ["X-Internal"]}},
    },
)


def document(backend_ports: Sequence[int], cache_seconds: int) -> dict[str, Any]:
    """The configuration for backends on these ports; targets go round them."""
    return {
        "_format_version": "3.0",
        "services": [_service(service, cache_seconds) for service in SERVICES],
        "upstreams": [
            {
                "name": _upstream_name(service),
                "healthchecks": HEALTHCHECKS,
                "targets": [
                    {
                        "target": f"127.0.0.1:{backend_ports[place % len(backend_ports)]}",
                        "weight": WEIGHTS[(number + place) % len(WEIGHTS)],
                    }
                    for place in range(len(WEIGHTS))
                ],
            }
            for number, service in enumerate(SERVICES)
        ],
        "consumers": [_consumer(kind, number) for kind in ("key", "token") for number in _numbers()],
        "plugins": [*TRANSFORMERS, PROMETHEUS],
    }


def _numbers() -> range:
    return range(CONSUMERS_OF_A_KIND)


def _upstream_name(service: Service) -> str:
    return f"{service.name}.upstream"


def _service(service: Service, cache_seconds: int) -> dict[str, Any]:
    plugins: list[dict[str, Any]] = [
        {"name": service.auth, "config": {"claims_to_verify": ["exp"]} if service.auth == "jwt" else {}},
        {
            "name": "rate-limiting",
            "config": {"minute": NEVER_REACHED, "policy": "local", "limit_by": "service"},
        },
    ]
    if service.cached:
        config = {
            "strategy": "memory",
            "content_type": ["application/json"],
            "cache_ttl": cache_seconds,
        }
        plugins.append({"name": "proxy-cache", "config": config})
    return {
        "name": service.name,
        "host": _upstream_name(service),
        "routes": [
            {
                "name": service.name,
                "hosts": [HOST],
                "paths": [service.path],
                "methods": [service.method],
                "strip_path": False,
            }
        ],
        "plugins": plugins,
    }


def _consumer(kind: str, number: int) -> dict[str, Any]:
    found: dict[str, Any] = {"username": f"{kind}-{number:04d}", "custom_id": f"{kind}-customer-{number:04d}"}
    if kind == "key":
        found["keyauth_credentials"] = [{"key": key_of(number)}]
    else:
        secret = {"key": issuer_of(number), "algorithm": "HS256", "secret": secret_of(number)}
        found["jwt_secrets"] = [secret]
    if number % 2:
        config = {
            "minute": NEVER_REACHED,
            "hour": NEVER_REACHED,
            "policy": "local",
            "limit_by": "consumer",
        }
        found["plugins"] = [{"name": "rate-limiting", "config": config}]
    return found
