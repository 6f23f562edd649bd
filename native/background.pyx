from libc.string cimport memcpy

from native.connection cimport (
    EXCHANGE_ANONYMOUS,
    EXCHANGE_AUTHENTICATED,
    EXCHANGE_BACKGROUND,
    EXCHANGE_BODY_COMPLETE,
    EXCHANGE_REPLAYABLE,
    PHASE_SERVING,
    STEPS_ACCESS,
    Downstream,
    Worker,
)
from native.downstream cimport client_close, open_without_socket
from native.exchange_record cimport exchange_free, forget_response
from native.http1 cimport BODY_NONE
from native.memory cimport Buffer, buffer_give, buffer_take, slab_take
from native.stored_response cimport release_stored
from native.text cimport put


cdef Downstream* silent_client(Exchange* exchange) noexcept nogil:
    """A client without a socket that has sent the same head. NULL: memory is out."""
    cdef Worker* worker = exchange.worker
    cdef Buffer* input = exchange.client.input
    cdef Buffer* head = buffer_take(&worker.buffers, exchange.request.parsed)
    cdef Downstream* client
    if head == NULL:
        return NULL
    client = open_without_socket(worker, exchange.client)
    if client == NULL:
        buffer_give(&worker.buffers, head)
        return NULL
    put(head, &input.data[0] + input.start, exchange.request.parsed)
    client.input = head
    return client


cdef void hand_over(Exchange* exchange, Exchange* heir) noexcept nogil:
    """`heir`, a copy, owns from now on what the request needs; each has its own hold on the snapshots."""
    heir.configuration.users += 1
    heir.peers.users += 1
    if heir.identities != NULL:
        heir.identities.users += 1
    if exchange.path == &exchange.inline_path[0]:
        heir.path = &heir.inline_path[0]
    exchange.path_buffer = NULL
    exchange.path = NULL
    exchange.memory = NULL                               # notes, texts and what the cache does for the request lie there
    exchange.shared = NULL
    exchange.cache = NULL
    exchange.request_edits.text = NULL
    exchange.request_edits.count = 0


cdef void refresh_in_background(Exchange* exchange) noexcept nogil:
    cdef Worker* worker = exchange.worker
    cdef Downstream* client
    cdef Exchange* heir
    if exchange.request.body_kind != BODY_NONE or worker.phase != PHASE_SERVING or exchange.plan == NULL:
        return
    client = silent_client(exchange)
    if client == NULL:
        return
    heir = <Exchange*> slab_take(&worker.exchanges)
    if heir == NULL:
        client_close(client)
        return
    memcpy(heir, exchange, sizeof(Exchange))
    heir.client = client
    client.exchange = heir
    heir.flags = EXCHANGE_BACKGROUND | EXCHANGE_REPLAYABLE | EXCHANGE_BODY_COMPLETE \
        | (exchange.flags & (EXCHANGE_AUTHENTICATED | EXCHANGE_ANONYMOUS))
    forget_response(heir)
    release_stored(exchange)                             # what it points to goes with the memory
    exchange.stored = NULL
    hand_over(exchange, heir)
    heir.step_phase = STEPS_ACCESS
    heir.step = exchange.stored_step + 1                 # the steps behind the one that answered have not run yet
    worker.resume_exchange(heir)


cdef void end_background(Exchange* exchange) noexcept nogil:
    cdef Downstream* client = exchange.client
    exchange_free(exchange)
    client.exchange = NULL
    client_close(client)
