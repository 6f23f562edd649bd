"""Services and routes as records, and the router's index over them."""

from collections.abc import Mapping
from typing import cast

from gateway.entities.routes import Route
from gateway.entities.services import Service
from gateway.garbage import collection_paused
from gateway.settings import Settings
from gateway.snapshot.live_settings import write_live_settings
from gateway.snapshot.matchers import prepared_matchers
from gateway.snapshot.peers import host_field, service_peer_key, upstream_names
from gateway.snapshot.plans import Plans, PluginCompiler
from gateway.store.configuration import Configuration
from native.router_builder import PreparedMatcher, RouterIndexBuilder
from native.snapshot import ConfigurationBuilder, PreparedRoute, PreparedService, ProtocolBit, RouteFlag

PROTOCOLS = {
    "http": int(ProtocolBit.PROTOCOL_HTTP),
    "https": int(ProtocolBit.PROTOCOL_HTTPS),
    "grpc": int(ProtocolBit.PROTOCOL_GRPC),
    "grpcs": int(ProtocolBit.PROTOCOL_GRPCS),
}

# as plain numbers: arithmetic with flags takes longer than everything else of a route
STRIP_PATH = int(RouteFlag.ROUTE_STRIP_PATH)
PRESERVE_HOST = int(RouteFlag.ROUTE_PRESERVE_HOST)
REQUEST_BUFFERING = int(RouteFlag.ROUTE_REQUEST_BUFFERING)
RESPONSE_BUFFERING = int(RouteFlag.ROUTE_RESPONSE_BUFFERING)
PATH_HANDLING_V1 = int(RouteFlag.ROUTE_PATH_HANDLING_V1)

# Kong's defaults, for fields that are null
RETRIES = 5
TIMEOUT_MS = 60_000

Matchers = list[tuple[bytes, PreparedMatcher]]
"""of a route, each with its place among all matchers"""


class ConfigurationCompiler:
    """Compiles one configuration after the other, and keeps for the next what became of each entity.

    Of 10,000 routes usually one or none has changed since the last time: what is left then is to put the
    pieces together. The result is the same as without anything kept.
    """

    def __init__(self) -> None:
        # By id: the entity, what its record depends on besides, and what became of it.
        self._services: dict[str, tuple[Service, bool, PreparedService]] = {}
        self._routes: dict[str, tuple[Route, bool, PreparedRoute, Matchers]] = {}
        self._plugins = PluginCompiler()

    def compile(
        self,
        configuration: Configuration,
        settings: Settings,
        *,
        number: int,
        metric_slots: Mapping[str, int],
    ) -> bytes:
        """The configuration file with this number. `metric_slots`: id of a route -> its slot in workers'
        metrics.

        Left out are disabled services with their routes, and routes for streams. Routes for gRPC alone take
        part, as in Kong: who finds one with another kind of request is told so. Equal input gives equal
        bytes. Raises native.snapshot.SnapshotError.
        """
        with collection_paused():
            builder = ConfigurationBuilder()
            write_live_settings(builder, settings)
            services = self._add_services(builder, configuration)
            plans = Plans(builder, self._plugins.prepared(configuration))
            placed = self._add_routes(builder, configuration, services, metric_slots, settings, plans)
            placed.sort()
            index = RouterIndexBuilder(builder)
            for _, matcher, route in placed:
                index.add(matcher, route)
            index.build()
            return builder.build(number=number, configuration_hash=configuration.hash)

    def _add_services(self, builder: ConfigurationBuilder, configuration: Configuration) -> dict[str, int]:
        """Add the services that requests can be sent to; returns {id: index}."""
        upstreams = upstream_names(configuration)
        indexes = {}
        known, kept = self._services, {}
        for service in cast("Mapping[str, Service]", configuration.of("services")).values():
            if not service.enabled or service.protocol not in PROTOCOLS:
                continue
            identifier = service.id
            is_upstream = service.host in upstreams
            found = known.get(identifier)
            if found is None or found[1] is not is_upstream or not same(found[0], service):
                found = (service, is_upstream, prepare_service(service, upstreams))
            kept[identifier] = found
            indexes[identifier] = builder.add_service(found[2])
        self._services = kept
        return indexes

    def _add_routes(
        self,
        builder: ConfigurationBuilder,
        configuration: Configuration,
        services: Mapping[str, int],
        metric_slots: Mapping[str, int],
        settings: Settings,
        plans: Plans,
    ) -> list[tuple[bytes, PreparedMatcher, int]]:
        """Add the routes that requests can take; returns (place, matcher, index of the route) of all
        matchers."""
        # Kong's default router flavor takes v1 and treats it as v0; only "traditional" knows a difference
        honours_v1 = settings.router_flavor == "traditional"
        placed = []
        known, kept = self._routes, {}
        for route in cast("Mapping[str, Route]", configuration.of("routes")).values():
            service = None
            if route.service is not None and (service := services.get(route.service.id)) is None:
                continue
            identifier = route.id
            found = known.get(identifier)
            if found is None or found[1] is not honours_v1 or not same(found[0], route):
                if not any(protocol in PROTOCOLS for protocol in route.protocols):
                    continue
                found = (route, honours_v1, prepare_route(route, honours_v1), prepared_matchers(route))
            kept[identifier] = found
            plan = plans.plan_of(identifier, None if route.service is None else route.service.id)
            index = builder.add_route(found[2], service, metric_slots.get(identifier, 0), plan)
            for place, matcher in found[3]:
                placed.append((place, matcher, index))
        self._routes = kept
        return placed


def compile_configuration(
    configuration: Configuration, settings: Settings, *, number: int, metric_slots: Mapping[str, int]
) -> bytes:
    """The configuration file with this number, see ConfigurationCompiler.compile()."""
    compiler = ConfigurationCompiler()
    return compiler.compile(configuration, settings, number=number, metric_slots=metric_slots)


def same(one: object, other: object) -> bool:
    """Whether two entities are one, or equal (they never change)."""
    return one is other or one == other


def prepare_service(service: Service, upstreams: frozenset[str]) -> PreparedService:
    """The record of a service. `upstreams`: names of all upstream entities."""
    is_upstream = service.host in upstreams
    return PreparedService(
        id=service.id,
        name=service.name or "",
        host=service.host,
        host_header="" if is_upstream else host_field(service.host, service.port, service.protocol),
        path=service.path or "/",
        peer_key=service_peer_key(service, upstreams),
        port=service.port,
        retries=RETRIES if service.retries is None else service.retries,
        connect_timeout_ms=service.connect_timeout or TIMEOUT_MS,
        read_timeout_ms=service.read_timeout or TIMEOUT_MS,
        write_timeout_ms=service.write_timeout or TIMEOUT_MS,
        protocol=PROTOCOLS[service.protocol],
        is_upstream=is_upstream,
    )


def prepare_route(route: Route, honours_v1: bool) -> PreparedRoute:
    """The record of a route; `honours_v1`: whether path_handling v1 means something."""
    flags = 0
    if route.strip_path:
        flags |= STRIP_PATH
    if route.preserve_host:
        flags |= PRESERVE_HOST
    if route.request_buffering:
        flags |= REQUEST_BUFFERING
    if route.response_buffering:
        flags |= RESPONSE_BUFFERING
    if honours_v1 and route.path_handling == "v1":
        flags |= PATH_HANDLING_V1
    protocols = 0
    for protocol in route.protocols:
        protocols |= PROTOCOLS.get(protocol, 0)
    return PreparedRoute(
        id=route.id,
        name=route.name or "",
        https_redirect_status=route.https_redirect_status_code,
        protocols=protocols,
        flags=flags,
    )
