"""Pages of entities: all of a type, those of a parent, and those with a tag.

A page costs what is on it, however many entities there are; only tags are looked for one entity after the
other.
"""

from __future__ import annotations

import asyncio
import heapq
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

from starlette.requests import Request

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import Entity
from gateway.store.configuration import Configuration
from gateway.store.forms import admin_form

from .paging import PageRequest, TagFilter, page_of, page_request

STRIDE = 1000
"""entities looked at in one go"""
MANY = 2000
"""entities from which on a search through all of a type has a thread"""

Tagged = tuple[str, str, str]
"""Type name, id, tag."""


async def collection_page(
    request: Request, configuration: Configuration, kind: type[Entity]
) -> dict[str, Any]:
    """A page of `/E`, by id. Raises EntityError (7, 9, 11)."""
    if kind.type_name == "consumers" and "custom_id" in request.query_params:
        return consumers_with(configuration, request.query_params["custom_id"])
    wanted = page_request(request, kind.type_name)
    if wanted.tags is None or len(configuration.of(kind.type_name)) < MANY:
        return _collection_page(wanted, configuration, kind.type_name)
    return await asyncio.to_thread(_collection_page, wanted, configuration, kind.type_name)


def _collection_page(wanted: PageRequest, configuration: Configuration, type_name: str) -> dict[str, Any]:
    after = wanted.after[0] if wanted.after else None
    if wanted.tags is None:
        table = configuration.of(type_name)
        found = [table[one] for one in configuration.ids_after(type_name, after, wanted.size + 1)]
    else:
        found = list(islice(tagged(configuration, type_name, after, wanted.tags), wanted.size + 1))
    return _page(wanted, configuration, type_name, found)


def _page(
    wanted: PageRequest, configuration: Configuration, type_name: str, found: list[Entity]
) -> dict[str, Any]:
    now = time.time()
    return page_of(
        wanted,
        type_name,
        found,
        lambda entity: (entity.id,),
        lambda entity: admin_form(entity, configuration, now),
    )


def tagged(
    configuration: Configuration, type_name: str, after: str | None, tags: TagFilter
) -> Iterator[Entity]:
    """The entities of a type that a filter lets through, by id."""
    return (entity for entity in entities_after(configuration, type_name, after) if tags.fits(entity.tags))


def entities_after(configuration: Configuration, type_name: str, after: str | None) -> Iterator[Entity]:
    """The entities of a type whose id follows another one, by id."""
    table = configuration.of(type_name)
    while identifiers := configuration.ids_after(type_name, after, STRIDE):
        for identifier in identifiers:
            yield table[identifier]
        after = identifiers[-1]


def consumers_with(configuration: Configuration, custom_id: str) -> dict[str, Any]:
    """`/consumers?custom_id=…`: the one consumer, or nothing, as a list."""
    found = configuration.find_unique("consumers", "custom_id", custom_id)
    data = [] if found is None else [admin_form(found, configuration, time.time())]
    return {"data": data, "next": None}


def children_page(
    request: Request, configuration: Configuration, kind: type[Entity], parent: Entity
) -> dict[str, Any]:
    """A page of `/P/{p}/E`, by id; targets newest first. Raises EntityError (7, 9)."""
    newest_first = kind.type_name == "targets"
    wanted = page_request(request, kind.type_name, places=2 if newest_first else 1, with_filter=False)
    children = configuration.children(kind.type_name, parent.type_name, parent.id)
    if newest_first:
        return _targets_page(wanted, configuration, children)
    after = wanted.after[0] if wanted.after else ""
    following = (child for child in children if child.id > after)
    found = heapq.nsmallest(wanted.size + 1, following, key=lambda child: child.id)
    return _page(wanted, configuration, kind.type_name, found)


def _targets_page(wanted: PageRequest, configuration: Configuration, targets: list[Entity]) -> dict[str, Any]:
    def place(target: Entity) -> tuple[str, str]:
        # Later times have smaller texts, which sort before those of earlier ones.
        milliseconds = round(target.created_at * 1000)  # type: ignore[attr-defined]
        return f"{2**53 - milliseconds:016d}", target.id

    following = (target for target in targets if wanted.after is None or place(target) > wanted.after)
    found = heapq.nsmallest(wanted.size + 1, following, key=place)
    now = time.time()
    return page_of(wanted, "targets", found, place, lambda target: admin_form(target, configuration, now))


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
        for entity in entities_after(configuration, type_name, start):
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
