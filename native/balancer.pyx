from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free

from native.circuit_breaker cimport circuit_allows, circuit_answered, circuit_takes, circuit_try_ended
from native.connection cimport MAX_TRIED_PEERS
from native.snapshot cimport PeerSet


cdef void* balancing_new(MappedSnapshot* peers) noexcept nogil:
    return calloc(peers.base.peer_slot_count + 1, sizeof(uint32_t))


cdef void balancing_free(void* balancing) noexcept nogil:
    free(balancing)


cdef bint was_tried(Exchange* exchange, const Peer* peer) noexcept nogil:
    cdef uint32_t i
    for i in range(exchange.tried_count):
        if exchange.tried[i] == peer:
            return True
    return False


cdef const Peer* choose_peer(Exchange* exchange) noexcept nogil:
    """With a circuit breaker per target, until one is found whose circuit lets the request pass."""
    cdef const Peer* peer
    while True:
        peer = choose_next(exchange)
        if peer == NULL or exchange.circuit_plugin == NULL or circuit_takes(exchange, peer):
            return peer


cdef const Peer* choose_next(Exchange* exchange) noexcept nogil:
    cdef const PeerSet* peer_set = exchange.peer_set
    cdef MappedSnapshot* peers = exchange.peers
    cdef const uint8_t* base = <const uint8_t*> peers.base
    cdef const Peer* all_peers = <const Peer*> (base + peer_set.peer_offset)
    cdef const uint16_t* wheel = <const uint16_t*> (base + peer_set.wheel_offset)
    cdef const Peer* peer = NULL
    cdef uint32_t turn, _step
    cdef uint32_t* turns = <uint32_t*> peers.balancing
    if peer_set.wheel_length == 0:
        return NULL
    if peer_set.peer_count == 1:
        return all_peers if exchange.circuit_plugin == NULL or circuit_allows(exchange, all_peers) else NULL
    for _step in range(peer_set.wheel_length):
        turn = turns[peer_set.index]
        if turn >= peer_set.wheel_length:
            turn = 0
        turns[peer_set.index] = turn + 1
        peer = &all_peers[wheel[turn]]
        if exchange.circuit_plugin != NULL and not circuit_allows(exchange, peer):
            peer = NULL
            continue
        if exchange.tried_count == 0 or not was_tried(exchange, peer):
            return peer
    # every peer failed once: start over with the one whose turn it is
    return peer


cdef void peer_failed(Exchange* exchange) noexcept nogil:
    if exchange.tried_count < MAX_TRIED_PEERS and exchange.peer != NULL:
        exchange.tried[exchange.tried_count] = exchange.peer
        exchange.tried_count += 1


cdef void first_try_begins(Exchange* exchange) noexcept nogil:
    pass


cdef bint may_retry(Exchange* exchange) noexcept nogil:
    return True


cdef void try_begins(Exchange* exchange) noexcept nogil:
    pass


cdef void try_answered(Exchange* exchange) noexcept nogil:
    if exchange.circuit_plugin != NULL:
        circuit_answered(exchange)


cdef void try_ended(Exchange* exchange, TryOutcome outcome) noexcept nogil:
    if exchange.circuit_plugin != NULL:
        circuit_try_ended(exchange, outcome)
