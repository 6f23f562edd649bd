"""The code of plugins on its way from a file to the workers.

The control process reads a plugin file (or a package) once, writes what it read into the prefix as one
*bundle* named after its content, and puts that name into the snapshot. Workers run the bundle. So all of them
run the same code, a request ends with the code it began with, and an edited file is nothing to anybody before
a reload.

Plugins of installed packages (entry points) are imported by their names.
"""

from __future__ import annotations

import hashlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import importlib.util
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import msgspec

from gateway.pdk.missing import SOURCE as MISSING
from gateway.pdk.plugin import Plugin
from gateway.run_directory import open_new

ENTRY_POINTS = "gateway.plugins"
"""The group of entry points under which packages announce plugins."""
PREFIX = "gateway_plugin_"
"""Modules of bundles are named so, with the digest of the bundle."""
MOST_BYTES = 16 * 1024 * 1024
"""of a package"""


class SourceError(Exception):
    """Code of plugins that cannot be used; the text says where and why."""


class Bundle(msgspec.Struct, frozen=True):
    """A plugin file or package, as it was read."""

    origin: str
    """where it was: a file, or the directory of a package"""
    modules: dict[str, str]
    """code by name within the package; "" is the file itself, or `__init__.py`"""
    is_package: bool

    @property
    def digest(self) -> str:
        """Names the content, and the place: it is told in error messages."""
        return hashlib.sha256(msgspec.msgpack.encode(self, order="deterministic")).hexdigest()[:32]

    @property
    def module_name(self) -> str:
        return PREFIX + self.digest

    def file_of(self, module: str) -> str:
        """Where a module of it was read."""
        if not self.is_package:
            return self.origin
        parts = module.split(".") if module else []
        folder = Path(self.origin, *parts)
        if not module or any(name.startswith(module + ".") for name in self.modules):
            return str(folder / "__init__.py")
        return str(folder) + ".py"


@dataclass(frozen=True)
class SourceDirectory:
    """The bundles in a prefix."""

    path: Path

    def write(self, bundle: Bundle) -> None:
        """Keep a bundle. Raises OSError."""
        target = self.path / f"{bundle.digest}.plugin"
        if target.exists():
            return
        temporary = target.with_suffix(f".{os.getpid()}")
        with os.fdopen(open_new(temporary, 0o600), "wb") as file:
            file.write(msgspec.msgpack.encode(bundle))
        temporary.replace(target)

    def read(self, digest: str) -> Bundle:
        """A bundle that was kept. Raises OSError."""
        return msgspec.msgpack.decode((self.path / f"{digest}.plugin").read_bytes(), type=Bundle)

    def remove(self, digest: str) -> None:
        """Remove a bundle, if it is there."""
        (self.path / f"{digest}.plugin").unlink(missing_ok=True)


def read_bundle(place: Path) -> Bundle:
    """A file, or the directory of a package. Raises OSError, SourceError."""
    if place.is_dir():
        files = {module_of(file, place): file for file in sorted(place.rglob("*.py"))}
    else:
        files = {"": place}
    if sum(file.stat().st_size for file in files.values()) > MOST_BYTES:
        raise SourceError(f"{place}: more than {MOST_BYTES >> 20} MiB of code")
    modules = {}
    for name, file in files.items():
        try:
            modules[name] = importlib.util.decode_source(file.read_bytes())
        except (SyntaxError, UnicodeDecodeError) as error:
            raise SourceError(f"{file}: {error}") from None
    return Bundle(str(place), modules, place.is_dir())


def module_of(file: Path, package: Path) -> str:
    """The name of a file of a package, relative to it: `rules.limits`, or "" for the package itself."""
    parts = list(file.relative_to(package).with_suffix("").parts)
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


# --- bundles as modules ----------------------------------------------------------------------------------
class BundleFinder(importlib.abc.MetaPathFinder, importlib.abc.InspectLoader):
    """Finds the modules of bundles; one per process."""

    def __init__(self) -> None:
        self._bundles: dict[str, Bundle] = {}

    def add(self, bundle: Bundle) -> None:
        """Let the bundle's modules be imported."""
        if self not in sys.meta_path:
            sys.meta_path.append(self)
        self._bundles[bundle.module_name] = bundle

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """As importlib asks."""
        bundle, name = self._bundle_of(fullname)
        if bundle is None or not self._is_there(bundle, name):
            return None
        spec = importlib.machinery.ModuleSpec(fullname, self, origin=bundle.file_of(name))
        spec.has_location = True
        if self.is_package(fullname):
            spec.submodule_search_locations = []
        return spec

    def is_package(self, fullname: str) -> bool:
        """As importlib asks."""
        bundle, name = self._bundle_of(fullname)
        assert bundle is not None
        return bundle.is_package and (not name or any(one.startswith(name + ".") for one in bundle.modules))

    def get_source(self, fullname: str) -> str | None:
        """As importlib asks."""
        bundle, name = self._bundle_of(fullname)
        return bundle.modules.get(name, "") if bundle is not None else None

    def get_code(self, fullname: str) -> CodeType | None:
        """As importlib asks. Errors name the file that was read."""
        bundle, name = self._bundle_of(fullname)
        assert bundle is not None
        return compile(self.get_source(fullname) or "", bundle.file_of(name), "exec", dont_inherit=True)

    def _bundle_of(self, fullname: str) -> tuple[Bundle | None, str]:
        top, _, name = fullname.partition(".")
        return self._bundles.get(top), name

    @staticmethod
    def _is_there(bundle: Bundle, name: str) -> bool:
        return name in bundle.modules or any(one.startswith(name + ".") for one in bundle.modules)


_finder = BundleFinder()


def import_bundle(bundle: Bundle) -> ModuleType:
    """The module of a bundle. Raises what its code raises."""
    _finder.add(bundle)
    try:
        return importlib.import_module(bundle.module_name)
    except BaseException:
        for name in [name for name in sys.modules if name.partition(".")[0] == bundle.module_name]:
            del sys.modules[name]
        raise


def plugins_in(module: ModuleType) -> list[type[Plugin]]:
    """The plugins that a module, or the package that it is, defines or imports from within itself."""
    top = module.__name__.partition(".")[0]
    return [
        found
        for found in vars(module).values()
        if isinstance(found, type)
        and issubclass(found, Plugin)
        and found is not Plugin
        and found.__module__.partition(".")[0] == top
        and not found.__name__.startswith("_")
    ]


# --- what stands in the snapshot -------------------------------------------------------------------------
def bundle_source(bundle: Bundle, plugin: type[Plugin]) -> bytes:
    """Says to a worker where the class is."""
    return f"bundle:{bundle.digest}:{plugin.__module__.partition('.')[2]}:{plugin.__qualname__}".encode()


def installed_source(plugin: type[Plugin], version: str) -> bytes:
    """Says it of a class of an installed package."""
    return f"module:{version}:{plugin.__module__}:{plugin.__qualname__}".encode()


_loaded: dict[bytes, type[Plugin]] = {}


def load_plugin(directory: SourceDirectory, source: bytes) -> type[Plugin]:
    """The class that bundle_source() or installed_source() named. Raises OSError, and what its code
    raises."""
    if source not in _loaded:
        if source == MISSING:
            raise SourceError(
                "the plugin is configured, but not available here; see the log of the last start"
            )
        kind, detail, module, name = source.decode().split(":", 3)
        if kind == "bundle":
            bundle = directory.read(detail)
            import_bundle(bundle)
            module = f"{bundle.module_name}.{module}" if module else bundle.module_name
        found: Any = reduce(getattr, name.split("."), importlib.import_module(module))
        _loaded[source] = found
    return _loaded[source]
