"""Several operations in one transaction, none of which can spoil the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gateway.entities.record import Entity
from gateway.store.changes import Changes, EntityId
from gateway.store.configuration import Configuration
from gateway.store.draft import Draft
from gateway.store.interface import Operation, Outcome


@dataclass(frozen=True, slots=True)
class Batch:
    """What became of the operations of a transaction, before it is committed."""

    outcomes: list[Outcome]
    """one for each operation, in order"""
    changes: Changes
    """of all that were not refused, without what is as it was before"""
    given_secrets: Mapping[EntityId, Mapping[str, Any]] = field(default_factory=dict, repr=False)
    """see Draft"""


def run_batch(base: Configuration, operations: Sequence[Operation]) -> Batch:
    """Run operations one after the other, each on top of those before it that were not refused."""
    draft = Draft(base)
    accepted: dict[EntityId, Entity | None] = {}
    given_secrets: dict[EntityId, Mapping[str, Any]] = {}
    outcomes: list[Outcome] = []
    for operation in operations:
        try:
            result = operation.run(draft)
        except Exception as error:
            outcomes.append(Outcome(error=error))
            if not _same(draft.changes, accepted):
                draft = _draft_of(base, accepted)
            continue
        changed = not _same(draft.changes, accepted)
        outcomes.append(Outcome(result, changed=changed))
        if changed:
            accepted = dict(draft.changes)
            given_secrets.update(draft.given_secrets)
    effective = {
        (type_name, identifier): entity
        for (type_name, identifier), entity in accepted.items()
        if base.of(type_name).get(identifier) is not entity
    }
    return Batch(outcomes, effective, given_secrets)


def _same(one: Changes, other: Changes) -> bool:
    return len(one) == len(other) and all(
        key in other and other[key] is entity for key, entity in one.items()
    )


def _draft_of(base: Configuration, changes: Changes) -> Draft:
    """A draft with just these changes."""
    draft = Draft(base)
    # What goes first makes room for what has its unique values now.
    for (type_name, identifier), entity in changes.items():
        if entity is None and (gone := draft.get(type_name, identifier)) is not None:
            draft.remove(gone)
    for entity in changes.values():
        if entity is not None:
            draft.put(entity)
    return draft
