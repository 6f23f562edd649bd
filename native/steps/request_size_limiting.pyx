"""request-size-limiting: requests with large bodies are refused (gateway/plugins/request_size_limiting.py).

What Content-Length announces is refused at once. A chunked body is counted while it arrives: the exchange stops where
it has grown too long.
"""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memset

from native.connection cimport Exchange
from native.http1 cimport BODY_CHUNKED
from native.packed cimport Packer
from native.plan cimport STEP_CONTINUE, StepFunctions, register_step, respond_error, step_config
from native.snapshot cimport PluginRecord

cdef const char* TOO_LARGE = b"Request size limit exceeded"

ctypedef struct RequestSizeLimitingConfig:
    uint64_t limit               # bytes
    uint8_t requires_length      # a request must have Content-Length, or be chunked


def pack_config(*, uint64_t limit, bint requires_length) -> bytes:
    """`limit`: bytes."""
    cdef RequestSizeLimitingConfig config
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(RequestSizeLimitingConfig))
    config.limit = limit
    config.requires_length = requires_length
    return packer.finish(&config)


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const RequestSizeLimitingConfig* config = <const RequestSizeLimitingConfig*> step_config(exchange, plugin)
    cdef bint is_too_large
    if exchange.request.body_kind == BODY_CHUNKED:
        exchange.body_limit = config.limit
        exchange.body_limit_text = TOO_LARGE
        # a step before this one may have asked for the body
        is_too_large = exchange.body_received > config.limit
    else:
        is_too_large = exchange.request.content_length > config.limit
    if is_too_large:
        return respond_error(exchange, 417 if exchange.request.expect_continue else 413, TOO_LARGE)
    if config.requires_length and exchange.request.body_kind != BODY_CHUNKED \
            and not exchange.request.has_content_length:
        return respond_error(exchange, 411, b"A valid Content-Length header is required")
    return STEP_CONTINUE


cdef StepFunctions functions
functions.access = access
register_step("request_size_limiting", functions)
