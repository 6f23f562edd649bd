from libc.errno cimport EINTR, errno
from posix.unistd cimport close

cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        void* ptr
    cdef struct epoll_event:
        uint32_t events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epfd, int op, int fd, epoll_event* event)
    int epoll_wait(int epfd, epoll_event* events, int maxevents, int timeout)
    const int EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
    const uint32_t EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLERR, EPOLLHUP, EPOLLET, EPOLLEXCLUSIVE

cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        int64_t tv_sec
        int64_t tv_nsec
    int clock_gettime(int clock, timespec* now)
    const int CLOCK_MONOTONIC, CLOCK_REALTIME_COARSE


cdef void loop_update_time(EventLoop* loop) noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    loop.now_us = <uint64_t> now.tv_sec * 1000000 + <uint64_t> now.tv_nsec / 1000
    loop.now_ms = loop.now_us / 1000
    clock_gettime(CLOCK_REALTIME_COARSE, &now)
    loop.wall_seconds = now.tv_sec


cdef int loop_init(EventLoop* loop) noexcept nogil:
    cdef int i
    for i in range(WHEEL_SLOTS):
        loop.wheel[i].next = &loop.wheel[i]
        loop.wheel[i].previous = &loop.wheel[i]
    loop.again = NULL
    loop.again_last = NULL
    loop.stop = 0
    loop.timer_count = 0
    loop_update_time(loop)
    loop.wheel_time = loop.now_ms - loop.now_ms % WHEEL_TICK_MS
    loop.epoll_fd = epoll_create1(EPOLL_CLOEXEC)
    return 0 if loop.epoll_fd >= 0 else -errno


cdef void loop_close(EventLoop* loop) noexcept nogil:
    if loop.epoll_fd >= 0:
        close(loop.epoll_fd)
        loop.epoll_fd = -1


cdef int loop_add(EventLoop* loop, Endpoint* endpoint) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET
    event.data.ptr = endpoint
    return 0 if epoll_ctl(loop.epoll_fd, EPOLL_CTL_ADD, endpoint.fd, &event) == 0 else -errno


cdef int loop_add_listener(EventLoop* loop, Endpoint* endpoint, bint exclusive) noexcept nogil:
    cdef epoll_event event
    event.events = EPOLLIN
    if exclusive:
        event.events |= EPOLLEXCLUSIVE
    event.data.ptr = endpoint
    return 0 if epoll_ctl(loop.epoll_fd, EPOLL_CTL_ADD, endpoint.fd, &event) == 0 else -errno


cdef void loop_remove(EventLoop* loop, Endpoint* endpoint) noexcept nogil:
    cdef epoll_event event
    epoll_ctl(loop.epoll_fd, EPOLL_CTL_DEL, endpoint.fd, &event)


cdef void loop_run_again(EventLoop* loop, Endpoint* endpoint) noexcept nogil:
    if endpoint.queued:
        return
    endpoint.queued = 1
    endpoint.next_again = NULL
    if loop.again_last == NULL:
        loop.again = endpoint
    else:
        loop.again_last.next_again = endpoint
    loop.again_last = endpoint


cdef void loop_forget(EventLoop* loop, Endpoint* endpoint) noexcept nogil:
    cdef Endpoint* before = NULL
    cdef Endpoint* current
    if not endpoint.queued:
        return
    endpoint.queued = 0
    current = loop.again
    while current != NULL and current != endpoint:
        before = current
        current = current.next_again
    if current == NULL:
        return
    if before == NULL:
        loop.again = current.next_again
    else:
        before.next_again = current.next_again
    if loop.again_last == current:
        loop.again_last = before


cdef void timer_insert(EventLoop* loop, Timer* timer, uint64_t deadline) noexcept nogil:
    """Put `timer` into the slot of `deadline`, or of the farthest tick the wheel can show."""
    cdef uint64_t time = deadline
    cdef uint64_t farthest = loop.wheel_time + (WHEEL_SLOTS - 1) * WHEEL_TICK_MS
    cdef Timer* head
    if time > farthest:
        time = farthest
    if time <= loop.wheel_time:
        time = loop.wheel_time + WHEEL_TICK_MS
    # round up: a timer never expires early
    time = (time + WHEEL_TICK_MS - 1) / WHEEL_TICK_MS * WHEEL_TICK_MS
    timer.slot_time = time
    head = &loop.wheel[(time / WHEEL_TICK_MS) % WHEEL_SLOTS]
    timer.next = head
    timer.previous = head.previous
    head.previous.next = timer
    head.previous = timer
    loop.timer_count += 1


cdef void timer_set(EventLoop* loop, Timer* timer, uint64_t deadline) noexcept nogil:
    timer.deadline = deadline
    if timer.previous != NULL:
        if timer.slot_time <= deadline:
            return
        timer_remove(loop, timer)
        timer.deadline = deadline
    timer_insert(loop, timer, deadline)


cdef void timer_clear(Timer* timer) noexcept nogil:
    timer.deadline = 0


cdef void timer_remove(EventLoop* loop, Timer* timer) noexcept nogil:
    timer.deadline = 0
    if timer.previous == NULL:
        return
    timer.previous.next = timer.next
    timer.next.previous = timer.previous
    timer.next = NULL
    timer.previous = NULL
    loop.timer_count -= 1


cdef void run_timers(EventLoop* loop) noexcept nogil:
    """Work off every slot whose time has come. Handlers may set and remove any timer, this one included."""
    cdef Timer* head
    cdef Timer* timer
    cdef Timer pending
    if loop.timer_count == 0:
        loop.wheel_time = loop.now_ms - loop.now_ms % WHEEL_TICK_MS
        return
    while loop.wheel_time + WHEEL_TICK_MS <= loop.now_ms:
        loop.wheel_time += WHEEL_TICK_MS
        head = &loop.wheel[(loop.wheel_time / WHEEL_TICK_MS) % WHEEL_SLOTS]
        if head.next == head:
            continue
        # take the whole list out, so that re-insertion into the same slot cannot loop
        pending.next = head.next
        pending.previous = head.previous
        pending.next.previous = &pending
        pending.previous.next = &pending
        head.next = head
        head.previous = head
        while pending.next != &pending:
            timer = pending.next
            pending.next = timer.next
            timer.next.previous = &pending
            timer.next = NULL
            timer.previous = NULL
            loop.timer_count -= 1
            if timer.deadline == 0:
                continue
            if timer.deadline > loop.now_ms:
                timer_insert(loop, timer, timer.deadline)
                continue
            timer.deadline = 0
            timer.on_expire(timer)


cdef int wait_ms(EventLoop* loop) noexcept nogil:
    """How long epoll_wait may sleep: up to the next non-empty slot, at most half a second."""
    cdef uint64_t time
    cdef int _slot
    if loop.again != NULL:
        return 0
    if loop.timer_count == 0:
        return 500
    time = loop.wheel_time
    for _slot in range(500 // WHEEL_TICK_MS + 1):
        time += WHEEL_TICK_MS
        if loop.wheel[(time / WHEEL_TICK_MS) % WHEEL_SLOTS].next != &loop.wheel[(time / WHEEL_TICK_MS) % WHEEL_SLOTS]:
            return <int> (time - loop.now_ms) if time > loop.now_ms else 0
    return 500


cdef void run_again_list(EventLoop* loop) noexcept nogil:
    """Call every endpoint queued before now; what they queue waits for the next round."""
    cdef Endpoint* endpoint = loop.again
    cdef uint32_t count = 0
    while endpoint != NULL:
        count += 1
        endpoint = endpoint.next_again
    while count > 0 and loop.again != NULL:
        count -= 1
        endpoint = loop.again
        loop.again = endpoint.next_again
        if loop.again == NULL:
            loop.again_last = NULL
        endpoint.queued = 0
        if endpoint.fd >= 0:
            endpoint.on_ready(endpoint)


cdef void take_events(const epoll_event* events, int count, uint8_t second) noexcept nogil:
    """Note what epoll says of the endpoints of one kind and call them."""
    cdef Endpoint* endpoint
    cdef uint32_t mask
    cdef int i
    for i in range(count):
        endpoint = <Endpoint*> events[i].data.ptr
        # closed earlier in this round: its memory is kept until the round ends
        if endpoint.fd < 0 or endpoint.second != second:
            continue
        mask = events[i].events
        if mask & EPOLLIN:
            endpoint.readable = 1
        if mask & EPOLLOUT:
            endpoint.writable = 1
        if mask & EPOLLRDHUP:
            endpoint.peer_closed = 1
            endpoint.readable = 1
        if mask & (EPOLLERR | EPOLLHUP):
            endpoint.failed = 1
            endpoint.readable = 1
            endpoint.writable = 1
        endpoint.on_ready(endpoint)


cdef void loop_run(EventLoop* loop) noexcept nogil:
    cdef epoll_event events[EVENTS_PER_ROUND]
    cdef int count
    while not loop.stop:
        count = epoll_wait(loop.epoll_fd, events, EVENTS_PER_ROUND, wait_ms(loop))
        if count < 0:
            if errno != EINTR:
                break
            count = 0
        loop_update_time(loop)
        # upstreams first: what an idle connection has to say (closed, bytes nobody asked for) is heard before a
        # request of this round takes it out of its pool
        take_events(events, count, 0)
        if loop.again != NULL:
            run_again_list(loop)
        take_events(events, count, 1)
        run_timers(loop)
        if loop.on_round_end != NULL:
            loop.on_round_end(loop.round_context)
