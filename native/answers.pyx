from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport strlen

from native.connection cimport (
    EXCHANGE_BALANCED,
    EXCHANGE_LOCAL,
    EXCHANGE_STORED,
    REQUEST_ID_LENGTH,
    STEP_ANSWER_ERROR,
    STEP_ANSWER_MESSAGE,
    STEP_ANSWER_STORED,
    StepAnswer,
)
from native.fields cimport Text, added_length, put_added, text_of
from native.headers cimport HEADER_ACCEPT, HEADER_CONTENT_TYPE, HEADER_REMOVED, HeaderField, classify_header
from native.http1 cimport METHOD_HEAD
from native.memory cimport Buffer, BufferStock, buffer_give, buffer_take
from native.request_head cimport put_forwarded_host
from native.response_head cimport (
    debug_fields_room,
    put_connection,
    put_debug_fields,
    put_proxied_fields,
    put_request_id,
    put_status_line,
    reason_phrase,
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
from native.stored_response cimport build_stored_answer, drop_stored_body, put_stored_answer
from native.text cimport PRODUCT, is_text, put, put_number, put_text

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


cdef void put_escaped(Buffer* out, Text text, int kind) noexcept nogil:
    cdef const char* digits = b"0123456789abcdef"
    cdef uint32_t i
    cdef uint8_t c
    for i in range(text.length):
        c = text.data[i]
        if kind == ERROR_JSON and (c == 34 or c == 92):
            put_text(out, b"\\")
            put(out, &c, 1)
        elif kind == ERROR_JSON and c < 32:
            put_text(out, b"\\u00")
            put(out, digits + (c >> 4), 1)
            put(out, digits + (c & 15), 1)
        elif kind != ERROR_JSON and kind != ERROR_PLAIN and c == 60:
            put_text(out, b"&lt;")
        elif kind != ERROR_JSON and kind != ERROR_PLAIN and c == 38:
            put_text(out, b"&amp;")
        else:
            put(out, &c, 1)


cdef const char* put_body(Exchange* exchange, Buffer* body, int kind, Text message) noexcept nogil:
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


# --- preparing: status, body, and the fields that plugins may change --------------------------------------------------
cdef void add_own_field(Exchange* exchange, const char* name, const void* value, uint32_t length) noexcept nogil:
    cdef Buffer* lines = exchange.answer_head
    cdef HeaderField* field = &exchange.response.headers[exchange.response.header_count]
    cdef uint32_t name_length = <uint32_t> strlen(name)
    field.name_offset = lines.end
    field.name_length = <uint16_t> name_length
    field.value_offset = lines.end + name_length + 2
    field.value_length = length
    field.known = classify_header(<const uint8_t*> name, name_length)
    field.flags = 0
    put(lines, name, name_length)
    put_text(lines, b": ")
    put(lines, value, length)
    put_text(lines, b"\r\n")
    exchange.response.header_count += 1


cdef void prepare_answer(Exchange* exchange, uint16_t status, Text content_type, Buffer* body,
                         uint32_t extra_room) noexcept nogil:
    """Make `body` (given away) the exchange's answer. Without memory there is no answer_head, and so no answer."""
    cdef BufferStock* stock = &exchange.worker.buffers
    exchange.flags |= EXCHANGE_LOCAL
    exchange.flags &= ~<uint32_t> EXCHANGE_STORED        # a stored one, if any, gives way
    drop_stored_body(exchange)
    exchange.status = status
    buffer_give(stock, exchange.held)
    buffer_give(stock, exchange.answer_head)
    exchange.held = body
    exchange.answer_head = buffer_take(stock, ANSWER_HEAD_ROOM + content_type.length + extra_room)
    exchange.response.header_count = 0
    if exchange.answer_head == NULL:
        return
    if content_type.data != NULL:
        add_own_field(exchange, b"Content-Type", content_type.data, content_type.length)
    if exchange.settings.sent_headers & SEND_SERVER:
        add_own_field(exchange, b"Server", PRODUCT, <uint32_t> strlen(PRODUCT))


cdef void build_answer(Exchange* exchange, uint16_t status, const char* message, AnswerStyle style,
                       const char* extra) noexcept nogil:
    cdef const char* text = message if message != NULL else standard_message(status)
    build_error(exchange, status, text_of(text, <uint32_t> strlen(text)), style)
    exchange.answer_extra = extra


cdef void build_error(Exchange* exchange, uint16_t status, Text message, AnswerStyle style) noexcept nogil:
    cdef Buffer* body = buffer_take(&exchange.worker.buffers, 1024 + 6 * message.length)
    cdef const char* content_type
    if body == NULL:
        return
    content_type = put_body(exchange, body, answer_type(exchange, style), message)
    prepare_answer(exchange, status, text_of(content_type, <uint32_t> strlen(content_type)), body, 0)


cdef void build_step_answer(Exchange* exchange) noexcept nogil:
    cdef StepAnswer* answer = &exchange.answer
    cdef Text text = answer.text
    cdef Buffer* body
    if answer.kind == STEP_ANSWER_STORED:
        if not build_stored_answer(exchange):
            build_answer(exchange, 500, NULL, ANSWER_NEGOTIATED, NULL)
        return
    exchange.answered_by = exchange.chosen[exchange.step]
    if answer.kind == STEP_ANSWER_ERROR:
        if text.length == 0:
            text = text_of(standard_message(answer.status), <uint32_t> strlen(standard_message(answer.status)))
        build_error(exchange, answer.status, text, ANSWER_NEGOTIATED)
        return
    body = buffer_take(&exchange.worker.buffers, 64 + 6 * text.length)
    if body == NULL:
        return
    if answer.kind == STEP_ANSWER_MESSAGE:
        put_text(body, b'{"message":"')
        put_escaped(body, text, ERROR_JSON)
        put_text(body, b'"}')
        prepare_answer(exchange, answer.status, text_of(b"application/json; charset=utf-8", 31), body, 0)
    else:
        put(body, text.data, text.length)
        if answer.content_type.length == 0:
            answer.content_type = text_of(NULL, 0)
        prepare_answer(exchange, answer.status, answer.content_type, body, 0)


# --- writing ---------------------------------------------------------------------------------------------------------
cdef void put_own_fields(Exchange* exchange, Buffer* out) noexcept nogil:
    cdef const HeaderField* field
    cdef const uint8_t* lines = &exchange.answer_head.data[0]
    cdef uint32_t i
    for i in range(exchange.response.header_count):
        field = &exchange.response.headers[i]
        if not field.flags & HEADER_REMOVED:
            put(out, lines + field.name_offset, field.value_offset + field.value_length - field.name_offset)
            put_text(out, b"\r\n")
    put_added(out, &exchange.response_edits)


cdef void put_answer(Exchange* exchange) noexcept nogil:
    cdef uint8_t sent = exchange.settings.sent_headers
    cdef Buffer* body = exchange.held
    cdef uint32_t body_length
    cdef Buffer* out
    if exchange.answer_head == NULL or body == NULL:
        return
    if exchange.flags & EXCHANGE_STORED:
        put_stored_answer(exchange)
        return
    body_length = body.end - body.start
    if not reserve_out(exchange, ANSWER_HEAD_ROOM + exchange.answer_head.end + body_length + debug_fields_room(exchange)
                       + added_length(&exchange.response_edits)):
        return
    out = exchange.out
    put_status_line(out, exchange.status)
    put_own_fields(exchange, out)
    put_connection(exchange, out, True)
    if exchange.answer_extra != NULL:
        put_text(out, exchange.answer_extra)
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
    if exchange.status != 204 and exchange.status != 304:
        put_text(out, b"Content-Length: ")
        put_number(out, body_length)
        put_text(out, b"\r\n")
    put_text(out, b"\r\n")
    if exchange.request.method != METHOD_HEAD and exchange.status != 204 and exchange.status != 304:
        put(out, &body.data[0] + body.start, body_length)
        exchange.body_sent = body_length


cdef void put_page(Buffer* body, uint16_t status) noexcept nogil:
    """The page that nginx shows of a status."""
    put_text(body, b"<html>\r\n<head><title>")
    put_number(body, status)
    put_text(body, b" ")
    put_text(body, reason_phrase(status))
    put_text(body, b"</title></head>\r\n<body>\r\n<center><h1>")
    put_number(body, status)
    put_text(body, b" ")
    put_text(body, reason_phrase(status))
    put_text(body, b"</h1></center>\r\n</body>\r\n</html>\r\n")


cdef void build_https_redirect(Exchange* exchange, uint16_t status) noexcept nogil:
    cdef const uint8_t* head = &exchange.client.input.data[0] + exchange.client.input.start
    cdef Buffer* location = buffer_take(&exchange.worker.buffers, exchange.request.parsed + 512)
    cdef Buffer* body = buffer_take(&exchange.worker.buffers, 512)
    if location == NULL or body == NULL:
        buffer_give(&exchange.worker.buffers, location)
        buffer_give(&exchange.worker.buffers, body)
        return
    put_text(location, b"https://")
    put_forwarded_host(exchange, location, head)
    if exchange.request.path_length == 0:
        put_text(location, b"/")
    put(location, head + exchange.request.path_offset, exchange.request.path_length)
    if exchange.request.has_query:
        put_text(location, b"?")
        put(location, head + exchange.request.query_offset, exchange.request.query_length)
    put_page(body, status)
    prepare_answer(exchange, status, text_of(b"text/html", 9), body, location.end)
    if exchange.answer_head != NULL:
        add_own_field(exchange, b"Location", &location.data[0], location.end)
    buffer_give(&exchange.worker.buffers, location)
