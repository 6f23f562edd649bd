"""What the gateway is configured with in the scenarios of plugins, and what its clients send."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import Any

MANY_CONSUMERS = 100_000
FEW_CONSUMERS = 10
MANY_RANGES = 10_000
NEVER_REACHED = 1_000_000_000
KEY = "bench-key-0"
SECRET = "a secret of thirty-two characters"  # noqa: S105
TOKEN_SECONDS = 86_400

EMPTY_PLUGIN = '''"""A Python plugin that does nothing: what is left is the price of Python."""

from gateway.pdk import Plugin


class Empty(Plugin):
    name = "bench-empty"
    priority = 500

    def access(self, request):
        pass
'''


@dataclass(frozen=True)
class PluginSetup:
    """Plugins of everything, and what they need."""

    plugins: tuple[Mapping[str, Any], ...]
    consumers: int = 0
    """how many, each with a key and in a group"""
    with_token: bool = False
    """the first one has a secret for tokens"""
    needs_redis: bool = False
    cached: bool = False
    """answers come from a cache; of the peers, those that have one take the same setup"""
    python_plugins: Mapping[str, str] = field(default_factory=dict)
    """file name -> source, for GATEWAY_PLUGIN_PATH"""


def _ranges() -> list[str]:
    """Addresses and ranges of which none is the client's."""
    first = int(IPv4Address("10.0.0.0"))
    return [f"{IPv4Address(first + 1024 * number)}/{24 + number % 9}" for number in range(MANY_RANGES)]


KEY_AUTH = {"name": "key-auth"}
LIMITS = {"name": "rate-limiting", "config": {"minute": NEVER_REACHED, "policy": "local"}}
PROMETHEUS = {
    "name": "prometheus",
    "config": {"status_code_metrics": True, "latency_metrics": True, "bandwidth_metrics": True},
}
JWT = {"name": "jwt", "config": {"claims_to_verify": ["exp"]}}
CACHE_SECONDS = 300
CACHE = {
    "name": "proxy-cache",
    "config": {"strategy": "memory", "content_type": ["application/json"], "cache_ttl": CACHE_SECONDS},
}

SETUPS: dict[str, PluginSetup] = {
    "key-auth": PluginSetup((KEY_AUTH,), consumers=FEW_CONSUMERS),
    "acl": PluginSetup(
        (KEY_AUTH, {"name": "acl", "config": {"allow": ["customers"]}}), consumers=FEW_CONSUMERS
    ),
    "ip-restriction": PluginSetup(({"name": "ip-restriction", "config": {"deny": _ranges()}},)),
    "cors": PluginSetup(({"name": "cors", "config": {"origins": ["http://a.test", "http://b.test"]}},)),
    "correlation-id": PluginSetup(({"name": "correlation-id"},)),
    "rate-limiting": PluginSetup((LIMITS,)),
    "rate-limiting-redis": PluginSetup(
        ({"name": "rate-limiting", "config": {"minute": NEVER_REACHED, "policy": "redis"}},),
        needs_redis=True,
    ),
    "jwt": PluginSetup((JWT,), consumers=1, with_token=True),
    "request-transformer": PluginSetup(
        (
            {
                "name": "request-transformer",
                "config": {
                    "add": {"headers": ["X-Gateway:Sluicegate"]},
                    "remove": {"headers": ["X-Internal"]},
                },
            },
        )
    ),
    "python": PluginSetup(({"name": "bench-empty"},), python_plugins={"bench_empty.py": EMPTY_PLUGIN}),
    "key-auth-limited": PluginSetup((KEY_AUTH, LIMITS, PROMETHEUS), consumers=FEW_CONSUMERS),
    "jwt-limited": PluginSetup((JWT, LIMITS), consumers=1, with_token=True),
    "cache": PluginSetup((CACHE,), cached=True),
    "cache-limited": PluginSetup((KEY_AUTH, LIMITS, CACHE), consumers=FEW_CONSUMERS, cached=True),
    "few-consumers": PluginSetup((KEY_AUTH,), consumers=FEW_CONSUMERS),
    "many-consumers": PluginSetup((KEY_AUTH,), consumers=MANY_CONSUMERS),
}


def configured(document: dict[str, Any], setup: PluginSetup, redis_port: int | None) -> dict[str, Any]:
    """A declarative document with the plugins and consumers of a setup."""
    plugins = []
    for plugin in setup.plugins:
        config = dict(plugin.get("config", {}))
        if config.get("policy") == "redis":
            config["redis"] = {"host": "127.0.0.1", "port": redis_port}
        plugins.append({**plugin, "config": config})
    consumers: list[dict[str, Any]] = []
    for number in range(setup.consumers):
        consumer: dict[str, Any] = {
            "username": f"consumer-{number}",
            "keyauth_credentials": [{"key": key_of(number)}],
            "acls": [{"group": "customers"}],
        }
        if setup.with_token and number == 0:
            consumer["jwt_secrets"] = [{"key": "bench", "algorithm": "HS256", "secret": SECRET}]
        consumers.append(consumer)
    return {**document, "plugins": plugins, "consumers": consumers}


def key_of(number: int) -> str:
    """The API key of a consumer."""
    return f"bench-key-{number}"


def token() -> str:
    """A token (HS256) of the consumer with a secret that lives for a day."""
    return signed_token("bench", SECRET)


def signed_token(issuer: str, secret: str) -> str:
    """A token (HS256) that lives for a day."""

    def part(content: bytes) -> str:
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    claims = part(json.dumps({"iss": issuer, "exp": int(time.time()) + TOKEN_SECONDS}).encode())
    signature = hmac.digest(secret.encode(), f"{head}.{claims}".encode(), hashlib.sha256)
    return f"{head}.{claims}.{part(signature)}"


def keyed_targets(count: int, host: str) -> list[str]:
    """One "<host> <path>" per consumer, with its key in the query, in a fixed mixed order."""
    step = 7919  # a prime: neighbours in time are no neighbours in memory
    return [f"{host} /small?apikey={key_of(number * step % count)}" for number in range(count)]
