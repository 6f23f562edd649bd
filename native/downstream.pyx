from libc.errno cimport EAGAIN, EMFILE, ENFILE, ENOBUFS, ENOMEM
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memmove, memset
from posix.unistd cimport close, dup

from native.client_address cimport format_peer
from native.connection cimport (
    CLIENT_CLOSED,
    CLIENT_EXCHANGE,
    CLIENT_HEAD,
    CLIENT_IDLE,
    CLIENT_LINGER,
    EXCHANGE_CLOSE_CLIENT,
    EXCHANGE_LINGER,
    PHASE_SERVING,
    Exchange,
    Listener,
    settings_of,
)
from native.exchange_record cimport exchange_new, exchange_free
from native.http1 cimport HEAD_COMPLETE, HEAD_INCOMPLETE, HeadLimits, parse_request_head
from native.loop cimport (
    Endpoint,
    Timer,
    loop_add,
    loop_add_listener,
    loop_forget,
    loop_remove,
    loop_run_again,
    timer_remove,
    timer_set,
)
from native.memory cimport (
    SMALL_BUFFER,
    Buffer,
    buffer_give,
    buffer_length,
    buffer_room,
    buffer_take,
    slab_give,
    slab_take,
)
from native.snapshot cimport LiveSettings
from native.sockets cimport accept_from
from native.stream cimport stream_end_sending, stream_receive

cdef enum:
    ACCEPTS_PER_ROUND = 64
    ACCEPT_RETRY_MS = 100        # pause after descriptors ran out
    CLOSED_AT_ONCE = 64          # idle connections closed for want of room, per ACCEPT_RETRY_MS
    LOOKED_AT = 1024
    IDLE_GRACE_MS = 2000         # a connection that was idle for less is not closed for others
    LINGER_BYTES = 67108864      # read at most so much from a client that is being closed: a reset takes its answer away


# --- accepting -------------------------------------------------------------------------------------------------------
cdef void start_accepting(Worker* worker) noexcept nogil:
    cdef uint32_t i
    for i in range(worker.listener_count):
        worker.listeners[i].endpoint.on_ready = on_listener_ready
        loop_add_listener(&worker.loop, &worker.listeners[i].endpoint, worker.listeners[i].shared)
    worker.accept_paused = 0


cdef void stop_accepting(Worker* worker) noexcept nogil:
    cdef uint32_t i
    for i in range(worker.listener_count):
        loop_remove(&worker.loop, &worker.listeners[i].endpoint)


cdef void close_listeners(Worker* worker) noexcept nogil:
    cdef Endpoint* endpoint
    cdef uint64_t before
    cdef uint32_t i
    for i in range(worker.listener_count):
        endpoint = &worker.listeners[i].endpoint
        while worker.phase == PHASE_SERVING:             # whoever waits by now is still served
            before = worker.block.connections_accepted
            on_listener_ready(endpoint)
            if worker.block.connections_accepted == before:
                break
        loop_remove(&worker.loop, endpoint)
        close(endpoint.fd)
        endpoint.fd = -1
    worker.listener_count = 0


cdef void pause_accepting(Worker* worker) noexcept nogil:
    """Connection slots or descriptors are out: clients wait in the backlog until some are free."""
    if worker.accept_paused:
        return
    worker.accept_paused = 1
    worker.block.accept_pauses += 1
    stop_accepting(worker)
    worker.accept_timer.on_expire = on_accept_timer
    worker.accept_timer.owner = worker
    timer_set(&worker.loop, &worker.accept_timer, worker.loop.now_ms + ACCEPT_RETRY_MS)


cdef bint has_room(Worker* worker) noexcept nogil:
    """Whether another client may be accepted: there are a connection slot and a descriptor for it."""
    cdef int next_free
    if worker.connection_count >= worker.connection_limit:
        return False
    next_free = dup(worker.wakeup.fd)
    if next_free < 0:
        return False
    close(next_free)
    return next_free < worker.descriptor_ceiling


cdef void on_accept_timer(Timer* timer) noexcept nogil:
    cdef Worker* worker = <Worker*> timer.owner
    if not worker.accept_paused or worker.phase != PHASE_SERVING:
        return
    if not has_room(worker):
        close_long_idle(worker)
        if not worker.accept_paused:                     # closing one began it again
            return
        timer_set(&worker.loop, timer, worker.loop.now_ms + ACCEPT_RETRY_MS)
        return
    start_accepting(worker)


cdef void on_listener_ready(Endpoint* endpoint) noexcept nogil:
    cdef Worker* worker = <Worker*> endpoint.owner
    cdef Listener* listener = <Listener*> endpoint
    cdef Downstream* client
    cdef uint8_t address[16]
    cdef uint8_t family = 0
    cdef uint16_t port = 0
    cdef int fd, _turn
    endpoint.readable = 0
    for _turn in range(ACCEPTS_PER_ROUND):
        if worker.phase != PHASE_SERVING or worker.accept_paused:
            return
        if worker.connection_count >= worker.connection_limit:
            pause_accepting(worker)
            return
        fd = accept_from(endpoint.fd, &family, address, &port)
        if fd == -EMFILE or fd == -ENFILE or fd == -ENOBUFS or fd == -ENOMEM:
            pause_accepting(worker)
            return
        if fd == -EAGAIN:
            return
        if fd < 0:                                       # the client gave up meanwhile
            continue
        client = <Downstream*> slab_take(&worker.downstreams)
        if client == NULL:
            close(fd)
            pause_accepting(worker)
            return
        open_client(worker, client, listener, fd, family, address, port)
        if fd >= worker.descriptor_ceiling:
            pause_accepting(worker)
            return


cdef void open_client(Worker* worker, Downstream* client, Listener* listener, int fd, uint8_t family,
                      const uint8_t* address, uint16_t port) noexcept nogil:
    memset(client, 0, sizeof(Downstream))
    client.endpoint.fd = fd
    client.endpoint.writable = 1
    client.endpoint.second = 1
    client.endpoint.owner = worker
    client.endpoint.on_ready = on_client_ready
    client.endpoint.timer.on_expire = on_client_timeout
    client.endpoint.timer.owner = client
    client.listener = listener
    client.family = family
    client.peer_port = port
    memcpy(client.address, address, 16)
    format_peer(client)
    client.idle_since_ms = worker.loop.now_ms
    link_client(worker, client)
    worker.connection_count += 1
    worker.block.connections_accepted += 1
    client.number = worker.block.connections_accepted
    worker.block.connections_handled += 1
    worker.block.connections_active = worker.connection_count
    worker.block.connections_waiting += 1                # CLIENT_IDLE
    if loop_add(&worker.loop, &client.endpoint) != 0:
        client_close(client)
        return
    timer_set(&worker.loop, &client.endpoint.timer,
              worker.loop.now_ms + settings_of(worker).client_header_timeout_ms)


cdef Downstream* open_without_socket(Worker* worker, const Downstream* client) noexcept nogil:
    cdef Downstream* silent = <Downstream*> slab_take(&worker.downstreams)
    if silent == NULL:
        return NULL
    memset(silent, 0, sizeof(Downstream))
    silent.endpoint.fd = -1
    silent.endpoint.owner = worker
    silent.endpoint.on_ready = on_client_ready
    silent.endpoint.timer.on_expire = on_client_timeout
    silent.endpoint.timer.owner = silent
    silent.listener = client.listener
    silent.family = client.family
    silent.peer_port = client.peer_port
    silent.peer_trusted = client.peer_trusted
    silent.peer_text_length = client.peer_text_length
    memcpy(silent.address, client.address, sizeof(client.address))
    memcpy(silent.peer_text, client.peer_text, sizeof(client.peer_text))
    silent.number = client.number
    link_client(worker, silent)
    worker.connection_count += 1                         # so that a drain waits for it
    worker.block.connections_active = worker.connection_count
    worker.block.connections_writing += 1
    silent.state = CLIENT_EXCHANGE
    return silent


# --- the list of open connections ------------------------------------------------------------------------------------
cdef void link_client(Worker* worker, Downstream* client) noexcept nogil:
    client.previous_open = NULL
    client.next_open = worker.connections
    if worker.connections != NULL:
        worker.connections.previous_open = client
    else:
        worker.oldest_connection = client
    worker.connections = client


cdef void unlink_client(Worker* worker, Downstream* client) noexcept nogil:
    if client.previous_open != NULL:
        client.previous_open.next_open = client.next_open
    else:
        worker.connections = client.next_open
    if client.next_open != NULL:
        client.next_open.previous_open = client.previous_open
    else:
        worker.oldest_connection = client.previous_open


cdef void close_long_idle(Worker* worker) noexcept nogil:
    """Nobody can be accepted: give up some connections on which nothing has happened for long, the longest first.
    Else silent clients could keep everybody out until their timeouts."""
    cdef Downstream* client = worker.oldest_connection
    cdef Downstream* newer
    cdef uint32_t closed = 0
    cdef int _looked_at
    for _looked_at in range(LOOKED_AT):
        if client == NULL or closed == CLOSED_AT_ONCE:
            return
        newer = client.previous_open
        if client.state == CLIENT_IDLE and not client.endpoint.readable \
                and worker.loop.now_ms - client.idle_since_ms >= IDLE_GRACE_MS:
            client_close(client)
            worker.block.connections_dropped += 1
            closed += 1
        client = newer


# --- state and closing -----------------------------------------------------------------------------------------------
cdef void count_state(Worker* worker, int state, int64_t change) noexcept nogil:
    if state == CLIENT_IDLE:
        worker.block.connections_waiting += <uint64_t> change
    elif state == CLIENT_HEAD:
        worker.block.connections_reading += <uint64_t> change
    elif state != CLIENT_CLOSED:
        worker.block.connections_writing += <uint64_t> change


cdef void set_client_state(Downstream* client, int state) noexcept nogil:
    cdef Worker* worker = <Worker*> client.endpoint.owner
    count_state(worker, client.state, -1)
    count_state(worker, state, 1)
    client.state = <uint8_t> state


cdef void client_close(Downstream* client) noexcept nogil:
    cdef Worker* worker = <Worker*> client.endpoint.owner
    if client.state == CLIENT_CLOSED:
        return
    set_client_state(client, CLIENT_CLOSED)
    if client.endpoint.fd >= 0:
        close(client.endpoint.fd)
    client.endpoint.fd = -1
    loop_forget(&worker.loop, &client.endpoint)
    timer_remove(&worker.loop, &client.endpoint.timer)
    buffer_give(&worker.buffers, client.input)
    client.input = NULL
    unlink_client(worker, client)
    worker.connection_count -= 1
    worker.block.connections_active = worker.connection_count
    client.next_free = worker.closed_clients
    worker.closed_clients = client
    if worker.accept_paused and worker.phase == PHASE_SERVING and has_room(worker):
        start_accepting(worker)


cdef void free_closed_clients(Worker* worker) noexcept nogil:
    cdef Downstream* client
    while worker.closed_clients != NULL:
        client = worker.closed_clients
        worker.closed_clients = client.next_free
        slab_give(&worker.downstreams, client)


cdef void on_linger_ready(Endpoint* endpoint) noexcept nogil:
    """Throw away what comes, until the client closes, the time is over or it sends without end."""
    cdef Downstream* client = <Downstream*> endpoint
    cdef uint8_t waste[8192]
    cdef int64_t count
    cdef int _turn
    for _turn in range(16):
        count = stream_receive(endpoint, waste, sizeof(waste))
        if count == -EAGAIN:
            return
        if count <= 0:
            client_close(client)
            return
        client.requests += <uint64_t> count              # no more requests to count: bytes thrown away
        if client.requests > LINGER_BYTES:
            client_close(client)
            return
    loop_run_again(&(<Worker*> endpoint.owner).loop, endpoint)


cdef void on_linger_timeout(Timer* timer) noexcept nogil:
    client_close(<Downstream*> timer.owner)


cdef void client_linger(Downstream* client) noexcept nogil:
    cdef Worker* worker = <Worker*> client.endpoint.owner
    set_client_state(client, CLIENT_LINGER)
    buffer_give(&worker.buffers, client.input)
    client.input = NULL
    client.requests = 0
    stream_end_sending(&client.endpoint)
    client.endpoint.on_ready = on_linger_ready
    client.endpoint.timer.on_expire = on_linger_timeout
    timer_set(&worker.loop, &client.endpoint.timer, worker.loop.now_ms + settings_of(worker).lingering_timeout_ms)
    loop_run_again(&worker.loop, &client.endpoint)


cdef void close_idle_clients(Worker* worker) noexcept nogil:
    cdef Downstream* client = worker.connections
    cdef Downstream* following
    while client != NULL:
        following = client.next_open
        if client.state == CLIENT_IDLE and not client.endpoint.readable:
            client_close(client)
        client = following


# --- collecting heads ------------------------------------------------------------------------------------------------
cdef bint ensure_input_room(Downstream* client, uint32_t room) noexcept nogil:
    cdef Worker* worker = <Worker*> client.endpoint.owner
    cdef Buffer* old = client.input
    cdef Buffer* bigger
    cdef uint32_t length = buffer_length(old)
    if buffer_room(old) >= room:
        return True
    if old.start > 0 and old.capacity - length >= room:
        memmove(&old.data[0], &old.data[0] + old.start, length)
        old.start = 0
        old.end = length
        return True
    bigger = buffer_take(&worker.buffers, length + room)
    if bigger == NULL:
        return False
    memcpy(&bigger.data[0], &old.data[0] + old.start, length)
    bigger.end = length
    buffer_give(&worker.buffers, old)
    client.input = bigger
    return True


cdef bint parse_input(Downstream* client) noexcept nogil:
    """Look at what has been received. True when a request begins or the connection is gone: the caller returns."""
    cdef Worker* worker = <Worker*> client.endpoint.owner
    cdef Buffer* input = client.input
    cdef const LiveSettings* settings
    cdef HeadLimits limits
    cdef Exchange* exchange = client.exchange
    cdef int result
    if exchange == NULL:
        exchange = exchange_new(worker, client)
        if exchange == NULL:
            client_close(client)
            return True
        set_client_state(client, CLIENT_HEAD)
        timer_set(&worker.loop, &client.endpoint.timer,
                  worker.loop.now_ms + exchange.settings.client_header_timeout_ms)
    settings = exchange.settings
    limits.max_line = settings.max_request_line
    limits.max_head = settings.max_request_head
    result = parse_request_head(&input.data[0] + input.start, buffer_length(input), &exchange.request, &limits)
    if result == HEAD_INCOMPLETE:
        return False
    set_client_state(client, CLIENT_EXCHANGE)
    if result == HEAD_COMPLETE:
        worker.begin_exchange(exchange)
    else:
        worker.block.bad_requests += 1
        worker.refuse_exchange(exchange, <uint16_t> -result)
    return True


cdef void drop_client(Downstream* client) noexcept nogil:
    """The client went away before its request was complete."""
    if client.exchange != NULL:
        exchange_free(client.exchange)
        client.exchange = NULL
    client_close(client)


cdef void on_client_ready(Endpoint* endpoint) noexcept nogil:
    """Between requests, or in the middle of a head."""
    cdef Downstream* client = <Downstream*> endpoint
    cdef Worker* worker = <Worker*> endpoint.owner
    cdef Buffer* input
    cdef int64_t count
    if client.state == CLIENT_IDLE and client.input != NULL and buffer_length(client.input) > 0:
        # a pipelined request came along with the one before
        if parse_input(client):
            return
    while endpoint.readable:
        if client.input == NULL:
            client.input = buffer_take(&worker.buffers, SMALL_BUFFER)
        if client.input == NULL or (buffer_room(client.input) == 0 and not ensure_input_room(client, SMALL_BUFFER)):
            drop_client(client)
            return
        input = client.input
        count = stream_receive(endpoint, &input.data[0] + input.end, buffer_room(input))
        if count == -EAGAIN:
            break
        if count <= 0:
            drop_client(client)
            return
        input.end += <uint32_t> count
        if parse_input(client):
            return
    if client.state == CLIENT_IDLE and client.input != NULL and buffer_length(client.input) == 0:
        buffer_give(&worker.buffers, client.input)
        client.input = NULL


cdef void on_client_timeout(Timer* timer) noexcept nogil:
    cdef Downstream* client = <Downstream*> timer.owner
    cdef Worker* worker = <Worker*> client.endpoint.owner
    if client.state == CLIENT_HEAD:
        worker.block.timeouts += 1
        set_client_state(client, CLIENT_EXCHANGE)
        worker.refuse_exchange(client.exchange, 408)
        return
    client_close(client)


cdef void exchange_finished(Downstream* client) noexcept nogil:
    cdef Worker* worker = <Worker*> client.endpoint.owner
    cdef Exchange* exchange = client.exchange
    cdef uint32_t flags = exchange.flags
    cdef uint32_t used = exchange.input_used
    cdef const LiveSettings* settings = settings_of(worker)
    exchange_free(exchange)
    client.exchange = NULL
    client.requests += 1
    if flags & EXCHANGE_CLOSE_CLIENT or client.endpoint.failed:
        if flags & EXCHANGE_LINGER and not client.endpoint.failed:
            client_linger(client)
        else:
            client_close(client)
        return
    set_client_state(client, CLIENT_IDLE)
    client.idle_since_ms = worker.loop.now_ms
    if worker.connections != client:
        unlink_client(worker, client)
        link_client(worker, client)
    client.endpoint.on_ready = on_client_ready
    client.endpoint.timer.on_expire = on_client_timeout
    timer_set(&worker.loop, &client.endpoint.timer, worker.loop.now_ms + settings.keepalive_timeout_ms)
    client.input.start += used
    if buffer_length(client.input) == 0:
        buffer_give(&worker.buffers, client.input)
        client.input = NULL
        if client.endpoint.readable:
            loop_run_again(&worker.loop, &client.endpoint)
    else:
        loop_run_again(&worker.loop, &client.endpoint)
