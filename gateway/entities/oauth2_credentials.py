"""Credentials of the plugin oauth2: client applications."""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from gateway.entities.fields import Array, Boolean, Foreign, Reference, Text
from gateway.entities.record import AdminPaths, CreatedAt, Entity
from gateway.entities.value_checks import redirect_uri_problem

ITERATIONS = 10_000
HASH_PREFIX = f"$pbkdf2-sha512$i={ITERATIONS},l=32$"


class OAuth2Credential(Entity, frozen=True, kw_only=True):
    """A client application (RFC 6749 §2)."""

    type_name: ClassVar[str] = "oauth2_credentials"
    singular: ClassVar[str] = "oauth2_credential"
    endpoint_key: ClassVar[str | None] = "client_id"
    cache_key: ClassVar[tuple[str, ...]] = ("client_id",)
    hashed: ClassVar[tuple[str, ...]] = ("client_secret", "hash_secret")
    admin_paths: ClassVar[AdminPaths] = AdminPaths(collection="oauth2", nested="oauth2")

    created_at: CreatedAt
    consumer: Annotated[
        Reference, Foreign("Whose application it is.", reference="consumers", required=True, cascade=True)
    ]
    name: Annotated[str, Text("The name of the application.", required=True)]
    client_id: Annotated[str, Text("The client's id; generated when not given.", unique=True, auto=True)]
    client_secret: Annotated[
        str, Text("The client's secret; generated when not given.", auto=True, encrypted=True)
    ]
    hash_secret: Annotated[bool, Boolean("Whether the secret is stored hashed.", required=True)] = False
    redirect_uris: Annotated[
        list[str] | None,
        Array("Where users may be sent back to.", elements=Text("A URI.", rule=redirect_uri_problem)),
    ] = None
    client_type: Annotated[
        str, Text("Whether the client can keep a secret.", required=True, one_of=("confidential", "public"))
    ] = "confidential"

    @classmethod
    def hash_secrets(cls, values: dict[str, Any]) -> None:
        if not values.get("hash_secret") or values["client_secret"].startswith(HASH_PREFIX):
            return
        values["client_secret"] = _hashed(values["client_secret"], secrets.token_bytes(16))

    @classmethod
    def has_secrets(cls, stored: Mapping[str, Any], given: Mapping[str, Any]) -> bool:
        known: str = stored["client_secret"]
        if not known.startswith(HASH_PREFIX) or "client_secret" not in given:
            return super().has_secrets(stored, given)
        salt = known.removeprefix(HASH_PREFIX).partition("$")[0]
        # Kong's alphabet is the standard one; padding is left out, as in all hashes of this form.
        return _hashed(given["client_secret"], base64.b64decode(f"{salt}==")) == known


def _hashed(secret: str, salt: bytes) -> str:
    digest = hashlib.pbkdf2_hmac("sha512", secret.encode(), salt, ITERATIONS, 32)
    return f"{HASH_PREFIX}{_unpadded(salt)}${_unpadded(digest)}"


def _unpadded(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")
