"""Concurrent misses make one upstream request: a *flight*, which one request leads and for which others wait.

The flights of a node lie in shared memory, found by the hash of what is fetched. A place names the worker that leads, so
that the flight of one that has died is seen to be over. Who waits leaves its worker's number in the place, and is woken
through that worker's eventfd. A place has one flight at a time: who finds it taken by another fetches alone.

A response that turns out not to be for sharing is remembered for a while (*barred*): nobody waits for such ones.
"""

from libc.stdint cimport uint32_t, uint64_t

from native.connection cimport Exchange, Worker

cpdef enum FlightRole:
    FLIGHT_LEADS = 0             # go and fetch it; flight_end() must follow
    FLIGHT_WAITS = 1             # exchange.flight is set: park; worker.resume_exchange is called when it is over
    FLIGHT_ALONE = 2             # fetch it for this request alone: barred, or there is no place left

# Per worker, on the main thread, before the loop runs. False: memory is out.
cdef bint flights_init(Worker* worker) noexcept nogil
cdef void flights_clear(Worker* worker) noexcept nogil

# What this request is to do about what has this hash (not 0). It waits until `deadline_ms` (the loop's clock) at most.
cdef FlightRole flight_join(Exchange* exchange, uint64_t hash, uint64_t deadline_ms) noexcept nogil
# The leader has published the response, or has none. `barred_ms`: how long nobody need wait for its like; 0: they should.
cdef void flight_end(Worker* worker, uint64_t hash, uint32_t barred_ms) noexcept nogil
# A parked exchange waits no longer, because its client has gone.
cdef void flight_leave(Exchange* exchange) noexcept nogil
# The timer of an exchange that waits has expired: time to look whether the leader lives. Resumes it, or lets it wait on.
cdef void flight_expired(Exchange* exchange) noexcept nogil
# Resume those of this worker whose flight is over. When the loop is woken up.
cdef void flights_collect(Worker* worker) noexcept nogil
