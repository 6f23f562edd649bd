"""Pages of entities: all of a type, those of a parent, and those with a tag.

A page costs what is on it, however many entities there are; only tags are looked for one entity after the
other.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from typing import Any, TypeAlias

from starlette.requests import Request

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.expiry import is_expired
from gateway.entities.record import Entity
from gateway.store.configuration import Configuration

from .paging import PageRequest, page_of, page_request
from .responses import ApiError, message_response

STRIDE = 1000
"""entities looked at in one go"""
MANY = 2000
"""entities from which on a search through all of a type has a thread"""

KEPT_PARENTS = 4
"""parents whose children are kept sorted"""
WORTH_KEEPING = 500
"""children from which on that is worth the memory"""

Shown: TypeAlias = Callable[[Entity, Configuration], dict[str, Any]]
"""The form of an entity in an answer."""
Tagged: TypeAlias = tuple[str, str, str]
"""Type name, id, tag."""


async def collection_page(
    request: Request, configuration: Configuration, kind: type[Entity], shown: Shown
) -> dict[str, Any]:
    """A page of `/E`, by id. Raises EntityError (7, 9, 11), ApiError (no value to look one up by)."""
    for field in kind.admin_paths.lookups:
        if values := request.query_params.getlist(field):
            if len(values) > 1 or not values[0]:
                raise ApiError(message_response(400, f"{field} must be an unempty string"))
            return looked_up(configuration, kind.type_name, field, values[0], shown)
    wanted = page_request(request, kind.type_name)
    if wanted.tags is None or len(configuration.of(kind.type_name)) < MANY:
        found = found_in_collection(wanted, configuration, kind.type_name)
    else:
        found = await asyncio.to_thread(found_in_collection, wanted, configuration, kind.type_name)
    return page_by_id(wanted, configuration, kind.type_name, found, shown)


def found_in_collection(wanted: PageRequest, configuration: Configuration, type_name: str) -> list[Entity]:
    """The entities of a page, and one more when there are more."""
    after = wanted.after[0] if wanted.after else None
    if wanted.tags is None:
        entities = entities_after(configuration, type_name, after, stride=wanted.size + 1)
    else:
        fits = wanted.tags.fits
        # Most entities have no tags at all: that is what to find out first.
        everything = entities_after(configuration, type_name, after)
        entities = (entity for entity in everything if entity.tags and fits(entity.tags))
    return list(islice(living(entities), wanted.size + 1))


def page_by_id(
    wanted: PageRequest, configuration: Configuration, type_name: str, found: list[Entity], shown: Shown
) -> dict[str, Any]:
    """A page of a list that is sorted by id."""
    return page_of(
        wanted,
        type_name,
        found,
        lambda entity: (entity.id,),
        lambda entity: shown(entity, configuration),
    )


def living(entities: Iterable[Entity]) -> Iterator[Entity]:
    """Those whose time is not over."""
    now = time.time()
    return (entity for entity in entities if not is_expired(entity, now))


def entities_after(
    configuration: Configuration, type_name: str, after: str | None, *, stride: int = STRIDE
) -> Iterator[Entity]:
    """The entities of a type whose id follows another one, by id; `stride`: how many at once."""
    table = configuration.of(type_name)
    while identifiers := configuration.ids_after(type_name, after, stride):
        for identifier in identifiers:
            yield table[identifier]
        after = identifiers[-1]


def looked_up(
    configuration: Configuration, type_name: str, field: str, value: str, shown: Shown
) -> dict[str, Any]:
    """`/consumers?custom_id=…`: the one entity with that value of a unique field, or nothing, as a list."""
    found = configuration.find_unique(type_name, field, value)
    data = [] if found is None else [shown(found, configuration)]
    return {"data": data, "next": None}


def children_page(
    request: Request, configuration: Configuration, kind: type[Entity], parent: Entity, shown: Shown
) -> dict[str, Any]:
    """A page of `/P/{p}/E`, by id or newest first. Raises EntityError (7, 9)."""
    type_name = kind.type_name
    newest_first = kind.admin_paths.newest_first
    wanted = page_request(request, type_name, places=2 if newest_first else 1, with_filter=False)
    if newest_first:
        children = configuration.children(type_name, parent.type_name, parent.id)
        return page_newest_first(wanted, configuration, type_name, living(children), shown)
    identifiers = _sorted_children.of(configuration, type_name, parent)
    start = bisect_right(identifiers, wanted.after[0]) if wanted.after else 0
    table = configuration.of(type_name)
    following = (table[identifier] for identifier in islice(identifiers, start, None))
    found = list(islice(living(following), wanted.size + 1))
    return page_by_id(wanted, configuration, type_name, found, shown)


class SortedChildren:
    """The sorted ids of the children of a few parents, for who walks through the pages of many."""

    def __init__(self) -> None:
        self._kept: dict[tuple[str, str], tuple[Mapping[str, Entity], list[str]]] = {}

    def of(self, configuration: Configuration, type_name: str, parent: Entity) -> list[str]:
        """The ids of the children of that type."""
        table = configuration.of(type_name)
        key = (type_name, parent.id)
        known = self._kept.pop(key, None)
        if known is None or known[0] is not table:  # an unchanged table is the same object
            children = configuration.children(type_name, parent.type_name, parent.id)
            known = table, sorted(child.id for child in children)
            if len(children) < WORTH_KEEPING:
                return known[1]
        self._kept[key] = known
        if len(self._kept) > KEPT_PARENTS:
            del self._kept[next(iter(self._kept))]
        return known[1]


_sorted_children = SortedChildren()


def page_newest_first(
    wanted: PageRequest,
    configuration: Configuration,
    type_name: str,
    entities: Iterable[Entity],
    shown: Shown,
) -> dict[str, Any]:
    """A page of a list that is sorted by `created_at`."""

    def place(entity: Entity) -> tuple[str, str]:
        # Later times have smaller texts, which sort before those of earlier ones.
        milliseconds = round(entity.created_at * 1000)  # type: ignore[attr-defined]
        return f"{2**53 - milliseconds:016d}", entity.id

    following = (entity for entity in entities if wanted.after is None or place(entity) > wanted.after)
    found = heapq.nsmallest(wanted.size + 1, following, key=place)
    return page_of(wanted, type_name, found, place, lambda entity: shown(entity, configuration))


async def tags_page(request: Request, configuration: Configuration, tag: str | None) -> dict[str, Any]:
    """A page of `/tags` or `/tags/{tag}`: which entity has which tag. Raises EntityError (7, 9)."""
    wanted = page_request(request, "tags", places=3)
    found = await asyncio.to_thread(
        lambda: list(islice(tags_after(configuration, wanted.after, tag), wanted.size + 1))
    )
    return page_of(wanted, "tags", found, lambda item: item, shown_tag)


def tags_after(
    configuration: Configuration, after: tuple[str, ...] | None, tag: str | None
) -> Iterator[Tagged]:
    """Every tag of every entity by type, id and tag (or only one tag), from a place on."""
    first_type, first_id, first_tag = after or ("", "", "")
    for type_name in sorted(ENTITY_TYPES):
        if type_name < first_type:
            continue
        table = configuration.of(type_name)
        begun = table.get(first_id) if type_name == first_type else None
        if begun is not None:
            yield from (row for row in rows_of(begun, tag) if row[2] > first_tag)
        start = first_id if type_name == first_type else None
        everything = entities_after(configuration, type_name, start)
        for entity in living(entity for entity in everything if entity.tags):
            yield from rows_of(entity, tag)


def rows_of(entity: Entity, tag: str | None) -> list[Tagged]:
    """The tags of an entity, or only one."""
    if not entity.tags:
        return []
    return sorted((entity.type_name, entity.id, one) for one in set(entity.tags) if tag is None or one == tag)


def shown_tag(row: Tagged) -> dict[str, str]:
    """A row of /tags."""
    type_name, identifier, tag = row
    return {"entity_name": type_name, "entity_id": identifier, "tag": tag}
