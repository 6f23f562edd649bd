"""Writes that a real Kong answered (../shared/conformance/scenarios), applied to a draft."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from gateway.admin.entity_form import admin_form
from gateway.entities.catalogue import ENTITY_TYPES
from gateway.entities.fields import UUID
from gateway.entities.record import Entity, shape_of
from gateway.store import operations
from gateway.store.configuration import Configuration
from gateway.store.documents import read_yaml
from gateway.store.draft import Draft
from gateway.store.errors import EntityError
from tests.support.conformance import MATERIAL, load_runner

NAMES = (
    *("service-errors-1", "service-errors-3", "service-errors-4", "service-errors-6"),
    *("upstream-errors-2", "upstream-errors-3", "route-errors-1", "route-errors-4", "route-errors-7"),
    *("consumer-crud", "cert-crud", "cred-acls", "cred-basic-auth", "cred-by-key", "cred-oauth2"),
    *("target-crud", "unique-and-foreign", "json-nested-foreign"),
)
COLLECTIONS = {
    kind.admin_paths.collection or name.replace("_", "-"): kind for name, kind in ENTITY_TYPES.items()
}
NESTED = {kind.admin_paths.nested or name.replace("_", "-"): kind for name, kind in ENTITY_TYPES.items()}


def scenarios() -> Iterator[Any]:
    for name in NAMES:
        path = MATERIAL / "scenarios" / f"{name}.yaml"
        if path.exists():
            yield pytest.param(read_yaml(path.read_text()).value, id=name)


class Replay:
    """The writes of a scenario, one after the other."""

    def __init__(self, runner: Any) -> None:
        self.runner = runner
        self.draft = Draft(Configuration.EMPTY)
        self.captured: dict[str, Any] = {"backend_port": 9000}
        self.compared = 0

    def step(self, step: dict[str, Any]) -> list[str]:
        """The differences; none for a step that is no write."""
        step = self.runner.subst(step, self.captured)
        expected, wanted = step["expect"].get("body") or {}, step["expect"]["status"]
        if step.get("to") != "admin" or step["method"] == "GET" or is_about_the_path(expected, wanted):
            return []
        body = step.get("json", {})
        try:
            entity = self.write(step["method"], step["path"].strip("/").split("/"), dict(body))
        except KeyError:  # not found, or named in a way that only the Admin API knows
            return []
        except EntityError as refusal:
            answer = refusal.answer()
            status = refusal.status
        else:
            answer = admin_form(entity, self.draft, 0) if entity is not None else None
            status = {"POST": 201, "DELETE": 204}.get(step["method"], 200)
        differences = (
            [] if status == step["expect"]["status"] else [f"status {status}, not {step['expect']['status']}"]
        )
        if "json" in expected:
            # What was captured of Kong's answer stands in it as a name.
            for name, place in step.get("capture", {}).items():
                self.captured[name] = self.runner.get_path({"body": answer}, place)
            self.runner.compare(self.runner.subst(expected["json"], self.captured), answer, "", differences)
        self.compared += 1
        return differences

    def write(self, method: str, path: list[str], values: dict[str, Any]) -> Entity | None:
        kind = COLLECTIONS[path[0]]
        if len(path) > 2:
            parent_kind, kind = kind, NESTED[path[2]]
            parent = self.named(parent_kind, path[1])
            field = next(
                name
                for name, foreign in shape_of(kind).foreign.items()
                if foreign.reference == parent_kind.type_name
            )
            values[field] = {"id": parent.id}
            path = path[2:]
        if method == "POST":
            return operations.create(self.draft, kind, values)
        if method == "PUT":
            if UUID.fullmatch(path[1]):
                return operations.replace(self.draft, kind, {"id": path[1]}, values)
            if kind.endpoint_key not in shape_of(kind).unique:
                raise KeyError(path[1])
            return operations.replace(self.draft, kind, {kind.endpoint_key: path[1]}, values)
        entity = self.named(kind, path[1])
        if method == "PATCH":
            return operations.update(self.draft, entity, values)
        operations.remove(self.draft, entity)
        return None

    def named(self, kind: type[Entity], key: str) -> Entity:
        found = self.draft.find(kind.type_name, key)
        if found is None:
            raise KeyError(key)
        return found


def is_about_the_path(expected: dict[str, Any], status: int) -> bool:
    """An answer that the endpoint gives, before anything is written."""
    return status == 404 or (
        isinstance(expected.get("json"), dict) and expected["json"].get("code") in (1, 10)
    )


SCENARIOS = list(scenarios())


@pytest.mark.skipif(not SCENARIOS, reason="the recorded scenarios are not here")
@pytest.mark.parametrize("scenario", SCENARIOS or [{}])
def test_writes(scenario: dict[str, Any]) -> None:
    replay = Replay(load_runner())
    differences = {
        number: found
        for number, step in enumerate(scenario["steps"])
        if "plugins" not in step.get("path", "") and (found := replay.step(step))
    }
    assert differences == {}
    assert replay.compared
