"""The hosts file (`/etc/hosts`, setting `dns_hostsfile`)."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path

LOCALHOST = ("127.0.0.1", "::1")


def parse_hosts(text: str) -> dict[str, tuple[str, ...]]:
    """Host name (lower case) -> addresses in file order. Odd lines are skipped, as libc does."""
    found: dict[str, list[str]] = {}
    for line in text.splitlines():
        words = line.partition("#")[0].split()
        if len(words) < 2:
            continue
        try:
            # A zone (fe80::1%eth0) is of no use to a worker that connects from any interface.
            address = str(ipaddress.ip_address(words[0].partition("%")[0]))
        except ValueError:
            continue
        for name in words[1:]:
            addresses = found.setdefault(name.rstrip(".").lower(), [])
            if address not in addresses:
                addresses.append(address)
    return {name: tuple(addresses) for name, addresses in found.items()}


class HostsFile:
    """The hosts file, read again when it has changed on disk."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._names: Mapping[str, tuple[str, ...]] = {}

    def addresses(self, name: str) -> tuple[str, ...]:
        """Addresses of a name, IPv4 and IPv6 mixed; empty when the file does not have it.

        `localhost` is known without a file (RFC 6761 §6.3).
        """
        self._refresh()
        key = name.rstrip(".").lower()
        found = self._names.get(key, ())
        return LOCALHOST if not found and key == "localhost" else found

    def _refresh(self) -> None:
        if self._path is None:
            return
        try:
            status = self._path.stat()
            stamp = (status.st_mtime_ns, status.st_size, status.st_ino)
            if stamp == self._stamp:
                return
            self._names = parse_hosts(self._path.read_text(encoding="utf-8", errors="replace"))
            self._stamp = stamp
        except OSError:
            # No hosts file is an empty one; one that vanished while being replaced keeps its last content.
            if self._stamp is None:
                self._names = {}
