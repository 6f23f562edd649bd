"""PostgreSQL: outages, silence, TLS, notifications, the last known state of a node."""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from gateway.store.errors import StoreUnavailable
from gateway.store.interface import StoreError
from gateway.store.sql.change_log import BEGINNING
from gateway.store.sql.connections import Address
from gateway.store.sql.follower import CHANNEL
from gateway.store.sql.postgres import PostgresDatabase
from gateway.store.sql.replica import Replica
from gateway.store.sql.store import SqlStore
from tests.support.databases import Interference, make_authority, shared_server
from tests.support.gateway import wait_for
from tests.support.nodes import Place, add, add_unless_taken, consumer, done, names


@pytest.fixture
def between(shared: Place) -> Iterator[Interference]:
    """The database, with something in between that can fail."""
    assert shared.address is not None
    with Interference(dataclasses.replace(shared.address, timeout=1.0)) as interference:
        yield interference


def place_behind(between: Interference, tmp_path: Path) -> Place:
    return Place(between.address, tmp_path / "unused")


def recovered(store: SqlStore) -> bool:
    try:
        store.catch_up()
    except StoreUnavailable:
        return False
    return True


# --- start --------------------------------------------------------------------------------------------


def test_database_without_tables(postgres: Address) -> None:
    store = SqlStore(PostgresDatabase(postgres))
    with pytest.raises(StoreError) as caught:
        store.open()
    store.close()
    assert "Database needs bootstrapping" in str(caught.value)
    assert "run 'gateway migrations bootstrap'" in str(caught.value)


def test_newer_tables(shared: Place) -> None:
    assert shared.address is not None
    shared_server().execute("UPDATE schema_version SET version_num = '999'", shared.address.database)
    with pytest.raises(StoreError, match="made by a newer version"):
        shared.store()


def test_no_server_and_no_last_known_state(tmp_path: Path, shared: Place) -> None:
    assert shared.address is not None
    nowhere = dataclasses.replace(shared.address, port=1, password="very secret")  # noqa: S106
    store = SqlStore(PostgresDatabase(nowhere), replica=Replica(tmp_path / "replica.sqlite"))
    with pytest.raises(StoreError, match=r"127\.0\.0\.1:1 .*there is no last known state") as caught:
        store.open()
    store.close()
    assert "very secret" not in str(caught.value)


def test_wrong_password_is_told_without_it(shared: Place) -> None:
    assert shared.address is not None
    wrong = dataclasses.replace(shared.address, password="guessed")  # noqa: S106
    store = SqlStore(PostgresDatabase(wrong))
    with pytest.raises(StoreError, match="password authentication failed") as caught:
        store.open()
    store.close()
    assert "guessed" not in str(caught.value)
    assert "guessed" not in repr(wrong)


def test_schema_of_its_own(postgres: Address) -> None:
    address = dataclasses.replace(postgres, schema="Gate way")
    database = PostgresDatabase(address)
    with database.writing() as connection:
        database.make_schema(connection)
        connection.commit()
    database.close()
    place = Place(address, Path("unused"))
    place.bootstrap()
    done(place.store().transact([add(consumer("anna"))]))
    assert names(place.store()) == {"anna"}
    place.close()
    tables = shared_server().execute(
        "SELECT DISTINCT schemaname FROM pg_tables WHERE tablename = 'entities'", postgres.database
    )
    assert tables == [("Gate way",)]


# --- outages ------------------------------------------------------------------------------------------


def test_connections_that_were_closed_meanwhile_are_made_anew(between: Interference, tmp_path: Path) -> None:
    place = place_behind(between, tmp_path)
    store = place.store()
    done(store.transact([add(consumer("anna"))]))
    between.cut()
    done(store.transact([add(consumer("ben"))]))
    between.cut()
    assert not store.catch_up()
    assert store.is_reachable
    assert names(store) == {"anna", "ben"}
    place.close()


def test_outage_and_return(between: Interference, shared: Place, tmp_path: Path) -> None:
    place = place_behind(between, tmp_path)
    store, other = place.store(), shared.store()
    done(store.transact([add(consumer("anna"))]))
    between.refuse()
    with pytest.raises(StoreUnavailable, match="cannot be used"):
        store.transact([add(consumer("ben"))])
    assert not store.is_reachable
    assert names(store) == {"anna"}
    done(other.transact([add(consumer("carl"))]))
    between.accept_again()
    wait_for(lambda: recovered(store), what="the database is found again")
    assert store.is_reachable
    assert names(store) == {"anna", "carl"}
    done(store.transact([add(consumer("dora"))]))
    place.close()


def test_after_a_failure_others_are_told_at_once(between: Interference, tmp_path: Path) -> None:
    now = [0.0]
    place = place_behind(between, tmp_path)
    store = place.store(clock=lambda: now[0])
    between.refuse()
    reasons = []
    for _ in range(3):
        with pytest.raises(StoreUnavailable) as caught:
            store.catch_up()
        reasons.append(str(caught.value))
    assert len(set(reasons)) == 1
    between.accept_again()
    with pytest.raises(StoreUnavailable):
        store.catch_up()  # no time has passed
    now[0] += 10
    assert store.catch_up() is False
    assert store.is_reachable
    place.close()


@pytest.mark.parametrize("use", ["transact", "catch_up", "open"])
def test_a_server_that_does_not_answer_holds_nobody_for_ever(
    between: Interference, tmp_path: Path, use: str
) -> None:
    place = place_behind(between, tmp_path)
    store = place.store()
    between.freeze()
    finished = threading.Event()
    failures: list[Exception] = []

    def work() -> None:
        try:
            if use == "transact":
                store.transact([add(consumer("anna"))])
            elif use == "catch_up":
                store.catch_up()
            else:
                place.store()
        except (StoreUnavailable, StoreError) as error:
            failures.append(error)
        finished.set()

    thread = threading.Thread(target=work)
    thread.start()
    assert finished.wait(20)
    thread.join()
    assert len(failures) == 1
    between.thaw()
    wait_for(lambda: recovered(store), what="the database is found again")
    assert names(store) == set(), "what was given up did not happen later"
    place.close()


@pytest.mark.parametrize("arrived", [True, False])
def test_lost_answer_to_a_commit(between: Interference, shared: Place, tmp_path: Path, arrived: bool) -> None:
    """Whether a commit happened is found out; it is neither reported wrongly nor done twice."""
    place = place_behind(between, tmp_path)
    store = place.store()
    done(store.transact([add(consumer("anna"))]))
    if arrived:
        between.swallow = b"COMMIT"
        done(store.transact([add_unless_taken("ben")]))
        assert between.swallow is None
    else:
        assert shared.address is not None
        shared_server().execute(
            "CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END $$",
            shared.address.database,
        )
        shared_server().execute(
            "CREATE CONSTRAINT TRIGGER fail AFTER INSERT ON entities DEFERRABLE INITIALLY DEFERRED "
            "FOR EACH ROW EXECUTE FUNCTION fail()",
            shared.address.database,
        )
        with pytest.raises(StoreUnavailable):
            store.transact([add_unless_taken("ben")])
    expected = {"anna", "ben"} if arrived else {"anna"}
    wait_for(lambda: recovered(store), what="the database is found again")
    assert names(store) == names(shared.store()) == expected
    place.close()


def test_lock_held_by_another_node_for_too_long(shared: Place) -> None:
    assert shared.address is not None
    impatient = Place(dataclasses.replace(shared.address, timeout=1.0), Path("unused"))
    store = impatient.store()
    database = PostgresDatabase(shared.address)
    store._database._lock_patience = 0.5  # type: ignore[attr-defined]
    with (
        database.writing(),
        pytest.raises(StoreUnavailable, match="held by the transaction of another node"),
    ):
        store.transact([add(consumer("anna"))])
    database.close()
    wait_for(lambda: recovered(store), what="the pause is over")
    done(store.transact([add(consumer("anna"))]))
    impatient.close()


def test_killed_server(shared: Place, tmp_path: Path) -> None:
    """The whole story: nodes keep the last state, also over a restart, and catch up when it is back."""
    server = shared_server()
    path = tmp_path / "replica.sqlite"
    store, other = shared.store(replica=Replica(path)), shared.store()
    told = threading.Event()
    store.follow(told.set)
    done(other.transact([add(*(consumer(f"name {number}") for number in range(20)))]))
    store.catch_up()
    done(store.transact([add(consumer("anna"))]))
    before = store.configuration
    server.kill()
    try:
        with pytest.raises(StoreUnavailable):
            store.transact([add(consumer("ben"))])
        assert store.configuration is before
        restarted = shared.store(replica=Replica(path))
        assert not restarted.is_reachable
        assert restarted.configuration == before
        assert restarted.configuration.hash == before.hash
        with pytest.raises(StoreUnavailable):
            restarted.transact([add(consumer("ben"))])
    finally:
        server.start()
    wait_for(lambda: recovered(other), what="the database is found again")
    done(other.transact([add(consumer("carl"))]))
    told.clear()
    wait_for(told.is_set, what="the node is told again")
    for one in (store, restarted):
        wait_for(lambda one=one: recovered(one), what="the database is found again")
        assert names(one) == names(other)
        assert one.is_reachable


# --- following ----------------------------------------------------------------------------------------


def test_notification_comes_at_once(shared: Place) -> None:
    one = shared.store()
    two = shared.store(look_every=3600)
    told = threading.Event()
    two.follow(told.set)
    wait_for(told.is_set, what="the follower is connected")
    told.clear()
    done(one.transact([add(consumer("anna"))]))
    wait_for(told.is_set, what="the notification")
    assert two.catch_up()


def test_a_lost_notification_is_made_good_by_looking(shared: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PostgresDatabase, "announce", lambda *_: None)
    one, two = shared.store(), shared.store(look_every=0.2)
    told = threading.Event()
    two.follow(told.set)
    wait_for(told.is_set, what="the follower is connected")
    told.clear()
    done(one.transact([add(consumer("anna"))]))
    wait_for(told.is_set, what="the look at the database")
    assert two.catch_up()


def test_others_are_notified_only_of_what_is_committed(shared: Place) -> None:
    assert shared.address is not None
    store = shared.store()
    with shared.address.connect() as listener:
        listener.autocommit = True
        listener.execute(f"LISTEN {CHANNEL}")
        store.transact([add_unless_taken("anna"), add_unless_taken("anna")])
        store.transact([add_unless_taken("anna")])
        assert [one.payload for one in listener.notifies(timeout=1.5)] == ["1"]


def test_a_frozen_follower_ends_with_the_store(between: Interference, tmp_path: Path) -> None:
    place = place_behind(between, tmp_path)
    store = place.store()
    told = threading.Event()
    store.follow(told.set)
    wait_for(told.is_set, what="the follower is connected")
    told.clear()
    between.freeze()
    wait_for(told.is_set, what="the silence is noticed")
    place.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "postgres-follow"]


# --- the last known state -----------------------------------------------------------------------------


def test_replica_gets_only_what_changes(shared: Place, tmp_path: Path) -> None:
    path = tmp_path / "replica.sqlite"
    store = shared.store(replica=Replica(path))
    anna = consumer("anna")
    done(store.transact([add(anna, consumer("ben"))]))
    assert path.stat().st_mode & 0o777 == 0o600
    with sqlite3.connect(path) as connection:  # a mark that a complete copy would remove
        connection.execute("UPDATE entities SET expires_at = 7 WHERE document LIKE '%ben%'")
    connection.close()
    done(store.transact([add(consumer("anne", id=anna.id)), add(consumer("carl"))]))
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT count(*) FROM entities WHERE expires_at = 7").fetchone() == (1,)
    connection.close()
    found = Replica(path).load()
    assert found is not None
    assert found[0] == store.configuration
    # The next start finds it up to date, or makes it so.
    done(shared.store().transact([add(consumer("dora"))]))
    later = shared.store(replica=Replica(path))
    found = Replica(path).load()
    assert found is not None
    assert found[0] == later.configuration


@pytest.mark.parametrize("damage", [b"", b"not a database" * 1000])
def test_unusable_replica_is_made_anew(shared: Place, tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "replica.sqlite"
    path.write_bytes(damage)
    store = shared.store(replica=Replica(path))
    done(store.transact([add(consumer("anna"))]))
    found = Replica(path).load()
    assert found is not None
    assert found[0] == store.configuration


def test_replica_that_cannot_be_written_is_only_a_pity(
    shared: Place, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "replica.sqlite"
    path.mkdir()
    with caplog.at_level(logging.WARNING):
        store = shared.store(replica=Replica(path))
        done(store.transact([add(consumer("anna"))]))
    assert "the last known state cannot be kept" in caplog.text
    path.rmdir()
    done(store.transact([add(consumer("ben"))]))
    found = Replica(path).load()
    assert found is not None
    assert found[0] == store.configuration
    assert found[1] != BEGINNING


# --- TLS ----------------------------------------------------------------------------------------------


def test_tls(shared: Place, tmp_path: Path) -> None:
    assert shared.address is not None
    authority, certificate = make_authority(tmp_path)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    stranger, _ = make_authority(elsewhere)
    with Interference(shared.address, tls=certificate) as between:

        def attempt(**options: object) -> None:
            address = dataclasses.replace(between.address, **options)  # type: ignore[arg-type]
            place = Place(address, tmp_path / "unused")
            try:
                place.store()
            finally:
                place.close()

        attempt()
        assert between.encrypted == 0
        attempt(tls=True)
        attempt(tls=True, verify=True, authorities=str(authority))
        assert between.encrypted == 2
        with pytest.raises(StoreError, match="certificate verify failed"):
            attempt(tls=True, verify=True, authorities=str(stranger))
        with pytest.raises(StoreError, match=r"certificate verify failed|does not exist|no such file"):
            attempt(tls=True, verify=True)
        with pytest.raises(StoreError, match="localhost"):
            attempt(tls=True, verify=True, authorities=str(authority), host="localhost")


def test_no_fallback_to_an_open_connection(shared: Place) -> None:
    """The server of the tests speaks no TLS."""
    assert shared.address is not None
    place = Place(dataclasses.replace(shared.address, tls=True), Path("unused"))
    with pytest.raises(StoreError, match="SSL"):
        place.store()
    place.close()


# --- sessions -----------------------------------------------------------------------------------------


def test_session_settings(shared: Place) -> None:
    assert shared.address is not None
    with shared.address.connect() as connection:
        assert connection.execute("SHOW lock_timeout").fetchone() == ("4s",)
        assert connection.execute("SHOW statement_timeout").fetchone() == ("4500ms",)
        assert connection.execute("SHOW idle_in_transaction_session_timeout").fetchone() == ("3min",)
        started = time.monotonic()
        connection.patience = 0.3
        with pytest.raises(psycopg.OperationalError, match=r"no answer within 0\.3 s"):
            connection.execute("SELECT pg_sleep(20)")
        assert time.monotonic() - started < 10
        assert connection.closed
