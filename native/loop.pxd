"""The event loop: bytes become ready, time passes. Knows descriptors and deadlines, nothing of HTTP.

Descriptors are registered once, edge triggered, for reading and writing; `readable` and `writable` stay set until a
system call says otherwise, so that a request costs no epoll_ctl. One thread; never blocks anywhere but in epoll_wait.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t, int64_t

cdef enum:
    WHEEL_SLOTS = 4096           # a power of two
    WHEEL_TICK_MS = 16           # so the wheel spans 65 s; later deadlines are put off when their slot comes round
    EVENTS_PER_ROUND = 512

ctypedef struct Timer
ctypedef void (*timer_handler)(Timer*) noexcept nogil

# Embedded in what it times. A deadline may be moved later for the cost of a store: the wheel looks again when the
# old slot comes round.
ctypedef struct Timer:
    Timer* next
    Timer* previous              # NULL: not in the wheel
    uint64_t deadline            # ms on the loop's clock; 0: none
    uint64_t slot_time           # the tick (ms) whose slot it lies in
    timer_handler on_expire
    void* owner

ctypedef struct Endpoint
ctypedef void (*endpoint_handler)(Endpoint*) noexcept nogil

# First member of everything that owns a descriptor.
ctypedef struct Endpoint:
    int fd                       # -1: closed
    uint8_t readable
    uint8_t writable
    uint8_t peer_closed          # the peer sent FIN (EPOLLRDHUP)
    uint8_t failed               # EPOLLERR or EPOLLHUP
    uint8_t queued               # in the loop's run-again list
    uint8_t second               # its events are handled after those of the others in a round
    endpoint_handler on_ready
    Endpoint* next_again
    void* owner                  # the Worker
    Timer timer

ctypedef void (*round_handler)(void*) noexcept nogil

ctypedef struct EventLoop:
    int epoll_fd
    uint64_t now_ms              # monotonic, taken once per round
    uint64_t now_us
    int64_t wall_seconds         # Unix time, taken once per round
    uint64_t wheel_time          # ms up to which the wheel has been worked off
    uint64_t timer_count
    Endpoint* again              # endpoints that stopped for fairness and go on in the next round
    Endpoint* again_last
    void* round_context          # for on_round_end
    round_handler on_round_end   # after every round of events: deferred frees, heartbeat, control words
    uint8_t stop
    Timer wheel[WHEEL_SLOTS]     # list heads

# 0, or -errno.
cdef int loop_init(EventLoop* loop) noexcept nogil
cdef void loop_close(EventLoop* loop) noexcept nogil
# Run until `stop` is set.
cdef void loop_run(EventLoop* loop) noexcept nogil
cdef void loop_update_time(EventLoop* loop) noexcept nogil

# Register for both directions, edge triggered. 0, or -errno.
cdef int loop_add(EventLoop* loop, Endpoint* endpoint) noexcept nogil
# Register a listening socket or an eventfd: level triggered, reading only; `exclusive` wakes one worker of several.
cdef int loop_add_listener(EventLoop* loop, Endpoint* endpoint, bint exclusive) noexcept nogil
cdef void loop_remove(EventLoop* loop, Endpoint* endpoint) noexcept nogil
# Call `endpoint.on_ready` in the next round although no event may come.
cdef void loop_run_again(EventLoop* loop, Endpoint* endpoint) noexcept nogil
# Take it out of the run-again list (before it is freed).
cdef void loop_forget(EventLoop* loop, Endpoint* endpoint) noexcept nogil

# Let `timer` expire at `deadline` (ms), replacing an earlier wish.
cdef void timer_set(EventLoop* loop, Timer* timer, uint64_t deadline) noexcept nogil
cdef void timer_clear(Timer* timer) noexcept nogil
# Out of the wheel altogether; needed before the memory is freed.
cdef void timer_remove(EventLoop* loop, Timer* timer) noexcept nogil
