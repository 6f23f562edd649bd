"""What the uses of the prometheus plugin say about the metrics page.

A route without the plugin shows its metrics under Kong 3's names. With it, the configuration that applies to
the route decides; one for a consumer only decides whether that consumer is counted by name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from gateway.entities.plugins import Plugin
from gateway.entities.routes import Route
from gateway.store import Configuration

PLUGIN = "prometheus"


@dataclass(frozen=True, slots=True)
class Shown:
    """Which kinds of metrics of requests are shown, and whether under their names of Kong 2, too."""

    statuses: bool = True
    latencies: bool = True
    bandwidth: bool = True
    legacy: bool = False


WITHOUT_PLUGIN = Shown()


def shown_by(config: Mapping[str, Any]) -> Shown:
    """What a configuration shows: everything under both names, unless it makes a choice among Kong 3's
    switches, which are off by default."""
    statuses, latencies, bandwidth = (
        bool(config.get(name)) for name in ("status_code_metrics", "latency_metrics", "bandwidth_metrics")
    )
    legacy = config.get("legacy_metrics")
    if not (statuses or latencies or bandwidth):
        return Shown(legacy=legacy is not False)
    return Shown(statuses, latencies, bandwidth, legacy=legacy is True)


class ShownMetrics:
    """The choices of a whole configuration."""

    def __init__(self, configuration: Configuration) -> None:
        plugins = [
            plugin
            for plugin in cast("Mapping[str, Plugin]", configuration.of("plugins")).values()
            if plugin.name == PLUGIN and plugin.enabled
        ]
        self._by_scope = {
            (plugin.route and plugin.route.id, plugin.service and plugin.service.id): shown_by(plugin.config)
            for plugin in plugins
            if plugin.consumer is None
        }
        self.target_health = any(plugin.config.get("upstream_health_metrics") for plugin in plugins)
        """whether the health of targets is shown; it is nobody's in particular"""

    def of_route(self, route: Route) -> Shown:
        """What is shown of a route: the most specific configuration decides (proxying.md §8)."""
        service = route.service.id if route.service is not None else None
        for scope in ((route.id, service), (route.id, None), (None, service), (None, None)):
            if scope in self._by_scope:
                return self._by_scope[scope]
        return WITHOUT_PLUGIN

    def of_the_rest(self) -> Shown:
        """What is shown of requests that belong to no route in particular."""
        return self._by_scope.get((None, None), WITHOUT_PLUGIN)
