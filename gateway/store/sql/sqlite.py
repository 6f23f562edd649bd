"""SQLite: one file, one connection that writes, other processes (the command line) beside it."""

from __future__ import annotations

import errno
import os
import sqlite3
import stat
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, create_engine, event
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from gateway.run_directory import RunDirectory
from gateway.store.interface import StoreError
from gateway.store.sql.change_log import Position
from gateway.store.sql.database import driver_text

LOCK_PATIENCE = 30.0
"""seconds that one process waits for another one's transaction"""
CACHE_KIB = 16 * 1024
"""most memory for pages of the file, in KiB; the indexes of 100,000 entities fit in"""
FILE_MODE = 0o600


class SqliteDatabase:
    """The database in a file. The file is made when it is opened for the first time."""

    kind = "sqlite"
    is_shared = False

    def __init__(
        self,
        path: Path,
        *,
        owner: tuple[int, int] | None = None,
        run_directory: RunDirectory | None = None,
        look_every: float = 0.5,
        lock_patience: float = LOCK_PATIENCE,
        synchronous: str = "FULL",
    ) -> None:
        """`owner`: user and group id that a new file is given; `run_directory`: made first, where the file is
        to lie in it; `look_every`: seconds between two looks for what other processes wrote; `synchronous`:
        NORMAL survives a killed process, FULL a power failure too."""
        self.path = path
        self.name = str(path)
        self._owner = owner
        self._run_directory = run_directory
        self._look_every = look_every
        self._lock_patience = lock_patience
        self._synchronous = synchronous
        self._engine = create_engine(
            "sqlite://",
            creator=self._connect,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=0,
            pool_timeout=lock_patience,
            hide_parameters=True,  # they hold secrets
        )
        event.listen(self._engine, "begin", _begin)
        event.listen(self._engine, "checkin", _end_transaction)

    def prepare(self) -> None:
        """Make the file if there is none, for its owner only. Raises StoreError."""
        try:
            if self._run_directory and not self.path.parent.exists():
                self._run_directory.prepare(self._owner)
            self.path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            with suppress(FileExistsError):
                descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, FILE_MODE)
                try:
                    if self._owner:
                        os.fchown(descriptor, *self._owner)
                finally:
                    os.close(descriptor)
            found = self.path.stat()
        except OSError as error:
            raise StoreError(self._unusable(error)) from None
        if not stat.S_ISREG(found.st_mode):
            raise StoreError(f"the SQLite database {self.path} is not a file; choose another SQLITE_PATH")
        for path, what in ((self.path, "file"), (self.path.parent, "directory")):
            if not os.access(path, os.W_OK):
                raise StoreError(
                    f"the SQLite database {self.path} cannot be written: this user (id {os.geteuid()}) may "
                    f"not write to the {what} {path}; give it the right, or choose another SQLITE_PATH"
                )

    def is_there(self) -> bool:
        return self.path.exists()

    def make_schema(self, connection: Connection) -> None:
        """The file is all there is."""

    def _unusable(self, error: OSError) -> str:
        reason = "the disk is full" if error.errno == errno.ENOSPC else error.strerror
        return (
            f"the SQLite database {self.path} cannot be made: {reason}; give this user (id {os.geteuid()}) "
            f"the right to write to {self.path.parent}, or choose another SQLITE_PATH"
        )

    def _connect(self) -> sqlite3.Connection:
        connection = sqlite3.connect(
            f"{self.path.absolute().as_uri()}?mode=rw",
            uri=True,
            timeout=self._lock_patience,
            isolation_level=None,
            check_same_thread=False,
        )
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute(f"PRAGMA cache_size = -{CACHE_KIB}")
        except BaseException:
            connection.close()
            raise
        return connection

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        with self._engine.connect() as connection:
            yield connection.execution_options(immediate=True)

    def announce(self, connection: Connection, position: Position) -> None:
        """Other processes look at the file."""

    def is_outage(self, error: SQLAlchemyError) -> bool:
        return False

    def is_stale(self, error: SQLAlchemyError) -> bool:
        return False

    def explain(self, error: SQLAlchemyError) -> str:
        text = driver_text(error)
        where = f"the SQLite database {self.path}"
        code = str(getattr(error.orig, "sqlite_errorname", "")) if isinstance(error, DBAPIError) else ""
        if code.startswith("SQLITE_FULL"):
            return f"{where} cannot grow: the disk is full; make room on it"
        if code.startswith("SQLITE_BUSY"):
            return f"{where} is held by another process for more than {self._lock_patience:g} s ({text})"
        if code.startswith("SQLITE_NOTADB"):
            return (
                f"{where} is not a database ({text}); move the file away, and a new database is made, or "
                "choose another SQLITE_PATH"
            )
        if code.startswith("SQLITE_CORRUPT") or "malformed" in text:
            return (
                f"{where} is damaged ({text}); stop the gateway and put a copy of the file in its place, or "
                f"save what can be read: sqlite3 {self.path} .recover | sqlite3 new.sqlite"
            )
        if code.startswith(("SQLITE_READONLY", "SQLITE_CANTOPEN", "SQLITE_PERM", "SQLITE_AUTH")):
            return (
                f"{where} cannot be written ({text}); this user (id {os.geteuid()}) needs the right to "
                f"write to it and to {self.path.parent}"
            )
        return f"{where}: {text}"

    def follow(
        self, known: Callable[[], Position], on_change: Callable[[], None]
    ) -> Callable[[], None] | None:
        ended = threading.Event()
        thread = threading.Thread(
            target=self._watch, args=(ended, known, on_change), name="sqlite-follow", daemon=True
        )
        thread.start()

        def end() -> None:
            ended.set()
            thread.join(2 * self._lock_patience)

        return end

    def _watch(
        self, ended: threading.Event, known: Callable[[], Position], on_change: Callable[[], None]
    ) -> None:
        version: Any = None
        connection: sqlite3.Connection | None = None
        while not ended.wait(self._look_every):
            try:
                connection = connection or self._connect()
                (now,) = connection.execute("PRAGMA data_version").fetchone()
                if now == version:
                    continue
                version = now
                row = connection.execute("SELECT sequence, hash FROM state").fetchone()
                if Position(*row) != known():
                    on_change()
            except sqlite3.Error:  # whoever uses the store is told why
                if connection is not None:
                    connection.close()
                connection, version = None, None
        if connection is not None:
            connection.close()

    def close(self) -> None:
        self._engine.dispose()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")


def _end_transaction(connection: sqlite3.Connection | None, _: object) -> None:
    """A COMMIT that a deferred constraint refuses leaves the transaction open, which SQLAlchemy does not
    expect."""
    if connection is not None and connection.in_transaction:
        connection.rollback()
