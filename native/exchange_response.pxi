# The upstream's response on its way to the client; included by exchange.pyx.


# --- phase: response -------------------------------------------------------------------------------------------------
cdef void discard_response(Exchange* exchange) noexcept nogil:
    """Forget a response of which the client has seen nothing."""
    if exchange.out != NULL:
        exchange.out.start = 0
        exchange.out.end = 0
    exchange.relay_length = 0
    exchange.relay_suffix = NULL
    exchange.relay_suffix_length = 0
    exchange.response_head_done = 0
    exchange.head_received_ms = 0
    exchange.body_sent = 0
    exchange.flags &= ~<uint32_t> (EXCHANGE_RESPONSE_COMPLETE | EXCHANGE_CHUNK_RESPONSE)


cdef void leave_upstream(Exchange* exchange) noexcept nogil:
    """The client gets something else than this response. The connection can be used again if nothing more comes on it."""
    cdef Buffer* input = exchange.upstream.input
    if not exchange.response_head_done or not exchange.flags & EXCHANGE_RESPONSE_COMPLETE or input == NULL:
        drop_upstream(exchange)
    else:
        if buffer_length(input) == exchange.response.parsed:     # a head without a body, such as a 304
            input.start = input.end
        release_upstream(exchange)
    exchange.relay_length = 0
    exchange.flags &= ~<uint32_t> (EXCHANGE_CHUNK_RESPONSE | EXCHANGE_RESPONSE_OVER | EXCHANGE_RESPONSE_COMPLETE)


cdef bint upgrade_agreed(Exchange* exchange) noexcept nogil:
    """Whether a 101 is what the client asked for, to the same protocol and after its whole request."""
    cdef const uint8_t* head = &exchange.upstream.input.data[0] + exchange.upstream.input.start
    cdef const HeaderField* field
    cdef uint32_t i
    if not exchange.request.upgrade_websocket or not exchange.response.upgrade \
            or not exchange.flags & EXCHANGE_REQUEST_SENT:
        return False
    for i in range(exchange.response.header_count):
        field = &exchange.response.headers[i]
        if field.known == HEADER_UPGRADE and not is_text(head + field.value_offset, field.value_length, b"websocket", 9):
            return False
    return True


cdef int show_to_cache(Exchange* exchange) noexcept nogil:
    """Let the cache see the upstream's head. GONE: the client gets a stored response in place of this one."""
    if cache_received(exchange) == STEP_RESPOND:
        leave_upstream(exchange)
        answer_step(exchange)
        return GONE
    if exchange.flags & EXCHANGE_RECORDS and exchange.flags & EXCHANGE_RESPONSE_COMPLETE:
        cache_complete(exchange)                         # it has no body
    return ALIVE


cdef int begin_response(Exchange* exchange) noexcept nogil:
    """The final head is there: decide on framing, let the plugins see it, and write the client's head."""
    if exchange.response.status == 101 and not upgrade_agreed(exchange):
        upstream_failed(exchange, FAILURE_MALFORMED)
        return GONE
    exchange.response_head_done = 1
    exchange.head_received_ms = exchange.worker.loop.now_ms
    try_answered(exchange)
    if exchange.worker.phase == PHASE_DRAINING:
        exchange.flags |= EXCHANGE_CLOSE_CLIENT
    if exchange.response.status != 101:
        frame_response(exchange)
        if not exchange.flags & EXCHANGE_REQUEST_SENT or not exchange.flags & EXCHANGE_BODY_COMPLETE:
            # an early answer. Relaying goes on both ways, but the client may well stop here (RFC 9112 §9.5)
            exchange.flags |= EXCHANGE_CLOSE_CLIENT | EXCHANGE_LINGER
            timer_clear(&exchange.client.endpoint.timer)
        if exchange.cache != NULL and not show_to_cache(exchange):
            return GONE
    if exchange.plan == NULL or exchange.flags & EXCHANGE_BACKGROUND:
        return write_response(exchange)
    begin_response_steps(exchange)
    return continue_response(exchange)


# --- phase: response head and body -----------------------------------------------------------------------------------
cdef int write_response(Exchange* exchange) noexcept nogil:
    cdef bint interim_pending = flush_pending(exchange)
    cdef int result
    if exchange.plan != NULL:
        frame_changed(exchange)
    result = RESPONSE_MALFORMED if build_response_head(exchange) != 0 else RESPONSE_DATA
    if result == RESPONSE_DATA and exchange.held_head != NULL:
        result = relay_held(exchange)
    elif result == RESPONSE_DATA and exchange.response.status != 101:
        result = relay_first(exchange)
    if result == RESPONSE_MALFORMED or result == RESPONSE_CLOSED:
        # nothing of it has been sent yet: the client gets a clean answer
        if interim_pending:
            abort_exchange(exchange)
        else:
            upstream_failed(exchange, FAILURE_MALFORMED)
        return GONE
    exchange.status = exchange.response.status
    exchange.flags |= EXCHANGE_RESPONSE_STARTED
    if exchange.response.status == 101:
        begin_tunnel(exchange)
        return GONE
    return ALIVE


cdef inline void await_upstream(Exchange* exchange) noexcept nogil:
    """Give the upstream its time for the next bytes."""
    timer_set(&exchange.worker.loop, &exchange.upstream.endpoint.timer,
              exchange.worker.loop.now_ms + exchange.service.read_timeout_ms)


cdef bint pass_interim(Exchange* exchange) noexcept nogil:
    """100 is for the gateway, which has answered Expect itself; the others go to clients that know them
    (RFC 9110 §15.2). False when memory is out."""
    if exchange.response.status == 100 or exchange.request.minor_version == 0:
        return True
    return build_interim_head(exchange) == 0


cdef int advance_head(Exchange* exchange) noexcept nogil:
    """Receive the response's head. ALIVE: done, or nothing more to read for now."""
    cdef int result
    while True:
        result = receive_response_head(exchange)
        if result == RESPONSE_WAITING:
            if exchange.upstream.endpoint.timer.deadline == 0 and exchange.flags & EXCHANGE_REQUEST_SENT:
                await_upstream(exchange)                 # the clock stood still while the client took an interim one
            return ALIVE
        if result == RESPONSE_CLOSED:
            upstream_failed(exchange, FAILURE_CLOSED)
            return GONE
        if result == RESPONSE_MALFORMED:
            upstream_failed(exchange, FAILURE_MALFORMED)
            return GONE
        if exchange.response.status >= 200 or exchange.response.status == 101:
            return begin_response(exchange)
        exchange.interim_count += 1
        if exchange.interim_count > MAX_INTERIM or not pass_interim(exchange):
            upstream_failed(exchange, FAILURE_MALFORMED)
            return GONE
        drop_interim(exchange)
        if exchange.flags & EXCHANGE_REQUEST_SENT:
            await_upstream(exchange)
        if flush_pending(exchange):
            return ALIVE


cdef void advance_response(Exchange* exchange) noexcept nogil:
    """Move the response along: flush what waits for the client, then read more, in turns."""
    cdef Worker* worker = exchange.worker
    cdef Upstream* upstream
    cdef uint64_t sent_before
    cdef int result
    cdef int turn = 0
    while True:
        if flush_pending(exchange):
            sent_before = exchange.response_bytes
            result = flush_client(exchange)
            if result == FLUSH_FAILED:
                abort_exchange(exchange)
                return
            if result == FLUSH_BLOCKED:
                # time for the next byte, not for another look at a client that takes none
                if exchange.response_bytes != sent_before or exchange.client.endpoint.timer.deadline == 0:
                    await_client(exchange)
                if exchange.upstream != NULL:
                    timer_clear(&exchange.upstream.endpoint.timer)
                return
            if exchange.flags & EXCHANGE_RESPONSE_STARTED:
                timer_clear(&exchange.client.endpoint.timer)
        if exchange.flags & EXCHANGE_RESPONSE_COMPLETE:
            complete_exchange(exchange)
            return
        upstream = exchange.upstream
        if upstream == NULL:
            return
        if turn == RELAY_BUDGET:
            loop_run_again(&worker.loop, &upstream.endpoint)
            return
        turn += 1
        if exchange.flags & EXCHANGE_PARKED:
            return
        if exchange.flags & EXCHANGE_HOLDS_RESPONSE:
            if not advance_hold(exchange) or not continue_response(exchange):
                return
            continue
        if not exchange.response_head_done:
            if not advance_head(exchange):
                return
            if exchange.response_head_done or flush_pending(exchange):
                continue
            return
        result = relay_response(exchange)
        if result == RESPONSE_WAITING:
            await_upstream(exchange)
            return
        if result != RESPONSE_DATA:
            upstream_failed(exchange, FAILURE_CLOSED if result == RESPONSE_CLOSED else FAILURE_MALFORMED)
            return


cdef void await_client(Exchange* exchange) noexcept nogil:
    """Give the client its time for the next bytes of the response."""
    exchange.client_unsent = unsent_bytes(exchange.client.endpoint.fd)
    timer_set(&exchange.worker.loop, &exchange.client.endpoint.timer,
              exchange.worker.loop.now_ms + exchange.settings.send_timeout_ms)
