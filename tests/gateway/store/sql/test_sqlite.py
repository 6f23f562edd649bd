"""SQLite: its file, what can be wrong with it, and what an operator is told then."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from gateway.store.errors import StoreUnavailable
from gateway.store.interface import StoreError
from gateway.store.sql.sqlite import SqliteDatabase
from gateway.store.sql.store import SqlStore
from tests.support.nodes import Place, add, consumer, done, names


def refusal(path: Path) -> str:
    """The text with which a store is not opened."""
    store = SqlStore(SqliteDatabase(path))
    with pytest.raises(StoreError) as caught:
        store.open()
    store.close()
    return str(caught.value)


def test_the_first_start_makes_file_and_tables(tmp_path: Path) -> None:
    path = tmp_path / "new" / "directory" / "gateway.sqlite"
    before = os.umask(0)
    try:
        store = SqlStore(SqliteDatabase(path))
        store.open()
        done(store.transact([add(consumer("anna"))]))
    finally:
        os.umask(before)
    modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == dict.fromkeys(("gateway.sqlite", "gateway.sqlite-wal", "gateway.sqlite-shm"), 0o600)
    store.close()
    again = SqlStore(SqliteDatabase(path))
    again.open()
    assert names(again) == {"anna"}
    again.close()


def test_settings_of_the_connection(embedded: Place) -> None:
    with SqliteDatabase(embedded.path).reading() as connection:
        found = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 30000}


def test_file_of_another_program(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE letters (id)")
    connection.close()
    text = refusal(path)
    assert str(path) in text
    assert "belongs to another program; choose another SQLITE_PATH" in text


def test_not_a_database(tmp_path: Path) -> None:
    path = tmp_path / "x.sqlite"
    path.write_bytes(b"services: []\n" * 1000)
    text = refusal(path)
    assert str(path) in text
    assert "is not a database" in text
    assert "move the file away" in text
    assert path.read_bytes().startswith(b"services"), "left alone"


def test_damaged_file(embedded: Place) -> None:
    store = embedded.store()
    done(store.transact([add(*(consumer(f"name {number}") for number in range(500)))]))
    embedded.close()
    data = bytearray(embedded.path.read_bytes())
    data[4096:] = b"\xa5" * (len(data) - 4096)
    embedded.path.write_bytes(data)
    text = refusal(embedded.path)
    assert f"{embedded.path} is damaged" in text
    assert ".recover" in text


def test_newer_tables(embedded: Place) -> None:
    with sqlite3.connect(embedded.path) as connection:
        connection.execute("UPDATE schema_version SET version_num = '999_tomorrow'")
    connection.close()
    text = refusal(embedded.path)
    assert str(embedded.path) in text
    assert "made by a newer version of the gateway" in text
    assert "999_tomorrow" in text


def test_a_directory_instead_of_a_file(tmp_path: Path) -> None:
    assert "is not a file; choose another SQLITE_PATH" in refusal(tmp_path)


def test_no_right_to_write(tmp_path: Path) -> None:
    """As another user: for root there are no rights."""
    directory = tmp_path / "locked"
    directory.mkdir()
    # What is imported first lies, maybe, where only root may read.
    script = f"""
import os
from pathlib import Path
from gateway.store.sql.sqlite import SqliteDatabase
from gateway.store.sql.store import SqlStore
from gateway.store.interface import StoreError
if os.geteuid() == 0:
    os.setgroups([]); os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)
try:
    SqlStore(SqliteDatabase(Path({str(directory / "x.sqlite")!r}))).open()
except StoreError as error:
    print(error)
"""
    directory.chmod(0o555)
    for parent in [*directory.parents][:-2]:
        parent.chmod(parent.stat().st_mode | 0o111)
    result = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60
    )
    assert "Permission denied" in result.stdout
    assert "choose another SQLITE_PATH" in result.stdout


@contextmanager
def full_disk(store: SqlStore) -> Iterator[None]:
    """Let the file grow no more."""
    database = store._database
    assert isinstance(database, SqliteDatabase)
    with database.reading() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    try:
        yield
    finally:
        with database.reading() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")


def test_full_disk_and_recovery(embedded: Place) -> None:
    store = embedded.store()
    done(store.transact([add(consumer("anna"))]))
    before = store.configuration
    with full_disk(store):
        with pytest.raises(StoreUnavailable, match="the disk is full; make room") as caught:
            store.transact([add(*(consumer(f"name {number}" * 50) for number in range(200)))])
        assert str(embedded.path) in str(caught.value)
        assert not store.is_reachable
        assert store.configuration is before
    done(store.transact([add(consumer("ben"))]))
    assert store.is_reachable
    assert names(store) == names(embedded.store()) == {"anna", "ben"}


def test_another_process_holds_the_file(embedded: Place) -> None:
    store = SqlStore(SqliteDatabase(embedded.path, lock_patience=0.1))
    store.open()
    other = sqlite3.connect(embedded.path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match=r"held by another process for more than 0\.1 s"):
        store.transact([add(consumer("anna"))])
    other.execute("ROLLBACK")
    other.close()
    done(store.transact([add(consumer("anna"))]))
    store.close()


def test_file_removed_under_a_running_gateway(embedded: Place) -> None:
    """What is open stays usable; the next start begins anew. Nothing breaks."""
    store = embedded.store()
    done(store.transact([add(consumer("anna"))]))
    with sqlite3.connect(embedded.path) as connection:
        connection.execute("DROP TABLE state")
    connection.close()
    with pytest.raises(StoreUnavailable, match="no such table"):
        store.transact([add(consumer("ben"))])
    assert names(store) == {"anna"}
