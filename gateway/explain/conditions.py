"""Why a request does not take a route: each condition of the route tried by itself, with the router
itself."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from gateway.entities.routes import Route
from gateway.settings import Settings
from gateway.snapshot import compile_configuration
from gateway.snapshot.configuration import PROTOCOLS
from gateway.snapshot.matchers import matchers_of
from gateway.store import Configuration
from native.router import Router

KINDS = ("methods", "hosts", "paths", "headers", "query_params", "snis")
"""the fields of a route that are conditions"""
MAPS = ("headers", "query_params")
NO_HASH = "0" * 32


@dataclass(frozen=True)
class Query:
    """What the router is asked: a request in the form in which it looks at it."""

    method: bytes
    host: bytes
    port: int
    path: bytes
    query: bytes
    headers: tuple[tuple[bytes, bytes], ...]
    https: bool

    def arguments(self) -> dict[str, Any]:
        """For Router.match()."""
        return {
            "method": self.method,
            "host": self.host,
            "port": self.port,
            "path": self.path,
            "query": self.query,
            "headers": self.headers,
            "https": self.https,
        }


@dataclass(frozen=True)
class Condition:
    """One condition of a route: a kind and, of headers and query parameters, one name."""

    kind: str
    name: str | None
    values: tuple[str, ...]

    def shown(self) -> dict[str, Any]:
        """For the answer."""
        named = {} if self.name is None else {"name": self.name}
        return {"condition": self.kind, **named, "wanted": list(self.values)}


def conditions_of(route: Route) -> Iterator[Condition]:
    """The conditions that a route sets; all of them must hold."""
    for kind in KINDS:
        values = getattr(route, kind)
        if not values:
            continue
        if kind in MAPS:
            for name, allowed in values.items():
                yield Condition(kind, name, tuple(allowed))
        else:
            yield Condition(kind, None, tuple(values))


class Trials:
    """Tries conditions on a request."""

    def __init__(self, settings: Settings, query: Query) -> None:
        self._settings = settings
        self._query = query

    def holds(self, route: Route, condition: Condition) -> bool:
        """Whether a condition of a route holds by itself."""
        values: Any = list(condition.values)
        if condition.name is not None:
            values = {condition.name: values}
        return self._takes(route, **{condition.kind: values})

    def failed(self, route: Route) -> list[Condition]:
        """The conditions that do not hold."""
        return [condition for condition in conditions_of(route) if not self.holds(route, condition)]

    def matched_path(self, route: Route) -> str | None:
        """The path of a matching route that the request took; None for a route without paths."""
        paths = [path for path in dict.fromkeys(route.paths or ()) if self._takes(route, paths=[path])]
        if not paths:
            return None
        first = min(self.orders(route, paths))
        return next(path for path in paths if min(self.orders(route, [path])) == first)

    def best_order(self, route: Route) -> bytes:
        """The place of a matching route among all: of the best of the matchers that match."""
        holding = [path for path in route.paths or () if self._takes(route, paths=[path])]
        hosts = [host for host in route.hosts or () if self._takes(route, hosts=[host])]
        return min(self.orders(route, holding, hosts))

    def orders(self, route: Route, paths: Sequence[str], hosts: Sequence[str] | None = None) -> list[bytes]:
        """The places of the matchers of a route that are for one of these paths, and for one of these
        hosts."""
        texts = {path.removeprefix("~") for path in paths} or {""}
        return [
            matcher.order
            for matcher in matchers_of(route)
            if matcher.path in texts and (not hosts or not matcher.hosts or set(hosts) & set(matcher.hosts))
        ]

    def _takes(self, route: Route, **conditions: Any) -> bool:
        alone = msgspec.structs.replace(route, **{**dict.fromkeys(KINDS), "service": None, **conditions})
        return router_of(alone, self._settings).match(**self._query.arguments()) is not None


def router_of(route: Route, settings: Settings) -> Router:
    """A router that knows one route only."""
    serving = [protocol for protocol in route.protocols if protocol in PROTOCOLS] or ["http"]
    alone = msgspec.structs.replace(route, protocols=serving)
    data = compile_configuration(Configuration((alone,), NO_HASH), settings, number=1, metric_slots={})
    return Router(data)


def near(route: Route, query: Query) -> tuple[int, int]:
    """How near a route is, roughly and fast, lower is nearer: the number of kinds that do not seem to hold,
    and minus the characters that its paths have in common with the request's. Regexes count as not
    holding."""
    failing = 0
    common = 0
    if route.methods and query.method.decode("ascii", "replace") not in route.methods:
        failing += 1
    if route.hosts:
        host = query.host.decode("ascii", "replace").lower()
        failing += not any(host_fits(one.lower(), host) for one in route.hosts)
    if route.paths:
        path = query.path.decode("utf-8", "replace")
        failing += not any(path.startswith(one) for one in route.paths)
        common = max(common_prefix(one.removeprefix("~"), path) for one in route.paths)
    if route.headers:
        given = {name.decode("ascii", "replace").lower().replace("_", "-") for name, _ in query.headers}
        failing += not all(name.lower().replace("_", "-") in given for name in route.headers)
    if route.query_params:
        failing += not all(name.encode() in query.query for name in route.query_params)
    return failing, -common


def host_fits(pattern: str, host: str) -> bool:
    """Whether a host fits a pattern, whatever its port."""
    name = pattern.partition(":")[0]
    if name.startswith("*"):
        return host.endswith(name[1:])
    return host.startswith(name[:-1]) if name.endswith("*") else host == name


def common_prefix(one: str, other: str) -> int:
    """How many characters two texts begin with in common."""
    length = 0
    for left, right in zip(one, other, strict=False):
        if left != right:
            break
        length += 1
    return length
