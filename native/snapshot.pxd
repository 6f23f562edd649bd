"""The mapped form of a configuration: written once by the control process, read by every worker.

A snapshot file is position independent: every reference in it is an offset from the file's first byte. Three kinds of
file share one container (SnapshotHeader): a *configuration* (settings that apply live, services, routes, router
index), *peers* (which addresses, with which weights, stand behind a host or upstream name) and *identities*
(consumers, credentials and groups, see identities.pxd). They change at different times: peers follow DNS, the
configuration follows the operator, identities follow the users.

The records below are the only description of the format: the builder in snapshot.pyx fills these very structs.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, int64_t

from native.target_state cimport ReportLimits

cdef enum:
    SNAPSHOT_FORMAT = 6          # raise with every change of a record below
    NO_INDEX = 0xffffffff

# "SLGATSNP", little endian; first eight bytes of every snapshot file
cdef extern from *:
    """
    #define SNAPSHOT_MAGIC 0x504e535441474c53ULL
    """
    const uint64_t SNAPSHOT_MAGIC

cpdef enum SnapshotKind:
    SNAPSHOT_CONFIGURATION = 1
    SNAPSHOT_PEERS = 2
    SNAPSHOT_IDENTITIES = 3

ctypedef struct StringRef:
    uint32_t offset              # from the first byte of the file
    uint32_t length

ctypedef struct SnapshotHeader:
    uint64_t magic
    uint32_t format
    uint32_t kind
    uint64_t size                # of the whole file, bytes
    uint64_t checksum            # XXH64 of the bytes after this header; its seed: XXH64 of the header with 0 here
    uint64_t number              # snapshot number, rises by one with every publication
    uint8_t configuration_hash[32]   # hex, as GET /status shows it
    # sections: offsets of their first record, and number of records
    uint32_t live_settings_offset
    uint32_t service_offset, service_count
    uint32_t route_offset, route_count
    uint32_t router_offset, router_size      # the router's own index, see router.pyx
    uint32_t peer_slot_offset, peer_slot_count   # kind SNAPSHOT_PEERS: open-addressing table, count a power of two
    uint32_t trusted_range_offset, trusted_range_count
    uint32_t identities_offset   # kind SNAPSHOT_IDENTITIES: IdentityIndex
    uint32_t step_name_offset, step_name_count   # StringRef: names of the kinds of step, see plan.pxd
    uint32_t plugin_offset, plugin_count     # PluginRecord
    uint32_t global_plan_offset  # PlanRecord for requests without a route, 0: none
    uint32_t reserved[1]

cpdef enum ProtocolBit:
    PROTOCOL_HTTP = 1
    PROTOCOL_HTTPS = 2
    PROTOCOL_GRPC = 4
    PROTOCOL_GRPCS = 8

ctypedef struct ServiceRecord:
    StringRef id                 # UUID text
    StringRef name               # may be empty
    StringRef host               # as configured: a host name, an address, or an upstream's name
    StringRef host_header        # "host[:port]" for the upstream's Host field; empty: take the peer's
    StringRef path               # never empty: "/" when not set
    uint64_t peer_key            # XXH64 of the peer set's key text, see PeerSlot
    uint32_t connect_timeout_ms, read_timeout_ms, write_timeout_ms
    uint16_t port
    uint16_t retries
    uint8_t protocol             # ProtocolBit
    uint8_t is_upstream          # host names an upstream entity: Host comes from the peer or the upstream
    uint8_t reserved[6]

cpdef enum RouteFlag:
    ROUTE_STRIP_PATH = 1
    ROUTE_PRESERVE_HOST = 2
    ROUTE_REQUEST_BUFFERING = 4
    ROUTE_RESPONSE_BUFFERING = 8
    ROUTE_PATH_HANDLING_V1 = 16

ctypedef struct RouteRecord:
    StringRef id
    StringRef name               # may be empty
    uint32_t service             # index into the services, or NO_INDEX
    uint32_t metrics_slot        # index into the workers' route metrics; 0 = the shared overflow slot
    uint16_t https_redirect_status   # 426, 301, 302, 307, 308
    uint8_t protocols            # ProtocolBit set
    uint8_t flags                # RouteFlag set
    uint32_t plan_offset         # PlanRecord, 0: no steps

# --- plugins ---------------------------------------------------------------------------------------------------------
cdef enum:
    MAX_STEPS = 64               # plugins of one route

cpdef enum PluginFlag:
    PLUGIN_REWRITES = 1          # has something to do before routing

# One plugin entity: a configuration of a plugin, with its scope.
ctypedef struct PluginRecord:
    StringRef id                 # UUID text
    StringRef name               # of the plugin
    StringRef instance_name      # may be empty
    StringRef route_id, service_id, consumer_id   # its scope; empty: not restricted
    StringRef document           # its configuration as JSON, for the plugin thread; empty: it needs none
    uint64_t config_hash         # XXH64 of packed configuration and document: tells a changed one
    uint32_t config_offset, config_size   # packed by the module of its step; 8-byte aligned, offsets inside count from its first byte
    uint32_t step                # kind of step: index into the step names
    uint32_t index               # of this record
    uint32_t flags               # PluginFlag set
    uint32_t deadline_ms         # for work on the plugin thread

# The configuration for one consumer; sorted by hash.
ctypedef struct ConsumerChoice:
    uint64_t consumer_hash       # ConsumerRecord.id_hash
    StringRef consumer_id
    uint32_t plugin              # index of a PluginRecord
    uint32_t reserved

# A plugin's place in a plan.
ctypedef struct PlanStep:
    uint32_t step                # kind of step
    uint32_t plugin              # the configuration for everybody else, or NO_INDEX
    uint32_t choice_offset, choice_count   # ConsumerChoice

# What runs on a route, highest priority first. Routes with the same plugins share one.
ctypedef struct PlanRecord:
    uint32_t step_count
    uint32_t rewrites            # 1: some step has something to do before routing (global plan only)
    # PlanStep follow

# An address range whose connections may set X-Forwarded-* and the client address. IPv4 is mapped (::ffff:a.b.c.d).
ctypedef struct TrustedRange:
    uint8_t address[16]          # network order, host bits zero
    uint8_t prefix_length        # 0..128
    uint8_t reserved[7]

cpdef enum RealIpHeader:
    REAL_IP_HEADER_NAMED = 0     # a single address in the field `real_ip_header`
    REAL_IP_X_FORWARDED_FOR = 1  # a list, read from the right

cpdef enum SentHeader:           # GATEWAY_HEADERS and GATEWAY_HEADERS_UPSTREAM
    SEND_SERVER = 1              # server_tokens: Server and Via
    SEND_VIA = 2
    SEND_UPSTREAM_LATENCY = 4    # latency_tokens: X-Kong-Upstream-Latency, -Proxy-Latency, -Response-Latency
    SEND_UPSTREAM_STATUS = 8     # X-Kong-Upstream-Status
    SEND_REQUEST_ID = 16         # X-Kong-Request-Id to the client
    SEND_REQUEST_ID_UPSTREAM = 32
    SEND_PROXY_LATENCY = 64
    SEND_RESPONSE_LATENCY = 128

cpdef enum ErrorType:            # body type of the gateway's own errors
    ERROR_PLAIN = 0
    ERROR_JSON = 1
    ERROR_HTML = 2
    ERROR_XML = 3
    ERROR_GRPC = 4               # empty body

# Settings that a reload changes without new workers.
ctypedef struct LiveSettings:
    uint64_t client_max_body_size        # bytes, 0 = no limit
    uint32_t client_body_buffer_size     # bytes held for a retry
    uint32_t client_header_timeout_ms
    uint32_t client_body_timeout_ms
    uint32_t keepalive_timeout_ms        # idle downstream connection
    uint32_t keepalive_requests          # per downstream connection, 0 = no limit
    uint32_t upstream_pool_size          # idle connections per address and worker
    uint32_t upstream_max_requests       # per upstream connection, 0 = no limit
    uint32_t upstream_idle_timeout_ms    # 0 = keep for ever
    uint32_t send_timeout_ms             # a client that takes nothing for so long is dropped
    uint32_t lingering_timeout_ms
    uint32_t max_request_line, max_request_head
    uint32_t plugin_body_limit           # bytes: longer bodies are not shown to plugins
    uint32_t retry_budget_percent        # retries to an upstream, of the requests to it
    uint32_t retry_budget_min            # retries a second that are always allowed
    uint32_t trusted_all                 # trusted_ips contains 0.0.0.0/0 and ::/0
    StringRef real_ip_header
    uint8_t real_ip_kind                 # RealIpHeader
    uint8_t real_ip_recursive
    uint8_t sent_headers                 # SentHeader set
    uint8_t error_default_type           # ErrorType
    uint8_t access_log                   # 1: write the access log
    uint8_t log_level                    # 0 debug, 1 info, 2 notice, 3 warn, 4 error, 5 crit
    uint8_t allow_debug_header
    uint8_t has_debug_token              # requests that carry the token are told how they were served
    uint8_t debug_token[32]              # SHA-256 of it
    uint8_t reserved[4]

# --- peers -----------------------------------------------------------------------------------------------------------
# A peer set is found by the XXH64 of its key: "upstream:<name>" for an upstream entity, "host:<name>:<port>" for a
# plain host. The builder refuses two keys with one hash.
cpdef enum PeerSetState:
    PEERS_READY = 0
    PEERS_PENDING = 1            # the name has not been resolved yet
    PEERS_NOT_FOUND = 2          # NXDOMAIN or no addresses: 503 "name resolution failed"
    PEERS_RESOLVE_ERROR = 3      # the resolver failed: 500
    PEERS_NO_TARGETS = 4         # an upstream without a target of weight > 0: 503

ctypedef struct PeerSlot:
    uint64_t key                 # 0 = free
    uint32_t set_offset          # PeerSet
    uint32_t reserved

cpdef enum BalancingAlgorithm:
    BALANCE_ROUND_ROBIN = 0
    BALANCE_LEAST_CONNECTIONS = 1
    BALANCE_CONSISTENT_HASHING = 2
    BALANCE_LATENCY = 3
    BALANCE_STICKY = 4           # by a cookie that names the target

cpdef enum HashInput:            # what consistent hashing looks at
    HASH_NONE = 0
    HASH_CONSUMER = 1
    HASH_IP = 2
    HASH_HEADER = 3
    HASH_COOKIE = 4
    HASH_PATH = 5
    HASH_QUERY_ARGUMENT = 6
    HASH_URI_CAPTURE = 7

# What passive health checks count, and how much of the weight must be healthy.
ctypedef struct HealthRules:
    uint8_t healthy_statuses[128]    # bit status % 8 of byte status / 8
    uint8_t unhealthy_statuses[128]
    ReportLimits limits          # of passive checks; all 0: they are off
    uint32_t threshold           # thousandths of a percent: more than this must be available

ctypedef struct PeerSet:
    StringRef name               # for messages: host or upstream name
    StringRef host_header        # the upstream entity's host_header; empty: each peer's own
    uint32_t index               # 0..n-1 within this file: workers keep what they know of a set by it
    uint32_t state               # PeerSetState
    uint32_t peer_offset, peer_count
    uint32_t wheel_offset, wheel_length   # uint16 peer numbers in the order of turns: smooth weighted round-robin
    uint32_t hash_offset, hash_length     # uint16 peer numbers by hash value % hash_length; 0: does not hash
    uint32_t rules_offset        # HealthRules, 0: the upstream has no health checks, its targets are always healthy
    uint32_t slot                # GroupState, see target_state.pxd
    uint64_t total_weight
    uint32_t slow_start_ms       # a peer that becomes available gets its full share only after so long; 0: at once
    uint8_t algorithm            # BalancingAlgorithm
    uint8_t hash_on, hash_fallback   # HashInput
    uint8_t reserved
    StringRef hash_name, hash_fallback_name   # of header, cookie, argument or capture
    StringRef cookie_path

ctypedef struct Peer:
    uint8_t address[16]          # IPv4 in the first four bytes, network order
    uint8_t family               # 4 or 6
    uint8_t reserved
    uint16_t port                # host order
    uint32_t weight
    uint32_t slot                # TargetState, see target_state.pxd
    uint32_t reserved_word
    uint64_t identity            # of the target's address, see TargetState: sticky cookies and hashing go by it
    StringRef host_header        # "name[:port]" to send as Host when the peer's own name is wanted
    StringRef name               # target as configured

# --- reading ---------------------------------------------------------------------------------------------------------
# Check magic, format, size, checksum and that every section lies inside the file. Returns NULL when it is sound,
# else a static text that says what is wrong. Does not need the GIL; reads the whole file once. What is inside the
# sections of identities is checked by identities_verify().
cdef const char* snapshot_verify(const void* base, uint64_t size) noexcept nogil

# The checksum of a file with this header and this body behind it.
cdef uint64_t snapshot_checksum(const SnapshotHeader* header, const void* body, uint64_t body_size) noexcept nogil

cdef inline const LiveSettings* snapshot_settings(const SnapshotHeader* snapshot) noexcept nogil:
    return <const LiveSettings*> (<const uint8_t*> snapshot + snapshot.live_settings_offset)

cdef inline const ServiceRecord* snapshot_service(const SnapshotHeader* snapshot, uint32_t index) noexcept nogil:
    return <const ServiceRecord*> (<const uint8_t*> snapshot + snapshot.service_offset) + index

cdef inline const RouteRecord* snapshot_route(const SnapshotHeader* snapshot, uint32_t index) noexcept nogil:
    return <const RouteRecord*> (<const uint8_t*> snapshot + snapshot.route_offset) + index

cdef inline const PluginRecord* snapshot_plugin(const SnapshotHeader* snapshot, uint32_t index) noexcept nogil:
    return <const PluginRecord*> (<const uint8_t*> snapshot + snapshot.plugin_offset) + index

# The plan at an offset, or NULL for 0.
cdef inline const PlanRecord* snapshot_plan(const SnapshotHeader* snapshot, uint32_t offset) noexcept nogil:
    return <const PlanRecord*> (<const uint8_t*> snapshot + offset) if offset else NULL

cdef inline const PlanStep* plan_steps(const PlanRecord* plan) noexcept nogil:
    return <const PlanStep*> (plan + 1)

cdef inline const char* snapshot_text(const SnapshotHeader* snapshot, StringRef text) noexcept nogil:
    return <const char*> snapshot + text.offset

# The peer set with this key, or NULL.
cdef const PeerSet* snapshot_peer_set(const SnapshotHeader* peers, uint64_t key) noexcept nogil

# --- writing (Python side, control process) --------------------------------------------------------------------------
cdef int append_bytes(bytearray target, const void* data, Py_ssize_t size) except -1

cdef class StringPool:
    cdef bytearray data
    cdef dict known              # text -> offset in the file
    cdef StringRef put(self, bytes text) except *

cdef class _Builder:
    cdef readonly StringPool strings
    cdef list sections
    cdef uint64_t end            # of the file so far
    cdef uint32_t section(self, object records) except? 0
    cdef int begin_sections(self) except -1
    cdef bytes finish(self, SnapshotHeader* header, uint32_t kind, uint64_t number)

# Prepared: a record apart from the places of its texts and from what depends on the rest of the file. Immutable;
# whoever compiles again keeps those of services, routes and peer sets that have not changed.
cdef class PreparedService:
    cdef ServiceRecord record
    cdef bytes id, name, host, host_header, path

cdef class PreparedRoute:
    cdef RouteRecord record
    cdef bytes id, name

cdef class ConfigurationBuilder(_Builder):
    cdef LiveSettings settings
    cdef bytearray services, routes, trusted_ranges
    cdef uint32_t service_count, route_count, trusted_count, plugin_count
    cdef bytearray plugins           # PluginRecord
    cdef bytearray packed            # their configurations
    cdef dict steps                  # name of a kind of step -> its index
    cdef dict plans                  # (steps, rewrites) -> number
    cdef public object global_plan   # number of the plan for requests without a route, or None
    cdef list place_plans(self)
    cdef int place_plugins(self, SnapshotHeader* header) except -1
    cdef public bytes router_index    # set by native.router_index.RouterIndexBuilder

cdef class PreparedPeerSet:
    cdef PeerSet record              # counts and state
    cdef str key
    cdef uint64_t hash               # of the key
    cdef bytes name, host_header, hash_name, hash_fallback_name, cookie_path
    cdef bytearray peers             # Peer, but for their texts
    cdef list texts                  # (host header, name) of each peer
    cdef bytearray wheel
    cdef bytes hash_table            # uint16 by slot
    cdef bytes rules                 # a HealthRules; empty: none

cdef class PeersBuilder(_Builder):
    cdef list sets                   # PreparedPeerSet
    cdef dict keys                   # hash -> key
    cdef int place_records(self, bytearray records, bytearray peers, bytearray extras) except -1
    cdef bytearray place_table(self, uint32_t set_offset, uint32_t* slot_count)
