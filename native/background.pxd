"""Requests that go on without a client: what was answered with a stale response is fetched anew (RFC 5861 §3).

When the client has its answer, the exchange is split: one half ends and the connection is free for the next request, the
other goes on to the upstream with a client that has no socket. Plugins behind the one that answered run for it, as they
would have without the stale response; response and log functions do not, for nobody gets this response.
"""

from native.connection cimport Exchange

# Fetch anew what `exchange`, which is about to end, was answered with. Does nothing when memory is out.
cdef void refresh_in_background(Exchange* exchange) noexcept nogil
cdef void end_background(Exchange* exchange) noexcept nogil
