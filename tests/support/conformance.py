"""Kong's recorded scenarios without an Admin API that writes: Admin steps become POST /config documents.

The material and its runner lie outside the project, in ../shared/conformance (its README.md says what a step
is). The runner's own functions send the requests and compare the answers.
"""

from __future__ import annotations

import importlib
import itertools
import sys
import uuid
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.gateway import Gateway

MATERIAL = Path(__file__).parents[3] / "shared" / "conformance"
PROXY_DEVIATIONS: dict[tuple[str, int], str] = {
    ("err-accept", 18): "Kong compares Accept with regard to case (corrections.md, 6)",
    ("raw", 24): "a head that is too large is 431",
    ("raw", 29): "bare LF in the head is refused",
    ("reqt-template-lua", 2): "a template that can only fail is refused (docs/transformers.md)",
    ("reqt-template-lua", 3): "the plugin was refused the step before",
    ("rest-json", 11): "bodies with a Content-Encoding stay as they are (corrections.md, 27)",
    ("routing-hosts", 16): "Kong compares hosts with regard to case (corrections.md, 2)",
}
"""(scenario, number of the step) -> why an answer through the proxy port differs"""
FIRST_CREATED = 1_600_000_000  # Unix time; equal routes are told apart by age, so each entity gets its own


def load_runner() -> ModuleType:
    """../shared/conformance/replay.py as a module."""
    if str(MATERIAL) not in sys.path:
        sys.path.insert(0, str(MATERIAL))
    return importlib.import_module("replay")


class AdminTranslator:
    """Keeps the entities that Admin steps would have written; posts them as one document after each step."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.entities: dict[str, dict[str, dict[str, Any]]] = {}
        self.count = itertools.count(FIRST_CREATED)

    def clear(self) -> None:
        self.entities = {"services": {}, "routes": {}, "upstreams": {}, "targets": {}, "plugins": {}}
        self.gateway.configure({})

    def find(self, kind: str, key: str) -> dict[str, Any]:
        for entity in self.entities[kind].values():
            if key in (entity["id"], entity.get("name")):
                return entity
        raise LookupError(f"{kind}/{key}")

    def step(self, step: dict[str, Any]) -> dict[str, Any]:
        """Carry out one Admin step; the answer in the form of the runner's do_http."""
        method, path = step.get("method", "GET"), step["path"].strip("/").split("/")
        body = dict(step.get("json") or {})
        if path[-1] == "plugins":
            status, entity = self.add_plugin(path[0], path[1], body)
        elif method == "POST":
            status, entity = 201, self.create(path, body)
        elif method == "PATCH":
            entity = self.find(path[0], path[1])
            entity.update(body)
            status = 200
        elif method == "PUT":
            old = self.find(path[0], path[1])
            entity = body | {key: old[key] for key in ("id", "created_at")}
            entity.setdefault("name", path[1])
            self.entities[path[0]][old["id"]] = entity
            status = 200
        else:
            assert method == "DELETE", step
            entity = self.find(path[0], path[1])
            del self.entities[path[0]][entity["id"]]
            status = 204
        self.gateway.configure(self.document())
        return {"status": status, "headers": [], "body": b"", "entity": entity}

    def create(self, path: list[str], body: dict[str, Any]) -> dict[str, Any]:
        kind = path[-1]
        entity = {"id": str(uuid.uuid4()), "created_at": next(self.count), **body}
        if len(path) == 3:
            parent = {"services": "service", "upstreams": "upstream"}[path[0]]
            entity[parent] = self.find(path[0], path[1])["id"]
        elif isinstance(entity.get("service"), dict):
            entity["service"] = (
                entity["service"].get("id") or self.find("services", entity["service"]["name"])["id"]
            )
        if "url" in entity:
            raise NotImplementedError("service url")
        self.entities[kind][entity["id"]] = entity
        return entity

    def add_plugin(self, kind: str, name: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        parent = self.find(kind, name)["id"]
        entity = {"id": str(uuid.uuid4()), **body, kind.removesuffix("s"): parent}
        self.entities["plugins"][entity["id"]] = entity
        return 201, entity

    def document(self) -> dict[str, Any]:
        return {kind: [dict(entity) for entity in found.values()] for kind, found in self.entities.items()}


def translating_target(runner: ModuleType, gateway: Gateway, ports: list[int]) -> Any:
    """A `Target` of the runner whose Admin steps go through an AdminTranslator; it never waits blindly."""
    translator = AdminTranslator(gateway)

    class TranslatingTarget(runner.Target):  # type: ignore[name-defined,misc]
        def reset(self) -> None:
            translator.clear()

        def run_step(self, step: dict[str, Any], variables: dict[str, Any]) -> Any:
            to = step.get("to", "admin")
            if to == "sleep":
                return None  # a configuration is live when POST /config has answered
            if to != "admin":
                return super().run_step(step, variables)
            plain = {key: value for key, value in step.items() if key != "expect"}
            answer = translator.step(runner.subst(plain, variables))
            for name, path in (step.get("capture") or {}).items():
                variables[name] = runner.get_path({"body": answer["entity"]}, path)
            return {"status": answer["status"], "headers": {}, "body": {}}

    admin, proxy = (("127.0.0.1", port) for port in (gateway.admin_port, gateway.proxy_port))
    return TranslatingTarget(admin, proxy, ports, mode="db", timeout=15, settle=0)


def scenarios_of(runner: ModuleType, mode: str) -> list[dict[str, Any]]:
    """The scenarios of a mode ("db", "dbless") that need no settings of their own."""
    everything = runner.load(str(MATERIAL / "scenarios"))
    return [one for one in everything if one.get("mode", "db") == mode and not one.get("env")]


def unhurried_target(runner: ModuleType, gateway: Gateway, ports: list[int]) -> Any:
    """A `Target` of the runner that never waits blindly; where time itself is looked at, set `sleeps`."""

    class UnhurriedTarget(runner.Target):  # type: ignore[name-defined,misc]
        sleeps = False

        def run_step(self, step: dict[str, Any], variables: dict[str, Any]) -> Any:
            if step.get("to") == "sleep" and not self.sleeps:
                return None  # what is answered is live
            return super().run_step(step, variables)

    admin, proxy = (("127.0.0.1", port) for port in (gateway.admin_port, gateway.proxy_port))
    return UnhurriedTarget(admin, proxy, ports, mode="db", timeout=15, settle=0)
