"""The life of a request, phase by phase: route, access, balance, connect, send, response head, body, and what happens
when a phase fails. The modules around it move bytes; this one decides."""

from libc.stdint cimport uint16_t

from native.connection cimport Exchange

# A request head is complete (Worker.begin_exchange).
cdef void begin_exchange(Exchange* exchange) noexcept nogil
# The head was refused by the parser or never came (Worker.refuse_exchange): answer with `status` and close.
cdef void refuse_exchange(Exchange* exchange, uint16_t status) noexcept nogil
# The plugin thread has done what the exchange waits for (Worker.resume_exchange).
cdef void resume_exchange(Exchange* exchange) noexcept nogil
