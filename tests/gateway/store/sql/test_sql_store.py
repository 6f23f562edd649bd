"""What the store promises, on both databases."""

from __future__ import annotations

import textwrap
import threading
from typing import Any

import msgspec
import pytest
from sqlalchemy import func, insert, select, update

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import Reference
from gateway.entities.routes import Route
from gateway.entities.services import Service
from gateway.store import load_declarative
from gateway.store.configuration import Configuration
from gateway.store.draft import Draft
from gateway.store.errors import EntityError, StoreUnavailable
from gateway.store.sql import change_log
from gateway.store.sql.documents import Reader, document_of
from gateway.store.sql.tables import CHANGES, ENTITIES, FOREIGN_KEYS, STATE, UNIQUE_VALUES
from tests.support.gateway import wait_for
from tests.support.nodes import (
    Place,
    add,
    add_unless_taken,
    consumer,
    done,
    key_of,
    names,
    operation,
    remove,
)


def count(place: Place, table: Any) -> int:
    database = place.database()
    with database.reading() as connection:
        found = connection.execute(select(func.count()).select_from(table)).scalar_one()
    database.close()
    return int(found)


def test_what_was_written_is_there_after_a_restart(place: Place) -> None:
    store = place.store()
    anna, ben = consumer("anna", tags=["a", "ü\u0000€"]), consumer("ben", custom_id="7")
    assert done(store.transact([add(anna, ben, key_of(anna, "k"))])) == [3]
    assert store.configuration.find("consumers", "anna") is anna
    again = place.store()
    assert again.configuration == store.configuration
    assert again.configuration.hash == store.configuration.hash
    assert list(again.configuration.of("consumers")) == [anna.id, ben.id], "in the order they were made"


def test_change_and_removal(place: Place) -> None:
    store = place.store()
    anna, ben = consumer("anna"), consumer("ben")
    key = key_of(anna, "k")
    done(store.transact([add(anna, ben, key)]))
    done(store.transact([add(consumer("anne", id=anna.id)), remove(key), remove(ben)]))
    assert names(store) == {"anne"}
    assert place.store().configuration == store.configuration
    assert (count(place, ENTITIES), count(place, UNIQUE_VALUES), count(place, FOREIGN_KEYS)) == (1, 1, 0)


def test_a_value_passes_from_one_entity_to_another(place: Place) -> None:
    store = place.store()
    anna, ben = consumer("anna"), consumer("ben")
    done(store.transact([add(anna, ben)]))
    done(store.transact([add(consumer("ben", id=anna.id), consumer("anna", id=ben.id))]))
    done(
        store.transact(
            [operation(lambda draft: (draft.remove(draft.get("consumers", ben.id)),)), add(consumer("anna"))]
        )
    )
    assert names(store) == {"ben", "anna"}
    assert place.store().configuration == store.configuration


def test_references_count_at_the_end_of_a_transaction(place: Place) -> None:
    """Whatever the order in which the rules put and remove entities."""
    store = place.store()
    service = Service(id="00000000-0000-4000-8000-000000000001", host="h", created_at=1, updated_at=1)
    route = Route(
        id="00000000-0000-4000-8000-000000000002",
        paths=["/"],
        service=Reference(service.id),
        created_at=1,
        updated_at=1,
    )
    done(store.transact([add(route, service)]))
    done(store.transact([remove(service), remove(route)]))
    assert len(store.configuration) == 0


def test_one_refused_operation_does_not_affect_the_others(place: Place) -> None:
    store = place.store()

    def half_done(draft: Draft) -> None:
        draft.put(consumer("half"))
        raise ValueError("changed my mind")

    outcomes = store.transact(
        [
            add_unless_taken("anna"),
            add_unless_taken("anna"),
            operation(half_done),
            add_unless_taken("ben"),
            operation(lambda draft: draft.find("consumers", "anna").username),  # type: ignore[union-attr]
        ]
    )
    assert [outcome.changed for outcome in outcomes] == [True, False, False, True, False]
    assert isinstance(outcomes[1].error, EntityError)
    assert isinstance(outcomes[2].error, ValueError)
    assert outcomes[4].result == "anna", "each sees what those before it did"
    assert names(store) == names(place.store()) == {"anna", "ben"}


def test_operations_that_change_nothing_write_nothing(place: Place) -> None:
    store = place.store()
    done(store.transact([add_unless_taken("anna")]))
    before = store.configuration
    outcomes = store.transact([add_unless_taken("anna"), operation(lambda draft: 1)])
    assert [outcome.changed for outcome in outcomes] == [False, False]
    assert store.configuration is before
    assert count(place, CHANGES) == 2


def test_what_the_constraints_refuse_spoils_only_itself(place: Place) -> None:
    """Rules that overlook something must not break what is stored."""
    store = place.store()
    done(store.transact([add(consumer("anna"))]))
    stranger = key_of(consumer("not there"), "k")
    outcomes = store.transact(
        [add(consumer("ben")), add(consumer("anna")), add(stranger), add(consumer("eve"))]
    )
    assert [outcome.error is None for outcome in outcomes] == [True, False, False, True]
    assert names(store) == names(place.store()) == {"anna", "ben", "eve"}
    done(store.transact([add(consumer("fred"))]))
    assert store.is_reachable


def test_secrets_are_not_part_of_errors(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    store = place.store()
    (outcome,) = store.transact([add(key_of(consumer("not there"), "very secret"))])
    assert outcome.error is not None
    assert "very secret" not in f"{outcome.error} {outcome.error!r} {caplog.text}"


def test_tables_changed_by_hand_are_read_again(place: Place) -> None:
    store = place.store()
    other = place.store()
    done(other.transact([add(consumer("anna"))]))
    database = place.database()
    with database.writing() as connection:
        # As if the node had not been told: the log goes back to what it knows.
        connection.execute(CHANGES.delete().where(CHANGES.c.sequence > 0))
        connection.execute(update(STATE).values(sequence=0, hash="0" * 32))
        connection.commit()
    database.close()
    (outcome,) = store.transact([add_unless_taken("anna")])
    assert isinstance(outcome.error, EntityError), "found out, and then by the rules"
    assert names(store) == {"anna"}


@pytest.mark.parametrize("text", ["\ud800", "a\udfffb"])
def test_text_that_cannot_be_stored(place: Place, text: str) -> None:
    store = place.store()
    outcomes = store.transact([add(consumer("anna")), add(consumer(text)), add(consumer("ben"))])
    assert [outcome.error is None for outcome in outcomes] == [True, False, True]
    assert names(place.store()) == {"anna", "ben"}


def test_unchanged_tables_stay_the_same_objects(place: Place) -> None:
    store, other = place.store(), place.store()
    anna = consumer("anna")
    done(store.transact([add(anna, key_of(anna, "k"))]))
    other.catch_up()
    before = store.configuration, other.configuration
    done(store.transact([add(consumer("ben"))]))
    assert other.catch_up()
    for old, new in zip(before, (store.configuration, other.configuration), strict=True):
        assert new.of("keyauth_credentials") is old.of("keyauth_credentials")
        assert new.of("consumers")[anna.id] is old.of("consumers")[anna.id]


# --- other nodes --------------------------------------------------------------------------------------


def test_nodes_take_over_what_others_wrote(place: Place) -> None:
    one, two = place.store(), place.store()
    assert not two.catch_up()
    done(one.transact([add_unless_taken("anna")]))
    done(one.transact([add_unless_taken("ben")]))
    assert two.catch_up()
    assert two.configuration == one.configuration
    assert two.configuration.hash == one.configuration.hash
    assert not two.catch_up()
    # A writer is brought up to date before its operations run.
    done(one.transact([add_unless_taken("carl")]))
    (outcome,) = two.transact([add_unless_taken("carl")])
    assert isinstance(outcome.error, EntityError)
    assert names(two) == {"anna", "ben", "carl"}


@pytest.mark.parametrize("reason", ["pruned", "restored", "too much", "recreated"])
def test_a_node_that_cannot_follow_the_log_reads_everything_again(
    place: Place, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = place.store(), place.store()
    anna, ben = consumer("anna"), consumer("ben")
    done(one.transact([add(anna, ben)]))
    assert two.catch_up()
    known = two.configuration.of("consumers")[anna.id]
    if reason == "too much":
        monkeypatch.setattr(change_log, "LARGEST_ENTRIES", 10)
    for name in ("carl", "dora"):
        done(one.transact([add(consumer(name))]))
    done(one.transact([remove(ben)]))
    database = place.database()
    with database.writing() as connection:
        if reason == "pruned":
            connection.execute(CHANGES.delete().where(CHANGES.c.sequence < 4))
        elif reason == "restored":  # another history with the same numbers
            connection.execute(update(CHANGES).values(hash="f" * 32))
            connection.execute(update(STATE).values(hash="f" * 32))
        elif reason == "recreated":
            connection.execute(CHANGES.delete())
            connection.execute(insert(CHANGES).values(sequence=0, hash="0" * 32, entries="[]"))
            connection.execute(update(STATE).values(sequence=0, hash="0" * 32))
        connection.commit()
    database.close()
    assert two.catch_up()
    assert names(two) == {"anna", "carl", "dora"}
    assert two.configuration.of("consumers")[anna.id] is known, "what is equal stays the same object"
    done(two.transact([add_unless_taken("eve")]))
    assert names(place.store()) == {"anna", "carl", "dora", "eve"}


def test_the_log_is_pruned(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(change_log, "KEPT_COMMITS", 5)
    monkeypatch.setattr(change_log, "PRUNING_INTERVAL", 4)
    store, behind = place.store(), place.store()
    for number in range(20):
        done(store.transact([add(consumer(str(number)))]))
    assert count(place, CHANGES) <= 5 + 4
    assert behind.catch_up()
    assert behind.configuration == store.configuration


def test_following(place: Place) -> None:
    one, two = place.store(), place.store()
    told = threading.Event()
    two.follow(told.set)
    done(one.transact([add(consumer("anna"))]))

    def arrived() -> bool:
        if told.wait(0.05):
            told.clear()
            two.catch_up()
        return names(two) == {"anna"}

    wait_for(arrived, what="the node is told")
    two.close()
    told.clear()
    done(one.transact([add(consumer("ben"))]))
    assert not told.wait(0.2), "after close() nobody is told anything"


def test_sixteen_writers_on_two_nodes(place: Place) -> None:
    """Names are given once, a consumer is not removed under a key: whoever writes at the same time."""
    nodes = [place.store(), place.store()]
    owner = consumer("owner")
    done(nodes[0].transact([add(owner)]))
    taken: list[str] = []
    refused: list[str] = []
    problems: list[BaseException] = []
    start = threading.Barrier(16)

    def add_key(number: int) -> Any:
        def run(draft: Draft) -> None:
            found = draft.get("consumers", owner.id)
            if found is None:
                raise EntityError(4, "foreign key violation", 400, "gone")
            draft.put(key_of(found, f"key {number}"))  # type: ignore[arg-type]

        return operation(run)

    def remove_owner(draft: Draft) -> None:
        found = draft.get("consumers", owner.id)
        if found is not None:
            for child in draft.children("keyauth_credentials", "consumers", owner.id):
                draft.remove(child)
            draft.remove(found)

    def work(number: int) -> None:
        store = nodes[number % 2]
        try:
            start.wait(30)
            for turn in range(8):
                name = f"name {turn}"
                outcomes = store.transact([add_unless_taken(name), add_key(100 * number + turn)])
                (refused if outcomes[0].error else taken).append(name)
                if number == 5 and turn == 4:
                    done(store.transact([operation(remove_owner)]))
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not problems
    assert sorted(taken) == [f"name {turn}" for turn in range(8)]
    assert len(refused) == 8 * 15
    for node in nodes:
        node.catch_up()
    fresh = place.store()
    assert nodes[0].configuration == nodes[1].configuration == fresh.configuration
    assert len(fresh.configuration.of("keyauth_credentials")) == 0
    assert count(place, UNIQUE_VALUES) == 8


# --- documents ------------------------------------------------------------------------------------------


def test_every_type_survives(place: Place) -> None:
    configuration = _declarative(
        """
        _format_version: "3.0"
        services:
        - name: s
          url: http://example.com:8080/x
          tags: [t]
          routes:
          - {name: r, paths: [/a, ~/b], hosts: ["*.example.com"], headers: {x: [y]}, methods: [GET]}
        upstreams:
        - name: u
          healthchecks: {active: {healthy: {interval: 2.5}}}
          targets: [{target: "10.0.0.1:80", weight: 7}]
        consumers:
        - username: c
          keyauth_credentials: [{key: k}]
          basicauth_credentials: [{username: b, password: p}]
          jwt_secrets: [{key: j, secret: s}]
          hmacauth_credentials: [{username: h, secret: s}]
          acls: [{group: g}]
          oauth2_credentials: [{name: o, redirect_uris: ["https://e.x/"], client_id: i, client_secret: s}]
        vaults: [{name: env, prefix: my-env, config: {prefix: X_}}]
        """
    )
    store = place.store()
    everything = [entity for table in configuration.entities.values() for entity in table.values()]
    done(store.transact([add(*everything)]))
    assert place.store().configuration == configuration


def _declarative(text: str) -> Configuration:
    return load_declarative(textwrap.dedent(text), source="test")


def test_ids_are_held_once() -> None:
    reader = Reader()
    owner = consumer("anna")
    keys = [key_of(owner, "a"), key_of(owner, "b")]
    read = [reader.read("keyauth_credentials", key.id, document_of(key)) for key in keys]
    assert read == keys
    assert read[0].consumer is read[1].consumer  # type: ignore[union-attr]


def test_what_another_version_wrote() -> None:
    reader = Reader()
    anna = consumer("anna")
    newer = document_of(anna).replace("{", '{"field_of_tomorrow": 1, ', 1)
    assert reader.read("consumers", anna.id, newer) == anna
    assert reader.read("type_of_tomorrow", anna.id, "{}") is None
    older = f'{{"id": "{anna.id}", "username": "anna", "created_at": 1, "updated_at": 1}}'
    assert reader.read("consumers", anna.id, older) == anna
    assert set(ENTITY_TYPES) >= {"consumers"}


def test_entities_that_end_by_themselves(place: Place) -> None:
    store = place.store()
    owner = consumer("anna")
    key = key_of(owner, "k")
    ending = msgspec.structs.replace(key, expires_at=61.0)
    done(store.transact([add(owner, ending)]))
    database = place.database()
    with database.reading() as connection:
        found = connection.execute(select(ENTITIES.c.type_name, ENTITIES.c.expires_at)).all()
    database.close()
    assert {tuple(row) for row in found} == {("consumers", None), ("keyauth_credentials", 61.0)}


def test_an_unreadable_document_is_named(place: Place) -> None:
    store = place.store()
    anna = consumer("anna")
    done(store.transact([add(anna)]))
    database = place.database()
    with database.writing() as connection:
        connection.execute(update(ENTITIES).values(document='{"id": 5}'))
        connection.execute(update(CHANGES).values(entries=None))
        connection.execute(update(STATE).values(sequence=0, hash="f" * 32))
        connection.commit()
    database.close()
    with pytest.raises(Exception, match=f"consumers {anna.id}: .*newer version"):
        place.store()
    with pytest.raises(StoreUnavailable, match=f"consumers {anna.id}"):
        store.catch_up()
    assert names(store) == {"anna"}
