"""Keys: asymmetric keys as JSON Web Keys or PEM."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from gateway.entities.asymmetric_keys import check_jwk
from gateway.entities.certificate_checks import MatchingHalves, private_key_problem, public_key_problem
from gateway.entities.fields import Errors, Foreign, Reference, Text, is_vault_reference
from gateway.entities.record import CreatedAt, Entity, Group, Record, RecordCheck, UpdatedAt
from gateway.entities.record_checks import AtLeastOneOf, OnlyOneOrNoneOf, add_entity_error


class PemKeys(Record, frozen=True, kw_only=True):
    """A key pair, or half of one."""

    record_checks: ClassVar[tuple[RecordCheck, ...]] = (
        AtLeastOneOf(("private_key", "public_key")),
        MatchingHalves(),
    )

    private_key: Annotated[
        str | None,
        Text("The private key, PEM.", referenceable=True, encrypted=True, rule=private_key_problem),
    ] = None
    public_key: Annotated[
        str | None, Text("The public key, PEM.", referenceable=True, rule=public_key_problem)
    ] = None


class JwkCheck:
    """A JSON Web Key is an asymmetric key whose `kid` is that of the entity (RFC 7517 §4.5)."""

    sources = ("jwk", "kid")

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        text = values.get("jwk")
        if "jwk" in errors or not isinstance(text, str) or is_vault_reference(text):
            return
        try:
            jwk = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            add_entity_error(errors, "could not json decode jwk string")
            return
        if not isinstance(jwk, dict) or jwk.get("kid") != values.get("kid"):
            add_entity_error(errors, "kid in jwk.kid must be equal to keys.kid")
            return
        try:
            check_jwk(jwk)
        except ValueError:
            add_entity_error(errors, "could not load JWK, likely not a valid key")


class Key(Entity, frozen=True, kw_only=True):
    """An asymmetric key."""

    type_name: ClassVar[str] = "keys"
    singular: ClassVar[str] = "key"
    endpoint_key: ClassVar[str | None] = "name"
    cache_key: ClassVar[tuple[str, ...]] = ("kid", "set")
    record_checks: ClassVar[tuple[RecordCheck, ...]] = (
        OnlyOneOrNoneOf(("jwk", "pem")),
        AtLeastOneOf(("jwk", "pem")),
        JwkCheck(),
    )

    created_at: CreatedAt
    updated_at: UpdatedAt
    set: Annotated[
        Reference | None, Foreign("The key set it belongs to.", reference="key_sets", cascade=True)
    ] = None
    name: Annotated[str | None, Text("The name of the key.", unique=True)] = None
    kid: Annotated[str, Text("The id of the key in tokens.", required=True)]
    jwk: Annotated[
        str | None, Text("The key as a JSON Web Key, in JSON.", referenceable=True, encrypted=True)
    ] = None
    pem: Annotated[PemKeys | None, Group("The key as PEM.", record=PemKeys)] = None
