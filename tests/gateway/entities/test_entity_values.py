"""What entities look like once they are made: defaults, shorthands, normal forms, the Kong form."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES
from gateway.entities.fields import Array, Field, Foreign, Map, Text
from gateway.entities.record import Entity, Group, Record, check_entity, random_key, shape_of, to_kong

ID = "00000000-0000-4000-8000-000000000001"


def make(type_name: str, **values: Any) -> Entity:
    kind = ENTITY_TYPES[type_name]
    clean, errors = check_entity(kind, {"id": ID, **values})
    assert errors == {}
    shape_of(kind).complete(clean, 1700000000.1234)
    kind.transform(clean)
    return kind(**clean)


def test_a_service_with_defaults_in_kongs_form() -> None:
    assert to_kong(make("services", host="h")) == {
        "id": ID,
        "created_at": 1700000000,
        "updated_at": 1700000000,
        "name": None,
        "retries": 5,
        "protocol": "http",
        "host": "h",
        "port": 80,
        "path": None,
        "connect_timeout": 60000,
        "write_timeout": 60000,
        "read_timeout": 60000,
        "tags": None,
        "client_certificate": None,
        "tls_verify": None,
        "tls_verify_depth": None,
        "ca_certificates": None,
        "enabled": True,
    }


def test_null_is_the_default_where_a_value_is_required_and_null_elsewhere() -> None:
    service = to_kong(make("services", host="h", port=None, enabled=None, retries=None))
    assert (service["port"], service["enabled"], service["retries"]) == (80, True, None)


def test_extension_fields_show_only_when_they_are_used() -> None:
    assert "query_params" not in to_kong(make("routes", paths=["/"]))
    assert to_kong(make("routes", query_params={"a": ["b"]}))["query_params"] == {"a": ["b"]}
    key = to_kong(make("keyauth_credentials", key="k", consumer={"id": ID}))
    assert key == {"id": ID, "created_at": 1700000000, "key": "k", "consumer": {"id": ID}, "tags": None}


def test_grpc_routes_keep_the_path() -> None:
    assert to_kong(make("routes", paths=["/"], protocols=["grpc"]))["strip_path"] is False
    assert to_kong(make("routes", paths=["/"]))["strip_path"] is True


def test_sets_drop_repetitions_and_arrays_keep_them() -> None:
    route = to_kong(make("routes", paths=["/a", "/a"], tags=["y", "x", "y"], methods=["GET", "GET"]))
    assert (route["paths"], route["tags"], route["methods"]) == (["/a", "/a"], ["y", "x"], ["GET"])


def test_records_in_entities_are_completed() -> None:
    route = to_kong(make("routes", protocols=["tcp"], destinations=[{"port": 80}]))
    assert route["destinations"] == [{"port": 80, "ip": None}]
    checks = to_kong(make("upstreams", name="u", healthchecks={"active": {"timeout": 3}}))["healthchecks"]
    assert checks["active"]["timeout"] == 3
    assert checks["active"]["unhealthy"]["http_statuses"] == [429, 404, 500, 501, 502, 503, 504, 505]
    assert checks["passive"]["healthy"]["http_statuses"] == [*range(200, 209), 226, *range(300, 309)]
    assert checks["threshold"] == 0


@pytest.mark.parametrize(
    ("url", "protocol", "host", "port", "path"),
    [
        ("http://a.b", "http", "a.b", 80, None),
        ("https://a.b", "https", "a.b", 443, None),
        ("https://a.b:80/", "https", "a.b", 80, "/"),
        ("http://a.b/p?q=1#f", "http", "a.b", 80, "/p"),
        ("http://A.b:8080/P/q", "http", "A.b", 8080, "/P/q"),
        ("http://user:pw@a.b:81/x", "http", "a.b", 81, "/x"),
        ("http://[::1]:81/x", "http", "::1", 81, "/x"),
        ("grpc://a.b", "grpc", "a.b", 80, None),
        ("//a.b:443/x", "https", "a.b", 443, "/x"),
        ("//a.b/x", "http", "a.b", 80, "/x"),
    ],
)
def test_url_stands_for_four_fields(url: str, protocol: str, host: str, port: int, path: str | None) -> None:
    service = to_kong(make("services", url=url, host="other", port=1))
    assert "url" not in service
    assert (service["protocol"], service["host"]) == (protocol, host)
    assert (service["port"], service["path"]) == (port, path)


@pytest.mark.parametrize(
    ("given", "algorithm", "hash_on"),
    [
        ({}, "round-robin", "none"),
        ({"hash_on": "ip"}, "consistent-hashing", "ip"),
        ({"hash_on": "ip", "algorithm": "round-robin"}, "consistent-hashing", "ip"),
        ({"hash_on": "none", "algorithm": "consistent-hashing"}, "round-robin", "none"),
        ({"algorithm": "consistent-hashing"}, "consistent-hashing", "none"),
        ({"algorithm": "least-connections", "hash_on": "ip"}, "least-connections", "none"),
        ({"algorithm": "latency"}, "latency", "none"),
        ({"hash_on": None}, "round-robin", "none"),
        ({"hash_on": None, "algorithm": "consistent-hashing"}, "consistent-hashing", "none"),
    ],
)
def test_algorithm_and_hash_input_imply_each_other(
    given: dict[str, str | None], algorithm: str, hash_on: str
) -> None:
    upstream = to_kong(make("upstreams", name="u", **given))
    assert (upstream["algorithm"], upstream["hash_on"]) == (algorithm, hash_on)


@pytest.mark.parametrize(
    ("given", "stored"),
    [
        ("10.0.0.1:80", "10.0.0.1:80"),
        ("10.0.0.2", "10.0.0.2:8000"),
        ("010.0.0.2", "10.0.0.2:8000"),
        ("host.example", "host.example:8000"),
        ("host.example:9000", "host.example:9000"),
        ("[::1]:80", "[0000:0000:0000:0000:0000:0000:0000:0001]:80"),
        ("::1", "[0000:0000:0000:0000:0000:0000:0000:0001]:8000"),
        ("[2001:db8::a]", "[2001:0db8:0000:0000:0000:0000:0000:000a]:8000"),
    ],
)
def test_targets_get_a_port_and_brackets(given: str, stored: str) -> None:
    target = to_kong(make("targets", target=given, upstream={"id": ID}))
    assert target["target"] == stored
    assert target["created_at"] == 1700000000.123


def test_a_target_that_is_made_with_the_second() -> None:
    """The file writes what is loaded from it: there, a whole number has no ".0"."""
    made: dict[str, Any] = {}
    shape_of(ENTITY_TYPES["targets"]).complete(made, 1700000000.0)
    assert repr(made["created_at"]) == "1700000000"


def test_generated_keys_are_random_letters_and_digits() -> None:
    secret = to_kong(make("jwt_secrets", consumer={"id": ID}))
    assert len(secret["key"]) == len(secret["secret"]) == 32
    assert secret["key"].isalnum()
    assert secret["key"] != secret["secret"] != random_key()


def test_ids_are_lower_case() -> None:
    upper = "ABCDEF00-0000-4000-8000-000000000001"
    assert to_kong(make("routes", id=upper, paths=["/"], service={"id": upper})) | {
        "id": upper.lower(),
        "service": {"id": upper.lower()},
    } == to_kong(make("routes", id=upper, paths=["/"], service={"id": upper}))


def test_passwords_are_hashed_as_kong_hashes_them() -> None:
    # The pair that dbless-creds recorded.
    values = {"password": "p", "consumer": make("consumers", username="bob")}
    values["consumer"] = msgspec.structs.replace(
        values["consumer"], id="00000000-0000-4000-8000-000000000008"
    )
    ENTITY_TYPES["basicauth_credentials"].hash_secrets(values)
    assert next(iter(values.values())) == "8484d630fea9e2bf837139779ffb3e9987cc2ec7"


def test_client_secrets_are_hashed_when_asked_for() -> None:
    kind = ENTITY_TYPES["oauth2_credentials"]
    plain = {"client_secret": "cs", "hash_secret": False}
    kind.hash_secrets(plain)
    assert plain == {"client_secret": "cs", "hash_secret": False}
    hashed = {"client_secret": "cs", "hash_secret": True}
    kind.hash_secrets(hashed)
    assert hashed["client_secret"].startswith("$pbkdf2-sha512$i=10000,l=32$")


def all_records() -> list[type[Record]]:
    found: list[type[Record]] = list(ENTITY_TYPES.values())
    for record in found:
        for field in shape_of(record).fields.values():
            inner = field.elements if isinstance(field, Array) else field
            if isinstance(inner, Group) and inner.record not in found:
                found.append(inner.record)
    return found


@pytest.mark.parametrize("record", all_records(), ids=lambda record: record.__name__)
def test_every_field_is_documented_and_its_default_obeys_its_rules(record: type[Record]) -> None:
    shape = shape_of(record)
    for name, field in shape.fields.items():
        assert isinstance(field, Field)
        assert field.doc.endswith((".", ")")), name
        default = shape.defaults.get(name)
        if isinstance(default, Record):
            default = msgspec.to_builtins(default)
        if default is not None:
            assert field.check(default)[1] is None, name
        if name not in shape.defaults:
            assert field.required or field.auto, name
        if isinstance(field, Foreign):
            assert field.reference in ENTITY_TYPES
        if isinstance(field, Map):
            assert isinstance(field.keys, Text)


def test_types_stand_after_what_they_refer_to() -> None:
    order = list(ENTITY_TYPES)
    for parent, children in CHILDREN.items():
        for child in children:
            assert order.index(parent) < order.index(child)
    assert CHILDREN["services"] == {
        "routes": "service",
        "plugins": "service",
        "oauth2_tokens": "service",
    }
    assert CHILDREN["upstreams"] == {"targets": "upstream"}
