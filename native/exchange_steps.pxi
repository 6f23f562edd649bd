# Where plugins run: before routing, before the upstream, and when an answer is known; included by exchange.pyx.


# --- phase: rewrite --------------------------------------------------------------------------------------------------
cdef void begin_rewrite(Exchange* exchange) noexcept nogil:
    """Global plugins that have something to do before routing."""
    cdef const PlanRecord* plan = snapshot_plan(
        exchange.configuration.base, exchange.configuration.base.global_plan_offset)
    if plan == NULL or not plan.rewrites:
        route_exchange(exchange)
        return
    begin_plan(exchange, True)
    exchange.step_phase = STEPS_REWRITE
    continue_rewrite(exchange)


cdef void continue_rewrite(Exchange* exchange) noexcept nogil:
    cdef int result = run_rewrite(exchange)
    if result == STEP_CONTINUE:
        exchange.plan = NULL
        route_exchange(exchange)
    elif result == STEP_RESPOND:
        answer_step(exchange)
    elif result != STEP_PARK:
        answer(exchange, 500, NULL, ANSWER_NEGOTIATED, NULL)


# --- phase: access ---------------------------------------------------------------------------------------------------
cdef void continue_access(Exchange* exchange) noexcept nogil:
    """Run the plugins' access functions from where they stopped."""
    cdef int result
    while True:
        result = run_access(exchange)
        if result == STEP_BODY and not request_body_complete(exchange):
            if collect_for_step(exchange):
                continue
            return
        break
    if result == STEP_CONTINUE:
        serve_exchange(exchange)
    elif result == STEP_RESPOND:
        answer_step(exchange)
    elif result != STEP_PARK:
        answer(exchange, 500, NULL, ANSWER_NEGOTIATED, NULL)


cdef bint collect_for_step(Exchange* exchange) noexcept nogil:
    """A step wants the whole body. True: it is longer than a step may see. False: it is on its way (collect_body goes
    on), or the exchange has ended."""
    if body_too_large(exchange):
        answer(exchange, 413, NULL, ANSWER_SERVER, NULL)
        return False
    if exchange.request.body_kind == BODY_LENGTH \
            and exchange.request.content_length > exchange.settings.plugin_body_limit:
        exchange.flags |= EXCHANGE_BODY_OVER
        return True
    exchange.flags |= EXCHANGE_WANTS_BODY
    collect_body(exchange, start_body(exchange))
    return False


# --- phase: response steps -------------------------------------------------------------------------------------------
cdef void begin_response_steps(Exchange* exchange) noexcept nogil:
    """The head of an answer is known, the upstream's or the gateway's own."""
    cdef Head head
    exchange.step = 0
    exchange.step_phase = STEPS_RESPONSE
    exchange.access_edits = exchange.response_edits.count
    if exchange.cache != NULL:
        cache_tell(exchange)
    if exchange.response_edits.count:
        head = response_head(exchange)
        apply_replacements(&head)


cdef void forget_response_steps(Exchange* exchange) noexcept nogil:
    """Another try: what the steps did to the response of this one is void."""
    if exchange.plan == NULL or exchange.step_phase != STEPS_RESPONSE:
        return
    exchange.response_edits.count = exchange.access_edits
    exchange.step_phase = STEPS_ACCESS
    buffer_give(&exchange.worker.buffers, exchange.held)
    buffer_give(&exchange.worker.buffers, exchange.held_head)
    exchange.held = NULL
    exchange.held_head = NULL
    exchange.flags &= ~<uint32_t> (EXCHANGE_HOLDS_RESPONSE | EXCHANGE_RESPONSE_OVER)


cdef int continue_response(Exchange* exchange) noexcept nogil:
    """Run the plugins' response functions from where they stopped; then the answer goes out. ALIVE: relay the rest."""
    cdef int result
    while True:
        result = run_response(exchange)
        if result == STEP_CONTINUE:
            if exchange.flags & EXCHANGE_LOCAL:
                send_answer(exchange)
                return GONE
            return write_response(exchange)
        if result == STEP_PARK:
            if exchange.upstream != NULL:
                timer_clear(&exchange.upstream.endpoint.timer)
            return GONE
        if result == STEP_BODY and not response_body_complete(exchange):
            if not hold_for_step(exchange):
                return GONE
        else:
            replace_response(exchange, result)


cdef void replace_response(Exchange* exchange, int result) noexcept nogil:
    """A step answers in place of the response at hand, or has failed. The steps after it see the new one."""
    if exchange.upstream != NULL:
        drop_upstream(exchange)
    buffer_give(&exchange.worker.buffers, exchange.held_head)
    exchange.held_head = NULL
    exchange.relay_length = 0
    exchange.flags &= ~<uint32_t> (EXCHANGE_CHUNK_RESPONSE | EXCHANGE_RESPONSE_OVER)
    settle_connection(exchange)
    if result == STEP_RESPOND:
        build_step_answer(exchange)
    else:
        build_answer(exchange, 500, NULL, ANSWER_NEGOTIATED, NULL)
    exchange.step += 1


cdef bint hold_for_step(Exchange* exchange) noexcept nogil:
    """A step wants the whole response body. True: it is there, or longer than a step may see. False: it is on its way,
    or the exchange has ended."""
    if exchange.response.status == 101 or (exchange.response_body == BODY_LENGTH
                                           and exchange.response_left > exchange.settings.plugin_body_limit):
        exchange.flags |= EXCHANGE_RESPONSE_OVER
        return True
    if not begin_hold(exchange):
        replace_response(exchange, STEP_CONTINUE)
        return True
    return advance_hold(exchange)


cdef bint advance_hold(Exchange* exchange) noexcept nogil:
    """Collect more of the body that a step waits for. See hold_for_step()."""
    cdef int result = hold_response(exchange)
    if result == RESPONSE_WAITING:
        await_upstream(exchange)
        return False
    if result == RESPONSE_DATA:
        exchange.flags &= ~<uint32_t> EXCHANGE_HOLDS_RESPONSE
        return True
    upstream_failed(exchange, FAILURE_CLOSED if result == RESPONSE_CLOSED else FAILURE_MALFORMED)
    return False


cdef void resume_exchange(Exchange* exchange) noexcept nogil:
    """The plugin thread has done what the exchange waits for, or its time is over."""
    if exchange.step_phase == STEPS_REWRITE:
        continue_rewrite(exchange)
    elif exchange.step_phase == STEPS_ACCESS:
        continue_access(exchange)
    elif continue_response(exchange):
        advance_response(exchange)
