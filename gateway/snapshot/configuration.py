"""Services and routes as records, and the router's index over them."""

from collections.abc import Mapping
from typing import cast

from gateway.entities.routes import Route
from gateway.entities.services import Service
from gateway.settings import Settings
from gateway.snapshot.live_settings import write_live_settings
from gateway.snapshot.matchers import ranked_matchers
from gateway.snapshot.peers import host_field, service_peer_key, upstream_names
from gateway.store.configuration import Configuration
from native.router_index import RouterIndexBuilder
from native.snapshot import ConfigurationBuilder, ProtocolBit, RouteFlag

PROTOCOLS = {
    "http": ProtocolBit.PROTOCOL_HTTP,
    "https": ProtocolBit.PROTOCOL_HTTPS,
    "grpc": ProtocolBit.PROTOCOL_GRPC,
    "grpcs": ProtocolBit.PROTOCOL_GRPCS,
}

# Kong's defaults, for fields that are null
RETRIES = 5
TIMEOUT_MS = 60_000


def compile_configuration(
    configuration: Configuration,
    settings: Settings,
    *,
    number: int,
    metric_slots: Mapping[str, int],
) -> bytes:
    """The configuration file with this number. `metric_slots`: id of a route -> its slot in workers' metrics.

    Left out are disabled services with their routes, and routes for streams. Routes for gRPC alone take part,
    as in Kong: who finds one with another kind of request is told so. Equal input gives equal bytes. Raises
    native.snapshot.SnapshotError.
    """
    builder = ConfigurationBuilder()
    write_live_settings(builder, settings)
    services = _add_services(builder, configuration)
    routes: dict[str, int] = {}
    served = []
    for route in cast("Mapping[str, Route]", configuration.of("routes")).values():
        if not any(protocol in PROTOCOLS for protocol in route.protocols):
            continue
        if route.service is not None and route.service.id not in services:
            continue
        routes[route.id] = _add_route(builder, route, services, metric_slots.get(route.id, 0), settings)
        served.append(route)
    index = RouterIndexBuilder(builder)
    for matcher in ranked_matchers(served):
        route = matcher.route
        index.add(
            route=routes[route.id],
            hosts=matcher.hosts,
            path="" if matcher.regex else matcher.path,
            regex=matcher.path if matcher.regex else None,
            methods=route.methods or (),
            headers=list((route.headers or {}).items()),
            queries=list((route.query_params or {}).items()),
            snis=route.snis or (),
        )
    index.build()
    return builder.build(number=number, configuration_hash=configuration.hash)


def _add_services(builder: ConfigurationBuilder, configuration: Configuration) -> dict[str, int]:
    """Add the services that requests can be sent to; returns {id: index}."""
    upstreams = upstream_names(configuration)
    indexes = {}
    for service in cast("Mapping[str, Service]", configuration.of("services")).values():
        if not service.enabled or service.protocol not in PROTOCOLS:
            continue
        is_upstream = service.host in upstreams
        indexes[service.id] = builder.add_service(
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
    return indexes


def _add_route(
    builder: ConfigurationBuilder, route: Route, services: Mapping[str, int], slot: int, settings: Settings
) -> int:
    flags = 0
    if route.strip_path:
        flags |= RouteFlag.ROUTE_STRIP_PATH
    if route.preserve_host:
        flags |= RouteFlag.ROUTE_PRESERVE_HOST
    if route.request_buffering:
        flags |= RouteFlag.ROUTE_REQUEST_BUFFERING
    if route.response_buffering:
        flags |= RouteFlag.ROUTE_RESPONSE_BUFFERING
    # Kong's default router flavor takes v1 and treats it as v0; only "traditional" knows a difference
    if route.path_handling == "v1" and settings.router_flavor == "traditional":
        flags |= RouteFlag.ROUTE_PATH_HANDLING_V1
    protocols = 0
    for protocol in route.protocols:
        protocols |= PROTOCOLS.get(protocol, 0)
    return builder.add_route(
        id=route.id,
        name=route.name or "",
        service=None if route.service is None else services[route.service.id],
        metrics_slot=slot,
        https_redirect_status=route.https_redirect_status_code,
        protocols=protocols,
        flags=flags,
    )
