"""Credentials of the plugin key-auth."""

from __future__ import annotations

from typing import Annotated, ClassVar

from gateway.entities.expiry import Expiring
from gateway.entities.fields import Foreign, Reference, Text
from gateway.entities.record import AdminPaths, CreatedAt


class KeyAuthCredential(Expiring, frozen=True, kw_only=True):
    """An API key of a consumer."""

    type_name: ClassVar[str] = "keyauth_credentials"
    singular: ClassVar[str] = "keyauth_credential"
    endpoint_key: ClassVar[str | None] = "key"
    cache_key: ClassVar[tuple[str, ...]] = ("key",)
    admin_paths: ClassVar[AdminPaths] = AdminPaths(collection="key-auths", nested="key-auth")

    created_at: CreatedAt
    consumer: Annotated[
        Reference, Foreign("Whose key it is.", reference="consumers", required=True, cascade=True)
    ]
    key: Annotated[
        str,
        Text("The key; generated when not given.", required=False, unique=True, auto=True, encrypted=True),
    ]
