"""request-transformer: the upstream gets another request than the client sent (gateway/plugins/request_transformer.py).

Head and query are changed here, in Kong's order: what templates stand for, path, method, headers, query. Bodies go
through the plugin thread (gateway/plugins/_transform_handler.py), which gets the texts of templates from here, too.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy, memset

from native.arguments cimport (
    Arguments,
    arguments_add,
    arguments_append,
    arguments_begin,
    arguments_parse,
    arguments_remove,
    arguments_rename,
    arguments_replace,
    arguments_write,
)
from native.connection cimport Exchange, Job
from native.fields cimport Head, Text, find_field, text_of
from native.header_changes cimport CHANGE_ADD, CHANGE_REMOVE, CHANGE_RENAME, CHANGE_REPLACE, change_header
from native.jobs cimport JOB_DONE, job_new, job_submit
from native.log cimport LOG_ERROR, log_error
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport (
    STEP_BODY,
    STEP_CONTINUE,
    STEP_FAIL,
    StepFunctions,
    change_host,
    change_method,
    change_path,
    change_query,
    change_request_body,
    exchange_copy,
    register_step,
    request_body,
    request_body_complete,
    request_head,
    request_query,
    respond_error,
    step_config,
)
from native.scratch cimport Scratch, scratch_begin, scratch_take
from native.snapshot cimport PluginRecord
from native.template cimport (
    TEMPLATE_RENDERED,
    TEMPLATE_TOO_LONG,
    TemplateRequest,
    TemplateResult,
    template_render,
)
from native.text cimport is_text, put

cpdef enum TransformArea:
    AREA_HEADERS = 0
    AREA_QUERY = 1
    AREA_BODY = 2

ctypedef struct TransformRule:
    PackedText name
    PackedText value             # a text, or the program of a template
    uint8_t area                 # TransformArea
    uint8_t change               # Change
    uint8_t is_template
    uint8_t reserved

ctypedef struct RequestTransformerConfig:
    PackedText method            # empty: the client's
    PackedText path              # program of a template; empty: none
    uint32_t rules               # TransformRule, in the order in which they apply
    uint32_t rule_count
    uint32_t body_rules          # how many of them are for the body
    uint8_t moves_form           # the arguments of a form body go into the query, too
    uint8_t changes_query
    uint8_t has_templates
    uint8_t reserved

# What is at hand while a request is transformed.
ctypedef struct Transformation:
    Exchange* exchange
    const RequestTransformerConfig* config
    const TransformRule* rules
    Text* values                 # of the rules
    Text path                    # rendered
    Scratch* scratch

cdef enum:
    # more than a head of the largest size makes, taken apart and written three times as long
    SCRATCH_SIZE = 1 << 20

cdef extern from *:
    """
    /* The loop thread's; nothing of it is needed when a step function has returned. */
    static uint8_t request_transformer_scratch[1 << 20] __attribute__((aligned(16)));
    """
    uint8_t* request_transformer_scratch

# Bytes that a path has as they are (Kong's set_path); "?" ends it, and "#" would.
cdef uint8_t[256] PATH_BYTE
cdef const char* HEX_DIGITS = b"0123456789ABCDEF"
cdef int _byte
for _byte in (b"!$%&'()*+,/:;=?@[]-_.~0123456789"
              b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"):
    PATH_BYTE[_byte] = 1


def pack_config(*, str method, bytes path, list rules, bint moves_form) -> bytes:
    """`path`: the program of a template, or empty; `rules`: (TransformArea, Change, name, text or program,
    whether it is a program), in the order in which they apply."""
    cdef RequestTransformerConfig config
    cdef TransformRule rule
    cdef bytearray records = bytearray()
    memset(&config, 0, sizeof(config))
    memset(&rule, 0, sizeof(rule))
    packer = Packer(sizeof(RequestTransformerConfig))
    config.has_templates = len(path) > 0
    for area, change, name, value, is_template in rules:
        rule.area = area
        rule.change = change
        rule.is_template = is_template
        rule.name = packer.text(name)
        rule.value = packer.octets(value)
        records += (<char*> &rule)[:sizeof(TransformRule)]
        config.body_rules += area == AREA_BODY
        config.changes_query = config.changes_query or area == AREA_QUERY
        config.has_templates = config.has_templates or is_template
    config.method = packer.text(method)
    config.path = packer.octets(path)
    config.rules = packer.array(bytes(records))
    config.rule_count = <uint32_t> len(rules)
    config.moves_form = moves_form
    return packer.finish(&config)


# --- templates -------------------------------------------------------------------------------------------------------
cdef Text current_query(Exchange* exchange) noexcept nogil:
    """As plugins before this one have left it: what they have hidden stays hidden."""
    if exchange.query_override.data != NULL:
        return exchange.query_override
    return request_query(exchange)


cdef void see_request(Transformation* transformation, TemplateRequest* request) noexcept nogil:
    cdef Exchange* exchange = transformation.exchange
    cdef Text query = current_query(exchange)
    request.head = request_head(exchange)
    request.query = query.data
    request.query_length = query.length
    request.path = exchange.path
    request.captures = exchange.match.captures
    request.capture_count = exchange.match.capture_count
    request.regex = NULL
    if exchange.match.capture_count:
        request.regex = exchange.configuration.router.regexes[exchange.match.regex]
    request.shared = exchange.shared
    request.random = exchange.worker.random
    request.scratch = transformation.scratch
    request.has_arguments = 0


cdef bint render(Transformation* transformation, TemplateRequest* request, Text program, Text* text) noexcept nogil:
    cdef TemplateResult result = template_render(request, program, text)
    if result == TEMPLATE_RENDERED:
        return True
    log_error(transformation.exchange.worker, LOG_ERROR, transformation.exchange,
              b"request-transformer: the text of a template is too long" if result == TEMPLATE_TOO_LONG
              else b"request-transformer: a template works with a value that is nil or of another type than it expects",
              NULL, 0)
    return False


cdef bint find_values(Transformation* transformation) noexcept nogil:
    """The values of all rules, before anything is changed: templates see the request as it came to this plugin."""
    cdef const RequestTransformerConfig* config = transformation.config
    cdef TemplateRequest request
    cdef const TransformRule* rule
    cdef Text value
    cdef uint32_t i
    transformation.path = text_of(NULL, 0)
    transformation.values = \
        <Text*> scratch_take(transformation.scratch, <uint32_t> (config.rule_count * sizeof(Text)))
    if transformation.values == NULL:
        return False
    if config.has_templates:
        see_request(transformation, &request)
        if config.path.length and not render(transformation, &request, packed_text(config, config.path),
                                             &transformation.path):
            return False
    for i in range(config.rule_count):
        rule = &transformation.rules[i]
        value = packed_text(config, rule.value)
        if rule.is_template and not render(transformation, &request, value, &value):
            return False
        transformation.values[i] = value
    return True


# --- headers ---------------------------------------------------------------------------------------------------------
cdef inline bint is_host(Text name) noexcept nogil:
    return is_text(name.data, name.length, b"host", 4)


cdef bint change_field(Transformation* transformation, Head* head, const TransformRule* rule, Text value) noexcept nogil:
    cdef Text name = packed_text(transformation.config, rule.name)
    if rule.change != CHANGE_REMOVE and value.length == 0 and not rule.is_template:
        return True                                      # "name:" changes nothing (corrections.md, 26)
    if not is_host(name):
        return change_header(transformation.exchange, head, rule.change, name, value)
    if rule.change == CHANGE_REPLACE:
        change_host(transformation.exchange, exchange_copy(transformation.exchange, value.data, value.length))
    return True


cdef bint change_headers(Transformation* transformation) noexcept nogil:
    cdef Head head = request_head(transformation.exchange)
    cdef uint32_t i
    for i in range(transformation.config.rule_count):
        if transformation.rules[i].area == AREA_HEADERS \
                and not change_field(transformation, &head, &transformation.rules[i], transformation.values[i]):
            return False
    return True


# --- path and query --------------------------------------------------------------------------------------------------
cdef void change_argument(Arguments* arguments, const TransformRule* rule, Text name, Text value) noexcept nogil:
    if rule.change == CHANGE_REMOVE:
        arguments_remove(arguments, name)
    elif rule.change == CHANGE_RENAME:
        arguments_rename(arguments, name, value)
    elif rule.change == CHANGE_REPLACE:
        arguments_replace(arguments, name, value)
    elif rule.change == CHANGE_ADD:
        arguments_add(arguments, name, value)
    else:
        arguments_append(arguments, name, value)


cdef bint new_query(Transformation* transformation, Text* query) noexcept nogil:
    """The query with the changes, of which there are some. False: it is too long to be worked on."""
    cdef Exchange* exchange = transformation.exchange
    cdef Arguments arguments
    cdef Text form
    cdef uint32_t i
    cdef bint moves_form = transformation.config.moves_form and is_form(exchange) \
        and request_body(exchange, &form) and form.length > 0
    query[0] = current_query(exchange)
    if not transformation.config.changes_query and not moves_form:
        return True
    arguments_begin(&arguments, transformation.scratch)
    arguments_parse(&arguments, query[0])
    if moves_form:
        arguments_parse(&arguments, form)
    for i in range(transformation.config.rule_count):
        if transformation.rules[i].area == AREA_QUERY:
            change_argument(&arguments, &transformation.rules[i],
                            packed_text(transformation.config, transformation.rules[i].name),
                            transformation.values[i])
    if not arguments_write(&arguments, query):
        return False
    query[0] = exchange_copy(exchange, query.data, query.length)
    return change_query(exchange, query[0])


cdef bint escaped_path(Scratch* scratch, Text path, Text* escaped) noexcept nogil:
    """What may not stand in a request line is escaped."""
    cdef uint8_t* out = scratch_take(scratch, 3 * path.length)
    cdef uint32_t length = 0
    cdef uint32_t i
    if out == NULL:
        return False
    for i in range(path.length):
        if PATH_BYTE[path.data[i]]:
            out[length] = path.data[i]
            length += 1
        else:
            out[length] = 37
            out[length + 1] = <uint8_t> HEX_DIGITS[path.data[i] >> 4]
            out[length + 2] = <uint8_t> HEX_DIGITS[path.data[i] & 15]
            length += 3
    escaped[0] = text_of(out, length)
    return True


cdef bint change_target(Transformation* transformation, Text query) noexcept nogil:
    """The new path, and what it has of a query in front of the query (corrections.md, 26). False: no path."""
    cdef Exchange* exchange = transformation.exchange
    cdef Text path
    cdef uint8_t* joined
    cdef uint32_t length = 0
    cdef uint32_t own
    if not escaped_path(transformation.scratch, transformation.path, &path):
        return False
    while length < path.length and path.data[length] != 63:
        length += 1
    if not change_path(exchange, exchange_copy(exchange, path.data, length)):
        return False
    if length == path.length:
        return True
    own = path.length - length - 1
    joined = scratch_take(transformation.scratch, own + 1 + query.length)
    if joined == NULL:
        return False
    memcpy(joined, path.data + length + 1, own)
    if query.length:
        joined[own] = 63
        memcpy(joined + own + 1, query.data, query.length)
        own += 1 + query.length
    return change_query(exchange, exchange_copy(exchange, joined, own))


# --- bodies ----------------------------------------------------------------------------------------------------------
cdef bint contains(Text text, const char* word, uint32_t length) noexcept nogil:
    """Kong looks for a word anywhere in Content-Type."""
    cdef uint32_t i
    for i in range(text.length - length + 1 if text.length >= length else 0):
        if is_text(text.data + i, length, word, length):
            return True
    return False


cdef Text content_type(Exchange* exchange) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef Text value = text_of(b"", 0)
    find_field(&head, b"Content-Type", 12, 0, &value)
    return value


cdef bint is_form(Exchange* exchange) noexcept nogil:
    return contains(content_type(exchange), b"application/x-www-form-urlencoded", 33)


cdef bint may_change_body(Exchange* exchange) noexcept nogil:
    cdef Text type = content_type(exchange)
    return contains(type, b"application/json", 16) or contains(type, b"multipart/form-data", 19) \
        or contains(type, b"application/x-www-form-urlencoded", 33)


cdef bint needs_body(Exchange* exchange, const RequestTransformerConfig* config) noexcept nogil:
    """Asked before the headers are changed, so a rule that makes a type of body of another one comes too late."""
    return (config.body_rules and may_change_body(exchange)) or (config.moves_form and is_form(exchange))


cdef inline bint has_body_value(const TransformRule* rule) noexcept nogil:
    return rule.area == AREA_BODY and rule.change != CHANGE_REMOVE


cdef void put_length(Job* job, uint32_t length) noexcept nogil:
    put(job.request, &length, sizeof(length))


cdef int submit_body(Transformation* transformation, const PluginRecord* plugin, Text body) noexcept nogil:
    """The job: Content-Type, values of the rules for the body, the body; each but the last with its length before it."""
    cdef Text type = content_type(transformation.exchange)
    cdef uint32_t room = 4 + type.length + body.length
    cdef uint32_t i
    cdef Job* job
    for i in range(transformation.config.rule_count):
        if has_body_value(&transformation.rules[i]):
            room += 4 + transformation.values[i].length
    job = job_new(transformation.exchange, plugin, 0, room)
    if job == NULL:
        return STEP_FAIL
    put_length(job, type.length)
    put(job.request, type.data, type.length)
    for i in range(transformation.config.rule_count):
        if has_body_value(&transformation.rules[i]):
            put_length(job, transformation.values[i].length)
            put(job.request, transformation.values[i].data, transformation.values[i].length)
    put(job.request, body.data, body.length)
    return job_submit(transformation.exchange, job)


cdef int resume(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    """The result is empty when the body stays, else the new body behind one byte."""
    cdef Job* job = exchange.job
    if job.state != JOB_DONE:
        return STEP_FAIL
    if job.result_length == 0:
        return STEP_CONTINUE
    if not change_request_body(exchange, exchange_copy(exchange, job.result + 1, job.result_length - 1)):
        return STEP_FAIL
    return STEP_CONTINUE


# --- the step --------------------------------------------------------------------------------------------------------
cdef int refuse(Exchange* exchange, const char* problem) noexcept nogil:
    log_error(exchange.worker, LOG_ERROR, exchange, problem, NULL, 0)
    return STEP_FAIL


cdef int change_request(Transformation* transformation) noexcept nogil:
    """Everything but the body."""
    cdef const RequestTransformerConfig* config = transformation.config
    cdef Exchange* exchange = transformation.exchange
    cdef Text query
    if config.method.length:
        change_method(exchange, packed_text(config, config.method))
    if config.changes_query or config.moves_form or config.path.length:
        if not new_query(transformation, &query):
            return respond_error(exchange, 414, b"")
        if config.path.length and not change_target(transformation, query):
            return refuse(exchange, b"request-transformer: a path without '/' at its beginning, or too long")
    if not change_headers(transformation):
        return refuse(exchange, b"request-transformer: too many headers, or too long ones")
    return STEP_CONTINUE


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const RequestTransformerConfig* config = <const RequestTransformerConfig*> step_config(exchange, plugin)
    cdef Transformation transformation
    cdef Scratch scratch
    cdef Text body
    cdef int result
    cdef bint with_body = needs_body(exchange, config)
    if with_body and not request_body_complete(exchange):
        return STEP_BODY
    scratch_begin(&scratch, request_transformer_scratch, SCRATCH_SIZE)
    transformation.exchange = exchange
    transformation.config = config
    transformation.rules = <const TransformRule*> (<const uint8_t*> config + config.rules)
    transformation.scratch = &scratch
    if not find_values(&transformation):
        return STEP_FAIL
    result = change_request(&transformation)
    if result == STEP_CONTINUE and with_body and config.body_rules and may_change_body(exchange) \
            and request_body(exchange, &body):
        return submit_body(&transformation, plugin, body)
    return result


cdef StepFunctions functions
functions.access = access
functions.resume = resume
register_step("request_transformer", functions)
