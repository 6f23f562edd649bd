"""Writes of entities in a draft, short enough to be read in a table."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import Entity
from gateway.store import operations
from gateway.store.draft import Draft
from gateway.store.errors import EntityError

NOWHERE = "00000000-0000-4000-8000-000000000404"
SOME_ID = "00000000-0000-4000-8000-000000000001"


def create(draft: Draft, type_name: str, /, **values: Any) -> Any:
    return operations.create(draft, ENTITY_TYPES[type_name], values)


def replace(draft: Draft, type_name: str, key: Mapping[str, str], /, **values: Any) -> Any:
    return operations.replace(draft, ENTITY_TYPES[type_name], key, values)


def reference(entity: Entity) -> dict[str, str]:
    return {"id": entity.id}


def refused(draft: Draft, function: Callable[..., Any], /, *arguments: Any, **values: Any) -> dict[str, Any]:
    """The answer to an operation that is refused; nothing was changed by it."""
    before = dict(draft.changes)
    with pytest.raises(EntityError) as caught:
        function(draft, *arguments, **values)
    assert dict(draft.changes) == before
    return {"status": caught.value.status, **caught.value.answer()}


def update(draft: Draft, entity: Entity, /, **values: Any) -> Any:
    return operations.update(draft, entity, values)
