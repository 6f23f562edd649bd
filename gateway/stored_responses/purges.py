"""What is to go from the cache."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import msgspec

KEY = re.compile(r"[0-9a-f]{64}")
VARIANT = b"\nv "
LONGEST_PREFIX = 8192
MOST_TAGS = 256
LONGEST_TAG = 1024
"""characters"""


class InvalidPurge(ValueError):
    """What is asked for makes no sense. The text says why."""


class CacheUnavailable(Exception):
    """A Redis with stored responses is not there, does not answer, or refuses. The text tells no secret."""


class Purge(msgspec.Struct, frozen=True, omit_defaults=True):
    """Everything, a key, tags, or what is below a path, of a host, or both; of one plugin or of all."""

    plugin: str | None = None
    """id"""
    key: str | None = None
    """64 hex digits, as in X-Cache-Key"""
    tags: tuple[str, ...] = ()
    """of Surrogate-Key or Cache-Tag: what has one of them goes"""
    prefix: str | None = None
    """of paths, as clients send them"""
    host: str | None = None
    """in lower case, with a port where requests name one"""
    address: str | None = None
    """The first lines of full keys (native/cache_key.pxd), a character for a byte: what an unsafe request has
    changed. Between nodes only."""

    @property
    def is_total(self) -> bool:
        """Whether it is for everything (of the plugin)."""
        return self.key is None and self.address is None and not self.tags and not self.is_of_addresses

    @property
    def is_of_addresses(self) -> bool:
        return self.prefix is not None or self.host is not None

    @property
    def octets(self) -> list[bytes]:
        """The tags."""
        return [tag.encode("utf-8", "surrogateescape") for tag in self.tags]

    def check(self) -> Purge:
        """Itself. Raises InvalidPurge."""
        ways = (self.key is not None, bool(self.tags), self.is_of_addresses, self.address is not None)
        if sum(ways) > 1:
            raise InvalidPurge("tags and addresses cannot be combined")
        if self.key is not None and not KEY.fullmatch(self.key):
            raise InvalidPurge("a key has 64 hex digits")
        if len(self.tags) > MOST_TAGS:
            raise InvalidPurge(f"at most {MOST_TAGS} tags can be purged at once")
        if any(not 0 < len(tag) <= LONGEST_TAG or re.search(r"[\s,]", tag) for tag in self.tags):
            raise InvalidPurge(f"a tag has 1 to {LONGEST_TAG} characters, no spaces and no commas")
        if self.prefix is not None and not self.prefix.startswith("/"):
            raise InvalidPurge("a prefix begins with /")
        if self.prefix is not None and len(self.prefix) > LONGEST_PREFIX:
            raise InvalidPurge(f"a prefix has at most {LONGEST_PREFIX} characters")
        if self.host is not None and not re.fullmatch(r"[^\s/]{1,300}", self.host):
            raise InvalidPurge("a host has no spaces and no slashes")
        if self.address is not None and not self.address.isascii() and max(self.address) > "\xff":
            raise InvalidPurge("an address has bytes")
        return self

    def chooses(self, full_key: bytes) -> bool:
        """Whether what has this full key (native/cache_key.pxd) is of the addresses, and of the plugin."""
        lines = full_key.split(b"\n", 5)
        if len(lines) < 6:
            return False
        path, _, origin, _, plugin, _ = lines
        if self.plugin is not None and plugin.split(b" ", 1)[0] != self.plugin.encode():
            return False
        if self.prefix is not None:
            prefix = self.prefix.encode("utf-8", "surrogateescape")
            # Where a plugin ignores the case of paths, they are in lower case.
            if not path.startswith((prefix, prefix.lower())):
                return False
        return self.host is None or is_of_host(origin, self.host.lower().encode("utf-8", "surrogateescape"))

    def document(self) -> dict[str, Any]:
        """For other nodes."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def is_of_host(origin: bytes, host: bytes) -> bool:
    """Whether `https://host:port` has this host, which may be given with the port or without."""
    authority = origin.partition(b"://")[2]
    if authority == host:
        return True
    name, colon, port = authority.rpartition(b":")
    return bool(colon) and port.isdigit() and name == host


def purge_of(document: Mapping[str, Any]) -> Purge:
    """What another node has sent. Raises InvalidPurge."""
    try:
        return msgspec.convert(document, Purge).check()
    except msgspec.ValidationError as error:
        raise InvalidPurge(str(error)) from None


def without_variants(full_key: bytes) -> bytes:
    """The full key without the lines in which variants of a response differ (native/cache_key.pxd)."""
    return full_key[: full_key.find(VARIANT) + 1] if VARIANT in full_key else full_key
