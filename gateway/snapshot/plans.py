"""Which plugins run for a request, and with which configuration: Kong's precedence, applied when compiling.

Of each plugin one configuration applies, the most specific one (proxying.md §8)::

    route + service + consumer > route + consumer > service + consumer > route + service
        > consumer > route > service > everything

The consumer is known only when the request is served. So a place in a plan has one configuration for
everybody, and a table of those that are for a consumer.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import cast

import msgspec
import orjson

from gateway.entities.plugins import Plugin
from gateway.entities.record import shape_of
from gateway.pdk.missing import missing_plugin
from gateway.plugins import PluginDefinition, find_plugin
from gateway.store.configuration import Configuration
from native.identities import consumer_hash
from native.snapshot import ConfigurationBuilder, PluginFlag

HTTP = frozenset(("http", "https", "grpc", "grpcs"))
"""The protocols of requests; a plugin for streams alone runs for none."""

REWRITES = int(PluginFlag.PLUGIN_REWRITES)

Scope = tuple[str | None, str | None]
"""ids of the route and the service that a configuration is restricted to"""


class Choices(tuple[tuple[int, str, int], ...]):
    """(hash of a consumer's id, the id, index of the plugin). Shared between plans, and told apart by
    identity: there may be a hundred thousand, which nobody wants to compare for each route."""

    __slots__ = ()

    def __hash__(self) -> int:
        return id(self)

    def __eq__(self, other: object) -> bool:
        return self is other


NO_CHOICES = Choices()

Step = tuple[str, int | None, Choices]
"""name of the kind of step, index of the plugin for everybody else, those for consumers"""


@dataclass(frozen=True)
class PreparedPlugin:
    """What becomes of a plugin entity, apart from its place in the file."""

    plugin: Plugin
    definition: PluginDefinition
    config: bytes
    document: bytes
    """for the handler; empty when there is no work for one"""


def prepare_plugin(plugin: Plugin) -> PreparedPlugin | None:
    """The packed configuration of a plugin in use; None when it runs for no request."""
    definition = find_plugin(plugin.name) or missing_plugin(plugin.name)
    if not plugin.enabled or HTTP.isdisjoint(plugin.protocols):
        return None
    config = b""
    has_work = bool(definition.handler)
    if definition.pack is not None:
        clean, _ = shape_of(definition.config).check(plugin.config)
        checked = definition.config(**clean)
        config = definition.pack(checked, plugin)
        if definition.needs_handler is not None:
            has_work = has_work and definition.needs_handler(checked)
    document = orjson.dumps(msgspec.to_builtins(plugin.config)) if has_work else b""
    return PreparedPlugin(plugin, definition, config, document)


class Place:
    """A plugin's place in plans, with all its configurations. A stacked instance has a place of its own."""

    def __init__(self, definition: PluginDefinition) -> None:
        self.definition = definition
        self.everybody: dict[Scope, int] = {}
        self.consumers: defaultdict[Scope, dict[str, int]] = defaultdict(dict)
        self._choices: dict[tuple[Scope, bool], Choices] = {}

    def add(self, plugin: Plugin, index: int) -> None:
        scope = (identifier(plugin.route), identifier(plugin.service))
        if plugin.consumer is None:
            self.everybody[scope] = index
        else:
            self.consumers[scope][plugin.consumer.id] = index

    def step(self, route: str | None, service: str | None) -> Step | None:
        """What stands in the plan of a route; None when the plugin never runs there."""
        plugin = next(
            (
                self.everybody[scope]
                for scope in ((route, service), (route, None), (None, service), (None, None))
                if scope in self.everybody
            ),
            None,
        )
        choices = self._choices_for(route, service)
        if plugin is None and not choices:
            return None
        return (self.definition.step_name, plugin, choices)

    def _choices_for(self, route: str | None, service: str | None) -> Choices:
        both = route is not None and service is not None and (route, service) in self.everybody
        scopes = [
            scope
            for scope in dict.fromkeys(((route, service), (route, None), (None, service)))
            if scope != (None, None) and scope in self.consumers
        ]
        if not scopes and (both or (None, None) not in self.consumers):
            return NO_CHOICES
        # Without a configuration of this very route or service everybody shares one table.
        key = (scopes[0] if scopes else (None, None), both)
        if len(scopes) < 2 and key in self._choices:
            return self._choices[key]
        found: dict[str, int] = {} if both else dict(self.consumers.get((None, None), {}))
        for scope in reversed(scopes):
            found.update(self.consumers[scope])
        choices = Choices((consumer_hash(consumer), consumer, index) for consumer, index in found.items())
        if len(scopes) < 2:
            self._choices[key] = choices
        return choices


class Plans:
    """The plans of one configuration file, made as routes ask for them."""

    def __init__(self, builder: ConfigurationBuilder, prepared: Iterable[PreparedPlugin]) -> None:
        self._builder = builder
        self._routes: set[str] = set()
        self._services: set[str] = set()
        self._numbers: dict[Scope, int | None] = {}
        places: dict[tuple[str, str], Place] = {}
        for one in prepared:
            plugin = one.plugin
            index = builder.add_plugin(
                id=plugin.id,
                name=plugin.name,
                step=one.definition.step_name,
                instance_name=plugin.instance_name or "",
                route_id=identifier(plugin.route) or "",
                service_id=identifier(plugin.service) or "",
                consumer_id=identifier(plugin.consumer) or "",
                document=one.document,
                config=one.config,
                flags=REWRITES if one.definition.rewrites else 0,
                deadline_ms=int(one.definition.deadline * 1000),
            )
            key = (plugin.name, stack_name(plugin))
            if key not in places:
                places[key] = Place(one.definition)
            places[key].add(plugin, index)
            if plugin.route is not None:
                self._routes.add(plugin.route.id)
            if plugin.service is not None:
                self._services.add(plugin.service.id)
        self._places = [places[key] for key in in_order(places)]
        if self._places:
            builder.global_plan = self._plan(None, None, self._rewrites())

    def _rewrites(self) -> bool:
        return any(place.definition.rewrites and (None, None) in place.everybody for place in self._places)

    def plan_of(self, route: str, service: str | None) -> int | None:
        """The number of the plan of a route; None when nothing runs there."""
        if not self._places:
            return None
        # Where no plugin is for this very route or service, the plan is one that many share.
        key = (
            route if route in self._routes else None,
            service if service is not None and service in self._services else None,
        )
        if key not in self._numbers:
            self._numbers[key] = self._plan(*key)
        return self._numbers[key]

    def _plan(self, route: str | None, service: str | None, rewrites: bool = False) -> int | None:
        steps = tuple(step for place in self._places if (step := place.step(route, service)) is not None)
        return self._builder.add_plan(steps, rewrites) if steps else None


class PluginCompiler:
    """Prepares the plugins of one configuration after the other, and keeps those of unchanged entities."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[Plugin, PluginDefinition | None, PreparedPlugin | None]] = {}

    def prepared(self, configuration: Configuration) -> Iterator[PreparedPlugin]:
        """The plugins that run for requests, oldest first."""
        kept = {}
        for plugin in cast("Mapping[str, Plugin]", configuration.of("plugins")).values():
            found = self._known.get(plugin.id)
            definition = find_plugin(plugin.name)
            if found is None or found[0] is not plugin or found[1] is not definition:
                found = (plugin, definition, prepare_plugin(plugin))
            kept[plugin.id] = found
            if found[2] is not None:
                yield found[2]
        self._known = kept


def in_order(places: Mapping[tuple[str, str], Place]) -> list[tuple[str, str]]:
    """Names of places in the order in which they run: highest priority first, then the later name."""
    ordered = sorted(places, reverse=True)
    return sorted(ordered, key=lambda key: places[key].definition.priority, reverse=True)


def stack_name(plugin: Plugin) -> str:
    """What tells a stacked instance of a plugin from the others; empty: Kong's rule of one configuration per
    plugin holds."""
    return (plugin.instance_name or plugin.id) if plugin.config.get("stacked") else ""


def identifier(reference: object) -> str | None:
    """The id that a foreign key holds."""
    return getattr(reference, "id", None)
