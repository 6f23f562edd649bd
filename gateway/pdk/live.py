"""The Python plugins that are in use here: the control process's side of gateway.pdk.discovery."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from gateway.pdk.discovery import Discovery, FoundPlugin, accepts, discover
from gateway.pdk.sources import SourceDirectory
from gateway.plugins import add_plugins, built_in_names, find_plugin, remove_plugins
from gateway.settings import Settings

KEPT = 3600.0
"""seconds for which a bundle that is not in use any more stays, for requests that began with it"""


class LivePlugins:
    """Looks for plugins at the start and at each reload, and makes those known that are all right."""

    def __init__(self, bundles: SourceDirectory) -> None:
        self._bundles = bundles
        self._live: dict[str, FoundPlugin] = {}
        self._removed: dict[str, float] = {}
        """digests of bundles that are not in use, and since when"""

    def load(self, settings: Settings, in_use: Iterable[Any] = ()) -> list[str]:
        """Take up what is there now; one line for every problem. `in_use`: the plugin entities there are
        (their `name` and `config`), which a new version must accept. Raises nothing."""
        discovery = discover(settings.plugin_path, settings.plugin_deadline)
        problems = discovery.problems
        configurations: dict[str, list[Mapping[str, Any]]] = {}
        for entity in in_use:
            configurations.setdefault(entity.name, []).append(entity.config)
        before, self._live = self._live, {}
        for name, found in discovery.plugins.items():
            problem = self._take(found, before.get(name), configurations.get(name, []))
            if problem is not None:
                problems.append(problem)
        for name, earlier in before.items():
            if name not in discovery.plugins and (
                earlier.origin in discovery.failed or name in configurations
            ):
                if earlier.origin not in discovery.failed:
                    problems.append(f"{earlier.origin}: the plugin {name} is gone, but in use; it stays")
                self._live[name] = earlier
        add_plugins(found.definition for found in self._live.values())
        remove_plugins(before.keys() - self._live.keys())
        self._clean_up(before.values())
        return [f"plugins: {problem}" for problem in problems]

    @staticmethod
    def missing(in_use: Iterable[Any]) -> list[str]:
        """One line for every plugin that is configured and not available here (see `missing`)."""
        names = sorted({entity.name for entity in in_use if find_plugin(entity.name) is None})
        text = "is configured, but not available here: what it is for is answered with 500"
        return [f"the plugin {name} {text}" for name in names]

    def _take(
        self, found: FoundPlugin, earlier: FoundPlugin | None, configurations: list[Mapping[str, Any]]
    ) -> str | None:
        """Let a plugin be live, or the earlier one stay; what is wrong with it."""
        name = found.definition.name
        if name in built_in_names():
            return f"{found.origin}: {name} is the name of a plugin of the gateway itself"
        stays = "; its earlier version stays" if earlier is not None else ""
        if earlier is not None:
            self._live[name] = earlier
            if earlier.source == found.source and earlier.definition.deadline == found.definition.deadline:
                return None  # the same object: what was compiled from it holds
        for config in configurations:
            problem = accepts(found.definition, config)
            if problem is not None:
                refused = f"{name} does not accept a configuration that is in use: {problem}"
                return f"{found.origin}: {refused}{stays}"
        try:
            if found.bundle is not None:
                self._bundles.write(found.bundle)
        except OSError as error:
            return f"{found.origin}: it cannot be given to the workers: {error}{stays}"
        self._live[name] = found
        return None

    def _clean_up(self, before: Iterable[FoundPlugin]) -> None:
        """Remove bundles that nobody has needed for an hour."""
        now = time.monotonic()
        live = set(_digests(self._live.values()))
        for digest in _digests(before):
            self._removed.setdefault(digest, now)
        self._removed = {digest: since for digest, since in self._removed.items() if digest not in live}
        for digest in [digest for digest, since in self._removed.items() if now - since > KEPT]:
            self._bundles.remove(digest)
            del self._removed[digest]


def _digests(plugins: Iterable[FoundPlugin]) -> Iterator[str]:
    return (found.bundle.digest for found in plugins if found.bundle is not None)


def load_for_command(settings: Settings) -> list[str]:
    """Make the plugins known to a command that reads configurations; one line for every problem."""
    found: Discovery = discover(settings.plugin_path, settings.plugin_deadline)
    add_plugins(one.definition for name, one in found.plugins.items() if name not in built_in_names())
    return found.problems
