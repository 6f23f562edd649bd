"""A type of entity is one declaration: one made up here has endpoints, schemas, a place in the stores and in
declarative files, and the client knows it, without a line about it anywhere else."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, ClassVar

import httpx
import pytest
from asgi_client import Answer
from jsonschema import Draft202012Validator
from memory_plane import Api, with_api

from gateway.admin.app import admin_app
from gateway.client import AsyncAdminClient
from gateway.client.plan import make_plan
from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES, EXPIRING, LISTED_BY, register
from gateway.entities.expiry import Expiring
from gateway.entities.fields import Foreign, Integer, Reference, Set, Text
from gateway.entities.masking import MASK, hide_in_path, hide_secrets
from gateway.entities.record import AdminPaths, CreatedAt
from gateway.store import Configuration, LoadMemory, export_declarative, operations, parse_declarative
from gateway.store.draft import Draft
from gateway.store.errors import EntityError
from gateway.store.interface import Operation, Store
from gateway.store.source import DeclarativeSource
from gateway.store.sql.sqlite import SqliteDatabase
from gateway.store.sql.store import SqlStore
from gateway.store.writable_file import WritableFileStore


class Gadget(Expiring, frozen=True, kw_only=True):
    """Something that a service has."""

    type_name: ClassVar[str] = "gadgets"
    singular: ClassVar[str] = "gadget"
    endpoint_key: ClassVar[str | None] = "passphrase"
    cache_key: ClassVar[tuple[str, ...]] = ("passphrase",)
    admin_paths: ClassVar[AdminPaths] = AdminPaths(collection="gadget-box", nested="gadget")

    created_at: CreatedAt
    service: Annotated[Reference, Foreign("Whose.", reference="services", required=True, cascade=True)]
    passphrase: Annotated[str, Text("How to get it.", unique=True, auto=True, encrypted=True)]
    size: Annotated[int | None, Integer("In pixels.", between=(1, 9))] = 3
    colors: Annotated[
        list[str] | None, Set("Its colors.", elements=Text("A color.", one_of=("red", "blue")))
    ] = None


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    register(Gadget)
    yield
    EXPIRING.remove("gadgets")
    del ENTITY_TYPES["gadgets"]
    for table in (CHILDREN, LISTED_BY):
        del table["gadgets"]
        for referring in table.values():
            referring.pop("gadgets", None)


def with_service(prefix: Path, test: Callable[[Api], Awaitable[None]]) -> None:
    """Run `test` with the whole Admin API, in which there is a service `s`."""

    async def run(api: Api) -> None:
        plane: Any = api.plane
        api.app = admin_app(plane)
        await api.made("/services", {"name": "s", "host": "h"})
        await test(api)

    with_api(prefix, run)


def fields_of(answer: Answer, *names: str) -> list[Any]:
    document = answer.json()
    return [document[name] for name in names]


def test_endpoints(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        made = await api.made("/services/s/gadget", {"passphrase": "open sesame", "ttl": 100})
        assert (made["size"], made["colors"]) == (3, None)
        assert 0 < made["ttl"] <= 100
        form = await api.form("POST", "/gadget-box", {"service.name": "s", "size": "5", "colors": "red,blue"})
        assert fields_of(form, "size", "colors") == [5, ["red", "blue"]]
        assert len(form.json()["passphrase"]) == 32
        changed = await api.json("PATCH", "/gadget-box/open sesame", {"size": 9})
        assert fields_of(changed, "id", "size") == [made["id"], 9]
        assert len((await api.json("GET", "/services/s/gadget")).json()["data"]) == 2
        assert (await api.json("GET", f"/gadget-box/{made['id']}/service")).json()["name"] == "s"

        wrong = await api.json("POST", "/services/s/gadget", {"size": 10, "weight": 1})
        assert (wrong.status, set(wrong.json()["fields"])) == (400, {"size", "weight"})
        twice = await api.json("POST", "/services/s/gadget", {"passphrase": "open sesame"})
        assert (twice.status, twice.json()["code"]) == (409, 5)

        assert (await api.json("DELETE", "/services/s")).status == 204
        assert (await api.json("GET", "/gadget-box")).json()["data"] == []

    with_service(tmp_path, test)


def test_schemas(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        shown = (await api.json("GET", "/schemas/gadgets")).json()["fields"]
        (size,) = [field["size"] for field in shown if "size" in field]
        assert size == {"type": "integer", "description": "In pixels.", "between": [1, 9], "default": 3}
        assert (await api.json("POST", "/schemas/gadgets/validate", {"size": 0})).status == 400

        paths = (await api.json("GET", "/endpoints")).json()["data"]
        ours = {"/gadget-box", "/gadget-box/{gadgets}", "/services/{services}/gadget"}
        assert ours <= set(paths)
        document = (await api.json("GET", "/openapi.json")).json()
        assert ours <= set(document["paths"])
        schema = {"$ref": "#/components/schemas/gadget", "components": document["components"]}
        Draft202012Validator(schema).validate(await api.made("/services/s/gadget", {}))

    with_service(tmp_path, test)


def test_the_client(tmp_path: Path) -> None:
    async def test(api: Api) -> None:
        transport = httpx.ASGITransport(app=api.app)
        async with AsyncAdminClient("http://127.0.0.1:8001", transport=transport) as admin:
            made = await admin.services("s").gadget.create({"size": 4})
            assert [one["id"] async for one in admin.gadget_box.list()] == [made["id"]]
            assert (await admin.of(Gadget).get(made["passphrase"])).size == 4

    with_service(tmp_path, test)


def test_secrets_are_hidden() -> None:
    assert hide_secrets({"passphrase": "open sesame"}) == {"passphrase": MASK}
    assert hide_in_path("/gadget-box/open sesame") == f"/gadget-box/{MASK}"


def test_declarative_files() -> None:
    nested = """\
_format_version: "3.0"
services:
- {name: s, host: h, gadgets: [{passphrase: a, size: 1}, {passphrase: b, ttl: 100}]}
"""
    first = parse_declarative(nested)
    assert len(first.configuration.of("gadgets")) == 2
    assert parse_declarative(export_declarative(first.configuration)).configuration == first.configuration
    resized = parse_declarative(nested.replace("size: 1", "size: 2"))
    (change,) = make_plan(first.configuration, resized).changes
    assert change.differences() == {"size": (1, 2)}


def sqlite_store(directory: Path) -> Store:
    return SqlStore(SqliteDatabase(directory / "test.sqlite"))


def file_store(directory: Path) -> Store:
    file = directory / "kong.yml"
    if not file.exists():
        file.write_text('_format_version: "3.0"\nservices:\n- name: first\n  host: h # of the team\n')
    return WritableFileStore(DeclarativeSource(file), LoadMemory())


@pytest.mark.parametrize("opened", [sqlite_store, file_store])
def test_stores(tmp_path: Path, opened: Callable[[Path], Store]) -> None:
    def make(draft: Draft) -> None:
        service = operations.create(draft, ENTITY_TYPES["services"], {"name": "s", "host": "h"})
        values = {"service": {"id": service.id}, "passphrase": "open sesame", "colors": ["red"]}
        operations.create(draft, Gadget, values)

    store = opened(tmp_path)
    store.open()
    (outcome, refused) = store.transact([Operation("create", "gadgets", make)] * 2)
    assert outcome.error is None
    assert isinstance(refused.error, EntityError)
    written = gadgets_of(store.configuration)
    store.close()
    again = opened(tmp_path)
    assert gadgets_of(again.open()) == written
    again.close()


def gadgets_of(configuration: Configuration) -> list[tuple[str, str, list[str] | None]]:
    return [
        (one.id, one.passphrase, one.colors)
        for one in configuration.of("gadgets").values()
        if isinstance(one, Gadget)
    ]
