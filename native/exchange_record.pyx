from libc.stdint cimport UINT64_MAX, uint64_t
from libc.string cimport memcpy

from native.connection cimport EXCHANGE_REPLAYABLE, STEPS_REWRITE
from native.caching cimport cache_abandon
from native.circuit_breaker cimport circuit_exchange_over
from native.fields cimport text_of
from native.flights cimport flight_leave
from native.http1 cimport chunk_decoder_reset, request_head_reset, response_head_reset
from native.jobs cimport job_abandon
from native.memory cimport Buffer, BufferStock, buffer_give, slab_give, slab_take
from native.stored_response cimport release_stored
from native.snapshot cimport NO_INDEX, snapshot_settings


cdef inline uint64_t rotate(uint64_t word, int bits) noexcept nogil:
    return (word << bits) | (word >> (64 - bits))


cdef uint64_t next_random(uint64_t* state) noexcept nogil:
    """xoshiro256**: unique, well spread request ids. They identify, they protect nothing."""
    cdef uint64_t result = rotate(state[1] * 5, 7) * 9
    cdef uint64_t shifted = state[1] << 17
    state[2] ^= state[0]
    state[3] ^= state[1]
    state[1] ^= state[2]
    state[0] ^= state[3]
    state[2] ^= shifted
    state[3] = rotate(state[3], 45)
    return result


cdef void write_request_id(Worker* worker, char* out) noexcept nogil:
    cdef const char* digits = b"0123456789abcdef"
    cdef uint64_t word
    cdef int i, half
    for half in range(2):
        word = next_random(worker.random)
        for i in range(16):
            out[half * 16 + i] = digits[(word >> (60 - 4 * i)) & 15]


cdef void forget_response(Exchange* exchange) noexcept nogil:
    """As if nothing had been answered yet, and no peer been asked."""
    exchange.circuit = NULL
    exchange.circuit_plugin = NULL
    exchange.flight = 0
    exchange.woken = 0
    exchange.tries = 0
    exchange.tried_count = 0
    exchange.started_ms = exchange.worker.loop.now_ms
    exchange.balanced_ms = 0
    exchange.head_received_ms = 0
    exchange.request_out = NULL
    exchange.request_out_sent = 0
    exchange.out = NULL
    exchange.answer_head = NULL
    exchange.answer_extra = NULL
    exchange.answered_by = NULL
    exchange.held = NULL
    exchange.held_head = NULL
    exchange.stored = NULL
    exchange.stored_left = 0
    exchange.response_edits.text = NULL
    exchange.response_edits.count = 0
    exchange.relay_length = 0
    exchange.relay_suffix = NULL
    exchange.relay_suffix_length = 0
    exchange.response_head_done = 0
    exchange.interim_count = 0
    exchange.response_left = 0
    exchange.body_sent = 0
    exchange.response_bytes = 0
    exchange.status = 0
    response_head_reset(&exchange.response)
    chunk_decoder_reset(&exchange.response_chunks)


cdef Exchange* exchange_new(Worker* worker, Downstream* client) noexcept nogil:
    cdef Exchange* exchange = <Exchange*> slab_take(&worker.exchanges)
    if exchange == NULL:
        return NULL
    exchange.worker = worker
    exchange.client = client
    client.exchange = exchange
    exchange.upstream = NULL
    exchange.configuration = worker.configuration
    exchange.configuration.users += 1
    exchange.peers = worker.peers
    exchange.peers.users += 1
    exchange.settings = snapshot_settings(worker.configuration.base)
    exchange.route = NULL
    exchange.service = NULL
    exchange.peer_set = NULL
    exchange.peer = NULL
    exchange.flags = EXCHANGE_REPLAYABLE
    exchange.hash_known = 0
    exchange.cache = NULL
    exchange.path = NULL
    exchange.path_length = 0
    exchange.path_buffer = NULL
    exchange.input_used = 0
    exchange.body = NULL
    exchange.segment = NULL
    exchange.segment_length = 0
    exchange.segment_sent = 0
    exchange.segment_framed = 0
    exchange.prefix_length = 0
    exchange.suffix_length = 0
    exchange.body_received = 0
    exchange.body_left = 0
    exchange.request_bytes = 0
    exchange.client_unsent = 0
    exchange.response_body = 0
    exchange.https = 0
    exchange.to_upstream = NULL
    exchange.identities = NULL
    exchange.plan = NULL
    exchange.step = 0
    exchange.step_phase = STEPS_REWRITE
    exchange.sent_method = 0
    exchange.access_edits = 0
    exchange.consumer = NULL
    exchange.credential = NULL
    exchange.job = NULL
    exchange.answer.kind = 0
    exchange.memory = NULL
    exchange.shared = NULL
    exchange.method_override = exchange.path_override = text_of(NULL, 0)
    exchange.query_override = exchange.host_override = text_of(NULL, 0)
    exchange.peer_key_override = 0
    exchange.body_limit = UINT64_MAX
    exchange.secret_length = 0
    exchange.request_edits.text = NULL
    exchange.request_edits.count = 0
    exchange.match.matched_length = 0
    exchange.match.capture_count = 0
    exchange.match.regex = NO_INDEX
    exchange.client_port = client.peer_port
    exchange.client_text_length = client.peer_text_length
    memcpy(exchange.client_text, client.peer_text, client.peer_text_length)
    write_request_id(worker, exchange.request_id)
    request_head_reset(&exchange.request)
    chunk_decoder_reset(&exchange.request_chunks)
    forget_response(exchange)
    return exchange


cdef void free_step_state(Exchange* exchange) noexcept nogil:
    cdef BufferStock* stock = &exchange.worker.buffers
    cdef Buffer* piece
    if exchange.circuit != NULL:
        circuit_exchange_over(exchange)
    if exchange.job != NULL:
        job_abandon(exchange)
    if exchange.flight:
        flight_leave(exchange)
    if exchange.cache != NULL:
        cache_abandon(exchange, True)
    if exchange.stored != NULL:
        release_stored(exchange)
    if exchange.identities != NULL:
        exchange.identities.users -= 1
    while exchange.memory != NULL:
        piece = exchange.memory
        exchange.memory = piece.next
        buffer_give(stock, piece)
    buffer_give(stock, exchange.request_edits.text)
    buffer_give(stock, exchange.held_head)


cdef void exchange_free(Exchange* exchange) noexcept nogil:
    cdef Worker* worker = exchange.worker
    if exchange.plan != NULL or exchange.identities != NULL:
        free_step_state(exchange)
    exchange.configuration.users -= 1
    exchange.peers.users -= 1
    buffer_give(&worker.buffers, exchange.response_edits.text)   # the balancer's, too
    buffer_give(&worker.buffers, exchange.answer_head)
    buffer_give(&worker.buffers, exchange.held)
    buffer_give(&worker.buffers, exchange.path_buffer)
    buffer_give(&worker.buffers, exchange.request_out)
    buffer_give(&worker.buffers, exchange.body)
    buffer_give(&worker.buffers, exchange.out)
    buffer_give(&worker.buffers, exchange.to_upstream)
    slab_give(&worker.exchanges, exchange)
