# Pieces of grammar that fields and targets are made of; included by http1.pyx.


cdef inline bint is_space(uint8_t byte) noexcept nogil:
    """SP or HTAB: the optional white space (OWS) of RFC 9110 §5.6.3."""
    return byte == c" " or byte == c"\t"


cdef inline bint equals_lower(const uint8_t* text, const char* expected, uint32_t length) noexcept nogil:
    """Whether `text` equals `expected`, which is in lower case, without regard to case."""
    cdef uint32_t i
    cdef uint8_t byte
    for i in range(length):
        byte = text[i]
        if 65 <= byte <= 90:
            byte |= 0x20
        if byte != <uint8_t> expected[i]:
            return False
    return True


cdef inline bint may_hold_control(const uint8_t* text) noexcept nogil:
    """Whether one of the 8 bytes at `text` is below 0x20 or DEL."""
    cdef uint64_t word
    cdef uint64_t deleted
    memcpy(&word, text, 8)
    deleted = word ^ 0x7F7F7F7F7F7F7F7FULL
    return (
        ((word - 0x2020202020202020ULL) & ~word) | ((deleted - 0x0101010101010101ULL) & ~deleted)
    ) & 0x8080808080808080ULL != 0


cdef inline bint is_field_value(const uint8_t* text, uint32_t length) noexcept nogil:
    """Whether `text` has only VCHAR, obs-text, SP and HTAB (RFC 9110 §5.5)."""
    cdef uint32_t i = 0
    # Eight at a time; a word that may hold something forbidden (HTAB looks so too) is looked at byte by byte.
    while i + 8 <= length and not may_hold_control(text + i):
        i += 8
    if 8 <= length < i + 8 and not may_hold_control(text + length - 8):
        return True
    while i < length:
        if not BYTE_CLASS[text[i]] & IS_FIELD_VALUE:
            return False
        i += 1
    return True


cdef bint next_element(const uint8_t* list_text, uint32_t length, uint32_t* position,
                       uint32_t* start, uint32_t* size) noexcept nogil:
    """Step through a comma-separated list (RFC 9110 §5.6.1), skipping empty elements; False at its end."""
    cdef uint32_t i = position[0]
    cdef uint32_t end
    while i < length and (is_space(list_text[i]) or list_text[i] == c","):
        i += 1
    if i == length:
        position[0] = i
        return False
    start[0] = i
    while i < length and list_text[i] != c",":
        i += 1
    position[0] = i
    end = i
    while is_space(list_text[end - 1]):  # stops at the element's first byte, which is none
        end -= 1
    size[0] = end - start[0]
    return True


cdef bint list_names(const uint8_t* list_text, uint32_t length, const char* name, uint32_t name_length) noexcept nogil:
    """Whether a comma-separated list has the element `name` (lower case)."""
    cdef uint32_t position = 0
    cdef uint32_t start = 0
    cdef uint32_t size = 0
    while next_element(list_text, length, &position, &start, &size):
        if size == name_length and equals_lower(list_text + start, name, size):
            return True
    return False


cdef int read_content_length(const uint8_t* text, uint32_t length, uint64_t* value) noexcept nogil:
    """1*DIGIT up to 2^63-1 (RFC 9110 §8.6). A comma list is refused even when its members agree."""
    cdef uint64_t result = 0
    cdef uint32_t i
    if length == 0 or length > MAX_CONTENT_LENGTH_DIGITS:
        return BAD_REQUEST
    for i in range(length):
        if not BYTE_CLASS[text[i]] & IS_DIGIT:
            return BAD_REQUEST
        result = result * 10 + (text[i] - c"0")  # 19 digits cannot overflow 64 bits
    if result > MAX_BODY:
        return BAD_REQUEST
    value[0] = result
    return 0


cdef int check_transfer_encoding(const uint8_t* text, uint32_t length) noexcept nogil:
    """0 when the codings are exactly `chunked`.

    A coding the gateway does not know is 501 (RFC 9112 §6.1); `chunked` repeated, with a parameter or before another
    coding leaves the length of the body unclear: 400. So does a HTAB after the value, although the grammar allows it:
    llhttp does not see chunked coding then, so servers disagree about where such a message ends.

    `text` must stand in a line that ends with CR.
    """
    cdef uint32_t position = 0
    cdef uint32_t start = 0
    cdef uint32_t size = 0
    cdef uint32_t name_size
    cdef bint unknown = False
    cdef uint32_t after = length
    while text[after] == c" ":
        after += 1
    if text[after] == c"\t":
        return BAD_REQUEST
    if length == 7 and equals_lower(text, b"chunked", 7):
        return 0
    while next_element(text, length, &position, &start, &size):
        name_size = 0
        while name_size < size and BYTE_CLASS[text[start + name_size]] & IS_TOKEN:
            name_size += 1
        if name_size == 0:
            return BAD_REQUEST
        if name_size == 7 and equals_lower(text + start, b"chunked", 7):
            if size != 7 or position < length or not unknown:
                return BAD_REQUEST
        else:
            unknown = True
    return NOT_IMPLEMENTED if unknown else BAD_REQUEST


# --- host and port (RFC 3986 §3.2) -------------------------------------------------------------------------------


cdef bint is_ipv4(const uint8_t* text, uint32_t length) noexcept nogil:
    """Four dec-octets: 0-255 without leading zeros."""
    cdef uint32_t i = 0
    cdef uint32_t octets = 0
    cdef uint32_t digits
    cdef uint32_t value
    while True:
        digits = 0
        value = 0
        while i < length and digits < 3 and BYTE_CLASS[text[i]] & IS_DIGIT:
            if digits == 1 and value == 0:
                return False
            value = value * 10 + (text[i] - c"0")
            digits += 1
            i += 1
        if digits == 0 or value > 255:
            return False
        octets += 1
        if octets == 4:
            return i == length
        if i == length or text[i] != c".":
            return False
        i += 1


cdef bint is_ipv6(const uint8_t* text, uint32_t length) noexcept nogil:
    """IPv6address without brackets and zone: 8 groups, one run of them may be "::", the last two may be an IPv4."""
    cdef uint32_t i = 0
    cdef uint32_t start
    cdef uint32_t groups = 0
    cdef bint compressed = False
    if length >= 2 and text[0] == c":" and text[1] == c":":
        compressed = True
        i = 2
    elif length == 0:
        return False
    while i < length:
        start = i
        while i < length and i - start < 4 and BYTE_CLASS[text[i]] & IS_HEX:
            i += 1
        if i < length and text[i] == c".":
            if not is_ipv4(text + start, length - start):
                return False
            groups += 2
            break
        if i == start:
            return False
        groups += 1
        if groups > 8:
            return False
        if i == length:
            break
        if text[i] != c":":
            return False
        i += 1
        if i == length:
            return False
        if text[i] == c":":
            if compressed:
                return False
            compressed = True
            i += 1
    return groups <= 7 if compressed else groups == 8


cdef bint read_authority(const uint8_t* text, uint32_t length, uint32_t* host_length, uint16_t* port) noexcept nogil:
    """uri-host [ ":" port ] without user information. An empty host is refused, an empty port is none (0)."""
    cdef uint32_t i = 0
    cdef uint32_t value = 0
    cdef uint32_t digits = 0
    if length > 0 and text[0] == c"[":
        while i < length and text[i] != c"]":
            i += 1
        if i == length or not is_ipv6(text + 1, i - 1):
            return False
        i += 1
    else:
        while i < length:
            if not BYTE_CLASS[text[i]] & IS_REG_NAME:
                if text[i] != c"%":
                    break
                if length - i < 3 or not (BYTE_CLASS[text[i + 1]] & BYTE_CLASS[text[i + 2]] & IS_HEX):
                    return False
                i += 2
            i += 1
        if i == 0:
            return False
    host_length[0] = i
    port[0] = 0
    if i == length:
        return True
    if text[i] != c":":
        return False
    i += 1
    while i < length:
        if not BYTE_CLASS[text[i]] & IS_DIGIT:
            return False
        value = value * 10 + (text[i] - c"0")
        digits += 1
        i += 1
        if digits > 5 or value > 65535:
            return False
    port[0] = <uint16_t> value
    return True
