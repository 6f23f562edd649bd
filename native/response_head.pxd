"""Heads sent to the client: of proxied responses, and the fields that the gateway's own answers share with them."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

from native.connection cimport Exchange
from native.memory cimport Buffer

# Append the head of a proxied response to exchange.out: status line, the upstream's end-to-end fields, the gateway's
# fields, framing. Reads exchange.response, whose text lies at `exchange.upstream.input`. Returns 0, or 502 when it
# does not fit or memory is out.
cdef int build_response_head(Exchange* exchange) noexcept nogil
# Append an interim (1xx) response as the upstream sent it, without hop-by-hop fields. 0 or 502.
cdef int build_interim_head(Exchange* exchange) noexcept nogil
# Copy the end-to-end fields of exchange.response, whose text is `head`, with Server and Via; says whether there was a Date.
cdef bint put_upstream_fields(Exchange* exchange, Buffer* out, const uint8_t* head) noexcept nogil
# "HTTP/1.1 404 Not Found\r\n"
cdef void put_status_line(Buffer* out, uint16_t status) noexcept nogil
# "Not Found"; empty for a status that the gateway does not send by itself
cdef const char* reason_phrase(uint16_t status) noexcept nogil
# Connection, and Date when `with_date`
cdef void put_connection(Exchange* exchange, Buffer* out, bint with_date) noexcept nogil
# Via and the latencies of a response that went through the balancer, as far as the settings send them.
cdef void put_proxied_fields(Exchange* exchange, Buffer* out) noexcept nogil
cdef void put_request_id(Exchange* exchange, Buffer* out) noexcept nogil
# Kong-Route-* and Kong-Service-* for a request with "Kong-Debug: 1", when allow_debug_header is on.
cdef void put_debug_fields(Exchange* exchange, Buffer* out) noexcept nogil
# Upper bound of what put_debug_fields writes.
cdef uint32_t debug_fields_room(Exchange* exchange) noexcept nogil
# Make room for `room` more bytes in exchange.out; False when memory is out.
cdef bint reserve_out(Exchange* exchange, uint32_t room) noexcept nogil
