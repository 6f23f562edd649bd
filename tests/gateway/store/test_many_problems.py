"""Documents with very many problems: the first are told, the others counted."""

from __future__ import annotations

import json
from typing import Any

import pytest

from gateway.entities.fields import Errors
from gateway.store import DeclarativeError, load_declarative
from gateway.store.declarative_errors import first_errors
from gateway.store.problems import MOST_PROBLEMS

MANY = 5000
DOCUMENTS: dict[str, dict[str, Any]] = {
    "entities": {"services": [{} for _ in range(MANY)]},
    "no entities": {"services": [1] * MANY},
    "nested": {"services": [{"host": "a", "routes": [{"paths": ["x"]} for _ in range(MANY)]}]},
    "fields of one": {"services": [{"host": "a", **{f"x{number}": 1 for number in range(MANY)}}]},
    "elements of one": {"routes": [{"paths": ["x"] * MANY}]},
    "outside": {f"x{number}": 1 for number in range(MANY)},
    "references": {
        "routes": [{"name": f"r{number}", "paths": ["/"], "service": "s"} for number in range(MANY)]
    },
    "repeated": {"services": [{"name": "a", "host": "h"} for _ in range(MANY + 1)]},
    "repeated ids": {
        "services": [{"id": "1d8a2b0c-77ab-4b3e-9d3b-0b6f0c5a1e11", "host": "h"} for _ in range(MANY + 1)]
    },
}


def error_of(document: dict[str, Any]) -> DeclarativeError:
    with pytest.raises(DeclarativeError) as caught:
        load_declarative(json.dumps({"_format_version": "3.0", **document}), source="x.json")
    return caught.value


@pytest.mark.parametrize("kind", DOCUMENTS)
def test_the_first_are_told_and_the_others_counted(kind: str) -> None:
    error = error_of(DOCUMENTS[kind])
    lines = error.lines()
    assert len(lines) == MOST_PROBLEMS + 1
    assert lines[-1] == f"… and {MANY - MOST_PROBLEMS:,} more"
    for flatten in (False, True):
        answer = error.answer(flatten)
        assert answer["message"].endswith(f"}} {lines[-1]}")
        answer.pop("flattened_errors", None)  # has the entities as they are given
        assert len(json.dumps(answer)) < MOST_PROBLEMS * 300
    assert sum(len(one["errors"]) for one in error.flattened()) <= MOST_PROBLEMS


def test_as_many_as_are_told_are_complete() -> None:
    error = error_of({"services": [{"host": "a", "x": 1}] * MOST_PROBLEMS})
    assert len(error.lines()) == MOST_PROBLEMS
    assert "more" not in error.message
    assert len(error.flattened()) == MOST_PROBLEMS


def test_first_errors() -> None:
    errors: Errors = {"a": "1", "b": {0: "2", 1: ["3", "4"]}, "c": "5", "@entity": ["6"]}
    assert first_errors(errors, 3) == {"a": "1", "b": {0: "2", 1: ["3"]}}
    assert first_errors(errors, 6) == errors
