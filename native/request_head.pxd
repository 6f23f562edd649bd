"""The request head sent to the upstream: request line, Host, forwarded headers, and what the client sent end to end."""

from native.connection cimport Exchange

# Build exchange.request_out for the current peer. Returns 0, or an HTTP status to refuse the request with
# (414 when the upstream's path does not fit, 500 when memory is out). Needs: route, service, peer, client address, path.
cdef int build_request_head(Exchange* exchange) noexcept nogil
