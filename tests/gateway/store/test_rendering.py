"""Entities as JSON, kept from one configuration to the next."""

from __future__ import annotations

import json
from typing import Any

from gateway.entities import to_kong
from gateway.store import Configuration, EntityJson, load_declarative_document, parse_declarative_document


def loaded(**services: Any) -> Configuration:
    elements = [{"name": name, **fields} for name, fields in services.items()]
    return load_declarative_document({"_format_version": "3.0", "services": elements})


def test_texts_are_those_of_the_entities() -> None:
    rendering = EntityJson()
    for configuration in (
        loaded(a={"host": "h"}, b={"host": "h", "tags": ["é"]}),
        loaded(b={"host": "x"}),
        Configuration.EMPTY,
    ):
        rendered = rendering.of(configuration)
        assert list(rendered) == list(configuration.entities)
        for type_name, table in rendered.items():
            assert list(table) == list(configuration.of(type_name))
            for identifier, (entity, text) in table.items():
                assert entity is configuration.of(type_name)[identifier]
                assert json.loads(text) == to_kong(entity)


def test_what_has_not_changed_is_not_rendered_again() -> None:
    rendering = EntityJson()
    first = loaded(a={"host": "h"}, b={"host": "h"})
    (kept, _) = first.of("services").values()
    second = Configuration([kept, *loaded(b={"host": "x"}).of("services").values()], "0" * 32)
    before, after = rendering.of(first)["services"], rendering.of(second)["services"]
    same = [identifier for identifier in after if after[identifier] is before.get(identifier)]
    assert same == [kept.id]


def test_answer_to_a_load() -> None:
    credentials = [{"username": "u", "password": "given"}]
    document = {
        "_format_version": "3.0",
        "consumers": [{"username": 'quote"s', "basicauth_credentials": credentials}],
        "services": [{"host": "h"}],
    }
    parsed = parse_declarative_document(document)
    answer = json.loads(parsed.answer(EntityJson()))
    assert list(answer) == list(parsed.configuration.entities)
    (shown,) = answer["basicauth_credentials"].values()
    (stored,) = parsed.configuration.of("basicauth_credentials").values()
    assert shown == {**to_kong(stored), "password": "given"}
    assert answer["services"] == parsed.configuration.to_kong()["services"]
    empty = parse_declarative_document({"_format_version": "3.0"})
    assert empty.answer(EntityJson()) == b"{}"
