"""Request targets, as Kong treats them: kong.tools.uri (normalise, escape) and the joining rules of its router."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

# What a byte means to the code below.
cdef enum ByteClass:
    RESERVED = 1      # RFC 3986 reserved characters, "%" and control bytes: an escape of one stays an escape
    VISIBLE = 2       # may stand in a path as it is; every other byte is escaped for the upstream

cdef uint8_t byte_class[256]
cdef uint8_t hex_value[256]      # 0..15, 0xff = not a hex digit
cdef const char* HEX_DIGITS = "0123456789ABCDEF"


cdef void fill_tables() noexcept:
    cdef int byte
    for byte in range(256):
        byte_class[byte] = 0
        hex_value[byte] = 0xff
    for byte in b"!#$%&'()*+,/:;=?@[]":
        byte_class[byte] |= RESERVED
    # Kong decodes these. Nothing needs them as they are, and a line break in a path is one step from a header line
    for byte in range(1, 32):
        byte_class[byte] |= RESERVED
    byte_class[127] |= RESERVED
    for byte in b"!$%&'()*+,/:;=@[]-_.~ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789":
        byte_class[byte] |= VISIBLE
    for byte in range(10):
        hex_value[c"0" + byte] = <uint8_t> byte
    for byte in range(6):
        hex_value[c"A" + byte] = hex_value[c"a" + byte] = <uint8_t> (10 + byte)


fill_tables()


cdef bint is_utf8(const uint8_t* text, uint32_t length) noexcept nogil:
    cdef uint32_t at = 0
    cdef uint64_t word
    cdef uint8_t lead, second
    while at < length:
        if length - at >= 8:
            memcpy(&word, text + at, 8)
            if not word & <uint64_t> 0x8080808080808080:
                at += 8
                continue
        lead = text[at]
        if lead < 0x80:
            at += 1
            continue
        # RFC 3629 §4: no overlong forms, no surrogates, nothing above U+10FFFF
        if lead < 0xc2 or lead > 0xf4 or length - at < 2:
            return False
        second = text[at + 1]
        if second & 0xc0 != 0x80:
            return False
        if lead < 0xe0:
            at += 2
            continue
        if (lead == 0xe0 and second < 0xa0) or (lead == 0xed and second > 0x9f):
            return False
        if length - at < 3 or text[at + 2] & 0xc0 != 0x80:
            return False
        if lead < 0xf0:
            at += 3
            continue
        if (lead == 0xf0 and second < 0x90) or (lead == 0xf4 and second > 0x8f):
            return False
        if length - at < 4 or text[at + 3] & 0xc0 != 0x80:
            return False
        at += 4
    return True


cdef inline int dots(const uint8_t* segment, uint32_t length) noexcept nogil:
    """1 for a "." segment, 2 for "..", else 0."""
    if length == 1 and segment[0] == c".":
        return 1
    if length == 2 and segment[0] == c"." and segment[1] == c".":
        return 2
    return 0


cdef int32_t remove_dot_segments(uint8_t* path, uint32_t length) noexcept nogil:
    """In place, with empty segments merged (RFC 3986 §5.2.4). -1 when ".." would climb above the root."""
    cdef uint32_t read = 0, write = 0, start
    cdef int kind
    cdef bint ends_open = False      # the last segment was "." or "..": the result ends with a slash
    while read < length:
        # path[read] is "/": find the segment after it
        read += 1
        start = read
        while read < length and path[read] != c"/":
            read += 1
        if read == start and read < length:
            continue                 # "//"
        kind = dots(path + start, read - start)
        ends_open = kind != 0
        if kind == 0:
            # write <= start - 1, and the bytes move left one after the other
            path[write] = c"/"
            write += 1
            while start < read:
                path[write] = path[start]
                write += 1
                start += 1
        elif kind == 2:
            if write == 0:
                return -1
            write -= 1
            while path[write] != c"/":
                write -= 1
    if ends_open or write == 0:
        path[write] = c"/"
        write += 1
    return <int32_t> write


cdef bint climbs_above_root(const uint8_t* path, uint32_t length) noexcept nogil:
    """Whether a reader that decodes %2F too would be led above the root. Escapes in `path` are sound."""
    cdef uint32_t at = 0, depth = 0, size = 0
    cdef bint only_dots = True, slash
    while at <= length:
        if at == length:
            slash = True
        elif path[at] == c"%" and path[at + 1] == c"2" and (path[at + 2] | 0x20) == c"f":
            slash = True
            at += 2
        else:
            slash = path[at] == c"/"
        if slash:
            if size and not (only_dots and size <= 2):
                depth += 1
            elif size == 2:
                if depth == 0:
                    return True
                depth -= 1
            size = 0
            only_dots = True
        else:
            size += 1
            only_dots = only_dots and path[at] == c"."
        at += 1
    return False


cdef int32_t normalize_path(const uint8_t* path, uint32_t length, uint8_t* out) noexcept nogil:
    cdef uint32_t read = 0, write = 0
    cdef uint8_t byte, previous = 0, high, low
    cdef bint segments_to_remove = False, escaped_slash = False
    if length == 0 or path[0] != c"/" or length > <uint32_t> 0x7ffffff0:
        return -1
    while read < length:
        byte = path[read]
        if byte == c"%":
            if length - read < 3:
                return -1
            high = hex_value[path[read + 1]]
            low = hex_value[path[read + 2]]
            if high == 0xff or low == 0xff:
                return -1
            byte = <uint8_t> (high << 4 | low)
            read += 3
            if byte_class[byte] & RESERVED:
                escaped_slash = escaped_slash or byte == c"/"
                out[write] = c"%"
                out[write + 1] = HEX_DIGITS[high]
                out[write + 2] = HEX_DIGITS[low]
                write += 3
                previous = 0
                continue
        else:
            read += 1
        if byte == 0:
            return -1
        if previous == c"/" and (byte == c"/" or byte == c"."):
            segments_to_remove = True
        out[write] = byte
        write += 1
        previous = byte
    # nginx, in front of Kong's router, decodes %2F before it looks for "..": what it refuses is refused here too,
    # so that an upstream that decodes the same way is never led above its root
    if escaped_slash and climbs_above_root(out, write):
        return -1
    return remove_dot_segments(out, write) if segments_to_remove else <int32_t> write


cdef inline int32_t append_escaped(const uint8_t* text, uint32_t length, uint8_t* out, uint32_t at,
                                   uint32_t capacity) noexcept nogil:
    """Append `text` at out[at], escaped. Returns the new end, or -1 when it does not fit."""
    cdef uint32_t index
    cdef uint8_t byte
    for index in range(length):
        byte = text[index]
        if byte_class[byte] & VISIBLE:
            if at >= capacity:
                return -1
            out[at] = byte
            at += 1
        else:
            if capacity < 3 or at > capacity - 3:
                return -1
            out[at] = c"%"
            out[at + 1] = HEX_DIGITS[byte >> 4]
            out[at + 2] = HEX_DIGITS[byte & 15]
            at += 3
    return <int32_t> at


cdef int32_t build_upstream_path(const uint8_t* service_path, uint32_t service_length,
                                 const uint8_t* path, uint32_t path_length, uint32_t strip_length,
                                 bint v1, uint8_t* out, uint32_t capacity) noexcept nogil:
    # Kong: get_upstream_uri_v0 and sanitize_uri_postfix of kong/router/utils.lua; v1 of the traditional router.
    cdef const uint8_t* rest = path
    cdef uint32_t rest_length = path_length, base_length = service_length
    cdef bint base_slash, insert_slash = False
    cdef int32_t end
    if service_length == 0 or path_length == 0 or strip_length > path_length or capacity > <uint32_t> 0x7ffffff0:
        return -1
    base_slash = service_path[service_length - 1] == c"/"
    if strip_length:
        rest += strip_length
        rest_length -= strip_length
        # "/pre../x" under "/pre" must not become "../x" at the upstream
        if rest_length and rest[0] == c".":
            if rest_length == 1 or (rest_length == 2 and rest[1] == c"."):
                rest_length = 0
            elif rest[1] == c"/":
                rest += 2
                rest_length -= 2
            elif rest[1] == c"." and rest[2] == c"/":
                rest += 3
                rest_length -= 3
    if v1:
        if not strip_length:
            rest += 1
            rest_length -= 1
        elif base_slash and rest_length and rest[0] == c"/":
            base_length -= 1
    elif rest_length == 0:
        # everything stripped: the result ends with a slash exactly when the request did
        if base_slash:
            if service_length > 1 and path[path_length - 1] != c"/":
                base_length -= 1
        else:
            insert_slash = path_length > 1 and path[path_length - 1] == c"/"
    elif rest_length == 1 and not strip_length:
        rest_length = 0                                  # request for "/": the service path itself
    elif rest[0] == c"/":
        if base_slash:
            base_length -= 1
    else:
        insert_slash = not base_slash
    end = append_escaped(service_path, base_length, out, 0, capacity)
    if end >= 0 and insert_slash:
        end = append_escaped(<const uint8_t*> b"/", 1, out, <uint32_t> end, capacity)
    if end >= 0:
        end = append_escaped(rest, rest_length, out, <uint32_t> end, capacity)
    return end


# --- for Python ------------------------------------------------------------------------------------------------------
def normalize(path: bytes) -> bytes | None:
    """The normalised form of a request path without query; None for a path the gateway refuses with 400."""
    cdef uint32_t length = <uint32_t> len(path)
    cdef const uint8_t* text = path
    cdef uint8_t* out = <uint8_t*> malloc(length + 1)
    cdef int32_t end
    if out is NULL:
        raise MemoryError
    try:
        end = normalize_path(text, length, out)
        return None if end < 0 else PyBytes_FromStringAndSize(<const char*> out, end)
    finally:
        free(out)


def upstream_path(service_path: bytes, path: bytes, uint32_t strip_length=0, bint v1=False,
                  capacity: int | None = None) -> bytes | None:
    """The path sent to the upstream; None when it does not fit into `capacity` bytes (default: always fits)."""
    cdef uint32_t room = <uint32_t> (3 * (len(service_path) + len(path)) + 1 if capacity is None else capacity)
    cdef const uint8_t* service_text = service_path
    cdef const uint8_t* path_text = path
    cdef uint8_t* out = <uint8_t*> malloc(room + 1)
    cdef int32_t end
    if out is NULL:
        raise MemoryError
    try:
        end = build_upstream_path(service_text, <uint32_t> len(service_path), path_text, <uint32_t> len(path),
                                  strip_length, v1, out, room)
        return None if end < 0 else PyBytes_FromStringAndSize(<const char*> out, end)
    finally:
        free(out)


def valid_utf8(text: bytes) -> bool:
    """Whether `text` is UTF-8 (RFC 3629). The router gives no route to a path that is not."""
    return is_utf8(text, <uint32_t> len(text))
