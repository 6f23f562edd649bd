"""migrations: the tables of the database, with the words and exit codes of Kong's command."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy import Connection
from sqlalchemy.exc import SQLAlchemyError

from gateway.cli.lifecycle import load_or_fail
from gateway.cli.options import Invocation, fail
from gateway.settings import Settings
from gateway.store.interface import StoreError
from gateway.store.sql import database_of
from gateway.store.sql.database import Database
from gateway.store.sql.migrations import NEEDS_BOOTSTRAP, Migrations, Phase, SchemaState

NEEDS_BOOTSTRAP_STATUS = 3
PENDING_STATUS = 4
NEW_STATUS = 5
RUN_BOOTSTRAP = "run 'gateway migrations bootstrap'"
RUN_FINISH = "run 'gateway migrations finish'"
MOST_QUESTIONS = 3


@dataclasses.dataclass(frozen=True)
class Options:
    """What the commands have in common."""

    yes: bool = False
    quiet: bool = False
    force: bool = False
    db_timeout: float = 60.0
    lock_timeout: float = 60.0
    """seconds"""


def run(invocation: Invocation, command: str, options: Options) -> None:
    """Carry out a command; ends the process with its exit code unless that is 0."""
    settings = load_or_fail(invocation)
    if settings.database == "off":
        fail(
            f"there is no database: DATABASE = 'off' ({settings.origin('database')})",
            "Set GATEWAY_DATABASE to sqlite or postgres.",
        )
    database = database_of(
        dataclasses.replace(settings, pg_timeout=options.db_timeout), lock_patience=options.lock_timeout
    )
    work = Work(settings, database, Migrations(database), options)
    try:
        status = work.commands[command]()
    except StoreError as error:
        fail(str(error))
    except SQLAlchemyError as error:
        fail(database.explain(error))
    finally:
        database.close()
    if status:
        raise SystemExit(status)


class Work:
    """The commands. Each gives the exit code."""

    def __init__(
        self, settings: Settings, database: Database, migrations: Migrations, options: Options
    ) -> None:
        self._settings = settings
        self._database = database
        self._migrations = migrations
        self._options = options
        self.commands: dict[str, Callable[[], int]] = {
            "bootstrap": self.bootstrap,
            "up": self.up,
            "finish": self.finish,
            "list": self.list,
            "status": self.status,
            "reset": self.reset,
        }

    # --- looking ----------------------------------------------------------------------------------

    def list(self) -> int:
        """Print what was executed and what is to do."""
        state = self._look()
        if state.needs_bootstrap:
            self._say(f"{NEEDS_BOOTSTRAP}; {RUN_BOOTSTRAP}")
            return NEEDS_BOOTSTRAP_STATUS
        for title, names in (
            ("Executed migrations:", state.executed),
            ("Pending migrations:", state.pending),
            ("New migrations available:", state.new),
        ):
            if names:
                self._say(f"{title}\ncore: {', '.join(names)}")
        if state.pending:
            self._say(f"\n{RUN_FINISH.capitalize()} when ready")
        elif state.new:
            self._say("\nRun 'gateway migrations up' to proceed")
        return _status(state)

    def status(self) -> int:
        """Print the same as JSON."""
        state = self._look()
        self._say(
            json.dumps(
                {
                    "needs_bootstrap": state.needs_bootstrap,
                    "executed_migrations": state.executed,
                    "pending_migrations": state.pending,
                    "new_migrations": state.new,
                },
                indent=2,
            )
        )
        return _status(state)

    def _look(self) -> SchemaState:
        if not self._database.is_there():
            return self._migrations.nothing_done
        with self._database.reading() as connection:
            return self._migrations.state(connection)

    # --- changing ---------------------------------------------------------------------------------

    def bootstrap(self) -> int:
        """Make the tables. More than one node may do it at once: one of them does it."""
        self._database.prepare()
        with self._changing() as (connection, state):
            if state.needs_bootstrap:
                self._say("Bootstrapping database...")
                self._database.make_schema(connection)
                self._execute(connection, state.new)
                self._say("Database is up-to-date")
            else:
                self._say("Database already bootstrapped")
                if self._options.force:
                    self._again(connection, state)
        return 0

    def up(self) -> int:
        """Run what may run beside nodes of the version before."""
        self._require_bootstrapped("Cannot run migrations: database needs bootstrapping")
        with self._changing() as (connection, state):
            if state.pending and not self._options.force:
                raise StoreError(f"Database has pending migrations; {RUN_FINISH}")
            if self._options.force:
                self._again(connection, state)
                if state.pending:
                    self._say(f"\nDatabase has pending migrations; {RUN_FINISH} when ready")
                    return 0
            if not state.new:
                if not self._options.force:
                    self._say("Database is already up-to-date")
                return 0
            self._execute(connection, self._migrations.next_of(state, Phase.UP))
            state = self._migrations.state(connection)
            if state.pending:
                self._say(f"\nDatabase has pending migrations; {RUN_FINISH} when ready")
            else:
                self._say("Database is up-to-date")
        return 0

    def finish(self) -> int:
        """Run what had to wait for the last node of the version before."""
        self._require_bootstrapped("Cannot run migrations")
        with self._changing() as (connection, state):
            if self._options.force:
                self._again(connection, state)
            self._execute(connection, state.pending)
            if state.new:
                self._say("\nNew migrations available; run 'gateway migrations up' to proceed")
            elif not state.pending and not self._options.force:
                self._say("No pending migrations to finish")
        return 0

    def reset(self) -> int:
        """Drop the tables with all that is in them."""
        if not self._options.yes:
            if not sys.stdin.isatty():
                raise StoreError("not a tty: invoke 'reset' non-interactively with the --yes flag")
            if not _confirmed("Are you sure? This operation is irreversible."):
                self._say("cancelled")
                return 0
        if self._look().needs_bootstrap:
            self._say("Database not bootstrapped, nothing to reset")
            return 1
        with self._changing() as (connection, _):
            self._say("Resetting database...")
            self._migrations.reset(connection)
        self._say("Database successfully reset")
        return 0

    @contextmanager
    def _changing(self) -> Iterator[tuple[Connection, SchemaState]]:
        """A transaction that no other node disturbs, with the state that it finds; committed at its end."""
        with self._database.writing() as connection:
            yield connection, self._migrations.state(connection)
            connection.commit()

    def _require_bootstrapped(self, text: str) -> None:
        if self._look().needs_bootstrap:
            raise StoreError(f"{text}; {RUN_BOOTSTRAP}")

    def _execute(self, connection: Connection, names: tuple[str, ...]) -> None:
        if not names:
            return
        self._say(
            f"migrating core on database '{self._settings.pg_database}'..."
            if self._database.kind == "postgres"
            else f"migrating core on {self._database.name}..."
        )
        self._migrations.run(connection, names)
        state = self._migrations.state(connection)
        for name in names:
            waits = " (pending)" if name == names[-1] and state.pending else " (executed)"
            self._say(f"core migrated up to: {name}{waits}")
        many = "migration" if len(names) == 1 else "migrations"
        self._say(f"{len(names)} {many} processed")

    def _again(self, connection: Connection, state: SchemaState) -> None:
        self._migrations.run_again(connection, state)
        self._say(f"{len(state.executed)} executed again")

    def _say(self, text: str) -> None:
        if not self._options.quiet:
            print(text)


def _status(state: SchemaState) -> int:
    if state.needs_bootstrap:
        return NEEDS_BOOTSTRAP_STATUS
    if state.pending:
        return PENDING_STATUS
    return NEW_STATUS if state.new else 0


def _confirmed(question: str) -> bool:
    for _ in range(MOST_QUESTIONS):
        answer = input(f"> {question} [Y/n] ")
        if answer.lower() in ("y", "yes", "n", "no"):
            return answer.lower().startswith("y")
    return False
