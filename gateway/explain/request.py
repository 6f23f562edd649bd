"""The request that is to be explained, as somebody writes it on a command line."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from urllib.parse import quote

LOOPBACK = IPv4Address("127.0.0.1")
TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
URL = re.compile(
    r"(?:(?P<scheme>https?)://(?P<authority>[^/?#]+))?(?P<target>[/?*][^#]*)?(?:#.*)?", re.IGNORECASE
)
VISIBLE = "".join(map(chr, range(33, 127)))
"""what a request target may be made of; the rest is escaped, as clients do"""
MOST_HEADERS = 200
LONGEST_TEXT = 65536
"""characters of a URL or of a header's value; what the gateway allows is less"""


class InvalidRequest(ValueError):
    """What was given is no request; str() says why."""


@dataclass(frozen=True)
class Client:
    """Who sends it, where that is known: a consumer (id, username or custom id), or the key of a
    credential."""

    consumer: str | None = None
    credential: str | None = None


@dataclass(frozen=True)
class ExplainedRequest:
    """A request head, and where it comes from."""

    method: str
    target: str
    """path and query"""
    headers: tuple[tuple[str, str], ...]
    """Host among them, where one is known"""
    tls: bool
    peer: IPv4Address | IPv6Address
    """the address of the connection"""

    def head(self) -> bytes:
        """Its bytes. Without a Host it is one of HTTP/1.0, which needs none."""
        version = "1.1" if any(name.lower() == "host" for name, _ in self.headers) else "1.0"
        lines = [
            f"{self.method} {self.target} HTTP/{version}",
            *(f"{name}: {value}" for name, value in self.headers),
        ]
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode()


def parse_request(
    method: str, url: str, headers: Iterable[tuple[str, str]] = (), client_ip: str | None = None
) -> ExplainedRequest:
    """`url` is one with http:// or https://, or a path alone; a Host among `headers` wins over that of the
    URL. Raises InvalidRequest."""
    if not TOKEN.fullmatch(method):
        raise InvalidRequest(f"{method!r} is no method")
    found = URL.fullmatch(url)
    if found is None or not url or len(url) > LONGEST_TEXT:
        raise InvalidRequest("the URL must begin with http://, https:// or /")
    fields = tuple(checked_header(name, value) for name, value in headers)
    if len(fields) > MOST_HEADERS:
        raise InvalidRequest(f"there are more than {MOST_HEADERS} headers")
    authority = found["authority"]
    if authority is not None and not any(name.lower() == "host" for name, _ in fields):
        fields = (checked_header("Host", authority.rpartition("@")[2]), *fields)
    target = found["target"] or "/"
    return ExplainedRequest(
        method=method,
        target=quote(f"/{target}" if target.startswith("?") else target, safe=VISIBLE),
        headers=fields,
        tls=(found["scheme"] or "").lower() == "https",
        peer=parsed_address(client_ip),
    )


def checked_header(name: str, value: str) -> tuple[str, str]:
    """A header field without what could become another line. Raises InvalidRequest."""
    if not TOKEN.fullmatch(name):
        raise InvalidRequest(f"{name!r} is no name of a header")
    if len(value) > LONGEST_TEXT or any(one != "\t" and (ord(one) < 32 or ord(one) == 127) for one in value):
        raise InvalidRequest(f"the value of the header {name} cannot be sent")
    return name, value.strip()


def parsed_header(text: str) -> tuple[str, str]:
    """`Name: value`. Raises InvalidRequest."""
    name, colon, value = text.partition(":")
    if not colon:
        raise InvalidRequest(f"{text!r} is no header: it must be written as 'Name: value'")
    return checked_header(name.strip(), value)


def parsed_address(text: str | None) -> IPv4Address | IPv6Address:
    """The address of a client; without one this machine's. Raises InvalidRequest."""
    if text is None:
        return LOOPBACK
    try:
        return ip_address(text)
    except ValueError:
        raise InvalidRequest(f"{text!r} is no IP address") from None
