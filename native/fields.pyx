"""Looking at and changing the fields of a head; see fields.pxd."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy

from native.headers cimport *
from native.memory cimport buffer_give, buffer_stock_clear, buffer_take
from native.text cimport put

# Fields that nobody but the gateway writes (request_head.pyx, response_head.pyx).
cdef uint8_t[64] UNCHANGEABLE
cdef int _known
for _known in (
    HEADER_CONNECTION, HEADER_CONTENT_LENGTH, HEADER_TRANSFER_ENCODING, HEADER_UPGRADE, HEADER_KEEP_ALIVE,
    HEADER_PROXY_CONNECTION, HEADER_TE, HEADER_TRAILER, HEADER_EXPECT, HEADER_HOST, HEADER_VIA,
    HEADER_X_REAL_IP, HEADER_X_FORWARDED_FOR, HEADER_X_FORWARDED_PROTO, HEADER_X_FORWARDED_HOST,
    HEADER_X_FORWARDED_PORT, HEADER_X_FORWARDED_PATH, HEADER_X_FORWARDED_PREFIX, HEADER_KONG_REQUEST_ID,
    HEADER_KONG_UPSTREAM_LATENCY, HEADER_KONG_PROXY_LATENCY, HEADER_KONG_RESPONSE_LATENCY,
    HEADER_KONG_UPSTREAM_STATUS,
):
    UNCHANGEABLE[_known] = 1

# Bytes that a field name may have (RFC 9110 §5.6.2).
cdef uint8_t[256] TOKEN_BYTE
cdef int _byte
for _byte in b"!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ":
    TOKEN_BYTE[_byte] = 1

# Bytes that no value may have: control characters but the tab (RFC 9110 §5.5).
cdef uint8_t[256] CONTROL_BYTE
for _byte in range(256):
    CONTROL_BYTE[_byte] = _byte == 127 or (_byte < 32 and _byte != 9)


cdef bint same_text(Text one, Text other) noexcept nogil:
    return one.length == other.length and memcmp(one.data, other.data, one.length) == 0


cdef inline bint is_there(const HeaderField* field) noexcept nogil:
    return not field.flags & HEADER_REMOVED


cdef inline bint has_name(const Head* head, const HeaderField* field, const char* name, uint32_t length) noexcept nogil:
    return field.name_length == length and same_name(head.base + field.name_offset, <const uint8_t*> name, length)


cdef inline const uint8_t* added_line(const Head* head, const AddedField* added) noexcept nogil:
    return &head.edits.text.data[0] + added.offset


cdef inline Text added_value(const Head* head, const AddedField* added) noexcept nogil:
    # "Name: value CRLF"
    return text_of(added_line(head, added) + added.name_length + 2, added.length - added.name_length - 4)


cdef bint find_field(const Head* head, const char* name, uint32_t name_length, uint32_t nth, Text* value) noexcept nogil:
    cdef const HeaderField* field
    cdef const AddedField* added
    cdef uint32_t i
    for i in range(head.count):
        field = &head.fields[i]
        if is_there(field) and has_name(head, field, name, name_length):
            if nth == 0:
                value[0] = text_of(head.base + field.value_offset, field.value_length)
                return True
            nth -= 1
    for i in range(head.edits.count):
        added = &head.edits.added[i]
        if not added.removed and added.name_length == name_length \
                and same_name(added_line(head, added), <const uint8_t*> name, name_length):
            if nth == 0:
                value[0] = added_value(head, added)
                return True
            nth -= 1
    return False


cdef bint find_known_field(const Head* head, uint8_t known, Text* value) noexcept nogil:
    cdef const HeaderField* field
    cdef uint32_t i
    for i in range(head.count):
        field = &head.fields[i]
        if field.known == known and is_there(field):
            value[0] = text_of(head.base + field.value_offset, field.value_length)
            return True
    return False


cdef uint32_t count_fields(const Head* head, const char* name, uint32_t name_length) noexcept nogil:
    cdef Text ignored
    cdef uint32_t count = 0
    while find_field(head, name, name_length, count, &ignored):
        count += 1
    return count


cdef bint may_change(const char* name, uint32_t name_length) noexcept nogil:
    return name_length > 0 and not UNCHANGEABLE[classify_header(<const uint8_t*> name, name_length) & 63]


cdef void remove_field(Head* head, const char* name, uint32_t name_length) noexcept nogil:
    cdef HeaderField* field
    cdef AddedField* added
    cdef uint32_t i
    for i in range(head.count):
        field = &head.fields[i]
        if has_name(head, field, name, name_length) and not UNCHANGEABLE[field.known & 63]:
            field.flags |= HEADER_REMOVED
    for i in range(head.edits.count):
        added = &head.edits.added[i]
        if added.name_length == name_length \
                and same_name(added_line(head, added), <const uint8_t*> name, name_length):
            added.removed = 1


cdef inline bint eight_are_plain(const uint8_t* text) noexcept nogil:
    """Whether none of eight bytes is a control character; in one step, as tests of bytes in a word go."""
    cdef uint64_t word
    cdef uint64_t deleted
    memcpy(&word, text, 8)
    deleted = word ^ 0x7f7f7f7f7f7f7f7fULL
    return (((word - 0x2020202020202020ULL) & ~word) | ((deleted - 0x0101010101010101ULL) & ~deleted)) \
        & 0x8080808080808080ULL == 0


cdef inline bint has_control(const uint8_t* text, uint32_t length) noexcept nogil:
    cdef uint8_t found = 0
    cdef uint32_t i
    for i in range(length):
        found |= CONTROL_BYTE[text[i]]
    return found


cdef bint is_sound_value(const uint8_t* value, uint32_t length) noexcept nogil:
    """A value has no control character but the tab (RFC 9110 §5.5)."""
    cdef uint32_t i = 0
    while length - i >= 8 and eight_are_plain(value + i):
        i += 8
    return not has_control(value + i, length - i)


cdef bint is_token(const uint8_t* name, uint32_t length) noexcept nogil:
    cdef uint32_t i
    for i in range(length):
        if not TOKEN_BYTE[name[i]]:
            return False
    return True


cdef bint reserve_text(Head* head, uint32_t length) noexcept nogil:
    cdef Buffer* old = head.edits.text
    cdef Buffer* bigger
    cdef uint32_t used = old.end if old != NULL else 0
    if used + length > MAX_ADDED_TEXT:
        return False
    if old != NULL and old.capacity - used >= length:
        return True
    bigger = buffer_take(head.stock, 2 * used + length)
    if bigger == NULL:
        return False
    if old != NULL:
        put(bigger, &old.data[0], used)
        buffer_give(head.stock, old)
    head.edits.text = bigger
    return True


cdef bint append_line(Head* head, const char* name, uint32_t name_length, const void* value, uint32_t length,
                      bint replaces) noexcept nogil:
    """A field whose name may stand there."""
    cdef uint32_t line_length = name_length + length + 4
    cdef AddedField* added
    cdef Buffer* text
    cdef uint8_t* line
    if head.edits.count == MAX_ADDED_FIELDS or length > MAX_ADDED_TEXT \
            or not is_sound_value(<const uint8_t*> value, length) \
            or not reserve_text(head, line_length):
        return False
    text = head.edits.text
    added = &head.edits.added[head.edits.count]
    added.offset = text.end
    added.length = line_length
    added.name_length = <uint16_t> name_length
    added.removed = 0
    added.replaces = replaces
    line = &text.data[0] + text.end
    memcpy(line, name, name_length)
    line[name_length] = c":"
    line[name_length + 1] = c" "
    memcpy(line + name_length + 2, value, length)
    line[line_length - 2] = c"\r"
    line[line_length - 1] = c"\n"
    text.end += line_length
    head.edits.count += 1
    return True


cdef bint append_field(Head* head, const char* name, uint32_t name_length, const void* value, uint32_t length,
                       bint replaces) noexcept nogil:
    return may_change(name, name_length) and is_token(<const uint8_t*> name, name_length) \
        and append_line(head, name, name_length, value, length, replaces)


cdef bint add_field(Head* head, const char* name, uint32_t name_length, const void* value, uint32_t length) noexcept nogil:
    return append_field(head, name, name_length, value, length, False)


cdef bint add_own_field(Head* head, const char* name, uint32_t name_length, const void* value,
                        uint32_t length) noexcept nogil:
    return append_line(head, name, name_length, value, length, False)


cdef bint set_field(Head* head, const char* name, uint32_t name_length, const void* value, uint32_t length) noexcept nogil:
    remove_field(head, name, name_length)
    return append_field(head, name, name_length, value, length, True)


cdef bint set_own_field(Head* head, const char* name, uint32_t name_length, const void* value,
                        uint32_t length) noexcept nogil:
    remove_field(head, name, name_length)
    return append_line(head, name, name_length, value, length, True)


cdef bint next_field(const Head* head, uint32_t* place, Text* name, Text* value) noexcept nogil:
    cdef const HeaderField* field
    cdef const AddedField* added
    while place[0] < head.count:
        field = &head.fields[place[0]]
        place[0] += 1
        if is_there(field):
            name[0] = text_of(head.base + field.name_offset, field.name_length)
            value[0] = text_of(head.base + field.value_offset, field.value_length)
            return True
    while place[0] - head.count < head.edits.count:
        added = &head.edits.added[place[0] - head.count]
        place[0] += 1
        if not added.removed:
            name[0] = text_of(added_line(head, added), added.name_length)
            value[0] = added_value(head, added)
            return True
    return False


cdef void apply_replacements(Head* head) noexcept nogil:
    cdef const AddedField* added
    cdef HeaderField* field
    cdef uint32_t i, j
    for i in range(head.edits.count):
        added = &head.edits.added[i]
        if added.removed or not added.replaces:
            continue
        for j in range(head.count):
            field = &head.fields[j]
            if has_name(head, field, <const char*> added_line(head, added), added.name_length):
                field.flags |= HEADER_REMOVED


cdef void put_added(Buffer* out, const FieldEdits* edits) noexcept nogil:
    cdef const AddedField* added
    cdef uint32_t run_start = 0
    cdef uint32_t run_end = 0
    cdef uint32_t i
    for i in range(edits.count):
        added = &edits.added[i]
        if added.removed:
            continue
        if run_end != added.offset:
            if run_end > run_start:
                put(out, &edits.text.data[0] + run_start, run_end - run_start)
            run_start = added.offset
        run_end = added.offset + added.length
    if run_end > run_start:
        put(out, &edits.text.data[0] + run_start, run_end - run_start)


cdef uint32_t added_length(const FieldEdits* edits) noexcept nogil:
    return edits.text.end if edits.text != NULL else 0


# --- for unit tests ----------------------------------------------------------------------------------------------


def edit_fields(received: list, edits: list) -> list:
    """The fields of a head after edits: ("add" | "set" | "remove", name, value). Pairs of bytes in and out; an edit that
    is refused changes nothing."""
    cdef HeaderField fields[64]
    cdef FieldEdits changes
    cdef BufferStock stock
    cdef Head head
    cdef Text name, value
    cdef uint32_t place = 0
    text = bytearray()
    stock.small = NULL
    stock.large = NULL
    stock.small_free = stock.large_free = 0
    stock.in_use = 0
    changes.text = NULL
    changes.count = 0
    if len(received) > 64:
        raise ValueError("at most 64 fields")
    for index, (field_name, field_value) in enumerate(received):
        fields[<uint32_t> index].name_offset = <uint32_t> len(text)
        fields[<uint32_t> index].name_length = <uint16_t> len(field_name)
        fields[<uint32_t> index].value_offset = <uint32_t> (len(text) + len(field_name) + 2)
        fields[<uint32_t> index].value_length = <uint32_t> len(field_value)
        fields[<uint32_t> index].known = classify_header(<const uint8_t*> <const char*> <bytes> field_name,
                                                         <uint32_t> len(field_name))
        fields[<uint32_t> index].flags = 0
        text += field_name + b": " + field_value + b"\r\n"
    base = bytes(text)
    head.base = <const uint8_t*> <const char*> base
    head.fields = fields
    head.count = <uint16_t> len(received)
    head.edits = &changes
    head.stock = &stock
    for kind, edit_name, edit_value in edits:
        if kind == "remove":
            remove_field(&head, <const char*> <bytes> edit_name, <uint32_t> len(edit_name))
        elif kind == "add":
            add_field(&head, <const char*> <bytes> edit_name, <uint32_t> len(edit_name),
                      <const char*> <bytes> edit_value, <uint32_t> len(edit_value))
        else:
            set_field(&head, <const char*> <bytes> edit_name, <uint32_t> len(edit_name),
                      <const char*> <bytes> edit_value, <uint32_t> len(edit_value))
    found = []
    while next_field(&head, &place, &name, &value):
        found.append((name.data[:name.length], value.data[:value.length]))
    buffer_give(&stock, changes.text)
    buffer_stock_clear(&stock)
    return found
