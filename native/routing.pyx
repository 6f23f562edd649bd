from libc.stdint cimport int32_t, uint8_t, uint32_t

from native.connection cimport INLINE_PATH
from native.headers cimport HEADER_CONTENT_TYPE, HEADER_X_FORWARDED_PROTO, HeaderField
from native.http1 cimport TARGET_ASTERISK
from native.memory cimport buffer_take
from native.router cimport RouteQuery, router_match
from native.snapshot cimport NO_INDEX, snapshot_route, snapshot_service
from native.text cimport is_text
from native.uri cimport normalize_path


cdef bint normalize_request_path(Exchange* exchange) noexcept nogil:
    """Fill exchange.path. False: the path is refused with 400."""
    cdef const uint8_t* head = &exchange.client.input.data[0] + exchange.client.input.start
    cdef const uint8_t* path = head + exchange.request.path_offset
    cdef uint32_t length = exchange.request.path_length
    cdef int32_t normalized
    if exchange.request.target_form == TARGET_ASTERISK:
        exchange.path = exchange.inline_path
        exchange.path[0] = 42                            # "*"
        exchange.path_length = 1
        return True
    if length == 0:
        path = <const uint8_t*> b"/"
        length = 1
    if length < INLINE_PATH:
        exchange.path = exchange.inline_path
    else:
        exchange.path_buffer = buffer_take(&exchange.worker.buffers, length + 1)
        if exchange.path_buffer == NULL:
            return False
        exchange.path = &exchange.path_buffer.data[0]
    normalized = normalize_path(path, length, exchange.path)
    if normalized < 0:
        return False
    exchange.path_length = <uint32_t> normalized
    return True


cdef void find_scheme(Exchange* exchange) noexcept nogil:
    """https when the connection is, or when a trusted proxy says so (X-Forwarded-Proto)."""
    cdef const uint8_t* head
    cdef const HeaderField* field
    cdef uint32_t i
    exchange.https = exchange.client.listener.tls
    if not exchange.client.peer_trusted:
        return
    head = &exchange.client.input.data[0] + exchange.client.input.start
    for i in range(exchange.request.header_count):
        field = &exchange.request.headers[i]
        if field.known == HEADER_X_FORWARDED_PROTO:
            exchange.https = is_text(head + field.value_offset, field.value_length, b"https", 5)
            return


cdef bint find_route(Exchange* exchange) noexcept nogil:
    cdef const uint8_t* head = &exchange.client.input.data[0] + exchange.client.input.start
    cdef RouteQuery query
    cdef bint found
    query.method = head + exchange.request.method_offset
    query.method_length = exchange.request.method_length
    query.host = head + exchange.request.host_offset
    query.host_length = exchange.request.host_length if exchange.request.has_host else 0
    query.port = exchange.request.port or exchange.client.listener.port
    query.https = exchange.https
    query.path = exchange.path
    query.path_length = exchange.path_length
    query.query = head + exchange.request.query_offset
    query.query_length = exchange.request.query_length
    query.sni = NULL
    query.sni_length = 0
    query.head = head
    query.headers = exchange.request.headers
    query.header_count = exchange.request.header_count
    found = router_match(exchange.configuration.base, exchange.configuration.router, &query, &exchange.match)
    if exchange.configuration.router.regex_limits:
        exchange.worker.block.regex_limits += exchange.configuration.router.regex_limits
        exchange.configuration.router.regex_limits = 0
    if not found:
        return False
    exchange.route = snapshot_route(exchange.configuration.base, exchange.match.route)
    if exchange.route.service != NO_INDEX:
        exchange.service = snapshot_service(exchange.configuration.base, exchange.route.service)
    return True


cdef bint is_grpc_request(Exchange* exchange) noexcept nogil:
    cdef const uint8_t* head = &exchange.client.input.data[0] + exchange.client.input.start
    cdef const HeaderField* field
    cdef uint32_t i
    for i in range(exchange.request.header_count):
        field = &exchange.request.headers[i]
        if field.known == HEADER_CONTENT_TYPE:
            return field.value_length >= 16 and is_text(head + field.value_offset, 16, b"application/grpc", 16)
    return False
