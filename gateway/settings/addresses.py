"""Forms of settings that name places in a network: listeners, networks, origins, name servers, …"""

import ipaddress
import re
from dataclasses import dataclass
from typing import Any

from gateway.settings.values import Kind, is_number

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Listener:
    """One address to listen on, as Kong's `*_listen` settings write it."""

    address: str
    """IP address without brackets; empty for a unix socket"""
    port: int
    """1..65535; 0 for a unix socket"""
    ssl: bool = False
    http2: bool = False
    reuseport: bool = False
    backlog: int = 511
    proxy_protocol: bool = False
    deferred: bool = False
    ipv6only: bool = True
    so_keepalive: bool = False
    path: str = ""
    """of a unix socket; empty for TCP"""

    def __str__(self) -> str:
        if self.path:
            return f"unix:{self.path}"
        return f"[{self.address}]:{self.port}" if ":" in self.address else f"{self.address}:{self.port}"

    @property
    def connect_address(self) -> str:
        """`host:port` by which a client on this machine reaches the listener (never the wildcard address)."""
        if self.path:
            return str(self)
        host = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.address)
        return f"{host}:{self.port}" if host else str(self)


LISTEN_FORM = (
    "off, or a comma-separated list of <ip>:<port> [ssl] [http2] [proxy_protocol] [deferred] [bind] "
    "[reuseport] [backlog=<number>] [ipv6only=on|off] [so_keepalive=on|off], or of unix:<path>"
)


def parse_listeners(text: str) -> tuple[Listener, ...]:
    """Kong's listen syntax: `off`, or addresses with flags, separated by commas."""
    if text.lower() == "off":
        return ()
    return tuple(_parse_listener(entry.split()) for entry in text.split(","))


LISTEN = Kind(parse_listeners, LISTEN_FORM)


def _parse_listener(words: list[str]) -> Listener:
    if not words:
        raise ValueError("an entry is empty")
    place, *flags = words
    if place.startswith("unix:"):
        path = place.removeprefix("unix:")
        if not path.startswith("/") or len(path.encode()) > 107:
            raise ValueError(f"'{place}': a unix socket needs an absolute path of at most 107 bytes")
        fields: dict[str, Any] = {"address": "", "port": 0, "path": path}
    else:
        fields = _parse_place(place)
    for flag in flags:
        name, _, value = flag.partition("=")
        if flag in ("ssl", "http2", "reuseport", "proxy_protocol", "deferred"):
            fields[flag] = True
        elif name == "backlog" and is_number(value) and 0 < int(value) <= 65535:
            fields["backlog"] = int(value)
        elif name in ("ipv6only", "so_keepalive") and value in ("on", "off"):
            fields[name] = value == "on"
        elif flag != "bind":  # nginx binds each address separately when told; here that is always so
            raise ValueError(f"unknown flag '{flag}' of '{place}'")
    return Listener(**fields)


def _parse_place(place: str) -> dict[str, Any]:
    host, _, port = place.rpartition(":")
    if host == "localhost":
        host = "127.0.0.1"
    if host.startswith("[") and host.endswith("]"):
        address = str(ipaddress.IPv6Address(host[1:-1]))
    else:
        address = str(ipaddress.IPv4Address(host))
    if not (is_number(port) and 0 < int(port) <= 65535):
        raise ValueError(f"'{place}': a port is a number from 1 to 65535")
    return {"address": address, "port": int(port)}


def _parse_networks(text: str) -> tuple[IpNetwork, ...]:
    words = [word.strip() for word in text.split(",") if word.strip()]
    return tuple(ipaddress.ip_network(word, strict=False) for word in words)


NETWORKS = Kind(_parse_networks, "a comma-separated list of IP addresses and CIDR ranges")

_ORIGIN = re.compile(r"https?://(\[[0-9a-f:.]+\]|[^\s/?#@:\[\]]+)(:[0-9]{1,5})?")
_HOST_NAME = re.compile(r"[^\s/?#@:\[\]]+")
DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def plain_origin(text: str) -> str:
    """An origin as it is compared: lower case, without the port that its scheme has anyway."""
    origin = text.lower()
    return origin.removesuffix(DEFAULT_PORTS.get(origin.partition(":")[0], "/"))


def _parse_origins(text: str) -> frozenset[str]:
    origins = {word.strip().lower() for word in text.split(",") if word.strip()}
    if not all(origin == "*" or _ORIGIN.fullmatch(origin) for origin in origins):
        raise ValueError
    return frozenset(map(plain_origin, origins))


ORIGINS = Kind(_parse_origins, "a comma-separated list of origins ('https://manager.example:8443'), or '*'")


def _parse_host_names(text: str) -> frozenset[str]:
    names = {word.strip().lower().rstrip(".") for word in text.split(",") if word.strip()}
    if not all(_HOST_NAME.fullmatch(name) for name in names):
        raise ValueError
    return frozenset(names)


HOST_NAMES = Kind(_parse_host_names, "a comma-separated list of host names without ports")

# --- DNS ------------------------------------------------------------------------------------------

DNS_TYPES = ("LAST", "SRV", "A", "AAAA", "CNAME")


def _parse_dns_order(text: str) -> tuple[str, ...]:
    words = tuple(word.strip().upper() for word in text.split(","))
    if not set(words) <= set(DNS_TYPES) or not set(words) - {"LAST"}:
        raise ValueError
    return words


DNS_ORDER = Kind(_parse_dns_order, "a comma-separated list of " + ", ".join(DNS_TYPES))


def _parse_name_servers(text: str) -> tuple[tuple[str, int], ...]:
    return tuple(_parse_name_server(word.strip()) for word in text.split(",") if word.strip())


def _parse_name_server(word: str) -> tuple[str, int]:
    try:
        return str(ipaddress.ip_address(word.strip("[]"))), 53
    except ValueError:
        place = _parse_place(word)
        return place["address"], place["port"]


NAME_SERVERS = Kind(
    _parse_name_servers, "a comma-separated list of <ip>[:<port>]; empty for /etc/resolv.conf"
)


def _parse_port_maps(text: str) -> dict[int, int]:
    maps = {}
    for word in text.split(","):
        if not word.strip():
            continue
        outside, _, inside = (part.strip() for part in word.partition(":"))
        if not (is_number(outside) and is_number(inside)):
            raise ValueError
        if not (0 < int(outside) <= 65535 and 0 < int(inside) <= 65535):
            raise ValueError
        maps[int(inside)] = int(outside)
    return maps


PORT_MAPS = Kind(_parse_port_maps, "a comma-separated list of <port clients use>:<port listened on>")
