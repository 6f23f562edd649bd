"""The one shared mapping of a gateway: made by the master before it forks, seen by every process at its own address.

It knows memory and nothing of what is counted. Every word of the control words and of the blocks has one writer (a worker
for its own block, the control process for the publication words, the master for the process table), so that a process
killed at any instruction leaves nothing locked. The regions behind them have many writers; what keeps them sound is said
in the header of each (limiter, token_cache, cache_store, target_state, circuit, flights). All counters are 64-bit and aligned: a reader sees an old or a new value, never a torn one.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t, int64_t

cdef enum:
    SHARED_FORMAT = 3
    MAX_WORKERS = 256
    ROUTE_METRIC_SLOTS = 16384   # slot 0 is the overflow slot
    CODE_SLOTS = 24              # (status, source) pairs counted per route; the last one is "other"
    KONG_BUCKETS = 18            # 17 bounds and +Inf
    LATENCY_BUCKETS = 14         # 13 bounds and +Inf
    CONSUMER_SLOTS = 32768       # a power of two: what a worker counts by consumer
    # Regions of fixed size. Most of their pages are never touched.
    TARGET_SLOTS = 16384         # addresses of all peer sets together; a power of two. Slot 0 is nobody's
    GROUP_SLOTS = 4096           # peer sets; a power of two. Slot 0 is nobody's
    TARGET_SIZE = 128            # bytes of a TargetState
    GROUP_SIZE = 64              # bytes of a GroupState
    CIRCUIT_SLOTS = 16384        # a power of two
    CIRCUIT_SIZE = 64            # bytes of a Circuit
    FLIGHT_SLOTS = 65536         # a power of two
    FLIGHT_SIZE = 64             # bytes of a Flight

# Written by the control process (publication) and the master (the rest).
ctypedef struct ControlWords:
    uint64_t magic
    uint64_t format
    uint64_t size                    # of the whole mapping
    uint64_t configuration_number    # current configuration snapshot, 0 = none yet
    uint64_t peers_number            # current peers snapshot, 0 = none yet
    uint64_t identities_number       # current identities snapshot, 0 = none yet
    uint8_t configuration_hash[32]
    uint64_t control_heartbeat       # monotonic ms
    uint64_t generation              # of workers: raised by the master when it replaces them all
    uint64_t master_pid, control_pid
    uint64_t worker_limit            # worker blocks in the mapping
    uint64_t control_restarts, worker_restarts
    uint64_t cache_offset, cache_size
    uint64_t limiter_offset, limiter_size
    uint64_t token_cache_offset, token_cache_size
    uint64_t token_cache_seed        # a secret of this gateway: nobody outside can choose what its hashes are
    uint64_t limiter_seed            # another one, for the same reason
    uint64_t cache_seed              # and another one: places in the cache's tables
    uint64_t targets_offset, targets_size
    uint64_t circuits_offset, circuits_size
    uint64_t flights_offset, flights_size

cpdef enum WorkerState:
    WORKER_FREE = 0
    WORKER_STARTING = 1
    WORKER_SERVING = 2
    WORKER_DRAINING = 3

cdef enum:
    BY_CONSUMER = 2                  # in CodeCount.source: requests that have a ConsumerCount as well

# A pair of status and source with its count; code 0 = free.
ctypedef struct CodeCount:
    uint32_t code
    uint32_t source                  # 0 service, 1 kong; BY_CONSUMER added
    uint64_t count

# What every request of a route writes comes first: with many routes each cache line counts. 832 bytes, 13 lines.
ctypedef struct RouteMetrics:
    uint64_t ingress_bytes, egress_bytes
    uint64_t kong_latency_sum_ms, upstream_latency_sum_ms, request_latency_sum_ms
    uint64_t reserved
    CodeCount codes[CODE_SLOTS]
    uint64_t kong_latency[KONG_BUCKETS]          # not cumulative; the last is +Inf
    uint64_t upstream_latency[LATENCY_BUCKETS]
    uint64_t request_latency[LATENCY_BUCKETS]
    uint64_t consumer_ingress_bytes, consumer_egress_bytes    # of requests that are BY_CONSUMER; not in those above
    uint64_t padding[2]

# Requests of one consumer on one route with one outcome, see consumer_counts.pxd. One cache line.
ctypedef struct ConsumerCount:
    uint64_t version                 # 0: never used; odd: being given to somebody else
    uint64_t retired                 # the control process's word: the version of which nobody wants the numbers any more
    uint64_t consumer_hash           # ConsumerRecord.id_hash
    uint64_t route_hash              # XXH64 of the route's id
    uint64_t outcome                 # status * 2 + source
    uint64_t requests, ingress_bytes, egress_bytes

ctypedef struct ConsumerTable:
    uint64_t used                    # slots in use
    uint64_t overflows               # requests that found none: counted with their route only
    uint64_t reserved[6]
    ConsumerCount slots[CONSUMER_SLOTS]

# One per worker. The loop thread writes counters, gauges, the heartbeat and what is in use; the worker's main thread
# snapshots_mapped and, before the loop starts, the gauges; the master pid, state and generation around the life of the
# process. Counters survive a restart of the worker; gauges do not. gateway's names of the words: WORDS in shm.pyx.
ctypedef struct WorkerBlock:
    uint64_t pid
    uint64_t state                   # WorkerState
    uint64_t generation
    uint64_t heartbeat               # monotonic ms, written once per loop round
    uint64_t configuration_number    # snapshots in use for new requests
    uint64_t peers_number
    uint64_t identities_number
    # gauges
    uint64_t connections_active, connections_reading, connections_writing, connections_waiting
    uint64_t upstream_active, upstream_idle
    uint64_t snapshots_mapped
    # counters
    uint64_t connections_accepted, connections_handled, connections_dropped
    uint64_t requests_total
    uint64_t upstream_connects, upstream_reuses, upstream_retries, upstream_failures
    uint64_t accept_pauses           # times accept stopped for want of descriptors or connection slots
    uint64_t bad_requests            # refused by the parser
    uint64_t timeouts
    uint64_t log_lines_dropped
    uint64_t regex_limits
    uint64_t plugin_timeouts         # requests that waited longer for the plugin thread than their plugin allows
    uint64_t plugin_failures         # jobs whose handler raised an exception
    uint64_t jobs_dropped            # not done: too many were waiting
    uint64_t token_cache_hits        # tokens that were known to be good
    uint64_t token_cache_misses      # tokens that went to the plugin thread
    uint64_t cache_hits              # answered from the cache
    uint64_t cache_misses            # could have been, but were not there
    uint64_t cache_bypasses          # could not be: the request or its response is not for sharing
    uint64_t cache_stale             # answered with what was no longer fresh (RFC 5861)
    uint64_t cache_coalesced         # waited for another request's response, and were answered with it
    uint64_t cache_revalidated       # confirmed by the upstream with 304
    uint64_t cache_stored            # responses that were stored
    uint64_t cache_skipped           # responses that were not, for want of room or because of a purge
    uint64_t retries_refused         # for want of retry budget
    uint64_t circuit_refused         # answered by an open circuit breaker
    uint64_t starts                  # processes that have worked on this block; the master's
    uint64_t loop_rounds
    uint64_t reserved[4]             # so that the routes begin on a cache line
    RouteMetrics routes[ROUTE_METRIC_SLOTS]
    ConsumerTable consumers

# The mapping: ControlWords, then worker_limit blocks (page aligned), then the regions of cache, limiter, token cache,
# targets (target_state.pxd), circuits (circuit.pxd) and flights (flights.pyx).
cdef inline ControlWords* shared_control(void* base) noexcept nogil:
    return <ControlWords*> base

cdef WorkerBlock* shared_worker(void* base, uint32_t index) noexcept nogil

# Whether process number `start` (WorkerBlock.starts) of a worker's block lives, as far as the master has noticed.
cdef bint worker_lives(ControlWords* control, uint32_t index, uint64_t start) noexcept nogil

# Python's view, used by master, control process and worker.
cdef class SharedState:
    cdef void* base
    cdef object mapping              # mmap.mmap that owns the memory
