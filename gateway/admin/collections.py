"""The endpoints of all entities, made from the catalogue: `/E`, `/E/{e}`, `/P/{p}/E`, `/P/{p}/E/{e}` and
`/E/{e}/F` for every type E and every field F of it that refers to a type P; then `/tags` and `/endpoints`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import Entity, shape_of

from .descriptions import TEXT, Answer, Description, list_of, object_of
from .endpoints import Endpoint
from .entities import ChildHandlers, CollectionHandlers, ReferenceHandlers
from .entity_descriptions import (
    OFFSET,
    REFUSED,
    SIZE,
    collection_descriptions,
    linked_descriptions,
    member_descriptions,
)
from .lists import tags_page
from .naming import naming_of
from .responses import json_response

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane


def entity_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """The endpoints of every type."""
    return [
        endpoint
        for kind in ENTITY_TYPES.values()
        for endpoint in (*_collection(plane, kind), *_children(plane, kind), *_references(plane, kind))
    ]


def collection_path(kind: type[Entity]) -> str:
    """`/key-auths`"""
    return f"/{kind.admin_paths.collection or kind.type_name}"


def member_path(kind: type[Entity]) -> str:
    """`/key-auths/{keyauth_credentials}`"""
    return f"{collection_path(kind)}/{{{kind.type_name}}}"


def children_path(parent: type[Entity], kind: type[Entity]) -> str:
    """`/consumers/{consumers}/key-auth`"""
    return f"{member_path(parent)}/{kind.admin_paths.nested or kind.type_name}"


def _collection(plane: ControlPlane, kind: type[Entity]) -> Iterator[Endpoint]:
    if "" in kind.admin_paths.disabled:
        yield Endpoint(collection_path(kind), {})
        yield Endpoint(member_path(kind), {})
        return
    handlers = CollectionHandlers(plane, kind)
    methods = {"GET": handlers.list, "POST": handlers.create}
    yield Endpoint(collection_path(kind), methods, collection_descriptions(kind))
    methods = {
        "GET": handlers.show,
        "PUT": handlers.replace,
        "PATCH": handlers.update,
        "DELETE": handlers.remove,
    }
    yield Endpoint(member_path(kind), methods, member_descriptions(kind))


def _children(plane: ControlPlane, kind: type[Entity]) -> Iterator[Endpoint]:
    for field, foreign in shape_of(kind).foreign.items():
        parent = ENTITY_TYPES[foreign.reference]
        handlers = ChildHandlers(plane, parent, kind, field)
        path = children_path(parent, kind)
        descriptions = collection_descriptions(kind, parent)
        yield Endpoint(path, {"GET": handlers.list, "POST": handlers.create}, descriptions)
        for alias in kind.admin_paths.nested_aliases:
            yield Endpoint(f"{path}/{alias}", {"GET": handlers.list}, {"GET": descriptions["GET"]})
        methods = {
            "GET": handlers.show,
            "PUT": handlers.update if naming_of(kind).put_changes else handlers.replace,
            "PATCH": handlers.update,
            "DELETE": handlers.remove,
        }
        yield Endpoint(f"{path}/{{{kind.type_name}}}", methods, member_descriptions(kind, parent))


def _references(plane: ControlPlane, kind: type[Entity]) -> Iterator[Endpoint]:
    for field, foreign in shape_of(kind).foreign.items():
        path = f"{member_path(kind)}/{field}"
        if field in kind.admin_paths.disabled:
            yield Endpoint(path, {})
            continue
        handlers = ReferenceHandlers(plane, kind, field)
        methods = {
            "GET": handlers.show,
            "PUT": handlers.replace,
            "PATCH": handlers.update,
            "DELETE": handlers.refuse_removal,
        }
        descriptions = linked_descriptions(kind, field, ENTITY_TYPES[foreign.reference])
        yield Endpoint(path, methods, descriptions)


def tag_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """Which entities have which tags."""

    async def every(request: Request) -> Response:
        return json_response(200, await tags_page(request, await plane.fresh(), None))

    async def one(request: Request) -> Response:
        tag = request.path_params["tags"]
        return json_response(200, await tags_page(request, await plane.fresh(), tag))

    async def remove(request: Request) -> Response:
        # To Kong a tag is an entity that never exists, and removing nothing succeeds.
        return Response(status_code=204)

    row = object_of({"entity_name": TEXT, "entity_id": TEXT, "tag": TEXT})
    page = object_of({"data": list_of(row), "next": {"type": ["string", "null"]}}, {"offset": TEXT})
    found = {200: Answer("A page.", page), 400: REFUSED}
    words = {"tags": "A tag."}
    return [
        Endpoint(
            "/tags",
            {"GET": every},
            {"GET": Description("List which entities have which tags.", found, "tags", (SIZE, OFFSET))},
        ),
        Endpoint(
            "/tags/{tags}",
            {"GET": one, "DELETE": remove},
            {
                "GET": Description("List the entities with a tag.", found, "tags", (SIZE, OFFSET), words),
                "DELETE": Description("Nothing is done.", {204: Answer("Done.")}, "tags", path=words),
            },
        ),
    ]


def listing_endpoint(endpoints: Iterable[Endpoint]) -> Endpoint:
    """`/endpoints`: the paths of all others, and its own."""
    path = "/endpoints"
    paths = sorted({path, *(endpoint.path for endpoint in endpoints)})
    answer = Answer("The paths.", object_of({"data": list_of(TEXT)}))

    async def show(request: Request) -> Response:
        return json_response(200, {"data": paths})

    return Endpoint(path, {"GET": show}, {"GET": Description("List the paths of this API.", {200: answer})})
