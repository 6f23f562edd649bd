"""A store that keeps nothing but what is in memory, for tests of what is in front of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from gateway.store.configuration import Configuration
from gateway.store.draft import Draft
from gateway.store.interface import Operation, Outcome


@dataclass
class MemoryStore:
    """Runs operations one after the other, each on a draft of the state that the last one left."""

    kind: str = "sqlite"
    is_shared: bool = False
    is_reachable: bool = True
    configuration: Configuration = field(default_factory=lambda: Configuration.EMPTY)
    fault: Exception | None = None
    """Raised instead of running operations."""
    operations: list[Operation] = field(default_factory=list)
    """All that were asked for."""

    def open(self) -> Configuration:
        return self.configuration

    def transact(self, operations: Sequence[Operation]) -> list[Outcome]:
        if self.fault is not None:
            raise self.fault
        return [self._run(operation) for operation in operations]

    def _run(self, operation: Operation) -> Outcome:
        self.operations.append(operation)
        draft = Draft(self.configuration)
        try:
            result = operation.run(draft)
        except Exception as error:
            return Outcome(error=error)
        self.configuration = draft.result("1" * 32)
        return Outcome(result, changed=bool(draft.changes))

    def catch_up(self) -> bool:
        return False

    def replace(self, configuration: Configuration) -> None:
        self.configuration = configuration

    def close(self) -> None:
        pass
