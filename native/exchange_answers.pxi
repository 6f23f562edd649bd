# The gateway's own answers; included by exchange.pyx.


cdef void settle_connection(Exchange* exchange) noexcept nogil:
    """Before an own answer: skip a request body that has arrived already, else close after the answer."""
    cdef uint64_t available
    if exchange.flags & EXCHANGE_BODY_COMPLETE:
        return
    if exchange.request.body_kind == BODY_LENGTH and exchange.body == NULL and exchange.body_received == 0:
        available = buffer_length(exchange.client.input) - exchange.request.parsed
        if available >= exchange.request.content_length:
            exchange.input_used = exchange.request.parsed + <uint32_t> exchange.request.content_length
            exchange.flags |= EXCHANGE_BODY_COMPLETE
            return
    exchange.flags |= EXCHANGE_CLOSE_CLIENT | EXCHANGE_LINGER


cdef void send_answer(Exchange* exchange) noexcept nogil:
    """Write what was prepared, and see it off."""
    put_answer(exchange)
    if exchange.out == NULL:                             # memory is out
        abort_exchange(exchange)
        return
    exchange.flags |= EXCHANGE_RESPONSE_STARTED | EXCHANGE_RESPONSE_COMPLETE
    exchange.client.endpoint.on_ready = on_client_ready
    exchange.client.endpoint.timer.on_expire = on_client_timeout
    timer_clear(&exchange.client.endpoint.timer)
    advance_response(exchange)


cdef void answer(Exchange* exchange, uint16_t status, const char* message, AnswerStyle style,
                 const char* extra) noexcept nogil:
    """Respond from here, without the upstream. Ends the exchange once the client has taken it."""
    if exchange.worker.phase == PHASE_DRAINING:
        exchange.flags |= EXCHANGE_CLOSE_CLIENT
    settle_connection(exchange)
    build_answer(exchange, status, message, style, extra)
    finish_answer(exchange)


cdef void finish_answer(Exchange* exchange) noexcept nogil:
    """Let the plugins' response functions see the prepared answer, then send it."""
    if exchange.plan == NULL or exchange.answer_head == NULL or exchange.flags & EXCHANGE_BACKGROUND:
        send_answer(exchange)
        return
    begin_response_steps(exchange)
    continue_response(exchange)


cdef void answer_step(Exchange* exchange) noexcept nogil:
    """Respond with what a step has asked for."""
    if exchange.worker.phase == PHASE_DRAINING:
        exchange.flags |= EXCHANGE_CLOSE_CLIENT
    settle_connection(exchange)
    build_step_answer(exchange)
    finish_answer(exchange)


cdef void refuse_exchange(Exchange* exchange, uint16_t status) noexcept nogil:
    exchange.flags |= EXCHANGE_CLOSE_CLIENT | EXCHANGE_LINGER
    exchange.input_used = 0
    if exchange.request.method == METHOD_CONNECT:
        status = 400                                     # as Kong answers what it is no proxy for
    log_error(exchange.worker, LOG_INFO, exchange, b"client sent a request that is refused", NULL, 0)
    build_answer(exchange, status, NULL, ANSWER_SERVER, NULL)
    send_answer(exchange)
