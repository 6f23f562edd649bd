"""Connections to peers: opening, keeping idle ones per address, giving them out newest first."""

from libc.stdint cimport uint8_t

from native.connection cimport Upstream, Worker
from native.snapshot cimport Peer

# An idle connection to the peer's address, taken out of its pool, or NULL.
cdef Upstream* pool_take(Worker* worker, const Peer* peer) noexcept nogil
# Open a connection (non-blocking). NULL when descriptors or memory are out; else state is UPSTREAM_CONNECTING, or
# UPSTREAM_ACTIVE, or UPSTREAM_CLOSED when the kernel refused at once (errno ECONNREFUSED and the like).
cdef Upstream* pool_connect(Worker* worker, const Peer* peer) noexcept nogil
# Put a connection whose exchange has ended back into its pool, or close it when the pool is full or it has served
# enough requests.
cdef void pool_give(Worker* worker, Upstream* upstream) noexcept nogil
# Close a connection in any state. Its memory is freed at the end of the round.
cdef void upstream_close(Worker* worker, Upstream* upstream) noexcept nogil
# Free what upstream_close left.
cdef void free_closed_upstreams(Worker* worker) noexcept nogil
# Close every idle connection.
cdef void pools_clear(Worker* worker) noexcept nogil
