from collections.abc import Container

from native.shm import SharedState

def any_consumer_counts(shared: SharedState) -> bool: ...
def read_consumer_counts(
    shared: SharedState, consumers: Container[int], routes: Container[int]
) -> dict[tuple[int, int, int, int], tuple[int, int, int]]: ...
def consumer_overflows(shared: SharedState) -> int: ...
def count_consumer(
    shared: SharedState,
    worker: int,
    *,
    consumer: int,
    route: int,
    status: int,
    source: int = 0,
    ingress: int = 0,
    egress: int = 0,
) -> bool: ...
