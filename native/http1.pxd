"""HTTP/1.1 grammar (RFC 9110, RFC 9112), without sockets: bytes in, offsets out.

A parser is fed the same growing buffer again and again; it works line by line and never looks at a finished line
twice, so the result does not depend on how the bytes were split. It is strict: what RFC 9112 lets a recipient
repair (bare LF, obs-fold, white space before the colon) is refused, because a gateway that repairs a message and
the server behind it may disagree about where the message ends.
"""

from libc.stdint cimport int16_t, uint8_t, uint16_t, uint32_t, uint64_t

from native.headers cimport HeaderField

cdef enum:
    MAX_HEADERS = 256

# What a head parser answers. Anything below zero is minus the HTTP status to refuse the request with
# (-400, -405, -414, -431, -501, -505); for a response head every negative value means "502".
cpdef enum ParseResult:
    HEAD_INCOMPLETE = 0
    HEAD_COMPLETE = 1

cpdef enum BodyKind:
    BODY_NONE = 0
    BODY_LENGTH = 1          # exactly content_length bytes, which may be 0
    BODY_CHUNKED = 2
    BODY_UNTIL_CLOSE = 3     # responses only (RFC 9112 §6.3 rule 8)

cpdef enum Method:
    METHOD_OTHER = 0
    METHOD_GET = 1
    METHOD_HEAD = 2
    METHOD_POST = 3
    METHOD_PUT = 4
    METHOD_DELETE = 5
    METHOD_CONNECT = 6
    METHOD_OPTIONS = 7
    METHOD_TRACE = 8
    METHOD_PATCH = 9
    METHOD_LOCK = 10

cpdef enum TargetForm:
    TARGET_ORIGIN = 0        # /path?query
    TARGET_ABSOLUTE = 1      # http://authority/path?query
    TARGET_ASTERISK = 2      # * (OPTIONS only)

ctypedef struct HeadLimits:
    uint32_t max_line        # request line, bytes: more is 414
    uint32_t max_head        # whole head, bytes: more is 431

ctypedef struct RequestHead:
    # progress
    uint32_t parsed          # bytes of finished lines; after HEAD_COMPLETE: length of the head, CRLFCRLF included
    uint32_t scanned         # bytes already searched for the next LF
    uint8_t phase            # 0: request line, 1: fields, 2: complete
    int16_t refusal          # what the parser refused the head with (below zero) and will answer again, else 0
    # request line; offsets from the buffer's first byte
    uint8_t method           # Method
    uint8_t target_form      # TargetForm
    uint8_t minor_version    # 0 or 1
    uint32_t method_offset, method_length
    uint32_t target_offset, target_length      # as received
    uint32_t path_offset, path_length          # without query; length 0 in absolute form means "/"
    uint32_t query_offset, query_length        # without "?"
    uint8_t has_query        # a bare trailing "?" counts
    # Host, validated: from the absolute form when there is one (RFC 9112 §3.2.2), else from the Host field
    uint8_t has_host
    uint32_t host_offset, host_length          # without port, brackets of an IPv6 literal kept
    uint32_t authority_offset, authority_length  # with port, as received
    uint16_t port            # explicit port, 0 = none
    # framing and connection
    uint8_t body_kind        # BodyKind: NONE, LENGTH or CHUNKED
    uint64_t content_length
    uint8_t has_content_length
    uint8_t keep_alive       # the client lets the connection persist
    uint8_t expect_continue  # Expect: 100-continue
    uint8_t upgrade          # Connection names Upgrade and an Upgrade field is present
    uint8_t upgrade_websocket
    uint8_t te_trailers      # TE names trailers
    uint16_t seen            # SeenBit of http1_constants.pxi; for the parser alone
    # fields in order of arrival
    uint16_t header_count
    HeaderField headers[MAX_HEADERS]

ctypedef struct ResponseHead:
    uint32_t parsed
    uint32_t scanned
    uint8_t phase
    int16_t refusal
    uint8_t minor_version
    uint16_t status
    uint32_t reason_offset, reason_length
    uint8_t body_kind        # by the fields alone; the caller applies HEAD, 1xx, 204 and 304
    uint64_t content_length
    uint8_t has_content_length
    uint8_t keep_alive
    uint8_t upgrade
    uint16_t seen            # for the parser alone
    uint16_t header_count
    HeaderField headers[MAX_HEADERS]

# Make a head ready for the next message.
cdef void request_head_reset(RequestHead* head) noexcept nogil
cdef void response_head_reset(ResponseHead* head) noexcept nogil
# Parse as much of `data[0:length]` as there are finished lines. Skips at most one empty line before a request line
# (RFC 9112 §2.2). Call again with the same, longer buffer after HEAD_INCOMPLETE.
cdef int parse_request_head(const uint8_t* data, uint32_t length, RequestHead* head,
                            const HeadLimits* limits) noexcept nogil
cdef int parse_response_head(const uint8_t* data, uint32_t length, ResponseHead* head,
                             const HeadLimits* limits) noexcept nogil

# --- chunked transfer coding (RFC 9112 §7.1) ---------------------------------------------------------------------
cpdef enum ChunkResult:
    CHUNK_MORE = 0           # all input used, body goes on
    CHUNK_DONE = 1           # last chunk and trailer section seen; input after it is not touched
    CHUNK_ERROR = -1         # not chunked coding, or a chunk extension (refused), or trailers over the limit

ctypedef struct ChunkDecoder:
    uint8_t state
    uint8_t digits           # hex digits of the size seen so far
    uint64_t remaining       # bytes left in the current chunk
    uint32_t trailer_bytes   # of the trailer section; limited to 8 KiB
    uint8_t line_state       # position in the grammar of a trailer line

cdef void chunk_decoder_reset(ChunkDecoder* decoder) noexcept nogil
# Decode `data[0:length]` in place: the body bytes are moved together at the front. Sets `consumed` (input bytes used)
# and `produced` (body bytes now at data[0:produced]). Trailer fields are checked and dropped.
cdef int chunk_decode(ChunkDecoder* decoder, uint8_t* data, uint32_t length,
                      uint32_t* consumed, uint32_t* produced) noexcept nogil
