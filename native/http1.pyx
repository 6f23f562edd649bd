"""HTTP/1.1 heads and chunked coding; see http1.pxd."""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy, memmove, memset

from native.headers cimport (
    HEADER_CONNECTION,
    HEADER_CONTENT_LENGTH,
    HEADER_EXPECT,
    HEADER_HOP_BY_HOP,
    HEADER_HOST,
    HEADER_KEEP_ALIVE,
    HEADER_OTHER,
    HEADER_PROXY,
    HEADER_PROXY_CONNECTION,
    HEADER_TE,
    HEADER_TRAILER,
    HEADER_TRANSFER_ENCODING,
    HEADER_UPGRADE,
    HeaderField,
    classify_header,
    same_name,
)

include "http1_constants.pxi"
include "http1_grammar.pxi"
include "http1_chunked.pxi"
include "http1_testing.pxi"

# Fields that never cross the gateway, whatever Connection says (RFC 9110 §7.6.1).
cdef uint64_t HOP_BY_HOP_HEADERS = (
    1ULL << HEADER_CONNECTION
    | 1ULL << HEADER_TRANSFER_ENCODING
    | 1ULL << HEADER_UPGRADE
    | 1ULL << HEADER_KEEP_ALIVE
    | 1ULL << HEADER_PROXY_CONNECTION
    | 1ULL << HEADER_TE
    | 1ULL << HEADER_TRAILER
    | 1ULL << HEADER_PROXY
)

cdef enum LineResult:
    LINE_INCOMPLETE = 0
    LINE_FIELD = 1
    LINE_EMPTY = 2


# --- field lines (RFC 9112 §5) -----------------------------------------------------------------------------------


cdef inline int next_field(const uint8_t* data, uint32_t length, uint32_t* parsed, uint32_t* scanned,
                           uint32_t max_head, HeaderField* field) noexcept nogil:
    """Read one finished line at `parsed` and step over it: LINE_FIELD, LINE_EMPTY (end of the head) or a refusal."""
    cdef uint32_t start = parsed[0]
    cdef uint32_t end
    cdef uint32_t i
    cdef const uint8_t* line_feed = NULL
    if scanned[0] < length:
        line_feed = <const uint8_t*> memchr(data + scanned[0], c"\n", length - scanned[0])
    if line_feed == NULL:
        scanned[0] = length
        return HEAD_TOO_LARGE if length > max_head else LINE_INCOMPLETE
    end = <uint32_t> (line_feed - data)
    if end >= max_head:
        return HEAD_TOO_LARGE
    if end == start or data[end - 1] != c"\r":
        return BAD_REQUEST  # bare LF
    if end == start + 1:
        parsed[0] = scanned[0] = end + 1
        return LINE_EMPTY
    # A line that begins with white space (obs-fold) and one without a name fail here, as does white space before ":".
    i = start
    while BYTE_CLASS[data[i]] & IS_TOKEN:
        i += 1
    if i == start or data[i] != c":":
        return BAD_REQUEST
    if i - start > 65535:
        return HEAD_TOO_LARGE
    field.name_offset = start
    field.name_length = <uint16_t> (i - start)
    parsed[0] = scanned[0] = end + 1
    end -= 1  # to the CR
    i += 1
    while is_space(data[i]):  # stops at CR at the latest
        i += 1
    while end > i and is_space(data[end - 1]):
        end -= 1
    if not is_field_value(data + i, end - i):
        return BAD_REQUEST
    field.value_offset = i
    field.value_length = end - i
    field.known = classify_header(data + start, field.name_length)
    field.flags = HEADER_HOP_BY_HOP if HOP_BY_HOP_HEADERS >> field.known & 1 else 0
    return LINE_FIELD


cdef int read_connection(const uint8_t* data, HeaderField* headers, uint16_t count, uint16_t* seen) noexcept nogil:
    """Note the options of all Connection fields and mark every field they name (RFC 9110 §7.6.1).

    Runs when the head is complete: a named field may stand before Connection or after it.
    """
    cdef uint32_t position
    cdef uint32_t start = 0
    cdef uint32_t size = 0
    cdef uint32_t options = 0
    cdef uint16_t i
    cdef uint16_t k
    cdef const uint8_t* value
    for i in range(count):
        if headers[i].known != HEADER_CONNECTION:
            continue
        value = data + headers[i].value_offset
        position = 0
        while next_element(value, headers[i].value_length, &position, &start, &size):
            options += 1
            if options > MAX_CONNECTION_OPTIONS:
                return HEAD_TOO_LARGE
            if size == 10 and equals_lower(value + start, b"keep-alive", 10):
                seen[0] |= OPTION_KEEP_ALIVE
            elif size == 5 and equals_lower(value + start, b"close", 5):
                seen[0] |= OPTION_CLOSE
            elif size == 7 and equals_lower(value + start, b"upgrade", 7):
                seen[0] |= OPTION_UPGRADE
            else:
                for k in range(count):
                    if headers[k].name_length == size and same_name(
                        data + headers[k].name_offset, value + start, size
                    ):
                        headers[k].flags |= HEADER_HOP_BY_HOP
    return 0


cdef inline bint persists(uint8_t minor_version, uint16_t seen) noexcept nogil:
    """Whether the connection stays open by version and Connection options (RFC 9112 §9.3)."""
    if seen & OPTION_CLOSE:
        return False
    return minor_version == 1 or seen & OPTION_KEEP_ALIVE != 0


# --- request head ------------------------------------------------------------------------------------------------


cdef void request_head_reset(RequestHead* head) noexcept nogil:
    # The fields beyond header_count are never read, so the 4 KiB of them are left as they are.
    memset(head, 0, <size_t> (<char*> &head.headers[0] - <char*> head))


cdef uint8_t known_method(const uint8_t* name, uint32_t length) noexcept nogil:
    if length == 3:
        if memcmp(name, b"GET", 3) == 0:
            return METHOD_GET
        if memcmp(name, b"PUT", 3) == 0:
            return METHOD_PUT
    elif length == 4:
        if memcmp(name, b"POST", 4) == 0:
            return METHOD_POST
        if memcmp(name, b"HEAD", 4) == 0:
            return METHOD_HEAD
        if memcmp(name, b"LOCK", 4) == 0:
            return METHOD_LOCK
    elif length == 5:
        if memcmp(name, b"PATCH", 5) == 0:
            return METHOD_PATCH
        if memcmp(name, b"TRACE", 5) == 0:
            return METHOD_TRACE
    elif length == 6:
        if memcmp(name, b"DELETE", 6) == 0:
            return METHOD_DELETE
    elif length == 7:
        if memcmp(name, b"OPTIONS", 7) == 0:
            return METHOD_OPTIONS
        if memcmp(name, b"CONNECT", 7) == 0:
            return METHOD_CONNECT
    return METHOD_OTHER


cdef int read_version(const uint8_t* text, uint32_t length, uint8_t* minor_version) noexcept nogil:
    """HTTP-version (RFC 9112 §2.3), which is case-sensitive; a version the gateway does not speak is 505."""
    if length != 8 or memcmp(text, b"HTTP/", 5) != 0:
        return BAD_REQUEST
    if not BYTE_CLASS[text[5]] & IS_DIGIT or text[6] != c"." or not BYTE_CLASS[text[7]] & IS_DIGIT:
        return BAD_REQUEST
    if text[5] != c"1" or text[7] > c"1":
        return VERSION_NOT_SUPPORTED
    minor_version[0] = text[7] - c"0"
    return 0


cdef int read_target(const uint8_t* data, RequestHead* head) noexcept nogil:
    """Tell the form of the target (RFC 9112 §3.2) and split it into authority, path and query."""
    cdef uint32_t start = head.target_offset
    cdef uint32_t end = start + head.target_length
    cdef uint32_t i
    cdef uint32_t scheme_length = 0
    cdef const uint8_t* question_mark
    cdef const uint8_t* target = data + start
    if head.method == METHOD_CONNECT:
        return METHOD_NOT_ALLOWED  # the gateway is no tunnel, whatever the target
    if target[0] == c"/":
        head.target_form = TARGET_ORIGIN
    elif target[0] == c"*" and head.target_length == 1:
        if head.method != METHOD_OPTIONS:
            return BAD_REQUEST
        head.target_form = TARGET_ASTERISK
        head.path_offset = start
        head.path_length = 1
        return 0
    else:
        if head.target_length > 7 and equals_lower(target, b"http://", 7):
            scheme_length = 7
        elif head.target_length > 8 and equals_lower(target, b"https://", 8):
            scheme_length = 8
        else:
            return BAD_REQUEST
        i = start + scheme_length
        while i < end and data[i] != c"/" and data[i] != c"?":
            i += 1
        head.target_form = TARGET_ABSOLUTE
        head.authority_offset = head.host_offset = start + scheme_length
        head.authority_length = i - head.authority_offset
        if not read_authority(data + head.authority_offset, head.authority_length, &head.host_length, &head.port):
            return BAD_REQUEST
        head.has_host = 1
        start = i
    head.path_offset = start
    head.path_length = end - start
    if start < end:
        question_mark = <const uint8_t*> memchr(data + start, c"?", end - start)
        if question_mark != NULL:
            head.has_query = 1
            head.path_length = <uint32_t> (question_mark - data) - start
            head.query_offset = start + head.path_length + 1
            head.query_length = end - head.query_offset
    return 0


cdef int read_request_line(const uint8_t* data, uint32_t start, uint32_t end, RequestHead* head) noexcept nogil:
    """method SP request-target SP HTTP-version (RFC 9112 §3); `end` is the index of the line's CR."""
    cdef uint32_t i = start
    cdef int result
    while BYTE_CLASS[data[i]] & IS_METHOD:
        i += 1
    head.method_offset = start
    head.method_length = i - start
    if head.method_length == 0 or head.method_length > MAX_METHOD or data[i] != c" ":
        return BAD_REQUEST
    head.method = known_method(data + start, head.method_length)
    i += 1
    head.target_offset = i
    while BYTE_CLASS[data[i]] & IS_TARGET:
        i += 1
    head.target_length = i - head.target_offset
    if head.target_length == 0 or data[i] != c" ":
        return BAD_REQUEST
    i += 1
    result = read_version(data + i, end - i, &head.minor_version)
    if result < 0:
        return result
    return read_target(data, head)


cdef int begin_request(const uint8_t* data, uint32_t length, RequestHead* head,
                       const HeadLimits* limits) noexcept nogil:
    """Read the request line, after one empty line at most."""
    cdef uint32_t start
    cdef uint32_t end
    cdef const uint8_t* line_feed
    cdef int result
    while True:
        start = head.parsed
        if length == start:
            return HEAD_INCOMPLETE
        if data[start] == c"\r":
            # An empty line is told by its first two bytes; anything else here can no longer become a request.
            if start != 0 or (length > 1 and data[1] != c"\n"):
                return BAD_REQUEST
            if length == 1:
                return HEAD_INCOMPLETE
            head.parsed = head.scanned = 2
            continue
        if not BYTE_CLASS[data[start]] & IS_METHOD:
            return BAD_REQUEST
        line_feed = NULL
        if head.scanned < length:
            line_feed = <const uint8_t*> memchr(data + head.scanned, c"\n", length - head.scanned)
        end = length if line_feed == NULL else <uint32_t> (line_feed - data)
        # The line's CR is no part of its length.
        if <uint64_t> (end - start) > <uint64_t> limits.max_line + 1:
            return URI_TOO_LONG
        if line_feed == NULL:
            head.scanned = length
            return HEAD_INCOMPLETE
        if data[end - 1] != c"\r":
            return BAD_REQUEST  # bare LF
        result = read_request_line(data, start, end - 1, head)
        if result < 0:
            return result
        head.parsed = head.scanned = end + 1
        head.phase = PHASE_FIELDS
        return HEAD_COMPLETE


cdef int apply_request_field(const uint8_t* data, RequestHead* head, const HeaderField* field) noexcept nogil:
    """Let one field of framing, connection or routing take effect."""
    cdef const uint8_t* value = data + field.value_offset
    cdef uint32_t host_length = 0
    cdef uint16_t port = 0
    if field.known == HEADER_HOST:
        if head.seen & SEEN_HOST or not read_authority(value, field.value_length, &host_length, &port):
            return BAD_REQUEST
        head.seen |= SEEN_HOST
        if head.target_form != TARGET_ABSOLUTE:
            head.has_host = 1
            head.authority_offset = head.host_offset = field.value_offset
            head.authority_length = field.value_length
            head.host_length = host_length
            head.port = port
    elif field.known == HEADER_CONNECTION:
        head.seen |= SEEN_CONNECTION
    elif field.known == HEADER_CONTENT_LENGTH:
        if head.has_content_length or head.seen & SEEN_TRANSFER_ENCODING:
            return BAD_REQUEST
        head.has_content_length = 1
        head.body_kind = BODY_LENGTH
        return read_content_length(value, field.value_length, &head.content_length)
    elif field.known == HEADER_TRANSFER_ENCODING:
        if head.has_content_length or head.seen & SEEN_TRANSFER_ENCODING or head.minor_version == 0:
            return BAD_REQUEST
        head.seen |= SEEN_TRANSFER_ENCODING
        head.body_kind = BODY_CHUNKED
        return check_transfer_encoding(value, field.value_length)
    elif field.known == HEADER_EXPECT:
        # An HTTP/1.0 client cannot wait for 100 (RFC 9110 §10.1.1); other expectations are ignored.
        if head.minor_version == 1 and field.value_length == 12 and equals_lower(value, b"100-continue", 12):
            head.expect_continue = 1
    elif field.known == HEADER_UPGRADE:
        head.seen |= SEEN_UPGRADE
        if list_names(value, field.value_length, b"websocket", 9):
            head.upgrade_websocket = 1
    elif field.known == HEADER_TE:
        if list_names(value, field.value_length, b"trailers", 8):
            head.te_trailers = 1
    return 0


cdef int finish_request(const uint8_t* data, RequestHead* head) noexcept nogil:
    """What can be said only when all fields are known."""
    cdef int result
    if head.minor_version == 1 and not head.seen & SEEN_HOST:
        return BAD_REQUEST
    if head.seen & SEEN_CONNECTION:
        result = read_connection(data, head.headers, head.header_count, &head.seen)
        if result < 0:
            return result
    head.keep_alive = persists(head.minor_version, head.seen)
    # Upgrade is ignored in HTTP/1.0 (RFC 9110 §7.8).
    head.upgrade = head.minor_version == 1 and head.seen & OPTION_UPGRADE != 0 and head.seen & SEEN_UPGRADE != 0
    if not head.upgrade:
        head.upgrade_websocket = 0
    head.phase = PHASE_COMPLETE
    return HEAD_COMPLETE


cdef int parse_request_lines(const uint8_t* data, uint32_t length, RequestHead* head,
                             const HeadLimits* limits) noexcept nogil:
    cdef HeaderField field
    cdef int result
    if head.phase == PHASE_START_LINE:
        result = begin_request(data, length, head, limits)
        if result != HEAD_COMPLETE:
            return result
    while True:
        result = next_field(data, length, &head.parsed, &head.scanned, limits.max_head, &field)
        if result == LINE_EMPTY:
            return finish_request(data, head)
        if result != LINE_FIELD:
            return result
        if head.header_count == MAX_HEADERS:
            return HEAD_TOO_LARGE
        head.headers[head.header_count] = field
        head.header_count += 1
        if HEADER_OTHER < field.known <= HEADER_HOST:
            result = apply_request_field(data, head, &field)
            if result < 0:
                return result


cdef int parse_request_head(const uint8_t* data, uint32_t length, RequestHead* head,
                            const HeadLimits* limits) noexcept nogil:
    cdef int result
    if head.phase == PHASE_COMPLETE:
        return HEAD_COMPLETE
    if head.refusal < 0:
        return head.refusal
    result = parse_request_lines(data, length, head, limits)
    if result < 0:
        head.refusal = <int16_t> result
    return result


# --- response head -----------------------------------------------------------------------------------------------


cdef void response_head_reset(ResponseHead* head) noexcept nogil:
    memset(head, 0, <size_t> (<char*> &head.headers[0] - <char*> head))


cdef int read_status_line(const uint8_t* data, uint32_t start, uint32_t end, ResponseHead* head) noexcept nogil:
    """HTTP-version SP status-code [ SP [ reason-phrase ] ] (RFC 9112 §4); `end` is the index of the line's CR.

    The RFC wants the second SP even before an empty reason phrase; many servers leave it out.
    """
    cdef const uint8_t* line = data + start
    cdef uint32_t i
    if end - start < 12 or memcmp(line, b"HTTP/1.", 7) != 0 or line[7] < c"0" or line[7] > c"1" or line[8] != c" ":
        return BAD_REQUEST
    head.minor_version = line[7] - c"0"
    head.status = 0
    for i in range(9, 12):
        if not BYTE_CLASS[line[i]] & IS_DIGIT:
            return BAD_REQUEST
        head.status = head.status * 10 + (line[i] - c"0")
    if head.status < 100:
        return BAD_REQUEST
    head.reason_offset = start + 12
    head.reason_length = 0
    if end - start > 12:
        if line[12] != c" " or not is_field_value(line + 13, end - start - 13):
            return BAD_REQUEST
        head.reason_offset = start + 13
        head.reason_length = end - start - 13
    return 0


cdef int begin_response(const uint8_t* data, uint32_t length, ResponseHead* head,
                        const HeadLimits* limits) noexcept nogil:
    """Read the status line. No empty line may stand before it."""
    cdef uint32_t end
    cdef const uint8_t* line_feed = NULL
    cdef int result
    if length == 0:
        return HEAD_INCOMPLETE
    if memcmp(data, b"HTTP/1.", length if length < 7 else 7) != 0:
        return BAD_REQUEST
    if head.scanned < length:
        line_feed = <const uint8_t*> memchr(data + head.scanned, c"\n", length - head.scanned)
    end = length if line_feed == NULL else <uint32_t> (line_feed - data)
    if <uint64_t> end > <uint64_t> limits.max_line + 1:
        return URI_TOO_LONG
    if line_feed == NULL:
        head.scanned = length
        return HEAD_INCOMPLETE
    if data[end - 1] != c"\r":
        return BAD_REQUEST  # bare LF
    result = read_status_line(data, 0, end - 1, head)
    if result < 0:
        return result
    head.parsed = head.scanned = end + 1
    head.phase = PHASE_FIELDS
    return HEAD_COMPLETE


cdef int apply_response_field(const uint8_t* data, ResponseHead* head, const HeaderField* field) noexcept nogil:
    """Let one field of framing or connection take effect."""
    cdef const uint8_t* value = data + field.value_offset
    if field.known == HEADER_CONNECTION:
        head.seen |= SEEN_CONNECTION
    elif field.known == HEADER_CONTENT_LENGTH:
        if head.has_content_length or head.seen & SEEN_TRANSFER_ENCODING:
            return BAD_REQUEST
        head.has_content_length = 1
        head.body_kind = BODY_LENGTH
        return read_content_length(value, field.value_length, &head.content_length)
    elif field.known == HEADER_TRANSFER_ENCODING:
        if head.has_content_length or head.seen & SEEN_TRANSFER_ENCODING or head.minor_version == 0:
            return BAD_REQUEST
        head.seen |= SEEN_TRANSFER_ENCODING
        head.body_kind = BODY_CHUNKED
        return check_transfer_encoding(value, field.value_length)
    elif field.known == HEADER_UPGRADE:
        head.seen |= SEEN_UPGRADE
    return 0


cdef int finish_response(const uint8_t* data, ResponseHead* head) noexcept nogil:
    cdef int result
    if head.seen & SEEN_CONNECTION:
        result = read_connection(data, head.headers, head.header_count, &head.seen)
        if result < 0:
            return result
    if head.body_kind == BODY_NONE:
        head.body_kind = BODY_UNTIL_CLOSE
    head.keep_alive = persists(head.minor_version, head.seen)
    head.upgrade = head.minor_version == 1 and head.seen & OPTION_UPGRADE != 0 and head.seen & SEEN_UPGRADE != 0
    head.phase = PHASE_COMPLETE
    return HEAD_COMPLETE


cdef int parse_response_lines(const uint8_t* data, uint32_t length, ResponseHead* head,
                              const HeadLimits* limits) noexcept nogil:
    cdef HeaderField field
    cdef int result
    if head.phase == PHASE_START_LINE:
        result = begin_response(data, length, head, limits)
        if result != HEAD_COMPLETE:
            return result
    while True:
        result = next_field(data, length, &head.parsed, &head.scanned, limits.max_head, &field)
        if result == LINE_EMPTY:
            return finish_response(data, head)
        if result != LINE_FIELD:
            return result
        if head.header_count == MAX_HEADERS:
            return HEAD_TOO_LARGE
        head.headers[head.header_count] = field
        head.header_count += 1
        if HEADER_OTHER < field.known <= HEADER_HOST:
            result = apply_response_field(data, head, &field)
            if result < 0:
                return result


cdef int parse_response_head(const uint8_t* data, uint32_t length, ResponseHead* head,
                             const HeadLimits* limits) noexcept nogil:
    cdef int result
    if head.phase == PHASE_COMPLETE:
        return HEAD_COMPLETE
    if head.refusal < 0:
        return head.refusal
    result = parse_response_lines(data, length, head, limits)
    if result < 0:
        head.refusal = <int16_t> result
    return result
