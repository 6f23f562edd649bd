"""Header fields the gateway acts on, so that the request path compares small integers and not names."""

from libc.stdint cimport uint8_t, uint16_t, uint32_t

# RFC 9110 §5.1 field names, classified once while the head is parsed.
cpdef enum KnownHeader:
    HEADER_OTHER = 0
    # framing and connection management: never copied, always written anew (RFC 9112 §6, RFC 9110 §7.6.1)
    HEADER_CONNECTION = 1
    HEADER_CONTENT_LENGTH = 2
    HEADER_TRANSFER_ENCODING = 3
    HEADER_UPGRADE = 4
    HEADER_KEEP_ALIVE = 5
    HEADER_PROXY_CONNECTION = 6
    HEADER_TE = 7
    HEADER_TRAILER = 8
    HEADER_EXPECT = 9
    HEADER_PROXY = 10
    # routing and identity of the client
    HEADER_HOST = 11
    HEADER_VIA = 12
    HEADER_X_REAL_IP = 13
    HEADER_X_FORWARDED_FOR = 14
    HEADER_X_FORWARDED_PROTO = 15
    HEADER_X_FORWARDED_HOST = 16
    HEADER_X_FORWARDED_PORT = 17
    HEADER_X_FORWARDED_PATH = 18
    HEADER_X_FORWARDED_PREFIX = 19
    # content negotiation of the gateway's own answers, and what the access log prints
    HEADER_ACCEPT = 20
    HEADER_CONTENT_TYPE = 21
    HEADER_USER_AGENT = 22
    HEADER_REFERER = 23
    # written by the gateway on responses
    HEADER_SERVER = 24
    HEADER_DATE = 25
    HEADER_KONG_REQUEST_ID = 26          # X-Kong-Request-Id
    HEADER_KONG_UPSTREAM_LATENCY = 27    # X-Kong-Upstream-Latency
    HEADER_KONG_PROXY_LATENCY = 28       # X-Kong-Proxy-Latency
    HEADER_KONG_RESPONSE_LATENCY = 29    # X-Kong-Response-Latency
    HEADER_KONG_UPSTREAM_STATUS = 30     # X-Kong-Upstream-Status
    HEADER_KONG_DEBUG = 31               # Kong-Debug
    HEADER_AUTHORIZATION = 32
    HEADER_COOKIE = 33
    HEADER_SEC_WEBSOCKET_KEY = 34
    HEADER_PROXY_AUTHORIZATION = 35
    HEADER_ORIGIN = 36
    HEADER_DEBUG_TOKEN = 37              # X-Sluicegate-Debug
    # who the client is (X-Consumer-*, X-Credential-*, X-Anonymous-Consumer, X-Authenticated-*): for the gateway alone to
    # say, so a client's own never get anywhere
    HEADER_IDENTITY = 62
    # a name that an upstream could read as one the gateway sets itself (underscores for dashes): dropped
    HEADER_SHADOW = 63

# One field of a head. Offsets count from the first byte of the head. 16 bytes.
ctypedef struct HeaderField:
    uint32_t name_offset
    uint32_t value_offset
    uint32_t value_length    # without the optional white space around it
    uint16_t name_length
    uint8_t known            # KnownHeader
    uint8_t flags            # HeaderFlag bits

cpdef enum HeaderFlag:
    HEADER_HOP_BY_HOP = 1    # named by Connection, or hop-by-hop by definition: does not cross the gateway
    HEADER_REMOVED = 2       # a plugin has taken it away

# Which KnownHeader `name` (any case; field-name bytes only, RFC 9110 §5.6.2) is. HEADER_SHADOW when it is not, but
# becomes, one of the gateway's own request headers (X-Real-IP, X-Forwarded-*, X-Kong-*, X-Consumer-*, X-Credential-*,
# X-Anonymous-Consumer, X-Authenticated-*, the framing headers) after replacing "_", ".", "!" and so on by "-".
cdef uint8_t classify_header(const uint8_t* name, uint32_t length) noexcept nogil
# True when two names are equal without regard to case.
cdef bint same_name(const uint8_t* left, const uint8_t* right, uint32_t length) noexcept nogil
