from libc.stdint cimport uint16_t
from libc.string cimport memcpy

from native.cache_store cimport cache_append, cache_discard, cache_pin, cache_read, cache_unpin
from native.connection cimport EXCHANGE_LOCAL, EXCHANGE_STORED, STEP_ANSWER_STORED, STEPS_ACCESS
from native.fields cimport added_length, put_added
from native.headers cimport *
from native.http1 cimport MAX_HEADERS, METHOD_HEAD
from native.memory cimport buffer_give, buffer_length, buffer_take
from native.plan cimport STEP_CONTINUE, STEP_RESPOND, exchange_copy, exchange_memory
from native.response_head cimport (
    debug_fields_room,
    put_connection,
    put_debug_fields,
    put_proxied_fields,
    put_request_id,
    put_status_line,
    put_upstream_fields,
    reserve_out,
)
from native.text cimport is_text, put, put_number, put_text

cdef enum:
    OWN_FIELDS_ROOM = 1024

# Fields that belong to one connection, to the framing, or to one delivery of the response.
cdef uint8_t[64] NOT_STORED
cdef int _known
for _known in (
    HEADER_CONNECTION, HEADER_CONTENT_LENGTH, HEADER_TRANSFER_ENCODING, HEADER_UPGRADE, HEADER_KEEP_ALIVE,
    HEADER_PROXY_CONNECTION, HEADER_TE, HEADER_TRAILER, HEADER_KONG_REQUEST_ID,
    HEADER_KONG_UPSTREAM_LATENCY, HEADER_KONG_PROXY_LATENCY, HEADER_KONG_RESPONSE_LATENCY,
):
    NOT_STORED[_known] = 1


# --- storing ---------------------------------------------------------------------------------------------------------
cdef bint is_named(const uint8_t* head, const HeaderField* field, const char* name, uint32_t length) noexcept nogil:
    """Whether a field has this name, which is in lower case."""
    return is_text(head + field.name_offset, field.name_length, name, length)


cdef bint is_of_proxy(const uint8_t* head, const HeaderField* field) noexcept nogil:
    """A matter between client and proxy (RFC 9111 §3.1)."""
    return is_named(head, field, b"proxy-authenticate", 18) or is_named(head, field, b"proxy-authorization", 19) \
        or is_named(head, field, b"proxy-authentication-info", 25)


cdef bint tells_what_remains(const uint8_t* head, const HeaderField* field) noexcept nogil:
    """What is left of somebody's limit, as X-RateLimit-Remaining-Minute: true for one client at one time."""
    cdef uint32_t start
    for start in range(field.name_length - 18 if field.name_length >= 19 else 0):
        if is_text(head + field.name_offset + start, 19, b"ratelimit-remaining", 19):
            return True
    return False


cdef bint may_be_stored(const uint8_t* head, const HeaderField* field, bint with_cookies) noexcept nogil:
    if field.flags & HEADER_HOP_BY_HOP or NOT_STORED[field.known & 63]:
        return False
    # Age is told anew with every answer
    if is_named(head, field, b"age", 3) or is_of_proxy(head, field) or tells_what_remains(head, field):
        return False
    return with_cookies or not (is_named(head, field, b"set-cookie", 10) or is_named(head, field, b"set-cookie2", 11))


cdef bint store_fields(Exchange* exchange, Filling* filling, EntryHead* head, bint with_cookies) noexcept nogil:
    cdef const uint8_t* text = &exchange.upstream.input.data[0] + exchange.upstream.input.start
    return store_head(&exchange.worker.cache, &exchange.worker.buffers, text, &exchange.response, filling, head,
                      with_cookies)


cdef bint store_head(CacheStore* store, BufferStock* stock, const uint8_t* text, const ResponseHead* response,
                     Filling* filling, EntryHead* head, bint with_cookies) noexcept nogil:
    cdef Buffer* lines = buffer_take(stock, response.parsed + 4 * MAX_HEADERS)
    cdef HeaderField table[MAX_HEADERS]
    cdef const HeaderField* field
    cdef HeaderField* kept
    cdef uint16_t count = 0
    cdef uint32_t i
    cdef bint fits
    if lines == NULL:
        cache_discard(store, filling)
        return False
    for i in range(response.header_count):
        field = &response.headers[i]
        if not may_be_stored(text, field, with_cookies):
            continue
        kept = &table[count]
        kept[0] = field[0]
        kept.flags = 0
        kept.name_offset = lines.end
        put(lines, text + field.name_offset, field.name_length)
        put_text(lines, b": ")
        kept.value_offset = lines.end
        put(lines, text + field.value_offset, field.value_length)
        put_text(lines, b"\r\n")
        count += 1
    head.status = response.status
    head.field_count = count
    head.prelude_length = <uint32_t> (count * sizeof(HeaderField)) + lines.end
    fits = not lines.overflow \
        and cache_append(store, filling, table, count * sizeof(HeaderField)) \
        and cache_append(store, filling, &lines.data[0], lines.end)
    if not fits:
        cache_discard(store, filling)
    buffer_give(stock, lines)
    return fits


# --- reading ---------------------------------------------------------------------------------------------------------
cdef bint inside(const HeaderField* fields, uint32_t count, uint32_t lines_length) noexcept nogil:
    """Whether all fields lie within their lines: what comes from another node is not believed."""
    cdef uint64_t end = 0
    cdef uint32_t i
    for i in range(count):
        if fields[i].name_offset != end or <uint64_t> fields[i].name_offset + fields[i].name_length + 2 \
                != fields[i].value_offset or fields[i].known > 63:
            return False
        end = <uint64_t> fields[i].value_offset + fields[i].value_length + 2
    return end <= lines_length


cdef Buffer* read_fields(Exchange* exchange, const StoredEntry* entry, HeaderField* fields,
                         uint32_t* lines_length) noexcept nogil:
    """The lines of a stored head, and the places of its fields in them. NULL: it has gone, or memory is out."""
    cdef uint32_t count = entry.head.field_count
    cdef uint64_t table = count * sizeof(HeaderField)
    cdef uint32_t length
    cdef Buffer* lines
    if count > MAX_HEADERS or entry.head.prelude_length < table:
        return NULL
    length = entry.head.prelude_length - <uint32_t> table
    lines = buffer_take(&exchange.worker.buffers, length + 2)
    if lines == NULL:
        return NULL
    if not cache_read(&exchange.worker.cache, entry, 0, fields, table) \
            or not cache_read(&exchange.worker.cache, entry, table, &lines.data[0], length) \
            or not inside(fields, count, length):
        buffer_give(&exchange.worker.buffers, lines)
        return NULL
    lines.end = length
    # the prelude may go on behind the fields
    lines_length[0] = fields[count - 1].value_offset + fields[count - 1].value_length + 2 if count else 0
    return lines


cdef bint stored_field(Exchange* exchange, const StoredEntry* entry, const char* name, uint32_t name_length,
                       Text* value) noexcept nogil:
    cdef HeaderField fields[MAX_HEADERS]
    cdef uint32_t length, i, k
    cdef Buffer* lines = read_fields(exchange, entry, fields, &length)
    cdef bint found = False
    if lines == NULL:
        return False
    for i in range(entry.head.field_count):
        if fields[i].name_length != name_length:
            continue
        found = True
        for k in range(name_length):
            if (lines.data[fields[i].name_offset + k] | 32) != (<uint8_t> name[k] | 32):
                found = False
                break
        if found:
            value[0] = exchange_copy(exchange, &lines.data[0] + fields[i].value_offset, fields[i].value_length)
            found = value.data != NULL
            break
    buffer_give(&exchange.worker.buffers, lines)
    return found


# --- answering -------------------------------------------------------------------------------------------------------
cdef bint of_not_modified(const uint8_t* lines, const HeaderField* field) noexcept nogil:
    """Whether a 304 carries this field (RFC 9110 §15.4.5)."""
    return field.known in (HEADER_DATE, HEADER_VIA, HEADER_SERVER) \
        or is_named(lines, field, b"etag", 4) or is_named(lines, field, b"cache-control", 13) \
        or is_named(lines, field, b"content-location", 16) or is_named(lines, field, b"expires", 7) \
        or is_named(lines, field, b"vary", 4) or is_named(lines, field, b"last-modified", 13)


cdef void keep_not_modified(const uint8_t* lines, HeaderField* fields, uint32_t count) noexcept nogil:
    cdef uint32_t i
    for i in range(count):
        if not of_not_modified(lines, &fields[i]):
            fields[i].flags |= HEADER_REMOVED


cdef bint has_body(Exchange* exchange, uint32_t status) noexcept nogil:
    return exchange.request.method != METHOD_HEAD and status != 204 and status != 304


cdef Buffer* take_body(Exchange* exchange, StoredEntry* entry, uint64_t offset, uint64_t length) noexcept nogil:
    """A copy of a short body; an empty buffer for a long one, which is pinned, if it is not already. NULL: it has gone,
    or memory is out."""
    cdef uint64_t place = entry.head.prelude_length + offset
    cdef bint was_pinned = entry.pin != 0
    cdef Buffer* body
    if length > COPIED_STORED and (was_pinned or cache_pin(&exchange.worker.cache, entry)):
        body = buffer_take(&exchange.worker.buffers, 1)
        if body == NULL and not was_pinned:
            cache_unpin(&exchange.worker.cache, entry)
        return body
    if length > COPIED_AT_MOST:
        return NULL
    body = buffer_take(&exchange.worker.buffers, <uint32_t> length + 1)
    if body == NULL:
        return NULL
    if not cache_read(&exchange.worker.cache, entry, place, &body.data[0], length):
        buffer_give(&exchange.worker.buffers, body)
        return NULL
    body.end = <uint32_t> length
    cache_unpin(&exchange.worker.cache, entry)           # a copy needs no entry
    return body


cdef int respond_stored(Exchange* exchange, StoredEntry* entry, uint32_t status, uint64_t offset,
                        uint64_t length) noexcept nogil:
    cdef BufferStock* stock = &exchange.worker.buffers
    cdef HeaderField fields[MAX_HEADERS]
    cdef StoredEntry* kept = <StoredEntry*> exchange_memory(exchange, sizeof(StoredEntry))
    cdef uint32_t lines_length = 0
    cdef Buffer* lines
    cdef Buffer* body
    if kept == NULL:
        return STEP_CONTINUE
    kept[0] = entry[0]
    if status != 206:
        offset, length = 0, kept.head.body_length
    if not has_body(exchange, status):
        offset, length = 0, 0
    if offset > kept.head.body_length or length > kept.head.body_length - offset:
        return STEP_CONTINUE
    lines = read_fields(exchange, kept, fields, &lines_length)
    if lines == NULL:
        return STEP_CONTINUE
    body = take_body(exchange, kept, offset, length)
    if body == NULL:
        buffer_give(stock, lines)
        return STEP_CONTINUE
    entry.pin = 0                                        # it has moved
    release_stored(exchange)
    exchange.stored = kept
    exchange.stored_offset = kept.head.prelude_length + offset
    exchange.stored_left = length if kept.pin else 0
    exchange.stored_length = length if has_body(exchange, status) else kept.head.body_length
    exchange.stored_step = exchange.step if exchange.step_phase == STEPS_ACCESS else 0
    lines.end = lines_length
    buffer_give(stock, exchange.answer_head)
    buffer_give(stock, exchange.held)
    exchange.answer_head = lines
    exchange.held = body
    memcpy(exchange.response.headers, fields, kept.head.field_count * sizeof(HeaderField))
    if status == 304:
        keep_not_modified(&lines.data[0], exchange.response.headers, kept.head.field_count)
    exchange.answer.kind = STEP_ANSWER_STORED
    exchange.answer.status = <uint16_t> status
    return STEP_RESPOND


cdef bint build_stored_answer(Exchange* exchange) noexcept nogil:
    cdef ResponseHead* response = &exchange.response
    if exchange.stored == NULL or exchange.answer_head == NULL:
        return False
    exchange.flags |= EXCHANGE_LOCAL | EXCHANGE_STORED
    exchange.status = exchange.answer.status
    response.status = exchange.stored.head.status
    response.header_count = exchange.stored.head.field_count
    response.parsed = exchange.answer_head.end + 2       # as if the empty line followed
    if exchange.balanced_ms == 0:
        exchange.balanced_ms = exchange.worker.loop.now_ms
    if exchange.head_received_ms < exchange.balanced_ms:
        exchange.head_received_ms = exchange.balanced_ms
    return True


cdef void put_stored_answer(Exchange* exchange) noexcept nogil:
    cdef Buffer* body = exchange.held
    cdef Buffer* out
    cdef uint64_t length = exchange.stored_left or buffer_length(body)
    cdef bint with_body = has_body(exchange, exchange.status)
    cdef bint has_date
    if not reserve_out(exchange, 2 * exchange.response.parsed + OWN_FIELDS_ROOM + buffer_length(body)
                       + debug_fields_room(exchange) + added_length(&exchange.response_edits)):
        return
    out = exchange.out
    put_status_line(out, exchange.status)
    has_date = put_upstream_fields(exchange, out, &exchange.answer_head.data[0])
    put_added(out, &exchange.response_edits)
    put_proxied_fields(exchange, out)
    put_request_id(exchange, out)
    put_debug_fields(exchange, out)
    if exchange.status != 204 and exchange.status != 304:
        put_text(out, b"Content-Length: ")
        put_number(out, length if with_body else exchange.stored_length)
        put_text(out, b"\r\n")
    put_connection(exchange, out, not has_date)
    put_text(out, b"\r\n")
    if with_body:
        put(out, &body.data[0] + body.start, buffer_length(body))
        exchange.body_sent = length
    else:
        exchange.stored_left = 0


cdef bint show_stored_body(Exchange* exchange) noexcept nogil:
    cdef BufferStock* stock = &exchange.worker.buffers
    cdef Buffer* body
    if exchange.stored_left == 0:
        return True
    if exchange.stored_left > exchange.settings.plugin_body_limit:
        return False
    body = buffer_take(stock, <uint32_t> exchange.stored_left)
    if body == NULL:
        return False
    if not cache_read(&exchange.worker.cache, exchange.stored, exchange.stored_offset, &body.data[0],
                      exchange.stored_left):
        buffer_give(stock, body)
        return False
    body.end = <uint32_t> exchange.stored_left
    drop_stored_body(exchange)
    buffer_give(stock, exchange.held)
    exchange.held = body
    return True


cdef void drop_stored_body(Exchange* exchange) noexcept nogil:
    exchange.stored_left = 0
    release_stored(exchange)


cdef void release_stored(Exchange* exchange) noexcept nogil:
    if exchange.stored != NULL and exchange.stored.pin:
        cache_unpin(&exchange.worker.cache, exchange.stored)
        exchange.stored.pin = 0
