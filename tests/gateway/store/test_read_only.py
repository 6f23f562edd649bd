"""The store without a database: what it refuses, and with which words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.entities.services import Service
from gateway.store import Configuration, DeclarativeError, LoadMemory, load_declarative
from gateway.store.draft import Draft
from gateway.store.errors import EntityError, entity_not_found, missing_reference, unique_violation
from gateway.store.interface import Operation, Outcome, Store
from gateway.store.read_only import ReadOnlyStore
from gateway.store.source import DeclarativeSource

TEXT = "_format_version: '3.0'\nservices: [{name: s, host: h}]"


def opened(source: DeclarativeSource | None = None) -> ReadOnlyStore:
    store = ReadOnlyStore(source or DeclarativeSource(text=TEXT), LoadMemory())
    store.open()
    return store


def add_service(draft: Draft) -> Service:
    service = Service(id="11111111-0000-4000-8000-000000000000", created_at=1, updated_at=1, host="h")
    draft.put(service)
    return service


def outcome_of(run: Any, verb: str = "create", by: str | None = None) -> Outcome:
    (outcome,) = opened().transact([Operation(verb, "services", run, by)])
    return outcome


def raising(error: Exception) -> Any:
    def run(draft: Draft) -> None:
        raise error

    return run


def test_a_change_is_refused_and_leaves_nothing() -> None:
    store: Store = opened()
    before = store.configuration
    (outcome,) = store.transact([Operation("create", "services", add_service)])
    assert isinstance(outcome.error, EntityError)
    assert outcome.error.answer() == {
        "message": "cannot create 'services' entities when not using a database",
        "name": "operation unsupported",
        "code": 12,
    }
    assert outcome.error.status == 405
    assert store.configuration is before


def test_the_field_by_which_the_entity_was_named_is_told() -> None:
    error = outcome_of(add_service, "create or update", "name").error
    assert str(error) == ("cannot create or update 'services' entities by 'name' when not using a database")


def test_what_changes_nothing_has_its_result() -> None:
    assert outcome_of(lambda draft: "nothing to remove", "remove") == Outcome("nothing to remove")


def test_what_is_wrong_with_the_values_is_told_first() -> None:
    error = entity_not_found({"name": "x"})
    assert outcome_of(raising(error), "update").error is error


@pytest.mark.parametrize(
    "error", [unique_violation({"name": "s"}), missing_reference("service", {"id": "x"}, "services")]
)
def test_what_only_a_database_finds_out_is_not_told(error: EntityError) -> None:
    found = outcome_of(raising(error)).error
    assert isinstance(found, EntityError)
    assert found.code == 12


def test_a_defect_ends_one_operation_only() -> None:
    defect = RuntimeError("defect")
    first, second = opened().transact(
        [Operation("create", "services", raising(defect)), Operation("remove", "services", lambda draft: 1)]
    )
    assert (first.error, second.result) == (defect, 1)


def test_another_configuration_until_the_next_reload() -> None:
    store = opened()
    posted = load_declarative("_format_version: '3.0'\nservices: [{name: other, host: h}]")
    store.replace(posted)
    assert store.configuration is posted
    assert store.reload(DeclarativeSource()) is posted
    reloaded = store.reload(DeclarativeSource(text=TEXT))
    assert reloaded.find("services", "s")
    assert store.configuration is reloaded


def test_without_a_declarative_configuration_there_is_nothing() -> None:
    assert opened(DeclarativeSource()).configuration == Configuration.EMPTY


def test_a_broken_file_at_a_reload_changes_nothing(tmp_path: Path) -> None:
    file = tmp_path / "kong.yml"
    file.write_text(TEXT)
    store = opened(DeclarativeSource(path=file))
    before = store.configuration
    file.write_text("services: [")
    with pytest.raises(DeclarativeError):
        store.reload(DeclarativeSource(path=file))
    assert store.configuration is before
