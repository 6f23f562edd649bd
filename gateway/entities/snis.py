"""SNIs: the TLS server names a certificate is for."""

from __future__ import annotations

from typing import Annotated, ClassVar

from gateway.entities.fields import Foreign, Reference, Text
from gateway.entities.record import AdminPaths, CreatedAt, Entity, UpdatedAt
from gateway.entities.value_checks import wildcard_server_name_problem


class Sni(Entity, frozen=True, kw_only=True):
    """A server name, possibly with a wildcard, and its certificate."""

    type_name: ClassVar[str] = "snis"
    singular: ClassVar[str] = "sni"
    endpoint_key: ClassVar[str | None] = "name"
    admin_paths: ClassVar[AdminPaths] = AdminPaths(disabled=("certificate",))

    created_at: CreatedAt
    updated_at: UpdatedAt
    name: Annotated[
        str,
        Text(
            "The server name; `*` may be its start or end.",
            required=True,
            unique=True,
            rule=wildcard_server_name_problem,
        ),
    ]
    certificate: Annotated[
        Reference,
        Foreign("The certificate for the name.", reference="certificates", required=True, cascade=True),
    ]
