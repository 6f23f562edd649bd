"""ACLs: the groups a consumer is in, for the plugin acl."""

from __future__ import annotations

from typing import Annotated, ClassVar

from gateway.entities.fields import Foreign, Reference, Text
from gateway.entities.record import CreatedAt, Entity


class Acl(Entity, frozen=True, kw_only=True):
    """A consumer's membership of a group."""

    type_name: ClassVar[str] = "acls"
    singular: ClassVar[str] = "acl"
    cache_key: ClassVar[tuple[str, ...]] = ("consumer", "group")

    created_at: CreatedAt
    consumer: Annotated[
        Reference, Foreign("Who is in the group.", reference="consumers", required=True, cascade=True)
    ]
    group: Annotated[str, Text("The name of the group.", required=True)]
