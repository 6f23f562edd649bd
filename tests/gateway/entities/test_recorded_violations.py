"""Schema violations that a real Kong answered (../shared/conformance/scenarios), field by field."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.record import check_entity
from gateway.store.declarative_errors import as_arrays
from gateway.store.documents import read_yaml

SCENARIOS = Path(__file__).parents[4] / "shared" / "conformance" / "scenarios"
TOP_LEVEL = ("services", "routes", "upstreams", "consumers", "snis", "acls", "certificates")


def violations() -> Iterator[Any]:
    for path in sorted(SCENARIOS.glob("*.yaml")):
        # Only the few files that can have them: reading all would take seconds.
        if not path.name.startswith(
            ("service-", "route-", "upstream-", "consumer-", "cert-", "cred-acls", "validate")
        ):
            continue
        scenario = read_yaml(path.read_text()).value
        for number, step in enumerate(scenario["steps"]):
            body = step.get("expect", {}).get("body", {}).get("json")
            type_name = step.get("path", "").removeprefix("/")
            if (
                step.get("method") == "POST"
                and "json" in step
                and type_name in TOP_LEVEL
                and isinstance(body, dict)
                and body.get("code") == 2
                and "already associated" not in body["message"]  # needs the other entities
            ):
                yield pytest.param(type_name, step["json"], body["fields"], id=f"{path.stem}-{number}")


CASES = list(violations())


@pytest.mark.skipif(not CASES, reason="the recorded scenarios are not here")
@pytest.mark.parametrize(("type_name", "values", "fields"), CASES or [("", {}, {})])
def test_violation(type_name: str, values: dict[str, Any], fields: dict[str, Any]) -> None:
    if values.get("certificate") == "${c1}":
        values = {**values, "certificate": "x"}
    _, errors = check_entity(ENTITY_TYPES[type_name], with_ids(values))
    assert_matches(as_arrays(errors), fields)


def with_ids(values: Any) -> Any:
    """Captured ids replaced by an id."""
    if isinstance(values, dict):
        return {name: with_ids(value) for name, value in values.items()}
    if isinstance(values, str) and values.startswith("${"):
        return "00000000-0000-4000-8000-000000000001"
    return values


def assert_matches(actual: Any, expected: Any) -> None:
    """Equal, with `<any>` in a recorded text for the part that is the library's."""
    if isinstance(expected, str) and "<any>" in expected:
        assert isinstance(actual, str)
        assert actual.startswith(expected.partition("<any>")[0])
    elif isinstance(expected, dict):
        assert set(actual) == set(expected)
        for name in expected:
            assert_matches(actual[name], expected[name])
    elif isinstance(expected, list):
        assert len(actual) == len(expected)
        for one, other in zip(actual, expected, strict=True):
            assert_matches(one, other)
    else:
        assert actual == expected
