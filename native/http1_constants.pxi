# Byte classes of the HTTP/1.1 grammar and the states of its parsers; included by http1.pyx.
# Sources: RFC 9110 §5.6.2 (token), RFC 9112 §3 (request line), RFC 3986 §3.2.2 (host).

cdef enum ByteClass:
    IS_TOKEN = 1        # tchar
    IS_METHOD = 2       # the gateway's method names: A-Z, "_" and "-" (Kong refuses lower-case letters)
    IS_TARGET = 4       # visible ASCII without "#": a fragment is not part of a request target
    IS_FIELD_VALUE = 8  # VCHAR, obs-text, SP, HTAB
    IS_REG_NAME = 16    # unreserved and sub-delims; "%" is checked apart
    IS_HEX = 32
    IS_DIGIT = 64

cdef enum:
    MAX_METHOD = 32                # bytes; the longest registered name (UPDATEREDIRECTREF) has 17
    MAX_CONNECTION_OPTIONS = 64    # per head; bounds the comparisons of each option with every field
    MAX_CONTENT_LENGTH_DIGITS = 19  # 2^63-1 has 19
    MAX_CHUNK_SIZE_DIGITS = 16
    MAX_TRAILER_SECTION = 8192     # bytes

# Largest body or chunk, 2^63-1: what still fits signed 64-bit arithmetic in whoever adds sizes up.
cdef uint64_t MAX_BODY = 0x7FFFFFFFFFFFFFFF

cdef enum HeadPhase:
    PHASE_START_LINE = 0
    PHASE_FIELDS = 1
    PHASE_COMPLETE = 2

# Refusals: minus the HTTP status.
cdef enum:
    BAD_REQUEST = -400
    METHOD_NOT_ALLOWED = -405
    URI_TOO_LONG = -414
    HEAD_TOO_LARGE = -431
    NOT_IMPLEMENTED = -501
    VERSION_NOT_SUPPORTED = -505

# RequestHead.seen and ResponseHead.seen: fields and connection options met so far.
cdef enum SeenBit:
    SEEN_HOST = 1
    SEEN_TRANSFER_ENCODING = 2
    SEEN_CONNECTION = 4
    SEEN_UPGRADE = 8
    OPTION_CLOSE = 16
    OPTION_KEEP_ALIVE = 32
    OPTION_UPGRADE = 64

# ChunkDecoder.state
cdef enum ChunkState:
    CHUNK_SIZE = 0       # in the hex digits of a size
    CHUNK_SIZE_LF = 1    # CR of the size line seen
    CHUNK_DATA = 2
    CHUNK_DATA_CR = 3    # after the data: CR must follow
    CHUNK_DATA_LF = 4
    CHUNK_TRAILER = 5    # in the trailer section; ChunkDecoder.line_state says where in a line
    CHUNK_FINISHED = 6
    CHUNK_FAILED = 7

# ChunkDecoder.line_state
cdef enum TrailerState:
    TRAILER_LINE_START = 0
    TRAILER_NAME = 1
    TRAILER_VALUE = 2
    TRAILER_LINE_LF = 3  # CR of a field line seen
    TRAILER_LAST_LF = 4  # CR of the empty line seen

cdef uint8_t[256] BYTE_CLASS


cdef void fill_byte_classes():
    digits = b"0123456789"
    upper = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    letters = upper + upper.lower()
    members = {
        IS_TOKEN: b"!#$%&'*+-.^_`|~" + digits + letters,
        IS_METHOD: upper + b"_-",
        IS_TARGET: bytes(set(range(0x21, 0x7F)) - set(b"#")),
        IS_FIELD_VALUE: b"\t" + bytes(set(range(0x20, 0x100)) - {0x7F}),
        IS_REG_NAME: b"-._~!$&'()*+,;=" + digits + letters,
        IS_HEX: digits + b"abcdefABCDEF",
        IS_DIGIT: digits,
    }
    cdef uint8_t byte
    for bit, included in members.items():
        for byte in included:
            BYTE_CLASS[byte] |= <uint8_t> bit


fill_byte_classes()
