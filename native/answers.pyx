from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport strlen

from native.connection cimport EXCHANGE_BALANCED, EXCHANGE_LOCAL, REQUEST_ID_LENGTH
from native.headers cimport HEADER_ACCEPT, HEADER_CONTENT_TYPE, HeaderField
from native.http1 cimport METHOD_HEAD
from native.memory cimport Buffer, buffer_give, buffer_take
from native.request_head cimport put_forwarded_host
from native.response_head cimport (
    debug_fields_room,
    put_connection,
    put_debug_fields,
    put_proxied_fields,
    put_request_id,
    put_status_line,
    reserve_out,
)
from native.snapshot cimport (
    ERROR_GRPC,
    ERROR_HTML,
    ERROR_JSON,
    ERROR_PLAIN,
    ERROR_XML,
    SEND_RESPONSE_LATENCY,
    SEND_SERVER,
    SEND_VIA,
)
from native.text cimport PRODUCT, SERVER_FIELD, is_text, put, put_number, put_text

cdef enum:
    ANSWER_HEAD_ROOM = 1024


cdef const char* standard_message(uint16_t status) noexcept nogil:
    """What Kong's error handler says (proxying.md §4)."""
    if status == 400:
        return b"Bad request"
    if status == 404:
        return b"Not found"
    if status == 405:
        return b"Method not allowed"
    if status == 408:
        return b"Request timeout"
    if status == 411:
        return b"Length required"
    if status == 413:
        return b"Payload too large"
    if status == 414:
        return b"URI too long"
    if status == 417:
        return b"Expectation failed"
    if status == 431:
        return b"Request header or cookie too large"
    if status == 500:
        return b"An unexpected error occurred"
    if status == 501:
        return b"Not implemented"
    if status == 502:
        return b"An invalid response was received from the upstream server"
    if status == 503:
        return b"The upstream server is currently unavailable"
    if status == 504:
        return b"The upstream server is timing out"
    if status == 505:
        return b"HTTP version not supported"
    return b"An unexpected error occurred"


cdef int media_type(const uint8_t* text, uint32_t length) noexcept nogil:
    """ErrorType of a media type without parameters; JSON for those Kong has no template for."""
    if is_text(text, length, b"text/html", 9):
        return ERROR_HTML
    if is_text(text, length, b"text/plain", 10) or is_text(text, length, b"text/*", 6):
        return ERROR_PLAIN
    if is_text(text, length, b"application/xml", 15):
        return ERROR_XML
    if is_text(text, length, b"application/grpc", 16):
        return ERROR_GRPC
    return ERROR_JSON


cdef uint32_t quality(const uint8_t* text, uint32_t length) noexcept nogil:
    """The q parameter among `text` (";level=1;q=0.5") in thousandths (RFC 9110 §12.4.2); 1000 without one."""
    cdef uint32_t i = 0
    cdef uint32_t value
    cdef uint32_t scale
    while i < length:
        if text[i] != 59:                                # ";"
            i += 1
            continue
        i += 1
        while i < length and (text[i] == 32 or text[i] == 9):
            i += 1
        if i + 2 < length and (text[i] | 32) == 113 and text[i + 1] == 61:   # "q="
            i += 2
            value = 1000 if text[i] == 49 else 0
            i += 1
            if i < length and text[i] == 46 and value == 0:
                scale = 100
                i += 1
                while i < length and 48 <= text[i] <= 57 and scale:
                    value += (text[i] - 48) * scale
                    scale = scale / 10
                    i += 1
            return value
    return 1000


cdef int negotiate(const uint8_t* text, uint32_t length) noexcept nogil:
    """ErrorType for an Accept value: the first media range of the highest quality decides."""
    cdef uint32_t start = 0
    cdef uint32_t end, stop, name_end, q
    cdef uint32_t best_quality = 0
    cdef int best = ERROR_JSON
    while start < length:
        end = start
        while end < length and text[end] != 44:          # ","
            end += 1
        stop = end
        while start < stop and (text[start] == 32 or text[start] == 9):
            start += 1
        name_end = start
        while name_end < stop and text[name_end] != 59 and text[name_end] != 32 and text[name_end] != 9:
            name_end += 1
        q = quality(text + name_end, stop - name_end)
        if q > best_quality and name_end > start:
            best_quality = q
            best = media_type(text + start, name_end - start)
        start = end + 1
    return best


cdef int answer_type(Exchange* exchange, AnswerStyle style) noexcept nogil:
    cdef const uint8_t* head
    cdef const HeaderField* field
    cdef const HeaderField* content_type = NULL
    cdef uint32_t i
    if exchange.client.input != NULL:
        head = &exchange.client.input.data[0] + exchange.client.input.start
        for i in range(exchange.request.header_count):
            field = &exchange.request.headers[i]
            if field.known == HEADER_ACCEPT:
                return negotiate(head + field.value_offset, field.value_length)
            if field.known == HEADER_CONTENT_TYPE and content_type == NULL:
                content_type = field
        if style == ANSWER_SERVER and content_type != NULL:
            return negotiate(head + content_type.value_offset, content_type.value_length)
    return exchange.settings.error_default_type if style == ANSWER_SERVER else ERROR_JSON


cdef void put_escaped(Buffer* out, const char* text, int kind) noexcept nogil:
    cdef uint32_t i
    cdef char c
    for i in range(<uint32_t> strlen(text)):
        c = text[i]
        if kind == ERROR_JSON and (c == 34 or c == 92):
            put_text(out, b"\\")
            put(out, &c, 1)
        elif kind != ERROR_JSON and kind != ERROR_PLAIN and c == 60:
            put_text(out, b"&lt;")
        elif kind != ERROR_JSON and kind != ERROR_PLAIN and c == 38:
            put_text(out, b"&amp;")
        else:
            put(out, &c, 1)


cdef const char* put_body(Exchange* exchange, Buffer* body, int kind, const char* message) noexcept nogil:
    """Kong's templates. Returns the content type; Kong sends it empty, like the body, to who accepts gRPC only."""
    if kind == ERROR_GRPC:
        return b""
    if kind == ERROR_JSON:
        put_text(body, b'{\n  "message":"')
        put_escaped(body, message, kind)
        put_text(body, b'",\n  "request_id":"')
        put(body, exchange.request_id, REQUEST_ID_LENGTH)
        put_text(body, b'"\n}')
        return b"application/json; charset=utf-8"
    if kind == ERROR_HTML:
        put_text(body, b'<!doctype html>\n<html>\n  <head>\n    <meta charset="utf-8">\n    <title>Error</title>\n'
                       b'  </head>\n  <body>\n    <h1>Error</h1>\n    <p>')
        put_escaped(body, message, kind)
        put_text(body, b'.</p>\n    <p>request_id: ')
        put(body, exchange.request_id, REQUEST_ID_LENGTH)
        put_text(body, b'</p>\n  </body>\n</html>\n')
        return b"text/html; charset=utf-8"
    if kind == ERROR_XML:
        put_text(body, b'<?xml version="1.0" encoding="UTF-8"?>\n<error>\n  <message>')
        put_escaped(body, message, kind)
        put_text(body, b'</message>\n  <requestid>')
        put(body, exchange.request_id, REQUEST_ID_LENGTH)
        put_text(body, b'</requestid>\n</error>\n')
        return b"application/xml; charset=utf-8"
    put_escaped(body, message, kind)
    put_text(body, b'\nrequest_id: ')
    put(body, exchange.request_id, REQUEST_ID_LENGTH)
    put_text(body, b'\n')
    return b"text/plain; charset=utf-8"


cdef void put_answer(Exchange* exchange, uint16_t status, const char* content_type, Buffer* body,
                     const char* extra) noexcept nogil:
    """The head of an own answer and `body` behind it, into exchange.out."""
    cdef uint8_t sent = exchange.settings.sent_headers
    cdef uint32_t body_length = body.end - body.start
    cdef Buffer* out
    exchange.flags |= EXCHANGE_LOCAL
    exchange.status = status
    if not reserve_out(exchange, ANSWER_HEAD_ROOM + body_length + debug_fields_room(exchange)
                       + (<uint32_t> strlen(extra) if extra != NULL else 0)):
        return
    out = exchange.out
    put_status_line(out, status)
    put_text(out, b"Content-Type: ")
    put_text(out, content_type)
    put_text(out, b"\r\n")
    put_connection(exchange, out, True)
    if sent & SEND_SERVER:
        put_text(out, SERVER_FIELD)
    if extra != NULL:
        put_text(out, extra)
    if exchange.flags & EXCHANGE_BALANCED:
        # made after the balancer ran: 502 and 504 (corrections.md, 3)
        if sent & SEND_VIA:
            put_text(out, b"Via: 1.1 ")
            put_text(out, PRODUCT)
            put_text(out, b"\r\n")
        put_proxied_fields(exchange, out)
    elif sent & SEND_RESPONSE_LATENCY:
        put_text(out, b"X-Kong-Response-Latency: ")
        put_number(out, exchange.worker.loop.now_ms - exchange.started_ms)
        put_text(out, b"\r\n")
    put_request_id(exchange, out)
    put_debug_fields(exchange, out)
    put_text(out, b"Content-Length: ")
    put_number(out, body_length)
    put_text(out, b"\r\n\r\n")
    if exchange.request.method != METHOD_HEAD:
        put(out, &body.data[0], body_length)
        exchange.body_sent = body_length


cdef void build_answer(Exchange* exchange, uint16_t status, const char* message, AnswerStyle style,
                       const char* extra) noexcept nogil:
    cdef Buffer* body = buffer_take(&exchange.worker.buffers, 1024)
    cdef const char* content_type
    cdef const char* text = message if message != NULL else standard_message(status)
    if body == NULL:
        return
    content_type = put_body(exchange, body, answer_type(exchange, style), text)
    put_answer(exchange, status, content_type, body, extra)
    buffer_give(&exchange.worker.buffers, body)


cdef void build_https_redirect(Exchange* exchange, uint16_t status) noexcept nogil:
    cdef const uint8_t* head = &exchange.client.input.data[0] + exchange.client.input.start
    cdef Buffer* location = buffer_take(&exchange.worker.buffers, exchange.request.parsed + 512)
    cdef Buffer* body = buffer_take(&exchange.worker.buffers, 512)
    cdef const char* text
    if location != NULL and body != NULL:
        put_text(location, b"Location: https://")
        put_forwarded_host(exchange, location, head)
        if exchange.request.path_length == 0:
            put_text(location, b"/")
        put(location, head + exchange.request.path_offset, exchange.request.path_length)
        if exchange.request.has_query:
            put_text(location, b"?")
            put(location, head + exchange.request.query_offset, exchange.request.query_length)
        put(location, <const char*> b"\r\n\0", 3)
        text = (b"Moved Permanently" if status == 301 else b"Found" if status == 302
                else b"Temporary Redirect" if status == 307 else b"Permanent Redirect")
        put_text(body, b"<html>\r\n<head><title>")
        put_number(body, status)
        put_text(body, b" ")
        put_text(body, text)
        put_text(body, b"</title></head>\r\n<body>\r\n<center><h1>")
        put_number(body, status)
        put_text(body, b" ")
        put_text(body, text)
        put_text(body, b"</h1></center>\r\n</body>\r\n</html>\r\n")
        put_answer(exchange, status, b"text/html", body, <const char*> &location.data[0])
    buffer_give(&exchange.worker.buffers, location)
    buffer_give(&exchange.worker.buffers, body)
