"""Which kinds of snapshot a change of the configuration makes necessary.

Known by the tables that are other objects than before: a store leaves those alone in which nothing has
changed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias, cast

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.upstreams import Upstream
from gateway.run_directory import SnapshotKind
from gateway.snapshot.identities import IDENTITY_TYPES
from gateway.store import Configuration

SnapshotKinds: TypeAlias = "frozenset[SnapshotKind]"

EVERY_KIND: SnapshotKinds = frozenset(("peers", "identities", "configuration"))
PEER_TYPES = ("services", "upstreams", "targets")
"""The types that peers are made of."""
BALANCED_TYPES = ("upstreams", "targets")
"""Those of them that the rest of the configuration knows by the names of upstreams only."""
ROUTING_TYPES = tuple(
    name for name in ENTITY_TYPES if name not in IDENTITY_TYPES and name not in BALANCED_TYPES
)


def kinds_that_differ(before: Configuration | None, after: Configuration) -> SnapshotKinds:
    """The kinds of snapshot in which `after` is not what `before` was."""
    if before is None:
        return EVERY_KIND
    changed = {name for name in ENTITY_TYPES if after.of(name) is not before.of(name)}
    kinds: set[SnapshotKind] = set()
    if changed.intersection(ROUTING_TYPES) or (
        "upstreams" in changed and _upstream_names(before) != _upstream_names(after)
    ):
        kinds.add("configuration")
    if changed.intersection(PEER_TYPES):
        kinds.add("peers")
    if changed.intersection(IDENTITY_TYPES):
        kinds.add("identities")
    return frozenset(kinds)


def _upstream_names(configuration: Configuration) -> set[str]:
    upstreams = cast("Mapping[str, Upstream]", configuration.of("upstreams"))
    return {upstream.name for upstream in upstreams.values()}
