"""Credentials of the plugin hmac-auth."""

from __future__ import annotations

from typing import Annotated, ClassVar

from gateway.entities.fields import Foreign, Reference, Text
from gateway.entities.record import AdminPaths, CreatedAt, Entity


class HmacAuthCredential(Entity, frozen=True, kw_only=True):
    """A user name and the secret its requests are signed with."""

    type_name: ClassVar[str] = "hmacauth_credentials"
    singular: ClassVar[str] = "hmacauth_credential"
    endpoint_key: ClassVar[str | None] = "username"
    cache_key: ClassVar[tuple[str, ...]] = ("username",)
    admin_paths: ClassVar[AdminPaths] = AdminPaths(collection="hmac-auths", nested="hmac-auth")

    created_at: CreatedAt
    consumer: Annotated[
        Reference, Foreign("Whose credential it is.", reference="consumers", required=True, cascade=True)
    ]
    username: Annotated[str, Text("The user name.", required=True, unique=True)]
    secret: Annotated[str, Text("The secret; generated when not given.", auto=True, encrypted=True)]
