from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from native.connection cimport EXCHANGE_CHUNK_RESPONSE, EXCHANGE_CLOSE_CLIENT, REQUEST_ID_LENGTH, Worker
from native.fields cimport added_length, put_added
from native.explain cimport explain_room, put_explain_field
from native.headers cimport *
from native.http1 cimport ResponseHead
from native.memory cimport buffer_give, buffer_length, buffer_take
from native.snapshot cimport (
    SEND_PROXY_LATENCY,
    SEND_REQUEST_ID,
    SEND_SERVER,
    SEND_UPSTREAM_LATENCY,
    SEND_UPSTREAM_STATUS,
    SEND_VIA,
    StringRef,
    snapshot_text,
)
from native.text cimport PRODUCT, SERVER_FIELD, is_text, overflowed, put, put_number, put_text

cdef enum:
    OWN_FIELDS_ROOM = 512

cdef uint8_t[64] KEPT_BACK
cdef int _known
for _known in (
    HEADER_CONNECTION, HEADER_CONTENT_LENGTH, HEADER_TRANSFER_ENCODING, HEADER_UPGRADE, HEADER_KEEP_ALIVE,
    HEADER_PROXY_CONNECTION, HEADER_TE, HEADER_TRAILER, HEADER_VIA, HEADER_KONG_REQUEST_ID,
    HEADER_KONG_UPSTREAM_LATENCY, HEADER_KONG_PROXY_LATENCY, HEADER_KONG_RESPONSE_LATENCY,
):
    KEPT_BACK[_known] = 1


cdef const char* reason_phrase(uint16_t status) noexcept nogil:
    if status == 200:
        return b"OK"
    if status == 201:
        return b"Created"
    if status == 202:
        return b"Accepted"
    if status == 204:
        return b"No Content"
    if status == 301:
        return b"Moved Permanently"
    if status == 302:
        return b"Found"
    if status == 303:
        return b"See Other"
    if status == 304:
        return b"Not Modified"
    if status == 307:
        return b"Temporary Redirect"
    if status == 308:
        return b"Permanent Redirect"
    if status == 400:
        return b"Bad Request"
    if status == 401:
        return b"Unauthorized"
    if status == 403:
        return b"Forbidden"
    if status == 404:
        return b"Not Found"
    if status == 405:
        return b"Method Not Allowed"
    if status == 408:
        return b"Request Timeout"
    if status == 409:
        return b"Conflict"
    if status == 410:
        return b"Gone"
    if status == 411:
        return b"Length Required"
    if status == 413:
        return b"Payload Too Large"
    if status == 414:
        return b"URI Too Long"
    if status == 415:
        return b"Unsupported Media Type"
    if status == 417:
        return b"Expectation Failed"
    if status == 422:
        return b"Unprocessable Content"
    if status == 426:
        return b"Upgrade Required"
    if status == 429:
        return b"Too Many Requests"
    if status == 431:
        return b"Request Header Fields Too Large"
    if status == 500:
        return b"Internal Server Error"
    if status == 501:
        return b"Not Implemented"
    if status == 502:
        return b"Bad Gateway"
    if status == 503:
        return b"Service Unavailable"
    if status == 504:
        return b"Gateway Timeout"
    if status == 505:
        return b"HTTP Version Not Supported"
    return b""


cdef bint reserve_out(Exchange* exchange, uint32_t room) noexcept nogil:
    cdef Buffer* old = exchange.out
    cdef Buffer* bigger
    if old != NULL and old.capacity - old.end >= room:
        return True
    bigger = buffer_take(&exchange.worker.buffers, room + (buffer_length(old) if old != NULL else 0))
    if bigger == NULL:
        return False
    if old != NULL:
        put(bigger, &old.data[0] + old.start, buffer_length(old))
        buffer_give(&exchange.worker.buffers, old)
    exchange.out = bigger
    return True


cdef void put_status_line(Buffer* out, uint16_t status) noexcept nogil:
    put_text(out, b"HTTP/1.1 ")
    put_number(out, status)
    put_text(out, b" ")
    put_text(out, reason_phrase(status))
    put_text(out, b"\r\n")


cdef void put_connection(Exchange* exchange, Buffer* out, bint with_date) noexcept nogil:
    cdef Worker* worker = exchange.worker
    if with_date:
        put_text(out, b"Date: ")
        put(out, worker.date_text, worker.date_length)
        put_text(out, b"\r\n")
    if exchange.flags & EXCHANGE_CLOSE_CLIENT:
        put_text(out, b"Connection: close\r\n")
    else:
        put_text(out, b"Connection: keep-alive\r\n")


cdef void put_request_id(Exchange* exchange, Buffer* out) noexcept nogil:
    if exchange.settings.sent_headers & SEND_REQUEST_ID:
        put_text(out, b"X-Kong-Request-Id: ")
        put(out, exchange.request_id, REQUEST_ID_LENGTH)
        put_text(out, b"\r\n")


cdef uint32_t debug_fields_room(Exchange* exchange) noexcept nogil:
    cdef uint32_t room = explain_room(exchange)
    if not exchange.settings.allow_debug_header:
        return room
    if exchange.route != NULL:
        room += 64 + exchange.route.id.length + exchange.route.name.length
    if exchange.service != NULL:
        room += 64 + exchange.service.id.length + exchange.service.name.length
    return room


cdef void put_name(Exchange* exchange, Buffer* out, const char* field, StringRef text) noexcept nogil:
    if text.length:
        put_text(out, field)
        put(out, snapshot_text(exchange.configuration.base, text), text.length)
        put_text(out, b"\r\n")


cdef void put_debug_fields(Exchange* exchange, Buffer* out) noexcept nogil:
    cdef uint32_t i
    if exchange.settings.has_debug_token:
        put_explain_field(exchange, out)
    if not exchange.settings.allow_debug_header or exchange.route == NULL or exchange.client.input == NULL:
        return
    for i in range(exchange.request.header_count):
        if exchange.request.headers[i].known == HEADER_KONG_DEBUG:   # whatever its value is, as in Kong
            put_name(exchange, out, b"Kong-Route-Id: ", exchange.route.id)
            put_name(exchange, out, b"Kong-Route-Name: ", exchange.route.name)
            if exchange.service != NULL:
                put_name(exchange, out, b"Kong-Service-Id: ", exchange.service.id)
                put_name(exchange, out, b"Kong-Service-Name: ", exchange.service.name)
            return


cdef void put_proxied_fields(Exchange* exchange, Buffer* out) noexcept nogil:
    cdef uint8_t sent = exchange.settings.sent_headers
    cdef uint64_t received = exchange.head_received_ms or exchange.worker.loop.now_ms
    if sent & SEND_UPSTREAM_LATENCY:
        put_text(out, b"X-Kong-Upstream-Latency: ")
        put_number(out, received - exchange.balanced_ms)
        put_text(out, b"\r\n")
    if sent & SEND_PROXY_LATENCY:
        put_text(out, b"X-Kong-Proxy-Latency: ")
        put_number(out, exchange.balanced_ms - exchange.started_ms)
        put_text(out, b"\r\n")
    if sent & SEND_UPSTREAM_STATUS:
        # As in Kong, an upstream server that gave none has that of the answer made in its place.
        put_text(out, b"X-Kong-Upstream-Status: ")
        put_number(out, exchange.response.status or exchange.status)
        put_text(out, b"\r\n")


cdef void put_via(Exchange* exchange, Buffer* out, const uint8_t* head) noexcept nogil:
    """The upstream's Via fields and the gateway's own element, as one list."""
    cdef const HeaderField* field
    cdef bint first = True
    cdef uint32_t i
    put_text(out, b"Via: ")
    for i in range(exchange.response.header_count):
        field = &exchange.response.headers[i]
        if field.known == HEADER_VIA and field.value_length:
            if not first:
                put_text(out, b", ")
            put(out, head + field.value_offset, field.value_length)
            first = False
    if exchange.settings.sent_headers & SEND_VIA:
        if not first:
            put_text(out, b", ")
        put_text(out, b"1.1 ")
        put_text(out, PRODUCT)
    put_text(out, b"\r\n")


cdef bint wants_charset(const uint8_t* value, uint32_t length) noexcept nogil:
    """Whether Kong names UTF-8 as the charset of this media type: textual, and without any parameter."""
    if length == 10:
        return is_text(value, length, b"text/plain", 10)
    if length == 9:
        return is_text(value, length, b"text/html", 9)
    if length == 8:
        return is_text(value, length, b"text/xml", 8)
    if length == 16:
        return is_text(value, length, b"text/vnd.wap.wml", 16)
    if length == 19:
        return is_text(value, length, b"application/rss+xml", 19)
    return length == 22 and is_text(value, length, b"application/javascript", 22)


cdef bint put_upstream_fields(Exchange* exchange, Buffer* out, const uint8_t* head) noexcept nogil:
    """Copy the upstream's end-to-end fields, neighbours in one piece. Adds Server, Via and the charset of texts;
    returns whether there was a Date."""
    cdef ResponseHead* response = &exchange.response
    cdef uint32_t run_start = 0
    cdef uint32_t run_end = 0
    cdef uint32_t line_end
    cdef uint32_t i
    cdef bint has_date = False
    cdef bint has_server = False
    cdef bint has_via = False
    cdef uint8_t sent = exchange.settings.sent_headers
    cdef const HeaderField* field
    for i in range(response.header_count):
        field = &response.headers[i]
        if field.known:
            if field.known == HEADER_DATE:
                if has_date:
                    continue
                has_date = True
            elif field.known == HEADER_SERVER:
                has_server = True
            elif field.known == HEADER_VIA:
                has_via = True
            elif field.known == HEADER_KONG_UPSTREAM_STATUS and sent & SEND_UPSTREAM_STATUS:
                continue
            if KEPT_BACK[field.known & 63]:
                continue
        if field.flags & (HEADER_HOP_BY_HOP | HEADER_REMOVED):
            continue
        line_end = response.headers[i + 1].name_offset if i + 1 < response.header_count else response.parsed - 2
        if run_end != field.name_offset:
            if run_end > run_start:
                put(out, head + run_start, run_end - run_start)
            run_start = field.name_offset
        run_end = line_end
        if field.known == HEADER_CONTENT_TYPE and wants_charset(head + field.value_offset, field.value_length):
            put(out, head + run_start, field.value_offset + field.value_length - run_start)
            put_text(out, b"; charset=UTF-8\r\n")
            run_start = line_end
    if run_end > run_start:
        put(out, head + run_start, run_end - run_start)
    if not has_server and sent & SEND_SERVER:
        put_text(out, SERVER_FIELD)
    if has_via or sent & SEND_VIA:
        put_via(exchange, out, head)
    return has_date


cdef int build_response_head(Exchange* exchange) noexcept nogil:
    cdef ResponseHead* response = &exchange.response
    cdef Buffer* source = exchange.held_head if exchange.held_head != NULL else exchange.upstream.input
    cdef const uint8_t* head = &source.data[0] + source.start
    cdef Buffer* out
    cdef bint has_date
    # Via may repeat what the head holds; everything else of it is copied at most once
    if not reserve_out(exchange, 2 * response.parsed + OWN_FIELDS_ROOM + debug_fields_room(exchange)
                       + added_length(&exchange.response_edits)):
        return 502
    out = exchange.out
    put_text(out, b"HTTP/1.1 ")
    put_number(out, response.status)
    put_text(out, b" ")
    if response.reason_length:
        put(out, head + response.reason_offset, response.reason_length)
    else:
        put_text(out, reason_phrase(response.status))    # a plugin may have changed the status
    put_text(out, b"\r\n")
    has_date = put_upstream_fields(exchange, out, head)
    if exchange.response_edits.count:
        put_added(out, &exchange.response_edits)
    put_proxied_fields(exchange, out)
    put_request_id(exchange, out)
    put_debug_fields(exchange, out)
    if response.status == 101:
        put_text(out, b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        return 502 if overflowed(out) else 0
    if exchange.flags & EXCHANGE_CHUNK_RESPONSE:
        put_text(out, b"Transfer-Encoding: chunked\r\n")
    elif response.has_content_length and response.status != 204:
        put_text(out, b"Content-Length: ")
        put_number(out, response.content_length)
        put_text(out, b"\r\n")
    put_connection(exchange, out, not has_date)
    put_text(out, b"\r\n")
    return 502 if overflowed(out) else 0


cdef int build_interim_head(Exchange* exchange) noexcept nogil:
    cdef ResponseHead* response = &exchange.response
    cdef Buffer* source = exchange.upstream.input
    cdef const uint8_t* head = &source.data[0] + source.start
    cdef const HeaderField* field
    cdef uint32_t i
    cdef Buffer* out
    if not reserve_out(exchange, response.parsed + OWN_FIELDS_ROOM):
        return 502
    out = exchange.out
    put_text(out, b"HTTP/1.1 ")
    put_number(out, response.status)
    put_text(out, b" ")
    put(out, head + response.reason_offset, response.reason_length)
    put_text(out, b"\r\n")
    for i in range(response.header_count):
        field = &response.headers[i]
        if field.flags & HEADER_HOP_BY_HOP or KEPT_BACK[field.known & 63]:
            continue
        put(out, head + field.name_offset, field.name_length)
        put_text(out, b": ")
        put(out, head + field.value_offset, field.value_length)
        put_text(out, b"\r\n")
    put_text(out, b"\r\n")
    return 502 if overflowed(out) else 0
