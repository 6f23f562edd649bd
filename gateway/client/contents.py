"""All entities of a running gateway, read through its Admin API."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import msgspec

from gateway.client.clients import AdminClient
from gateway.client.collections import BlockingCollection, Document
from gateway.client.errors import NotFound, NotUnderstood
from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.expiry import Expiring
from gateway.entities.record import Entity, shape_of
from gateway.store.configuration import EMPTY_HASH, Configuration


def read_all(admin: AdminClient) -> Configuration:
    """Everything that is configured. Other writers may come in between two lists; what then refers to
    something that is not there is left out."""
    entities: list[Entity] = []
    known: set[tuple[str, str]] = set()
    for kind in ENTITY_TYPES.values():
        for entity in _read_type(admin, kind, entities):
            if all((name, identifier) in known for name, identifier in references_of(entity)):
                known.add((kind.type_name, entity.id))
                entities.append(entity)
    return Configuration(entities, EMPTY_HASH)


def references_of(entity: Entity) -> Iterator[tuple[str, str]]:
    """The entities that one refers to: type and id."""
    for name, field in shape_of(type(entity)).foreign.items():
        reference = getattr(entity, name)
        if reference is not None:
            yield field.reference, reference.id


def is_nested_only(kind: type[Entity]) -> bool:
    """Whether the Admin API has the entities of a type only below another one (targets)."""
    return "" in kind.admin_paths.disabled


def collection_of(
    admin: AdminClient, kind: type[Entity], entity: Entity | None = None
) -> BlockingCollection[Any]:
    """Where entities of a type are written; of a type that is only nested, where this one is."""
    if not is_nested_only(kind):
        return admin.collection(kind.type_name)
    assert entity is not None, "the place depends on the parent"
    ((parent_type, parent_id),) = references_of(entity)
    nested: BlockingCollection[Document] = getattr(admin.collection(parent_type)(parent_id), kind.type_name)
    return nested


def _read_type(admin: AdminClient, kind: type[Entity], before: list[Entity]) -> Iterator[Entity]:
    if not is_nested_only(kind):
        documents = admin.collection(kind.type_name).list()
        yield from (_entity(kind, document) for document in documents)
        return
    (foreign,) = shape_of(kind).foreign.values()
    for parent in before:
        if parent.type_name == foreign.reference:
            children = getattr(admin.collection(parent.type_name)(parent.id), kind.type_name)
            try:
                yield from [_entity(kind, document) for document in children.list()]
            except NotFound:  # the parent was removed since
                pass


def _entity(kind: type[Entity], document: Document) -> Entity:
    ttl = document.get("ttl")
    if ttl is not None and issubclass(kind, Expiring):
        # Shown are the whole seconds after the current one.
        document = {**document, "expires_at": round(time.time() + ttl + 0.5, 3)}
    try:
        return msgspec.convert(document, kind)
    except msgspec.ValidationError as error:
        raise NotUnderstood(f"an entity of {kind.type_name} has an unknown form: {error}") from None
