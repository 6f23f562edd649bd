"""What the router needs of a request: normalised path, scheme, host, fields; and what it answers. Decides nothing else."""

from native.connection cimport Exchange

# Fill exchange.path. False: the path is refused with 400.
cdef bint normalize_request_path(Exchange* exchange) noexcept nogil
# Set exchange.https: the connection's scheme, or what a trusted proxy says (X-Forwarded-Proto).
cdef void find_scheme(Exchange* exchange) noexcept nogil
# Set exchange.route and, when the route has one, exchange.service. False: no route matches.
cdef bint find_route(Exchange* exchange) noexcept nogil
# Content-Type says gRPC.
cdef bint is_grpc_request(Exchange* exchange) noexcept nogil
