"""Making and freeing Exchange records."""

from libc.stdint cimport uint64_t

from native.connection cimport Downstream, Exchange, MappedSnapshot, Worker

# A fresh exchange for a client whose first byte has arrived: holds the current snapshots, has a request id. NULL when
# memory is out.
cdef Exchange* exchange_new(Worker* worker, Downstream* client) noexcept nogil
# As if nothing had been answered yet, and no peer been asked: a request that begins, or one that goes on without its
# client (background.pyx). What is forgotten is not given back.
cdef void forget_response(Exchange* exchange) noexcept nogil
# Give back everything it owns (not the connections).
cdef void exchange_free(Exchange* exchange) noexcept nogil
# The next word of xoshiro256** (four words of state): well spread, but whoever sees some words can tell the next ones.
cdef uint64_t next_random(uint64_t* state) noexcept nogil
