"""A declarative document while it is being changed: what is touched is copied, everything else is shared."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from gateway.store.changes import EntityId
from gateway.store.items import Item


@dataclass(slots=True, eq=False)
class Spot:
    """An element of the document, which stands for an entity."""

    key: EntityId
    values: dict[str, Any]
    """The element itself, nested ones included."""
    parent: Spot | None
    """What it is nested in."""
    is_own: bool = False
    """Whether `values` is a copy, which may be changed."""

    @property
    def type_name(self) -> str:
        """The type of the entity."""
        return self.key[0]


class WorkingCopy:
    """The elements of a document, and where each comes from."""

    def __init__(self, document: dict[str, Any], items: Iterable[Item]) -> None:
        """`items`: as the loader found them in the document."""
        self.document = dict(document)
        self.spots: dict[EntityId, Spot] = {}
        self._origins: dict[int, Any] = {id(self.document): document}
        self._own_lists: set[int] = set()
        self._kept: list[Any] = [document]  # object ids must not be used again
        found: dict[int, Spot] = {}
        for item in items:
            parent = found[id(item.parent)] if item.parent is not None else None
            key = (item.kind.type_name, item.id)
            spot = self.spots[key] = found[id(item)] = Spot(key, at(document, item.path), parent)
            self._kept.append(spot.values)

    def origin(self, value: Any) -> Any:
        """The object of the document that an object of the copy was made of; itself when it is that one."""
        return self._origins.get(id(value), value)

    def own(self, spot: Spot) -> dict[str, Any]:
        """The element, to be changed."""
        if not spot.is_own:
            container = self._own_list(spot.parent, spot.type_name)
            number = self._number(container, spot)
            spot.values = container[number] = self._copy(spot.values)
            spot.is_own = True
        return spot.values

    def set(self, spot: Spot, path: tuple[str, ...], value: Any) -> None:
        """Set a value at a path in an element, whose last part alone may be missing."""
        self._inner(spot, path[:-1])[path[-1]] = value

    def drop(self, spot: Spot, path: tuple[str, ...]) -> None:
        """Take a value out of an element."""
        del self._inner(spot, path[:-1])[path[-1]]

    def take_out(self, spot: Spot) -> None:
        """Remove an element, with what is nested in it; a list that is empty then goes, too."""
        self.own(spot)
        container = self._own_list(spot.parent, spot.type_name)
        del container[self._number(container, spot)]
        if not container:
            del (self.document if spot.parent is None else spot.parent.values)[spot.type_name]

    def append(self, spot: Spot, parent: Spot | None) -> None:
        """Put an element at the end of its list, at the top level or in another element."""
        spot.parent, spot.is_own = parent, True
        self._own_list(parent, spot.type_name).append(spot.values)
        self.spots[spot.key] = spot
        self._kept.append(spot.values)

    def _inner(self, spot: Spot, path: tuple[str, ...]) -> dict[str, Any]:
        inner = self.own(spot)
        for name in path:
            if id(inner[name]) not in self._origins:
                inner[name] = self._copy(inner[name])
            inner = inner[name]
        return inner

    def _own_list(self, parent: Spot | None, type_name: str) -> list[Any]:
        container = self.document if parent is None else self.own(parent)
        elements = container.get(type_name)
        if id(elements) not in self._own_lists:
            # `{}` and null stand for no elements, too.
            elements = container[type_name] = self._copy(elements) if isinstance(elements, list) else []
            self._own_lists.add(id(elements))
            self._kept.append(elements)
        assert isinstance(elements, list)
        return elements

    def _number(self, container: list[Any], spot: Spot) -> int:
        return next(number for number, element in enumerate(container) if element is spot.values)

    def _copy(self, value: Any) -> Any:
        copied = value.copy()
        self._origins[id(copied)] = value
        self._kept += (value, copied)
        return copied


def at(document: Any, path: Iterable[str | int]) -> Any:
    """What a path leads to."""
    for step in path:
        document = document[step]
    return document


def unshared(value: Any) -> Any:
    """The same plain data, in which no object stands in two places."""
    if isinstance(value, dict):
        return {name: unshared(below) for name, below in value.items()}
    return [unshared(below) for below in value] if isinstance(value, list) else value
