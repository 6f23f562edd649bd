"""Whatever JSON is written, the answer is an entity or a refusal in Kong's form."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.admin.entity_form import admin_form
from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import shape_of
from gateway.store import operations
from gateway.store.configuration import Configuration
from gateway.store.draft import Draft
from gateway.store.errors import EntityError

BOB = {"consumer": {"username": "bob"}}
VALID: dict[str, dict[str, Any]] = {
    "services": {"host": "h"},
    "routes": {"paths": ["/"]},
    "upstreams": {"name": "u"},
    "targets": {"target": "a", "upstream": {"name": "u"}},
    "consumers": {"username": "bob"},
    "vaults": {"name": "env", "prefix": "my-env"},
    "key_sets": {"name": "k"},
    "keyauth_credentials": BOB,
    "basicauth_credentials": {"username": "u", "password": "p", **BOB},
    "jwt_secrets": BOB,
    "hmacauth_credentials": {"username": "u", **BOB},
    "acls": {"group": "g", **BOB},
    "oauth2_credentials": {"name": "a", **BOB},
}
SOME_ID = "00000000-0000-4000-8000-000000000001"
LIKELY_NAMES = ["id", "name", "active", "healthy", "@entity", "username"]
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=6),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=6) | st.sampled_from(LIKELY_NAMES), inner, max_size=3)
    ),
    max_leaves=8,
)


def something_of_everything() -> Configuration:
    draft = Draft(Configuration.EMPTY)
    for type_name, values in VALID.items():
        operations.create(draft, ENTITY_TYPES[type_name], values)
    return draft.result("x")


BASE = something_of_everything()


@given(st.data())
@settings(max_examples=300)
def test_no_values_break_a_write(data: st.DataObject) -> None:
    draft = Draft(BASE)
    type_name = data.draw(st.sampled_from(sorted(ENTITY_TYPES)))
    kind = ENTITY_TYPES[type_name]
    names = [*shape_of(kind).fields, *kind.shorthands, "@entity"]
    values = data.draw(st.dictionaries(st.sampled_from(names) | st.text(max_size=5), ANYTHING, max_size=4))
    verb = data.draw(st.sampled_from(["create", "update", "replace", "check"]))
    try:
        match verb:
            case "create":
                entity = operations.create(draft, kind, {**VALID.get(type_name, {}), **values})
            case "update" if type_name in VALID:
                (present,) = BASE.of(type_name).values()
                entity = operations.update(draft, present, values)
            case "replace":
                entity = operations.replace(draft, kind, {"id": SOME_ID}, values)
            case _:
                operations.check(kind, values)
                return
    except EntityError as caught:
        refusal = caught
    else:
        json.dumps(admin_form(entity, draft, 0))
        return
    assert refusal.status in (400, 409)
    assert json.loads(json.dumps(refusal.answer()))["message"]
