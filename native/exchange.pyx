from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from native.answers cimport (
    ANSWER_NEGOTIATED,
    ANSWER_SERVER,
    AnswerStyle,
    build_answer,
    build_https_redirect,
    build_step_answer,
    put_answer,
)
from native.balancer cimport choose_peer, peer_failed
from native.client_address cimport find_client_address
from native.completion cimport abort_exchange, complete_exchange
from native.connection cimport *
from native.fields cimport Head, apply_replacements
from native.headers cimport HEADER_UPGRADE, HeaderField
from native.http1 cimport (
    BODY_CHUNKED,
    BODY_LENGTH,
    BODY_NONE,
    BODY_UNTIL_CLOSE,
    METHOD_CONNECT,
    METHOD_LOCK,
    METHOD_PATCH,
    METHOD_POST,
    METHOD_TRACE,
    response_head_reset,
    chunk_decoder_reset,
)
from native.log cimport LOG_ERROR, LOG_INFO, log_error
from native.jobs cimport job_expired
from native.loop cimport Endpoint, Timer, loop_run_again, timer_clear, timer_set
from native.memory cimport buffer_give, buffer_length
from native.plan cimport (
    STEP_BODY,
    STEP_CONTINUE,
    STEP_PARK,
    STEP_RESPOND,
    begin_plan,
    request_body_complete,
    response_body_complete,
    response_head,
    run_access,
    run_response,
    run_rewrite,
)
from native.pool cimport pool_connect, pool_take, upstream_close
from native.request_flow cimport *
from native.request_head cimport build_request_head
from native.response_flow cimport *
from native.response_head cimport build_interim_head, build_response_head, reserve_out
from native.routing cimport find_route, find_scheme, is_grpc_request, normalize_request_path
from native.snapshot cimport (
    PEERS_NO_TARGETS,
    PEERS_READY,
    PEERS_RESOLVE_ERROR,
    PROTOCOL_HTTP,
    PROTOCOL_HTTPS,
    ROUTE_REQUEST_BUFFERING,
    PlanRecord,
    snapshot_peer_set,
    snapshot_plan,
    snapshot_text,
)
from native.sockets cimport close_with_reset, socket_error, unsent_bytes
from native.stream cimport stream_end_sending, stream_is_quiet
from native.text cimport is_text, put_text
from native.tunnel cimport begin_tunnel

# Functions that may end the exchange, or move it to another connection, answer whether the caller may go on with it.
cdef enum:
    GONE = 0
    ALIVE = 1

cpdef enum UpstreamFailure:
    FAILURE_CONNECT = 0          # refused, unreachable: 502
    FAILURE_CLOSED = 1           # reset or closed before the response was complete: 502
    FAILURE_MALFORMED = 2        # not HTTP/1.x: 502
    FAILURE_TIMEOUT = 3          # connecting, sending or waiting took too long: 504


# --- answers of the gateway ------------------------------------------------------------------------------------------
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
    if exchange.plan == NULL or exchange.answer_head == NULL:
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


# --- phase: route ----------------------------------------------------------------------------------------------------
cdef bint protocol_allowed(Exchange* exchange) noexcept nogil:
    """Answer here when the route does not serve the request's protocol (proxying.md §1). True: go on."""
    cdef uint8_t protocols = exchange.route.protocols
    if not protocols & (PROTOCOL_HTTP | PROTOCOL_HTTPS):
        if is_grpc_request(exchange):
            answer(exchange, 426, b"Please use HTTP2 protocol", ANSWER_NEGOTIATED,
                   b"Connection: Upgrade\r\nUpgrade: HTTP/2\r\n")
        else:
            answer(exchange, 415, b"Non-gRPC request matched gRPC route", ANSWER_NEGOTIATED, NULL)
        return False
    if protocols & PROTOCOL_HTTP or exchange.https:
        return True
    if exchange.route.https_redirect_status == 426:
        answer(exchange, 426, b"Please use HTTPS protocol", ANSWER_NEGOTIATED,
               b"Connection: Upgrade\r\nUpgrade: TLS/1.2, HTTP/1.1\r\n")
        return False
    settle_connection(exchange)
    build_https_redirect(exchange, exchange.route.https_redirect_status)
    finish_answer(exchange)
    return False


cdef void begin_exchange(Exchange* exchange) noexcept nogil:
    cdef Downstream* client = exchange.client
    cdef Worker* worker = exchange.worker
    client.endpoint.on_ready = on_client_ready
    client.endpoint.timer.on_expire = on_client_timeout
    timer_clear(&client.endpoint.timer)
    exchange.input_used = exchange.request.parsed
    exchange.request_bytes = exchange.request.parsed
    if exchange.request.body_kind == BODY_NONE:
        exchange.flags |= EXCHANGE_BODY_COMPLETE
    if not exchange.request.keep_alive or worker.phase == PHASE_DRAINING \
            or exchange.settings.keepalive_timeout_ms == 0 \
            or (exchange.settings.keepalive_requests and client.requests + 1 >= exchange.settings.keepalive_requests):
        exchange.flags |= EXCHANGE_CLOSE_CLIENT
    exchange.sent_method = exchange.request.method
    find_client_address(exchange)
    begin_rewrite(exchange)


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


# --- phase: route ----------------------------------------------------------------------------------------------------


cdef void route_exchange(Exchange* exchange) noexcept nogil:
    """Find the route, or answer why there is none to take."""
    if exchange.request.method == METHOD_TRACE:
        # it would show the client the headers that the gateway adds
        answer(exchange, 405, NULL, ANSWER_SERVER, NULL)
        return
    if not normalize_request_path(exchange):
        exchange.flags |= EXCHANGE_CLOSE_CLIENT
        answer(exchange, 400, NULL, ANSWER_SERVER, NULL)
        return
    find_scheme(exchange)
    if not find_route(exchange):
        begin_plan(exchange, True)                       # the responses of global plugins are for everything
        answer(exchange, 404, b"no Route matched with those values", ANSWER_NEGOTIATED, NULL)
        return
    if not protocol_allowed(exchange):
        return
    if begin_plan(exchange, False):
        continue_access(exchange)
    else:
        serve_exchange(exchange)


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


cdef void serve_exchange(Exchange* exchange) noexcept nogil:
    """The way to the upstream is free: take the body and go there."""
    if exchange.service == NULL:
        answer(exchange, 503, b"no Service found with those values", ANSWER_NEGOTIATED, NULL)
        return
    if exchange.service.protocol != PROTOCOL_HTTP:
        # never send in clear text what was configured to be encrypted
        log_error(exchange.worker, LOG_ERROR, exchange, b"the service's protocol is not available in this version",
                  snapshot_text(exchange.configuration.base, exchange.service.host), exchange.service.host.length)
        answer(exchange, 503, b"the protocol of this Service is not available", ANSWER_NEGOTIATED, NULL)
        return
    if body_too_large(exchange):
        answer(exchange, 413, NULL, ANSWER_SERVER, NULL)
        return
    if exchange.flags & EXCHANGE_BODY_COMPLETE:
        start_upstream(exchange)
    elif exchange.body != NULL:                          # a step has looked at the beginning of it
        start_upstream(exchange)
    else:
        collect_body(exchange, start_body(exchange))


# --- phase: request body ---------------------------------------------------------------------------------------------
cdef bint body_too_large(Exchange* exchange) noexcept nogil:
    return exchange.settings.client_max_body_size != 0 and exchange.request.body_kind == BODY_LENGTH \
        and exchange.request.content_length > exchange.settings.client_max_body_size


cdef bint body_may_wait(Exchange* exchange) noexcept nogil:
    """Small bodies are received whole before the upstream is involved: a slow client does not hold a peer's
    connection, and a retry can send them again. Larger ones, and routes with request_buffering off, stream."""
    cdef uint64_t held = exchange.settings.client_body_buffer_size
    if not exchange.route.flags & ROUTE_REQUEST_BUFFERING:
        return False
    if exchange.request.body_kind == BODY_LENGTH:
        return exchange.request.content_length <= held
    return exchange.body_received <= held


cdef void send_continue(Exchange* exchange) noexcept nogil:
    """100 Continue, once the gateway wants the body (RFC 9110 §10.1.1)."""
    if not exchange.request.expect_continue or exchange.request.minor_version == 0 \
            or exchange.flags & EXCHANGE_CONTINUE_SENT or exchange.body_received > 0:
        return
    exchange.flags |= EXCHANGE_CONTINUE_SENT
    if reserve_out(exchange, 64):
        put_text(exchange.out, b"HTTP/1.1 100 Continue\r\n\r\n")
        flush_client(exchange)


cdef void stop_request(Exchange* exchange) noexcept nogil:
    """Send no more of the request, although it is not complete."""
    exchange.flags |= EXCHANGE_REQUEST_SENT
    exchange.response.keep_alive = 0


cdef void refuse_body(Exchange* exchange, uint16_t status) noexcept nogil:
    """The body is broken, too large or too slow. Kong reads it when the balancer has run already and answers so."""
    if exchange.upstream != NULL:
        drop_upstream(exchange)
    exchange.flags |= EXCHANGE_CLOSE_CLIENT | EXCHANGE_LINGER
    if exchange.body_received > exchange.body_limit:     # a step's limit, and its answer
        answer(exchange, status, exchange.body_limit_text, ANSWER_NEGOTIATED, NULL)
        return
    exchange.flags |= EXCHANGE_BALANCED
    if exchange.balanced_ms == 0:
        exchange.balanced_ms = exchange.worker.loop.now_ms
    answer(exchange, status, NULL, ANSWER_SERVER, NULL)


cdef int collect_body(Exchange* exchange, int progress) noexcept nogil:
    """Follow up what start_body or receive_body said. ALIVE: the exchange goes on with its current connection."""
    if progress < 0:
        if progress == BODY_CLIENT_GONE and exchange.flags & EXCHANGE_RESPONSE_STARTED:
            # it may have stopped because of this response, and wait for its end
            stop_request(exchange)
            if exchange.response_body != BODY_UNTIL_CLOSE:       # both ways ended would look like a reset
                stream_end_sending(&exchange.upstream.endpoint)
            return ALIVE
        if progress == BODY_CLIENT_GONE or exchange.flags & EXCHANGE_RESPONSE_STARTED:
            abort_exchange(exchange)
            return GONE
        refuse_body(exchange, <uint16_t> -progress)
        return GONE
    if not exchange.flags & EXCHANGE_RESPONSE_STARTED:   # else the timer belongs to the response
        if progress == BODY_WAITING:
            send_continue(exchange)
            timer_set(&exchange.worker.loop, &exchange.client.endpoint.timer,
                      exchange.worker.loop.now_ms + exchange.settings.client_body_timeout_ms)
        else:
            timer_clear(&exchange.client.endpoint.timer)
    if exchange.flags & EXCHANGE_WANTS_BODY:
        if progress == BODY_WAITING:
            return ALIVE
        exchange.flags &= ~<uint32_t> EXCHANGE_WANTS_BODY
        if progress == BODY_FULL:
            exchange.flags |= EXCHANGE_BODY_OVER
        continue_access(exchange)
        return GONE
    if exchange.upstream == NULL:
        if progress == BODY_FINISHED or progress == BODY_FULL or not body_may_wait(exchange):
            start_upstream(exchange)
            return GONE
    return ALIVE


# --- phase: balance and connect --------------------------------------------------------------------------------------
cdef void drop_upstream(Exchange* exchange) noexcept nogil:
    upstream_close(exchange.worker, exchange.upstream)
    exchange.upstream = NULL
    exchange.worker.block.upstream_active -= 1


cdef bint find_peer_set(Exchange* exchange) noexcept nogil:
    """Answer here when the service's host leads nowhere (proxying.md §4). True: there are peers."""
    exchange.peer_set = snapshot_peer_set(
        exchange.peers.base, exchange.peer_key_override or exchange.service.peer_key)
    if exchange.peer_set != NULL and exchange.peer_set.state == PEERS_READY:
        return True
    if exchange.peer_set != NULL and exchange.peer_set.state == PEERS_NO_TARGETS:
        answer(exchange, 503, b"failure to get a peer from the ring-balancer", ANSWER_NEGOTIATED, NULL)
    elif exchange.peer_set != NULL and exchange.peer_set.state == PEERS_RESOLVE_ERROR:
        log_error(exchange.worker, LOG_ERROR, exchange, b"name resolution failed",
                  snapshot_text(exchange.configuration.base, exchange.service.host), exchange.service.host.length)
        answer(exchange, 500, NULL, ANSWER_NEGOTIATED, NULL)
    else:
        log_error(exchange.worker, LOG_ERROR, exchange, b"name resolution failed",
                  snapshot_text(exchange.configuration.base, exchange.service.host), exchange.service.host.length)
        answer(exchange, 503, b"name resolution failed", ANSWER_NEGOTIATED, NULL)
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


cdef int connect_upstream(Exchange* exchange) noexcept nogil:
    """Try peers until a connection stands or is under way. The exchange is answered when all tries are used up."""
    cdef Worker* worker = exchange.worker
    cdef Upstream* upstream
    cdef int refused
    while True:
        exchange.peer = choose_peer(exchange)
        if exchange.peer == NULL:
            answer(exchange, 503, b"failure to get a peer from the ring-balancer", ANSWER_NEGOTIATED, NULL)
            return GONE
        exchange.balanced_ms = worker.loop.now_ms
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
        upstream = connection_to_peer(exchange)
        if upstream == NULL:
            log_error(worker, LOG_ERROR, exchange, b"no descriptor or memory for a connection to the upstream", NULL, 0)
            answer(exchange, 503, NULL, ANSWER_SERVER, NULL)
            return GONE
        if upstream.state != UPSTREAM_CLOSED:
            break
        log_failure(exchange, FAILURE_CONNECT)
        worker.block.upstream_failures += 1
        peer_failed(exchange)
        exchange.tries += 1
        if exchange.tries > exchange.service.retries:
            answer(exchange, 502, NULL, ANSWER_SERVER, NULL)
            return GONE
        worker.block.upstream_retries += 1
    adopt_upstream(exchange, upstream)
    if upstream.state == UPSTREAM_CONNECTING:
        timer_set(&worker.loop, &upstream.endpoint.timer, worker.loop.now_ms + exchange.service.connect_timeout_ms)
    return ALIVE


cdef void start_upstream(Exchange* exchange) noexcept nogil:
    if not find_peer_set(exchange):
        return
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
    if exchange.flags & EXCHANGE_RESPONSE_STARTED:
        abort_exchange(exchange)
        return
    drop_upstream(exchange)
    forget_response_steps(exchange)
    if exchange.flags & EXCHANGE_REPLAYABLE and (not sent or is_idempotent(exchange)):
        if not stale:
            # a try on a kept-alive connection that the peer had closed already does not count (corrections.md, 4)
            exchange.tries += 1
            peer_failed(exchange)
        if exchange.tries <= exchange.service.retries:
            worker.block.upstream_retries += 1
            response_head_reset(&exchange.response)
            chunk_decoder_reset(&exchange.response_chunks)
            if connect_upstream(exchange):
                # from the loop, not from here: a chain of failures must not become a chain of calls
                loop_run_again(&worker.loop, &exchange.upstream.endpoint)
            return
    answer(exchange, 504 if failure == FAILURE_TIMEOUT else 502, NULL, ANSWER_SERVER, NULL)


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


cdef int begin_response(Exchange* exchange) noexcept nogil:
    """The final head is there: decide on framing, let the plugins see it, and write the client's head."""
    if exchange.response.status == 101 and not upgrade_agreed(exchange):
        upstream_failed(exchange, FAILURE_MALFORMED)
        return GONE
    exchange.response_head_done = 1
    exchange.head_received_ms = exchange.worker.loop.now_ms
    if exchange.worker.phase == PHASE_DRAINING:
        exchange.flags |= EXCHANGE_CLOSE_CLIENT
    if exchange.response.status != 101:
        frame_response(exchange)
        if not exchange.flags & EXCHANGE_REQUEST_SENT or not exchange.flags & EXCHANGE_BODY_COMPLETE:
            # an early answer. Relaying goes on both ways, but the client may well stop here (RFC 9112 §9.5)
            exchange.flags |= EXCHANGE_CLOSE_CLIENT | EXCHANGE_LINGER
            timer_clear(&exchange.client.endpoint.timer)
    if exchange.plan == NULL:
        return write_response(exchange)
    begin_response_steps(exchange)
    return continue_response(exchange)


# --- phase: response steps -------------------------------------------------------------------------------------------
cdef void begin_response_steps(Exchange* exchange) noexcept nogil:
    """The head of an answer is known, the upstream's or the gateway's own."""
    cdef Head head
    exchange.step = 0
    exchange.step_phase = STEPS_RESPONSE
    exchange.access_edits = exchange.response_edits.count
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
    discard_response(exchange)
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


# --- phase: response head and body -----------------------------------------------------------------------------------
cdef int write_response(Exchange* exchange) noexcept nogil:
    cdef bint interim_pending = flush_pending(exchange)
    cdef int result
    if exchange.held_head != NULL:
        frame_held(exchange)
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
            discard_response(exchange)
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


# --- events ----------------------------------------------------------------------------------------------------------
cdef void on_client_ready(Endpoint* endpoint) noexcept nogil:
    cdef Exchange* exchange = (<Downstream*> endpoint).exchange
    if endpoint.failed:
        abort_exchange(exchange)
        return
    if exchange.flags & EXCHANGE_PARKED:
        return
    if not exchange.flags & (EXCHANGE_BODY_COMPLETE | EXCHANGE_REQUEST_SENT) and endpoint.readable \
            and (exchange.upstream != NULL or not exchange.flags & EXCHANGE_RESPONSE_STARTED):
        if not advance_request(exchange):
            return
    if flush_pending(exchange) and endpoint.writable:
        advance_response(exchange)


cdef void on_upstream_ready(Endpoint* endpoint) noexcept nogil:
    cdef Upstream* upstream = <Upstream*> endpoint
    cdef Exchange* exchange = upstream.exchange
    if upstream.state == UPSTREAM_CONNECTING:
        if not endpoint.writable and not endpoint.failed:
            return
        if socket_error(endpoint.fd) != 0:
            upstream_failed(exchange, FAILURE_CONNECT)
            return
        upstream.state = UPSTREAM_ACTIVE
    if exchange.flags & EXCHANGE_PARKED:
        return
    if not exchange.flags & EXCHANGE_REQUEST_SENT and endpoint.writable:
        if not advance_request(exchange):
            return
    if endpoint.readable:
        advance_response(exchange)


cdef void on_client_timeout(Timer* timer) noexcept nogil:
    cdef Exchange* exchange = (<Downstream*> timer.owner).exchange
    if exchange.flags & EXCHANGE_PARKED:
        job_expired(exchange)
        return
    if flush_pending(exchange) and unsent_bytes(exchange.client.endpoint.fd) < exchange.client_unsent:
        # slow but alive: the kernel reports room for more only when a third of its large buffer is free
        await_client(exchange)
        return
    exchange.worker.block.timeouts += 1
    if exchange.flags & EXCHANGE_RESPONSE_STARTED or exchange.flags & EXCHANGE_BODY_COMPLETE:
        # the client does not take its response: the kernel need not keep the rest for it
        close_with_reset(exchange.client.endpoint.fd)
        abort_exchange(exchange)
        return
    refuse_body(exchange, 408)


cdef void on_upstream_timeout(Timer* timer) noexcept nogil:
    upstream_failed((<Upstream*> timer.owner).exchange, FAILURE_TIMEOUT)
