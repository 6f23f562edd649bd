"""The plugins that are available: each is one module of this package, listed in `AVAILABLE`.

There is none yet, so every plugin in a configuration is refused as Kong refuses one that is not enabled: what
cannot be enforced is never accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gateway.entities.record import Record


@dataclass(frozen=True, slots=True)
class PluginDefinition:
    """What a plugin tells about itself."""

    name: str
    config: type[Record]
    """Its configuration: fields with their rules, like those of an entity."""
    scopes: frozenset[str] = frozenset(("route", "service", "consumer"))
    """What it may be restricted to."""


AVAILABLE: dict[str, PluginDefinition] = {}


def find_plugin(name: str) -> PluginDefinition | None:
    """The plugin of that name, when it is available here."""
    return AVAILABLE.get(name)
