"""Documents of any shape are loaded or refused with a DeclarativeError; nothing else ever happens."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.entities.catalogue import CHILDREN, ENTITY_TYPES
from gateway.entities.record import shape_of
from gateway.store import Configuration, DeclarativeError, load_declarative_document

WORD = st.sampled_from(
    ["a", "b", "", "a b", "/a", "~/(", "http", "https", "tcp", "none", "ip", "1.2.3.4", "h:80"]
)
ID = st.sampled_from(["00000000-0000-4000-8000-00000000000a", "00000000-0000-4000-8000-00000000000A", "x"])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORD | ID | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORD | st.just("id"), inner, max_size=2),
    max_leaves=3,
)
LIKELY: dict[str, st.SearchStrategy[Any]] = {
    "id": ID,
    "name": st.sampled_from(["a", "b", "rate-limiting", "key-auth", "env"]),
    "host": st.just("h"),
    "paths": st.lists(st.sampled_from(["/a", "/b/../c", "~/x"]), max_size=2),
    "protocols": st.lists(st.sampled_from(["http", "https", "grpc", "tcp"]), max_size=2),
    "target": st.sampled_from(["a", "a:8000", "::1"]),
    "username": st.sampled_from(["a", "b"]),
    "password": st.just("p"),
    "group": st.just("g"),
    "service": WORD | ID | st.fixed_dictionaries({"id": ID}),
    "consumer": WORD,
}


def entities(type_name: str, depth: int) -> st.SearchStrategy[Any]:
    fields = {
        name: LIKELY.get(name, ANYTHING) | ANYTHING for name in shape_of(ENTITY_TYPES[type_name]).fields
    }
    nested = {name: entities(name, depth - 1) for name in CHILDREN[type_name]} if depth else {}
    extra = {"_comment": ANYTHING, "unknown": ANYTHING}
    return st.lists(st.fixed_dictionaries({}, optional={**fields, **nested, **extra}) | ANYTHING, max_size=2)


DOCUMENTS = st.fixed_dictionaries(
    {"_format_version": st.sampled_from(["1.1", "3.0"]) | ANYTHING},
    optional={"_transform": ANYTHING, **{name: entities(name, 1) | ANYTHING for name in ENTITY_TYPES}},
)


@given(DOCUMENTS)
@settings(
    max_examples=150,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.function_scoped_fixture,
        HealthCheck.data_too_large,
    ],
)
def test_any_document_is_loaded_or_refused(document: dict[str, Any]) -> None:
    try:
        loaded: Configuration | DeclarativeError = load_declarative_document(document)
    except DeclarativeError as error:
        loaded = error
    if isinstance(loaded, DeclarativeError):
        assert loaded.lines()
        assert loaded.fields
        for flatten in (False, True):
            answer = json.loads(json.dumps(loaded.answer(flatten)))
            assert answer["code"] == 14
            assert answer["message"].startswith("declarative config is invalid: {")
    else:
        assert json.dumps(loaded.to_kong())
