"""response-transformer: the client gets another response than the upstream sent, or than the gateway made
(gateway/plugins/response_transformer.py).

Headers are changed here, in Kong's order. JSON bodies are held until they are complete, and go through the plugin
thread (gateway/plugins/_transform_handler.py); then the headers follow.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memset

from native.connection cimport Exchange, Job
from native.fields cimport Head, Text, find_field, text_of
from native.header_changes cimport CHANGE_REMOVE, change_header
from native.http1 cimport METHOD_HEAD
from native.jobs cimport JOB_DONE, job_new, job_submit
from native.log cimport LOG_ERROR, log_error
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport (
    STEP_BODY,
    STEP_CONTINUE,
    STEP_FAIL,
    StepFunctions,
    change_response_body,
    register_step,
    response_body,
    response_body_complete,
    response_head,
    response_status,
    step_config,
)
from native.snapshot cimport PluginRecord
from native.text cimport is_text, put

ctypedef struct HeaderRule:
    PackedText name
    PackedText value
    uint32_t change              # Change
    uint32_t reserved

ctypedef struct ResponseTransformerConfig:
    uint32_t rules               # HeaderRule, in the order in which they apply
    uint32_t rule_count
    uint32_t changes_body
    uint32_t reserved


def pack_config(*, list rules, bint changes_body) -> bytes:
    """`rules`: (Change, name, value), in the order in which they apply."""
    cdef ResponseTransformerConfig config
    cdef HeaderRule rule
    cdef bytearray records = bytearray()
    memset(&config, 0, sizeof(config))
    memset(&rule, 0, sizeof(rule))
    packer = Packer(sizeof(ResponseTransformerConfig))
    for change, name, value in rules:
        rule.change = change
        rule.name = packer.text(name)
        rule.value = packer.text(value)
        records += (<char*> &rule)[:sizeof(HeaderRule)]
    config.rules = packer.array(bytes(records))
    config.rule_count = <uint32_t> len(rules)
    config.changes_body = changes_body
    return packer.finish(&config)


# --- headers ---------------------------------------------------------------------------------------------------------
cdef int change_headers(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const ResponseTransformerConfig* config = <const ResponseTransformerConfig*> step_config(exchange, plugin)
    cdef const HeaderRule* rules = <const HeaderRule*> (<const uint8_t*> config + config.rules)
    cdef Head head = response_head(exchange)
    cdef Text value
    cdef uint32_t i
    for i in range(config.rule_count):
        value = packed_text(config, rules[i].value)
        if rules[i].change != CHANGE_REMOVE and value.length == 0:
            continue                                     # "name:" changes nothing
        if not change_header(exchange, &head, rules[i].change, packed_text(config, rules[i].name), value):
            log_error(exchange.worker, LOG_ERROR, exchange, b"response-transformer: too many headers", NULL, 0)
            return STEP_FAIL
    return STEP_CONTINUE


# --- the body --------------------------------------------------------------------------------------------------------
cdef bint is_json(Text content_type) noexcept nogil:
    """application/json, or a type that is JSON by its suffix (application/problem+json; corrections.md, 27)."""
    cdef uint32_t length = 0
    while length < content_type.length and content_type.data[length] != 59 and content_type.data[length] != 44:
        length += 1                                      # up to ";" or ","
    while length and (content_type.data[length - 1] == 32 or content_type.data[length - 1] == 9):
        length -= 1
    if length < 16 or not is_text(content_type.data, 12, b"application/", 12):
        return False
    return is_text(content_type.data + 12, length - 12, b"json", 4) \
        or is_text(content_type.data + length - 5, 5, b"+json", 5)


cdef bint has_json(Exchange* exchange) noexcept nogil:
    """A body that can be read: JSON, and not compressed."""
    cdef Head head = response_head(exchange)
    cdef uint32_t status = response_status(exchange)
    cdef Text value
    if exchange.request.method == METHOD_HEAD or status == 101 or status == 204 or status == 304:
        return False
    if not find_field(&head, b"Content-Type", 12, 0, &value) or not is_json(value):
        return False
    return not find_field(&head, b"Content-Encoding", 16, 0, &value) or is_text(value.data, value.length, b"identity", 8)


cdef int submit_body(Exchange* exchange, const PluginRecord* plugin, Text body) noexcept nogil:
    cdef Job* job = job_new(exchange, plugin, 0, body.length)
    if job == NULL:
        return STEP_FAIL
    put(job.request, body.data, body.length)
    return job_submit(exchange, job)


# --- the step --------------------------------------------------------------------------------------------------------
cdef int respond(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const ResponseTransformerConfig* config = <const ResponseTransformerConfig*> step_config(exchange, plugin)
    cdef Text body
    if config.changes_body and has_json(exchange):
        if not response_body_complete(exchange):
            return STEP_BODY
        if response_body(exchange, &body) and body.length:
            return submit_body(exchange, plugin, body)
    return change_headers(exchange, plugin)


cdef int resume(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    """The result is empty when the body stays, else the new body behind one byte."""
    cdef Job* job = exchange.job
    if job.state != JOB_DONE:
        return STEP_FAIL
    if job.result_length and not change_response_body(exchange, text_of(job.result + 1, job.result_length - 1)):
        return STEP_FAIL
    return change_headers(exchange, plugin)


cdef StepFunctions functions
functions.response = respond
functions.resume = resume
register_step("response_transformer", functions)
