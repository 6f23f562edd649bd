"""A declarative document with every type of entity (but plugins, which are not there yet)."""

from __future__ import annotations

import base64
import json
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES
from tests.support.certificates import authority, self_signed

WITHOUT = frozenset(("plugins",))


def every_entity() -> dict[str, Any]:
    """The document; names only, no ids."""
    cert, key = self_signed("gateway.example.com")
    client_cert, client_key = self_signed("client.example.com", "rsa")
    ca_cert, _ = authority()
    document = {
        "_format_version": "3.0",
        "ca_certificates": [
            {"id": "0ca00000-0000-4000-8000-000000000000", "cert": ca_cert, "tags": ["team-a"]}
        ],
        "certificates": [
            {"cert": cert, "key": key, "snis": [{"name": "a.example.com"}, {"name": "*.b.example.com"}]},
            {
                "id": "0ce00000-0000-4000-8000-000000000000",
                "cert": client_cert,
                "key": client_key,
                "tags": ["team-a"],
            },
        ],
        "vaults": [
            {"prefix": "my-env", "name": "env", "description": "Secrets", "config": {"prefix": "SECRET_"}}
        ],
        "key_sets": [
            {
                "name": "set",
                "keys": [
                    {"name": "one", "kid": "1", "jwk": elliptic_jwk("1")},
                ],
            }
        ],
        "services": [
            {
                "name": "secure",
                "url": "https://secure.example.com/base",
                "client_certificate": "0ce00000-0000-4000-8000-000000000000",
                "ca_certificates": ["0ca00000-0000-4000-8000-000000000000"],
                "tls_verify": True,
                "tags": ["team-a"],
                "routes": [
                    {
                        "name": "whole",
                        "hosts": ["a.example.com", "*.b.example.com"],
                        "paths": ["/p", "~/r/(?<x>\\d+)$"],
                        "methods": ["GET", "POST"],
                        "headers": {"x-version": ["1", "2"]},
                        "regex_priority": 3,
                        "protocols": ["https"],
                        "snis": ["a.example.com"],
                        "tags": ["team-a", "ünïcode"],
                    },
                    {"paths": ["/without-a-name"]},
                ],
            },
            {"name": "übung", "host": "pool", "path": "/true", "retries": 0, "enabled": False},
        ],
        "routes": [{"name": "alone", "hosts": ["alone.example.com"], "tags": ["team-a"]}],
        "oauth2_tokens": [
            {
                "credential": "c1",
                "service": "secure",
                "access_token": "at",
                "refresh_token": "rt",
                "expires_in": 90,
            },
        ],
        "upstreams": [
            {
                "name": "pool",
                "algorithm": "consistent-hashing",
                "hash_on": "header",
                "hash_on_header": "X-User",
                "hash_fallback": "ip",
                "healthchecks": {"active": {"healthy": {"interval": 5, "successes": 2}}},
                "targets": [{"target": "127.0.0.1:80", "weight": 7}, {"target": "[::1]:81"}, {"target": "h"}],
            },
            {"name": "even", "algorithm": "least-connections"},
        ],
        "consumers": [
            {
                "username": "bob smith",
                "custom_id": "0123",
                "tags": ["team-a"],
                "keyauth_credentials": [{"key": "null"}, {"key": "timed", "ttl": 5000}],
                "basicauth_credentials": [{"username": "bob", "password": "secret: password #1"}],
                "jwt_secrets": [{"key": "jwt", "secret": "s"}],
                "hmacauth_credentials": [{"username": "bob", "secret": "s"}],
                "acls": [{"group": "g1"}, {"group": "g2", "tags": ["t"]}],
                "oauth2_credentials": [
                    {
                        "name": "app",
                        "client_id": "c1",
                        "client_secret": "s",
                        "redirect_uris": ["https://x/y"],
                    },
                    {"name": "app 2", "client_id": "c2", "client_secret": "s", "hash_secret": True},
                ],
            },
            {"custom_id": "only"},
        ],
    }
    missing = set(ENTITY_TYPES) - WITHOUT - {name for name, _ in _types_in(document)}
    assert not missing, f"a new type of entity? {missing}"
    return document


def elliptic_jwk(kid: str) -> str:
    """A new public key as a JWK (RFC 7517)."""
    point = ec.generate_private_key(ec.SECP256R1()).public_key().public_numbers()

    def coordinate(number: int) -> str:
        return base64.urlsafe_b64encode(number.to_bytes(32)).rstrip(b"=").decode()

    fields = {"kid": kid, "kty": "EC", "crv": "P-256", "x": coordinate(point.x), "y": coordinate(point.y)}
    return json.dumps(fields)


def _types_in(record: dict[str, Any], children: Any = ENTITY_TYPES) -> list[tuple[str, Any]]:
    found = []
    for name in children:
        for item in record.get(name) or ():
            if isinstance(item, dict):
                found.append((name, item))
                found += _types_in(item, CHILDREN[name])
    return found
