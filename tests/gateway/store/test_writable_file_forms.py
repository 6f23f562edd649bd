"""The declarative file that is written: JSON, aliases, older formats, line ends, secrets and lives."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.store import check_file, operations
from gateway.store.interface import Operation
from tests.support.written_file import FILE, File


def test_json_stays_json(tmp_path: Path) -> None:
    document = {
        "_format_version": "3.0",
        "services": [
            {"name": "a", "host": "h", "routes": [{"name": "r", "paths": ["/"]}]},
            {"name": "b", "host": "h"},
        ],
    }
    text = json.dumps(document, indent=4)
    file = File(tmp_path / "kong.json", text)
    file.update("services", "b", retries=1)
    document["services"][1] |= {"retries": 1} | {  # type: ignore[index,operator]
        name: getattr(file.find("services", "b"), name) for name in ("created_at", "updated_at")
    }
    assert json.loads(file.text) == document
    assert file.text.startswith(text[: text.index('"name": "b"')])
    file.create("routes", service={"id": file.find("services", "a").id}, paths=["/2"], name="second")
    file.remove("services", "b")
    assert json.loads(file.text)["services"][0]["routes"][1]["name"] == "second"
    assert file.text.count("\n    ") > 10


def test_aliases_are_written_out_where_they_must(tmp_path: Path) -> None:
    file = File(
        tmp_path / "kong.yml",
        """\
        _format_version: "3.0"
        services:
        - &base           # the base
          name: a
          host: h
          retries: 1
        - <<: *base
          name: b
        - name: c         # untouched
          host: h
          tags: &tags [x]
        - name: d
          host: h
          tags: *tags
        """,
    )
    file.update("services", "a", retries=2)
    assert file.find("services", "b").retries == 1
    assert "# the base" in file.text
    assert "- name: c         # untouched" in file.text
    file.update("services", "d", tags=["y"])
    assert file.find("services", "c").tags == ["x"]


def test_an_older_format(tmp_path: Path) -> None:
    file = File(
        tmp_path / "kong.yml",
        """\
        _format_version: "1.1"
        services:
        - name: a
          host: h
          routes:
          - name: r          # a comment
            paths: [/x, "/y\\\\d+"]
        """,
    )
    file.update("services", "a", retries=1)
    assert '_format_version: "1.1"' in file.text
    file.update("routes", "r", paths=["~/z$"])
    assert file.find("routes", "r").paths == ["~/z$"]
    assert "# a comment" in file.text


def test_line_ends_and_byte_order_marks_stay(tmp_path: Path) -> None:
    text = "\ufeff" + FILE.replace("\n", "\r\n")
    file = File(tmp_path / "kong.yml", text)
    file.update("services", "orders", retries=None, host="other")
    file.create("routes", name="x", paths=["/x"], service={"id": file.find("services", "orders").id})
    assert file.text.startswith("\ufeff#")
    assert file.text.count("\n") == file.text.count("\r\n")


def test_certificates_are_written_as_they_are(file: File) -> None:
    pem = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n"
    file.create("services", name="pem", host="h", tags=["yes", "1.0", "null", "ünï: x"])
    from gateway.store.editing.rendering import YamlStyle

    assert YamlStyle().entry_lines("cert", pem) == ["cert: |", *("  " + line for line in pem.splitlines())]


# --- secrets --------------------------------------------------------------------------------------

IN_THE_CLEAR = """\
_format_version: "3.0"
consumers:
- username: bob
  basicauth_credentials:
  - username: u
    password: secret   # in the clear
"""


@pytest.fixture
def passwords(tmp_path: Path) -> File:
    return File(tmp_path / "kong.yml", IN_THE_CLEAR)


def test_passwords_stay_as_they_were_given(passwords: File) -> None:
    bob = passwords.find("consumers", "bob")
    made = passwords.create("basicauth_credentials", consumer={"id": bob.id}, username="v", password="other")  # noqa: S106
    assert "password: secret   # in the clear" in passwords.text
    assert "password: other" in passwords.text
    assert passwords.opened().configuration.find("basicauth_credentials", made.id) == made
    passwords.update("basicauth_credentials", "u", password="third")  # noqa: S106
    assert "password: third   # in the clear" in passwords.text


def test_a_hash_turns_the_file_into_one_of_hashes(passwords: File) -> None:
    bob, credential = passwords.find("consumers", "bob"), passwords.find("basicauth_credentials", "u")
    kind = ENTITY_TYPES["basicauth_credentials"]
    hashed = kind(
        id="11111111-0000-4000-8000-000000000000",
        created_at=5,
        consumer=credential.consumer,
        username="w",
        password="00ff",  # noqa: S106
    )
    passwords.run(lambda draft: draft.put(hashed), "create", "basicauth_credentials")
    assert "_transform: false" in passwords.text
    assert f"password: {credential.password}   # in the clear" in passwords.text
    assert "secret" not in passwords.text
    again = passwords.opened().configuration
    assert again.find("basicauth_credentials", "w") == hashed
    found: Any = again.find("basicauth_credentials", "u")
    assert (found.password, found.consumer.id) == (credential.password, bob.id)


def test_salted_secrets(passwords: File) -> None:
    bob = passwords.find("consumers", "bob")
    passwords.create(
        "oauth2_credentials",
        consumer={"id": bob.id},
        name="app",
        client_id="id",
        client_secret="clear",  # noqa: S106
        hash_secret=True,
    )
    assert "client_secret: clear" in passwords.text
    before = passwords.find("oauth2_credentials", "id")
    passwords.update("oauth2_credentials", "id", name="other")
    assert passwords.find("oauth2_credentials", "id").client_secret == before.client_secret
    assert "client_secret: clear" in passwords.text


def test_a_life_that_counts_from_the_load(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = File(
        tmp_path / "kong.yml",
        """\
        _format_version: "3.0"
        consumers:
        - username: bob        # comment
          keyauth_credentials:
          - key: k
            ttl: 1000          # seconds
        """,
    )
    expiry = file.find("keyauth_credentials", "k").expires_at
    later = time.time() + 100
    monkeypatch.setattr(time, "time", lambda: later)
    file.store.transact(
        [
            Operation(
                "create",
                "upstreams",
                lambda draft: operations.create(draft, ENTITY_TYPES["upstreams"], {"name": "u"}),
            )
        ]
    )
    bob = file.find("consumers", "bob")
    file.store.transact(
        [Operation("update", "consumers", lambda draft: operations.update(draft, bob, {"custom_id": "x"}))]
    )
    assert "ttl: 1000          # seconds" in file.text
    assert file.find("keyauth_credentials", "k").expires_at == expiry
    credential = file.find("keyauth_credentials", "k")
    file.store.transact(
        [
            Operation(
                "update",
                "keyauth_credentials",
                lambda draft: operations.update(draft, credential, {"tags": ["x"]}),
            )
        ]
    )
    assert "ttl" not in file.text
    assert "# comment" in file.text
    assert file.opened().configuration.find("keyauth_credentials", "k") == file.find(
        "keyauth_credentials", "k"
    )


# --- everything at once ---------------------------------------------------------------------------


def test_replacing_everything_keeps_what_is_said_already(file: File) -> None:
    target = file.path.parent / "other.yml"
    target.write_text(FILE.replace("retries: 3 ", "retries: 8 ") + "upstreams:\n- name: new\n")
    configuration = check_file(target)
    file.store.replace(configuration)
    assert file.store.configuration.hash == configuration.hash
    assert "    retries: 8           # idempotent" in file.text
    assert file.find("upstreams", "new")
    target.write_text("_format_version: '3.0'\n")
    file.store.replace(check_file(target))
    assert len(file.store.configuration) == 0
    assert len(check_file(file.path)) == 0
