"""Kong's recorded scenarios without an Admin API that writes: Admin steps become POST /config documents.

The material and its runner lie outside the project, in ../shared/conformance (its README.md says what a step
is). The runner's own functions send the requests and compare the answers.
"""

from __future__ import annotations

import importlib
import itertools
import json
import re
import socket
import sys
import threading
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
    ("routing-hosts", 16): "Kong compares hosts with regard to case (corrections.md, 2)",
}
"""(scenario, number of the step) -> why an answer through the proxy port differs"""
FIRST_CREATED = 1_600_000_000  # Unix time; equal routes are told apart by age, so each entity gets its own


def load_runner() -> ModuleType:
    """../shared/conformance/replay.py as a module."""
    if str(MATERIAL) not in sys.path:
        sys.path.insert(0, str(MATERIAL))
    return importlib.import_module("replay")


class LabellingSocket:
    """A connection of the recorded backend that sees a further header, as if a plugin had added it.

    The gateway sends a head in one piece, so a piece that begins with a request line begins a request.
    """

    REQUEST_LINE = re.compile(rb"[A-Z]+ \S+ HTTP/1\.1\r\n")

    def __init__(self, sock: socket.socket, header: bytes, own_port: int, backend_port: int) -> None:
        self.socket = sock
        self.header = header
        self.own_port, self.backend_port = (b":%d\r\n" % port for port in (own_port, backend_port))

    def recv(self, size: int) -> bytes:
        data = self.socket.recv(size)
        if line := self.REQUEST_LINE.match(data):
            rest = data[line.end() :].replace(self.own_port, self.backend_port)
            data = line[0] + self.header + b"\r\n" + rest
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self.socket, name)


class LabellingBackend:
    """The recorded backend on a port of its own, for the routes that a request-transformer plugin marks."""

    def __init__(self, backend: ModuleType, header: str, backend_port: int) -> None:
        self.backend = backend
        self.header = header.encode()
        self.backend_port = backend_port
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port: int = self.listener.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self) -> None:
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            labelling = LabellingSocket(sock, self.header, self.port, self.backend_port)
            threading.Thread(
                target=self.backend.client, args=(labelling, self.backend_port), daemon=True
            ).start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()


class AdminTranslator:
    """Keeps the entities that Admin steps would have written; posts them as one document after each step."""

    def __init__(self, gateway: Gateway, backend: ModuleType, backend_port: int) -> None:
        self.gateway = gateway
        self.backend = backend
        self.backend_port = backend_port
        self.entities: dict[str, dict[str, dict[str, Any]]] = {}
        self.labels: dict[str, LabellingBackend] = {}  # by route id
        self.count = itertools.count(FIRST_CREATED)

    def clear(self) -> None:
        self.entities = {"services": {}, "routes": {}, "upstreams": {}, "targets": {}, "plugins": {}}
        for label in self.labels.values():
            label.close()
        self.labels = {}
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
        """A request-transformer that marks a route becomes a backend that does so."""
        parent = self.find(kind, name)["id"]
        if body["name"] == "request-transformer":
            (header,) = body["config"]["add"]["headers"]
            self.labels[parent] = LabellingBackend(self.backend, header, self.backend_port)
            return 201, body
        entity = {"id": str(uuid.uuid4()), **body, kind.removesuffix("s"): parent}
        self.entities["plugins"][entity["id"]] = entity
        return 201, entity

    def document(self) -> dict[str, Any]:
        services = {service["id"]: dict(service) for service in self.entities["services"].values()}
        routes = []
        for route in self.entities["routes"].values():
            if label := self.labels.get(route["id"]):
                service = services[route["service"]]
                copy = service | {"id": str(uuid.uuid4()), "name": f"label-{label.port}", "port": label.port}
                services[copy["id"]] = copy
                route = route | {"service": copy["id"]}
            routes.append(route)
        upstreams = [dict(upstream) for upstream in self.entities["upstreams"].values()]
        targets = [dict(target) for target in self.entities["targets"].values()]
        return {
            "services": list(services.values()),
            "routes": routes,
            "upstreams": upstreams,
            "targets": targets,
            "plugins": list(self.entities["plugins"].values()),
        }


def translating_target(runner: ModuleType, gateway: Gateway, ports: list[int]) -> Any:
    """A `Target` of the runner whose Admin steps go through an AdminTranslator; it never waits blindly."""
    translator = AdminTranslator(gateway, runner.backend_mod, ports[0])

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


def labelling_target(runner: ModuleType, gateway: Gateway, ports: list[int]) -> Any:
    """A `Target` of the runner that never waits blindly, and that stands in for the plugin with which the
    routing scenarios tell routes apart: a route with request-transformer gets a service of its own, whose
    backend sees the header that the plugin would have added."""
    labels: list[LabellingBackend] = []

    class LabellingTarget(runner.Target):  # type: ignore[name-defined,misc]
        def reset(self) -> Any:
            while labels:
                labels.pop().close()
            return super().reset()

        def run_step(self, step: dict[str, Any], variables: dict[str, Any]) -> Any:
            if step.get("to") == "sleep":
                return None  # what is answered is live
            body = step.get("json")
            if not (
                step.get("setup") and isinstance(body, dict) and body.get("name") == "request-transformer"
            ):
                return super().run_step(step, variables)
            (header,) = runner.subst(body, variables)["config"]["add"]["headers"]
            label = LabellingBackend(runner.backend_mod, header, ports[0])
            labels.append(label)
            route = "/" + "/".join(runner.subst(step["path"], variables).split("/")[1:3])
            service = self.ask("GET", f"{route}/service", 200)
            own = {name: service[name] for name in service.keys() - {"id", "name"}} | {"port": label.port}
            made = self.ask("POST", "/services", 201, own)
            self.ask("PATCH", route, 200, {"service": {"id": made["id"]}})
            return {"status": 201, "headers": {}, "body": {}}

        def ask(self, method: str, path: str, status: int, body: Any = None) -> dict[str, Any]:
            answer = self.call(method, path, body)
            assert answer.get("status") == status, answer
            return json.loads(answer["body"])  # type: ignore[no-any-return]

    admin, proxy = (("127.0.0.1", port) for port in (gateway.admin_port, gateway.proxy_port))
    return LabellingTarget(admin, proxy, ports, mode="db", timeout=15, settle=0)
