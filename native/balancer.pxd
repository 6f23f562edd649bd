"""Which peer gets the next try, and what is noted of each try.

The algorithms of proxying.md §6 over a peer set of the snapshot; what they count lies in shared memory
(target_state.pxd), so that the workers of a node choose as one.
"""

from libc.stdint cimport uint32_t

from native.connection cimport Exchange, MappedSnapshot
from native.snapshot cimport Peer

cpdef enum TryOutcome:
    TRY_ANSWERED = 0             # a response head came; `status` says which
    TRY_CONNECT_FAILED = 1       # refused, unreachable
    TRY_TIMED_OUT = 2            # connecting, sending or waiting
    TRY_BROKEN = 3               # closed, reset or malformed before the response's head was complete
    TRY_CUT_OFF = 4              # broken, or too slow, in the middle of the response's body
    TRY_GIVEN_UP = 5             # the client went away, or a stale connection from the pool: says nothing of the peer

# What this worker keeps for the sets of a peers snapshot; on the main thread, when it is mapped. NULL: memory is out.
cdef void* balancing_new(MappedSnapshot* peers) noexcept nogil
cdef void balancing_free(void* balancing) noexcept nogil

# The next peer for this exchange, or NULL when its peer set has none that may be used: 503. Skips those tried before,
# as long as there are others.
cdef const Peer* choose_peer(Exchange* exchange) noexcept nogil
# Remember that `exchange.peer` failed, so that the next try goes elsewhere when there is an elsewhere.
cdef void peer_failed(Exchange* exchange) noexcept nogil
# A first try begins: earns the share of a retry that it may cost.
cdef void first_try_begins(Exchange* exchange) noexcept nogil
# Whether the upstream's retry budget allows another try; takes it from there.
cdef bint may_retry(Exchange* exchange) noexcept nogil
# The request of the exchange goes to `exchange.peer` now. try_ended() follows, once.
cdef void try_begins(Exchange* exchange) noexcept nogil
# The response's head is there: its time, and what its status says of the peer. try_ended() follows when all is over.
cdef void try_answered(Exchange* exchange) noexcept nogil
# The try is over. Does nothing when none is under way.
cdef void try_ended(Exchange* exchange, TryOutcome outcome) noexcept nogil
