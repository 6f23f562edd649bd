"""Credentials of the plugin basic-auth."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from gateway.entities import texts
from gateway.entities.fields import Errors, Foreign, Reference, Text
from gateway.entities.record import AdminPaths, CreatedAt, Entity, RecordCheck
from gateway.entities.record_checks import add_entity_error


class PasswordOfConsumer:
    """A password is hashed with the id of its consumer."""

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        if values.get("password") is not None and values.get("consumer") is None:
            add_entity_error(errors, texts.all_or_none_of(("password", "consumer.id")))


class BasicAuthCredential(Entity, frozen=True, kw_only=True):
    """A user name and password of a consumer."""

    type_name: ClassVar[str] = "basicauth_credentials"
    singular: ClassVar[str] = "basicauth_credential"
    endpoint_key: ClassVar[str | None] = "username"
    cache_key: ClassVar[tuple[str, ...]] = ("username",)
    record_checks: ClassVar[tuple[RecordCheck, ...]] = (PasswordOfConsumer(),)
    hashed: ClassVar[tuple[str, ...]] = ("password",)
    admin_paths: ClassVar[AdminPaths] = AdminPaths(collection="basic-auths", nested="basic-auth")

    created_at: CreatedAt
    consumer: Annotated[
        Reference, Foreign("Whose credential it is.", reference="consumers", required=True, cascade=True)
    ]
    username: Annotated[str, Text("The user name.", required=True, unique=True)]
    password: Annotated[
        str, Text("The password; stored as hex(sha1(password + consumer id)).", required=True, encrypted=True)
    ]

    @classmethod
    def hash_secrets(cls, values: dict[str, Any]) -> None:
        salted = values["password"] + values["consumer"].id
        # Kong's stored form: databases and files that are already hashed this way must keep working.
        values["password"] = hashlib.sha1(salted.encode(), usedforsecurity=False).hexdigest()
