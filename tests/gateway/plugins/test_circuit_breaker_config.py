"""What proxy-circuit-breaker can be configured with."""

from __future__ import annotations

from typing import Any

import pytest

from gateway.admin.forms import form_values
from gateway.entities.plugins import Plugin
from gateway.entities.record import check_entity

NAME = "proxy-circuit-breaker"


def check(config: dict[str, Any], **scope: Any) -> tuple[dict[str, Any], Any]:
    clean, errors = check_entity(Plugin, {"name": NAME, "config": config, **scope})
    return clean.get("config", {}), errors


def test_defaults() -> None:
    config, errors = check({})
    assert not errors
    clean: dict[str, Any] = {"name": NAME, "config": config}
    Plugin.transform(clean)
    assert clean["config"] == {
        "http_failures": 5,
        "timeout": 10,
        "http_statuses": [500, 502, 503, 504],
        "half_open_requests": 1,
        "count_connect_errors": True,
        "count_timeouts": True,
        "per": "service",
    }


def test_a_form() -> None:
    fields = [
        ("name", NAME),
        ("config.http_failures", "5"),
        ("config.timeout", "0.5"),
        ("config.http_statuses", "500,503"),
    ]
    clean, errors = check_entity(Plugin, form_values(Plugin, fields))
    assert not errors
    config = clean["config"]
    assert (config["http_failures"], config["timeout"], config["http_statuses"]) == (5, 0.5, [500, 503])


@pytest.mark.parametrize(
    ("field", "value", "problem"),
    [
        ("http_failures", 0, "value should be between 1 and 1000000"),
        ("http_failures", 1.5, "expected an integer"),
        ("http_failures", None, None),
        ("timeout", 0, "value must be greater than 0"),
        ("timeout", -1, "value must be greater than 0"),
        ("timeout", 31_536_001, "value must not be greater than 31536000"),
        ("timeout", "ten", "expected a number"),
        ("http_statuses", [99], {0: "value should be between 100 and 599"}),
        ("http_statuses", 500, "expected a set"),
        ("http_statuses", [], None),
        ("half_open_requests", 0, "value should be between 1 and 1000"),
        ("half_open_requests", 1001, "value should be between 1 and 1000"),
        ("per", "route", "expected one of: service, target"),
        ("per", 7, "expected a string"),
        ("count_timeouts", "yes", "expected a boolean"),
        ("failures", 5, "unknown field"),
    ],
)
def test_values(field: str, value: Any, problem: Any) -> None:
    _, errors = check({field: value})
    assert (errors or {}) == ({"config": {field: problem}} if problem else {})


def test_it_is_not_for_a_consumer() -> None:
    _, errors = check({}, consumer={"id": "7b1e0c0d-0d0b-4c1f-9a53-4f1b6c0a7b11"})
    assert errors == {"consumer": "value must be null"}
