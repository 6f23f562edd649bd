"""proxy-cache: responses are stored, and later requests answered with them."""

from __future__ import annotations

from gateway.plugins import PluginDefinition

from ._caching import CHECKS, HANDLER, LOOKUP_DEADLINE, CachingConfig, needs_handler, pack
from ._fields import ANY_PROTOCOL

PLUGIN = PluginDefinition(
    "proxy-cache",
    CachingConfig,
    priority=100,
    allowed_protocols=ANY_PROTOCOL,
    checks=CHECKS,
    pack=pack,
    handler=HANDLER,
    needs_handler=needs_handler,
    deadline=LOOKUP_DEADLINE,
)
