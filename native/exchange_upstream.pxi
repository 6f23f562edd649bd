# Peers: choosing and connecting, what a failed try leads to, sending the request; included by exchange.pyx.


# --- phase: balance and connect --------------------------------------------------------------------------------------
cdef void drop_upstream(Exchange* exchange) noexcept nogil:
    try_ended(exchange, TRY_GIVEN_UP)                    # unless somebody has said how it ended
    upstream_close(exchange.worker, exchange.upstream)
    exchange.upstream = NULL
    exchange.worker.block.upstream_active -= 1


cdef void answer_failure(Exchange* exchange, uint16_t status, const char* message, AnswerStyle style) noexcept nogil:
    """No upstream has answered, and none will be asked any more. What is stored may be better than an error, though stale
    (RFC 5861 §4)."""
    if exchange.circuit != NULL:
        circuit_tries_failed(exchange)
    if exchange.cache != NULL and cache_failed(exchange) == STEP_RESPOND:
        answer_step(exchange)
    elif circuit_refuses(exchange):
        circuit_tell_refusal(exchange)
        answer(exchange, 503, b"Circuit breaker is open", ANSWER_NEGOTIATED, NULL)
    else:
        answer(exchange, status, message, style, NULL)


cdef bint find_peer_set(Exchange* exchange) noexcept nogil:
    """Answer here when the service's host leads nowhere (proxying.md §4). True: there are peers."""
    exchange.peer_set = snapshot_peer_set(
        exchange.peers.base, exchange.peer_key_override or exchange.service.peer_key)
    if exchange.peer_set != NULL and exchange.peer_set.state == PEERS_READY:
        return True
    if exchange.peer_set != NULL and exchange.peer_set.state == PEERS_NO_TARGETS:
        answer_failure(exchange, 503, b"failure to get a peer from the ring-balancer", ANSWER_NEGOTIATED)
    elif exchange.peer_set != NULL and exchange.peer_set.state == PEERS_RESOLVE_ERROR:
        log_error(exchange.worker, LOG_ERROR, exchange, b"name resolution failed",
                  snapshot_text(exchange.configuration.base, exchange.service.host), exchange.service.host.length)
        answer_failure(exchange, 500, NULL, ANSWER_NEGOTIATED)
    else:
        log_error(exchange.worker, LOG_ERROR, exchange, b"name resolution failed",
                  snapshot_text(exchange.configuration.base, exchange.service.host), exchange.service.host.length)
        answer_failure(exchange, 503, b"name resolution failed", ANSWER_NEGOTIATED)
    return False


cdef bint is_idempotent(Exchange* exchange) noexcept nogil:
    """What nginx calls so: everything but POST, LOCK and PATCH."""
    cdef uint8_t method = exchange.sent_method
    return method != METHOD_POST and method != METHOD_LOCK and method != METHOD_PATCH


cdef void adopt_upstream(Exchange* exchange, Upstream* upstream) noexcept nogil:
    exchange.upstream = upstream
    upstream.exchange = exchange
    upstream.requests += 1
    upstream.endpoint.on_ready = on_upstream_ready
    upstream.endpoint.timer.on_expire = on_upstream_timeout
    exchange.worker.block.upstream_active += 1


cdef Upstream* connection_to_peer(Exchange* exchange) noexcept nogil:
    """A connection from the pool, or a new one. A request that must not be sent twice only gets an idle connection
    that is certainly still open."""
    cdef Upstream* upstream
    while True:
        upstream = pool_take(exchange.worker, exchange.peer)
        if upstream == NULL:
            return pool_connect(exchange.worker, exchange.peer)
        if is_idempotent(exchange) or stream_is_quiet(&upstream.endpoint):
            return upstream
        upstream_close(exchange.worker, upstream)


cdef void answer_no_peer(Exchange* exchange) noexcept nogil:
    """The balancer has nobody for this request."""
    answer_failure(exchange, 503, b"failure to get a peer from the ring-balancer", ANSWER_NEGOTIATED)


cdef int connect_upstream(Exchange* exchange) noexcept nogil:
    """Try peers until a connection stands or is under way. The exchange is answered when all tries are used up."""
    cdef Worker* worker = exchange.worker
    cdef Upstream* upstream
    cdef int refused
    while True:
        exchange.peer = choose_peer(exchange)
        if exchange.peer == NULL:
            answer_no_peer(exchange)
            return GONE
        exchange.balanced_ms = worker.loop.now_ms
        exchange.sent_us = worker.loop.now_us
        exchange.flags |= EXCHANGE_BALANCED
        exchange.flags &= ~<uint32_t> EXCHANGE_CHUNK_REQUEST
        if exchange.request.body_kind == BODY_CHUNKED and not exchange.flags & EXCHANGE_BODY_COMPLETE:
            exchange.flags |= EXCHANGE_CHUNK_REQUEST
        refused = build_request_head(exchange)
        if refused:
            exchange.flags &= ~<uint32_t> EXCHANGE_BALANCED
            answer(exchange, <uint16_t> refused, NULL, ANSWER_SERVER, NULL)
            return GONE
        rewind_request(exchange)
        try_begins(exchange)
        upstream = connection_to_peer(exchange)
        if upstream == NULL:
            try_ended(exchange, TRY_GIVEN_UP)
            log_error(worker, LOG_ERROR, exchange, b"no descriptor or memory for a connection to the upstream", NULL, 0)
            answer_failure(exchange, 503, NULL, ANSWER_SERVER)
            return GONE
        if upstream.state != UPSTREAM_CLOSED:
            break
        log_failure(exchange, FAILURE_CONNECT)
        worker.block.upstream_failures += 1
        try_ended(exchange, TRY_CONNECT_FAILED)
        peer_failed(exchange)
        exchange.tries += 1
        if exchange.tries > exchange.service.retries or not may_retry(exchange):
            answer_failure(exchange, 502, NULL, ANSWER_SERVER)
            return GONE
        worker.block.upstream_retries += 1
    adopt_upstream(exchange, upstream)
    if upstream.state == UPSTREAM_CONNECTING:
        timer_set(&worker.loop, &upstream.endpoint.timer, worker.loop.now_ms + exchange.service.connect_timeout_ms)
    return ALIVE


cdef void start_upstream(Exchange* exchange) noexcept nogil:
    if not find_peer_set(exchange):
        return
    first_try_begins(exchange)
    if connect_upstream(exchange) and exchange.upstream.state == UPSTREAM_ACTIVE:
        advance_request(exchange)


# --- phase: failure of a try -----------------------------------------------------------------------------------------
cdef void log_failure(Exchange* exchange, UpstreamFailure failure) noexcept nogil:
    cdef const char* text = b"upstream closed the connection before its response was complete"
    if failure == FAILURE_CONNECT:
        text = b"connect to upstream failed"
    elif failure == FAILURE_MALFORMED:
        text = b"upstream sent a malformed response"
    elif failure == FAILURE_TIMEOUT:
        text = b"upstream timed out"
    log_error(exchange.worker, LOG_ERROR, exchange, text,
              <const char*> exchange.peers.base + exchange.peer.name.offset, exchange.peer.name.length)


cdef TryOutcome outcome_of(Exchange* exchange, UpstreamFailure failure, bint stale) noexcept nogil:
    """How a failure ends a try."""
    if stale:
        return TRY_GIVEN_UP                              # says nothing of the peer
    if exchange.response_head_done:
        return TRY_CUT_OFF
    if failure == FAILURE_CONNECT:
        return TRY_CONNECT_FAILED
    return TRY_TIMED_OUT if failure == FAILURE_TIMEOUT else TRY_BROKEN


cdef void upstream_failed(Exchange* exchange, UpstreamFailure failure) noexcept nogil:
    """A try has failed. Another connection is tried when the request may be sent again, else the client is told; a
    response that has begun is cut off, so that the client sees that it is incomplete."""
    cdef Worker* worker = exchange.worker
    cdef bint stale = exchange.upstream.reused and failure == FAILURE_CLOSED and not exchange.response_head_done \
        and (exchange.upstream.input == NULL or buffer_length(exchange.upstream.input) == 0)
    cdef bint sent = (exchange.flags & EXCHANGE_ANY_SENT) != 0
    worker.block.upstream_failures += 1
    if failure == FAILURE_TIMEOUT:
        worker.block.timeouts += 1
    if not stale:
        log_failure(exchange, failure)
    try_ended(exchange, outcome_of(exchange, failure, stale))
    if exchange.flags & EXCHANGE_RESPONSE_STARTED:
        abort_exchange(exchange)
        return
    drop_upstream(exchange)
    if exchange.response_head_done:                      # a step holds the response, or its head was not to be written
        discard_response(exchange)
    if exchange.cache != NULL:
        cache_abandon(exchange, False)
    forget_response_steps(exchange)
    if exchange.flags & EXCHANGE_REPLAYABLE and (not sent or is_idempotent(exchange)):
        if not stale:
            # a try on a kept-alive connection that the peer had closed already does not count (corrections.md, 4)
            exchange.tries += 1
            peer_failed(exchange)
        if exchange.tries <= exchange.service.retries and (stale or may_retry(exchange)):
            worker.block.upstream_retries += 1
            response_head_reset(&exchange.response)
            chunk_decoder_reset(&exchange.response_chunks)
            if connect_upstream(exchange):
                # from the loop, not from here: a chain of failures must not become a chain of calls
                loop_run_again(&worker.loop, &exchange.upstream.endpoint)
            return
    answer_failure(exchange, 504 if failure == FAILURE_TIMEOUT else 502, NULL, ANSWER_SERVER)


# --- phase: send the request -----------------------------------------------------------------------------------------
cdef bint request_goes_on(Exchange* exchange, int progress) noexcept nogil:
    """Beside a response that has begun, the request only adds to the time the upstream has. False: enough for now."""
    if progress == SEND_FAILED:
        stop_request(exchange)                           # the response goes on
        return False
    if exchange.upstream.endpoint.timer.deadline:
        timer_set(&exchange.worker.loop, &exchange.upstream.endpoint.timer,
                  exchange.worker.loop.now_ms + exchange.service.read_timeout_ms)
    return progress == SEND_HUNGRY and exchange.client.endpoint.readable


cdef int advance_request(Exchange* exchange) noexcept nogil:
    """Receive from the client and send to the upstream as far as both allow. ALIVE: same connection, go on."""
    cdef Worker* worker = exchange.worker
    cdef Upstream* upstream = exchange.upstream
    cdef int progress
    cdef int turn = 0
    while True:
        if turn == RELAY_BUDGET:
            loop_run_again(&worker.loop, &upstream.endpoint)
            return ALIVE
        turn += 1
        if not exchange.flags & EXCHANGE_BODY_COMPLETE:
            progress = receive_body(exchange)
            if not collect_body(exchange, progress):
                return GONE
        if upstream == NULL or upstream.state != UPSTREAM_ACTIVE or exchange.flags & EXCHANGE_REQUEST_SENT:
            return ALIVE
        progress = send_request(exchange)
        if exchange.flags & EXCHANGE_RESPONSE_STARTED:
            if not request_goes_on(exchange, progress):
                return ALIVE
            continue
        if progress == SEND_FAILED:
            # the peer may have answered before it closed: its response is worth more than the error
            upstream.endpoint.readable = 1
            upstream.endpoint.failed = 1
            exchange.flags |= EXCHANGE_REQUEST_SENT
            loop_run_again(&worker.loop, &upstream.endpoint)
            return ALIVE
        if progress == SEND_FINISHED:
            timer_set(&worker.loop, &upstream.endpoint.timer, worker.loop.now_ms + exchange.service.read_timeout_ms)
            return ALIVE
        if progress == SEND_BLOCKED:
            timer_set(&worker.loop, &upstream.endpoint.timer, worker.loop.now_ms + exchange.service.write_timeout_ms)
            return ALIVE
        # SEND_HUNGRY: it is the client's turn, under its own limit
        timer_clear(&upstream.endpoint.timer)
        if not exchange.client.endpoint.readable:
            return ALIVE
