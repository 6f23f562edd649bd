"""Written twice: once to learn the length, once into memory of that length. Texts of a request may be any bytes; what is
not UTF-8 becomes U+FFFD, as JSON must be UTF-8 (RFC 8259 §8.1)."""

from libc.stdint cimport uint64_t
from libc.string cimport memcpy, strlen

from native.arguments cimport Arguments, arguments_begin, arguments_find, arguments_parse
from native.fields cimport Head, next_field, same_text, text_of
from native.headers cimport same_name
from native.plan cimport (
    exchange_memory,
    request_body,
    request_head,
    request_host,
    request_method,
    request_query,
)
from native.regex cimport Regex, regex_group_name
from native.scratch cimport Scratch, scratch_begin
from native.snapshot cimport (
    NO_INDEX,
    PROTOCOL_GRPC,
    PROTOCOL_GRPCS,
    PROTOCOL_HTTP,
    PROTOCOL_HTTPS,
    ROUTE_PATH_HANDLING_V1,
    ROUTE_PRESERVE_HOST,
    ROUTE_REQUEST_BUFFERING,
    ROUTE_RESPONSE_BUFFERING,
    ROUTE_STRIP_PATH,
    RouteRecord,
    ServiceRecord,
    StringRef,
    snapshot_text,
)
from native.text cimport NUMBER_TEXT, format_number
from native.uri cimport is_utf8

cdef extern from "<unistd.h>" nogil:
    int getpid()

cdef enum:
    QUERY_SCRATCH = 65536        # of some hundred arguments; a query of more is not taken apart
    LONGEST_NAME = 256           # of header fields; longer ones are left out
    LONGEST_BODY = 1048576       # longer ones are left out

# Where JSON goes. `data` NULL: it is only measured.
ctypedef struct Sink:
    uint8_t* data
    uint32_t length
    uint8_t needs_comma


# --- JSON ------------------------------------------------------------------------------------------------------------
cdef void put_bytes(Sink* sink, const void* data, uint32_t length) noexcept nogil:
    if sink.data != NULL and length:
        memcpy(sink.data + sink.length, data, length)
    sink.length += length


cdef void put_escape(Sink* sink, uint8_t byte) noexcept nogil:
    cdef const char* digits = b"0123456789abcdef"
    cdef char[6] escape
    if byte == 34 or byte == 92:
        escape[0] = 92
        escape[1] = byte
        put_bytes(sink, escape, 2)
        return
    memcpy(escape, b"\\u00", 4)
    escape[4] = digits[byte >> 4]
    escape[5] = digits[byte & 15]
    put_bytes(sink, escape, 6)


cdef uint32_t sequence_length(const uint8_t* text, uint32_t left) noexcept nogil:
    """How many bytes the character has that begins here (not ASCII); 0: it is not UTF-8."""
    cdef uint32_t length = 2 if text[0] < 0xe0 else 3 if text[0] < 0xf0 else 4
    return length if length <= left and is_utf8(text, length) else 0


cdef void put_string(Sink* sink, Text text) noexcept nogil:
    cdef uint32_t i = 0
    cdef uint32_t plain = 0                              # where what is written as it is begins
    cdef uint32_t length
    cdef uint8_t byte
    put_bytes(sink, b'"', 1)
    while i < text.length:
        byte = text.data[i]
        if byte < 0x80:
            if byte < 32 or byte == 34 or byte == 92 or byte == 127:
                put_bytes(sink, text.data + plain, i - plain)
                put_escape(sink, byte)
                plain = i + 1
            i += 1
            continue
        length = sequence_length(text.data + i, text.length - i)
        if length == 0:
            put_bytes(sink, text.data + plain, i - plain)
            put_bytes(sink, b"\xef\xbf\xbd", 3)          # U+FFFD
            length = 1
            plain = i + 1
        i += length
    put_bytes(sink, text.data + plain, text.length - plain)
    put_bytes(sink, b'"', 1)


cdef void separate(Sink* sink) noexcept nogil:
    if sink.needs_comma:
        put_bytes(sink, b",", 1)
    sink.needs_comma = 1


cdef void put_name(Sink* sink, Text name) noexcept nogil:
    separate(sink)
    put_string(sink, name)
    put_bytes(sink, b":", 1)


cdef void put_member(Sink* sink, const char* name) noexcept nogil:
    put_name(sink, text_of(name, <uint32_t> strlen(name)))


cdef void begin(Sink* sink, const char* bracket) noexcept nogil:
    put_bytes(sink, bracket, 1)
    sink.needs_comma = 0


cdef void end(Sink* sink, const char* bracket) noexcept nogil:
    put_bytes(sink, bracket, 1)
    sink.needs_comma = 1


cdef void put_text_member(Sink* sink, const char* name, Text text) noexcept nogil:
    put_member(sink, name)
    put_string(sink, text)


cdef void put_number_member(Sink* sink, const char* name, uint64_t number) noexcept nogil:
    cdef uint8_t digits[NUMBER_TEXT]
    put_member(sink, name)
    put_bytes(sink, digits, format_number(number, digits))


cdef void put_flag_member(Sink* sink, const char* name, bint flag) noexcept nogil:
    put_member(sink, name)
    put_bytes(sink, b"true" if flag else b"false", 4 if flag else 5)


# --- the request -----------------------------------------------------------------------------------------------------
cdef bint same_field(Text one, Text other) noexcept nogil:
    return one.length == other.length and same_name(one.data, other.data, one.length)


cdef bint came_before(const Head* head, uint32_t place, Text name) noexcept nogil:
    cdef uint32_t before = 0
    cdef Text other, ignored
    while before < place and next_field(head, &before, &other, &ignored):
        if before < place and same_field(name, other):
            return True
    return False


cdef void put_lower(Sink* sink, Text name) noexcept nogil:
    cdef uint8_t lower[LONGEST_NAME]
    cdef uint32_t i
    for i in range(name.length):
        lower[i] = name.data[i] | 32 if 65 <= name.data[i] <= 90 else name.data[i]
    put_name(sink, text_of(lower, name.length))


cdef void put_headers(Sink* sink, Exchange* exchange) noexcept nogil:
    """By name in lower case; several fields of a name are a list."""
    cdef Head head = request_head(exchange)
    cdef uint32_t place = 0
    cdef uint32_t next_place, count
    cdef Text name, value, other
    put_member(sink, b"headers")
    begin(sink, b"{")
    while next_field(&head, &place, &name, &value):
        if name.length > LONGEST_NAME or came_before(&head, place, name):
            continue
        put_lower(sink, name)
        count = 1
        next_place = place
        while next_field(&head, &next_place, &other, &value):
            if same_field(name, other):
                count += 1
        put_values_of(sink, &head, name, count)
    end(sink, b"}")


cdef void put_values_of(Sink* sink, const Head* head, Text name, uint32_t count) noexcept nogil:
    cdef uint32_t place = 0
    cdef Text other, value
    if count > 1:
        begin(sink, b"[")
    while next_field(head, &place, &other, &value):
        if same_field(name, other):
            if count > 1:
                separate(sink)
            put_string(sink, value)
    if count > 1:
        end(sink, b"]")


cdef void put_query(Sink* sink, Exchange* exchange) noexcept nogil:
    """Decoded; an argument without "=" is true, several of a name are a list. A query of very many is left out."""
    cdef Arguments arguments
    cdef Scratch scratch
    cdef uint8_t* memory = exchange_memory(exchange, QUERY_SCRATCH)
    cdef uint32_t i, nth
    cdef bint several
    if memory == NULL:
        return
    scratch_begin(&scratch, memory, QUERY_SCRATCH)
    arguments_begin(&arguments, &scratch)
    arguments_parse(&arguments, request_query(exchange))
    if arguments.overflow:
        return
    put_member(sink, b"query")
    begin(sink, b"{")
    for i in range(arguments.count):
        if arguments_find(&arguments, arguments.items[i].name, 0) != &arguments.items[i]:
            continue
        put_name(sink, arguments.items[i].name)
        several = arguments_find(&arguments, arguments.items[i].name, 1) != NULL
        if several:
            begin(sink, b"[")
        for nth in range(i, arguments.count):
            if same_text(arguments.items[nth].name, arguments.items[i].name):
                if several:
                    separate(sink)
                if arguments.items[nth].bare:
                    put_bytes(sink, b"true", 4)
                else:
                    put_string(sink, arguments.items[nth].value)
        if several:
            end(sink, b"]")
    end(sink, b"}")


cdef Text capture(Exchange* exchange, uint32_t group) noexcept nogil:
    """What a group of the route's regular expression matched; empty: it took no part."""
    cdef uint32_t start, stop
    if group >= exchange.match.capture_count:
        return text_of(b"", 0)
    start = exchange.match.captures[2 * group]
    stop = exchange.match.captures[2 * group + 1]
    return text_of(exchange.path + start, stop - start) if start <= stop <= exchange.path_length else text_of(b"", 0)


cdef void put_captures(Sink* sink, Exchange* exchange) noexcept nogil:
    cdef Regex* regex = NULL
    cdef const char* name
    cdef uint32_t i, group
    if exchange.route != NULL and exchange.match.capture_count and exchange.match.regex != NO_INDEX:
        regex = exchange.configuration.router.regexes[exchange.match.regex]
    put_member(sink, b"uri_captures")
    begin(sink, b"{")
    put_member(sink, b"unnamed")
    begin(sink, b"[")
    for group in range(1, exchange.match.capture_count):
        separate(sink)
        put_string(sink, capture(exchange, group))
    end(sink, b"]")
    put_member(sink, b"named")
    begin(sink, b"{")
    i = 0
    while regex != NULL and regex_group_name(regex, i, &name, &group):
        put_text_member(sink, name, capture(exchange, group))
        i += 1
    end(sink, b"}")
    end(sink, b"}")


cdef void put_request(Sink* sink, Exchange* exchange) noexcept nogil:
    cdef Text body
    put_member(sink, b"request")
    begin(sink, b"{")
    put_text_member(sink, b"scheme", text_of(b"https", 5) if exchange.https else text_of(b"http", 4))
    put_text_member(sink, b"host", request_host(exchange))
    put_number_member(sink, b"port", exchange.client.listener.port)
    put_text_member(sink, b"method", request_method(exchange))
    put_text_member(sink, b"path", text_of(exchange.path, exchange.path_length))
    put_headers(sink, exchange)
    put_query(sink, exchange)
    if request_body(exchange, &body) and body.length <= LONGEST_BODY:
        put_text_member(sink, b"raw_body", body)
    put_captures(sink, exchange)
    end(sink, b"}")


# --- what it matched -------------------------------------------------------------------------------------------------
cdef void put_string_ref(Sink* sink, Exchange* exchange, const char* name, StringRef text) noexcept nogil:
    if text.length:
        put_text_member(sink, name, text_of(snapshot_text(exchange.configuration.base, text), text.length))


cdef void put_protocols(Sink* sink, uint8_t protocols) noexcept nogil:
    cdef const char* names[4]
    cdef uint8_t bits[4]
    cdef uint32_t i
    names[0], names[1], names[2], names[3] = b"grpc", b"grpcs", b"http", b"https"
    bits[0], bits[1], bits[2], bits[3] = PROTOCOL_GRPC, PROTOCOL_GRPCS, PROTOCOL_HTTP, PROTOCOL_HTTPS
    put_member(sink, b"protocols")
    begin(sink, b"[")
    for i in range(4):
        if protocols & bits[i]:
            separate(sink)
            put_string(sink, text_of(names[i], <uint32_t> strlen(names[i])))
    end(sink, b"]")


cdef void put_route(Sink* sink, Exchange* exchange) noexcept nogil:
    """As far as workers know it: not what it matches by."""
    cdef const RouteRecord* route = exchange.route
    put_member(sink, b"matched_route")
    begin(sink, b"{")
    put_string_ref(sink, exchange, b"id", route.id)
    put_string_ref(sink, exchange, b"name", route.name)
    put_protocols(sink, route.protocols)
    put_number_member(sink, b"https_redirect_status_code", route.https_redirect_status)
    put_flag_member(sink, b"strip_path", route.flags & ROUTE_STRIP_PATH)
    put_flag_member(sink, b"preserve_host", route.flags & ROUTE_PRESERVE_HOST)
    put_flag_member(sink, b"request_buffering", route.flags & ROUTE_REQUEST_BUFFERING)
    put_flag_member(sink, b"response_buffering", route.flags & ROUTE_RESPONSE_BUFFERING)
    put_text_member(sink, b"path_handling",
                    text_of(b"v1", 2) if route.flags & ROUTE_PATH_HANDLING_V1 else text_of(b"v0", 2))
    if exchange.service != NULL:
        put_member(sink, b"service")
        begin(sink, b"{")
        put_string_ref(sink, exchange, b"id", exchange.service.id)
        end(sink, b"}")
    end(sink, b"}")


cdef void put_service(Sink* sink, Exchange* exchange) noexcept nogil:
    cdef const ServiceRecord* service = exchange.service
    put_member(sink, b"matched_service")
    begin(sink, b"{")
    put_string_ref(sink, exchange, b"id", service.id)
    put_string_ref(sink, exchange, b"name", service.name)
    put_string_ref(sink, exchange, b"host", service.host)
    put_string_ref(sink, exchange, b"path", service.path)
    put_number_member(sink, b"port", service.port)
    put_number_member(sink, b"retries", service.retries)
    put_number_member(sink, b"connect_timeout", service.connect_timeout_ms)
    put_number_member(sink, b"read_timeout", service.read_timeout_ms)
    put_number_member(sink, b"write_timeout", service.write_timeout_ms)
    end(sink, b"}")


cdef void put_echo(Sink* sink, Exchange* exchange, Text message, Text host_name) noexcept nogil:
    begin(sink, b"{")
    if message.length:
        put_text_member(sink, b"message", message)
    put_member(sink, b"kong")
    begin(sink, b"{")
    put_text_member(sink, b"hostname", host_name)
    put_number_member(sink, b"worker_pid", <uint64_t> getpid())
    end(sink, b"}")
    put_request(sink, exchange)
    if exchange.route != NULL:
        put_route(sink, exchange)
    if exchange.service != NULL:
        put_service(sink, exchange)
    end(sink, b"}")


cdef Text request_echo(Exchange* exchange, Text message, Text host_name) noexcept nogil:
    cdef Sink sink
    sink.data = NULL
    sink.length = 0
    put_echo(&sink, exchange, message, host_name)
    sink.data = exchange_memory(exchange, sink.length)
    if sink.data == NULL:
        return text_of(NULL, 0)
    sink.length = 0
    put_echo(&sink, exchange, message, host_name)
    return text_of(sink.data, sink.length)


# --- for tests -------------------------------------------------------------------------------------------------------
def json_string(bytes text) -> bytes:
    """A text as it stands in the echo."""
    cdef Sink sink
    cdef Text given = text_of(<const uint8_t*> text, <uint32_t> len(text))
    cdef bytearray out
    cdef uint8_t* place
    sink.data = NULL
    sink.length = 0
    put_string(&sink, given)
    out = bytearray(sink.length)
    place = out
    sink.data = place
    sink.length = 0
    put_string(&sink, given)
    return bytes(out)
