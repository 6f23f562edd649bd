from enum import IntEnum
from typing import TypedDict

MAX_WORKERS: int
ROUTE_METRIC_SLOTS: int
CONSUMER_SLOTS: int
BY_CONSUMER: int
IDENTITY_WORDS: tuple[str, ...]
GAUGE_WORDS: tuple[str, ...]
COUNTER_WORDS: tuple[str, ...]
WORDS: tuple[str, ...]

class WorkerState(IntEnum):
    WORKER_FREE = 0
    WORKER_STARTING = 1
    WORKER_SERVING = 2
    WORKER_DRAINING = 3

class RouteMetrics(TypedDict):
    ingress_bytes: int
    egress_bytes: int
    consumer_ingress_bytes: int
    consumer_egress_bytes: int
    kong_latency: list[int]
    kong_latency_sum_ms: int
    upstream_latency: list[int]
    upstream_latency_sum_ms: int
    request_latency: list[int]
    request_latency_sum_ms: int
    codes: dict[tuple[int, int], int]

class SharedState:
    generation: int
    master_pid: int
    control_pid: int
    control_heartbeat: int
    control_restarts: int
    worker_restarts: int
    @classmethod
    def create(
        cls, worker_limit: int = 64, cache_bytes: int = 0, limiter_bytes: int = 0, token_cache_bytes: int = 0
    ) -> SharedState: ...
    @property
    def configuration_number(self) -> int: ...
    @property
    def peers_number(self) -> int: ...
    @property
    def identities_number(self) -> int: ...
    @property
    def configuration_hash(self) -> str: ...
    @property
    def worker_limit(self) -> int: ...
    @property
    def size(self) -> int: ...
    def publish_configuration(self, number: int, configuration_hash: str) -> None: ...
    def publish_peers(self, number: int) -> None: ...
    def publish_identities(self, number: int) -> None: ...
    def worker(self, index: int) -> dict[str, int]: ...
    def workers(self) -> list[dict[str, int]]: ...
    def set_worker(self, index: int, **fields: int) -> None: ...
    def clear_worker(self, index: int) -> None: ...
    def totals(self) -> dict[str, int]: ...
    def route_metrics(self, slot: int) -> RouteMetrics | None: ...
    def set_route_metrics(self, index: int, slot: int, metrics: RouteMetrics) -> None: ...
