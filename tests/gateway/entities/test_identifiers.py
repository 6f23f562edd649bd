"""Ids that Kong derives, as its recorded answers show them (dbless-full, dbless-refs, dbless-creds)."""

from __future__ import annotations

import pytest

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.identifiers import derived_id, key_of_content, key_of_kong

S1 = "356ebaf8-b7af-5cba-99a1-f392e34730ab"
R1 = "4726a05a-d550-537e-9fc3-a07c7a1188c7"
BOB = "def4f7d3-9863-5ad2-8fa9-c949bf26f55e"
UPSTREAM = "597a2b96-28b9-56b9-8745-bb55e59539cc"
CONSUMER_8 = "00000000-0000-4000-8000-000000000008"


@pytest.mark.parametrize(
    ("type_name", "values", "parent", "identifier"),
    [
        ("services", {"name": "s1"}, {}, S1),
        ("routes", {"name": "r1"}, {"service": S1}, R1),
        ("consumers", {"username": "bob"}, {}, BOB),
        ("upstreams", {"name": "u"}, {}, UPSTREAM),
        (
            "targets",
            {"target": "127.0.0.1:1"},
            {"upstream": UPSTREAM},
            "3f7e6475-0ebb-5e57-98b1-a0a7ae3c852c",
        ),
        ("acls", {"group": "g"}, {"consumer": BOB}, "f363fae2-e46e-560c-8df0-6fb2e9cacfcb"),
        ("acls", {"group": "g", "consumer": CONSUMER_8}, {}, "a6054873-2732-56e5-b5b9-b5e7e565ed62"),
        (
            "basicauth_credentials",
            {"username": "u"},
            {"consumer": BOB},
            "b8b13216-f8d0-5482-8264-f38e673a5811",
        ),
        ("plugins", {"name": "response-transformer"}, {}, "411cf25d-575b-5699-9d97-c34d0072f173"),
        ("plugins", {"name": "key-auth"}, {"service": S1}, "c490489e-4399-5c4c-b86d-ad8ac16eb6f5"),
        ("plugins", {"name": "correlation-id"}, {"route": R1}, "d29cb84b-c26a-5297-917a-2e4f5eee8e00"),
        # A reference enters as it is written, here a name.
        ("plugins", {"name": "key-auth", "route": "r"}, {}, "bc58dce7-b685-563d-b1e3-c3dd731c22e7"),
        ("plugins", {"name": "rate-limiting", "consumer": "bob"}, {}, "ca01c62a-112f-52f6-a289-dd81bd62f2b6"),
    ],
)
def test_ids_of_kong(type_name: str, values: dict[str, str], parent: dict[str, str], identifier: str) -> None:
    key = key_of_kong(ENTITY_TYPES[type_name], values, parent)
    assert key is not None
    assert derived_id(type_name, key) == identifier


@pytest.mark.parametrize(
    ("type_name", "values"),
    [
        ("routes", {"paths": ["/"]}),
        ("keyauth_credentials", {"key": "k"}),
        ("jwt_secrets", {"key": "k"}),
        ("oauth2_credentials", {"client_id": "k"}),
        ("certificates", {"cert": "x"}),
        ("consumers", {"custom_id": "c"}),
        ("targets", {"target": "x"}),
        ("services", {"name": 5}),
    ],
)
def test_where_kong_makes_up_an_id_there_is_no_key(type_name: str, values: dict[str, object]) -> None:
    assert key_of_kong(ENTITY_TYPES[type_name], values, {}) is None


def test_content_tells_entities_apart() -> None:
    routes = ENTITY_TYPES["routes"]
    one = key_of_content(routes, {"paths": ["/a"], "hosts": ["h"]}, {"service": S1}, 0)
    assert one == key_of_content(routes, {"hosts": ["h"], "paths": ["/a"]}, {"service": S1}, 0)
    assert one != key_of_content(routes, {"hosts": ["h"], "paths": ["/b"]}, {"service": S1}, 0)
    assert one != key_of_content(routes, {"hosts": ["h"], "paths": ["/a"]}, {"service": R1}, 0)
    assert one != key_of_content(routes, {"hosts": ["h"], "paths": ["/a"]}, {"service": S1}, 1)


def test_a_credential_keeps_its_id_when_its_tags_change() -> None:
    kind = ENTITY_TYPES["keyauth_credentials"]
    before = key_of_content(kind, {"key": "k"}, {"consumer": BOB}, 0)
    assert before == key_of_content(kind, {"key": "k", "tags": ["x"]}, {"consumer": BOB}, 0)
