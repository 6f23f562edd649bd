"""redirect: requests are sent elsewhere (gateway/plugins/redirect.py)."""

from libc.stdint cimport int32_t, uint8_t, uint32_t
from libc.string cimport memcpy, memset

from native.connection cimport Exchange
from native.fields cimport Head, Text, set_field, text_of
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport (
    STEP_FAIL,
    StepFunctions,
    exchange_memory,
    register_step,
    request_query,
    respond_body,
    response_head,
    step_config,
)
from native.snapshot cimport PluginRecord
from native.uri cimport build_upstream_path

ctypedef struct RedirectConfig:
    PackedText location          # where to; with `keeps_path` without its path and query
    PackedText fragment          # "#…" of a location that gets the request's path
    uint32_t status
    uint8_t keeps_path


def pack_config(*, str location, str fragment, uint32_t status, bint keeps_path) -> bytes:
    """`keeps_path`: path and query of the request come between `location` ("https://host") and `fragment`."""
    cdef RedirectConfig config
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(RedirectConfig))
    config.location = packer.text(location)
    config.fragment = packer.text(fragment)
    config.status = status
    config.keeps_path = keeps_path
    return packer.finish(&config)


cdef bint location_of(Exchange* exchange, const RedirectConfig* config, Text* location) noexcept nogil:
    """The request's path in its normalised form: one that begins with "//" would name another host."""
    cdef Text start = packed_text(config, config.location)
    cdef Text end = packed_text(config, config.fragment)
    cdef Text query = request_query(exchange)
    cdef uint32_t path_room = 3 * exchange.path_length + 8
    cdef uint8_t* text = exchange_memory(exchange, start.length + path_room + 1 + query.length + end.length)
    cdef uint32_t length = start.length
    cdef int32_t path_length
    if text == NULL:
        return False
    memcpy(text, start.data, start.length)
    path_length = build_upstream_path(<const uint8_t*> b"/", 1, exchange.path, exchange.path_length, 0, False,
                                      text + length, path_room)
    if path_length < 0:
        return False
    length += <uint32_t> path_length
    if query.length:
        text[length] = 63                                # "?"
        memcpy(text + length + 1, query.data, query.length)
        length += 1 + query.length
    memcpy(text + length, end.data, end.length)
    location[0] = text_of(text, length + end.length)
    return True


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const RedirectConfig* config = <const RedirectConfig*> step_config(exchange, plugin)
    cdef Head response = response_head(exchange)
    cdef Text location = packed_text(config, config.location)
    if config.keeps_path and not location_of(exchange, config, &location):
        return STEP_FAIL
    if not set_field(&response, b"Location", 8, location.data, location.length):
        return STEP_FAIL
    return respond_body(exchange, config.status, text_of(NULL, 0), text_of(b"redirecting", 11))


cdef StepFunctions functions
functions.access = access
register_step("redirect", functions)
