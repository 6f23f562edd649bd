"""What must hold between entities when one is written or removed (reference/entities.md §5, §6)."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.store import operations
from gateway.store.draft import Draft
from tests.support.writes import NOWHERE, SOME_ID, create, reference, refused, replace, update

# References


@pytest.mark.parametrize("name", [{"username": "bob"}, {"custom_id": "7"}, {"id": None, "username": "bob"}])
def test_references_by_a_unique_field(draft: Draft, name: dict[str, Any]) -> None:
    consumer = create(draft, "consumers", username="bob", custom_id="7")
    assert create(draft, "keyauth_credentials", consumer=name).consumer.id == consumer.id
    eve = create(draft, "consumers", username="eve")
    key = create(draft, "keyauth_credentials", consumer=reference(eve))
    assert update(draft, key, consumer=name).consumer.id == consumer.id
    assert replace(draft, "acls", {"id": SOME_ID}, consumer=name, group="g").consumer.id == consumer.id


def test_references_by_a_name_that_nothing_has(draft: Draft) -> None:
    text = "the foreign key cannot be resolved with '{name=\"none\"}' for an existing 'services' entity"
    assert refused(draft, create, "routes", paths=["nonsense"], service={"name": "none"}) == {
        "status": 400,
        "code": 13,
        "name": "foreign keys unresolved",
        "message": f"foreign key unresolved (service.name: {text})",
        "fields": {"service": {"name": text}},
    }


def test_several_references_by_names_that_nothing_has(draft: Draft) -> None:
    answer = refused(
        draft,
        create,
        "plugins",
        name="rate-limiting",
        config={"minute": 1},
        route={"name": "r"},
        consumer={"username": "u", "custom_id": "c"},
    )
    assert answer["message"].startswith("3 foreign keys unresolved (consumer.custom_id: the foreign key")
    assert set(answer["fields"]) == {"route", "consumer"}
    assert set(answer["fields"]["consumer"]) == {"username", "custom_id"}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("bob", "missing primary key"),
        ({}, "missing primary key"),
        ({"id": "x"}, "expected a valid UUID"),
        ({"id": 5}, "expected a string"),
        ({"name": "a b"}, "missing primary key"),
    ],
)
def test_what_is_no_reference(draft: Draft, value: Any, problem: str) -> None:
    answer = refused(draft, create, "routes", paths=["/"], service=value)
    assert (answer["code"], answer["fields"]) == (2, {"service": {"id": problem}})


def test_references_to_nothing(draft: Draft) -> None:
    expected = {
        "status": 400,
        "code": 4,
        "name": "foreign key violation",
        "message": f"the foreign key '{{id=\"{NOWHERE}\"}}' does not reference an existing "
        "'services' entity.",
        "fields": {"service": {"id": NOWHERE}},
    }
    assert refused(draft, create, "routes", paths=["/"], service={"id": NOWHERE}) == expected
    route = create(draft, "routes", paths=["/"])
    assert refused(draft, update, route, service={"id": NOWHERE}) == expected
    assert (
        refused(draft, replace, "routes", reference(route), paths=["/"], service={"id": NOWHERE}) == expected
    )


# What is there once


def test_an_id_that_is_taken(draft: Draft) -> None:
    create(draft, "services", host="h", id=SOME_ID)
    assert refused(draft, create, "services", host="h", id=SOME_ID) == {
        "status": 400,
        "code": 3,
        "name": "primary key violation",
        "message": f"primary key violation on key '{{id=\"{SOME_ID}\"}}'",
        "fields": {"id": SOME_ID},
    }
    assert create(draft, "consumers", username="c", id=SOME_ID).id == SOME_ID  # ids are those of a type


def test_unique_fields(draft: Draft) -> None:
    create(draft, "services", name="a", host="h")
    other = create(draft, "services", name="b", host="h")
    expected = {
        "status": 409,
        "code": 5,
        "name": "unique constraint violation",
        "message": "UNIQUE violation detected on '{name=\"a\"}'",
        "fields": {"name": "a"},
    }
    assert refused(draft, create, "services", name="a", host="h") == expected
    assert refused(draft, update, other, name="a") == expected
    assert refused(draft, replace, "services", reference(other), name="a", host="h") == expected
    assert update(draft, other, name="b").name == "b"
    create(draft, "services", host="h")
    create(draft, "services", host="h")  # any number may have no name


def test_a_value_that_is_given_up_is_free(draft: Draft) -> None:
    one = create(draft, "services", name="a", host="h")
    update(draft, one, name="b")
    other = create(draft, "services", name="a", host="h")
    operations.remove(draft, other)
    update(draft, draft.find("services", "b") or one, name="a")
    assert getattr(draft.find("services", "a"), "id", None) == one.id


def test_fields_that_are_unique_together(draft: Draft) -> None:
    upstream = create(draft, "upstreams", name="u")
    other = create(draft, "upstreams", name="v")
    create(draft, "targets", upstream=reference(upstream), target="10.0.0.1")
    create(draft, "targets", upstream=reference(other), target="10.0.0.1")
    answer = refused(draft, create, "targets", upstream=reference(upstream), target="10.0.0.1:8000")
    assert answer["message"] == (
        f'UNIQUE violation detected on \'{{target="10.0.0.1:8000",upstream={{id="{upstream.id}"}}}}\''
    )
    assert answer["fields"] == {"target": "10.0.0.1:8000", "upstream": {"id": upstream.id}}


def test_a_plugin_is_there_once_for_each_use(draft: Draft) -> None:
    service = create(draft, "services", name="s", host="h")
    create(draft, "plugins", name="rate-limiting", config={"minute": 1})
    answer = refused(draft, create, "plugins", name="rate-limiting", config={"minute": 2})
    assert answer["message"] == (
        "UNIQUE violation detected on '{consumer=null,name=\"rate-limiting\",route=null,service=null}'"
    )
    assert answer["fields"] == {"consumer": None, "name": "rate-limiting", "route": None, "service": None}
    create(draft, "plugins", name="rate-limiting", config={"minute": 2}, service=reference(service))
    answer = refused(
        draft, create, "plugins", name="rate-limiting", config={"minute": 2}, service={"name": "s"}
    )
    assert answer["fields"]["service"] == {"id": service.id}


# What goes with what is removed


def test_what_cannot_be_without_it_goes_too(draft: Draft) -> None:
    consumer = create(draft, "consumers", username="c")
    route = create(draft, "routes", paths=["/"])
    create(draft, "plugins", name="key-auth", route=reference(route))
    both = {"route": reference(route), "consumer": reference(consumer)}
    create(draft, "plugins", name="rate-limiting", config={"day": 1}, **both)
    application = create(draft, "oauth2_credentials", name="a", consumer=reference(consumer))
    create(draft, "oauth2_tokens", credential=reference(application), expires_in=5)
    for type_name, values in {
        "keyauth_credentials": {},
        "basicauth_credentials": {"username": "u", "password": "p"},
        "hmacauth_credentials": {"username": "u"},
        "jwt_secrets": {},
        "acls": {"group": "g"},
    }.items():
        create(draft, type_name, consumer=reference(consumer), **values)
    upstream = create(draft, "upstreams", name="u")
    create(draft, "targets", upstream=reference(upstream), target="a")
    keys = create(draft, "key_sets", name="k")
    jwk = '{"kid":"k","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'
    create(draft, "keys", set=reference(keys), kid="k", jwk=jwk)

    operations.remove(draft, consumer)
    left = draft.result("x")
    assert {name: len(table) for name, table in left.entities.items()} == {
        "routes": 1,
        "plugins": 1,
        "upstreams": 1,
        "targets": 1,
        "key_sets": 1,
        "keys": 1,
    }
    for entity in (route, upstream, keys):
        operations.remove(draft, entity)
    assert len(draft.result("x")) == 0


def test_what_is_in_use_stays(draft: Draft) -> None:
    service = create(draft, "services", host="h")
    route = create(draft, "routes", paths=["/"], service=reference(service))
    assert refused(draft, operations.remove, service) == {
        "status": 400,
        "code": 4,
        "name": "foreign key violation",
        "message": "an existing 'routes' entity references this 'services' entity",
        "fields": {"@referenced_by": "routes"},
    }
    update(draft, route, service=None)
    operations.remove(draft, service)
    assert draft.get("services", service.id) is None
