"""Routers from routes written in a few words, and Kong's rules a second time, without an index."""

import re
import uuid
from functools import cache
from typing import Any

from gateway.entities.fields import Reference
from gateway.entities.routes import Route
from gateway.entities.services import Service
from gateway.settings import Settings, load_settings
from gateway.snapshot import compile_configuration
from gateway.store.configuration import Configuration
from native.router import Router

SERVICE_ID = str(uuid.UUID(int=1))


@cache
def settings(**flags: str) -> Settings:
    return load_settings(None, {}, flags)


def service(**fields: Any) -> Service:
    given: dict[str, Any] = {"id": SERVICE_ID, "created_at": 1, "updated_at": 1, "host": "upstream.test"}
    return Service(**(given | fields))


def route(number: int, **fields: Any) -> Route:
    """Route number n; older and with a lower id than n + 1."""
    given: dict[str, Any] = {
        "id": str(uuid.UUID(int=100 + number)),
        "name": f"r{number}",
        "created_at": 1_600_000_000 + number,
        "updated_at": 1_600_000_000 + number,
        "service": Reference(SERVICE_ID),
    }
    return Route(**(given | fields))


def configuration(*routes: Route, services: tuple[Service, ...] | None = None) -> Configuration:
    return Configuration((*((service(),) if services is None else services), *routes), "0123456789abcdef" * 2)


def compiled(*routes: Route) -> bytes:
    return compile_configuration(configuration(*routes), settings(), number=1, metric_slots={})


def router(*routes: Route) -> Router:
    return Router(compiled(*routes))


def winner(built: Router, **request: Any) -> str | None:
    """Name of the route that a request takes."""
    found = built.match(**request)
    return None if found is None else found["name"]


# --- the rules without an index -------------------------------------------------------------------


def reference_match(routes: list[Route], request: dict[str, Any]) -> tuple[str, int] | None:
    """Name of the best route and the length its path took, by trying every path of every route."""
    path = request["path"]
    try:
        path.encode().decode() if isinstance(path, str) else path.decode()
    except UnicodeDecodeError:
        return None
    best = None
    for one in routes:
        if not others_match(one, request):
            continue
        for position, pattern in enumerate(one.paths or [""]):
            if pattern.startswith("~"):
                found = re.compile(pattern[1:]).match(path)
                length = found.end() if found else None
            else:
                length = len(pattern) if path.startswith(pattern) else None
            if length is None:
                continue
            with_port = [host for host in one.hosts or () if ":" in host]
            by_port = any(host_matches(host, request["host"], request["port"]) for host in with_port)
            place = (priority(one, pattern), by_port, -one.created_at, [-ord(c) for c in one.id], -position)
            if best is None or place > best[0]:
                best = (place, one.name, length)
    return None if best is None else (best[1], best[2])


def priority(one: Route, path: str) -> tuple[Any, ...]:
    attributes = (one.methods, one.hosts, one.headers, one.snis, one.paths, one.query_params)
    regex = path.startswith("~")
    return (
        sum(1 for attribute in attributes if attribute),
        bool(one.hosts) and all("*" not in host for host in one.hosts),
        regex,
        one.regex_priority if regex else 0,
        len(one.headers or {}) + len(one.query_params or {}),
        0 if regex else len(path),
    )


def others_match(one: Route, request: dict[str, Any]) -> bool:
    if one.methods and request["method"] not in one.methods:
        return False
    if one.hosts and not any(host_matches(host, request["host"], request["port"]) for host in one.hosts):
        return False
    for name, values in (one.headers or {}).items():
        wanted = name.lower().replace("_", "-")
        given = [v for n, v in request["headers"] if n.lower().replace("_", "-") == wanted]
        if not any(value_matches(pattern, value) for value in given for pattern in values):
            return False
    for name, values in (one.query_params or {}).items():
        given = [v for n, v in request["pairs"] if n == name]
        if not any(value_matches(pattern, value) for value in given for pattern in values):
            return False
    return True


def host_matches(pattern: str, host: str, port: int) -> bool:
    name, _, wanted_port = pattern.lower().partition(":")
    if wanted_port and int(wanted_port) != port:
        return False
    host = host.lower()
    if name.startswith("*"):
        return host.endswith(name[1:])
    if name.endswith("*"):
        return host.startswith(name[:-1])
    return host == name


def value_matches(pattern: str, value: str) -> bool:
    if pattern.startswith("~*"):
        return re.search(pattern[2:], value.lower()) is not None
    return pattern.lower() == value.lower()
