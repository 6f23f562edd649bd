"""The configurations of plugins: what Kong was sent, and what it answered."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.admin.entity_form import admin_form
from gateway.admin.forms import form_values
from gateway.entities.fields import Reference
from gateway.entities.plugins import Plugin
from gateway.entities.record import check_entity
from gateway.plugins import AVAILABLE
from gateway.store.configuration import Configuration
from gateway.store.errors import schema_violation
from tests.support.conformance import MATERIAL, load_runner, scenarios_of

SOMEBODY = "5b8f0ef4-2b1f-4d1c-9a8e-0c0e1f2a3b4c"
DEVIATIONS = {
    ("plugin-errors-2", 2): "a route's id that is no UUID is the id that is wrong",
    ("plugin-errors-5", 2): "a status that no answer can have is refused",
    ("plugin-errors-9", 2): "a template that cannot be read is refused",
    ("form-plugins", 10): "a text with commas may be several elements",
    ("form-plugins", 11): "a text with commas may be several elements",
}


def exchanges() -> Iterator[Any]:
    """The recorded writes of a single plugin that is available: what was sent, status, what came back."""
    if not MATERIAL.exists():
        return
    for scenario in scenarios_of(load_runner(), "db"):
        for number, step in enumerate(scenario["steps"]):
            if step.get("to") != "admin" or step.get("method") != "POST" or step.get("path") != "/plugins":
                continue
            sent = step.get("json", dict(step.get("form", ())))
            if not isinstance(sent, dict) or sent.get("name") not in AVAILABLE:
                continue
            status, name = step["expect"]["status"], f"{scenario['id']}-{number}"
            answer = step["expect"].get("body", {}).get("json")
            if status in (201, 400) and answer and answer.get("code", 2) == 2:
                reason = DEVIATIONS.get((scenario["id"], number))
                marks = [pytest.mark.xfail(reason=reason, strict=True)] if reason else []
                yield pytest.param(step, status, answer, id=name, marks=marks)


@pytest.mark.parametrize(("step", "status", "answer"), list(exchanges()))
def test_what_kong_was_sent(step: dict[str, Any], status: int, answer: dict[str, Any]) -> None:
    values = form_values(Plugin, step["form"]) if "form" in step else json.loads(json.dumps(step["json"]))
    for name in ("route", "service", "consumer"):
        if values.get(name) is not None and answer.get("fields", {}).get(name) is None:
            values[name] = Reference(SOMEBODY)
    clean, errors = check_entity(Plugin, values)
    if status == 400:
        error = schema_violation(errors)
        assert error.fields == answer["fields"]
        assert error.message == answer["message"]
        return
    assert not errors
    Plugin.transform(clean)
    plugin = Plugin(id=SOMEBODY, created_at=1, updated_at=1, **clean)
    shown = admin_form(plugin, Configuration.EMPTY, 0)
    assert shown["config"] == answer["config"]
    assert shown["protocols"] == answer["protocols"]
