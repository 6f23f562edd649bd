"""Requests that a browser makes for a page of somebody else's, which must neither read nor change anything.

Any page that an operator visits can have the browser send requests to 127.0.0.1, and a page whose host name
is pointed there afterwards (DNS rebinding) can read the answers as its own. Browsers say for whom they ask:
in Origin, Sec-Fetch-Site and Host. Programs (curl, decK, …) send no Origin and no Sec-Fetch-Site.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

from starlette.types import ASGIApp, Receive, Scope, Send

from gateway.settings import Listener, Settings
from gateway.settings.addresses import DEFAULT_PORTS, plain_origin

LISTENER = "sluicegate.listener"
"""where a request's scope has the listener that it came to"""
FOREIGN_SITES = ("cross-site", "same-site")
ANY = "*"
"""in ADMIN_HOSTS: every name is good, as in Kong"""
INTERNAL_ENDS = (
    *(".localhost", ".local", ".internal", ".home.arpa", ".test"),  # reserved: no public name ends so
    *(".svc", ".cluster.local"),  # services of Kubernetes
)


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


def rebound_name(scope: Scope, settings: Settings) -> str | None:
    """Why a request to an Admin listener that needs no token is refused for its Host; None when it is not.

    A page can have its own name pointed at any address that the browser reaches, and then reads and changes
    what is there. It cannot do that with an address, with a name without a dot or with one that no public
    name server knows; nor over TLS, where its name is not in the certificate.
    """
    listener: Listener | None = scope.get(LISTENER)
    if (
        listener is None
        or listener.path
        or listener.ssl
        or _is_loopback(listener.address)  # see refusal()
        or settings.admin_token
        or settings.admin_read_token
        or ANY in settings.admin_hosts
    ):
        return None
    for host in _values(scope, b"host"):
        name = _name_of(host)
        if not (_is_address(name) or _is_internal(name) or name in settings.admin_hosts):
            return (
                f"'{host}' may be a name that somebody else has pointed here; if it is meant to be used, add "
                "it to the setting ADMIN_HOSTS, or set ADMIN_TOKEN"
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
    name = _name_of(host)
    return name == "localhost" or name in names or ANY in names or _is_loopback(name)


def _name_of(host: str) -> str:
    """A Host field without its port, in lower case."""
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.lower().partition(":")[0].rstrip(".")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _is_internal(name: str) -> bool:
    """Whether no stranger can have a name: one of this network, or this machine's own."""
    own = socket.gethostname().lower().rstrip(".")
    return "." not in name or name == own or name.endswith(INTERNAL_ENDS)
