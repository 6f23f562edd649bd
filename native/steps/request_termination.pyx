"""request-termination: requests are answered here (gateway/plugins/request_termination.py)."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from native.body_fields cimport FIELD_ABSENT, form_field
from native.connection cimport Exchange
from native.fields cimport Head, Text, find_field, text_of
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport (
    STEP_BODY,
    STEP_CONTINUE,
    StepFunctions,
    register_step,
    request_body_complete,
    request_head,
    request_query,
    respond_body,
    respond_error,
    step_config,
)
from native.request_echo cimport request_echo
from native.snapshot cimport PluginRecord

cpdef enum Termination:
    TERMINATE_WITH_BODY = 0      # `body` as it is
    TERMINATE_WITH_ERROR = 1     # the gateway's own error body of that status
    TERMINATE_WITH_ECHO = 2      # the request as JSON; `body` is its message

ctypedef struct RequestTerminationConfig:
    PackedText trigger           # header or query argument; empty: all requests are answered
    PackedText content_type      # empty: no Content-Type
    PackedText body
    PackedText host_name         # of this machine, for the echo
    uint32_t status
    uint8_t kind                 # Termination


def pack_config(*, uint8_t kind, uint32_t status, str trigger, str content_type, str body, str host_name) -> bytes:
    """`kind`: one of Termination."""
    cdef RequestTerminationConfig config
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(RequestTerminationConfig))
    config.trigger = packer.text(trigger)
    config.content_type = packer.text(content_type)
    config.body = packer.text(body)
    config.host_name = packer.text(host_name)
    config.status = status
    config.kind = kind
    return packer.finish(&config)


cdef bint is_triggered(Exchange* exchange, Text trigger) noexcept nogil:
    cdef Head request = request_head(exchange)
    cdef Text ignored
    return find_field(&request, <const char*> trigger.data, trigger.length, 0, &ignored) \
        or form_field(request_query(exchange), trigger, &ignored) != FIELD_ABSENT


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const RequestTerminationConfig* config = <const RequestTerminationConfig*> step_config(exchange, plugin)
    cdef Text trigger = packed_text(config, config.trigger)
    cdef Text body = packed_text(config, config.body)
    if trigger.length and not is_triggered(exchange, trigger):
        return STEP_CONTINUE
    if config.kind == TERMINATE_WITH_ERROR:
        return respond_error(exchange, config.status, b"")
    if config.kind == TERMINATE_WITH_ECHO:
        if not request_body_complete(exchange):
            return STEP_BODY
        body = request_echo(exchange, body, packed_text(config, config.host_name))
        return respond_body(exchange, config.status, text_of(b"application/json; charset=utf-8", 31), body)
    return respond_body(exchange, config.status, packed_text(config, config.content_type), body)


cdef StepFunctions functions
functions.access = access
register_step("request_termination", functions)
