"""Pages of entities: all of a type, those of a parent, and those with a tag.

A page costs what is on it, however many entities there are; only tags are looked for one entity after the
other.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeAlias

from starlette.requests import Request

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.expiry import is_expired
from gateway.entities.record import Entity
from gateway.store.configuration import Configuration

from .paging import PageRequest, page_of, page_request

STRIDE = 1000
"""entities looked at in one go"""
MANY = 2000
"""entities from which on a search through all of a type has a thread"""

Shown: TypeAlias = Callable[[Entity, Configuration], dict[str, Any]]
"""The form of an entity in an answer."""
Tagged: TypeAlias = tuple[str, str, str]
"""Type name, id, tag."""


async def collection_page(
    request: Request, configuration: Configuration, kind: type[Entity], shown: Shown
) -> dict[str, Any]:
    """A page of `/E`, by id. Raises EntityError (7, 9, 11)."""
    if kind.type_name == "consumers" and "custom_id" in request.query_params:
        return consumers_with(configuration, request.query_params["custom_id"], shown)
    wanted = page_request(request, kind.type_name)
    if wanted.tags is None or len(configuration.of(kind.type_name)) < MANY:
        found = found_in_collection(wanted, configuration, kind.type_name)
    else:
        found = await asyncio.to_thread(found_in_collection, wanted, configuration, kind.type_name)
    return page_by_id(wanted, configuration, kind.type_name, found, shown)


def found_in_collection(wanted: PageRequest, configuration: Configuration, type_name: str) -> list[Entity]:
    """The entities of a page, and one more when there are more."""
    after = wanted.after[0] if wanted.after else None
    entities = living(entities_after(configuration, type_name, after, stride=wanted.size + 1))
    if wanted.tags is not None:
        filter_ = wanted.tags
        entities = (entity for entity in entities if filter_.fits(entity.tags))
    return list(islice(entities, wanted.size + 1))


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


def consumers_with(configuration: Configuration, custom_id: str, shown: Shown) -> dict[str, Any]:
    """`/consumers?custom_id=…`: the one consumer, or nothing, as a list."""
    found = configuration.find_unique("consumers", "custom_id", custom_id)
    data = [] if found is None else [shown(found, configuration)]
    return {"data": data, "next": None}


def children_page(
    request: Request, configuration: Configuration, kind: type[Entity], parent: Entity, shown: Shown
) -> dict[str, Any]:
    """A page of `/P/{p}/E`, by id; targets newest first. Raises EntityError (7, 9)."""
    newest_first = kind.type_name == "targets"
    wanted = page_request(request, kind.type_name, places=2 if newest_first else 1, with_filter=False)
    children = living(configuration.children(kind.type_name, parent.type_name, parent.id))
    if newest_first:
        return targets_page(wanted, configuration, children, shown)
    after = wanted.after[0] if wanted.after else ""
    following = (child for child in children if child.id > after)
    found = heapq.nsmallest(wanted.size + 1, following, key=lambda child: child.id)
    return page_by_id(wanted, configuration, kind.type_name, found, shown)


def targets_page(
    wanted: PageRequest, configuration: Configuration, targets: Iterable[Entity], shown: Shown
) -> dict[str, Any]:
    """A page of the targets of an upstream, newest first."""

    def place(target: Entity) -> tuple[str, str]:
        # Later times have smaller texts, which sort before those of earlier ones.
        milliseconds = round(target.created_at * 1000)  # type: ignore[attr-defined]
        return f"{2**53 - milliseconds:016d}", target.id

    following = (target for target in targets if wanted.after is None or place(target) > wanted.after)
    found = heapq.nsmallest(wanted.size + 1, following, key=place)
    return page_of(wanted, "targets", found, place, lambda target: shown(target, configuration))


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
        for entity in living(entities_after(configuration, type_name, start)):
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
