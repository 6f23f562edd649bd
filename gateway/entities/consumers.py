"""Consumers: the users of the gateway's APIs."""

from __future__ import annotations

from typing import Annotated, ClassVar

from gateway.entities.fields import Text
from gateway.entities.record import AdminPaths, CreatedAt, Entity, RecordCheck, UpdatedAt
from gateway.entities.record_checks import AtLeastOneOf


class Consumer(Entity, frozen=True, kw_only=True):
    """A user or application that consumes services."""

    type_name: ClassVar[str] = "consumers"
    singular: ClassVar[str] = "consumer"
    endpoint_key: ClassVar[str | None] = "username"
    admin_paths: ClassVar[AdminPaths] = AdminPaths(lookups=("custom_id",))
    record_checks: ClassVar[tuple[RecordCheck, ...]] = (AtLeastOneOf(("custom_id", "username")),)

    created_at: CreatedAt
    updated_at: UpdatedAt
    username: Annotated[str | None, Text("The unique name of the consumer.", unique=True)] = None
    custom_id: Annotated[str | None, Text("The id of the consumer in a system of yours.", unique=True)] = None
