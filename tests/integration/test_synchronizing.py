"""gateway dump, diff, apply, and config db_import, db_export, against real gateways on every store."""

from __future__ import annotations

import itertools
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.store import load_declarative
from tests.support.every_entity import every_entity
from tests.support.gateway import Gateway, wait_for
from tests.support.stores import SQL_STORES, STORES, admin_of, empty, gateway_on, run_here
from tests.support.upstreams import Upstream

DIFFERENT = 2


@pytest.fixture(scope="module", params=STORES)
def gateway(request: pytest.FixtureRequest) -> Iterator[Gateway]:
    with gateway_on(request.param) as running:
        yield running


@pytest.fixture(autouse=True)
def _nothing_configured(request: pytest.FixtureRequest) -> None:
    if "gateway" in request.fixturenames:
        empty(request.getfixturevalue("gateway"))


def written(directory: Path, document: dict[str, Any]) -> Path:
    file = directory / "kong.yml"
    file.write_text(yaml.safe_dump({"_format_version": "3.0", **document}))
    return file


def apply(gateway: Gateway, document: dict[str, Any], *options: str, code: int = 0) -> str:
    """`gateway apply`; what it prints."""
    result = run_here(gateway, "apply", "-f", str(written(gateway.prefix, document)), *options)
    assert result.exit_code == code, result.stderr
    return result.stdout


def dump(gateway: Gateway) -> dict[str, Any]:
    """What a gateway has, without what passes."""
    result = run_here(gateway, "dump")
    assert result.exit_code == 0, result.stderr
    return lasting(result.stdout)


def lasting(text: str) -> dict[str, Any]:
    """A declarative text by type and id, without time stamps."""
    document = yaml.safe_load(text)
    found = {}
    for name, entities in document.items():
        if isinstance(entities, list):
            for entity in entities:
                entity.pop("updated_at", None)
                if entity.get("expires_at"):
                    entity["expires_at"] = "some day"
            found[name] = {entity["id"]: entity for entity in entities}
    return found


def test_every_entity_is_applied_once(gateway: Gateway) -> None:
    document = every_entity()
    printed = apply(gateway, document)
    assert "+ service secure" in printed
    assert "To do: create 30" in printed
    assert apply(gateway, document, "--prune") == "No differences.\n"
    assert apply(gateway, document, "--prune", "--dry-run") == "No differences.\n"
    with admin_of(gateway) as admin:
        assert admin.services.get("secure")["client_certificate"] == {
            "id": "0ce00000-0000-4000-8000-000000000000"
        }
        assert {one["name"] for one in admin.services("secure").routes.list()} == {"whole", None}
        assert [one["kid"] for one in admin.key_sets("set").keys.list()] == ["1"]
        (basic,) = admin.basic_auths.list()
    # As it is hashed when it is created the usual way.
    wanted = load_declarative(yaml.safe_dump({**document, "_format_version": "3.0"}))
    if basic["consumer"]["id"] in wanted.of("consumers"):
        (expected,) = wanted.of("basicauth_credentials").values()
        assert basic["password"] == getattr(expected, "password")  # noqa: B009
    text = run_here(gateway, "dump").stdout
    result = run_here(gateway, "diff", "-f", str(written(gateway.prefix, yaml.safe_load(text))), "--prune")
    assert (result.exit_code, result.stdout) == (0, "No differences.\n")


def test_changes_are_live(gateway: Gateway) -> None:
    with Upstream() as upstream:
        service = {
            "name": "s",
            "host": "127.0.0.1",
            "port": upstream.port,
            "routes": [{"name": "r", "paths": ["/a"]}],
        }
        apply(gateway, {"services": [service]})
        assert gateway.request("/a/x")[0] == 200
        service["routes"] = [{"name": "r", "paths": ["/b"]}]
        printed = apply(gateway, {"services": [service]})
        assert printed == '~ route r\n    paths: ["/a"] -> ["/b"]\n\nTo do: update 1\n'
        assert (gateway.request("/a/x")[0], gateway.request("/b/x")[0]) == (404, 200)
        apply(gateway, {"routes": [{"name": "other", "paths": ["/c"]}]}, "--prune")
        assert gateway.request("/b/x")[0] == 404


def test_a_dry_run_changes_nothing(gateway: Gateway) -> None:
    apply(gateway, {"services": [{"name": "a", "host": "h"}, {"name": "b", "host": "h"}]})
    before = dump(gateway)
    wanted = {"services": [{"name": "a", "host": "other"}, {"name": "c", "host": "h"}]}
    printed = apply(gateway, wanted, "--dry-run", "--prune", code=DIFFERENT)
    assert [line for line in printed.splitlines() if line[:1] in "+~-"] == [
        "~ service a",
        "+ service c",
        "- service b",
    ] or "+ service c" in printed
    rows = json.loads(apply(gateway, wanted, "--dry-run", "--prune", "--json", code=DIFFERENT))
    assert {(row["action"], row["entity"]) for row in rows} == {
        ("update", "service a"),
        ("create", "service c"),
        ("delete", "service b"),
    }
    assert next(row for row in rows if row["action"] == "update")["changes"] == {
        "host": {"from": "h", "to": "other"}
    }
    assert dump(gateway) == before


def test_without_prune_everything_else_stays(gateway: Gateway) -> None:
    apply(gateway, {"services": [{"name": "a", "host": "h"}]})
    apply(gateway, {"services": [{"name": "b", "host": "h"}]})
    assert len(dump(gateway)["services"]) == 2


def test_only_what_has_the_tags(gateway: Gateway) -> None:
    services = [
        {"name": "mine", "host": "h", "tags": ["me", "x"]},
        {"name": "gone", "host": "h", "tags": ["me"]},
        {"name": "theirs", "host": "h"},
    ]
    apply(gateway, {"services": services})
    changed = [{**services[0], "host": "new"}, {**services[2], "host": "new"}]
    printed = apply(gateway, {"services": changed}, "--tags", "me", "--prune")
    assert "~ service mine" in printed
    assert "- service gone" in printed
    assert "theirs" not in printed
    hosts = {one["name"]: one["host"] for one in dump(gateway)["services"].values()}
    assert hosts == {"mine": "new", "theirs": "h"}
    route = {"name": "r", "paths": ["/"], "service": "theirs", "tags": ["me"]}
    apply(gateway, {"services": [services[2]], "routes": [route]}, "--tags", "me")
    found = run_here(gateway, "dump", "--tags", "me/other").stdout
    names = {one["name"] for table in lasting(found).values() for one in table.values()}
    assert names == {"mine", "r", "theirs"}, "what a selected one refers to is part of the file"


def test_secrets_are_not_shown(gateway: Gateway) -> None:
    def document(word: str) -> dict[str, Any]:
        return {
            "consumers": [
                {
                    "username": "bob",
                    "basicauth_credentials": [{"username": "b", "password": f"{word} one"}],
                    "keyauth_credentials": [
                        {"id": "00000000-0000-4000-8000-00000000000a", "key": f"{word} two"}
                    ],
                    "jwt_secrets": [{"key": "k", "secret": f"{word} three"}],
                }
            ]
        }

    printed = apply(gateway, document("hunter2")) + apply(
        gateway, document("swordfish"), "--json", "--dry-run", code=2
    )
    printed += apply(gateway, document("swordfish"))
    assert "secret: another value (hidden)" in printed
    assert "password: another value (hidden)" in printed
    assert "hunter2" not in printed
    assert "swordfish" not in printed
    table = run_here(gateway, "get", "key-auths").stdout
    assert "(hidden)" in table
    assert "swordfish" not in table
    assert "swordfish two" in run_here(gateway, "get", "key-auths", "--json").stdout


def test_a_file_with_a_mistake_changes_nothing(gateway: Gateway) -> None:
    before = dump(gateway)
    file = gateway.prefix / "bad.yml"
    file.write_text("_format_version: '3.0'\nservices:\n- name: a\n  host: h\n- name: b\n  hosst: h\n")
    for command in ("apply", "diff"):
        result = run_here(gateway, command, "-f", str(file))
        assert result.exit_code == 1
        assert f"Error: {file} is not valid:" in result.stderr
        assert "hosst" in result.stderr
    assert dump(gateway) == before


def test_a_file_from_one_store_to_the_next() -> None:
    with ExitStack() as stack:
        gateways = [stack.enter_context(gateway_on(store)) for store in STORES]
        apply(gateways[0], every_entity())
        first = dump(gateways[0])
        assert sum(map(len, first.values())) == 30
        for before, after in itertools.pairwise(gateways):
            file = before.prefix / "dump.yml"
            assert run_here(before, "dump", "-o", str(file)).exit_code == 0
            assert file.stat().st_mode & 0o777 == 0o600
            result = run_here(after, "apply", "-f", str(file), "--prune")
            assert result.exit_code == 0, result.stderr
            assert dump(after) == first


# --- the database itself ----------------------------------------------------------------------------------


@pytest.mark.parametrize("store", SQL_STORES)
def test_import_and_export_beside_a_running_gateway(store: str, tmp_path: Path) -> None:
    with Upstream() as upstream, gateway_on(store) as gateway:
        service = {"name": "live", "host": "127.0.0.1", "port": upstream.port}
        routes = [{"name": "r", "paths": ["/live"]}]
        document = {
            **every_entity(),
            "services": [*every_entity()["services"], {**service, "routes": routes}],
        }
        document |= {key: value for key, value in every_entity().items() if key != "services"}
        file = written(tmp_path, document)
        result = gateway.run_command("config", "db_import", str(file))
        assert result.returncode == 0, result.stderr
        assert result.stdout == (
            "parse successful, beginning import\nimport successful (32 created, 0 updated, 0 unchanged)\n"
        )
        wait_for(lambda: gateway.request("/live")[0] == 200, what="the gateway follows")
        result = run_here(gateway, "config", "db_import", str(file))
        assert result.stdout.endswith("(0 created, 0 updated, 32 unchanged)\n")
        export = tmp_path / "export.yml"
        assert run_here(gateway, "config", "db_export", str(export)).exit_code == 0
        assert lasting(export.read_text()) == dump(gateway)
        again = run_here(gateway, "config", "db_export", str(export))
        assert (again.exit_code, again.stderr) == (
            1,
            f"Error: {export} already exists.\nWill not overwrite it.\n",
        )
        with gateway_on(store) as other:
            result = run_here(other, "config", "db-import", str(export))
            assert result.exit_code == 0, result.stderr
            wait_for(lambda: dump(other) == dump(gateway), what="the import is the export")


def test_an_import_that_cannot_be_changes_nothing(tmp_path: Path) -> None:
    with gateway_on("sqlite") as gateway:
        apply(
            gateway, {"consumers": [{"username": "a", "custom_id": "1"}, {"username": "b", "custom_id": "2"}]}
        )
        before = dump(gateway)
        file = written(
            tmp_path,
            {
                "services": [{"name": "new", "host": "h"}],
                "consumers": [{"username": "a", "custom_id": "2"}, {"username": "c", "custom_id": "3"}],
            },
        )
        result = run_here(gateway, "config", "db_import", str(file))
        assert result.exit_code == 1
        assert "Failed importing: UNIQUE violation detected on '{custom_id=\"2\"}'" in result.stderr
        assert dump(gateway) == before
        result = run_here(gateway, "apply", "-f", str(file))
        assert result.exit_code == 1
        assert "update of consumer a: UNIQUE violation detected" in result.stderr
        assert "(1 of 3 changes were made)" in result.stderr


def test_unique_values_that_move_from_one_to_the_next() -> None:
    def document(shift: int) -> dict[str, Any]:
        names = [{"username": f"u{number}", "custom_id": f"{number + shift}"} for number in range(30)]
        return {"consumers": names}

    with gateway_on("sqlite") as gateway:
        apply(gateway, document(0))
        apply(gateway, document(1))
        assert apply(gateway, document(1), "--prune") == "No differences.\n"


# --- a terminal -------------------------------------------------------------------------------------------


def on_terminal(gateway: Gateway, answer: str, *arguments: str) -> tuple[int, str]:
    """Run a command on a terminal, type an answer; exit code and what was to be seen."""
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "gateway", *arguments],
        env={**gateway.environment, "TERM": "xterm", "COLUMNS": "200"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    )
    os.close(theirs)
    os.write(ours, f"{answer}\n".encode())
    seen = b""
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:  # the last one to have the terminal is gone
            break
        if not piece:
            break
        seen += piece
    os.close(ours)
    return process.wait(timeout=30), seen.decode()


def test_a_terminal_is_asked_and_has_colours() -> None:
    with gateway_on("sqlite") as gateway:
        file = written(gateway.prefix, {"services": [{"name": "a", "host": "h"}]})
        code, seen = on_terminal(gateway, "n", "apply", "-f", str(file))
        assert code == 1
        assert "Make these changes? [y/N]" in seen
        assert "nothing was changed" in seen
        assert "\x1b[32m+ service a" in seen
        assert dump(gateway) == {}
        code, seen = on_terminal(gateway, "y", "apply", "-f", str(file))
        assert code == 0, seen
        assert len(dump(gateway)["services"]) == 1
        file = written(gateway.prefix, {"services": [{"name": "a", "host": "other"}]})
        code, seen = on_terminal(gateway, "", "apply", "-f", str(file), "--yes")
        assert code == 0, seen
        code, seen = on_terminal(gateway, "", "get", "services")
        assert "\x1b[1mname" in seen
        assert "\x1b" not in run_here(gateway, "get", "services").stdout
