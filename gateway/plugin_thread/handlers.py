"""Which handler works for a job: found by the name of its plugin, imported once it is known to be needed."""

from __future__ import annotations

import importlib
from typing import Any

import msgspec

from gateway.plugin_thread.context import Handler, Job, WorkerContext

MOST_CONFIGURATIONS = 1024
"""Decoded configurations that are kept; when there are more, those that were not needed for longest go."""

PYTHON_PLUGIN_STEP = "python_plugin"
PYTHON_PLUGIN_HANDLER = "gateway.pdk.handler:PythonPluginHandler"
"""What works for all plugins that are written with gateway.pdk: workers do not know their names."""


class Handlers:
    """The handlers of a worker, and the decoded configurations of their plugins."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._made: dict[str, Handler] = {}
        """by "module:Class" """
        self._configurations: dict[str, dict[int, Any]] = {}
        """by id of the plugin entity, then by the hash of its configuration: the newest two"""

    def prepare(self, job: Job) -> Handler:
        """The handler for a job, and the job with its configuration. What is wrong with the handler's module
        is raised as it is, each time."""
        prepared = job.plugin.prepared
        if prepared is None:
            handler = self.handler_of(job.plugin_name, job.plugin.step)
            prepared = job.plugin.prepared = (handler, self._configuration(handler, job))
        job.config = prepared[1]
        found: Handler = prepared[0]
        return found

    def handler_of(self, plugin_name: str, step: str) -> Handler:
        """The handler for a plugin whose steps are of this kind. Its first use imports what it needs."""
        place = handler_place(plugin_name, step)
        handler = self._made.get(place)
        if handler is None:
            handler = self._made[place] = load(place)(self._context)
        return handler

    def _configuration(self, handler: Handler, job: Job) -> Any:
        """Decoded once, and the same object as long as nothing of it changes: handlers may keep things by
        it."""
        known = self._configurations.pop(job.plugin_id, {})
        self._configurations[job.plugin_id] = known  # needed last
        if job.plugin.config_hash not in known:
            known[job.plugin.config_hash] = decoded(handler, job)
            if len(known) > 2:
                # In-flight requests have the one before the newest; nobody has older ones.
                self._discard(handler, known.pop(next(iter(known))))
            if len(self._configurations) > MOST_CONFIGURATIONS:
                oldest = self._configurations.pop(next(iter(self._configurations)))
                for configuration in oldest.values():
                    self._discard(handler, configuration)
        return known[job.plugin.config_hash]

    def _discard(self, handler: Handler, configuration: Any) -> None:
        discard = getattr(handler, "discard", None)
        if discard is not None:
            self._context.loop.create_task(discard(configuration))

    @property
    def all(self) -> list[Handler]:
        """Those that were made."""
        return list(self._made.values())


def decoded(handler: Handler, job: Job) -> Any:
    """The configuration as the handler wants it: what its `configure` makes of the job, else the document."""
    configure = getattr(handler, "configure", None)
    if configure is not None:
        return configure(job)
    return msgspec.json.decode(job.plugin.document) if job.plugin.document else {}


def handler_place(plugin_name: str, step: str) -> str:
    """Where the handler of a plugin is: "module:Class"."""
    if step == PYTHON_PLUGIN_STEP:
        return PYTHON_PLUGIN_HANDLER
    # Built-in plugins have a module of their name, so the others need not be imported.
    module = importlib.import_module(f"gateway.plugins.{plugin_name.replace('-', '_')}")
    place: str = module.PLUGIN.handler
    if not place:
        raise LookupError(f"the plugin {plugin_name} has no handler")
    return place


def load(place: str) -> Any:
    """The object at "module:name"."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
