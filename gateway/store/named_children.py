"""Children that are written as names in their parent: the server names of a certificate (see ChildNames)."""

from __future__ import annotations

import uuid
from typing import Any

from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES
from gateway.entities.child_names import ChildNames
from gateway.entities.fields import Errors, Reference
from gateway.entities.record import Entity, shape_of
from gateway.store.draft import Draft
from gateway.store.errors import schema_violation


class NamedChildren:
    """The names of children that a client wrote into the values of an entity."""

    def __init__(self, kind: type[Entity], values: dict[str, Any]) -> None:
        """Takes the names out of `values`."""
        self.errors: dict[Any, Errors] = {}
        self._kind = kind
        self._names: dict[ChildNames, tuple[str, list[str]]] = {}
        for name, field in kind.shorthands.items():
            if not isinstance(field, ChildNames) or name not in values:
                continue
            value = values.pop(name)
            clean, problem = field.check([] if value is None else value)
            if problem is not None:
                self.errors[name] = problem
            else:
                self._names[field] = name, clean

    def check(self, draft: Draft, identifier: str | None) -> None:
        """Raise EntityError (2) for names that children of others have; `identifier`: the id of the entity,
        when it is there already."""
        for field, (name, clean) in self._names.items():
            key = _key_of(field)
            for one in clean:
                holder = draft.find_unique(field.type_name, key, one)
                if holder is None:
                    continue
                owner = getattr(holder, self._foreign(field)).id
                if owner != identifier:
                    text = f"{one} already associated with existing {self._kind.singular} '{owner}'"
                    raise schema_violation({name: text})

    def write(self, draft: Draft, entity: Entity, now: float) -> None:
        """Add the children that are missing, and remove those that are not named."""
        for field, (_, clean) in self._names.items():
            kind = ENTITY_TYPES[field.type_name]
            key = _key_of(field)
            present = {
                getattr(child, key): child
                for child in draft.children(field.type_name, entity.type_name, entity.id)
            }
            for name in present.keys() - set(clean):
                draft.remove(present[name])
            for name in clean:
                if name not in present:
                    values: dict[str, Any] = {
                        "id": str(uuid.uuid4()),
                        key: name,
                        self._foreign(field): Reference(entity.id),
                    }
                    shape_of(kind).complete(values, now)
                    draft.put(kind(**values))

    def _foreign(self, field: ChildNames) -> str:
        return CHILDREN[self._kind.type_name][field.type_name]


def _key_of(field: ChildNames) -> str:
    key = ENTITY_TYPES[field.type_name].endpoint_key
    assert key is not None
    return key
