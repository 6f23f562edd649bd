"""Which Python plugins there are: found in files and installed packages, checked, made known to the rest.

A file that cannot be used costs only its own plugins, and where an earlier version of them is live, that one
stays.
"""

from __future__ import annotations

import importlib.metadata
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from gateway.pdk.configuration import record_of
from gateway.pdk.plugin import Plugin, name_of
from gateway.pdk.sources import (
    ENTRY_POINTS,
    Bundle,
    SourceError,
    bundle_source,
    import_bundle,
    installed_source,
    plugins_in,
    read_bundle,
)
from gateway.plugins import PluginDefinition
from native.python_calls import PluginOption, PluginPhase
from native.steps.python_plugin import pack_config

NAME = re.compile(r"[a-z0-9]+(?:[-_][a-z0-9]+)*")
SCOPES = frozenset(("route", "service", "consumer"))
PHASES = {
    "rewrite": PluginPhase.PHASE_REWRITE,
    "access": PluginPhase.PHASE_ACCESS,
    "response": PluginPhase.PHASE_RESPONSE,
    "log": PluginPhase.PHASE_LOG,
}
LEAST_DEADLINE = 0.001
MOST_DEADLINE = 3600.0
HANDLER = "gateway.pdk.handler:PythonPluginHandler"
STEP = "python_plugin"


@dataclass(frozen=True)
class FoundPlugin:
    """A plugin, and where it comes from."""

    plugin: type[Plugin]
    definition: PluginDefinition
    origin: str
    """the file, the directory of the package, or the name of the installed package"""
    source: bytes
    """what workers are told, see sources"""
    bundle: Bundle | None


@dataclass
class Discovery:
    """What was found at one moment."""

    plugins: dict[str, FoundPlugin] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    failed: set[str] = field(default_factory=set)
    """the origins that could not be used"""

    def add(self, found: FoundPlugin) -> None:
        """One more plugin; the first one of a name counts."""
        name = found.definition.name
        if name in self.plugins:
            self.problems.append(
                f"{found.origin}: the plugin {name} is in {self.plugins[name].origin} already"
            )
        else:
            self.plugins[name] = found

    def fail(self, origin: str, problem: str) -> None:
        """Nothing of an origin can be used."""
        self.problems.append(problem)
        self.failed.add(origin)


def discover(paths: Iterable[Path], deadline: float) -> Discovery:
    """Find the plugins in these files and directories and in installed packages. `deadline`: seconds, for
    those that have none of their own. What is wrong is told, never raised."""
    discovery = Discovery()
    for path in paths:
        if not path.exists():
            discovery.fail(str(path), f"{path}: there is no such file or directory")
            continue
        for place in places_in(path):
            _add_place(discovery, place, deadline)
    for entry_point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        _add_entry_point(discovery, entry_point, deadline)
    return discovery


def places_in(path: Path) -> list[Path]:
    """The files and packages of a directory that may hold plugins; a file or package is one itself."""
    if not path.is_dir() or (path / "__init__.py").is_file():
        return [path]
    found = [
        file
        for file in path.glob("*.py")
        if not file.name.startswith(("_", "test_")) and file.name != "conftest.py"
    ]
    found += [package.parent for package in path.glob("*/__init__.py") if package.parent.name[0] not in "_."]
    return sorted(found)


def _add_place(discovery: Discovery, place: Path, deadline: float) -> None:
    origin = str(place)
    try:
        bundle = read_bundle(place)
        module = import_bundle(bundle)
        for plugin in plugins_in(module):
            source = bundle_source(bundle, plugin)
            discovery.add(
                FoundPlugin(plugin, definition_of(plugin, source, deadline), origin, source, bundle)
            )
    except OSError as error:
        discovery.fail(origin, f"{error.filename or place}: {error.strerror}")
    except SourceError as error:
        discovery.fail(origin, str(error))
    except (Exception, SystemExit) as error:
        discovery.fail(origin, problem_in(place, error))


def _add_entry_point(
    discovery: Discovery, entry_point: importlib.metadata.EntryPoint, deadline: float
) -> None:
    origin = f"entry point {entry_point.name} ({entry_point.value})"
    try:
        loaded = entry_point.load()
        version = entry_point.dist.version if entry_point.dist is not None else ""
        for plugin in [loaded] if isinstance(loaded, type) else plugins_in(loaded):
            source = installed_source(plugin, version)
            discovery.add(FoundPlugin(plugin, definition_of(plugin, source, deadline), origin, source, None))
    except (Exception, SystemExit) as error:
        discovery.fail(origin, f"{origin}: {type(error).__name__}: {error}")


def problem_in(place: Path, error: BaseException) -> str:
    """What is wrong with a plugin, and in which line of its code."""
    if isinstance(error, SyntaxError):
        return f"{error.filename}:{error.lineno}: {type(error).__name__}: {error.msg}"
    at = str(place)
    for frame, line in traceback.walk_tb(error.__traceback__):
        if Path(frame.f_code.co_filename).is_relative_to(place):
            at = f"{frame.f_code.co_filename}:{line}"
    return f"{at}: {type(error).__name__}: {error}"


# --- what a class says of itself -------------------------------------------------------------------------
def definition_of(plugin: type[Plugin], source: bytes, deadline: float) -> PluginDefinition:
    """A plugin as the rest of the gateway knows plugins. Raises TypeError for a class that is none."""
    name = name_of(plugin)
    for problem in _problems(plugin, name):
        raise TypeError(f"{plugin.__name__}: {problem}")
    phases = sum(bit for phase, bit in PHASES.items() if callable(getattr(plugin, phase, None)))
    options = PluginOption.BUFFER_REQUEST if plugin.buffer_request else 0
    options |= PluginOption.BUFFER_RESPONSE if plugin.buffer_response else 0
    return PluginDefinition(
        name,
        record_of(plugin.Config),
        scopes=frozenset(plugin.scopes),
        priority=plugin.priority,
        version=plugin.version,
        protocols=tuple(plugin.protocols),
        step=STEP,
        pack=partial(_pack, pack_config(phases, options, source)),
        handler=HANDLER,
        deadline=plugin.deadline if plugin.deadline is not None else deadline,
        rewrites=bool(phases & PluginPhase.PHASE_REWRITE),
    )


def _pack(packed: bytes, _: Any, __: Any) -> bytes:
    return packed


def _problems(plugin: type[Plugin], name: str) -> Iterator[str]:
    if not NAME.fullmatch(name) or len(name) > 60:
        yield f"{name!r} cannot be the name of a plugin (small letters, digits, dashes)"
    if not isinstance(plugin.priority, int) or abs(plugin.priority) > 1_000_000_000:
        yield "priority is not a number"
    if not isinstance(plugin.Config, type) or not issubclass(plugin.Config, msgspec.Struct):
        yield "Config is not a msgspec.Struct"
    if not any(callable(getattr(plugin, phase, None)) for phase in PHASES):
        yield f"it has none of the functions {', '.join(PHASES)}"
    if not frozenset(plugin.scopes) <= SCOPES:
        yield f"scopes can be {', '.join(sorted(SCOPES))}"
    deadline = plugin.deadline
    if deadline is not None and not (
        isinstance(deadline, int | float) and LEAST_DEADLINE <= deadline <= MOST_DEADLINE
    ):
        yield f"deadline is not a number of seconds from {LEAST_DEADLINE} to {MOST_DEADLINE:g}"


def accepts(definition: PluginDefinition, config: Mapping[str, Any]) -> str | None:
    """What is wrong with a configuration that was written for an earlier version; None: nothing."""
    from gateway.entities.record import shape_of

    clean, errors = shape_of(definition.config).check(config)
    if not errors:
        try:
            definition.config(**clean)
        except TypeError as error:
            return str(error)
        return None
    return msgspec.json.encode(errors).decode()
