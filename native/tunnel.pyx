from libc.errno cimport EAGAIN
from libc.stdint cimport int64_t, uint32_t, uint64_t

from native.completion cimport abort_exchange
from native.connection cimport (
    CLIENT_TUNNEL,
    EXCHANGE_BODY_COMPLETE,
    EXCHANGE_REQUEST_SENT,
    EXCHANGE_RESPONSE_COMPLETE,
    RELAY_BUDGET,
    Downstream,
    Upstream,
    Worker,
)
from native.downstream cimport set_client_state
from native.loop cimport Endpoint, Timer, loop_run_again, timer_set
from native.memory cimport LARGE_BUFFER, Buffer, buffer_give, buffer_length, buffer_room, buffer_take
from native.response_head cimport reserve_out
from native.stream cimport stream_end_sending, stream_receive, stream_send
from native.text cimport put

cdef enum:
    PUMP_BLOCKED = 0             # nothing to read, or the other side takes nothing
    PUMP_ENDED = 1               # end of stream passed on
    PUMP_BUSY = 2                # budget used up
    PUMP_FAILED = -1             # the source is gone
    PUMP_UNWANTED = -2           # the target takes no more


cdef void touch(Exchange* exchange) noexcept nogil:
    """Something moved: the idle limit starts anew."""
    timer_set(&exchange.worker.loop, &exchange.upstream.endpoint.timer,
              exchange.worker.loop.now_ms + exchange.service.read_timeout_ms)


cdef int flush(Buffer* buffer, Endpoint* target, uint64_t* moved) noexcept nogil:
    cdef int64_t count
    if buffer == NULL:
        return PUMP_ENDED
    while buffer_length(buffer) > 0:
        if not target.writable:
            return PUMP_BLOCKED
        count = stream_send(target, &buffer.data[0] + buffer.start, buffer_length(buffer))
        if count == -EAGAIN:
            return PUMP_BLOCKED
        if count < 0:
            return PUMP_UNWANTED
        buffer.start += <uint32_t> count
        moved[0] += <uint64_t> count
    buffer.start = 0
    buffer.end = 0
    return PUMP_ENDED


cdef int pump(Worker* worker, Endpoint* source, Endpoint* target, Buffer** place, uint64_t* moved) noexcept nogil:
    """Move bytes from source to target until one of them blocks. The buffer is held only while bytes wait in it."""
    cdef int result = move(worker, source, target, place, moved)
    if place[0] != NULL and buffer_length(place[0]) == 0:
        buffer_give(&worker.buffers, place[0])
        place[0] = NULL
    return result


cdef int move(Worker* worker, Endpoint* source, Endpoint* target, Buffer** place, uint64_t* moved) noexcept nogil:
    cdef int64_t count
    cdef int _turn, result
    cdef Buffer* buffer
    for _turn in range(RELAY_BUDGET):
        result = flush(place[0], target, moved)
        if result != PUMP_ENDED:
            return result
        if not source.readable:
            return PUMP_BLOCKED
        if place[0] == NULL:
            place[0] = buffer_take(&worker.buffers, LARGE_BUFFER)
            if place[0] == NULL:
                return PUMP_FAILED
        buffer = place[0]
        count = stream_receive(source, &buffer.data[0], buffer_room(buffer))
        if count == -EAGAIN:
            return PUMP_BLOCKED
        if count < 0:
            return PUMP_FAILED
        if count == 0:
            source.readable = 0
            stream_end_sending(target)
            return PUMP_ENDED
        buffer.end = <uint32_t> count
    return PUMP_BUSY


cdef void run_tunnel(Exchange* exchange) noexcept nogil:
    cdef Endpoint* client = &exchange.client.endpoint
    cdef Endpoint* upstream = &exchange.upstream.endpoint
    cdef uint64_t to_client = 0
    cdef uint64_t to_upstream = 0
    cdef int down = PUMP_ENDED
    cdef int up = PUMP_ENDED
    if not exchange.flags & EXCHANGE_RESPONSE_COMPLETE:
        down = pump(exchange.worker, upstream, client, &exchange.out, &to_client)
    if not exchange.flags & EXCHANGE_REQUEST_SENT:
        up = pump(exchange.worker, client, upstream, &exchange.to_upstream, &to_upstream)
    exchange.response_bytes += to_client
    exchange.body_sent += to_client
    exchange.request_bytes += to_upstream
    if to_client or to_upstream:
        touch(exchange)
    # a side that takes no more may still have sent something before: the other direction goes on to its end
    if down == PUMP_ENDED or down == PUMP_UNWANTED:
        exchange.flags |= EXCHANGE_RESPONSE_COMPLETE
        down = PUMP_ENDED
    if up == PUMP_ENDED or up == PUMP_UNWANTED:
        exchange.flags |= EXCHANGE_REQUEST_SENT
        up = PUMP_ENDED
    # a failed side is read to its end first, as far as the other side takes it
    if down == PUMP_FAILED or up == PUMP_FAILED or (down == PUMP_ENDED and (up == PUMP_ENDED or upstream.failed)) \
            or (up == PUMP_ENDED and client.failed):
        abort_exchange(exchange)
        return
    if down == PUMP_BUSY or up == PUMP_BUSY:
        loop_run_again(&exchange.worker.loop, client)


cdef void on_client_ready(Endpoint* endpoint) noexcept nogil:
    run_tunnel((<Downstream*> endpoint).exchange)


cdef void on_upstream_ready(Endpoint* endpoint) noexcept nogil:
    run_tunnel((<Upstream*> endpoint).exchange)


cdef void on_idle(Timer* timer) noexcept nogil:
    cdef Upstream* upstream = <Upstream*> timer.owner
    abort_exchange(upstream.exchange)


cdef void begin_tunnel(Exchange* exchange) noexcept nogil:
    cdef Worker* worker = exchange.worker
    cdef Downstream* client = exchange.client
    cdef Upstream* upstream = exchange.upstream
    cdef Buffer* input = upstream.input
    cdef uint32_t early = buffer_length(client.input) - exchange.input_used
    cdef uint32_t followed = buffer_length(input) - exchange.response.parsed
    # what came along with the heads goes first
    if not reserve_out(exchange, followed):
        abort_exchange(exchange)
        return
    put(exchange.out, &input.data[0] + input.start + exchange.response.parsed, followed)
    buffer_give(&worker.buffers, input)
    upstream.input = NULL
    if early:
        exchange.to_upstream = buffer_take(&worker.buffers, early)
        if exchange.to_upstream == NULL:
            abort_exchange(exchange)
            return
        put(exchange.to_upstream, &client.input.data[0] + client.input.start + exchange.input_used, early)
        client.input.end -= early
    exchange.flags &= ~<uint32_t> (EXCHANGE_RESPONSE_COMPLETE | EXCHANGE_REQUEST_SENT)
    exchange.flags |= EXCHANGE_BODY_COMPLETE
    set_client_state(client, CLIENT_TUNNEL)
    client.endpoint.on_ready = on_client_ready
    client.endpoint.timer.deadline = 0
    upstream.endpoint.on_ready = on_upstream_ready
    upstream.endpoint.timer.on_expire = on_idle
    touch(exchange)
    run_tunnel(exchange)
