"""The circuits of the circuit breakers that are configured: of which service or target, and where they stand.

The workers make a circuit with the first request that asks for it, and know it by a number; here the numbers
are found for what is configured.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import NamedTuple, cast

from gateway.entities.hosts import address_text
from gateway.entities.plugins import Plugin
from gateway.entities.record import shape_of
from gateway.entities.routes import Route
from gateway.entities.services import Service
from gateway.entities.targets import Target
from gateway.plugins.proxy_circuit_breaker import NAME, CircuitBreakerConfig, timeout_ms
from gateway.store.configuration import Configuration
from native.circuit import CircuitTable, CircuitView, address_circuit, service_circuit, target_circuit
from native.shm import SharedState

from .peers import service_addresses, target_addresses, target_resolution
from .resolution import Resolution
from .slots import target_identity, upstream_group


@dataclass(frozen=True, slots=True)
class Circuit:
    """One circuit, whose plugin is restricted to `route`, if that is given."""

    identity: int
    plugin: Plugin
    service: Service
    route: Route | None
    target: str
    """As configured; empty for the circuit of a service."""
    address: str
    """IP address and port; empty for the circuit of a service."""
    view: CircuitView


class Guarded(NamedTuple):
    """What has a circuit: a service, or an address of it."""

    identity: int
    target: str = ""
    address: str = ""


class Circuits:
    """Looks for circuits that requests have asked for, as of one moment."""

    def __init__(
        self, shared: SharedState, configuration: Configuration, resolutions: Mapping[str, Resolution]
    ) -> None:
        self._table = CircuitTable(shared)
        self._configuration = configuration
        self._resolutions = resolutions
        self._now_ms = time.monotonic_ns() // 1_000_000

    def all(self) -> Iterator[Circuit]:
        """Of every breaker that is in use, the most specific ones first."""
        plugins = cast("Mapping[str, Plugin]", self._configuration.of("plugins")).values()
        breakers = [plugin for plugin in plugins if plugin.name == NAME and plugin.enabled]
        for plugin in sorted(breakers, key=lambda one: (one.route is None, one.service is None)):
            clean, _ = shape_of(CircuitBreakerConfig).check(plugin.config)
            config = CircuitBreakerConfig(**clean)
            route = self._configuration.get("routes", plugin.route.id) if plugin.route else None
            for service in self._services(plugin, cast("Route | None", route)):
                for guarded in self._guarded(plugin, config, service):
                    view = self._table.look(guarded.identity, self._now_ms, timeout_ms(config))
                    if view is not None:
                        yield Circuit(
                            guarded.identity,
                            plugin,
                            service,
                            cast("Route | None", route),
                            guarded.target,
                            guarded.address,
                            view,
                        )

    def find(self, identity: int) -> Circuit | None:
        """The circuit with this number."""
        return next((circuit for circuit in self.all() if circuit.identity == identity), None)

    def close(self, circuit: Circuit) -> None:
        """Let requests pass again."""
        self._table.close(circuit.identity, self._now_ms)

    def since(self, circuit: Circuit) -> float | None:
        """When the circuit came to its state, seconds since the epoch; None: it has always been so."""
        since_ms = circuit.view["since_ms"]
        return time.time() - (self._now_ms - since_ms) / 1000 if since_ms else None

    def _services(self, plugin: Plugin, route: Route | None) -> Iterable[Service]:
        services = cast("Mapping[str, Service]", self._configuration.of("services"))
        reference = plugin.service or (route.service if route is not None else None)
        if reference is None and plugin.route is not None:
            return ()
        return services.values() if reference is None else (services[reference.id],)

    def _guarded(self, plugin: Plugin, config: CircuitBreakerConfig, service: Service) -> Iterator[Guarded]:
        if config.per == "service":
            yield Guarded(service_circuit(plugin.id, service.id))
            return
        upstream = self._configuration.find("upstreams", service.host)
        if upstream is None:
            for ip, port, _ in service_addresses(service, self._resolutions):
                identity = address_circuit(plugin.id, ip_address(ip).packed, port)
                yield Guarded(identity, service.host, address_text(ip, port))
            return
        group = upstream_group(upstream.id)
        targets = self._configuration.children("targets", "upstreams", upstream.id)
        for target in cast("list[Target]", targets):
            for ip, port, _ in target_addresses(target, target_resolution(target, self._resolutions)):
                identity = target_circuit(plugin.id, target_identity(group, target.target, ip, port))
                yield Guarded(identity, target.target, address_text(ip, port))
