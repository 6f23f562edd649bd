
from native.connection cimport (
    EXCHANGE_BACKGROUND,
    EXCHANGE_BODY_COMPLETE,
    EXCHANGE_CHUNK_RESPONSE,
    EXCHANGE_CLOSE_CLIENT,
    EXCHANGE_LINGER,
    EXCHANGE_REFRESH,
    EXCHANGE_RESPONSE_STARTED,
    Downstream,
    Upstream,
    Worker,
)
from native.background cimport end_background, refresh_in_background
from native.balancer cimport TRY_ANSWERED, TRY_GIVEN_UP, try_ended
from native.downstream cimport client_close
from native.exchange_record cimport exchange_free
from native.http1 cimport BODY_CHUNKED, BODY_UNTIL_CLOSE
from native.log cimport log_access
from native.metrics cimport count_exchange
from native.plan cimport run_log
from native.pool cimport pool_give, upstream_close
from native.response_flow cimport upstream_reusable
from native.sockets cimport close_with_reset

cdef enum:
    CLIENT_CLOSED_REQUEST = 499  # nginx's status for the log when the client went away first


cdef void release_upstream(Exchange* exchange) noexcept nogil:
    cdef Upstream* upstream = exchange.upstream
    if upstream == NULL:
        return
    exchange.worker.block.upstream_active -= 1
    try_ended(exchange, TRY_ANSWERED)
    if upstream_reusable(exchange):
        exchange.upstream = NULL
        pool_give(exchange.worker, upstream)
    else:
        exchange.upstream = NULL
        upstream_close(exchange.worker, upstream)


cdef void record(Exchange* exchange) noexcept nogil:
    if exchange.plan != NULL:
        run_log(exchange)                                # first: the prometheus step may count it by consumer
    count_exchange(exchange)
    if exchange.settings.access_log:
        log_access(exchange)


cdef void complete_exchange(Exchange* exchange) noexcept nogil:
    cdef Worker* worker = exchange.worker
    cdef Downstream* client = exchange.client
    release_upstream(exchange)
    if exchange.flags & EXCHANGE_BACKGROUND:
        end_background(exchange)
        return
    record(exchange)
    if exchange.flags & EXCHANGE_REFRESH:
        refresh_in_background(exchange)
    if not exchange.flags & EXCHANGE_BODY_COMPLETE:
        # what is left of the request body would be read as the next request
        exchange.flags |= EXCHANGE_CLOSE_CLIENT | EXCHANGE_LINGER
    worker.exchange_finished(client)


cdef bint ends_by_close(Exchange* exchange) noexcept nogil:
    """Whether only the end of the connection tells the client where the response ends."""
    return exchange.flags & EXCHANGE_RESPONSE_STARTED and not exchange.flags & EXCHANGE_CHUNK_RESPONSE \
        and (exchange.response_body == BODY_CHUNKED or exchange.response_body == BODY_UNTIL_CLOSE)


cdef void abort_exchange(Exchange* exchange) noexcept nogil:
    cdef Downstream* client = exchange.client
    if exchange.upstream != NULL:
        exchange.worker.block.upstream_active -= 1
        try_ended(exchange, TRY_GIVEN_UP)
        upstream_close(exchange.worker, exchange.upstream)
        exchange.upstream = NULL
    if exchange.flags & EXCHANGE_BACKGROUND:
        end_background(exchange)
        return
    if exchange.status == 0:
        exchange.status = CLIENT_CLOSED_REQUEST
    if ends_by_close(exchange):
        close_with_reset(client.endpoint.fd)
    record(exchange)
    exchange_free(exchange)
    client.exchange = NULL
    client_close(client)
