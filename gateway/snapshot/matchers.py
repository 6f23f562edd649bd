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

import struct
from collections.abc import Iterator
from typing import NamedTuple

from gateway.entities.routes import Route
from native.router_builder import PreparedMatcher, split_port

MOST_NAMES = 255
"""more header names than this count as this many"""

# The criteria above, one after the other, each so that the lower comes first; then the id follows.
_ORDER = struct.Struct(">BBBQBIBQ")
_POSITION = struct.Struct(">BI")
_HIGHEST = 2**63
_LONGEST = 2**32 - 1


CRITERIA = (
    "more kinds of conditions",
    "no wildcard among its hosts",
    "a regex path",
    "a higher regex_priority",
    "more names of headers and query parameters",
    "a longer path",
    "a host with a port",
    "greater age",
    "the lower id",
)
"""What each part of an order means for the one that comes first."""


def deciding_criterion(first: bytes, second: bytes) -> str:
    """By what the matcher with the order `first` comes before the one with the order `second`."""
    parts = zip(_ORDER.unpack_from(first), _ORDER.unpack_from(second), strict=True)
    texts = zip(CRITERIA, parts, strict=False)
    return next((text for text, (one, other) in texts if one != other), CRITERIA[-1])


class Matcher(NamedTuple):
    """A route with one of its paths and its hosts, or those of them with a port, or without one.

    `path` is a plain prefix or, when `regex`, a pattern without "~". Matchers are tried in ascending `order`,
    which no two of a configuration have in common.
    """

    order: bytes
    hosts: tuple[str, ...]
    path: str
    regex: bool


def matchers_of(route: Route) -> Iterator[Matcher]:
    """What a route is tried as."""
    kinds = (
        bool(route.methods)
        + bool(route.hosts)
        + bool(route.headers)
        + bool(route.snis)
        + bool(route.paths)
        + bool(route.query_params)
    )
    plain_hosts = bool(route.hosts) and not any("*" in host for host in route.hosts or ())
    names = min(len(route.headers or ()) + len(route.query_params or ()), MOST_NAMES)
    paths = list(dict.fromkeys(route.paths)) if route.paths else [""]
    identifier = route.id.encode()
    for with_port, hosts in _hosts_by_port(route):
        for position, path in enumerate(paths):
            regex = path.startswith("~")
            order = _ORDER.pack(
                255 - kinds,
                not plain_hosts,
                not regex,
                _HIGHEST - (route.regex_priority or 0) if regex else 0,
                255 - names,
                0 if regex else _LONGEST - len(path.encode()),
                not with_port,
                route.created_at,
            )
            yield Matcher(
                order + identifier + _POSITION.pack(0, position), hosts, path[1:] if regex else path, regex
            )


def prepared_matchers(route: Route) -> list[tuple[bytes, PreparedMatcher]]:
    """The matchers of a route in the form that the index builder takes, each with its `order`."""
    methods, snis = route.methods or (), route.snis or ()
    headers = list(route.headers.items()) if route.headers else ()
    queries = list(route.query_params.items()) if route.query_params else ()
    return [
        (
            matcher.order,
            PreparedMatcher(
                hosts=matcher.hosts,
                path="" if matcher.regex else matcher.path,
                regex=matcher.path if matcher.regex else None,
                methods=methods,
                headers=headers,
                queries=queries,
                snis=snis,
            ),
        )
        for matcher in matchers_of(route)
    ]


def _hosts_by_port(route: Route) -> list[tuple[bool, tuple[str, ...]]]:
    """The hosts with a port (True) and those without; one entry when there are none of one kind."""
    hosts = tuple(route.hosts or ())
    if not any(":" in host for host in hosts):
        return [(False, hosts)]
    with_port = tuple(host for host in hosts if split_port(host)[1])
    without = tuple(host for host in hosts if not split_port(host)[1])
    if not with_port:
        return [(False, without)]
    return [(True, with_port), (False, without)] if without else [(True, with_port)]
