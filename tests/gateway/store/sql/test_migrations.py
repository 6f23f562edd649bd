"""`gateway migrations`: words and exit codes; versions with a phase; nodes that do it at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from click.testing import CliRunner
from sqlalchemy import inspect

from gateway.cli import app
from gateway.cli.migrations import Options, Work
from gateway.settings import load_settings
from gateway.store.interface import StoreError
from gateway.store.sql import migrations as migrations_module
from gateway.store.sql.connections import Address
from gateway.store.sql.migrations import REVISIONS, VERSION_TABLE, Migrations, Phase, Revision
from gateway.store.sql.tables import METADATA
from tests.support.databases import fresh_database, settings_of, shared_server
from tests.support.nodes import Place, add, consumer, done, names

KNOWN = [revision.name for revision in REVISIONS]
SCRIPT = """
import sqlalchemy as sa
from alembic import op
revision = {name!r}
down_revision = {before!r}
def upgrade():
    op.create_table({table!r}, sa.Column("id", sa.Integer, primary_key=True), if_not_exists=True)
"""


@pytest.fixture(params=["sqlite", "postgres"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """A database without tables."""
    address = request.getfixturevalue("postgres") if request.param == "postgres" else None
    return Place(address, tmp_path / "test.sqlite")


def environment(place: Place) -> dict[str, str]:
    settings: dict[str, object] = {"prefix": place.path.parent}
    settings |= settings_of(place.address) if place.address else {"sqlite_path": place.path}
    clean = {name: text for name, text in os.environ.items() if not name.startswith(("GATEWAY_", "KONG_"))}
    return clean | {f"GATEWAY_{name.upper()}": str(value) for name, value in settings.items()}


def run(place: Place, *arguments: str) -> tuple[int, str]:
    """`gateway migrations …`: exit code and everything that it said."""
    result = CliRunner().invoke(app, ["migrations", *arguments], env=environment(place), input="")
    return result.exit_code, result.output


def test_life_of_a_database(empty: Place) -> None:
    code, text = run(empty, "list")
    assert (code, text) == (3, "Database needs bootstrapping; run 'gateway migrations bootstrap'\n")
    assert not empty.path.exists(), "looking makes nothing"
    assert run(empty, "status", "-q") == (3, "")
    code, text = run(empty, "up")
    assert code == 1
    assert "Cannot run migrations: database needs bootstrapping; run 'gateway migrations bootstrap'" in text

    code, text = run(empty, "bootstrap")
    assert code == 0
    assert text.startswith("Bootstrapping database...\nmigrating core on ")
    assert text.endswith("Database is up-to-date\n")
    assert f"core migrated up to: {KNOWN[-1]} (executed)\n" in text
    assert run(empty, "bootstrap") == (0, "Database already bootstrapped\n")
    done(empty.store().transact([add(consumer("anna"))]))

    assert run(empty, "list") == (0, f"Executed migrations:\ncore: {', '.join(KNOWN)}\n")
    code, text = run(empty, "status")
    assert code == 0
    assert json.loads(text)["executed_migrations"] == KNOWN
    assert run(empty, "up") == (0, "Database is already up-to-date\n")
    assert run(empty, "up", "--force") == (0, f"{len(KNOWN)} executed again\n")
    assert run(empty, "finish") == (0, "No pending migrations to finish\n")
    assert names(empty.store()) == {"anna"}

    code, text = run(empty, "reset")
    assert code == 1
    assert "not a tty: invoke 'reset' non-interactively with the --yes flag" in text
    assert names(empty.store()) == {"anna"}
    assert run(empty, "reset", "--yes") == (0, "Resetting database...\nDatabase successfully reset\n")
    assert run(empty, "reset", "--yes") == (1, "Database not bootstrapped, nothing to reset\n")
    empty.close()


def test_without_a_database(tmp_path: Path) -> None:
    place = Place(None, tmp_path / "x.sqlite")
    code, text = run(place, "bootstrap", "--set", "database=off")
    assert code == 1
    assert "DATABASE = 'off' (flag)" in text


def test_a_database_that_cannot_be_reached(tmp_path: Path) -> None:
    place = Place(Address("127.0.0.1", 1, "kong", "kong", "very secret"), tmp_path / "unused")
    code, text = run(place, "bootstrap")
    assert code == 1
    assert "127.0.0.1:1" in text
    assert "very secret" not in text
    assert "Traceback" not in text


def test_the_tables_are_those_the_store_uses(place: Place) -> None:
    database = place.database()
    with database.reading() as connection:
        context = MigrationContext.configure(connection, opts={"version_table": VERSION_TABLE})
        differences = [
            difference
            for difference in compare_metadata(context, METADATA)
            if "comment" not in str(difference[0] if isinstance(difference, tuple) else difference[0][0])
        ]
        assert differences == []
        foreign = inspect(connection).get_foreign_keys("foreign_keys")
        deferred = {key["name"]: key["options"].get("deferrable", False) for key in foreign}
        assert deferred == {"foreign_keys_entity": False, "foreign_keys_target": True}
    database.close()


def test_the_list_of_revisions_is_that_of_the_scripts() -> None:
    scripts = ScriptDirectory(
        str(Path(migrations_module.__file__).parent), version_locations=[str(migrations_module.VERSIONS)]
    )
    found = [script.revision for script in scripts.walk_revisions()]
    assert [revision.name for revision in REVISIONS] == found[::-1]


# --- later versions -----------------------------------------------------------------------------------


class Later:
    """Commands of a later version of the gateway, which has more scripts."""

    def __init__(self, place: Place, directory: Path, revisions: Sequence[Revision]) -> None:
        directory.mkdir(exist_ok=True)
        for name in KNOWN:
            shutil.copy(migrations_module.VERSIONS / f"{name}.py", directory)
        before = KNOWN[-1]
        for revision in revisions:
            text = SCRIPT.format(name=revision.name, before=before, table=f"made_by_{revision.name}")
            (directory / f"{revision.name}.py").write_text(text)
            before = revision.name
        self._place = place
        self._revisions = (*REVISIONS, *revisions)
        self._directory = directory

    def run(self, command: str, **options: bool) -> int:
        database = self._place.database()
        settings = load_settings(None, environment(self._place))
        migrations = Migrations(database, self._revisions, self._directory)
        try:
            return Work(settings, database, migrations, Options(**options)).commands[command]()
        finally:
            database.close()


LATER = (
    Revision("902_wider", Phase.UP),
    Revision("903_cleaner", Phase.FINISH),
    Revision("904_other", Phase.UP),
)


def test_up_and_finish(place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done(place.store().transact([add(consumer("anna"))]))
    later = Later(place, tmp_path / "versions", LATER)
    assert later.run("list") == 5
    text = capsys.readouterr().out
    assert "New migrations available:\ncore: 902_wider, 903_cleaner, 904_other\n" in text
    assert "Run 'gateway migrations up' to proceed" in text

    assert later.run("up") == 0
    text = capsys.readouterr().out
    assert "core migrated up to: 902_wider (pending)" in text
    assert "Database has pending migrations; run 'gateway migrations finish' when ready" in text
    assert later.run("status") == 4
    found = json.loads(capsys.readouterr().out)
    assert (found["executed_migrations"], found["pending_migrations"], found["new_migrations"]) == (
        [*KNOWN, "902_wider"],
        ["903_cleaner"],
        ["904_other"],
    )
    with pytest.raises(StoreError, match="Database has pending migrations; run 'gateway migrations finish'"):
        later.run("up")
    assert later.run("up", force=True) == 0
    assert f"{len(KNOWN) + 1} executed again" in capsys.readouterr().out

    assert later.run("finish") == 0
    assert "New migrations available; run 'gateway migrations up' to proceed" in capsys.readouterr().out
    assert later.run("up") == 0
    assert "Database is up-to-date" in capsys.readouterr().out
    assert later.run("list", quiet=True) == 0
    assert capsys.readouterr().out == ""
    # The older version does not touch it any more.
    with pytest.raises(StoreError, match="made by a newer version"):
        place.store()


def test_a_failed_script_leaves_nothing(place: Place, tmp_path: Path) -> None:
    later = Later(place, tmp_path / "versions", LATER)
    script = tmp_path / "versions" / "902_wider.py"
    script.write_text(script.read_text() + "    raise RuntimeError('no')\n")
    with pytest.raises(RuntimeError):
        later.run("up")
    database = place.database()
    with database.reading() as connection:
        assert "made_by_902_wider" not in inspect(connection).get_table_names()
        assert Migrations(database).state(connection).executed == tuple(KNOWN)
    database.close()
    place.store()


def test_a_node_with_new_migrations_is_refused_and_pending_ones_are_none_of_its_business(
    shared: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = Later(shared, tmp_path / "versions", LATER[:2])
    monkeypatch.setattr(Migrations.__init__, "__defaults__", (later._revisions, later._directory))
    with pytest.raises(StoreError, match="New migrations available; run 'gateway migrations up' to proceed"):
        shared.store()
    assert later.run("up", quiet=True) == 0
    shared.store()


def test_sqlite_is_upgraded_by_the_gateway(
    embedded: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done(embedded.store().transact([add(consumer("anna"))]))
    later = Later(embedded, tmp_path / "versions", LATER)
    monkeypatch.setattr(Migrations.__init__, "__defaults__", (later._revisions, later._directory))
    assert names(embedded.store()) == {"anna"}
    assert later.run("list", quiet=True) == 0


# --- at once ------------------------------------------------------------------------------------------


def test_bootstrap_of_several_nodes_at_once(empty: Place) -> None:
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", "gateway", "migrations", "bootstrap"],
            env=environment(empty),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(3)
    ]
    texts = [process.communicate(timeout=120)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * 3, texts
    assert sorted(text.splitlines()[0] for text in texts) == [
        "Bootstrapping database...",
        *["Database already bootstrapped"] * 2,
    ]
    empty.store()
    empty.close()


def test_bootstrap_of_a_schema_by_several_nodes_at_once() -> None:
    """The schema does not exist yet, which is where the lock's name comes from."""
    with fresh_database() as address:
        place = Place(
            Address(**{**{n: getattr(address, n) for n in address.__dataclass_fields__}, "schema": "own"}),
            Path("unused"),
        )
        problems: list[BaseException] = []
        start = threading.Barrier(4)

        def bootstrap() -> None:
            database = place.database()
            try:
                start.wait(30)
                with database.writing() as connection:
                    state = Migrations(database).state(connection)
                    if state.needs_bootstrap:
                        database.make_schema(connection)
                        Migrations(database).run(connection, state.new)
                    connection.commit()
            except BaseException as error:
                problems.append(error)
            finally:
                database.close()

        threads = [threading.Thread(target=bootstrap) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert not problems
        tables = shared_server().execute(
            "SELECT schemaname FROM pg_tables WHERE tablename = 'entities'", address.database
        )
        assert tables == [("own",)]
