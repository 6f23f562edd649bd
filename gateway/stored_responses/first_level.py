"""The responses in the shared memory of this node."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import TYPE_CHECKING

from native.cache_image import MarkKind
from native.cache_store import CacheView
from native.shm import SharedState

from .purges import VARIANT, Purge, without_variants

if TYPE_CHECKING:
    from native.cache_store import StoredHead, StoredResponse


class FirstLevel:
    """The store of this node. Any thread: one at a time works with it, and may take a while."""

    def __init__(self, shared: SharedState) -> None:
        self._view = CacheView(shared)
        self._using = threading.Lock()

    def get(self, key: str) -> StoredResponse | None:
        """A stored response."""
        with self._using:
            return self._view.get(key)

    def apply(self, purge: Purge) -> None:
        """Remove what is to go, and keep from being stored what is under way."""
        with self._using:
            if purge.key is not None:
                self._remove(purge.key)
            for tag in purge.octets:
                self._view.mark(MarkKind.MARK_TAG, tag)
            if purge.address is not None:
                self._view.mark(MarkKind.MARK_ADDRESS, purge.address.encode("latin-1"))
            if purge.is_of_addresses or (purge.is_total and purge.plugin is not None):
                self._view.remove_matching(lambda head: purge.chooses(head["full_key"]))
            elif purge.is_total:
                self._view.purge_all()

    def _remove(self, key: str) -> None:
        found = self._view.get(key)
        self._view.remove(key)
        if found is not None and (found["vary_count"] or VARIANT in found["full_key"]):
            base = without_variants(found["full_key"])
            self._view.remove_matching(lambda head: is_variant(head, base))

    def statistics(self) -> Mapping[str, int]:
        """Numbers of the store, see CacheView. Does not wait for a purge."""
        return self._view.statistics()


def is_variant(head: StoredHead, base: bytes) -> bool:
    """Whether an entry is that with the full key `base`, or one of its variants."""
    return without_variants(head["full_key"]) == base
