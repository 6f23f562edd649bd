"""Loading declarative configurations: nesting, references, ids, older formats, secrets."""

from __future__ import annotations

import hashlib
import json
import ssl
from typing import Any

import pytest

from gateway.entities import Reference
from gateway.entities.consumers import Consumer
from gateway.entities.record import to_kong
from gateway.entities.routes import Route
from gateway.entities.services import Service
from gateway.entities.targets import Target
from gateway.plugins import AVAILABLE
from gateway.store import (
    EMPTY_HASH,
    Configuration,
    DeclarativeError,
    EntityJson,
    content_hash,
    load_declarative,
    load_declarative_document,
    parse_declarative,
)
from tests.support.certificates import authority, self_signed

KONG_YML = """
_format_version: "3.0"
_comment: our gateway
_ignore: [anything, {at: all}]
services:
- name: s1
  url: http://127.0.0.1:8080/base
  _comment: the first one
  routes:
  - name: r1
    paths: [/a]
  - paths: [/b]
  - paths: [/b]
- host: nameless
routes:
- name: flat
  service: s1
  hosts: [example.com]
- name: by-id
  service: 356ebaf8-b7af-5cba-99a1-f392e34730ab
  hosts: [by-id.example.com]
- name: by-object
  service: {id: 356EBAF8-b7af-5cba-99a1-f392e34730ab}
  hosts: [by-object.example.com]
- name: without-service
  query_params: {version: ["2", "~*^3"]}
consumers:
- username: bob
  acls: [{group: g}]
  keyauth_credentials: [{key: k}]
upstreams:
- name: u
  targets:
  - target: 127.0.0.1:1
  - target: b
    weight: 0
"""
S1 = "356ebaf8-b7af-5cba-99a1-f392e34730ab"


def document(**types: Any) -> str:
    return json.dumps({"_format_version": "3.0", **types})


def test_a_file_of_everything() -> None:
    configuration = load_declarative(KONG_YML)
    assert {name: len(table) for name, table in configuration.entities.items()} == {
        "services": 2,
        "routes": 7,
        "upstreams": 1,
        "targets": 2,
        "consumers": 1,
        "keyauth_credentials": 1,
        "acls": 1,
    }
    service = configuration.of("services")[S1]
    assert isinstance(service, Service)
    assert (service.protocol, service.host, service.port, service.path) == (
        "http",
        "127.0.0.1",
        8080,
        "/base",
    )
    routes = [route for route in configuration.of("routes").values() if isinstance(route, Route)]
    assert [route.name for route in routes] == [
        "r1",
        None,
        None,
        "flat",
        "by-id",
        "by-object",
        "without-service",
    ]
    assert [route.service for route in routes] == [Reference(S1)] * 6 + [None]
    assert routes[-1].query_params == {"version": ["2", "~*^3"]}
    targets = [target for target in configuration.of("targets").values() if isinstance(target, Target)]
    assert [target.target for target in targets] == ["127.0.0.1:1", "b:8000"]
    assert targets[0].id == "3f7e6475-0ebb-5e57-98b1-a0a7ae3c852c"
    assert configuration.hash == hashlib.md5(KONG_YML.encode(), usedforsecurity=False).hexdigest()


def test_json_and_yaml_give_the_same() -> None:
    as_json = document(services=[{"name": "s1", "host": "h", "created_at": 1, "updated_at": 2}])
    as_yaml = "_format_version: 3.0\nservices:\n- {name: s1, host: h, created_at: 1, updated_at: 2}\n"
    assert load_declarative(as_json) == load_declarative(as_yaml) == load_declarative(as_yaml.encode())
    assert load_declarative(as_json) == load_declarative_document(json.loads(as_json))
    assert load_declarative(as_json) != Configuration.EMPTY


def test_every_load_gives_the_same_ids() -> None:
    first, second = load_declarative(KONG_YML), load_declarative(KONG_YML)
    assert {name: list(table) for name, table in first.entities.items()} == {
        name: list(table) for name, table in second.entities.items()
    }


def test_a_nameless_route_keeps_its_id_when_others_come_and_go() -> None:
    def ids(*paths: str) -> dict[str, str]:
        routes = [{"paths": [path]} for path in paths]
        loaded = load_declarative(document(services=[{"name": "s", "host": "h", "routes": routes}]))
        return {
            route.paths[0]: route.id
            for route in loaded.of("routes").values()
            if isinstance(route, Route) and route.paths
        }

    assert ids("/b", "/new", "/a")["/a"] == ids("/a", "/b")["/a"]
    assert len(set(ids("/a", "/b", "/c").values())) == 3


def test_an_empty_configuration_has_the_hash_of_zeros() -> None:
    for text in ("_format_version: '3.0'", document(), document(services=[], routes=None, consumers={})):
        configuration = load_declarative(text)
        assert configuration == Configuration.EMPTY
        assert configuration.hash == EMPTY_HASH == "0" * 32
    assert content_hash("x") == content_hash(b"x")


@pytest.mark.parametrize("version", ["1.1", "2.1"])
def test_older_formats_mark_regular_expressions(version: str) -> None:
    paths = [r"/v\d+", "/plain", "/dot.ted"]
    text = json.dumps(
        {
            "_format_version": version,
            "services": [{"name": "s1", "host": "h", "routes": [{"name": "r", "paths": paths}]}],
            "routes": [{"name": "top", "paths": paths}],
        }
    )
    loaded = load_declarative(text).of("routes").values()
    assert [route.paths for route in loaded if isinstance(route, Route)] == [[r"~/v\d+", *paths[1:]]] * 2


@pytest.mark.parametrize("version", ["3.0", "2.1", "1.1"])
def test_a_version_without_quotes_is_understood(version: str) -> None:
    assert load_declarative(f"_format_version: {version}") == Configuration.EMPTY


def test_passwords_are_hashed_and_the_answer_shows_what_was_given() -> None:
    consumer = {
        "username": "bob",
        "id": "00000000-0000-4000-8000-000000000008",
        "basicauth_credentials": [{"username": "u", "password": "p"}],
    }
    identifier = "b8b13216-f8d0-5482-8264-f38e673a5811"
    parsed = parse_declarative(document(consumers=[consumer]))
    stored = parsed.configuration.to_kong()["basicauth_credentials"][identifier]
    assert stored["password"] == hashlib.sha1(b"p00000000-0000-4000-8000-000000000008").hexdigest()  # noqa: S324
    given = json.loads(parsed.answer(EntityJson()))["basicauth_credentials"][identifier]
    assert {**stored, **{"password": "p"}} == given
    untouched = load_declarative(document(_transform=False, consumers=[consumer]))
    assert untouched.to_kong()["basicauth_credentials"][identifier] == given | {
        "created_at": untouched.to_kong()["basicauth_credentials"][identifier]["created_at"]
    }


def test_decks_remarks_are_ignored() -> None:
    text = document(_konnect={"x": 1}, _workspace="default", _plugin_configs={})
    assert load_declarative(text) == Configuration.EMPTY


def test_merged_and_aliased_parts_are_independent() -> None:
    text = """
_format_version: "3.0"
services:
- &first
  name: one
  host: h
  tags: &tags [a, b]
- <<: *first
  name: two
- name: three
  host: h
  tags: *tags
"""
    services = load_declarative(text).of("services").values()
    assert [(service.tags, getattr(service, "name", "")) for service in services] == [
        (["a", "b"], "one"),
        (["a", "b"], "two"),
        (["a", "b"], "three"),
    ]


DEFAULTS = {name: to_kong(AVAILABLE[name].config()) for name in ("key-auth", "rate-limiting")}


def test_plugins_get_their_defaults_and_scopes() -> None:
    text = document(
        services=[
            {
                "name": "s1",
                "host": "h",
                "plugins": [{"name": "key-auth", "config": {"realm": "r"}}],
                "routes": [
                    {
                        "name": "r1",
                        "paths": ["/"],
                        "plugins": [{"name": "rate-limiting", "config": {"day": 9}}],
                    }
                ],
            }
        ],
        consumers=[{"username": "bob"}],
        plugins=[{"name": "rate-limiting", "consumer": "bob", "service": "s1", "config": {"minute": 5.0}}],
    )
    plugins = list(load_declarative(text).to_kong()["plugins"].values())
    assert [(p["name"], p["service"], p["route"], p["consumer"], p["config"]) for p in plugins] == [
        ("key-auth", {"id": S1}, None, None, {**DEFAULTS["key-auth"], "realm": "r"}),
        (
            "rate-limiting",
            None,
            {"id": "4726a05a-d550-537e-9fc3-a07c7a1188c7"},
            None,
            {**DEFAULTS["rate-limiting"], "day": 9},
        ),
        (
            "rate-limiting",
            {"id": S1},
            None,
            {"id": "def4f7d3-9863-5ad2-8fa9-c949bf26f55e"},
            {**DEFAULTS["rate-limiting"], "minute": 5},
        ),
    ]
    assert {plugin["id"] for plugin in plugins} >= {"c490489e-4399-5c4c-b86d-ad8ac16eb6f5"}


def test_certificates_hold_their_names_and_services() -> None:
    certificate_text, key_text = self_signed("a.com")
    authority_text, _ = authority()
    jwk = '{"kid":"k","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
    text = document(
        certificates=[
            {
                "cert": certificate_text,
                "key": key_text,
                "snis": [{"name": "a.com"}, {"name": "*.b.com"}],
                "services": [{"name": "tls", "protocol": "https", "host": "h"}],
            }
        ],
        ca_certificates=[{"cert": authority_text}],
        vaults=[{"name": "env", "prefix": "my-env", "config": {"prefix": "APP_"}}],
        key_sets=[{"name": "set", "keys": [{"kid": "k", "jwk": jwk}]}],
    )
    forms = load_declarative(text).to_kong()
    (certificate,) = forms["certificates"]
    assert [sni["certificate"] for sni in forms["snis"].values()] == [{"id": certificate}] * 2
    assert [service["client_certificate"] for service in forms["services"].values()] == [{"id": certificate}]
    (trusted,) = forms["ca_certificates"].values()
    assert trusted["cert_digest"] == hashlib.sha256(ssl.PEM_cert_to_DER_cert(authority_text)).hexdigest()
    assert [key["set"] for key in forms["keys"].values()] == [{"id": next(iter(forms["key_sets"]))}]


def test_finding_entities() -> None:
    configuration = load_declarative(KONG_YML)
    service = configuration.find("services", "s1")
    assert service is not None
    assert service is configuration.find("services", S1) is configuration.find("services", S1.upper())
    assert configuration.find("services", "none") is None
    assert configuration.find("acls", "g") is None
    assert isinstance(configuration.find("consumers", "bob"), Consumer)
    assert len(configuration.children("routes", "services", S1)) == 6
    assert configuration.children("plugins", "services", S1) == []
    assert len(configuration) == 15
    assert configuration.of("snis") == {}
    with pytest.raises(TypeError):
        configuration.entities["services"]["x"] = service  # type: ignore[index]


def test_a_configuration_of_many_routes_loads() -> None:
    services = [
        {
            "name": f"s{n}",
            "host": "h",
            "routes": [
                {"name": f"r{n}-{m}", "paths": [f"/s{n}/r{m}", f"~/x{n}/(?<id>\\d+)/{m}$"]} for m in range(10)
            ],
        }
        for n in range(100)
    ]
    assert len(load_declarative(document(services=services)).of("routes")) == 1000


def test_reading_is_all_or_nothing() -> None:
    with pytest.raises(DeclarativeError):
        load_declarative(document(services=[{"name": "good", "host": "h"}, {"name": "bad"}]))
