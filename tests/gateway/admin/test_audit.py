"""The audit log: what a line says, what it does not, and what happens to the file."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import stat
from pathlib import Path
from typing import Any

import pytest
from asgi_client import Node, ask, with_node

from gateway.admin.access import Caller
from gateway.admin.audit import CURRENT, AuditLog, AuditRecord, observed
from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.masking import hide_in_path, hide_secrets
from gateway.store.configuration import Configuration
from gateway.store.draft import Draft
from gateway.store.interface import Operation
from gateway.store.operations import create, remove, update

CALLER = Caller("admin", "ops", "192.0.2.7")
TOKEN = "admin-token-0123456789"  # noqa: S105
READER = "reader-token-0123456789"


def run(configuration: Configuration, *operations: Any) -> tuple[AuditRecord, Configuration]:
    """The record of a request with these operations, and what they make of a configuration."""
    record = AuditRecord(CALLER, "POST", "/")
    token = CURRENT.set(record)
    try:
        wrapped = [observed(Operation("update", "services", one)) for one in operations]
    finally:
        CURRENT.reset(token)
    draft = Draft(configuration)
    for operation in wrapped:
        operation.run(draft)
    record.status = 200
    return record, draft.result("0" * 31 + "1")


def made(type_name: str, **values: Any) -> Any:
    return lambda draft: create(draft, ENTITY_TYPES[type_name], values)


def line(record: AuditRecord) -> dict[str, Any]:
    text = record.line()
    assert text.endswith(b"\n")
    assert text.count(b"\n") == 1
    return json.loads(text)  # type: ignore[no-any-return]


def test_a_new_entity_with_its_values() -> None:
    record, _ = run(Configuration.EMPTY, made("services", name="orders", host="a.test"))
    document = line(record)
    assert document["caller"] == {"kind": "admin", "name": "ops"}
    assert document["client"] == "192.0.2.7"
    assert len(document["request_id"]) == 32
    assert document["time"].endswith("Z")
    (change,) = document["changes"]
    assert (change["entity"], change["name"], change["action"]) == ("services", "orders", "created")
    assert change["fields"]["host"] == {"to": "a.test"}
    assert "path" not in change["fields"]


def test_only_the_fields_that_changed() -> None:
    _, configuration = run(Configuration.EMPTY, made("services", name="orders", host="a.test"))
    (service,) = configuration.of("services").values()
    record, _ = run(configuration, lambda draft: update(draft, service, {"host": "b.test", "retries": 5}))
    (change,) = line(record)["changes"]
    assert change["action"] == "updated"
    assert change["fields"] == {"host": {"from": "a.test", "to": "b.test"}}


def test_what_goes_with_an_entity_is_listed_too() -> None:
    _, configuration = run(
        Configuration.EMPTY,
        made("consumers", username="bob"),
        lambda draft: create(
            draft,
            ENTITY_TYPES["keyauth_credentials"],
            {"key": "sesame", "consumer": {"id": draft.find("consumers", "bob").id}},
        ),
    )
    (bob,) = configuration.of("consumers").values()
    record, _ = run(configuration, lambda draft: remove(draft, bob))
    changes = line(record)["changes"]
    assert {(change["entity"], change["action"]) for change in changes} == {
        ("consumers", "removed"),
        ("keyauth_credentials", "removed"),
    }
    assert b"sesame" not in record.line()


SECRETS = [
    ("keyauth_credentials", {"key": "open-sesame"}),
    ("basicauth_credentials", {"username": "bob", "password": "open-sesame"}),
    ("jwt_secrets", {"key": "issuer", "secret": "open-sesame"}),
    ("hmacauth_credentials", {"username": "bob", "secret": "open-sesame"}),
    ("oauth2_credentials", {"name": "app", "client_secret": "open-sesame"}),
]


@pytest.mark.parametrize(("type_name", "values"), SECRETS)
def test_no_secret_is_written_down(type_name: str, values: dict[str, Any]) -> None:
    _, configuration = run(Configuration.EMPTY, made("consumers", username="bob"))
    (bob,) = configuration.of("consumers").values()
    record, after = run(configuration, made(type_name, **values, consumer={"id": bob.id}))
    assert b"open-sesame" not in record.line()
    assert b'"******"' in record.line()
    (credential,) = after.of(type_name).values()
    (name,) = (name for name, value in values.items() if value == "open-sesame")
    record, _ = run(after, lambda draft: update(draft, credential, {name: "another-sesame"}))
    assert b"another-sesame" not in record.line()
    assert line(record)["changes"][0]["fields"][name] == {"from": "******", "to": "******"}


def test_a_refused_write_tells_what_was_wanted() -> None:
    record, _ = run(Configuration.EMPTY, made("services", name="orders", host="a.test"))
    record.status = 405
    document = line(record)
    assert "changes" not in document
    assert document["refused_changes"][0]["entity"] == "services"


def test_a_transaction_that_is_tried_again_is_told_once() -> None:
    record = AuditRecord(CALLER, "POST", "/")
    token = CURRENT.set(record)
    operation = observed(Operation("create", "services", made("services", name="x", host="a.test")))
    CURRENT.reset(token)
    for _ in range(3):
        operation.run(Draft(Configuration.EMPTY))
    assert len(record.changes) == 1


def test_many_changes_are_counted() -> None:
    def many(draft: Draft) -> None:
        for number in range(130):
            create(draft, ENTITY_TYPES["services"], {"name": f"s{number}", "host": "a.test"})

    record, _ = run(Configuration.EMPTY, many)
    document = line(record)
    assert (len(document["changes"]), document["more_changes"]) == (100, 30)


def test_long_values_are_left_out() -> None:
    record, _ = run(
        Configuration.EMPTY,
        made("services", name="x", host="a.test", tags=["t" * 100 + str(n) for n in range(50)]),
    )
    assert line(record)["changes"][0]["fields"]["tags"] == {"to": "(long)"}


def test_nobody_listens_without_a_log() -> None:
    operation = Operation("create", "services", made("services", name="x", host="a.test"))
    assert observed(operation) is operation


# --- masking ------------------------------------------------------------------------------------------------


def test_every_secret_field_of_every_entity_is_masked() -> None:
    shown = {
        "key": "a",
        "secret": "b",
        "password": "c",
        "client_secret": "d",
        "jwk": "e",
        "pem": {"private_key": "f", "public_key": "g"},
        "key_alt": None,
        "nested": [{"key": {"type": "string"}}],
    }
    assert hide_secrets({"data": [shown]}) == {
        "data": [
            {
                **dict.fromkeys(("key", "secret", "password", "client_secret", "jwk"), "******"),
                "pem": {"private_key": "******", "public_key": "g"},
                "key_alt": None,
                "nested": [{"key": {"type": "string"}}],
            }
        ]
    }


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/key-auths/sesame", "/key-auths/******"),
        ("/key-auths/sesame/consumer", "/key-auths/******/consumer"),
        ("/consumers/bob/key-auth/sesame", "/consumers/bob/key-auth/******"),
        ("/consumers/bob/key-auth", "/consumers/bob/key-auth"),
        ("/key-auths//ses/ame/", "/key-auths/******"),
        ("/Key-Auths/ses/ame/consumer", "/Key-Auths/******/consumer"),
        ("/key-auths/consumer", "/key-auths/******"),
        ("/keyauth_credentials/sesame", "/keyauth_credentials/******"),
        ("/oauth2_tokens/sesame/credential", "/oauth2_tokens/******/credential"),
        ("/oauth2_credentials/app/oauth2_tokens/sesame", "/oauth2_credentials/app/oauth2_tokens/******"),
        ("/key-auths/", "/key-auths/"),
        *[("/key-auths/6f1cdd20-4b2e-4ab8-a0b4-1f9a4a7f2a01",) * 2],
        *[("/key-auths/6f1cdd20-4b2e-4ab8-a0b4-1f9a4a7f2a01/consumer",) * 2],
        ("/oauth2_tokens/sesame", "/oauth2_tokens/******"),
        ("/services/orders", "/services/orders"),
    ],
)
def test_secrets_in_paths(path: str, shown: str) -> None:
    assert hide_in_path(path) == shown


# --- requests -----------------------------------------------------------------------------------------------


def lines_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(text) for text in path.read_text().splitlines()]


def test_who_tried_what(tmp_path: Path) -> None:
    body = b'{"_format_version":"3.0","services":[{"name":"a","host":"a.test"}]}'
    json_type = ("Content-Type", "application/json")

    async def test(node: Node) -> None:
        right = ("Kong-Admin-Token", TOKEN)
        await ask(node.admin, "GET", "/", headers=[right])
        await ask(node.admin, "POST", "/schemas/services/validate", b'{"host":"x"}', [right, json_type])
        await ask(node.admin, "POST", "/explain", b'{"url":"/"}', [right, json_type])
        assert not (tmp_path / "audit.log").exists()
        await ask(node.admin, "POST", "/config", body, [json_type])
        await ask(node.admin, "POST", "/config", body, [json_type, ("Kong-Admin-Token", READER)])
        await ask(node.admin, "POST", "/config", b"{", [json_type, right])
        await ask(node.admin, "POST", "/config?secret=1", body, [json_type, right])
        await ask(node.admin, "DELETE", "/nowhere", headers=[right])
        await ask(node.admin, "POST", "/services", b'{"host":"x.test"}', [json_type, right])

    with_node(
        tmp_path,
        test,
        admin_token=f"ops:{TOKEN}",
        admin_read_token=READER,
        admin_audit_log=str(tmp_path / "audit.log"),
    )
    lines = lines_of(tmp_path / "audit.log")
    assert [(one["caller"]["kind"], one["caller"]["name"], one["status"]) for one in lines] == [
        ("anonymous", None, 401),
        ("read", None, 403),
        ("admin", "ops", 400),
        ("admin", "ops", 201),
        ("admin", "ops", 404),
        ("admin", "ops", 405),
    ]
    assert lines[3]["configuration_hash"]["from"] == "0" * 32
    assert lines[3]["path"] == "/config"
    assert [one["entity"] for one in lines[5]["refused_changes"]] == ["services"]
    assert len({one["request_id"] for one in lines}) == len(lines)
    assert TOKEN not in (tmp_path / "audit.log").read_text()


# --- the file -----------------------------------------------------------------------------------------------


def test_the_file_is_its_owners_and_grows(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "audit.log"
    for text in (b"one\n", b"two\n"):
        AuditLog().append(path, text)
    assert path.read_bytes() == b"one\ntwo\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_rotated_file_is_left_alone(tmp_path: Path) -> None:
    path, log = tmp_path / "audit.log", AuditLog()
    log.append(path, b"one\n")
    path.rename(tmp_path / "audit.log.1")
    log.append(path, b"two\n")
    path.rename(tmp_path / "audit.log.2")
    log.reopen()
    assert path.read_bytes() == b""
    log.append(path, b"three\n")
    texts = [file.read_bytes() for file in sorted(tmp_path.iterdir())]
    assert texts == [b"three\n", b"one\n", b"two\n"]


def test_while_no_new_file_can_be_made_the_old_one_is_written(tmp_path: Path) -> None:
    path, log = tmp_path / "logs" / "audit.log", AuditLog()
    log.append(path, b"one\n")
    path.parent.rename(tmp_path / "moved")
    path.parent.write_text("in the way")
    log.append(path, b"two\n")
    assert (tmp_path / "moved" / "audit.log").read_bytes() == b"one\ntwo\n"


def test_a_full_disk_is_told_loudly_and_not_for_every_line(caplog: pytest.LogCaptureFixture) -> None:
    log = AuditLog()
    with caplog.at_level(logging.DEBUG):
        for _ in range(50):
            log.append(Path("/dev/full"), b"line\n")
    (record,) = caplog.records
    assert record.levelno == logging.CRITICAL
    assert "/dev/full cannot be written" in record.getMessage()


def test_after_a_full_disk_lines_are_whole_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path, log = tmp_path / "audit.log", AuditLog()
    log.append(path, b"one\n")
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data[:2]))
    log.append(path, b"lost\n")
    monkeypatch.undo()
    log.append(path, b"three\n")
    assert path.read_bytes() == b"one\nlo\nthree\n"
    assert "lines lost: 1" in caplog.records[-1].getMessage()


def test_a_request_is_answered_though_the_log_cannot_be_written(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        answer = await ask(
            node.admin, "POST", "/config", b'{"_format_version":"3.0"}', {"Content-Type": "application/json"}
        )
        assert answer.status == 201

    with_node(tmp_path, test, admin_audit_log="/dev/full")


def test_writers_at_the_same_time_do_not_mix_their_lines(tmp_path: Path) -> None:
    path, log = tmp_path / "audit.log", AuditLog()

    async def write() -> None:
        records = [AuditRecord(CALLER, "POST", "/" + str(n) * 500) for n in range(200)]
        await asyncio.gather(*(log.write(path, record) for record in records))

    asyncio.run(write())
    assert len(lines_of(path)) == 200
