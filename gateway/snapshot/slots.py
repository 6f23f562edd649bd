"""Places in shared memory for what the workers count of peer sets and their addresses.

The compiler of the peers asks for them; who gives them (gateway/health/slots.py) keeps a place for what has
it as long as it is named by a snapshot, and for some time after.
"""

from collections.abc import Set
from typing import Protocol

from native.hashing import xxh64_digest

NO_SLOT = 0
"""nobody's: nothing is counted there"""


class SlotRegistry(Protocol):
    """Gives the places. The same names get the same places, also after a restart of the control process."""

    def group(self, key: str) -> int:
        """The GroupState of a peer set; NO_SLOT when all are taken. `key`: see `upstream_group`."""
        ...

    def target(self, group_key: str, name: str, ip: str, port: int) -> tuple[int, int]:
        """The TargetState of an address (NO_SLOT when all are taken), and its `target_identity`."""
        ...

    def compiled(self, groups: Set[int], targets: Set[int]) -> None:
        """A peers file has been made that names these places and no others (NO_SLOT may be among them)."""
        ...


class NoSlots:
    """For whoever looks at peers without running workers."""

    def group(self, key: str) -> int:
        """None."""
        return NO_SLOT

    def target(self, group_key: str, name: str, ip: str, port: int) -> tuple[int, int]:
        """None, but the identity is the real one."""
        return NO_SLOT, target_identity(group_key, name, ip, port)

    def compiled(self, groups: Set[int], targets: Set[int]) -> None:
        """Nothing is kept."""


def upstream_group(upstream_id: str) -> str:
    """Key of the group of an upstream; its sets with and without TLS share it."""
    return f"upstream:{upstream_id}"


def target_identity(group_key: str, name: str, ip: str, port: int) -> int:
    """What an address behind a target is known by, on every node: XXH64, never 0. `name`: as configured."""
    return xxh64_digest(f"{group_key} {name} {ip}:{port}".encode()) or 1
