"""Plugins that are configured in a database but not available here: their file was not found, or is broken.

A plugin may be what keeps strangers out. So what it is for is not served without it: such requests end with
500.
"""

from __future__ import annotations

from functools import cache

from gateway.entities.record import Record
from gateway.plugins import PluginDefinition
from native.python_calls import PluginPhase
from native.steps.python_plugin import pack_config

SOURCE = b"missing"
"""In place of where the code is."""
PRIORITY = 1_000_000
"""Before everything else."""


class AnyConfig(Record, frozen=True, kw_only=True):
    """Nobody knows what it is configured with."""


@cache
def missing_plugin(name: str) -> PluginDefinition:
    """A definition that lets every request fail."""
    packed = pack_config(PluginPhase.PHASE_ACCESS, 0, SOURCE)
    return PluginDefinition(name, AnyConfig, priority=PRIORITY, step="python_plugin", pack=lambda *_: packed)
