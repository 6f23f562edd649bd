"""What the resolver found out about a host name."""

import enum
from dataclasses import dataclass


class ResolutionState(enum.Enum):
    """How far the resolution of a name has come."""

    READY = "ready"
    """there are addresses"""
    PENDING = "pending"
    """not resolved yet"""
    NOT_FOUND = "not found"
    """the name does not exist or has no addresses"""
    ERROR = "error"
    """the resolver failed"""


@dataclass(frozen=True, slots=True)
class ResolvedAddress:
    """One address of a name, `ttl` in seconds. `port`, `weight` and `name` (its target) are those of an SRV
    record; else None, and empty."""

    ip: str
    port: int | None = None
    weight: int | None = None
    ttl: float = 0.0
    name: str = ""


@dataclass(frozen=True, slots=True)
class Resolution:
    """What is known of a name. Addresses are there only in the state READY."""

    state: ResolutionState
    addresses: tuple[ResolvedAddress, ...] = ()
