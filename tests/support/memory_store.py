"""A store that keeps nothing but what is in memory, for tests of what is in front of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.store.batches import run_batch
from gateway.store.changes import Changes
from gateway.store.configuration import Configuration
from gateway.store.interface import GivenSecrets, Operation, Outcome


class MemoryStore:
    """As the store in a database, with a switch for what goes wrong."""

    kind = "sqlite"
    is_shared = False
    is_reachable = True

    def __init__(self, configuration: Configuration = Configuration.EMPTY) -> None:
        self.configuration = configuration
        self.fault: Exception | None = None
        """Raised instead of running operations."""
        self.batches: list[list[Operation]] = []
        """The operations of each transaction."""
        self.closed = False

    def open(self) -> Configuration:
        return self.configuration

    def transact(self, operations: Sequence[Operation]) -> list[Outcome]:
        if self.fault is not None:
            raise self.fault
        self.batches.append(list(operations))
        batch = run_batch(self.configuration, operations)
        self.adopt(batch.changes)
        return batch.outcomes

    def adopt(self, changes: Changes) -> None:
        if changes:
            hash = f"{int(self.configuration.hash, 16) + 1:032x}"
            self.configuration = self.configuration.changed(changes, hash)

    def catch_up(self) -> bool:
        return False

    def follow(self, on_change: Callable[[], None]) -> None:
        pass

    def replace(self, configuration: Configuration, given_secrets: GivenSecrets | None = None) -> None:
        raise AssertionError("a database is not replaced")

    def close(self) -> None:
        self.closed = True
