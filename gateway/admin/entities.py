"""What the methods of the entity endpoints do: one class for the three forms of paths.

`/services` and `/services/{services}`; `/services/{services}/routes` and its members, which must belong to
that service; `/routes/{routes}/service`, the entity that another one refers to.

Reads look at one immutable configuration. Writes are operations: everything that depends on what is there
happens in the transaction, so that a parent cannot go while a child is made.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import Entity, shape_of
from gateway.store.draft import Draft
from gateway.store.interface import Operation
from gateway.store.lookups import Lookups
from gateway.store.operations import create, remove, replace, update

from .bodies import Body, read_body, refuse_unusable
from .entity_form import admin_form
from .forms import form_values
from .lists import children_page, collection_page
from .naming import NotThere, naming_of
from .responses import json_response, method_not_allowed

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane


class Handlers:
    """What all of them have in common."""

    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    def _shown(self, entity: Entity, entities: Lookups) -> dict[str, Any]:
        """The Admin API's form of an entity, now."""
        form = admin_form(entity, entities, time.time())
        if self._plane.store.kind == "off" and form.get("ttl", ...) is None:
            del form["ttl"]  # Kong shows it only where a database can enforce it
        return form


async def values_of(
    request: Request, plane: ControlPlane, kind: type[Entity], name: str = ""
) -> dict[str, Any]:
    """The values in a request's body; `name`: of the entity that is changed. Raises ApiError (4xx)."""
    body = await read_body(request, limit=plane.settings.admin_client_max_body_size)
    known = plane.configuration.find(kind.type_name, name) if name and not body.is_json else None
    if body.is_large:
        return await asyncio.to_thread(decoded_values, body, kind, known)
    return decoded_values(body, kind, known)


def decoded_values(body: Body, kind: type[Entity], known: Entity | None) -> dict[str, Any]:
    """The values in a body; `known`: the entity that a form changes. Raises ApiError (400)."""
    if body.is_json:
        values = body.fields
    else:
        values = form_values(kind, body.pairs, {} if known is None else known_values(known))
    refuse_unusable(values)
    return values


def known_values(entity: Entity) -> dict[str, Any]:
    """The texts of an entity by field, as far as they may tell what other fields mean."""
    return {name: getattr(entity, name) for name in shape_of(type(entity)).fields}


class CollectionHandlers(Handlers):
    """`/E` and `/E/{e}`."""

    def __init__(self, plane: ControlPlane, kind: type[Entity]) -> None:
        super().__init__(plane)
        self._kind = kind
        self._type = kind.type_name
        self._naming = naming_of(kind)

    async def list(self, request: Request) -> Response:
        configuration = await self._plane.fresh()
        return json_response(200, await collection_page(request, configuration, self._kind, self._shown))

    async def create(self, request: Request) -> Response:
        values = await values_of(request, self._plane, self._kind)

        def run(draft: Draft) -> dict[str, Any]:
            return self._shown(create(draft, self._kind, values), draft)

        return json_response(201, await self._plane.write(Operation("create", self._type, run)))

    async def show(self, request: Request) -> Response:
        configuration = await self._plane.fresh()
        entity = self._naming.find(configuration, request.path_params[self._type])
        if entity is None:
            raise NotThere
        return json_response(200, self._shown(entity, configuration))

    async def update(self, request: Request) -> Response:
        name = request.path_params[self._type]
        values = await values_of(request, self._plane, self._kind, name)

        def run(draft: Draft) -> dict[str, Any]:
            entity = self._naming.find(draft, name)
            if entity is None:
                raise self._naming.missing(name)
            return self._shown(update(draft, entity, values), draft)

        by = self._naming.by(name)
        return json_response(200, await self._plane.write(Operation("update", self._type, run, by)))

    async def replace(self, request: Request) -> Response:
        name = request.path_params[self._type]
        values = await values_of(request, self._plane, self._kind, name)
        # Of a declarative file, and beyond Kong: how else could an export with hashes be brought back?
        already_hashed = request.query_params.get("_transform") == "false"

        def run(draft: Draft) -> dict[str, Any]:
            written = self._naming.replacement(draft, name, None, values)
            return self._shown(replace(draft, self._kind, *written, already_hashed=already_hashed), draft)

        by = self._naming.by(name)
        return json_response(200, await self._plane.write(Operation("create or update", self._type, run, by)))

    async def remove(self, request: Request) -> Response:
        name = request.path_params[self._type]

        def run(draft: Draft) -> None:
            entity = self._naming.find(draft, name)
            if entity is not None:
                remove(draft, entity)

        await self._plane.write(Operation("remove", self._type, run, self._naming.by(name)))
        return Response(status_code=204)


class ChildHandlers(Handlers):
    """`/P/{p}/E` and `/P/{p}/E/{e}`: those that refer to an entity."""

    def __init__(self, plane: ControlPlane, parent: type[Entity], kind: type[Entity], field: str) -> None:
        """`field`: with which the children refer to the parent."""
        super().__init__(plane)
        self._parents = naming_of(parent)
        self._kind = kind
        self._type = kind.type_name
        self._field = field
        self._naming = naming_of(kind)

    def _parent(self, entities: Lookups, request: Request) -> Entity:
        name = request.path_params[self._parents.kind.type_name]
        parent = self._parents.find(entities, name)
        if parent is None:
            raise NotThere
        return parent

    def _child(self, entities: Lookups, request: Request) -> Entity:
        parent = self._parent(entities, request)
        child = self._naming.find(entities, request.path_params[self._type], parent)
        if child is None or not self._belongs(child, parent):
            raise NotThere
        return child

    def _belongs(self, child: Entity, parent: Entity) -> bool:
        reference = getattr(child, self._field)
        return reference is not None and reference.id == parent.id

    async def list(self, request: Request) -> Response:
        configuration = await self._plane.fresh()
        parent = self._parent(configuration, request)
        return json_response(200, children_page(request, configuration, self._kind, parent, self._shown))

    async def create(self, request: Request) -> Response:
        values = await values_of(request, self._plane, self._kind)

        def run(draft: Draft) -> dict[str, Any]:
            parent = self._parent(draft, request)
            return self._shown(create(draft, self._kind, {**values, self._field: {"id": parent.id}}), draft)

        return json_response(201, await self._plane.write(Operation("create", self._type, run)))

    async def show(self, request: Request) -> Response:
        configuration = await self._plane.fresh()
        return json_response(200, self._shown(self._child(configuration, request), configuration))

    async def update(self, request: Request) -> Response:
        name = request.path_params[self._type]
        values = await values_of(request, self._plane, self._kind, name)

        def run(draft: Draft) -> dict[str, Any]:
            return self._shown(update(draft, self._child(draft, request), values), draft)

        by = self._naming.by(name)
        return json_response(200, await self._plane.write(Operation("update", self._type, run, by)))

    async def replace(self, request: Request) -> Response:
        name = request.path_params[self._type]
        values = await values_of(request, self._plane, self._kind, name)

        def run(draft: Draft) -> dict[str, Any]:
            parent = self._parent(draft, request)
            present = self._naming.find(draft, name, parent)
            written = self._naming.replacement(
                draft, name, parent, {**values, self._field: {"id": parent.id}}
            )
            if present is not None and not self._belongs(present, parent):
                raise NotThere
            return self._shown(replace(draft, self._kind, *written), draft)

        by = self._naming.by(name)
        return json_response(200, await self._plane.write(Operation("create or update", self._type, run, by)))

    async def remove(self, request: Request) -> Response:
        def run(draft: Draft) -> None:
            remove(draft, self._child(draft, request))

        by = self._naming.by(request.path_params[self._type])
        await self._plane.write(Operation("remove", self._type, run, by))
        return Response(status_code=204)


class ReferenceHandlers(Handlers):
    """`/E/{e}/F`: the entity that a field of another one refers to."""

    def __init__(self, plane: ControlPlane, kind: type[Entity], field: str) -> None:
        super().__init__(plane)
        self._naming = naming_of(kind)
        self._field = field
        self._type = shape_of(kind).foreign[field].reference
        self._kind = ENTITY_TYPES[self._type]

    def _referring(self, entities: Lookups, request: Request) -> Entity:
        entity = self._naming.find(entities, request.path_params[self._naming.kind.type_name])
        if entity is None:
            raise NotThere
        return entity

    def _referred(self, entities: Lookups, request: Request) -> Entity:
        reference = getattr(self._referring(entities, request), self._field)
        found = None if reference is None else entities.get(self._type, reference.id)
        if found is None:
            raise NotThere
        return found

    async def show(self, request: Request) -> Response:
        configuration = await self._plane.fresh()
        form = self._shown(self._referred(configuration, request), configuration)
        # Kong does not look up the names of children here.
        return json_response(200, {**form, **dict.fromkeys(self._kind.shorthands.keys() & form.keys())})

    async def update(self, request: Request) -> Response:
        values = await values_of(request, self._plane, self._kind)

        def run(draft: Draft) -> dict[str, Any]:
            return self._shown(update(draft, self._referred(draft, request), values), draft)

        return json_response(200, await self._plane.write(Operation("update", self._type, run)))

    async def replace(self, request: Request) -> Response:
        values = await values_of(request, self._plane, self._kind)

        def run(draft: Draft) -> dict[str, Any]:
            referring = self._referring(draft, request)
            reference = getattr(referring, self._field)
            identifier = str(uuid.uuid4()) if reference is None else reference.id
            referred = replace(draft, self._kind, {"id": identifier}, values)
            if reference is None:
                update(draft, referring, {self._field: {"id": identifier}})
            return self._shown(referred, draft)

        return json_response(200, await self._plane.write(Operation("create or update", self._type, run)))

    async def refuse_removal(self, request: Request) -> Response:
        self._referred(await self._plane.fresh(), request)
        return method_not_allowed()
