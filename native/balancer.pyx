"""See balancer.pxd. What a worker keeps of a peer set is what it last counted of its health; the rest is shared."""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy

from native.atomics cimport compare_swap_relaxed, count_relaxed, load_acquire
from native.circuit_breaker cimport circuit_allows, circuit_answered, circuit_takes, circuit_try_ended
from native.connection cimport EXCHANGE_BACKGROUND, EXCHANGE_COUNTED, MAX_TRIED_PEERS, Worker
from native.cookies cimport request_cookie, send_cookie
from native.exchange_record cimport next_random
from native.fields cimport Text, text_of
from native.hash_inputs cimport hash_of_request
from native.log cimport LOG_NOTICE, LOG_WARN, log_error
from native.rendezvous cimport draw_cost, draw_may_win, mix_word, slot_draw, slot_seed
from native.snapshot cimport (
    BALANCE_CONSISTENT_HASHING,
    BALANCE_LATENCY,
    BALANCE_LEAST_CONNECTIONS,
    BALANCE_STICKY,
    HealthRules,
    LiveSettings,
    PeerSet,
    PeerSlot,
    SnapshotHeader,
    snapshot_peer_set,
    snapshot_text,
)
from native.snapshot import peer_key
from native.shm cimport SharedState, shared_control, shared_worker
from native.target_state cimport (
    REPORT_HTTP_FAILURE,
    REPORT_SUCCESS,
    REPORT_TCP_FAILURE,
    REPORT_TIMEOUT,
    GroupState,
    TargetReport,
    TargetTable,
    target_available,
    target_begin,
    target_end,
    target_latency,
    target_note_latency,
    target_open,
    target_report,
    target_table,
)

# What a worker keeps of one peer set.
ctypedef struct SetState:
    uint64_t version             # of the group, by which the following was counted
    uint64_t full_at_ms          # from then on every peer gets its full share (slow start)
    uint64_t turn                # of a set without a place in shared memory
    const uint16_t* wheel        # the turns of those that are available
    uint16_t* own_wheel          # memory for them; NULL: the set has no health checks
    uint32_t wheel_length
    uint32_t unavailable         # peers that get no requests
    uint8_t counted
    uint8_t serves               # enough of the weight is available

# One choice.
ctypedef struct Choice:
    Exchange* exchange
    const PeerSet* peer_set
    const Peer* peers
    SetState* state
    const TargetTable* targets
    uint8_t leniency             # Leniency
    uint8_t slow_start           # some peer does not get its full share yet

cdef enum Leniency:
    BY_THE_RULES = 0
    WITHOUT_SLOW_START = 1       # nobody has drawn a share
    ALSO_TRIED = 2               # all were tried: start over

cdef enum:
    GROUPLESS_RECOUNT_MS = 128   # how often health is looked at where no version tells of changes
    SMALLEST_SHARE = 20          # slow start begins with one twentieth
    FAILURE_LATENCY_US = 1000000  # a try that failed counts as so slow at least
    LONGEST_STATE_TEXT = 512


cdef inline const HealthRules* rules_of(MappedSnapshot* peers, const PeerSet* peer_set) noexcept nogil:
    """NULL: no health checks."""
    if peer_set.rules_offset == 0:
        return NULL
    return <const HealthRules*> (<const uint8_t*> peers.base + peer_set.rules_offset)


cdef inline const uint16_t* all_turns(MappedSnapshot* peers, const PeerSet* peer_set) noexcept nogil:
    return <const uint16_t*> (<const uint8_t*> peers.base + peer_set.wheel_offset)


include "balancer_algorithms.pxi"
include "balancer_tries.pxi"
include "balancer_view.pxi"


# --- what is kept of a peers snapshot --------------------------------------------------------------------------------
cdef void* balancing_new(MappedSnapshot* peers) noexcept nogil:
    cdef const PeerSlot* slots = <const PeerSlot*> (<const uint8_t*> peers.base + peers.base.peer_slot_offset)
    cdef const PeerSet* peer_set
    cdef SetState* states
    cdef uint16_t* wheels
    cdef uint64_t turns = 0
    cdef uint32_t sets = 0
    cdef uint32_t i
    for i in range(peers.base.peer_slot_count):
        if slots[i].key:
            sets += 1
            peer_set = <const PeerSet*> (<const uint8_t*> peers.base + slots[i].set_offset)
            if peer_set.rules_offset:
                turns += peer_set.wheel_length
    states = <SetState*> calloc(sets + 1 + (turns * sizeof(uint16_t)) // sizeof(SetState) + 1, sizeof(SetState))
    if states == NULL:
        return NULL
    wheels = <uint16_t*> (states + sets + 1)
    for i in range(peers.base.peer_slot_count):
        if slots[i].key == 0:
            continue
        peer_set = <const PeerSet*> (<const uint8_t*> peers.base + slots[i].set_offset)
        states[peer_set.index].wheel = all_turns(peers, peer_set)
        states[peer_set.index].wheel_length = peer_set.wheel_length
        states[peer_set.index].serves = 1
        if peer_set.rules_offset:
            states[peer_set.index].own_wheel = wheels
            wheels += peer_set.wheel_length
    return states


cdef void balancing_free(void* balancing) noexcept nogil:
    free(balancing)


cdef void count_slow_start(Choice* choice) noexcept nogil:
    """When the last of the peers gets its full share."""
    cdef SetState* state = choice.state
    cdef uint64_t since
    cdef uint32_t i
    state.full_at_ms = 0
    for i in range(choice.peer_set.peer_count):
        since = available_since(choice, &choice.peers[i])
        if since:
            state.full_at_ms = max(state.full_at_ms, since + choice.peer_set.slow_start_ms)


cdef void count_available(Choice* choice) noexcept nogil:
    """Look at the health of every peer; the turns of those that are available go on without the others."""
    cdef SetState* state = choice.state
    cdef MappedSnapshot* peers = choice.exchange.peers
    cdef const HealthRules* rules = rules_of(peers, choice.peer_set)
    cdef const uint16_t* turns = all_turns(peers, choice.peer_set)
    cdef uint64_t weight = 0
    cdef uint32_t i
    state.unavailable = 0
    for i in range(choice.peer_set.peer_count):
        if target_available(choice.targets, choice.peers[i].slot):
            weight += choice.peers[i].weight
        else:
            state.unavailable += 1
    state.serves = weight * 100000 > <uint64_t> rules.threshold * choice.peer_set.total_weight
    state.wheel = turns
    state.wheel_length = choice.peer_set.wheel_length
    if state.unavailable:
        state.wheel = state.own_wheel
        state.wheel_length = 0
        for i in range(choice.peer_set.wheel_length):
            if target_available(choice.targets, choice.peers[turns[i]].slot):
                state.own_wheel[state.wheel_length] = turns[i]
                state.wheel_length += 1


cdef void look_at_health(Choice* choice) noexcept nogil:
    """Count anew when something has changed. Costs one load when not."""
    cdef SetState* state = choice.state
    cdef uint64_t version
    if choice.peer_set.rules_offset == 0 and choice.peer_set.slow_start_ms == 0:
        return
    if choice.peer_set.slot:
        version = load_acquire(&choice.targets.groups[choice.peer_set.slot].version)
    else:
        version = choice.exchange.worker.loop.now_ms // GROUPLESS_RECOUNT_MS
    if not state.counted or state.version != version:
        state.counted = 1
        state.version = version
        if choice.peer_set.rules_offset:
            count_available(choice)
        if choice.peer_set.slow_start_ms:
            count_slow_start(choice)
    choice.slow_start = state.full_at_ms > choice.exchange.worker.loop.now_ms


# --- choosing --------------------------------------------------------------------------------------------------------
cdef const Peer* choose_peer(Exchange* exchange) noexcept nogil:
    """With circuit breakers, until somebody's circuit takes the request: another worker may have been faster."""
    cdef const Peer* peer
    while True:
        peer = choose_next(exchange)
        if peer == NULL or exchange.circuit_plugin == NULL or circuit_takes(exchange, peer):
            return peer


cdef bint some_circuit_allows(const Choice* choice) noexcept nogil:
    """Asked before anything else, so that turns are not taken in vain."""
    cdef uint32_t i
    for i in range(choice.peer_set.peer_count):
        if circuit_allows(choice.exchange, &choice.peers[i]):
            return True
    return False


cdef const Peer* choose_next(Exchange* exchange) noexcept nogil:
    cdef const PeerSet* peer_set = exchange.peer_set
    cdef const Peer* peer = NULL
    cdef Choice choice
    choice.exchange = exchange
    choice.peer_set = peer_set
    choice.peers = <const Peer*> (<const uint8_t*> exchange.peers.base + peer_set.peer_offset)
    choice.state = <SetState*> exchange.peers.balancing + peer_set.index
    choice.targets = &exchange.worker.targets
    choice.slow_start = 0
    look_at_health(&choice)
    if not choice.state.serves or choice.state.wheel_length == 0:
        return NULL
    if exchange.circuit_plugin != NULL and not some_circuit_allows(&choice):
        return NULL
    if peer_set.algorithm == BALANCE_CONSISTENT_HASHING and not exchange.hash_known:
        # also with a single peer: a cookie may have to be set
        exchange.hash = hash_of_request(exchange)
        exchange.hash_known = 1
    if peer_set.peer_count == 1:
        return choice.peers
    for choice.leniency in range(BY_THE_RULES, ALSO_TRIED + 1):
        if choice.leniency == WITHOUT_SLOW_START and not choice.slow_start:
            continue
        if choice.leniency == ALSO_TRIED and exchange.tried_count == 0:
            break
        if peer_set.algorithm == BALANCE_LEAST_CONNECTIONS:
            peer = least_connections(&choice)
        elif peer_set.algorithm == BALANCE_LATENCY:
            peer = lowest_latency(&choice)
        elif peer_set.algorithm == BALANCE_CONSISTENT_HASHING:
            peer = by_hash(&choice)
        elif peer_set.algorithm == BALANCE_STICKY:
            peer = by_cookie(&choice)
        else:
            peer = whose_turn(&choice)
        if peer != NULL:
            break
    return peer


cdef void peer_failed(Exchange* exchange) noexcept nogil:
    if exchange.tried_count < MAX_TRIED_PEERS and exchange.peer != NULL:
        exchange.tried[exchange.tried_count] = exchange.peer
        exchange.tried_count += 1
