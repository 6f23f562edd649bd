"""What a worker holds: connections, the exchange between them, and the worker itself.

    Downstream  a client's connection; lives as long as its descriptor; small while idle
    Exchange    one request and its response; lives from the first byte of a head to the log line
    Upstream    a connection to a peer; in use by one exchange, or idle in its pool

Data flows one way: accept → head → route → connect → send → response head → body → log. The modules are
called in that order: downstream, exchange, routing, request_head, pool, request_flow, response_head, response_flow,
completion. What must reach back does so through the function pointers in Worker.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from native.cache_store cimport CacheStore, StoredEntry
from native.circuit cimport Circuit
from native.fields cimport FieldEdits, SharedText, Text
from native.http1 cimport ChunkDecoder, RequestHead, ResponseHead
from native.identities cimport ConsumerRecord, CredentialRecord
from native.loop cimport Endpoint, EventLoop, Timer
from native.memory cimport Buffer, BufferStock, Slab
from native.router cimport RouteMatch, RouterRuntime
from native.shm cimport ControlWords, RouteMetrics, WorkerBlock
from native.target_state cimport TargetTable
from native.snapshot cimport (
    MAX_STEPS,
    LiveSettings,
    Peer,
    PeerSet,
    PlanRecord,
    PluginRecord,
    RouteRecord,
    ServiceRecord,
    SnapshotHeader,
    snapshot_settings,
)

cdef enum:
    ADDRESS_TEXT = 48            # an IPv6 address as text, with room
    REQUEST_ID_LENGTH = 32
    MAX_TRIED_PEERS = 16         # peers remembered as failed within one exchange
    INLINE_PATH = 1024           # normalised paths up to this length need no buffer
    MAX_LISTENERS = 64
    MAX_INTERIM = 32             # 1xx responses to one request; more are taken for a broken upstream
    RELAY_BUDGET = 16            # buffers relayed for one connection before others get their turn

ctypedef struct Downstream
ctypedef struct Upstream
ctypedef struct Exchange
ctypedef struct Worker

# --- snapshots in use ------------------------------------------------------------------------------------------------
# One mapped file. The loop thread counts the exchanges that use it; the main thread unmaps it once it is retired and
# unused. `users` is the loop thread's; `retired` is set by whoever replaces it, and final.
ctypedef struct MappedSnapshot:
    MappedSnapshot* next         # list of all mapped, kept by the main thread
    const SnapshotHeader* base
    uint64_t size
    RouterRuntime* router        # configuration snapshots only
    void* plans                  # configuration snapshots only: PlanRuntime, see plan.pxd
    void* balancing              # peers snapshots only: what the balancer keeps for each set, see balancer.pxd
    uint64_t users
    uint8_t retired

# --- connections -----------------------------------------------------------------------------------------------------
cpdef enum DownstreamState:
    CLIENT_IDLE = 0              # between requests; nothing received
    CLIENT_HEAD = 1              # part of a head received
    CLIENT_EXCHANGE = 2          # a request is being served
    CLIENT_LINGER = 3            # response sent, reading what the client still sends before closing (RFC 9112 §9.6)
    CLIENT_TUNNEL = 4            # after 101: bytes both ways
    CLIENT_CLOSED = 5

ctypedef struct Listener:
    Endpoint endpoint
    uint16_t port
    uint8_t shared               # several workers accept from it
    uint8_t tls

ctypedef struct Downstream:
    Endpoint endpoint
    Downstream* next_free        # closed in this round, freed at its end
    Downstream* next_open        # list of all open connections
    Downstream* previous_open
    Exchange* exchange           # NULL while idle
    Buffer* input                # bytes received and not used up; NULL while idle
    Listener* listener
    uint64_t number              # of the connection, among those that the worker has accepted
    uint64_t requests            # served on this connection; while lingering: bytes thrown away
    uint64_t idle_since_ms
    uint8_t state                # DownstreamState
    uint8_t family               # 4, 6 or 0 (unix socket)
    uint8_t address[16]          # peer's, network order
    uint8_t peer_trusted
    uint8_t peer_text_length
    uint16_t peer_port
    char peer_text[ADDRESS_TEXT]

cpdef enum UpstreamState:
    UPSTREAM_CONNECTING = 0
    UPSTREAM_ACTIVE = 1
    UPSTREAM_IDLE = 2
    UPSTREAM_CLOSED = 3

ctypedef struct Pool:
    Pool* next                   # hash chain
    uint8_t address[16]
    uint8_t family
    uint16_t port
    uint32_t connections         # active and idle; the pool goes with the last one
    uint32_t idle
    Upstream* newest             # idle connections, newest first
    Upstream* oldest

ctypedef struct Upstream:
    Endpoint endpoint
    Upstream* next_free
    Upstream* newer              # neighbours in the pool's idle list
    Upstream* older
    Pool* pool
    Exchange* exchange           # NULL while idle
    Buffer* input
    uint64_t requests            # sent on this connection
    uint8_t state                # UpstreamState
    uint8_t reused               # taken from the pool for the current exchange

# --- one request and its response ------------------------------------------------------------------------------------
cpdef enum ExchangeFlag:
    EXCHANGE_REPLAYABLE = 1          # the whole request (head and body) is still held: it can be sent again
    EXCHANGE_BODY_COMPLETE = 2       # the request body has arrived completely
    EXCHANGE_REQUEST_SENT = 4        # the whole request has been handed to the kernel
    EXCHANGE_ANY_SENT = 8            # at least one byte of it has, on the current connection
    EXCHANGE_RESPONSE_STARTED = 16   # bytes of the final response may have reached the client
    EXCHANGE_RESPONSE_COMPLETE = 32  # the upstream's message has ended
    EXCHANGE_CLOSE_CLIENT = 64       # close the downstream connection after the response
    EXCHANGE_CHUNK_REQUEST = 128     # the request body goes upstream in chunked coding
    EXCHANGE_CHUNK_RESPONSE = 256    # the response body goes downstream in chunked coding
    EXCHANGE_LINGER = 512            # the client may still be sending: read on before closing
    EXCHANGE_BALANCED = 1024         # the balancer ran: the answer carries proxy headers (Kong)
    EXCHANGE_CONTINUE_SENT = 2048    # 100 Continue went out
    EXCHANGE_LOCAL = 4096            # the answer is the gateway's own
    EXCHANGE_PARKED = 8192           # waits for the plugin thread (`job`) or for another request's response (`flight`)
    EXCHANGE_WANTS_BODY = 16384      # a step waits for the whole request body
    EXCHANGE_HOLDS_RESPONSE = 32768  # a step wants the whole response body: collected in `held`
    EXCHANGE_BODY_OVER = 65536       # the request body is longer than steps may see
    EXCHANGE_RESPONSE_OVER = 131072  # the response body is
    EXCHANGE_AUTHENTICATED = 262144  # a plugin has identified the client
    EXCHANGE_ANONYMOUS = 524288      # as the consumer that stands for unknown clients
    EXCHANGE_BY_CONSUMER = 2097152   # counted with its consumer already
    EXCHANGE_PYTHON_CONTEXT = 4194304  # the plugin thread keeps something for this request (python_plugin step)
    EXCHANGE_STORED = 8388608        # the answer is a stored response (with EXCHANGE_LOCAL)
    EXCHANGE_RECORDS = 16777216      # the upstream's body is being stored, see caching.pxd
    EXCHANGE_REFRESH = 33554432      # fetch the stored response anew once this client has its answer
    EXCHANGE_BACKGROUND = 67108864   # no client is waiting: what would be sent to it is dropped
    EXCHANGE_COUNTED = 134217728     # counted as open at its peer, see balancer.pxd

# What a step answers with.
cpdef enum AnswerKind:
    STEP_ANSWER_NONE = 0
    STEP_ANSWER_ERROR = 1        # Kong's error body in the type that the client accepts
    STEP_ANSWER_MESSAGE = 2      # {"message":"…"}
    STEP_ANSWER_BODY = 3         # as given
    STEP_ANSWER_STORED = 4       # a stored response, see stored_response.pxd

ctypedef struct StepAnswer:
    uint8_t kind                 # AnswerKind
    uint16_t status
    Text text                    # message or body; in the exchange's memory, or constant
    Text content_type

# In which of a step's functions an exchange is.
cpdef enum StepPhase:
    STEPS_REWRITE = 0
    STEPS_ACCESS = 1
    STEPS_RESPONSE = 2
    STEPS_LOG = 3

# Work for the plugin thread, see jobs.pxd.
ctypedef struct Job:
    Job* next                    # in a free list
    Worker* worker
    Exchange* exchange           # that waits for it; NULL: nobody. The loop thread's
    MappedSnapshot* configuration    # pinned as long as the job exists
    const PluginRecord* plugin
    Buffer* request              # written before it is handed over, then the plugin thread's to read
    uint8_t* result              # malloc'ed by the plugin thread, freed with the job
    uint32_t result_length
    uint32_t verb                # what is wanted; the step's own numbering
    uint32_t state               # JobState
    uint64_t number              # grows with every job of a worker

ctypedef struct Exchange:
    Worker* worker
    Downstream* client
    Upstream* upstream           # NULL before connecting and after the response
    MappedSnapshot* configuration
    MappedSnapshot* peers
    const LiveSettings* settings
    const RouteRecord* route     # NULL: no match
    const ServiceRecord* service
    const PeerSet* peer_set
    const Peer* peer             # of the current try
    uint32_t flags               # ExchangeFlag set
    uint32_t tries               # failed tries; a kept-alive connection that turned out to be closed is not one
    uint32_t tried_count
    uint64_t sent_us             # when the request was sent to the current peer, on the loop's clock
    uint64_t hash                # consistent hashing: of this request; valid when hash_known
    uint8_t hash_known
    const Peer* tried[MAX_TRIED_PEERS]

    # plugins
    MappedSnapshot* identities   # NULL until a plan runs
    const PlanRecord* plan       # NULL: none
    uint32_t step                # place in the plan
    uint8_t step_phase           # StepPhase
    uint8_t sent_method          # Method of the request to the upstream
    uint16_t access_edits        # response fields that were added before there was a response
    const ConsumerRecord* consumer       # NULL: unknown
    const CredentialRecord* credential   # NULL: none, or of a kind that is no entity
    Job* job                     # NULL: none
    StepAnswer answer
    Buffer* memory               # texts of steps, a chain
    Text method_override, path_override, query_override, host_override   # data NULL: none
    uint64_t peer_key_override   # 0: none
    uint64_t body_limit          # bytes of request body that a step allows; UINT64_MAX: it says nothing
    const char* body_limit_text  # what a longer body is refused with
    uint32_t secret_offset       # in the head: a part of the request target that logs must not show
    uint32_t secret_length       # 0: there is none
    FieldEdits request_edits
    FieldEdits response_edits
    const char* answer_extra     # own answers: constant lines of the protocol, or NULL
    Buffer* answer_head          # own answers: the fields that steps may change
    Buffer* held                 # response body that is held for steps
    Buffer* held_head            # head of that response
    const PluginRecord* chosen[MAX_STEPS]    # the configuration that applies, by step; NULL: none
    const PluginRecord* answered_by    # whose answer the response is; NULL: no plugin's
    SharedText* shared           # newest first, in `memory`; NULL: none
    # stored responses
    void* cache                  # CacheUse of caching.pxd: what the cache does for this request, in `memory`; NULL: nothing
    uint64_t flight              # hash of the flight that the exchange waits for, 0: none; see flights.pxd
    uint64_t flight_lead         # who led it when the waiting began
    uint64_t flight_deadline_ms
    Exchange* next_waiting       # in the worker's list of those
    Exchange* previous_waiting
    uint8_t woken                # it has waited for a flight, which is over
    uint32_t stored_step         # place in the plan of the step whose stored answer it is
    Circuit* circuit             # in shared memory, which is owed an outcome of this request, see circuit.pxd; NULL: none
    const PluginRecord* circuit_plugin   # the breaker that the request has passed; NULL: none
    StoredEntry* stored          # EXCHANGE_STORED: what the answer is made of, in `memory`; pinned if its body is long
    uint64_t stored_offset       # of the next byte of its body to be sent, from the first of the prelude
    uint64_t stored_left         # bytes of it still to be sent
    uint64_t stored_length       # of the whole body of the answer, also when only its head is sent
    void* notes[MAX_STEPS]       # what a step keeps between its functions, in `memory`, by step; NULL: nothing

    # times, ms on the loop's clock
    uint64_t started_ms          # first byte of the head
    uint64_t balanced_ms         # the balancer ran (last try)
    uint64_t head_received_ms    # response head complete

    # What is sent, in this order:
    #   to the upstream   request_out | prefix  segment  suffix          (head; one piece of body, framed)
    #   to the client     out | upstream.input[:relay_length] | relay_suffix
    # request
    RequestHead request
    uint8_t* path                # normalised
    uint32_t path_length
    Buffer* path_buffer          # owns `path` when it does not fit inline
    Buffer* request_out          # head for the upstream, kept for a retry
    uint32_t request_out_sent
    uint32_t input_used          # bytes of client.input that belong to this request
    Buffer* body                 # decoded request body when it is not inside client.input
    const uint8_t* segment       # the piece of decoded body being sent: inside client.input or `body`
    uint32_t segment_length
    uint32_t segment_sent        # of prefix, piece and suffix together
    uint8_t segment_framed       # prefix and suffix are filled in (chunked coding)
    uint8_t prefix_length, suffix_length
    uint8_t prefix[24]           # chunk-size line
    uint8_t suffix[8]            # CRLF, and the last chunk
    uint64_t body_received       # decoded bytes so far
    uint64_t body_left           # of a Content-Length body still to arrive
    uint64_t request_bytes       # wire bytes received: head and body, for metrics
    ChunkDecoder request_chunks

    # response
    ResponseHead response
    ChunkDecoder response_chunks
    Buffer* out                  # bytes for the client not yet taken by the kernel
    uint32_t relay_length        # body bytes at the front of upstream.input that follow `out`
    const char* relay_suffix     # constant text that follows them; NULL: none
    uint32_t relay_suffix_length
    uint8_t response_head_done   # the final head has been parsed
    uint8_t interim_count        # 1xx responses so far
    uint64_t response_left       # of a Content-Length body still to come from the upstream
    uint64_t body_sent           # body bytes handed to the client's socket
    uint64_t response_bytes      # all bytes handed to it
    uint32_t client_unsent       # bytes in the client's socket when its send timeout began
    uint16_t status              # sent to the client; 0 none
    uint8_t response_body        # BodyKind of the upstream's message, after HEAD, 204, 304
    uint8_t https                # scheme seen by routing
    uint8_t client_text_length
    uint16_t client_port
    uint8_t client_family        # 4, 6 or 0 (unix socket), after real-ip
    uint8_t client_octets[16]    # that address, network order
    char client_text[ADDRESS_TEXT]   # the client's address after real-ip
    char request_id[REQUEST_ID_LENGTH]
    RouteMatch match
    # tunnel
    Buffer* to_upstream
    uint8_t inline_path[INLINE_PATH]

# --- log rings -------------------------------------------------------------------------------------------------------
# Single producer (loop thread), single consumer (log thread). Positions only grow; their difference is the fill.
ctypedef struct LogRing:
    uint8_t* data
    uint64_t capacity            # a power of two
    uint64_t written             # producer's position
    uint64_t read                # consumer's position

ctypedef void (*exchange_handler)(Exchange*) noexcept nogil
ctypedef void (*refusal_handler)(Exchange*, uint16_t) noexcept nogil
ctypedef void (*downstream_handler)(Downstream*) noexcept nogil

cpdef enum WorkerPhase:
    PHASE_WAITING = 0            # no configuration yet: does not accept
    PHASE_SERVING = 1
    PHASE_DRAINING = 2

cdef enum:
    POOL_BUCKETS = 1024

# Everything one worker owns. Fields are the loop thread's own unless it says otherwise.
ctypedef struct Worker:
    EventLoop loop
    ControlWords* control        # shared memory
    WorkerBlock* block
    BufferStock buffers
    Slab downstreams
    Slab exchanges
    Slab upstreams
    Slab pools
    Pool* pool_buckets[POOL_BUCKETS]
    Downstream* closed_clients   # freed at the end of the round
    Upstream* closed_upstreams
    Downstream* connections      # all open ones, those that became idle last in front
    Downstream* oldest_connection
    uint64_t connection_count
    uint64_t connection_limit
    uint64_t idle_upstreams
    MappedSnapshot* configuration
    MappedSnapshot* peers
    MappedSnapshot* identities
    # handed over by the main thread, taken by the loop at the end of a round (atomic exchange)
    MappedSnapshot* next_configuration
    MappedSnapshot* next_peers
    MappedSnapshot* next_identities
    Endpoint wakeup              # eventfd: the main thread has something
    uint32_t command             # atomic: 0 none, 1 drain, 2 stop
    uint8_t phase                # WorkerPhase
    uint8_t accept_paused
    Timer accept_timer           # try to accept again
    Timer drain_timer
    Listener listeners[MAX_LISTENERS]
    uint32_t listener_count
    uint64_t random[4]           # xoshiro256** state
    # log
    LogRing access_log
    LogRing error_log
    uint32_t log_writer_idle     # atomic: the log thread sleeps and wants a wakeup
    int log_wakeup_fd
    uint8_t log_finished         # the loop has ended
    # cached texts, renewed once a second
    int64_t text_second
    char date_text[32]           # RFC 9110 §5.6.7
    uint32_t date_length
    char log_time_text[32]       # 22/Nov/2026:10:00:00 +0000
    uint32_t log_time_length
    # upward calls
    exchange_handler begin_exchange      # exchange.pyx: a head is complete
    refusal_handler refuse_exchange      # exchange.pyx: the head cannot be served; answer with this status
    downstream_handler exchange_finished  # downstream.pyx: next request, or close
    exchange_handler resume_exchange     # exchange.pyx: what it waits for has come: a job of the plugin thread, a flight
    # plugin thread
    void* jobs                   # JobQueues of jobs.pyx
    # shared with the other workers
    uint32_t index               # of this worker's block
    CacheStore cache             # shard_count 0: there is none
    TargetTable targets
    void* flights                # Flights of flights.pyx: requests that wait for others' responses
    int* loop_fds                # by index of a worker: eventfd that wakes its loop
    uint32_t loop_fd_count
    # Descriptors have the lowest free numbers, so a client's number tells how many are in use: from this one on
    # accepting pauses, and the rest is left for connections to upstreams.
    int descriptor_ceiling

# The settings that new requests get. Once the worker has a configuration.
cdef inline const LiveSettings* settings_of(Worker* worker) noexcept nogil:
    return snapshot_settings(worker.configuration.base)
