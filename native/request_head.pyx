from libc.stdint cimport int32_t, uint8_t, uint32_t

from native.connection cimport (
    EXCHANGE_CHUNK_REQUEST,
    REQUEST_ID_LENGTH,
    Downstream,
)
from native.fields cimport added_length, put_added
from native.headers cimport *
from native.http1 cimport BODY_CHUNKED, RequestHead, TARGET_ASTERISK
from native.memory cimport Buffer, buffer_give, buffer_take
from native.snapshot cimport (
    ROUTE_PATH_HANDLING_V1,
    ROUTE_PRESERVE_HOST,
    ROUTE_STRIP_PATH,
    SEND_REQUEST_ID_UPSTREAM,
    StringRef,
    snapshot_text,
)
from native.text cimport PRODUCT, overflowed, put, put_number, put_text
from native.uri cimport build_upstream_path

cdef enum:
    # everything the gateway adds to a head besides copies of client and configuration text
    OWN_FIELDS_ROOM = 1024

# What happens to a client's field: copied, or kept back because the gateway writes its own or it is hop-by-hop.
cdef uint8_t[64] KEPT_BACK
cdef int _known
for _known in (
    HEADER_CONNECTION, HEADER_CONTENT_LENGTH, HEADER_TRANSFER_ENCODING, HEADER_UPGRADE, HEADER_KEEP_ALIVE,
    HEADER_PROXY_CONNECTION, HEADER_TE, HEADER_TRAILER, HEADER_EXPECT, HEADER_PROXY, HEADER_HOST, HEADER_VIA,
    HEADER_X_REAL_IP, HEADER_X_FORWARDED_FOR, HEADER_X_FORWARDED_PROTO, HEADER_X_FORWARDED_HOST,
    HEADER_X_FORWARDED_PORT, HEADER_X_FORWARDED_PATH, HEADER_X_FORWARDED_PREFIX, HEADER_KONG_REQUEST_ID,
    HEADER_SHADOW, HEADER_IDENTITY, HEADER_DEBUG_TOKEN,
):
    KEPT_BACK[_known] = 1


cdef inline void put_field(Buffer* out, const char* name, const void* value, uint32_t length) noexcept nogil:
    put_text(out, name)
    put(out, value, length)
    put_text(out, b"\r\n")


cdef inline void put_value(Buffer* out, const uint8_t* head, const HeaderField* field) noexcept nogil:
    put(out, head + field.value_offset, field.value_length)


cdef void put_path(Buffer* out, const uint8_t* path, uint32_t length) noexcept nogil:
    """A piece of the normalised path. It is decoded, so it may hold any byte: what may not stand in a URI is escaped,
    or a client could write header lines (%0d%0a)."""
    cdef int32_t written = build_upstream_path(<const uint8_t*> b"/", 1, path, length, 0, False,
                                               &out.data[0] + out.end, out.capacity - out.end)
    if written < 0:
        out.overflow = 1
    else:
        out.end += <uint32_t> written


cdef void put_host(Exchange* exchange, Buffer* out, const uint8_t* head) noexcept nogil:
    """preserve_host: the client's Host; else the upstream's host_header, the peer's name, or the service's host."""
    cdef RequestHead* request = &exchange.request
    cdef const void* peers = exchange.peers.base
    cdef StringRef text
    put_text(out, b"Host: ")
    if exchange.host_override.data != NULL:
        put(out, exchange.host_override.data, exchange.host_override.length)
    elif exchange.route.flags & ROUTE_PRESERVE_HOST and request.has_host:
        put(out, head + request.authority_offset, request.authority_length)
    elif not exchange.service.is_upstream and exchange.peer_key_override == 0 \
            and exchange.peer.port == exchange.service.port:    # else an SRV record tells the port, as in Kong
        text = exchange.service.host_header
        put(out, snapshot_text(exchange.configuration.base, text), text.length)
    else:
        text = exchange.peer_set.host_header
        if text.length == 0:
            text = exchange.peer.host_header
        put(out, <const char*> peers + text.offset, text.length)
    put_text(out, b"\r\n")


cdef void put_own_host(Exchange* exchange, Buffer* out, const uint8_t* head) noexcept nogil:
    """The host the client asked for, as nginx has it: without port and without the dot of a rooted name."""
    cdef RequestHead* request = &exchange.request
    cdef uint32_t length = request.host_length
    if not request.has_host:
        # an HTTP/1.0 request without Host: nginx answers with its server name, which is "kong"
        put_text(out, b"kong")
        return
    if length > 1 and head[request.host_offset + length - 1] == 46:      # "."
        length -= 1
    put(out, head + request.host_offset, length)


cdef void put_forwarded_host(Exchange* exchange, Buffer* out, const uint8_t* head) noexcept nogil:
    cdef const HeaderField* field
    cdef uint32_t i
    if exchange.client.peer_trusted:
        for i in range(exchange.request.header_count):
            field = &exchange.request.headers[i]
            if field.known == HEADER_X_FORWARDED_HOST:
                put_value(out, head, field)
                return
    put_own_host(exchange, out, head)


cdef void put_forwarded(Exchange* exchange, Buffer* out, const uint8_t* head) noexcept nogil:
    """X-Forwarded-*, X-Real-IP, Via: from a trusted peer the client's values pass, else they are overwritten
    (proxying.md §3). X-Forwarded-For and Via are appended to in any case."""
    cdef RequestHead* request = &exchange.request
    cdef Downstream* client = exchange.client
    cdef bint trusted = client.peer_trusted
    cdef const HeaderField* field
    cdef const HeaderField* proto = NULL
    cdef const HeaderField* host = NULL
    cdef const HeaderField* port = NULL
    cdef const HeaderField* path = NULL
    cdef const HeaderField* prefix = NULL
    cdef uint32_t i
    cdef uint8_t known
    put_text(out, b"X-Forwarded-For: ")
    for i in range(request.header_count):
        field = &request.headers[i]
        known = field.known
        if known < HEADER_VIA or known > HEADER_X_FORWARDED_PREFIX:
            continue
        if known == HEADER_X_FORWARDED_FOR:
            if field.value_length:
                put_value(out, head, field)
                put_text(out, b", ")
        elif not trusted:
            continue
        elif known == HEADER_X_FORWARDED_PROTO:
            if proto == NULL:                            # of several the first, as for routing and redirects
                proto = field
        elif known == HEADER_X_FORWARDED_HOST:
            if host == NULL:
                host = field
        elif known == HEADER_X_FORWARDED_PORT:
            port = field
        elif known == HEADER_X_FORWARDED_PATH:
            path = field
        elif known == HEADER_X_FORWARDED_PREFIX:
            prefix = field
    put_field(out, b"", client.peer_text, client.peer_text_length)
    put_field(out, b"X-Real-IP: ", exchange.client_text, exchange.client_text_length)
    put_text(out, b"X-Forwarded-Proto: ")
    if proto != NULL:
        put_value(out, head, proto)
    elif client.listener.tls:
        put_text(out, b"https")
    else:
        put_text(out, b"http")
    put_text(out, b"\r\nX-Forwarded-Host: ")
    if host != NULL:
        put_value(out, head, host)
    else:
        put_own_host(exchange, out, head)
    put_text(out, b"\r\nX-Forwarded-Port: ")
    if port != NULL:
        put_value(out, head, port)
    else:
        put_number(out, client.listener.port)
    put_text(out, b"\r\nX-Forwarded-Path: ")
    if path != NULL:
        put_value(out, head, path)
    elif request.path_length == 0:
        put_text(out, b"/")
    else:
        put(out, head + request.path_offset, request.path_length)
    put_text(out, b"\r\n")
    if prefix != NULL:
        put_text(out, b"X-Forwarded-Prefix: ")
        put_value(out, head, prefix)
        put_text(out, b"\r\n")
    elif exchange.route.flags & ROUTE_STRIP_PATH and exchange.match.matched_length > 1:
        put_text(out, b"X-Forwarded-Prefix: ")
        put_path(out, exchange.path, exchange.match.matched_length)
        put_text(out, b"\r\n")
    put_text(out, b"Via: ")
    for i in range(request.header_count):
        field = &request.headers[i]
        if field.known == HEADER_VIA and field.value_length:
            put_value(out, head, field)
            put_text(out, b", ")
    # Kong prints HTTP/1.0 as "1" (corrections.md, 5)
    put_text(out, b"1 " if request.minor_version == 0 else b"1.1 ")
    put_text(out, PRODUCT)
    put_text(out, b"\r\n")


cdef void put_client_fields(RequestHead* request, Buffer* out, const uint8_t* head) noexcept nogil:
    """Copy what crosses the gateway, neighbouring fields in one piece, just as the client wrote them."""
    cdef uint32_t run_start = 0
    cdef uint32_t run_end = 0
    cdef uint32_t line_end
    cdef uint32_t i
    cdef const HeaderField* field
    for i in range(request.header_count):
        field = &request.headers[i]
        if field.flags & (HEADER_HOP_BY_HOP | HEADER_REMOVED) or KEPT_BACK[field.known & 63]:
            continue
        if i + 1 < request.header_count:
            line_end = request.headers[i + 1].name_offset
        else:
            line_end = request.parsed - 2
        if run_end != field.name_offset:
            if run_end > run_start:
                put(out, head + run_start, run_end - run_start)
            run_start = field.name_offset
        run_end = line_end
    if run_end > run_start:
        put(out, head + run_start, run_end - run_start)


cdef bint put_request_line(Exchange* exchange, Buffer* out, const uint8_t* head) noexcept nogil:
    """What steps have set, else what the client sent, its path behind the service's. False: the path is too long."""
    cdef RequestHead* request = &exchange.request
    cdef StringRef service_path = exchange.service.path
    cdef uint32_t strip = 0
    cdef int32_t length
    if exchange.method_override.data != NULL:
        put(out, exchange.method_override.data, exchange.method_override.length)
    else:
        put(out, head + request.method_offset, request.method_length)
    put_text(out, b" ")
    if exchange.route.flags & ROUTE_STRIP_PATH:
        strip = exchange.match.matched_length
    if exchange.path_override.data != NULL:
        put(out, exchange.path_override.data, exchange.path_override.length)
    elif request.target_form == TARGET_ASTERISK and service_path.length == 1:
        put_text(out, b"*")                              # the upstream as a whole (RFC 9112 §3.2.4)
    else:
        length = build_upstream_path(
            <const uint8_t*> snapshot_text(exchange.configuration.base, service_path), service_path.length,
            exchange.path, exchange.path_length, strip, (exchange.route.flags & ROUTE_PATH_HANDLING_V1) != 0,
            &out.data[0] + out.end, out.capacity - out.end)
        if length < 0:
            return False
        out.end += <uint32_t> length
    if exchange.query_override.data != NULL:
        if exchange.query_override.length:
            put_text(out, b"?")
            put(out, exchange.query_override.data, exchange.query_override.length)
    elif request.has_query:
        put_text(out, b"?")
        put(out, head + request.query_offset, request.query_length)
    put_text(out, b" HTTP/1.1\r\n")
    return True


cdef int build_request_head(Exchange* exchange) noexcept nogil:
    cdef RequestHead* request = &exchange.request
    cdef const uint8_t* head = &exchange.client.input.data[0] + exchange.client.input.start
    cdef StringRef service_path = exchange.service.path
    cdef uint32_t path_room = 3 * (exchange.path_length + service_path.length) + 8
    # the forwarded fields repeat parts of the head: at most once more
    cdef uint32_t room = 2 * request.parsed + path_room + OWN_FIELDS_ROOM \
        + exchange.service.host_header.length + exchange.peer_set.host_header.length \
        + exchange.peer.host_header.length + 3 * exchange.path_length + added_length(&exchange.request_edits) \
        + exchange.method_override.length + exchange.path_override.length + exchange.query_override.length \
        + exchange.host_override.length
    cdef Buffer* out
    buffer_give(&exchange.worker.buffers, exchange.request_out)
    exchange.request_out = out = buffer_take(&exchange.worker.buffers, room)
    exchange.request_out_sent = 0
    if out == NULL:
        return 500
    if not put_request_line(exchange, out, head):
        return 414
    put_host(exchange, out, head)
    if request.upgrade_websocket:
        put_text(out, b"Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n")
    else:
        put_text(out, b"Connection: keep-alive\r\n")
    put_forwarded(exchange, out, head)
    if exchange.settings.sent_headers & SEND_REQUEST_ID_UPSTREAM:
        put_field(out, b"X-Kong-Request-Id: ", exchange.request_id, REQUEST_ID_LENGTH)
    if request.te_trailers:
        put_text(out, b"TE: trailers\r\n")
    if exchange.flags & EXCHANGE_CHUNK_REQUEST:
        put_text(out, b"Transfer-Encoding: chunked\r\n")
    elif request.has_content_length or request.body_kind == BODY_CHUNKED:
        put_text(out, b"Content-Length: ")
        put_number(out, request.content_length if request.has_content_length else exchange.body_received)
        put_text(out, b"\r\n")
    put_client_fields(request, out, head)
    if exchange.request_edits.count:
        put_added(out, &exchange.request_edits)
    put_text(out, b"\r\n")
    return 500 if overflowed(out) else 0
