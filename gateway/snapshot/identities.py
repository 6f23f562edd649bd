"""Consumers, credentials and groups as the records that workers look keys up in."""

from collections.abc import Callable, Iterable
from typing import Any, cast

from gateway.entities.acls import Acl
from gateway.entities.basicauth_credentials import BasicAuthCredential
from gateway.entities.consumers import Consumer
from gateway.entities.expiry import expiry_of
from gateway.entities.hmacauth_credentials import HmacAuthCredential
from gateway.entities.jwt_secrets import JwtSecret
from gateway.entities.keyauth_credentials import KeyAuthCredential
from gateway.entities.oauth2_credentials import HASH_PREFIX, OAuth2Credential
from gateway.garbage import collection_paused
from gateway.store.configuration import Configuration
from native.identities import (
    CredentialFlag,
    IdentityKind,
    JwtAlgorithm,
    build_identities,
    consumer_record,
    credential_record,
    group_record,
    known_records,
)

ALGORITHMS = {
    algorithm.name.removeprefix("JWT_").replace("EDDSA", "EdDSA"): int(algorithm)
    for algorithm in JwtAlgorithm
}
SECRET_HASHED = int(CredentialFlag.SECRET_HASHED)
CLIENT_PUBLIC = int(CredentialFlag.CLIENT_PUBLIC)


def consumer(entity: Consumer) -> bytes:
    """The record of a consumer."""
    return consumer_record(id=entity.id, username=entity.username, custom_id=entity.custom_id)


def key_auth(entity: KeyAuthCredential) -> bytes:
    """The record of an API key."""
    return credential_record(
        IdentityKind.KEY_AUTH,
        id=entity.id,
        consumer=entity.consumer.id,
        key=entity.key,
        expires_at=expiry(entity),
    )


def basic_auth(entity: BasicAuthCredential) -> bytes:
    """The record of a user name with its hashed password."""
    return credential_record(
        IdentityKind.BASIC_AUTH,
        id=entity.id,
        consumer=entity.consumer.id,
        key=entity.username,
        secret=entity.password,
    )


def hmac_auth(entity: HmacAuthCredential) -> bytes:
    """The record of a user name with its secret."""
    return credential_record(
        IdentityKind.HMAC_AUTH,
        id=entity.id,
        consumer=entity.consumer.id,
        key=entity.username,
        secret=entity.secret,
    )


def jwt(entity: JwtSecret) -> bytes:
    """The record of what tokens are verified with."""
    return credential_record(
        IdentityKind.JWT,
        id=entity.id,
        consumer=entity.consumer.id,
        key=entity.key,
        secret=entity.secret,
        more=entity.rsa_public_key or "",
        algorithm=ALGORITHMS[entity.algorithm or "HS256"],
    )


def oauth2(entity: OAuth2Credential) -> bytes:
    """The record of a client application."""
    flags = SECRET_HASHED if entity.hash_secret and entity.client_secret.startswith(HASH_PREFIX) else 0
    if entity.client_type == "public":
        flags |= CLIENT_PUBLIC
    return credential_record(
        IdentityKind.OAUTH2,
        id=entity.id,
        consumer=entity.consumer.id,
        key=entity.client_id,
        secret=entity.client_secret,
        more="\n".join(entity.redirect_uris or ()),
        name=entity.name,
        flags=flags,
    )


def group(entity: Acl) -> bytes:
    """The record of a membership."""
    return group_record(consumer=entity.consumer.id, name=entity.group)


def expiry(entity: KeyAuthCredential) -> int:
    """When a credential ends, in milliseconds since the epoch; 0: never."""
    seconds = expiry_of(entity)
    return 0 if seconds is None else max(int(seconds * 1000), 1)


CONSUMERS: dict[str, Callable[[Any], bytes]] = {"consumers": consumer}
CREDENTIALS: dict[str, Callable[[Any], bytes]] = {
    "keyauth_credentials": key_auth,
    "basicauth_credentials": basic_auth,
    "hmacauth_credentials": hmac_auth,
    "jwt_secrets": jwt,
    "oauth2_credentials": oauth2,
}
GROUPS: dict[str, Callable[[Any], bytes]] = {"acls": group}

IDENTITY_TYPES = (*CONSUMERS, *CREDENTIALS, *GROUPS)
"""The types of entity that go into identities, and into no other kind of snapshot."""


class IdentitiesCompiler:
    """Compiles one identities file after the other, and keeps for the next the records of unchanged entities.

    The result is the same as without anything kept.
    """

    def __init__(self) -> None:
        # By type: its entities in order, and their records.
        self._known: dict[str, tuple[list[object], list[bytes]]] = {}

    def compile(self, configuration: Configuration, *, number: int) -> bytes:
        """The identities file with this number. Equal input gives equal bytes. Raises
        native.snapshot.SnapshotError."""
        with collection_paused():
            return build_identities(
                self._records(configuration, CONSUMERS.items()),
                self._records(configuration, CREDENTIALS.items()),
                self._records(configuration, GROUPS.items()),
                number=number,
            )

    def _records(
        self, configuration: Configuration, types: Iterable[tuple[str, Callable[[Any], bytes]]]
    ) -> list[bytes]:
        """The records of all entities of these types, one type after the other."""
        together: list[bytes] = []
        for type_name, make in types:
            entities: list[object] = list(configuration.of(type_name).values())
            found, missing = known_records(entities, *self._known.get(type_name, ([], [])))
            for place in missing:
                found[place] = make(entities[place])
            records = cast("list[bytes]", found)
            self._known[type_name] = (entities, records)
            together = [*together, *records] if together else records
        return together
