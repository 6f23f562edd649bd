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
from native.balancer cimport (
    TRY_BROKEN,
    TRY_CONNECT_FAILED,
    TRY_CUT_OFF,
    TRY_GIVEN_UP,
    TRY_TIMED_OUT,
    TryOutcome,
    choose_peer,
    first_try_begins,
    may_retry,
    peer_failed,
    try_answered,
    try_begins,
    try_ended,
)
from native.caching cimport cache_abandon, cache_complete, cache_failed, cache_received, cache_tell
from native.circuit_breaker cimport circuit_refuses, circuit_tell_refusal, circuit_tries_failed
from native.client_address cimport find_client_address
from native.completion cimport abort_exchange, complete_exchange, release_upstream
from native.connection cimport *
from native.fields cimport Head, apply_replacements
from native.flights cimport flight_expired
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
from native.memory cimport Buffer, buffer_give, buffer_length
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


include "exchange_answers.pxi"
include "exchange_steps.pxi"
include "exchange_upstream.pxi"
include "exchange_response.pxi"


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
        if exchange.flight:
            flight_expired(exchange)
        else:
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
