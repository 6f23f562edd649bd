"""What has to change between what a gateway has and what a file says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.client import ClientError
from gateway.client.plan import Action, Plan, describe, make_plan
from gateway.entities.record import Entity
from gateway.store import Configuration, Parsed, export_declarative, parse_declarative

IDS = [f"00000000-0000-4000-8000-00000000000{digit}" for digit in range(10)]


def parsed(**document: Any) -> Parsed:
    return parse_declarative(json.dumps({"_format_version": "3.0", **document}))


def gateway(**document: Any) -> Configuration:
    return parsed(**document).configuration


def told(plan: Plan) -> list[str]:
    return [f"{change.action} {describe(change.entity)}" for change in plan.changes]


def test_nothing_to_do() -> None:
    document = {
        "services": [{"name": "a", "host": "h", "routes": [{"paths": ["/x"]}]}],
        "consumers": [{"username": "bob", "basicauth_credentials": [{"username": "b", "password": "p"}]}],
    }
    assert make_plan(gateway(**document), parsed(**document), prune=True).changes == ()


def test_entities_keep_the_ids_they_have() -> None:
    current = gateway(
        services=[{"id": IDS[0], "name": "a", "host": "old", "created_at": 5}],
        routes=[{"id": IDS[1], "name": "r", "service": IDS[0], "paths": ["/x"]}],
        upstreams=[{"id": IDS[2], "name": "u", "targets": [{"id": IDS[3], "target": "h:1", "weight": 5}]}],
        consumers=[{"id": IDS[4], "username": "bob", "acls": [{"id": IDS[5], "group": "g", "tags": ["t"]}]}],
    )
    wanted = parsed(
        services=[{"name": "a", "host": "new", "routes": [{"name": "r", "paths": ["/x"]}]}],
        upstreams=[{"name": "u", "targets": [{"target": "h:1"}]}],
        consumers=[{"username": "bob", "acls": [{"group": "g"}]}],
    )
    plan = make_plan(current, wanted, prune=True)
    assert told(plan) == ["update service a", "update target h:1", "update acl g"]
    service, target, _ = plan.changes
    assert service.after is not None
    assert (service.after.id, service.differences()) == (IDS[0], {"host": ("old", "new")})
    assert getattr(service.after, "created_at") == 5  # noqa: B009 - not every entity has it
    assert target.differences() == {"weight": (5, 100)}


def test_parents_come_before_children_and_go_after_them() -> None:
    old = {"services": [{"name": "old", "host": "h", "routes": [{"name": "or", "paths": ["/o"]}]}]}
    new = {"services": [{"name": "new", "host": "h", "routes": [{"name": "nr", "paths": ["/n"]}]}]}
    plan = make_plan(gateway(**old), parsed(**new), prune=True)
    assert told(plan) == ["create service new", "create route nr", "delete route or", "delete service old"]
    assert plan.count(Action.DELETE) == 2
    assert told(make_plan(gateway(**old), parsed(**new))) == ["create service new", "create route nr"]


def test_new_children_refer_to_the_ids_of_the_gateway() -> None:
    current = gateway(services=[{"id": IDS[0], "name": "a", "host": "h"}])
    plan = make_plan(current, parsed(services=[{"name": "a", "host": "h", "routes": [{"paths": ["/x"]}]}]))
    (change,) = plan.changes
    assert change.after is not None
    assert getattr(change.after, "service").id == IDS[0]  # noqa: B009


def test_what_has_no_name_is_the_same_when_it_is_equal() -> None:
    current = gateway(
        routes=[
            {"id": IDS[0], "paths": ["/a"]},
            {"id": IDS[1], "paths": ["/a"]},
            {"id": IDS[2], "paths": ["/b"]},
        ]
    )
    plan = make_plan(current, parsed(routes=[{"paths": ["/a"]}, {"paths": ["/c"]}]), prune=True)
    assert [change.action for change in plan.changes] == ["create", "delete", "delete"]
    gone = {change.entity.id for change in plan.changes[1:]}
    assert IDS[2] in gone
    assert len(gone & {IDS[0], IDS[1]}) == 1


def test_a_renamed_entity_with_an_id_is_updated() -> None:
    plan = make_plan(
        gateway(services=[{"id": IDS[0], "name": "a", "host": "h"}]),
        parsed(services=[{"id": IDS[0], "name": "b", "host": "h"}]),
        prune=True,
    )
    assert told(plan) == ["update service b"]
    assert plan.changes[0].differences() == {"name": ("a", "b")}


def test_any_unique_field_identifies() -> None:
    plan = make_plan(
        gateway(consumers=[{"id": IDS[0], "username": "a", "custom_id": "7"}]),
        parsed(consumers=[{"username": "b", "custom_id": "7"}]),
        prune=True,
    )
    assert told(plan) == ["update consumer b"]


def test_an_entity_is_used_once() -> None:
    current = gateway(consumers=[{"id": IDS[0], "username": "a", "custom_id": "7"}])
    plan = make_plan(current, parsed(consumers=[{"username": "a"}, {"username": "b", "custom_id": "7"}]))
    assert told(plan) == ["update consumer a", "create consumer b"]


def test_passwords_are_compared_and_sent_as_they_were_given() -> None:
    def consumer(identifier: str, password: str) -> dict[str, Any]:
        credential = {"id": IDS[1], "username": "b", "password": password}
        return {"consumers": [{"id": identifier, "username": "bob", "basicauth_credentials": [credential]}]}

    current = gateway(**consumer(IDS[0], "secret"))
    # The file does not know the consumer's id, of which the hash is made.
    assert make_plan(current, parsed(**consumer(IDS[9], "secret"))).changes == ()
    plan = make_plan(current, parsed(**consumer(IDS[9], "other")))
    assert told(plan) == ["update basicauth_credential b"]
    (change,) = plan.changes
    assert change.given_secrets == {"password": "other"}
    assert "other" not in repr(change)
    assert change.after == gateway(**consumer(IDS[0], "other")).of("basicauth_credentials")[IDS[1]]


def test_keys_are_no_names() -> None:
    plan = make_plan(
        Configuration.EMPTY, parsed(consumers=[{"username": "b", "keyauth_credentials": [{"key": "secret"}]}])
    )
    assert "secret" not in " ".join(told(plan))


def test_selection() -> None:
    def tagged(entity: Entity) -> bool:
        return "mine" in (entity.tags or ())

    current = gateway(
        services=[{"name": name, "host": "h", "tags": tags} for name, tags in (("a", ["mine"]), ("b", []))]
    )
    wanted = parsed(services=[{"name": "b", "host": "x"}, {"name": "c", "host": "h", "tags": ["mine"]}])
    assert told(make_plan(current, wanted, prune=True, selected=tagged)) == [
        "create service c",
        "delete service a",
    ]
    # What is not selected is found all the same.
    route = {"name": "r", "paths": ["/"], "tags": ["mine"]}
    wanted = parsed(services=[{"name": "b", "host": "x", "routes": [route]}])
    assert told(make_plan(current, wanted, selected=tagged)) == ["create route r"]
    wanted = parsed(services=[{"name": "new", "host": "x", "routes": [route]}])
    with pytest.raises(ClientError, match=r"route r is for services .* neither there nor selected"):
        make_plan(current, wanted, selected=tagged)


NAMES = st.sampled_from("abcd")
ROUTE = st.fixed_dictionaries(
    {"paths": st.lists(NAMES.map(lambda name: f"/{name}"), min_size=1, max_size=2)},
    optional={"tags": st.lists(NAMES, max_size=1)},
)
SERVICES = st.dictionaries(
    NAMES,
    st.tuples(
        st.sampled_from(["h", "i"]), st.lists(ROUTE, max_size=2), st.dictionaries(NAMES, ROUTE, max_size=2)
    ),
    max_size=4,
)
CONSUMERS = st.dictionaries(NAMES, st.lists(NAMES, max_size=2, unique=True), max_size=3)


def as_document(services: dict[str, Any], consumers: dict[str, Any], salt: str) -> dict[str, Any]:
    """A document in which names are unique; with `salt`, ids depend on it."""
    listed = []
    for name, (host, nameless, named) in services.items():
        routes = [*nameless, *({**route, "name": f"{name}{own}"} for own, route in named.items())]
        listed.append({"name": name, "host": host, "routes": routes})
    people = [
        {
            "username": name,
            "acls": [{"group": group} for group in groups],
            "basicauth_credentials": [{"username": name, "password": "p"}],
        }
        for name, groups in consumers.items()
    ]
    document = {"services": listed, "consumers": people}
    if salt:
        for number, entity in enumerate([*listed, *people]):
            entity["id"] = f"{number:08x}-{salt}000-4000-8000-000000000000"
    return document


@given(SERVICES, CONSUMERS, SERVICES, CONSUMERS)
def test_with_prune_the_result_is_what_the_file_says(
    services: dict[str, Any], consumers: dict[str, Any], others: dict[str, Any], strangers: dict[str, Any]
) -> None:
    current = gateway(**as_document(services, consumers, "1"))
    wanted = parsed(**as_document(others, strangers, ""))
    result = make_plan(current, wanted, prune=True).result("x")
    assert len(result) == len(wanted.configuration)
    assert make_plan(result, wanted, prune=True).changes == ()
    # It is whole: references lead somewhere, unique values are.
    again = parse_declarative(export_declarative(result)).configuration
    assert again == result


@given(SERVICES, CONSUMERS, SERVICES, CONSUMERS)
def test_without_prune_nothing_goes(
    services: dict[str, Any], consumers: dict[str, Any], others: dict[str, Any], strangers: dict[str, Any]
) -> None:
    current = gateway(**as_document(services, consumers, "1"))
    wanted = parsed(**as_document(others, strangers, ""))
    result = make_plan(current, wanted).result("x")
    for type_name, table in current.entities.items():
        assert table.keys() <= result.of(type_name).keys()
    assert make_plan(result, wanted).changes == ()


def test_what_was_made_up_when_the_file_was_read_changes_nothing() -> None:
    document = {
        "consumers": [
            {
                "username": "bob",
                "jwt_secrets": [{"key": "k"}],
                "oauth2_credentials": [{"name": "app", "client_id": "c"}],
                "keyauth_credentials": [{"tags": ["t"]}],
            }
        ]
    }
    assert make_plan(gateway(**document), parsed(**document), prune=True).changes == ()


def test_secrets_with_random_salt() -> None:
    def document(secret: str) -> dict[str, Any]:
        app = {"name": "app", "client_id": "c", "client_secret": secret, "hash_secret": True}
        return {"consumers": [{"username": "bob", "oauth2_credentials": [app]}]}

    current = gateway(**document("secret"))
    assert make_plan(current, parsed(**document("secret"))).changes == ()
    assert told(make_plan(current, parsed(**document("other")))) == ["update oauth2_credential app"]
    export = parse_declarative(export_declarative(current))
    assert make_plan(current, export).changes == ()


def test_a_life_time_does_not_change_by_passing() -> None:
    document = {"consumers": [{"username": "bob", "keyauth_credentials": [{"key": "k", "ttl": 500}]}]}
    other = {"consumers": [{"username": "bob", "keyauth_credentials": [{"key": "k", "ttl": 900}]}]}
    forever = {"consumers": [{"username": "bob", "keyauth_credentials": [{"key": "k"}]}]}
    assert make_plan(gateway(**document), parsed(**other)).changes == ()
    (change,) = make_plan(gateway(**document), parsed(**forever)).changes
    assert list(change.differences()) == ["expires_at"]
