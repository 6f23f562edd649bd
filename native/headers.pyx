"""Classification of header field names; see headers.pxd."""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy


cdef inline uint8_t lower_case(uint8_t byte) noexcept nogil:
    return byte | 0x20 if 65 <= byte <= 90 else byte


cdef inline bint matches(const uint8_t* name, const char* expected, uint32_t length) noexcept nogil:
    """Whether `name` equals `expected` (lower-case letters and "-" only) without regard to case.

    Setting bit 0x20 lowers a letter and leaves "-" alone. The only other bytes it maps to a letter or "-" are control
    characters and CR, which no caller lets into a name.
    """
    cdef uint64_t left
    cdef uint64_t right
    cdef uint32_t i = 0
    while i + 8 <= length:
        memcpy(&left, name + i, 8)
        memcpy(&right, expected + i, 8)
        if (left | 0x2020202020202020ULL) != right:
            return False
        i += 8
    while i < length:
        if (name[i] | 0x20) != <uint8_t> expected[i]:
            return False
        i += 1
    return True


cdef inline bint is_identity(const uint8_t* name, uint32_t length) noexcept nogil:
    return (
        (length > 11 and matches(name, b"x-consumer-", 11))
        or (length > 13 and matches(name, b"x-credential-", 13))
        or (length == 20 and matches(name, b"x-anonymous-consumer", 20))
        or (length > 16 and matches(name, b"x-authenticated-", 16))
    )


cdef uint8_t classify_header(const uint8_t* name, uint32_t length) noexcept nogil:
    cdef uint8_t first
    if length < 2:
        return HEADER_OTHER
    first = name[0] | 0x20
    if length == 2:
        if matches(name, b"te", 2):
            return HEADER_TE
    elif length == 3:
        if matches(name, b"via", 3):
            return HEADER_VIA
    elif length == 4:
        if first == c"h" and matches(name, b"host", 4):
            return HEADER_HOST
        if first == c"d" and matches(name, b"date", 4):
            return HEADER_DATE
    elif length == 5:
        if first == c"p" and matches(name, b"proxy", 5):
            return HEADER_PROXY
    elif length == 6:
        if first == c"a" and matches(name, b"accept", 6):
            return HEADER_ACCEPT
        if first == c"c" and matches(name, b"cookie", 6):
            return HEADER_COOKIE
        if first == c"e" and matches(name, b"expect", 6):
            return HEADER_EXPECT
        if first == c"s" and matches(name, b"server", 6):
            return HEADER_SERVER
        if first == c"o" and matches(name, b"origin", 6):
            return HEADER_ORIGIN
    elif length == 7:
        if first == c"u" and matches(name, b"upgrade", 7):
            return HEADER_UPGRADE
        if first == c"r" and matches(name, b"referer", 7):
            return HEADER_REFERER
        if first == c"t" and matches(name, b"trailer", 7):
            return HEADER_TRAILER
    elif length == 9:
        if first == c"x" and matches(name, b"x-real-ip", 9):
            return HEADER_X_REAL_IP
    elif length == 10:
        if first == c"c" and matches(name, b"connection", 10):
            return HEADER_CONNECTION
        if first == c"u" and matches(name, b"user-agent", 10):
            return HEADER_USER_AGENT
        if first == c"k":
            if matches(name, b"keep-alive", 10):
                return HEADER_KEEP_ALIVE
            if matches(name, b"kong-debug", 10):
                return HEADER_KONG_DEBUG
    elif length == 12:
        if first == c"c" and matches(name, b"content-type", 12):
            return HEADER_CONTENT_TYPE
    elif length == 13:
        if first == c"a" and matches(name, b"authorization", 13):
            return HEADER_AUTHORIZATION
    elif length == 14:
        if first == c"c" and matches(name, b"content-length", 14):
            return HEADER_CONTENT_LENGTH
    elif length == 15:
        if first == c"x" and matches(name, b"x-forwarded-for", 15):
            return HEADER_X_FORWARDED_FOR
    elif length == 16:
        if first == c"x" and matches(name, b"x-forwarded-", 12):
            if matches(name + 12, b"host", 4):
                return HEADER_X_FORWARDED_HOST
            if matches(name + 12, b"port", 4):
                return HEADER_X_FORWARDED_PORT
            if matches(name + 12, b"path", 4):
                return HEADER_X_FORWARDED_PATH
        if first == c"p" and matches(name, b"proxy-connection", 16):
            return HEADER_PROXY_CONNECTION
    elif length == 17:
        if first == c"t" and matches(name, b"transfer-encoding", 17):
            return HEADER_TRANSFER_ENCODING
        if first == c"x":
            if matches(name, b"x-forwarded-proto", 17):
                return HEADER_X_FORWARDED_PROTO
            if matches(name, b"x-kong-request-id", 17):
                return HEADER_KONG_REQUEST_ID
        if first == c"s" and matches(name, b"sec-websocket-key", 17):
            return HEADER_SEC_WEBSOCKET_KEY
    elif length == 18:
        if first == c"x":
            if matches(name, b"x-forwarded-prefix", 18):
                return HEADER_X_FORWARDED_PREFIX
            if matches(name, b"x-sluicegate-debug", 18):
                return HEADER_DEBUG_TOKEN
    elif length == 19:
        if first == c"p" and matches(name, b"proxy-authorization", 19):
            return HEADER_PROXY_AUTHORIZATION
    elif length == 20:
        if first == c"x" and matches(name, b"x-kong-proxy-latency", 20):
            return HEADER_KONG_PROXY_LATENCY
    elif length == 22:
        if first == c"x" and matches(name, b"x-kong-upstream-status", 22):
            return HEADER_KONG_UPSTREAM_STATUS
    elif length == 23:
        if first == c"x":
            if matches(name, b"x-kong-upstream-latency", 23):
                return HEADER_KONG_UPSTREAM_LATENCY
            if matches(name, b"x-kong-response-latency", 23):
                return HEADER_KONG_RESPONSE_LATENCY
    if first == c"x" and length > 10 and is_identity(name, length):
        return HEADER_IDENTITY
    # Every protected name with a "-" in it starts with one of these letters.
    if length >= 9 and (first == c"x" or first == c"c" or first == c"t" or first == c"k" or first == c"p"):
        if shadows_protected_name(name, length):
            return HEADER_SHADOW
    return HEADER_OTHER


cdef bint shadows_protected_name(const uint8_t* name, uint32_t length) noexcept nogil:
    """Whether an upstream that maps names to variables could take `name` for a field the gateway sets.

    CGI and WSGI turn "-" into "_", so X_Real_IP and X-Real-IP both become HTTP_X_REAL_IP; some servers map every byte
    that is not a letter or digit (X.Real.IP). Names that differ from their dashed form only in case are not shadows.
    """
    cdef uint8_t[32] folded  # longer than each name and prefix below
    cdef uint32_t used = length if length < 32 else 32
    cdef uint32_t i
    cdef uint8_t byte
    cdef bint odd = False
    for i in range(used):
        byte = lower_case(name[i])
        if not (97 <= byte <= 122 or 48 <= byte <= 57):
            if byte != c"-":
                odd = True
            byte = c"-"
        folded[i] = byte
    if not odd:
        return False
    if folded[0] == c"x":
        return (
            (length == 9 and matches(folded, b"x-real-ip", 9))
            or (length > 12 and matches(folded, b"x-forwarded-", 12))
            or (length > 7 and matches(folded, b"x-kong-", 7))
            or is_identity(folded, length)
        )
    return (
        (length == 10 and matches(folded, b"keep-alive", 10))
        or (length == 14 and matches(folded, b"content-length", 14))
        or (length == 16 and matches(folded, b"proxy-connection", 16))
        or (length == 17 and matches(folded, b"transfer-encoding", 17))
    )


cdef bint same_name(const uint8_t* left, const uint8_t* right, uint32_t length) noexcept nogil:
    cdef uint32_t i
    for i in range(length):
        if left[i] != right[i] and lower_case(left[i]) != lower_case(right[i]):
            return False
    return True


# --- for unit tests ----------------------------------------------------------------------------------------------


def classify(name: bytes) -> KnownHeader:
    """The KnownHeader of `name`."""
    cdef const uint8_t* text = name
    return KnownHeader(classify_header(text, <uint32_t> len(name)))


def equal_names(left: bytes, right: bytes) -> bool:
    """same_name(); False when the lengths differ."""
    cdef const uint8_t* left_text = left
    cdef const uint8_t* right_text = right
    return len(left) == len(right) and same_name(left_text, right_text, <uint32_t> len(left))
