"""Which addresses of targets get no requests, because somebody has marked them unhealthy.

A mark is of one address of one target. It holds until it is taken back or the target goes, whatever is
published meanwhile; a control process that starts after a crash finds it in the prefix.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping
from ipaddress import ip_address
from pathlib import Path

from gateway.entities.upstreams import Upstream
from gateway.run_directory import read_json, write_json

log = logging.getLogger(__name__)

Address = tuple[str, int]
"""IP address, in its usual form, and port"""
Marks = Mapping[str, frozenset[Address]]
"""the unhealthy addresses by the id of their target"""


def address_of(ip: str, port: int) -> Address:
    """An address in the form in which it is compared."""
    return str(ip_address(ip)), port


def is_checked(upstream: Upstream) -> bool:
    """Whether an upstream has a health checker, as Kong sees it: only then its targets are healthy or not."""
    active, passive = upstream.healthchecks.active, upstream.healthchecks.passive
    return any(
        (
            active.healthy.interval,
            active.unhealthy.interval,
            passive.unhealthy.tcp_failures,
            passive.unhealthy.timeouts,
            passive.unhealthy.http_failures,
        )
    )


def serves(upstream: Upstream, available: float, total: float) -> bool:
    """Whether an upstream takes requests with so much of its weight available (`healthchecks.threshold`)."""
    return total > 0 and available * 100 / total > (upstream.healthchecks.threshold or 0)


class TargetHealth:
    """The marks. They are replaced, never changed, so that any thread may look at `marks`."""

    def __init__(self, path: Path) -> None:
        """`path`: of the file for the next control process."""
        self._path = path
        self.marks: Marks = {}

    def mark(self, target_id: str, addresses: Iterable[Address], *, healthy: bool) -> bool:
        """Mark addresses of a target. True when that changes something."""
        known = self.marks.get(target_id, frozenset())
        marked = known - frozenset(addresses) if healthy else known | frozenset(addresses)
        if marked == known:
            return False
        others = {one: found for one, found in self.marks.items() if one != target_id}
        self.marks = {**others, target_id: marked} if marked else others
        self._save()
        return True

    def keep_only(self, target_ids: Collection[str]) -> None:
        """Forget the marks of targets that are gone."""
        kept = {one: found for one, found in self.marks.items() if one in target_ids}
        if len(kept) < len(self.marks):
            self.marks = kept
            self._save()

    def restore(self) -> None:
        """Take over the marks of the control process before this one."""
        try:
            self.marks = {
                str(target): frozenset(address_of(str(ip), int(port)) for ip, port in addresses)
                for target, addresses in read_json(self._path).items()
            }
        except (TypeError, ValueError) as error:
            log.error("%s cannot be used: %s", self._path, error)

    def forget(self) -> None:
        """Delete the file of an earlier master."""
        self._path.unlink(missing_ok=True)

    def _save(self) -> None:
        try:
            write_json(self._path, {target: sorted(found) for target, found in self.marks.items()})
        except OSError as error:
            log.error("marks of unhealthy targets could not be kept for a restart: %s", error)
