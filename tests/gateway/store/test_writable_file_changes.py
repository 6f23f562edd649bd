"""Any operation on any file: what the file says afterwards is what the store says."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import Entity, shape_of
from gateway.store import Configuration, LoadMemory, check_file, operations
from gateway.store.draft import Draft
from gateway.store.editing.plan import Manner, Planner, state_of
from gateway.store.editing.rendering import YamlStyle
from gateway.store.export import exported_document
from gateway.store.interface import Operation
from gateway.store.source import DeclarativeSource
from gateway.store.writable_file import WritableFileStore
from tests.support.made_entities import added, configurations, own_values

NO_SHRINKING = (Phase.explicit, Phase.reuse, Phase.generate)
"""Shrinking whole configurations takes minutes."""


def nested_document(configuration: Configuration) -> dict[str, Any]:
    """The form in which a file is written anew: nested, without defaults."""
    changes = {
        (name, identifier): entity
        for name, table in configuration.entities.items()
        for identifier, entity in table.items()
    }
    start = state_of({"_format_version": "3.0", "_transform": False})
    return Planner(start, Configuration.EMPTY, configuration, changes, {}, Manner()).run().document


@st.composite
def texts(draw: st.DrawFn, configuration: Configuration) -> str:
    document = draw(st.sampled_from([exported_document, nested_document]))(configuration)
    match draw(st.sampled_from(["block", "indented", "flow", "json", "short json"])):
        case "json":
            return json.dumps(document, indent=draw(st.sampled_from([2, 4])))
        case "short json":
            return json.dumps(document, ensure_ascii=False)
        case "flow":
            return YamlStyle().inline(document)
        case "indented":
            lines = YamlStyle(4, 2).block_lines(document)
        case _:
            lines = YamlStyle().block_lines(document)
    kept = []
    for line in lines:
        if line.lstrip().startswith("- name:") and draw(st.booleans()):
            kept.append("# a comment")
        kept.append(line)
    return "\n".join(kept) + "\n"


@st.composite
def operation(draw: st.DrawFn, configuration: Configuration) -> Operation:
    """A write that is possible or not."""
    kinds = [kind for name, kind in ENTITY_TYPES.items() if configuration.of(name)]
    verb = draw(st.sampled_from(["create", "update", "remove"] if kinds else ["create"]))
    if verb == "create":
        kind = draw(st.sampled_from(sorted(ENTITY_TYPES)))
        scratch = Draft(configuration)
        draw(added(scratch, ENTITY_TYPES[kind]))
        changes = dict(scratch.changes)
        secrets = dict(scratch.given_secrets)

        def create(draft: Draft) -> None:
            for entity in changes.values():
                assert entity is not None
                draft.put(entity)
            draft.given_secrets.update(secrets)

        return Operation("create", kind, create)
    chosen = draw(st.sampled_from(kinds))
    entity = draw(
        st.sampled_from(sorted(configuration.of(chosen.type_name).values(), key=lambda one: one.id))
    )
    if verb == "remove":
        return Operation("remove", chosen.type_name, lambda draft: operations.remove(draft, entity))
    values = draw(own_values(chosen))
    names = draw(st.lists(st.sampled_from(sorted(values)), unique=True, max_size=3)) if values else []
    for name, field in shape_of(chosen).foreign.items():
        if draw(st.integers(0, 3)) == 0:
            others = sorted(configuration.of(field.reference))
            values[name] = {"id": draw(st.sampled_from(others))} if others else None
            names.append(name)
    change = {name: values[name] for name in names}
    return Operation("update", chosen.type_name, lambda draft: operations.update(draft, entity, change))


def compared(entity: Entity, read: Entity, *, written: bool) -> bool:
    """Whether what was read is the entity; what was not `written` through the store may have other times."""
    if not written:
        kept = {name: getattr(entity, name) for name in shape_of(type(entity)).automatic if name != "id"}
        read = msgspec.structs.replace(read, **kept)
    return entity == read


@given(st.data())
@settings(max_examples=50, suppress_health_check=list(HealthCheck), phases=NO_SHRINKING)
def test_the_file_says_what_the_store_says(data: st.DataObject) -> None:
    configuration = data.draw(configurations())
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "kong.yml"
        path.write_text(data.draw(texts(configuration)))
        store = WritableFileStore(DeclarativeSource(path=path), LoadMemory())
        assert store.open() == configuration
        for _ in range(data.draw(st.integers(1, 4))):
            before = store.configuration
            (outcome,) = store.transact([data.draw(operation(before))])
            text = path.read_text()
            read = check_file(path)
            assert set(store.configuration.entities) == set(read.entities), text
            for name, table in store.configuration.entities.items():
                assert set(table) == set(read.of(name)), text
                for identifier, entity in table.items():
                    changed = before.of(name).get(identifier) is not entity
                    assert compared(entity, read.of(name)[identifier], written=changed), text
            if outcome.error is not None:
                assert store.configuration is before


@given(st.data())
@settings(max_examples=20, suppress_health_check=list(HealthCheck), phases=NO_SHRINKING)
def test_everything_can_be_replaced(data: st.DataObject) -> None:
    configuration, wanted = data.draw(configurations()), data.draw(configurations())
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "kong.yml"
        path.write_text(data.draw(texts(configuration)))
        store = WritableFileStore(DeclarativeSource(path=path), LoadMemory())
        store.open()
        store.replace(wanted)
        assert store.configuration == wanted
        assert check_file(path) == wanted, path.read_text()
