"""Key sets: groups of keys."""

from __future__ import annotations

from typing import Annotated, ClassVar

from gateway.entities.fields import Text
from gateway.entities.record import AdminPaths, CreatedAt, Entity, UpdatedAt


class KeySet(Entity, frozen=True, kw_only=True):
    """A group of keys."""

    type_name: ClassVar[str] = "key_sets"
    singular: ClassVar[str] = "key_set"
    endpoint_key: ClassVar[str | None] = "name"
    cache_key: ClassVar[tuple[str, ...]] = ("name",)
    admin_paths: ClassVar[AdminPaths] = AdminPaths(collection="key-sets")

    created_at: CreatedAt
    updated_at: UpdatedAt
    name: Annotated[str | None, Text("The name of the set.", unique=True)] = None
