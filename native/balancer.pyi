from collections.abc import Iterable
from enum import IntEnum

from native.shm import SharedState

class TryOutcome(IntEnum):
    TRY_ANSWERED = 0
    TRY_CONNECT_FAILED = 1
    TRY_TIMED_OUT = 2
    TRY_BROKEN = 3
    TRY_CUT_OFF = 4
    TRY_GIVEN_UP = 5

class Balancer:
    def __init__(
        self,
        shared: SharedState,
        data: bytes,
        key: str,
        *,
        worker: int = 0,
        seed: int = 1,
        retry_budget_percent: int = 50,
        retry_budget_min: int = 100,
    ) -> None: ...
    def set_time(self, now_ms: int) -> None: ...
    def choose(self, *, tried: Iterable[int] = (), hash: int = 0) -> int | None: ...
    def sticky_value(self, number: int) -> int: ...
    def begin(self, number: int) -> None: ...
    def end(self, number: int) -> None: ...
    def answered(self, number: int, microseconds: int) -> None: ...
    def first_try(self) -> None: ...
    def may_retry(self) -> bool: ...
