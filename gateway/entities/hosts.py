"""Host names and addresses as they are written in a configuration: `name`, `name:port`, IPv4, IPv6,
`[IPv6]:port`."""

from __future__ import annotations

import enum
import ipaddress
import re
from dataclasses import dataclass

NAME_CHARACTERS = re.compile(r"[0-9A-Za-z\-._]+")
IPV4_CHARACTERS = re.compile(r"[0-9.:]+")
IPV4 = re.compile(r"([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})(?::([0-9]+))?")
# Not `\d` and `$`, which also match other scripts' digits and the end before a line feed.
PORT_SUFFIX = re.compile(r":([0-9]+)\Z")

INVALID_PORT = "invalid port number"


class HostKind(enum.Enum):
    """What a host is; decided by the characters it has, before it is validated."""

    IPV4 = "ipv4"
    IPV6 = "ipv6"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Host:
    """A valid host. IPv4 has no leading zeros, IPv6 is written out in full without brackets, names are as
    given."""

    kind: HostKind
    host: str
    port: int | None


class InvalidHost(ValueError):
    """Not a host; the message is Kong's text."""


def kind_of_host(text: str) -> HostKind:
    """The kind of a host with or without a port."""
    if text.count(":") > 1:
        return HostKind.IPV6
    return HostKind.IPV4 if IPV4_CHARACTERS.fullmatch(text) and text != ":" else HostKind.NAME


def parse_host(text: str) -> Host:
    """Read a host with an optional port; raises InvalidHost."""
    kind = kind_of_host(text)
    if kind is HostKind.NAME:
        return _parse_name(text)
    if kind is HostKind.IPV4:
        return _parse_ipv4(text)
    return _parse_ipv6(text)


def _port(digits: str) -> int:
    if len(digits) > 10 or int(digits) > 65535:
        raise InvalidHost(INVALID_PORT)
    return int(digits)


def _parse_name(text: str) -> Host:
    name, port = text, None
    if found := PORT_SUFFIX.search(text):
        name, port = text[: found.start()], _port(found[1])
    if not NAME_CHARACTERS.fullmatch(name):
        raise InvalidHost(f"invalid hostname: {text}")
    labels = name.split(".")
    # A name may end in a dot (fully qualified); no other label may be empty, none may end in a dash.
    if any(label.endswith("-") for label in labels) or "" in labels[:-1]:
        raise InvalidHost(f"invalid hostname: {text}")
    return Host(HostKind.NAME, name, port)


def _parse_ipv4(text: str) -> Host:
    found = IPV4.fullmatch(text)
    if not found or any(int(part) > 255 for part in found.groups()[:4]):
        raise InvalidHost(f"invalid ipv4 address: {text}")
    address = ".".join(str(int(part)) for part in found.groups()[:4])
    return Host(HostKind.IPV4, address, _port(found[5]) if found[5] else None)


def _parse_ipv6(text: str) -> Host:
    address, port = text, None
    if text.startswith("["):
        address, bracket, rest = text[1:].partition("]")
        if not bracket or (rest and not PORT_SUFFIX.fullmatch(rest)):
            raise InvalidHost(f"invalid ipv6 address: {text}")
        if rest:
            port = _port(rest[1:])
    try:
        # No zone ("fe80::1%eth0"): it means nothing on another machine, and the data plane has no use for it.
        expanded = "" if "%" in address else ipaddress.IPv6Address(address).exploded
    except ValueError:
        expanded = ""
    if not expanded:
        raise InvalidHost(f"invalid ipv6 address: {text}")
    return Host(HostKind.IPV6, expanded, port)


def address_text(ip: str, port: int | None = None) -> str:
    """An IP address as it is shown: `127.0.0.1`, `[::1]`, `127.0.0.1:80`, `[::1]:80`."""
    text = f"[{ip}]" if ":" in ip else ip
    return text if port is None else f"{text}:{port}"


def format_host(host: Host, default_port: int | None = None) -> str:
    """`host`, `host:port` or `[host]:port`; IPv6 always gets its brackets."""
    port = default_port if host.port is None else host.port
    name = f"[{host.host}]" if host.kind is HostKind.IPV6 else host.host
    return name if port is None else f"{name}:{port}"
