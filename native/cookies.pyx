"""See cookies.pxd."""

from libc.stdint cimport uint32_t
from libc.string cimport memcmp

from native.fields cimport AddedField, FieldEdits, Head, add_own_field, find_field, text_of
from native.headers cimport same_name
from native.memory cimport Buffer, buffer_give, buffer_length, buffer_take
from native.plan cimport request_head, response_head
from native.text cimport overflowed, put, put_text

cdef enum:
    SEMICOLON = 59
    EQUALS = 61
    ATTRIBUTES_ROOM = 64         # for all of a cookie's line but name, value and path


cdef inline bint is_called(const uint8_t* found, Text name, bint any_case) noexcept nogil:
    if any_case:
        return same_name(found, name.data, name.length)
    return memcmp(found, name.data, name.length) == 0


cdef bint find_cookie(Text line, Text name, bint any_case, Text* value) noexcept nogil:
    cdef uint32_t start = 0
    cdef uint32_t end
    while start < line.length:
        if line.data[start] == 32 or line.data[start] == SEMICOLON:
            start += 1
            continue
        end = start
        while end < line.length and line.data[end] != SEMICOLON:
            end += 1
        if end - start > name.length and line.data[start + name.length] == EQUALS \
                and is_called(line.data + start, name, any_case):
            value[0] = text_of(line.data + start + name.length + 1, end - start - name.length - 1)
            return True
        start = end
    return False


cdef bint request_cookie(Exchange* exchange, Text name, Text* value) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef Text line
    cdef uint32_t nth = 0
    while find_field(&head, b"Cookie", 6, nth, &line):
        if find_cookie(line, name, False, value):
            return True
        nth += 1
    return False


cdef void forget_cookie(FieldEdits* edits, Text name) noexcept nogil:
    """Take back a cookie of that name that was queued."""
    cdef AddedField* added
    cdef const uint8_t* line
    cdef uint32_t i
    for i in range(edits.count):
        added = &edits.added[i]
        line = &edits.text.data[0] + added.offset
        # "Set-Cookie: name="
        if added.name_length == 10 and added.length > 12 + name.length and same_name(line, <const uint8_t*> b"Set-Cookie", 10) \
                and line[12 + name.length] == EQUALS and memcmp(line + 12, name.data, name.length) == 0:
            added.removed = 1


cdef void send_cookie(Exchange* exchange, Text name, Text value, Text path) noexcept nogil:
    cdef Head head = response_head(exchange)
    cdef Buffer* line = buffer_take(&exchange.worker.buffers, name.length + value.length + path.length + ATTRIBUTES_ROOM)
    if line == NULL:
        return
    forget_cookie(head.edits, name)
    put(line, name.data, name.length)
    put_text(line, b"=")
    put(line, value.data, value.length)
    put_text(line, b"; Path=")
    put(line, path.data, path.length)
    put_text(line, b"; Same-Site=Lax; HttpOnly")
    if not overflowed(line):
        add_own_field(&head, b"Set-Cookie", 10, &line.data[0] + line.start, buffer_length(line))
    buffer_give(&exchange.worker.buffers, line)
