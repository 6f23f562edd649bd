"""Plugins: a plugin's configuration, and where it applies."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import msgspec

from gateway.entities import texts
from gateway.entities.fields import Anything, Boolean, Errors, Foreign, Reference, Set, Text
from gateway.entities.record import (
    ENTITY,
    CreatedAt,
    Entity,
    Record,
    RecordCheck,
    Shape,
    Surroundings,
    UpdatedAt,
    shape_of,
    to_kong,
)
from gateway.entities.record_checks import add_entity_error
from gateway.entities.routes import Route
from gateway.entities.services import PROTOCOLS
from gateway.entities.shorthands import expanded, shorthand_problems
from gateway.entities.value_checks import name_problem
from gateway.plugins import HTTP_PROTOCOLS, PluginDefinition, find_plugin


class PluginCheck:
    """The plugin may be used where it is put, and its configuration fits it."""

    def run(self, values: Mapping[str, Any], errors: dict[Any, Errors]) -> None:
        name = values.get("name")
        definition = find_plugin(name) if isinstance(name, str) else None
        if definition is None:
            return  # what is wrong with the name is known already
        for scope in ("route", "service", "consumer"):
            if scope not in definition.scopes and values.get(scope) is not None:
                errors[scope] = texts.MUST_BE_NULL
        if "protocols" not in errors or isinstance(errors["protocols"], dict):
            options = definition.allowed_protocols or definition.protocols
            allowed = Set("", elements=Text("", one_of=options))
            _, problem = allowed.check(values["protocols"])
            if problem is not None:
                errors["protocols"] = problem
        config = values.get("config")
        if "config" not in errors and isinstance(config, dict):
            _check_config(definition, values, config, errors)


def _check_config(
    definition: PluginDefinition,
    values: Mapping[str, Any],
    config: Mapping[str, Any],
    errors: dict[Any, Errors],
) -> None:
    """The configuration by its declaration, then the plugin's rules over several fields."""
    shape = shape_of(definition.config)
    config = expanded(definition.config, config)
    clean, problems = shape.check(config)
    problems |= shorthand_problems(definition.config, config)
    # Errors about the configuration as a whole stand at the entity, as in Kong.
    whole = problems.pop(ENTITY, [])
    for text in whole if isinstance(whole, list) else ():
        add_entity_error(errors, text)
    if problems:
        errors["config"] = problems
    elif not whole and (problem := definition.config(**clean).problem()):
        errors["config"] = problem
    # A field that is wrong counts as given, but nothing more is said about it.
    wrong = {name: _given(shape, name, config[name]) for name in problems if name in config}
    _run_checks(definition, values, {**shape.defaults, **clean, **wrong}, problems, errors)


def _given(shape: Shape, name: str, value: Any) -> Any:
    """A value that is wrong; in a record, what is not given has its default."""
    group = shape.groups.get(name)
    return {**shape_of(group).defaults, **value} if group and isinstance(value, dict) else value


def _run_checks(
    definition: PluginDefinition,
    values: Mapping[str, Any],
    config: Mapping[str, Any],
    known: Mapping[Any, Errors],
    errors: dict[Any, Errors],
) -> None:
    """The plugin's rules over several fields, to which those of its configuration are `config.…`; `known`:
    what is wrong with fields of the configuration."""
    wrong: dict[Any, Errors] = _dotted("config", known)
    problems = dict(wrong)
    named = {**values, **_dotted("config", config)}
    for check in definition.checks:
        check.run(named, problems)
    for name, problem in problems.items():
        if name in wrong:
            continue
        if name == ENTITY:
            for text in problem if isinstance(problem, list) else ():
                add_entity_error(errors, text)
            continue
        *outer, last = name.split(".")
        place: dict[Any, Any] = errors
        for part in outer:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                break  # a text about the whole record
            place = inner
        else:
            place[last] = problem


def _dotted(prefix: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values of a record and of the records in it, or what is wrong with them, under names such as
    `config.redis.host`."""
    named: dict[str, Any] = {}
    for name, value in values.items():
        if isinstance(value, Record):
            named.update(_dotted(f"{prefix}.{name}", msgspec.structs.asdict(value)))
        elif isinstance(value, dict) and not any(isinstance(key, int) for key in value):  # not an array's
            named.update(_dotted(f"{prefix}.{name}", value))
        else:
            named[f"{prefix}.{name}"] = value
    return named


def _serves(route: Entity, protocols: set[str]) -> bool:
    return isinstance(route, Route) and not protocols.isdisjoint(route.protocols)


class Plugin(Entity, frozen=True, kw_only=True):
    """A plugin in use: globally, or for a service, a route, a consumer, or a combination of them."""

    type_name: ClassVar[str] = "plugins"
    singular: ClassVar[str] = "plugin"
    endpoint_key: ClassVar[str | None] = "instance_name"
    cache_key: ClassVar[tuple[str, ...]] = ("name", "route", "service", "consumer")
    kind_field: ClassVar[str] = "name"
    record_checks: ClassVar[tuple[RecordCheck, ...]] = (PluginCheck(),)

    created_at: CreatedAt
    updated_at: UpdatedAt
    name: Annotated[str, Text("The name of the plugin.", required=True)]
    instance_name: Annotated[
        str | None, Text("A name for this use of the plugin.", unique=True, rule=name_problem)
    ] = None
    route: Annotated[
        Reference | None, Foreign("The route it applies to.", reference="routes", cascade=True)
    ] = None
    service: Annotated[
        Reference | None, Foreign("The service it applies to.", reference="services", cascade=True)
    ] = None
    consumer: Annotated[
        Reference | None, Foreign("The consumer it applies to.", reference="consumers", cascade=True)
    ] = None
    config: Annotated[dict[str, Any], Anything("The plugin's configuration.", required=True)] = msgspec.field(
        default_factory=dict
    )
    protocols: Annotated[
        list[str],
        Set("The protocols it applies to.", required=True, elements=Text("A protocol.", one_of=PROTOCOLS)),
    ] = msgspec.field(default_factory=lambda: list(HTTP_PROTOCOLS))
    enabled: Annotated[bool, Boolean("Whether it is in use.", required=True)] = True

    @classmethod
    def prepare(cls, values: dict[str, Any]) -> dict[Any, Errors]:
        definition = find_plugin(values["name"]) if isinstance(values.get("name"), str) else None
        if definition is not None and values.get("protocols") is None:
            values["protocols"] = list(definition.protocols)
        return {}

    @classmethod
    def kind_problem(cls, value: Any) -> str | None:
        unknown = isinstance(value, str) and find_plugin(value) is None
        return texts.plugin_not_enabled(value) if unknown else None

    @classmethod
    def check_related(cls, values: Mapping[str, Any], others: Surroundings) -> dict[Any, Errors]:
        """The plugin can meet requests of what it is for."""
        route, service = values.get("route"), values.get("service")
        protocols = set(values.get("protocols", shape_of(cls).defaults["protocols"]))
        if route is not None:
            found = others.get("routes", route.id)
            if found is not None and not _serves(found, protocols):
                return {"protocols": "must match the associated route's protocols"}
        elif service is not None:
            routes = others.children("routes", "services", service.id)
            if routes and not any(_serves(one, protocols) for one in routes):
                text = "must match the protocols of at least one route pointing to this Plugin's service"
                return {"protocols": text}
        return {}

    @classmethod
    def record_of(cls, field: str, values: Mapping[str, Any]) -> type[Record] | None:
        definition = find_plugin(values["name"]) if isinstance(values.get("name"), str) else None
        return definition.config if definition is not None and field == "config" else None

    @classmethod
    def distinction(cls, value_of: Callable[[str], Any]) -> str | None:
        config, name = value_of("config"), value_of("instance_name")
        stacked = isinstance(config, Mapping) and config.get("stacked") is True
        return name if stacked and isinstance(name, str) else None

    @classmethod
    def transform(cls, values: dict[str, Any]) -> None:
        definition = find_plugin(values["name"])
        assert definition is not None, "the plugin was found when the values were checked"
        config = expanded(definition.config, values.get("config") or {})
        clean, _ = shape_of(definition.config).check(config)
        values["config"] = to_kong(definition.config(**clean))
