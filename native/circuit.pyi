from enum import IntEnum
from typing import TypedDict

from native.shm import SharedState

MAX_CIRCUIT_FAILURES: int
MAX_CIRCUIT_PROBES: int
CIRCUIT_SLOTS: int

Rules = tuple[int, int, int]
"""timeout_ms, failures, probes"""

class CircuitState(IntEnum):
    CIRCUIT_CLOSED = 0
    CIRCUIT_HALF_OPEN = 1
    CIRCUIT_OPEN = 2

class CircuitChange(IntEnum):
    CIRCUIT_UNCHANGED = 0
    CIRCUIT_HAS_CLOSED = 1
    CIRCUIT_HAS_OPENED = 2

class CircuitView(TypedDict):
    state: CircuitState
    failures: int  # in a row, while it is closed
    since_ms: int
    left_ms: int  # until a request may pass; 0 when it is closed
    opened: int  # times, ever
    refused: int  # requests, ever

def circuit_seed(plugin_id: str) -> int: ...
def service_circuit(plugin_id: str, service_id: str) -> int: ...
def target_circuit(plugin_id: str, target_identity: int) -> int: ...
def address_circuit(plugin_id: str, address: bytes, port: int) -> int: ...

class CircuitTable:
    def __init__(self, shared: SharedState) -> None: ...
    def look(self, identity: int, now_ms: int, timeout_ms: int) -> CircuitView | None: ...
    def close(self, identity: int, now_ms: int) -> bool: ...
    def enter(self, identity: int, rules: Rules, now_ms: int) -> tuple[int | None, int]: ...
    def would_admit(self, identity: int, rules: Rules, now_ms: int) -> bool: ...
    def succeeded(self, identity: int, rules: Rules, ticket: int, now_ms: int) -> CircuitChange: ...
    def failed(self, identity: int, rules: Rules, ticket: int, now_ms: int) -> CircuitChange: ...
    def returned(self, identity: int, ticket: int, now_ms: int) -> None: ...
