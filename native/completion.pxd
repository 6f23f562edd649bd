"""The end of an exchange: the upstream connection goes back to its pool, the log line is written, counters move, the
client's connection goes on or closes."""

from native.connection cimport Exchange

# The response has been sent completely. The exchange is gone after this call.
cdef void complete_exchange(Exchange* exchange) noexcept nogil
# The client is gone, or what it got cannot be completed: both connections are closed. The exchange is gone after this.
cdef void abort_exchange(Exchange* exchange) noexcept nogil
# Give the upstream connection back, or close it when it cannot be used again.
cdef void release_upstream(Exchange* exchange) noexcept nogil
