"""The request's way upstream: receiving its body from the client, sending head and body to the peer.

Nothing here decides: every function says what happened, exchange.pyx says what follows.
"""

from native.connection cimport Exchange

cpdef enum BodyProgress:
    BODY_WAITING = 0             # the client has nothing to read for now
    BODY_FULL = 1                # the buffer is full: send it first (back-pressure)
    BODY_FINISHED = 2            # the whole body has been received
    BODY_CLIENT_GONE = -1
    BODY_MALFORMED = -400
    BODY_TOO_LARGE = -413
    BODY_NO_MEMORY = -500

# Take what came along with the head; allocate a buffer when more is to come. A BodyProgress.
cdef int start_body(Exchange* exchange) noexcept nogil
# Read more of the body into the buffer. A BodyProgress.
cdef int receive_body(Exchange* exchange) noexcept nogil

cpdef enum SendProgress:
    SEND_BLOCKED = 0             # the peer takes nothing for now
    SEND_HUNGRY = 1              # everything received so far is sent, more body is to come
    SEND_FINISHED = 2            # the whole request has been sent
    SEND_FAILED = -1

# Send head and body as far as they are there. A SendProgress.
cdef int send_request(Exchange* exchange) noexcept nogil
# Begin again at the first byte, for another connection. Only while EXCHANGE_REPLAYABLE.
cdef void rewind_request(Exchange* exchange) noexcept nogil
