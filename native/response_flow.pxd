"""The response's way back: receiving its head, relaying its body, flushing to the client.

Nothing here decides: every function says what happened, exchange.pyx says what follows. One buffer of body is held at
most; the next is read when the client has taken it (back-pressure).
"""

from native.connection cimport Exchange

cpdef enum ResponseProgress:
    RESPONSE_WAITING = 0         # the peer has nothing to read for now
    RESPONSE_HEAD = 1            # the head is complete (receive_response_head); an interim one has status 1xx
    RESPONSE_DATA = 2            # there is something to flush (relay_response)
    RESPONSE_CLOSED = -1         # end of stream or reset before the message was complete
    RESPONSE_MALFORMED = -2

# Read and parse until a head is complete. Call drop_interim() before calling again after a 1xx.
cdef int receive_response_head(Exchange* exchange) noexcept nogil
cdef void drop_interim(Exchange* exchange) noexcept nogil
# Prepare relaying: which body follows, how it is framed for the client. After the head, before build_response_head.
cdef void frame_response(Exchange* exchange) noexcept nogil
# Take the body bytes that came along with the head. RESPONSE_DATA or RESPONSE_MALFORMED.
cdef int relay_first(Exchange* exchange) noexcept nogil
# Read the next piece of body. Only when nothing is left to flush.
cdef int relay_response(Exchange* exchange) noexcept nogil

# --- when a plugin wants the whole body ---
# Take the head aside and begin to collect the body. False: memory is out.
cdef bint begin_hold(Exchange* exchange) noexcept nogil
# Collect more. RESPONSE_DATA: all of it is held, or more than plugins may see (EXCHANGE_RESPONSE_OVER).
cdef int hold_response(Exchange* exchange) noexcept nogil
# The framing that the client gets when steps have held the body or changed the status. Before build_response_head.
cdef void frame_changed(Exchange* exchange) noexcept nogil
# Queue what is held behind the head. RESPONSE_DATA or RESPONSE_CLOSED.
cdef int relay_held(Exchange* exchange) noexcept nogil

cpdef enum FlushProgress:
    FLUSH_BLOCKED = 0            # the client takes nothing for now
    FLUSH_DONE = 1
    FLUSH_FAILED = -1            # the client is gone

# Send exchange.out and the piece of body behind it.
cdef int flush_client(Exchange* exchange) noexcept nogil
# True when something is waiting for the client to take it.
cdef bint flush_pending(Exchange* exchange) noexcept nogil
# The connection to the upstream can serve another request: message ended by its own framing, nothing behind it.
cdef bint upstream_reusable(Exchange* exchange) noexcept nogil
