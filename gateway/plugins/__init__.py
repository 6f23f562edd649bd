"""The plugins that are available: each is one module of this package, listed in `AVAILABLE`.

There is none yet, so every plugin in a configuration is refused as Kong refuses one that is not enabled: what
cannot be enforced is never accepted.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from gateway import __version__

if TYPE_CHECKING:
    from gateway.entities.record import Record, RecordCheck

HTTP_PROTOCOLS = ("grpc", "grpcs", "http", "https")


@dataclass(frozen=True, slots=True)
class PluginDefinition:
    """What a plugin tells about itself."""

    name: str
    config: type[Record]
    """Its configuration: fields with their rules, like those of an entity."""
    scopes: frozenset[str] = frozenset(("route", "service", "consumer"))
    """What it may be restricted to."""
    priority: int = 0
    """Plugins with a higher one run first."""
    version: str = __version__
    protocols: tuple[str, ...] = HTTP_PROTOCOLS
    """The protocols it can be for, and is for when nothing else is said."""
    checks: tuple[RecordCheck, ...] = ()
    """Rules over several fields of the plugin entity; those of its configuration have names such as
    `config.minute` there."""


AVAILABLE: dict[str, PluginDefinition] = {}


def find_plugin(name: str) -> PluginDefinition | None:
    """The plugin of that name, when it is available here."""
    return AVAILABLE.get(name)
