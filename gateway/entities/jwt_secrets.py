"""Credentials of the plugin jwt."""

from __future__ import annotations

from typing import Annotated, ClassVar

from gateway.entities.certificate_checks import public_key_problem
from gateway.entities.fields import Foreign, Reference, Text
from gateway.entities.record import AdminPaths, CreatedAt, Entity, RecordCheck
from gateway.entities.record_checks import Conditional

ALGORITHMS = (
    "HS256",
    "HS384",
    "HS512",
    "RS256",
    "RS384",
    "RS512",
    "ES256",
    "ES384",
    "ES512",
    "PS256",
    "PS384",
    "PS512",
    "EdDSA",
)
NEED_PUBLIC_KEY = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "EdDSA")


class JwtSecret(Entity, frozen=True, kw_only=True):
    """What tokens of a consumer are verified with."""

    type_name: ClassVar[str] = "jwt_secrets"
    singular: ClassVar[str] = "jwt_secret"
    endpoint_key: ClassVar[str | None] = "key"
    cache_key: ClassVar[tuple[str, ...]] = ("key",)
    admin_paths: ClassVar[AdminPaths] = AdminPaths(collection="jwts", nested="jwt")
    record_checks: ClassVar[tuple[RecordCheck, ...]] = (
        Conditional(
            "algorithm",
            if_one_of=NEED_PUBLIC_KEY,
            then_field="rsa_public_key",
            then_required=True,
            then_rule=public_key_problem,
        ),
    )

    created_at: CreatedAt
    consumer: Annotated[
        Reference, Foreign("Whose credential it is.", reference="consumers", required=True, cascade=True)
    ]
    key: Annotated[
        str, Text("The value of the claim that names the credential (iss).", unique=True, auto=True)
    ]
    secret: Annotated[str, Text("The secret of the HS algorithms.", auto=True, encrypted=True)]
    rsa_public_key: Annotated[str | None, Text("The public key of the other algorithms, PEM.")] = None
    algorithm: Annotated[str | None, Text("The algorithm of the signature.", one_of=ALGORITHMS)] = "HS256"
