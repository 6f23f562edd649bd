"""The store of a node without a database (DATABASE=off): a declarative configuration that is only replaced.

The rules for writes run as they do everywhere, on a draft, so that a client is told what is wrong with what
it sent. What would change something is then refused. Kong finds out about keys that are taken and references
to nothing in its database only; without one it says that writing is not possible before it would look.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from gateway.store.configuration import Configuration
from gateway.store.draft import Draft
from gateway.store.errors import EntityError, operation_unsupported
from gateway.store.interface import GivenSecrets, Operation, Outcome
from gateway.store.memory import LoadMemory
from gateway.store.source import DeclarativeSource

_FOUND_BY_DATABASES = frozenset((3, 4, 5))
"""The codes of primary key, foreign key and unique constraint violations."""


class ReadOnlyStore:
    """Holds the configuration of a file, or of the last POST /config."""

    kind = "off"
    is_shared = False
    is_reachable = True

    def __init__(self, source: DeclarativeSource, memory: LoadMemory) -> None:
        """`memory`: of the texts that were loaded before; POST /config uses the same one."""
        self._source = source
        self._memory = memory
        self.configuration = Configuration.EMPTY

    def open(self) -> Configuration:
        """Load the configuration. Raises DeclarativeError, also for a file that cannot be read."""
        self.configuration = self._source.load(self._memory)
        return self.configuration

    def reload(self, source: DeclarativeSource) -> Configuration:
        """Load again, possibly from somewhere else. Raises DeclarativeError and keeps what there was then.

        Where no declarative configuration is named, what came through POST /config stays.
        """
        if source.is_named:
            self.configuration = source.load(self._memory)
        self._source = source
        return self.configuration

    def transact(self, operations: Sequence[Operation]) -> list[Outcome]:
        """Tell for each operation why it cannot be done, or the result of one that changes nothing."""
        return [self._try(operation) for operation in operations]

    def _try(self, operation: Operation) -> Outcome:
        draft = Draft(self.configuration)
        try:
            result = operation.run(draft)
        except EntityError as error:
            return Outcome(error=unsupported(operation) if error.code in _FOUND_BY_DATABASES else error)
        except Exception as error:
            return Outcome(error=error)
        return Outcome(error=unsupported(operation)) if draft.changes else Outcome(result)

    def catch_up(self) -> bool:
        """Nobody else writes."""
        return False

    def follow(self, on_change: Callable[[], None]) -> None:
        """Nobody else writes."""

    def replace(self, configuration: Configuration, given_secrets: GivenSecrets | None = None) -> None:
        """Make this the configuration, until the next start or reload; its secrets are hashed."""
        self.configuration = configuration

    def close(self) -> None:
        """There is nothing to let go of."""


def unsupported(operation: Operation) -> EntityError:
    """Kong's refusal of a write without a database."""
    by = f" by '{operation.by}'" if operation.by else ""
    return operation_unsupported(
        f"cannot {operation.verb} '{operation.type_name}' entities{by} when not using a database"
    )
