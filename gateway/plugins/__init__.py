"""The plugins that are available: each is one module of this package, found by itself.

A module that defines `PLUGIN` is a plugin; one whose name begins with "_" is shared by several. What a plugin
does with a request stands in the module of the same name in `native/steps/`. Adding a plugin touches nothing
else.

Plugins that people write themselves (`gateway.pdk`) come in through `add_plugins`.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from gateway import __version__

if TYPE_CHECKING:
    from gateway.entities.plugins import Plugin
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
    """Plugins with a higher one run first; of the same, the one whose name comes later."""
    version: str = __version__
    protocols: tuple[str, ...] = HTTP_PROTOCOLS
    """The protocols it is for when nothing else is said."""
    allowed_protocols: tuple[str, ...] = ()
    """The protocols it can be for; none: those above."""
    checks: tuple[RecordCheck, ...] = ()
    """Rules over several fields of the plugin entity; those of its configuration have names such as
    `config.minute` there."""
    step: str = ""
    """The module of native/steps/ that runs it; empty: of the same name, with "_" for "-"."""
    pack: Callable[[Any, Plugin], bytes] | None = None
    """(its checked configuration, the plugin entity) -> the form that its step reads. None: the step needs
    nothing but the document."""
    handler: str = ""
    """What works for it on the plugin thread of a worker: "module:Class" (see gateway.plugin_thread).
    Imported there only."""
    needs_handler: Callable[[Any], bool] | None = None
    """(its checked configuration) -> whether there can be work for the handler; None: always. Workers import
    the handlers that their configuration needs before a request does."""
    deadline: float = 10.0
    """Seconds that a request waits for the plugin thread before it fails."""
    rewrites: bool = False
    """Whether it has something to do before routing (global uses of it only)."""

    @property
    def step_name(self) -> str:
        return self.step or self.name.replace("-", "_")


@cache
def _built_in() -> Mapping[str, PluginDefinition]:
    found = {}
    for module in pkgutil.iter_modules(__path__):
        if not module.name.startswith("_"):
            definition = importlib.import_module(f"{__name__}.{module.name}").PLUGIN
            found[definition.name] = definition
    return found


class _Available(dict[str, PluginDefinition]):
    """All plugins by name. The modules are imported when somebody looks for the first time: they need modules
    that need this one."""

    _complete = False

    def _fill(self) -> None:
        if self._complete:
            return
        self._complete = True  # who looks while modules are imported sees those that are there
        try:
            found = _built_in()
        except BaseException:
            self._complete = False
            raise
        for name, definition in found.items():
            self.setdefault(name, definition)

    def __getitem__(self, name: str) -> PluginDefinition:
        self._fill()
        return super().__getitem__(name)

    def get(self, name: str, default: Any = None) -> Any:
        self._fill()
        return super().get(name, default)

    def __contains__(self, name: object) -> bool:
        self._fill()
        return super().__contains__(name)

    def __iter__(self) -> Iterator[str]:
        self._fill()
        return super().__iter__()

    def __len__(self) -> int:
        self._fill()
        return super().__len__()

    def keys(self) -> Any:
        self._fill()
        return super().keys()

    def values(self) -> Any:
        self._fill()
        return super().values()

    def items(self) -> Any:
        self._fill()
        return super().items()


AVAILABLE: dict[str, PluginDefinition] = _Available()


def find_plugin(name: str) -> PluginDefinition | None:
    """The plugin of that name, when it is available here."""
    return AVAILABLE.get(name)


def built_in_names() -> frozenset[str]:
    """The names of the modules of this package."""
    return frozenset(_built_in())


def remove_plugins(names: Iterable[str]) -> None:
    """Take away what add_plugins() made available."""
    for name in names:
        AVAILABLE.pop(name, None)


def add_plugins(definitions: Iterable[PluginDefinition]) -> None:
    """Make plugins available that are not modules of this package; one of the same name is replaced."""
    AVAILABLE.update({definition.name: definition for definition in definitions})
