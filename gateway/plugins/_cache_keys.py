"""What stored responses are called in Redis, and what nodes that share one tell each other there.

    sluicegate:cache:<plugin id>:<64 hex digits>         an image (native/cache_image.pxd), until it is over
    sluicegate:cache-tag:<plugin id>:<hash of a tag>     a sorted set: hex digits by when they are over (ms)
    sluicegate:cache-purges                              a channel

The id of a plugin is the same on nodes that share its configuration, so two gateways that do not can use one
Redis without seeing each other's responses. Keys have nothing in braces: they spread over a cluster.
"""

from __future__ import annotations

import hashlib

PURGES = "sluicegate:cache-purges"
LONGEST_LIFE_MS = 7 * 86_400_000
"""that an entry is kept in Redis"""
TAG_LIFE_MS = LONGEST_LIFE_MS + 3_600_000
"""that a set is kept after its last change: longer than any entry it names"""


def entry_key(plugin_id: str, key: str) -> bytes:
    """Of the entry whose key in the store is `key`."""
    return f"sluicegate:cache:{plugin_id}:{key}".encode()


def entry_pattern(plugin_id: str) -> bytes:
    """For SCAN: all entries of a plugin, whose id is a UUID."""
    return entry_key(plugin_id, "*")


def address_of(full_key: bytes) -> bytes:
    """The lines of a full key that all responses for one address have in common (native/cache_key.pxd)."""
    return b"".join(line + b"\n" for line in full_key.split(b"\n", 3)[:3])


def address_key(plugin_id: str, address: bytes) -> bytes:
    """Of the set of entries with an address: no tag has a space."""
    return tag_key(plugin_id, b"address " + address)


def tag_key(plugin_id: str, tag: bytes) -> bytes:
    """Of the set of entries with a tag."""
    digest = hashlib.blake2b(tag, digest_size=16).hexdigest()
    return f"sluicegate:cache-tag:{plugin_id}:{digest}".encode()
