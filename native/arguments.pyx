"""See arguments.pxd."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcmp, memcpy

from native.fields cimport text_of
from native.scratch cimport scratch_begin, scratch_take

cdef enum:
    FIRST_CAPACITY = 16
    AMPERSAND = 38
    EQUALS = 61
    PERCENT = 37
    PLUS = 43

cdef uint8_t[256] PLAIN          # bytes that are written as they are
cdef uint8_t[256] HEX_VALUE      # 0xff: no hex digit
cdef const char* HEX_DIGITS = b"0123456789ABCDEF"
cdef int _byte
for _byte in range(256):
    HEX_VALUE[_byte] = 0xff
for _byte in b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~":
    PLAIN[_byte] = 1
for _byte in range(10):
    HEX_VALUE[48 + _byte] = <uint8_t> _byte
for _byte in range(6):
    HEX_VALUE[65 + _byte] = HEX_VALUE[97 + _byte] = <uint8_t> (10 + _byte)


# --- texts -----------------------------------------------------------------------------------------------------------
cdef uint32_t hash_of(Text name) noexcept nogil:
    """FNV-1a: only tells most names apart before they are compared."""
    cdef uint32_t hash = 2166136261u
    cdef uint32_t i
    for i in range(name.length):
        hash = (hash ^ name.data[i]) * 16777619u
    return hash


cdef Text decoded(Arguments* arguments, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef uint8_t* out = scratch_take(arguments.scratch, length)
    cdef uint32_t size = 0
    cdef uint32_t i = 0
    if out == NULL:
        arguments.overflow = 1
        return text_of(b"", 0)
    while i < length:
        if data[i] == PERCENT and length - i > 2 and HEX_VALUE[data[i + 1]] != 0xff and HEX_VALUE[data[i + 2]] != 0xff:
            out[size] = <uint8_t> (HEX_VALUE[data[i + 1]] << 4 | HEX_VALUE[data[i + 2]])
            i += 3
        else:
            out[size] = 32 if data[i] == PLUS else data[i]
            i += 1
        size += 1
    return text_of(out, size)


cdef uint32_t encode_into(uint8_t* out, Text text) noexcept nogil:
    """Room for three bytes per byte."""
    cdef uint32_t size = 0
    cdef uint32_t i
    for i in range(text.length):
        if PLAIN[text.data[i]]:
            out[size] = text.data[i]
            size += 1
        else:
            out[size] = PERCENT
            out[size + 1] = <uint8_t> HEX_DIGITS[text.data[i] >> 4]
            out[size + 2] = <uint8_t> HEX_DIGITS[text.data[i] & 15]
            size += 3
    return size


# --- the list --------------------------------------------------------------------------------------------------------
cdef void arguments_begin(Arguments* arguments, Scratch* scratch) noexcept nogil:
    arguments.scratch = scratch
    arguments.items = NULL
    arguments.count = 0
    arguments.capacity = 0
    arguments.overflow = 0


cdef Argument* push(Arguments* arguments) noexcept nogil:
    cdef Argument* bigger
    cdef uint32_t capacity
    if arguments.count == arguments.capacity:
        capacity = 2 * arguments.capacity if arguments.capacity else FIRST_CAPACITY
        bigger = <Argument*> scratch_take(arguments.scratch, <uint32_t> (capacity * sizeof(Argument)))
        if bigger == NULL:
            arguments.overflow = 1
            return NULL
        if arguments.count:
            memcpy(bigger, arguments.items, arguments.count * sizeof(Argument))
        arguments.items = bigger
        arguments.capacity = capacity
    arguments.count += 1
    return &arguments.items[arguments.count - 1]


cdef void push_argument(Arguments* arguments, Text name, Text value, bint bare) noexcept nogil:
    cdef Argument* item = push(arguments)
    if item != NULL:
        item.name = name
        item.value = value
        item.hash = hash_of(name)
        item.bare = bare
        item.removed = 0


cdef void arguments_parse(Arguments* arguments, Text encoded) noexcept nogil:
    cdef const uint8_t* data = encoded.data
    cdef uint32_t start = 0
    cdef uint32_t end, name_end
    cdef Text value
    while start < encoded.length and not arguments.overflow:
        end = start
        while end < encoded.length and data[end] != AMPERSAND:
            end += 1
        name_end = start
        while name_end < end and data[name_end] != EQUALS:
            name_end += 1
        if name_end > start:
            value = text_of(b"", 0)
            if name_end < end:
                value = decoded(arguments, data + name_end + 1, end - name_end - 1)
            push_argument(arguments, decoded(arguments, data + start, name_end - start), value, name_end == end)
        start = end + 1


cdef inline bint is_named(const Argument* item, Text name, uint32_t hash) noexcept nogil:
    return not item.removed and item.hash == hash and item.name.length == name.length \
        and memcmp(item.name.data, name.data, name.length) == 0


cdef const Argument* arguments_find(const Arguments* arguments, Text name, uint32_t nth) noexcept nogil:
    cdef uint32_t hash = hash_of(name)
    cdef uint32_t i
    for i in range(arguments.count):
        if is_named(&arguments.items[i], name, hash):
            if nth == 0:
                return &arguments.items[i]
            nth -= 1
    return NULL


cdef uint32_t arguments_count(const Arguments* arguments, Text name) noexcept nogil:
    cdef uint32_t hash = hash_of(name)
    cdef uint32_t count = 0
    cdef uint32_t i
    for i in range(arguments.count):
        count += is_named(&arguments.items[i], name, hash)
    return count


# --- changes ---------------------------------------------------------------------------------------------------------
cdef void arguments_remove(Arguments* arguments, Text name) noexcept nogil:
    cdef uint32_t hash = hash_of(name)
    cdef uint32_t i
    for i in range(arguments.count):
        if is_named(&arguments.items[i], name, hash):
            arguments.items[i].removed = 1


cdef void arguments_rename(Arguments* arguments, Text old, Text new) noexcept nogil:
    cdef uint32_t hash = hash_of(old)
    cdef uint32_t new_hash = hash_of(new)
    cdef uint32_t i
    if old.length == new.length and memcmp(old.data, new.data, old.length) == 0:
        return
    if arguments_find(arguments, old, 0) == NULL:
        return
    arguments_remove(arguments, new)
    for i in range(arguments.count):
        if is_named(&arguments.items[i], old, hash):
            arguments.items[i].name = new
            arguments.items[i].hash = new_hash


cdef void arguments_replace(Arguments* arguments, Text name, Text value) noexcept nogil:
    if arguments_find(arguments, name, 0) != NULL:
        arguments_remove(arguments, name)
        push_argument(arguments, name, value, False)


cdef void arguments_add(Arguments* arguments, Text name, Text value) noexcept nogil:
    if arguments_find(arguments, name, 0) == NULL:
        push_argument(arguments, name, value, False)


cdef void arguments_append(Arguments* arguments, Text name, Text value) noexcept nogil:
    cdef const Argument* only = arguments_find(arguments, name, 0)
    if only != NULL and only.bare and arguments_count(arguments, name) == 1:
        arguments_remove(arguments, name)
    push_argument(arguments, name, value, False)


# --- writing ---------------------------------------------------------------------------------------------------------
cdef int compare_names(const Argument* one, const Argument* other, bint with_separators) noexcept nogil:
    """Written names, byte by byte; what follows the shorter one is its separator, or else the end."""
    cdef uint32_t shorter = one.written_name.length
    cdef int order
    if other.written_name.length < shorter:
        shorter = other.written_name.length
    order = memcmp(one.written_name.data, other.written_name.data, shorter)
    if order:
        return order
    if one.written_name.length == other.written_name.length:
        return 0
    if one.written_name.length == shorter:
        return (one.separator if with_separators else 0) - <int> other.written_name.data[shorter]
    return <int> one.written_name.data[shorter] - (other.separator if with_separators else 0)


cdef bint is_before(Argument* const* order, uint32_t one, uint32_t other, bint with_separators) noexcept nogil:
    cdef int result = compare_names(order[one], order[other], with_separators)
    # of one name, the argument that came first
    return result < 0 or (result == 0 and order[one] < order[other])


cdef void sift_down(Argument** order, uint32_t start, uint32_t end, bint with_separators) noexcept nogil:
    cdef uint32_t root = start
    cdef uint32_t child
    cdef Argument* kept
    while 2 * root + 1 < end:
        child = 2 * root + 1
        if child + 1 < end and is_before(order, child, child + 1, with_separators):
            child += 1
        if not is_before(order, root, child, with_separators):
            return
        kept = order[root]
        order[root] = order[child]
        order[child] = kept
        root = child


cdef void sort(Argument** order, uint32_t count, bint with_separators) noexcept nogil:
    """Heap sort: no memory, and never quadratic, whatever a client sends."""
    cdef uint32_t i
    cdef Argument* kept
    for i in range(count // 2, 0, -1):
        sift_down(order, i - 1, count, with_separators)
    for i in range(count, 1, -1):
        kept = order[0]
        order[0] = order[i - 1]
        order[i - 1] = kept
        sift_down(order, 0, i - 1, with_separators)


cdef inline bint same_written_name(const Argument* one, const Argument* other) noexcept nogil:
    return one.written_name.length == other.written_name.length \
        and memcmp(one.written_name.data, other.written_name.data, one.written_name.length) == 0


cdef void set_separators(Argument** order, uint32_t count) noexcept nogil:
    """What Kong sorts is `name=…`, or for a bare argument `name` or `name&…`."""
    cdef uint32_t start = 0
    cdef uint32_t end, i
    cdef uint8_t separator
    while start < count:
        end = start + 1
        while end < count and same_written_name(order[start], order[end]):
            end += 1
        separator = EQUALS
        if order[start].bare:
            separator = 0 if end - start == 1 else AMPERSAND
        for i in range(start, end):
            order[i].separator = separator
        start = end


cdef bint arguments_write(Arguments* arguments, Text* encoded) noexcept nogil:
    cdef Argument** order
    cdef Argument* item
    cdef uint8_t* out
    cdef uint32_t count = 0
    cdef uint32_t room = 0
    cdef uint32_t size = 0
    cdef uint32_t i
    encoded[0] = text_of(b"", 0)
    if arguments.overflow:
        return False
    order = <Argument**> scratch_take(arguments.scratch, <uint32_t> (arguments.count * sizeof(Argument*)))
    if order == NULL:
        return False
    for i in range(arguments.count):
        item = &arguments.items[i]
        if item.removed:
            continue
        out = scratch_take(arguments.scratch, 3 * item.name.length)
        if out == NULL:
            return False
        item.written_name = text_of(out, encode_into(out, item.name))
        room += item.written_name.length + 3 * item.value.length + 2
        order[count] = item
        count += 1
    sort(order, count, False)
    set_separators(order, count)
    sort(order, count, True)
    out = scratch_take(arguments.scratch, room)
    if out == NULL:
        return False
    for i in range(count):
        item = order[i]
        if i:
            out[size] = AMPERSAND
            size += 1
        memcpy(out + size, item.written_name.data, item.written_name.length)
        size += item.written_name.length
        if not item.bare:
            out[size] = EQUALS
            size += 1
            size += encode_into(out + size, item.value)
    encoded[0] = text_of(out, size)
    return True


# --- for unit tests --------------------------------------------------------------------------------------------------
def rewrite(encoded: bytes, changes: list, uint32_t room=1 << 20) -> bytes | None:
    """The arguments after changes: ("remove", name), ("rename", old, new), ("replace" | "add" | "append", name,
    value), ("more", encoded text). None: `room` bytes of working memory are too few."""
    cdef Scratch scratch
    cdef Arguments arguments
    cdef Text written
    memory = bytearray(room + 8)
    cdef uint8_t* start = memory
    scratch_begin(&scratch, start, room)
    arguments_begin(&arguments, &scratch)
    arguments_parse(&arguments, octets(encoded))
    for change in changes:
        name = octets(change[1])
        if change[0] == "remove":
            arguments_remove(&arguments, name)
        elif change[0] == "rename":
            arguments_rename(&arguments, name, octets(change[2]))
        elif change[0] == "replace":
            arguments_replace(&arguments, name, octets(change[2]))
        elif change[0] == "add":
            arguments_add(&arguments, name, octets(change[2]))
        elif change[0] == "append":
            arguments_append(&arguments, name, octets(change[2]))
        else:
            arguments_parse(&arguments, name)
    if not arguments_write(&arguments, &written):
        return None
    return <bytes> written.data[:written.length]


cdef Text octets(bytes text) noexcept:
    return text_of(<const char*> text, <uint32_t> len(text))
