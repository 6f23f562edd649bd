from collections.abc import Iterable
from enum import IntEnum, IntFlag
from typing import Any, Protocol

MAGIC: int
FORMAT: int
HEADER_SIZE: int

class SnapshotError(Exception): ...

class SnapshotKind(IntEnum):
    SNAPSHOT_CONFIGURATION = 1
    SNAPSHOT_PEERS = 2
    SNAPSHOT_IDENTITIES = 3

class ProtocolBit(IntFlag):
    PROTOCOL_HTTP = 1
    PROTOCOL_HTTPS = 2
    PROTOCOL_GRPC = 4
    PROTOCOL_GRPCS = 8

class RouteFlag(IntFlag):
    ROUTE_STRIP_PATH = 1
    ROUTE_PRESERVE_HOST = 2
    ROUTE_REQUEST_BUFFERING = 4
    ROUTE_RESPONSE_BUFFERING = 8
    ROUTE_PATH_HANDLING_V1 = 16

class RealIpHeader(IntFlag):
    REAL_IP_HEADER_NAMED = 0
    REAL_IP_X_FORWARDED_FOR = 1

class SentHeader(IntFlag):
    SEND_SERVER = 1
    SEND_VIA = 2
    SEND_UPSTREAM_LATENCY = 4
    SEND_UPSTREAM_STATUS = 8
    SEND_REQUEST_ID = 16
    SEND_REQUEST_ID_UPSTREAM = 32
    SEND_PROXY_LATENCY = 64
    SEND_RESPONSE_LATENCY = 128

class ErrorType(IntFlag):
    ERROR_PLAIN = 0
    ERROR_JSON = 1
    ERROR_HTML = 2
    ERROR_XML = 3
    ERROR_GRPC = 4

class PeerSetState(IntFlag):
    PEERS_READY = 0
    PEERS_PENDING = 1
    PEERS_NOT_FOUND = 2
    PEERS_RESOLVE_ERROR = 3
    PEERS_NO_TARGETS = 4

class BalancingAlgorithm(IntFlag):
    BALANCE_ROUND_ROBIN = 0
    BALANCE_LEAST_CONNECTIONS = 1
    BALANCE_CONSISTENT_HASHING = 2
    BALANCE_LATENCY = 3
    BALANCE_STICKY = 4

class HashInput(IntFlag):
    HASH_NONE = 0
    HASH_CONSUMER = 1
    HASH_IP = 2
    HASH_HEADER = 3
    HASH_COOKIE = 4
    HASH_PATH = 5
    HASH_QUERY_ARGUMENT = 6
    HASH_URI_CAPTURE = 7

class HealthRules(Protocol):
    @property
    def healthy_statuses(self) -> Iterable[int]: ...
    @property
    def unhealthy_statuses(self) -> Iterable[int]: ...
    @property
    def successes(self) -> int: ...
    @property
    def tcp_failures(self) -> int: ...
    @property
    def timeouts(self) -> int: ...
    @property
    def http_failures(self) -> int: ...
    @property
    def threshold(self) -> float: ...

class StringPool: ...

class _Builder:
    @property
    def strings(self) -> StringPool: ...

class PluginFlag(IntFlag):
    PLUGIN_REWRITES = 1

class PreparedService:
    def __init__(
        self,
        *,
        id: str,
        name: str,
        host: str,
        host_header: str,
        path: str,
        peer_key: str,
        port: int,
        retries: int,
        connect_timeout_ms: int,
        read_timeout_ms: int,
        write_timeout_ms: int,
        protocol: int,
        is_upstream: bool,
    ) -> None: ...

class PreparedRoute:
    def __init__(
        self, *, id: str, name: str, https_redirect_status: int, protocols: int, flags: int
    ) -> None: ...

class ConfigurationBuilder(_Builder):
    router_index: bytes
    def __init__(self) -> None: ...
    def live_settings(
        self,
        *,
        client_max_body_size: int,
        client_body_buffer_size: int,
        client_header_timeout_ms: int,
        client_body_timeout_ms: int,
        keepalive_timeout_ms: int,
        keepalive_requests: int,
        upstream_pool_size: int,
        upstream_max_requests: int,
        upstream_idle_timeout_ms: int,
        send_timeout_ms: int,
        lingering_timeout_ms: int,
        max_request_line: int,
        max_request_head: int,
        plugin_body_limit: int,
        retry_budget_percent: int,
        retry_budget_min: int,
        trusted_all: bool,
        real_ip_header: str,
        real_ip_kind: int,
        real_ip_recursive: bool,
        sent_headers: int,
        error_default_type: int,
        access_log: bool,
        log_level: int,
        allow_debug_header: bool,
        debug_token: bytes | None = None,
    ) -> None: ...
    def add_trusted_range(self, address: bytes, prefix_length: int) -> None: ...
    def add_service(self, service: PreparedService) -> int: ...
    global_plan: int | None
    def add_plugin(
        self,
        *,
        id: str,
        name: str,
        step: str,
        instance_name: str,
        route_id: str,
        service_id: str,
        consumer_id: str,
        document: bytes,
        config: bytes,
        flags: int,
        deadline_ms: int,
    ) -> int: ...
    def add_plan(
        self,
        steps: tuple[tuple[str, int | None, tuple[tuple[int, str, int], ...]], ...],
        rewrites: bool = False,
    ) -> int: ...
    def add_route(
        self, route: PreparedRoute, service: int | None, metrics_slot: int, plan: int | None = None
    ) -> int: ...
    def build(self, *, number: int, configuration_hash: str) -> bytes: ...

class PreparedPeerSet:
    def __init__(
        self,
        key: str,
        *,
        name: str,
        state: int,
        peers: Iterable[tuple[bytes, int, int, str, str, int, int]] = (),
        wheel: Iterable[int] = (),
        host_header: str = "",
        algorithm: int = 0,
        hash_on: int = 0,
        hash_fallback: int = 0,
        hash_name: str = "",
        hash_fallback_name: str = "",
        cookie_path: str = "",
        hash_slots: int = 0,
        slow_start_ms: int = 0,
        rules: HealthRules | None = None,
        slot: int = 0,
    ) -> None: ...

class PeersBuilder(_Builder):
    def __init__(self) -> None: ...
    def add_set(self, peer_set: PreparedPeerSet) -> None: ...
    def build(self, *, number: int) -> bytes: ...

def peer_key(key: str) -> int: ...
def verify(data: bytes) -> str | None: ...
def describe(data: bytes) -> dict[str, Any]: ...
def find_peer_set(data: bytes, key: str) -> dict[str, Any] | None: ...
