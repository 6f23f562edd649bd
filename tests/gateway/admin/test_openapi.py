"""The OpenAPI document: valid, complete, and true to the declarations of fields."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from asgi_client import Node, ask, with_node
from openapi_spec_validator import validate

from gateway.admin.json_schemas import Use, component_name, entity_json_schemas
from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import check_entity, shape_of, to_kong

ID = "00000000-0000-4000-8000-000000000001"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    found: dict[str, Any] = {}

    async def test(node: Node) -> None:
        answer = await ask(node.admin, "GET", "/openapi.json")
        assert answer.status == 200
        assert answer.headers["content-type"].startswith("application/json")
        found.update(answer.json())
        found["all paths"] = (await ask(node.admin, "GET", "/endpoints")).json()["data"]

    with_node(tmp_path_factory.mktemp("node"), test)
    return found


def validator(document: dict[str, Any], name: str) -> jsonschema.Draft202012Validator:
    """The validator of one component."""
    root = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return jsonschema.Draft202012Validator(root)


def test_the_document_is_valid(document: dict[str, Any]) -> None:
    validate({name: value for name, value in document.items() if name != "all paths"})


def test_every_method_of_every_path_is_described(document: dict[str, Any], tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for path in document["all paths"]:
            allowed = (await ask(node.admin, "OPTIONS", path)).headers.get("allow", "")
            methods = set(allowed.lower().split(", ")) - {"options", "head", ""}
            described = set(document["paths"].get(path, {})) - {"parameters"}
            assert methods == described, path

    with_node(tmp_path, test)


def test_operations_have_names_of_their_own(document: dict[str, Any]) -> None:
    names = [
        operation["operationId"]
        for item in document["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len(names) == len(set(names))


def test_references_lead_somewhere(document: dict[str, Any]) -> None:
    components = document["components"]

    def look(value: Any) -> None:
        if isinstance(value, dict):
            if isinstance(value.get("$ref"), str):
                _, _, kind, name = value["$ref"].split("/")
                assert name in components[kind]
            for inner in value.values():
                look(inner)
        elif isinstance(value, list):
            for inner in value:
                look(inner)

    look(document)


def test_every_field_is_in_the_schemas_of_its_type(document: dict[str, Any]) -> None:
    for kind in ENTITY_TYPES.values():
        for use in Use:
            properties = document["components"]["schemas"][component_name(kind, use)]["properties"]
            assert set(shape_of(kind).fields) <= set(properties)
            for name, field in kind.shorthands.items():
                assert (name in properties) == (use is not Use.SHOWN or not field.stands_for)


@pytest.mark.parametrize(
    ("type_name", "values"),
    [
        ("services", {"host": "example.org"}),
        ("services", {"url": "http://example.org/x", "tags": ["a b"], "name": "é~."}),
        (
            "routes",
            {"paths": ["/a", "~/b"], "headers": {"x-y": ["1"]}, "service": {"id": ID}, "methods": ["GET"]},
        ),
        ("consumers", {"username": "u"}),
        ("upstreams", {"name": "u.test", "healthchecks": {"active": {"timeout": 2.5}}}),
        ("targets", {"target": "10.0.0.1:80", "upstream": {"id": ID}}),
        ("keyauth_credentials", {"consumer": {"id": ID}, "ttl": 60}),
        ("vaults", {"name": "env", "prefix": "my-vault", "config": {"prefix": "_A"}}),
    ],
)
def test_what_is_accepted_and_shown_fits_the_schemas(
    document: dict[str, Any], type_name: str, values: dict[str, Any]
) -> None:
    kind = ENTITY_TYPES[type_name]
    assert list(validator(document, component_name(kind, Use.NEW)).iter_errors(values)) == []
    clean, errors = check_entity(kind, values)
    assert errors == {}
    shape = shape_of(kind)
    shape.complete(clean, 1_700_000_000.5)
    shown = to_kong(kind(**{"id": ID, **clean}))
    assert list(validator(document, component_name(kind, Use.SHOWN)).iter_errors(shown)) == []


@pytest.mark.parametrize(
    ("type_name", "values"),
    [
        ("services", {"host": "h", "port": 65536}),
        ("services", {"host": "h", "name": "a b"}),
        ("services", {"host": "h", "name": ""}),
        ("services", {"host": "h", "path": "x"}),
        ("services", {"host": "h", "path": "/a//b"}),
        ("services", {"host": "h", "nope": 1}),
        ("services", {"host": "h", "protocol": "ftp"}),
        ("services", {"host": None}),
        ("services", {"host": "h", "tags": ["a,b"]}),
        ("services", {"host": "h", "ca_certificates": ["x"]}),
        ("routes", {"paths": ["/"], "protocols": []}),
        ("routes", {"paths": ["/"], "methods": ["get"]}),
        ("routes", {"paths": ["/"], "service": "x" * 3 + "/"}),
        ("upstreams", {"name": "u", "hash_on_header": "x y"}),
        ("upstreams", {"name": "u", "healthchecks": {"active": {"http_path": "x"}}}),
        ("vaults", {"name": "env", "prefix": "env"}),
        ("vaults", {"name": "env", "prefix": "a-"}),
        ("vaults", {"name": "env", "prefix": "ab", "config": {"prefix": "9"}}),
    ],
)
def test_what_breaks_a_declared_rule_does_not_fit_the_schema(
    document: dict[str, Any], type_name: str, values: dict[str, Any]
) -> None:
    kind = ENTITY_TYPES[type_name]
    assert check_entity(kind, values)[1] != {}
    assert list(validator(document, component_name(kind, Use.NEW)).iter_errors(values)) != []


def test_what_must_be_in_a_body_depends_on_the_path(document: dict[str, Any]) -> None:
    def errors(path: str, method: str, values: Any) -> list[Any]:
        schema = document["paths"][path][method]["requestBody"]["content"]["application/json"]["schema"]
        root = {**schema, "components": document["components"]}
        return list(jsonschema.Draft202012Validator(root).iter_errors(values))

    assert errors("/services", "post", {})
    assert not errors("/services", "post", {"url": "http://x"})
    assert errors("/consumers", "post", {"tags": ["x"]})
    assert not errors("/consumers/{consumers}", "put", {"tags": ["x"]})
    assert errors("/acls", "post", {"group": "g"})
    assert not errors("/consumers/{consumers}/acls", "post", {"group": "g"})
    assert not errors("/consumers/{consumers}/acls/{acls}", "put", {})
    assert not errors("/services/{services}", "patch", {"retries": None})


def test_the_configuration_of_a_plugin_has_the_schema_of_the_plugin() -> None:
    schemas = {"components": {"schemas": entity_json_schemas()}}
    for values, fits in (
        ({"name": "key-auth", "config": {"realm": "r"}}, True),
        ({"name": "key-auth", "config": {"realm": ""}}, False),
        ({"name": "key-auth", "config": {"nope": 1}}, False),
        ({"name": "key-auth"}, True),
    ):
        assert (list(validator(schemas, "plugin_new").iter_errors(values)) == []) is fits


def test_errors_fit_their_schema(document: dict[str, Any], tmp_path: Path) -> None:
    async def test(node: Node) -> None:
        for method, path, body, name in (
            ("GET", "/services/nope", None, "message"),
            ("GET", "/services?size=0", None, "error"),
            ("GET", "/services?tags=a,b/c", None, "error"),
            ("POST", "/schemas/services/validate", {}, "error"),
            ("POST", "/config", {"_format_version": "3.0", "services": [{}]}, "error"),
            ("POST", "/config?flatten_errors=1", {"_format_version": "3.0", "services": [{}]}, "error"),
        ):
            encoded = b"" if body is None else json.dumps(body).encode()
            answer = await ask(node.admin, method, path, encoded, JSON if encoded else None)
            assert answer.status >= 400
            assert list(validator(document, name).iter_errors(answer.json())) == [], path

    with_node(tmp_path, test)
