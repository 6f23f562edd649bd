"""Fields that show the names of an entity's children, and make and remove children when they are written."""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from itertools import pairwise
from typing import Any

from gateway.entities.fields import Array, Checked, Set


@dataclass(frozen=True)
class ChildNames(Set):
    """The names of those that refer to the entity, such as the server names of a certificate. Not stored: who
    writes it adds and removes children; declared among the `shorthands`."""

    _: KW_ONLY
    type_name: str
    """The type of the children; `elements` is like their endpoint key."""

    def check(self, value: Any) -> Checked:
        clean, problem = Array.check(self, value)
        if problem is not None:
            return value, problem
        names = sorted(clean)
        repeated = next((one for one, following in pairwise(names) if one == following), None)
        return names, None if repeated is None else f"{repeated} is duplicated"
