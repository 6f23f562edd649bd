"""Kong's order of routes (router flavor traditional_compatible), made once when a configuration is compiled.

A route with several paths is tried as several *matchers*, each with a priority of its own. First comes

1. the higher number of kinds of attributes that the route sets (methods, hosts, headers, snis, paths, and
   here also query_params);
2. hosts, all of them without a wildcard;
3. a regex path, among these the higher regex_priority;
4. the higher number of header names (query parameter names count with them);
5. the longer plain path.

Kong leaves open what comes first among equals. Here it is the one whose host names a port, then the older
route, then the lower id; within a route the order of its paths.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from gateway.entities.routes import Route
from native.router_index import split_port

MOST_NAMES = 255
"""more header names than this count as this many"""


@dataclass(frozen=True, slots=True)
class Matcher:
    """A route with one of its paths and its hosts, or those of them with a port, or without one.

    `path` is a plain prefix or, when `regex`, a pattern without "~".
    """

    route: Route
    hosts: tuple[str, ...]
    path: str
    regex: bool


def ranked_matchers(routes: Iterable[Route]) -> list[Matcher]:
    """The matchers of all routes, first to be tried first."""
    keyed = [entry for route in routes for entry in _matchers(route)]
    keyed.sort(key=lambda entry: entry[0])
    return [matcher for _, matcher in keyed]


def _matchers(route: Route) -> Iterator[tuple[tuple[float | str, ...], Matcher]]:
    kinds = sum(
        bool(attribute)
        for attribute in (
            route.methods,
            route.hosts,
            route.headers,
            route.snis,
            route.paths,
            route.query_params,
        )
    )
    plain_hosts = bool(route.hosts) and not any("*" in host for host in route.hosts or ())
    names = min(len(route.headers or ()) + len(route.query_params or ()), MOST_NAMES)
    for port, hosts in _hosts_by_port(route):
        for position, path in enumerate(dict.fromkeys(route.paths or [""])):
            regex = path.startswith("~")
            yield (
                (
                    -kinds,
                    -plain_hosts,
                    -regex,
                    -(route.regex_priority or 0) if regex else 0,
                    -names,
                    0 if regex else -len(path.encode()),
                    -port,
                    route.created_at,
                    route.id,
                    position,
                ),
                Matcher(route, hosts, path[1:] if regex else path, regex),
            )


def _hosts_by_port(route: Route) -> list[tuple[bool, tuple[str, ...]]]:
    """The hosts with a port (True) and those without; one entry when there are none of one kind."""
    with_port = tuple(host for host in route.hosts or () if split_port(host)[1])
    without = tuple(host for host in route.hosts or () if not split_port(host)[1])
    if not with_port:
        return [(False, without)]
    return [(True, with_port), (False, without)] if without else [(True, with_port)]
