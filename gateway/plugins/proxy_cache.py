"""proxy-cache: responses are stored, and later requests answered with them."""

from __future__ import annotations

from gateway.plugins import PluginDefinition

from ._caching import CHECKS, HANDLER, LOOKUP_DEADLINE, CachingConfig, pack
from ._fields import ANY_PROTOCOL

PLUGIN = PluginDefinition(
    "proxy-cache",
    CachingConfig,
    priority=100,
    allowed_protocols=ANY_PROTOCOL,
    checks=CHECKS,
    pack=pack,
    handler=HANDLER,
    deadline=LOOKUP_DEADLINE,
)
