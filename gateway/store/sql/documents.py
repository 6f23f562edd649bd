"""Entities as the JSON documents that a database keeps, and back."""

from __future__ import annotations

from typing import Any

import msgspec

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import Reference
from gateway.entities.record import Entity, shape_of

_ENCODER = msgspec.json.Encoder()


class UnreadableEntity(Exception):
    """A document that is no entity of its type; str() says which and why."""


def document_of(entity: Entity) -> str:
    """The JSON of an entity: every field, as it is held in memory."""
    return _ENCODER.encode(entity).decode()


class Reader:
    """Makes entities of documents. Ids that occur in many of them are held in memory once."""

    def __init__(self) -> None:
        self._decoders: dict[str, msgspec.json.Decoder[Any]] = {}
        self._references: dict[str, Reference] = {}

    def read(self, type_name: str, identifier: str, document: str) -> Entity | None:
        """An entity; None for a type that this version does not know. Raises UnreadableEntity."""
        decoder = self._decoders.get(type_name)
        if decoder is None:
            kind = ENTITY_TYPES.get(type_name)
            if kind is None:
                return None
            decoder = self._decoders[type_name] = msgspec.json.Decoder(kind)
        try:
            entity: Entity = decoder.decode(document)
        except msgspec.DecodeError as error:
            raise UnreadableEntity(f"{type_name} {identifier}: {error}") from None
        for field in shape_of(type(entity)).foreign:
            reference = getattr(entity, field)
            if reference is not None:
                shared = self._references.setdefault(reference.id, reference)
                if shared is not reference:
                    msgspec.structs.force_setattr(entity, field, shared)
        return entity
