"""GET and POST /config: every form of body, hashes, errors, atomicity."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from urllib.parse import quote_plus

import pytest
import yaml
from asgi_client import Node, ask, with_node

from gateway.admin import bodies

DOCUMENT = {
    "_format_version": "3.0",
    "services": [{"name": "a", "url": "http://127.0.0.1:8080/p", "routes": [{"name": "r", "paths": ["/x"]}]}],
}
TEXT = yaml.safe_dump(DOCUMENT)
BOUNDARY = "boundary7"


def multipart(name: str, value: str, *, filename: str = "") -> bytes:
    file = f'; filename="{filename}"\r\nContent-Type: application/yaml' if filename else ""
    return (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{file}\r\n\r\n{value}\r\n'
        f"--{BOUNDARY}--\r\n"
    ).encode()


@pytest.mark.parametrize(
    ("media_type", "body"),
    [
        ("application/json", json.dumps(DOCUMENT).encode()),
        ("application/json; charset=utf-8", json.dumps({"config": TEXT}).encode()),
        ("application/json", json.dumps({"config": DOCUMENT}).encode()),
        ("text/yaml", TEXT.encode()),
        ("application/yaml", TEXT.encode()),
        ("application/yaml", json.dumps(DOCUMENT).encode()),
        ("application/x-www-form-urlencoded", b"config=" + quote_plus(TEXT).encode()),
        (f"multipart/form-data; boundary={BOUNDARY}", multipart("config", TEXT)),
        (f"multipart/form-data; boundary={BOUNDARY}", multipart("config", TEXT, filename="kong.yml")),
    ],
)
def test_forms_of_a_configuration(tmp_path: Path, media_type: str, body: bytes) -> None:
    async def test(node: Node) -> None:
        answer = await ask(node.admin, "POST", "/config", body, {"Content-Type": media_type}, chunk=100)
        assert answer.status == 201, answer.body
        (service,) = answer.json()["services"].values()
        assert (service["host"], service["port"], service["path"]) == ("127.0.0.1", 8080, "/p")
        assert service["client_certificate"] is None
        (route,) = answer.json()["routes"].values()
        assert route["service"] == {"id": service["id"]}
        assert node.shared.configuration_number == 1

    with_node(tmp_path, test)


def test_an_empty_configuration_empties(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        await node.load(DOCUMENT)
        answer = await node.load({"_format_version": "3.0"})
        assert (answer.status, answer.json()) == (201, {})
        assert node.shared.configuration_hash == "0" * 32
        shown = yaml.safe_load((await ask(node.admin, "GET", "/config")).json()["config"])
        assert shown == {"_format_version": "3.0", "_transform": False}

    with_node(tmp_path, test)


def test_what_get_shows_can_be_posted_again(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        await node.load(DOCUMENT)
        before = node.plane.configuration
        text = (await ask(node.admin, "GET", "/config")).json()["config"]
        await node.load({"_format_version": "3.0"})
        assert (await node.load({"config": text})).status == 201
        assert node.plane.configuration == before

    with_node(tmp_path, test)


def test_check_hash_saves_an_unchanged_load(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        assert (await node.load({"config": TEXT}, "/config?check_hash=1")).status == 201
        answer = await node.load({"config": TEXT}, "/config?check_hash=1")
        assert (answer.status, answer.body) == (304, b"")
        assert node.shared.configuration_number == 1
        assert (await node.load({"config": TEXT, "check_hash": 1})).status == 304
        assert (await node.load({"config": TEXT}, "/config?check_hash=0")).status == 201
        assert (await node.load({"config": TEXT + "# other\n"}, "/config?check_hash=1")).status == 201

    with_node(tmp_path, test)


@pytest.mark.parametrize(
    ("media_type", "body", "status", "message"),
    [
        ("application/json", b"{", 400, "Cannot parse JSON body"),
        ("application/json", b"17", 400, "Cannot parse JSON body"),
        ("application/json", b"null", 400, "Cannot parse JSON body"),
        ("application/json", b'"a"', 400, "Cannot parse JSON body"),
        ("text/yaml", b"", 400, "expected a declarative configuration"),
        ("", b"", 400, "expected a declarative configuration"),
        (f"multipart/form-data; boundary={BOUNDARY}", b"--nonsense", 400, None),
        ("multipart/form-data", multipart("config", TEXT), 400, "Cannot parse multipart body"),
        ("application/x-www-form-urlencoded", b"&".join([b"a=1"] * 1001), 400, "Too many arguments"),
        (
            "application/json",
            b"[]",
            400,
            'declarative config is invalid: {_format_version="required field missing"}',
        ),
    ],
)
def test_bodies_that_are_no_configuration(
    tmp_path: Path, media_type: str, body: bytes, status: int, message: str | None
) -> None:
    async def test(node: Node) -> None:
        headers = {"Content-Type": media_type} if media_type else {}
        answer = await ask(node.admin, "POST", "/config", body, headers)
        assert answer.status == status
        if message is not None:
            assert answer.json()["message"] == message
        assert node.shared.configuration_number == 0

    with_node(tmp_path, test)


@pytest.mark.parametrize("media_type", ["text/plain", "application/xml", ""])
def test_other_media_types_are_refused_with_a_page(tmp_path: Path, media_type: str) -> None:
    async def test(node: Node) -> None:
        headers = {"Content-Type": media_type} if media_type else {}
        answer = await ask(node.admin, "POST", "/config", TEXT.encode(), headers)
        assert answer.status == 415
        assert b"415 Unsupported Media Type" in answer.body

    with_node(tmp_path, test)


def test_two_content_types_are_refused(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        headers = [("Content-Type", "application/json"), ("Content-Type", "text/yaml")]
        assert (await ask(node.admin, "POST", "/config", b"{}", headers)).status == 400

    with_node(tmp_path, test)


def test_too_large_a_body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test(node: Node) -> None:
        big = b" " * (bodies.BODY_LIMIT + 1)
        answer = await ask(node.admin, "POST", "/config", big, {"Content-Type": "text/yaml"})
        assert answer.status == 413
        monkeypatch.setattr(bodies, "DISCARD_LIMIT", bodies.BODY_LIMIT + 10)
        assert (
            await ask(node.admin, "POST", "/config", big * 2, {"Content-Type": "text/yaml"})
        ).status == 413

    with_node(tmp_path, test)


def test_an_invalid_configuration_changes_nothing(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        await node.load(DOCUMENT)
        before = sorted(path.name for path in (tmp_path / "snapshots").iterdir())
        bad = {"_format_version": "3.0", "services": [{"name": "b", "url": "http://h"}, {"name": "c"}]}
        answer = await node.load(bad)
        assert answer.status == 400
        assert answer.json() == {
            "code": 14,
            "name": "invalid declarative configuration",
            "message": 'declarative config is invalid: {services={[2]={host="required field missing"}}}',
            "fields": {"services": [None, {"host": "required field missing"}]},
        }
        flat = (await node.load(bad, "/config?flatten_errors=1")).json()
        assert flat["fields"] == {}
        assert flat["flattened_errors"][0]["entity_name"] == "c"
        assert [service.name for service in node.plane.configuration.of("services").values()] == ["a"]
        assert sorted(path.name for path in (tmp_path / "snapshots").iterdir()) == before
        assert node.shared.configuration_number == 1

    with_node(tmp_path, test)


def test_a_configuration_that_cannot_be_written_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(node: Node) -> None:
        await node.load(DOCUMENT)

        def full(path: Path, data: bytes) -> None:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("gateway.control.publisher.write_atomically", full)
            answer = await node.load({"_format_version": "3.0"})
        assert (answer.status, answer.json()) == (500, {"message": "An unexpected error occurred"})
        assert node.shared.configuration_number == 1
        assert node.plane.configuration.of("services")
        assert (await node.load({"_format_version": "3.0"})).status == 201

    with_node(tmp_path, test)


def test_a_second_load_is_turned_away_while_one_runs(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        with node.plane.claim_loading():
            answer = await node.load(DOCUMENT)
        assert (answer.status, answer.headers["retry-after"]) == (429, "1")
        assert answer.json() == {"message": "Currently loading previous configuration"}
        assert (await node.load(DOCUMENT)).status == 201

    with_node(tmp_path, test)


def test_of_many_loads_at_once_none_is_half_done(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        documents = [
            {"_format_version": "3.0", "services": [{"name": f"s{n}", "url": "http://127.0.0.1:1"}]}
            for n in range(8)
        ]
        answers = await asyncio.gather(*(node.load(document) for document in documents))
        accepted = [answer for answer in answers if answer.status == 201]
        assert accepted
        assert {answer.status for answer in answers} <= {201, 429}
        assert node.shared.configuration_number == len(accepted)
        assert len(node.plane.configuration) == 1

    with_node(tmp_path, test)


def test_no_load_while_stopping(tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        node.plane.stopping = True
        assert (await node.load(DOCUMENT)).status == 503

    with_node(tmp_path, test)
