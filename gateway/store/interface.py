"""What all stores have in common: where entities are kept, and how a change is made to last.

A store holds the configuration in memory (`configuration`, immutable, replaced after each commit). Reads look
there, writes are transactions: the rules are applied to a `Draft` of the newest committed state while every
other writer of the same database waits, and what the draft changed is written in one commit. So there is one
implementation of Kong's rules for all stores; constraints in the database stand behind it as a second line.

Every method blocks. The control process calls them from one thread of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from gateway.store.configuration import Configuration
from gateway.store.draft import Draft

GivenSecrets: TypeAlias = Mapping[str, Mapping[str, Any]]
"""Id -> fields as given, for entities whose secrets were hashed."""


@dataclass(frozen=True, slots=True)
class Operation:
    """One write: all of it happens or nothing."""

    verb: str
    """What it does, in Kong's words: "create", "update", "create or update", "remove"."""
    type_name: str
    run: Callable[[Draft], Any]
    """Applies it to a draft and gives what the writer wants to know. Raises EntityError to refuse; the draft
    is thrown away then."""
    by: str | None = None
    """The unique field by which the entity was named, when it was not the id."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an operation."""

    result: Any = None
    error: Exception | None = None
    """EntityError, or what went wrong inside."""
    changed: bool = False


class Store(Protocol):
    """Where entities are kept."""

    kind: str
    """"sqlite", "postgres" or "off", as DATABASE says."""
    is_shared: bool
    """Whether other nodes write to it too."""

    @property
    def configuration(self) -> Configuration:
        """The newest state that this node knows. Any thread may look."""

    @property
    def is_reachable(self) -> bool:
        """Whether the last attempt to use the database succeeded."""

    def open(self) -> Configuration:
        """Connect and load. Raises StoreError (a text for the operator) when it cannot be used at all; a
        shared database that is down is no reason: then the last known state is loaded."""

    def transact(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Run the operations one after the other, each on top of those before it, and commit the changes of
        those that were not refused together. Raises StoreUnavailable: nothing was changed by any of them."""

    def catch_up(self) -> bool:
        """Take over what other nodes have written since. True when there was something. Raises
        StoreUnavailable."""

    def follow(self, on_change: Callable[[], None]) -> None:
        """Begin to watch for writes of others; at most once, after open(). `on_change` is called from another
        thread when there may be something for catch_up(), at the latest DB_UPDATE_FREQUENCY after it was
        written, and while the database is down from time to time. It must not block. Ends with close().
        Does nothing where nobody else writes."""

    def replace(self, configuration: Configuration, given_secrets: GivenSecrets | None = None) -> None:
        """Make this the whole content (POST /config; stores without a database only). `given_secrets`: for a
        store that holds secrets as they were given. Raises StoreUnavailable."""

    def close(self) -> None:
        """Let go of everything. Nothing else may be called afterwards."""


class StoreError(Exception):
    """A store that cannot be used: the text says what is wrong and what to do."""
