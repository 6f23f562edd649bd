"""Any sequence of writes leaves a configuration in which every rule between entities holds, and whose indexes
are those of one that is made anew."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES, LISTED_BY
from gateway.entities.record import Entity, shape_of
from gateway.store import operations
from gateway.store.configuration import Configuration
from gateway.store.draft import Draft, unique_combinations
from gateway.store.errors import EntityError
from gateway.store.indexes import combination_of
from tests.support.certificates import authority, self_signed

PAIRS = [self_signed("a.com"), self_signed("b.com")]
AUTHORITIES = [authority("one")[0], authority("two")[0]]
JWK = '{"kid":"%s","kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}'

# Few values, so that they meet.
IDS = st.sampled_from([f"00000000-0000-4000-8000-00000000000{number}" for number in range(6)])
NAMES = st.sampled_from(["a", "b", "c"])
MAYBE = st.none() | NAMES
SOMETHING = st.fixed_dictionaries({"id": IDS})


def named(field: str) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({field: NAMES}) | SOMETHING


VALUES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "services": st.fixed_dictionaries(
        {"host": st.just("h"), "protocol": st.just("https")},
        optional={
            "name": MAYBE,
            "client_certificate": st.none() | SOMETHING,
            "ca_certificates": st.none() | st.lists(IDS, max_size=2),
        },
    ),
    "routes": st.fixed_dictionaries(
        {"paths": st.just(["/"])}, optional={"name": MAYBE, "service": st.none() | named("name")}
    ),
    "upstreams": st.fixed_dictionaries(
        {"name": NAMES}, optional={"client_certificate": st.none() | SOMETHING}
    ),
    "targets": st.fixed_dictionaries({"target": NAMES, "upstream": named("name")}),
    "certificates": st.builds(
        lambda pair, names: {"cert": pair[0], "key": pair[1], **({} if names is None else {"snis": names})},
        st.sampled_from(PAIRS),
        st.none() | st.lists(st.sampled_from(["a.com", "b.com", "c.com"]), unique=True),
    ),
    "snis": st.fixed_dictionaries(
        {"name": st.sampled_from(["a.com", "b.com", "d.com"]), "certificate": SOMETHING}
    ),
    "ca_certificates": st.fixed_dictionaries({"cert": st.sampled_from(AUTHORITIES)}),
    "key_sets": st.fixed_dictionaries({"name": MAYBE}),
    "keys": st.builds(
        lambda kid, name, where: {"kid": kid, "jwk": JWK % kid, "name": name, "set": where},
        NAMES,
        MAYBE,
        st.none() | named("name"),
    ),
    "consumers": st.fixed_dictionaries({"username": NAMES}, optional={"custom_id": MAYBE}),
    "keyauth_credentials": st.fixed_dictionaries(
        {"key": NAMES, "consumer": named("username")},
        optional={"ttl": st.sampled_from([None, 1, 50_000_000])},
    ),
    "basicauth_credentials": st.fixed_dictionaries(
        {"username": NAMES, "password": NAMES, "consumer": named("username")}
    ),
    "acls": st.fixed_dictionaries({"group": NAMES, "consumer": named("username")}),
    "oauth2_credentials": st.fixed_dictionaries(
        {"name": NAMES, "client_id": NAMES, "consumer": named("username")}
    ),
    "oauth2_tokens": st.fixed_dictionaries(
        {"access_token": NAMES, "expires_in": st.just(1), "credential": named("client_id")},
        optional={"refresh_token": MAYBE, "service": st.none() | named("name")},
    ),
}
TYPES = st.sampled_from(sorted(VALUES))


class Writes(RuleBasedStateMachine):
    """Writes to a draft, which now and then is committed."""

    @initialize()
    def begin(self) -> None:
        self.draft = Draft(Configuration.EMPTY)
        look_at_everything(self.draft.base)  # makes every index, to be carried through the changes

    def attempt(self, operation: Callable[[], object]) -> None:
        before = dict(self.draft.changes)
        try:
            operation()
        except EntityError as caught:
            refusal = caught
        else:
            return
        assert refusal.status in (400, 404, 409)
        assert dict(self.draft.changes) == before

    def some(self, type_name: str, number: int) -> Entity | None:
        present = list(self.draft.result("x").of(type_name).values())
        return present[number % len(present)] if present else None

    @rule(type_name=TYPES, data=st.data(), identifier=st.none() | IDS)
    def create(self, type_name: str, data: st.DataObject, identifier: str | None) -> None:
        values = data.draw(VALUES[type_name])
        if identifier is not None:
            values = {**values, "id": identifier}
        self.attempt(lambda: operations.create(self.draft, ENTITY_TYPES[type_name], values))

    @rule(type_name=TYPES, data=st.data(), number=st.integers(0, 9))
    def update(self, type_name: str, data: st.DataObject, number: int) -> None:
        entity = self.some(type_name, number)
        values = data.draw(VALUES[type_name])
        chosen = data.draw(st.sets(st.sampled_from(sorted(values))))
        if entity is not None:
            self.attempt(
                lambda: operations.update(self.draft, entity, {name: values[name] for name in chosen})
            )

    @rule(type_name=TYPES, data=st.data(), identifier=IDS, by_key=st.booleans())
    def replace(self, type_name: str, data: st.DataObject, identifier: str, by_key: bool) -> None:
        kind = ENTITY_TYPES[type_name]
        values = data.draw(VALUES[type_name])
        key = {"id": identifier}
        unique = kind.endpoint_key
        if by_key and unique in shape_of(kind).unique and values.get(unique) is not None:
            key = {unique: values[unique]}
        self.attempt(lambda: operations.replace(self.draft, kind, key, values))

    @rule(type_name=TYPES, number=st.integers(0, 9))
    def remove(self, type_name: str, number: int) -> None:
        entity = self.some(type_name, number)
        if entity is not None:
            self.attempt(lambda: operations.remove(self.draft, entity))

    @rule(later=st.sampled_from([0, 10]))
    def remove_expired(self, later: int) -> None:
        now = time.time() + later
        operations.remove_expired(self.draft, now)
        for type_name in ENTITY_TYPES:
            for entity in self.draft.base.expired(now):
                assert self.draft.get(type_name, entity.id) is not entity

    @rule()
    def commit(self) -> None:
        self.draft = Draft(self.draft.result("x"))
        look_at_everything(self.draft.base)

    @invariant()
    def all_rules_hold(self) -> None:
        result = self.draft.result("x")
        anew = Configuration([one for table in result.entities.values() for one in table.values()], "x")
        assert result == anew
        assert look_at_everything(result) == look_at_everything(anew)
        for kind in ENTITY_TYPES.values():
            check_rules(kind, result)
            check_draft(kind, self.draft, result)


def look_at_everything(configuration: Configuration) -> dict[str, Any]:
    """What every index says."""
    seen: dict[str, Any] = {"expiry": (configuration.next_expiry(), configuration.expired(2e12))}
    for type_name, kind in ENTITY_TYPES.items():
        table = configuration.of(type_name)
        seen[type_name] = configuration.ids_after(type_name, None, 1000)
        for fields in unique_combinations(kind):
            configuration.find_combination(type_name, fields, ("none",) * len(fields))
            for entity in table.values():
                values = combination_of(entity, fields)
                if values != (None,):
                    found = configuration.find_combination(type_name, fields, values)
                    seen[f"{type_name} {fields} {values}"] = found
    for referred in (CHILDREN, LISTED_BY):
        for parent_type, fields_by_type in referred.items():
            for type_name, field in fields_by_type.items():
                configuration.referring(type_name, field, "none")
                for parent_id in configuration.of(parent_type):
                    found_ids = {one.id for one in configuration.referring(type_name, field, parent_id)}
                    seen[f"{type_name} {field} {parent_id}"] = found_ids
    return seen


def check_rules(kind: type[Entity], configuration: Configuration) -> None:
    """Unique values are there once, references lead somewhere."""
    entities = list(configuration.of(kind.type_name).values())
    for fields in unique_combinations(kind):
        values = [combination_of(entity, fields) for entity in entities]
        values = [one for one in values if one != (None,)]
        assert len(set(values)) == len(values)
    for name, field in shape_of(kind).foreign.items():
        for entity in entities:
            reference = getattr(entity, name)
            assert reference is None or configuration.get(field.reference, reference.id) is not None


def check_draft(kind: type[Entity], draft: Draft, result: Configuration) -> None:
    """The draft finds what its result finds."""
    type_name = kind.type_name
    for identifier in draft.base.of(type_name).keys() | result.of(type_name).keys():
        assert draft.get(type_name, identifier) == result.get(type_name, identifier)
    for entity in [*draft.base.of(type_name).values(), *result.of(type_name).values()]:
        for fields in unique_combinations(kind):
            values = combination_of(entity, fields)
            if values != (None,):
                assert draft.find_combination(type_name, fields, values) == result.find_combination(
                    type_name, fields, values
                )
    for child_type in CHILDREN[type_name]:
        for identifier in result.of(type_name):
            in_draft = {one.id for one in draft.children(child_type, type_name, identifier)}
            assert in_draft == {one.id for one in result.children(child_type, type_name, identifier)}


TestWrites = Writes.TestCase
TestWrites.settings = settings(max_examples=40, stateful_step_count=30)
