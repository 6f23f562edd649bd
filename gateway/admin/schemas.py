"""`/schemas/…`: what entities, plugins and vaults consist of, and whether values would be accepted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.requests import Request
from starlette.responses import Response

from gateway.entities import Entity
from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.plugins import Plugin
from gateway.entities.vaults import BUILT_IN as VAULTS
from gateway.entities.vaults import Vault
from gateway.plugins import AVAILABLE, PluginDefinition, find_plugin
from gateway.store.operations import check

from .bodies import read_body
from .descriptions import MESSAGE, OBJECT, REFUSAL, TEXT, Answer, Description, Schema, list_of, object_of
from .endpoints import Endpoint, Handler
from .entities import decoded_values
from .kong_schemas import entity_schema, plugin_config_schema, plugin_schema, vault_schema
from .responses import ApiError, json_response, message_response

if TYPE_CHECKING:
    from gateway.control.plane import ControlPlane

GROUP = "schemas"
SCHEMA: Schema = object_of({"fields": list_of(OBJECT), "entity_checks": list_of(OBJECT)})


def schema_endpoints(plane: ControlPlane) -> list[Endpoint]:
    """Schemas in Kong's form, and their checks."""

    async def entity(request: Request) -> Response:
        return json_response(200, entity_schema(find_kind(request.path_params["name"])))

    async def plugin(request: Request) -> Response:
        return json_response(200, plugin_schema(find_definition(request.path_params["name"])))

    async def plugin_config(request: Request) -> Response:
        return json_response(200, plugin_config_schema(find_definition(request.path_params["name"])))

    async def vault(request: Request) -> Response:
        name = request.path_params["name"]
        if name not in VAULTS:
            raise ApiError(message_response(404, f"No vault named '{name}'"))
        return json_response(200, vault_schema(name))

    async def validate_entity(request: Request) -> Response:
        kind = find_kind(request.path_params["db_entity_name"])
        return await validate(request, kind, plane)

    def validator(kind: type[Entity]) -> Handler:
        async def handler(request: Request) -> Response:
            return await validate(request, kind, plane)

        return handler

    return [
        Endpoint("/schemas/{name}", {"GET": entity}, shown("an entity")),
        Endpoint("/schemas/{db_entity_name}/validate", {"POST": validate_entity}, validated("an entity")),
        Endpoint("/schemas/plugins/{name}", {"GET": plugin}, shown("a plugin")),
        Endpoint("/schemas/plugins/validate", {"POST": validator(Plugin)}, validated("a plugin")),
        Endpoint("/schemas/vaults/{name}", {"GET": vault}, shown("a vault")),
        Endpoint("/schemas/vaults/validate", {"POST": validator(Vault)}, validated("a vault")),
        Endpoint("/plugins/schema/{name}", {"GET": plugin_config}, shown("the configuration of a plugin")),
        Endpoint("/plugins/enabled", {"GET": enabled_plugins}, ENABLED_PLUGINS),
    ]


async def enabled_plugins(request: Request) -> Response:
    """GET /plugins/enabled: the names of the plugins that can be used here."""
    return json_response(200, {"enabled_plugins": list(AVAILABLE)})


async def validate(request: Request, kind: type[Entity], plane: ControlPlane) -> Response:
    """Say whether values make an entity of a type; raises EntityError for what is wrong with them."""
    body = await read_body(request, limit=plane.settings.admin_client_max_body_size)
    check(kind, decoded_values(body, kind, None))
    return message_response(200, "schema validation successful")


def find_kind(name: str) -> type[Entity]:
    """The type of entity of that name; raises ApiError (404)."""
    kind = ENTITY_TYPES.get(name)
    if kind is None:
        raise ApiError(message_response(404, f"No entity named '{name}'"))
    return kind


def find_definition(name: str) -> PluginDefinition:
    """The plugin of that name; raises ApiError (404)."""
    definition = find_plugin(name)
    if definition is None:
        raise ApiError(message_response(404, f"No plugin named '{name}'"))
    return definition


def shown(what: str) -> dict[str, Description]:
    """What GET of a schema does."""
    return {
        "GET": Description(
            f"The fields of {what}, in Kong's form.",
            {200: Answer("The schema.", SCHEMA), 404: Answer("There is none of that name.", MESSAGE)},
            GROUP,
        )
    }


def validated(what: str) -> dict[str, Description]:
    """What POST of values to a schema does."""
    answers = {
        200: Answer("They would be.", MESSAGE),
        400: Answer("They would not be: why.", REFUSAL),
        404: Answer("There is none of that name.", MESSAGE),
    }
    return {"POST": Description(f"Whether values would be accepted for {what}.", answers, GROUP, body=OBJECT)}


ENABLED_PLUGINS = {
    "GET": Description(
        "The names of the plugins that can be used here.",
        {200: Answer("The names.", object_of({"enabled_plugins": list_of(TEXT)}))},
        "plugins",
    )
}
