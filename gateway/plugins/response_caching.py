"""response-caching: proxy-cache under another name, whose strategy is `memory` when nothing is said."""

from __future__ import annotations

from typing import Annotated

from gateway.plugins import PluginDefinition

from ._caching import CHECKS, HANDLER, LOOKUP_DEADLINE, STRATEGY, CachingConfig, needs_handler, pack
from ._fields import ANY_PROTOCOL


class ResponseCachingConfig(CachingConfig, frozen=True, kw_only=True):
    """That of proxy-cache."""

    strategy: Annotated[str, STRATEGY] = "memory"


PLUGIN = PluginDefinition(
    "response-caching",
    ResponseCachingConfig,
    priority=100,
    allowed_protocols=ANY_PROTOCOL,
    checks=CHECKS,
    step="proxy_cache",
    pack=pack,
    handler=HANDLER,
    needs_handler=needs_handler,
    deadline=LOOKUP_DEADLINE,
)
