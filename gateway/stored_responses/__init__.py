"""The responses that proxy-cache and response-caching have stored, as the control process sees them.

`purges` says what is to go, `first_level` is the shared memory of this node, `redis_cache` a Redis that nodes
share, `responses` ties them together and tells the other nodes.
"""

from .purges import CacheUnavailable, InvalidPurge, Purge
from .responses import PurgeProblem, StoredResponses

__all__ = ["CacheUnavailable", "InvalidPurge", "Purge", "PurgeProblem", "StoredResponses"]
