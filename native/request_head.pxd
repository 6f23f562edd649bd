"""The request head sent to the upstream: request line, Host, forwarded headers, and what the client sent end to end."""

from libc.stdint cimport uint8_t

from native.connection cimport Exchange
from native.memory cimport Buffer

# Build exchange.request_out for the current peer. Returns 0, or an HTTP status to refuse the request with
# (414 when the upstream's path does not fit, 500 when memory is out). Needs: route, service, peer, client address, path.
cdef int build_request_head(Exchange* exchange) noexcept nogil
# The host that X-Forwarded-Host names, and a redirect: a trusted peer's word for it, else the client's Host without port.
# `head` is the first byte of the client's head.
cdef void put_forwarded_host(Exchange* exchange, Buffer* out, const uint8_t* head) noexcept nogil
