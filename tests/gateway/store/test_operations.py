"""What writes make of the fields of an entity: POST, PATCH, PUT (reference/entities.md §0, §5, §6;
corrections.md)."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.store import operations
from gateway.store.draft import Draft
from gateway.store.errors import EntityError
from tests.support.writes import NOWHERE, SOME_ID, create, reference, refused, replace, update

# What is filled in

NO_HOST = "not a valid hostname or ip address"


def test_ids_and_times_are_filled_in(draft: Draft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.1234)
    service = create(draft, "services", host="h")
    assert len(service.id) == 36
    assert (service.created_at, service.updated_at) == (1_700_000_000, 1_700_000_000)
    upstream = create(draft, "upstreams", name="u")
    target = create(draft, "targets", target="a", upstream=reference(upstream))
    assert (target.created_at, target.updated_at) == (1_700_000_000.123, 1_700_000_000.123)
    assert target.target == "a:8000"
    assert len(create(draft, "consumers", username="c", id=SOME_ID.upper()).id) == 36


def test_times_that_are_given(draft: Draft) -> None:
    service = create(draft, "services", host="h", created_at=1, updated_at=1)
    assert service.created_at == 1
    assert service.updated_at > 1
    assert update(draft, service, updated_at=5).updated_at > 5
    assert update(draft, service, created_at=7).created_at == 7


def test_a_change_is_timed(draft: Draft, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)
    service = create(draft, "services", name="s", host="h")
    monkeypatch.setattr("time.time", lambda: 1_700_000_009.0)
    changed = update(draft, service)
    assert (changed.created_at, changed.updated_at) == (1_700_000_000, 1_700_000_009)
    replaced = replace(draft, "services", {"name": "s"}, host="h")
    assert (replaced.id, replaced.created_at) == (service.id, 1_700_000_009)


def test_generated_keys(draft: Draft) -> None:
    consumer = create(draft, "consumers", username="c")
    key = create(draft, "keyauth_credentials", consumer=reference(consumer))
    assert key.key.isalnum()
    assert len(key.key) == 32
    assert update(draft, key, tags=["t"]).key == key.key
    assert update(draft, key, key=None).key != key.key
    assert replace(draft, "keyauth_credentials", reference(key), consumer=reference(consumer)).key != key.key


# PATCH


def test_patch_merges_records_and_replaces_the_rest(draft: Draft) -> None:
    upstream = create(
        draft,
        "upstreams",
        name="u",
        tags=["a", "b"],
        healthchecks={"active": {"timeout": 5, "headers": {"x": ["1"]}, "healthy": {"interval": 3}}},
    )
    changed = update(
        draft,
        upstream,
        tags=["c"],
        healthchecks={
            "active": {"healthy": {"successes": 2}, "headers": {"y": ["2"]}},
            "passive": {"unhealthy": {"http_statuses": [500]}},
        },
    )
    active = changed.healthchecks.active
    assert (active.timeout, active.healthy.interval, active.healthy.successes) == (5, 3, 2)
    assert active.headers == {"y": ["2"]}
    assert changed.healthchecks.passive.unhealthy.http_statuses == [500]
    assert changed.healthchecks.passive.healthy == upstream.healthchecks.passive.healthy
    assert changed.tags == ["c"]
    assert draft.get("upstreams", upstream.id) is changed


def test_null_is_the_default_where_there_must_be_a_value(draft: Draft) -> None:
    service = create(draft, "services", name="s", host="h", protocol="https", port=1, retries=1, path="/p")
    changed = update(draft, service, protocol=None, port=None, retries=None, path=None, name=None)
    assert (changed.protocol, changed.port, changed.retries, changed.path, changed.name) == (
        "http",
        80,
        None,
        None,
        None,
    )
    assert refused(draft, update, changed, host=None)["message"] == (
        "schema violation (host: required field missing)"
    )
    upstream = create(draft, "upstreams", name="u", healthchecks={"threshold": 5})
    assert update(draft, upstream, healthchecks=None).healthchecks.threshold == 0


def test_another_id_is_ignored(draft: Draft) -> None:
    service = create(draft, "services", host="h")
    assert update(draft, service, id=NOWHERE, port=1).id == service.id
    assert draft.get("services", NOWHERE) is None


def test_a_url_stands_for_four_fields(draft: Draft) -> None:
    service = create(draft, "services", url="https://a.b:8443/p")
    assert (service.protocol, service.host, service.port, service.path) == ("https", "a.b", 8443, "/p")
    changed = update(draft, service, url="http://c.d")
    assert (changed.protocol, changed.host, changed.port, changed.path) == ("http", "c.d", 80, None)
    assert refused(draft, update, changed, url="http://")["fields"] == {"host": "required field missing"}


def test_algorithm_and_hash_follow_what_is_changed(draft: Draft) -> None:
    upstream = create(draft, "upstreams", name="u", algorithm="least-connections")
    changed = update(draft, upstream, hash_on="header", hash_on_header="x-id")
    assert changed.algorithm == "consistent-hashing"
    assert update(draft, changed, slots=100).hash_on == "header"
    assert update(draft, changed, algorithm="latency").hash_on == "none"


def test_texts_about_updates(draft: Draft) -> None:
    consumer = create(draft, "consumers", username="c")
    assert refused(draft, update, consumer, username=None)["message"] == (
        "schema violation (when updating, at least one of these fields must be non-empty: "
        "'custom_id', 'username')"
    )
    assert refused(draft, update, consumer, nope=1)["fields"] == {"nope": "unknown field"}


# PUT


def test_put_replaces_everything(draft: Draft) -> None:
    service = create(draft, "services", name="s", host="h", port=1, tags=["t"])
    replaced = replace(draft, "services", reference(service), host="other")
    assert (replaced.id, replaced.name, replaced.port, replaced.tags) == (service.id, None, 80, None)
    assert draft.find("services", "s") is None


def test_put_by_name(draft: Draft) -> None:
    made = replace(draft, "services", {"name": "s"}, host="h", name="other", id=SOME_ID)
    assert (made.name, made.id) == ("s", SOME_ID)
    again = replace(draft, "services", {"name": "s"}, host="h2", id=NOWHERE)
    assert (again.id, again.host) == (SOME_ID, "h2")
    assert refused(draft, replace, "services", {"name": "new"}, host="h", id=SOME_ID)["code"] == 3


def test_put_by_id(draft: Draft) -> None:
    made = replace(draft, "consumers", {"id": SOME_ID}, username="c", id=NOWHERE)
    assert made.id == SOME_ID
    assert replace(draft, "consumers", {"id": SOME_ID}, custom_id="x").username is None


def test_put_by_fields_that_are_unique_together(draft: Draft) -> None:
    consumer = create(draft, "consumers", username="c")
    key = {"consumer": consumer.id, "group": "g"}
    made = replace(draft, "acls", key)
    assert (made.group, made.consumer.id) == ("g", consumer.id)
    assert replace(draft, "acls", key, tags=["t"]).id == made.id
    assert len(draft.children("acls", "consumers", consumer.id)) == 1


# Messages


@pytest.mark.parametrize(
    ("type_name", "values", "message"),
    [
        ("routes", {"paths": ["/", "x"]}, "paths.2: should start with: / (fixed path) or ~/ (regex path)"),
        (
            "upstreams",
            {"name": "u", "healthchecks": {"active": {"healthy": {"http_statuses": [200, 99]}}}},
            "healthchecks.active: {\n  healthy = {\n    http_statuses = {\n"
            '      [2] = "value should be between 100 and 999"\n    }\n  }\n}',
        ),
        (
            "routes",
            {"protocols": ["tcp"], "sources": [{}]},
            'sources.1: {\n  ["@entity"] = {\n'
            "    \"at least one of these fields must be non-empty: 'ip', 'port'\"\n  }\n}",
        ),
        ("consumers", {"@entity": 1, "username": "c"}, "unknown field"),
        ("routes", {"paths": ["/"], "protocols": ["http", "tcp"], "@entity": 1}, None),
        ("targets", {"target": "a b"}, f"target: Invalid target; {NO_HOST}"),
        ("targets", {"target": "", "weight": -1, "x": 1}, f"target: Invalid target; {NO_HOST}"),
    ],
)
def test_messages(draft: Draft, type_name: str, values: dict[str, Any], message: str | None) -> None:
    upstream = create(draft, "upstreams", name="other")
    if type_name == "targets":
        values["upstream"] = reference(upstream)
    answer = refused(draft, create, type_name, **values)
    assert message is None or answer["message"] == f"schema violation ({message})"
    json.dumps(answer)


def test_errors_of_elements_are_arrays(draft: Draft) -> None:
    answer = refused(draft, create, "routes", paths=["/", "x"])
    assert answer["fields"] == {"paths": [None, "should start with: / (fixed path) or ~/ (regex path)"]}


def test_checking_without_other_entities() -> None:
    kind = ENTITY_TYPES["routes"]
    operations.check(kind, {"paths": ["/"], "service": {"id": NOWHERE}})
    with pytest.raises(EntityError) as caught:
        operations.check(kind, {"paths": ["x"]})
    assert caught.value.code == 2
