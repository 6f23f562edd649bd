"""Which peer gets the next try: weighted round-robin over a peer set's wheel, avoiding peers that failed already."""

from native.connection cimport Exchange
from native.snapshot cimport Peer

# The next peer for this exchange, or NULL when its peer set has none.
cdef const Peer* choose_peer(Exchange* exchange) noexcept nogil
# Remember that `exchange.peer` failed, so that the next try goes elsewhere when there is an elsewhere.
cdef void peer_failed(Exchange* exchange) noexcept nogil
