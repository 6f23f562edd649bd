"""gateway config parse, db_import, db_export, init: what needs no running gateway."""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner, Result

from gateway.cli import app
from gateway.cli.config_files import TEMPLATE
from gateway.settings import sources as sources_module
from gateway.store import load_declarative
from tests.support.every_entity import every_entity


@pytest.fixture(autouse=True)
def _somewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in os.environ:
        if name.startswith(("GATEWAY_", "KONG_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GATEWAY_PREFIX", str(tmp_path / "prefix"))
    monkeypatch.setattr(sources_module, "CONF_LOCATIONS", ())
    monkeypatch.chdir(tmp_path)


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["config", *arguments], catch_exceptions=False)


def failed(*arguments: str) -> str:
    result = run(*arguments)
    assert result.exit_code == 1
    return result.stderr


def write(text: str, name: str = "kong.yml") -> str:
    Path(name).write_text(text)
    return name


def test_parse() -> None:
    result = run("parse", write("_format_version: '3.0'\nservices:\n- name: a\n  host: h\n"))
    assert (result.exit_code, result.output) == (0, "parse successful\n")
    text = failed("parse", write("_format_version: '3.0'\nservices:\n- name: a\n  hots: h\n"))
    assert text.startswith("Error: Failed parsing:\n")
    assert "kong.yml:4" in text
    assert "cannot read nothing.yml: No such file" in failed("parse", "nothing.yml")


def test_init() -> None:
    assert run("init").exit_code == 0
    assert Path("kong.yml").read_text() == TEMPLATE
    assert run("parse", "kong.yml").output == "parse successful\n"
    assert failed("init") == "Error: kong.yml already exists.\nWill not overwrite it.\n"
    assert run("init", "other.yml").exit_code == 0
    assert run("init", "-").stdout == TEMPLATE


def test_the_examples_of_the_template_are_right() -> None:
    lines = []
    for line in TEMPLATE.splitlines():
        code = line.removeprefix("# ")
        if code != line and re.match(r"\s*(- )?[a-z_]+:( |$)", code):
            lines.append(code)
        elif not line.startswith("#"):
            lines.append(line)
    document = yaml.safe_load("\n".join(lines))
    assert document.pop("plugins"), "no plugin is there yet"
    assert set(document) >= {"_transform", "services", "routes", "upstreams", "consumers", "certificates"}
    assert len(load_declarative(yaml.safe_dump(document))) == 11


def test_import_and_export_are_each_other() -> None:
    write(yaml.safe_dump(every_entity()))
    assert "import successful (30 created, 0 updated, 0 unchanged)" in run("db_import", "kong.yml").stdout
    assert run("db_export", "first.yml").exit_code == 0
    assert stat.S_IMODE(Path("first.yml").stat().st_mode) == 0o600
    result = run("db_import", "first.yml", "--set", "sqlite_path=other.sqlite")
    assert "30 created" in result.stdout
    assert run("db_export", "second.yml", "--set", "sqlite_path=other.sqlite").exit_code == 0
    first, second = (
        re.sub(r"updated_at: .*", "", Path(name).read_text()) for name in ("first.yml", "second.yml")
    )
    assert first == second
    assert "(0 created, 0 updated, 30 unchanged)" in run("db-import", "second.yml").stdout
    assert run("db_export", "-").stdout == Path("first.yml").read_text()


def test_an_export_overwrites_nothing() -> None:
    write("mine")
    assert failed("db_export") == "Error: kong.yml already exists.\nWill not overwrite it.\n"
    assert Path("kong.yml").read_text() == "mine"
    assert "cannot write nowhere/x.yml" in failed("db_export", "nowhere/x.yml")


def test_an_import_merges() -> None:
    run(
        "db_import",
        write("_format_version: '3.0'\nservices: [{name: a, host: h, retries: 3}, {name: b, host: h}]"),
    )
    result = run(
        "db_import", write("_format_version: '3.0'\nservices: [{name: a, host: i}, {name: c, host: h}]")
    )
    assert result.stdout.endswith("import successful (1 created, 1 updated, 0 unchanged)\n")
    exported = {one["name"]: one for one in yaml.safe_load(run("db_export", "-").stdout)["services"]}
    assert {name: one["host"] for name, one in exported.items()} == {"a": "i", "b": "h", "c": "h"}
    assert exported["a"]["retries"] == 5, "what the file does not say is the default"


def test_a_mistake_changes_nothing() -> None:
    text = failed("db_import", write("_format_version: '3.0'\nservices: [{name: a}]"))
    assert text.startswith("Error: Failed parsing:\n")
    assert not list(Path("prefix").glob("*.sqlite")), "the database was not even made"


def test_without_a_database() -> None:
    write("_format_version: '3.0'")
    for arguments in (("db_import", "kong.yml"), ("db_export", "x.yml")):
        text = failed(*arguments, "--set", "database=off")
        assert f"'config {arguments[0]}' only works with a database." in text


def test_a_database_that_cannot_be_used() -> None:
    Path("prefix").mkdir()
    Path("prefix/sluicegate.sqlite").write_text("this is no database at all, but long enough to be looked at")
    write("_format_version: '3.0'")
    for arguments in (("db_import", "kong.yml"), ("db_export", "x.yml")):
        text = failed(*arguments)
        assert "is not a database" in text
        assert "Traceback" not in text
    text = failed(
        "db_export", "x.yml", "--set", "database=postgres", "--set", "pg_host=127.0.0.1", "--set", "pg_port=1"
    )
    assert text.startswith("Error: ")
    assert not Path("x.yml").exists()
