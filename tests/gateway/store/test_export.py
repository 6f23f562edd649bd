"""Exporting a configuration and loading the export gives the same configuration."""

from __future__ import annotations

from typing import Any

import orjson
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.store import Configuration, export_declarative, load_declarative, load_declarative_document
from gateway.store.documents import read_yaml
from gateway.store.export import exported_document
from tests.support.made_entities import configurations

WORDS = st.text("abcxyz019", min_size=1, max_size=6)
HOSTS = WORDS.map(lambda word: f"h{word}")
TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0", exclude_categories=("Cs",)), min_size=1, max_size=12
)
TAGS = st.none() | st.lists(WORDS, max_size=3)
HEADERS = st.dictionaries(WORDS, st.lists(TEXTS, min_size=1, max_size=2), min_size=1, max_size=2)
PATHS = st.lists(WORDS.map(lambda word: f"/{word}") | st.just(r"~/(?<n>\d+)$"), min_size=1, max_size=3)


def optional(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional=fields)


ROUTES = optional(
    paths=PATHS,
    hosts=st.lists(HOSTS, max_size=2),
    headers=HEADERS,
    query_params=HEADERS,
    tags=TAGS,
    strip_path=st.booleans(),
    methods=st.just(["GET"]),
    regex_priority=st.integers(-5, 5),
).filter(lambda route: route.get("paths") or route.get("headers") or route.get("query_params"))
SERVICES = optional(
    host=HOSTS,
    retries=st.none() | st.integers(0, 9),
    tags=TAGS,
    enabled=st.booleans(),
    routes=st.lists(ROUTES, max_size=3),
)
TARGETS = optional(weight=st.integers(0, 100), tags=TAGS)
UPSTREAMS = optional(
    algorithm=st.sampled_from(["round-robin", "least-connections", "latency", "consistent-hashing"]),
    hash_on=st.sampled_from(["none", "ip", "path", "consumer"]),
    targets=st.dictionaries(HOSTS, TARGETS, max_size=3),
    healthchecks=optional(threshold=st.floats(0, 100), active=optional(timeout=st.integers(0, 9))),
)
CONSUMERS = optional(
    custom_id=TEXTS,
    tags=TAGS,
    keyauth_credentials=st.lists(optional(tags=TAGS), max_size=2),
    basicauth_credentials=st.lists(st.fixed_dictionaries({"password": TEXTS}), max_size=1),
    acls=st.dictionaries(WORDS, optional(tags=TAGS), max_size=2),
)


def listed(key: str, entries: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{**entry, key: name} for name, entry in entries.items()]


@st.composite
def documents(draw: st.DrawFn) -> dict[str, Any]:
    services = listed("name", draw(st.dictionaries(WORDS, SERVICES, max_size=3)))
    upstreams = listed("name", draw(st.dictionaries(HOSTS, UPSTREAMS, max_size=2)))
    consumers = listed("username", draw(st.dictionaries(TEXTS, CONSUMERS, max_size=3)))
    for service in services:
        service.setdefault("host", "h")
    for upstream in upstreams:
        upstream["targets"] = listed("target", upstream.get("targets", {}))
    seen: set[str] = set()
    for number, consumer in enumerate(consumers):
        consumer["acls"] = listed("group", consumer.get("acls", {}))
        for credential in consumer.get("basicauth_credentials", ()):
            credential["username"] = f"user {number}"
        if consumer.get("custom_id") in seen:
            del consumer["custom_id"]
        seen.add(consumer.get("custom_id", ""))
    return {"_format_version": "3.0", "services": services, "upstreams": upstreams, "consumers": consumers}


@given(documents())
@settings(max_examples=50, suppress_health_check=[HealthCheck.too_slow])
def test_export_and_load_is_the_identity(document: dict[str, Any]) -> None:
    configuration = load_declarative_document(document)
    text = export_declarative(configuration)
    again = load_declarative(text)
    assert again == configuration
    assert export_declarative(again) == text


@given(configurations())
@settings(max_examples=40, suppress_health_check=list(HealthCheck))
def test_every_entity_comes_back_as_it_was(configuration: Configuration) -> None:
    text = export_declarative(configuration)
    again = load_declarative(text)
    assert again == configuration
    assert export_declarative(again) == text
    assert load_declarative(orjson.dumps(exported_document(configuration))) == configuration


def test_a_name_that_looks_like_the_id_of_another() -> None:
    identifier = "00000000-0000-4000-8000-00000000000a"
    configuration = load_declarative_document(
        {
            "_format_version": "3.0",
            "services": [
                {"name": "a", "host": "h", "id": identifier, "routes": [{"name": "r", "paths": ["/"]}]},
                {"name": identifier, "host": "h"},
            ],
        }
    )
    assert load_declarative(export_declarative(configuration)) == configuration


def test_the_form_is_kongs() -> None:
    text = export_declarative(
        load_declarative("_format_version: 3.0\nservices: [{name: y1, url: 'http://h:81/p'}]")
    )
    document = read_yaml(text).value
    assert list(document) == ["_format_version", "_transform", "services"]
    assert document["_format_version"] == "3.0"
    assert document["_transform"] is False
    (service,) = document["services"]
    assert service["id"] == "234ab948-58e1-5b91-88b8-23791ea31577"
    assert (service["path"], service["tags"], service["client_certificate"]) == ("/p", None, None)


def test_an_empty_configuration_is_exported_as_kong_exports_it() -> None:
    document = read_yaml(export_declarative(Configuration.EMPTY)).value
    assert document == {"_format_version": "3.0", "_transform": False}


def test_references_are_ids_and_secrets_stay_as_they_are() -> None:
    configuration = load_declarative(
        """
_format_version: "3.0"
consumers:
- username: bob
  basicauth_credentials: [{username: u, password: p}]
  oauth2_credentials: [{name: app, hash_secret: true, client_secret: s}]
services:
- name: s
  host: h
  plugins: [{name: key-auth, config: {key_names: [a]}}]
"""
    )
    document = read_yaml(export_declarative(configuration)).value
    (consumer,) = document["consumers"]
    assert document["basicauth_credentials"][0]["consumer"] == consumer["id"]
    assert document["plugins"][0]["service"] == document["services"][0]["id"]
    assert load_declarative(export_declarative(configuration)) == configuration
