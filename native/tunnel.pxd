"""After 101 Switching Protocols: bytes both ways until one side ends (RFC 9110 §7.8). One buffer per direction gives
back-pressure; service.read_timeout is the idle limit."""

from native.connection cimport Exchange

# Take over both connections. exchange.out holds the 101 head; bytes that followed either head are passed on.
cdef void begin_tunnel(Exchange* exchange) noexcept nogil
