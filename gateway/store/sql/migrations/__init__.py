"""Versions of the tables: what a database has, and how it gets the rest.

Each version is a script of Alembic in `versions/`. Its phase says when it may run: `up` while nodes of the
version before still run, `finish` once there are none. Running a script again does no harm, so that a
database that was changed by hand can be mended (--force).
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, Connection, MetaData, Table, Text, inspect, select

from gateway.store.interface import StoreError
from gateway.store.sql.database import Database
from gateway.store.sql.tables import METADATA

VERSION_TABLE = "schema_version"
VERSIONS = Path(__file__).parent / "versions"

_VERSION = Table(VERSION_TABLE, MetaData(), Column("version_num", Text))


class Phase(enum.StrEnum):
    """When a script may run."""

    UP = "up"
    """beside nodes of the version before"""
    FINISH = "finish"
    """once all nodes are of this version"""


@dataclass(frozen=True, slots=True)
class Revision:
    """A script: the file `versions/<name>.py`."""

    name: str
    phase: Phase


REVISIONS = (
    Revision("001_base", Phase.UP),
    Revision("002_limit_counts", Phase.UP),
    Revision("003_cluster_events", Phase.UP),
)
"""All scripts, oldest first. (Asking Alembic takes half a second, at each start.)"""


@dataclass(frozen=True, slots=True)
class SchemaState:
    """How far a database is."""

    executed: tuple[str, ...]
    pending: tuple[str, ...]
    """What is left to finish."""
    new: tuple[str, ...]
    """What there is beyond that."""

    @property
    def needs_bootstrap(self) -> bool:
        return not self.executed

    def require_usable(self, name: str) -> None:
        """Raise StoreError when a node cannot work with the database `name`."""
        if self.needs_bootstrap:
            raise StoreError(
                f"{NEEDS_BOOTSTRAP} ({name})\n\n"
                "To start a new installation from scratch, run 'gateway migrations bootstrap'."
            )
        if self.new:
            raise StoreError(
                f"New migrations available; run 'gateway migrations up' to proceed ({name}: "
                f"{', '.join(self.new)})"
            )


NEEDS_BOOTSTRAP = "Database needs bootstrapping"


class Migrations:
    """The scripts, and running them on a database."""

    def __init__(
        self, database: Database, revisions: Sequence[Revision] = REVISIONS, directory: Path = VERSIONS
    ) -> None:
        self.database = database
        self._revisions = tuple(revisions)
        self._directory = directory

    def state(self, connection: Connection) -> SchemaState:
        """How far the database is. Raises StoreError for one that a newer version made."""
        tables = set(inspect(connection).get_table_names())
        if VERSION_TABLE not in tables:
            if tables and self.database.kind == "sqlite":
                raise StoreError(
                    f"the SQLite database {self.database.name} belongs to another program; choose another "
                    "SQLITE_PATH"
                )
            return self._state_at(None)
        return self._state_at(connection.execute(select(_VERSION.c.version_num)).scalar())

    @property
    def nothing_done(self) -> SchemaState:
        """The state of a database that is not there yet."""
        return self._state_at(None)

    def next_of(self, state: SchemaState, phase: Phase) -> tuple[str, ...]:
        """The scripts of a phase that may run next, one after the other."""
        found = []
        for revision in self._revisions[len(state.executed) :]:
            if revision.phase is not phase:
                break
            found.append(revision.name)
        return tuple(found)

    def _state_at(self, current: str | None) -> SchemaState:
        names = [revision.name for revision in self._revisions]
        if current is not None and current not in names:
            raise StoreError(
                f"the database ({self.database.name}) was made by a newer version of the gateway: its tables "
                f"are of version {current}, known here is {names[-1]}; install that version, or use another "
                "database"
            )
        executed = 0 if current is None else names.index(current) + 1
        rest = self._revisions[executed:]
        pending = 0
        while executed and pending < len(rest) and rest[pending].phase is Phase.FINISH:
            pending += 1
        return SchemaState(
            tuple(names[:executed]), tuple(names[executed:][:pending]), tuple(names[executed:][pending:])
        )

    def run(self, connection: Connection, names: Sequence[str]) -> None:
        """Run these scripts, which follow those that were executed. The caller commits."""
        if not names:
            return
        from alembic.migration import MigrationContext
        from alembic.operations import Operations
        from alembic.script import ScriptDirectory

        scripts = ScriptDirectory(str(Path(__file__).parent), version_locations=[str(self._directory)])
        context = MigrationContext.configure(
            connection,
            opts={
                "version_table": VERSION_TABLE,
                "fn": lambda revision, _: scripts._upgrade_revs(names[-1], revision),
            },
        )
        with Operations.context(context):
            context.run_migrations()

    def run_again(self, connection: Connection, state: SchemaState) -> None:
        """Run what was executed once more."""
        if state.executed:
            connection.execute(_VERSION.delete())
            self.run(connection, state.executed)

    def upgrade_alone(self, connection: Connection) -> bool:
        """Bring a database that no other node uses to this version. True when there was something to do."""
        state = self.state(connection)
        self.run(connection, (*state.pending, *state.new))
        return bool(state.pending or state.new)

    def reset(self, connection: Connection) -> None:
        """Drop the tables, whatever else there is stays. The caller commits."""
        METADATA.drop_all(connection)
        _VERSION.drop(connection, checkfirst=True)
