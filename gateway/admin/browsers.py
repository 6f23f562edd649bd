"""Requests that a browser makes for a page of somebody else's, which must neither read nor change anything.

Any page that an operator visits can have the browser send requests to 127.0.0.1, and a page whose host name
is pointed there afterwards (DNS rebinding) can read the answers as its own. Browsers say for whom they ask:
in Origin, Sec-Fetch-Site and Host. Programs (curl, decK, …) send no Origin and no Sec-Fetch-Site.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.settings import Listener, Settings
from gateway.settings.values import DEFAULT_PORTS, plain_origin

LISTENER = "sluicegate.listener"
"""where a request's scope has the listener that it came to"""
FOREIGN_SITES = ("cross-site", "same-site")


def bound_to(app: ASGIApp, listener: Listener) -> ASGIApp:
    """The application that knows which listener its requests came to."""

    async def bound(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, LISTENER: listener}, receive, send)

    return bound


def refusal(scope: Scope, settings: Settings) -> str | None:
    """Why a request is refused, for a person; None when nothing speaks against it."""
    hosts = _values(scope, b"host")
    listener: Listener | None = scope.get(LISTENER)
    if listener and _is_loopback(listener.address):
        for host in hosts:
            if not _is_local(host, settings.admin_hosts):
                return (
                    f"'{host}' is not a name of this loopback address; if it is meant to be, add it to the "
                    "setting ADMIN_HOSTS"
                )
    if "*" in settings.admin_origins:
        return None
    origins = _values(scope, b"origin")
    if origins and all(plain_origin(origin) in settings.admin_origins for origin in origins):
        return None
    for origin in origins:
        if not _is_same(origin, hosts):
            return (
                f"pages of '{origin}' may not use this API; if they are meant to, add the origin to the "
                "setting ADMIN_ORIGINS"
            )
    for site in _values(scope, b"sec-fetch-site"):
        if site.lower() in FOREIGN_SITES:
            return (
                "pages of other sites may not use this API; if one is meant to, add its origin to the "
                "setting ADMIN_ORIGINS"
            )
    return None


def _values(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1").strip() for field, value in scope["headers"] if field == name]


def _is_same(origin: str, hosts: Iterable[str]) -> bool:
    """Whether an origin is that of this server, by the name that the request calls it."""
    scheme, _, place = plain_origin(origin).partition("://")
    port = DEFAULT_PORTS.get(scheme)
    return port is not None and any(place == host.lower().removesuffix(port) for host in hosts)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:  # a unix socket, which no browser reaches
        return False


def _is_local(host: str, names: frozenset[str]) -> bool:
    """Whether a Host field means this machine to itself, or is one of these names."""
    name = host.lower()
    if name.startswith("["):
        return _is_loopback(name[1:].partition("]")[0])
    name = name.partition(":")[0].rstrip(".")
    return name == "localhost" or name in names or _is_loopback(name)
