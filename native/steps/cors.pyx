"""cors: pages of other origins may use what it is for (gateway/plugins/cors.py; the Fetch standard's CORS protocol).

A preflight request is answered in the access phase. Everything else, also what other plugins answer and what matches no
route, gets its fields when the head of the response is known.
"""

from libc.stdint cimport uint8_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memset

from native.connection cimport Exchange
from native.fields cimport Head, Text, add_field, find_field, remove_field, same_text, set_field, text_of
from native.http1 cimport METHOD_OPTIONS
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport (
    STEP_CONTINUE,
    StepFunctions,
    register_step,
    request_head,
    respond_body,
    response_head,
    step_config,
    step_prepared,
)
from native.regex cimport REGEX_MATCH, Regex, regex_compile_anchored, regex_free, regex_match
from native.snapshot cimport PluginRecord
from native.text cimport is_text

cpdef enum OriginRule:
    ANY_ORIGIN = 0               # "*"
    ONE_ORIGIN = 1               # always the same text, whoever asks
    LISTED_ORIGINS = 2           # the request's own, when it is in the list

cpdef enum OriginKind:
    PLAIN_ORIGIN = 0
    ORIGIN_PATTERN = 1           # must match the whole origin
    HOST_PATTERN = 2             # must match the whole host

ctypedef struct ListedOrigin:
    PackedText text
    uint32_t kind                # OriginKind
    uint32_t reserved

ctypedef struct CorsConfig:
    PackedText origin            # ONE_ORIGIN
    PackedText methods           # values of fields; empty: the field is not sent
    PackedText headers           # empty: those that the preflight request asks for
    PackedText exposed_headers
    PackedText max_age
    uint32_t listed              # ListedOrigin
    uint32_t listed_count
    uint8_t rule                 # OriginRule
    uint8_t credentials
    uint8_t private_network
    uint8_t preflight_continue

ctypedef struct OriginPatterns:
    uint32_t count
    Regex* patterns[1]           # as many as origins are listed; NULL for plain ones


def pack_config(*, uint8_t rule, str origin, list listed, str methods, str headers, str exposed_headers, str max_age,
                bint credentials, bint private_network, bint preflight_continue) -> bytes:
    """`listed`: (OriginKind, text). Texts of fields are their values; empty: not sent."""
    cdef CorsConfig config
    cdef ListedOrigin entry
    cdef bytearray entries = bytearray()
    memset(&config, 0, sizeof(config))
    memset(&entry, 0, sizeof(entry))
    packer = Packer(sizeof(CorsConfig))
    for kind, text in listed:
        entry.kind = kind
        entry.text = packer.text(text)
        entries += (<char*> &entry)[:sizeof(ListedOrigin)]
    config.origin = packer.text(origin)
    config.methods = packer.text(methods)
    config.headers = packer.text(headers)
    config.exposed_headers = packer.text(exposed_headers)
    config.max_age = packer.text(max_age)
    config.listed = packer.array(bytes(entries))
    config.listed_count = <uint32_t> len(listed)
    config.rule = rule
    config.credentials = credentials
    config.private_network = private_network
    config.preflight_continue = preflight_continue
    return packer.finish(&config)


# --- what a worker prepares ------------------------------------------------------------------------------------------
cdef inline const ListedOrigin* listed_origins(const CorsConfig* config) noexcept nogil:
    return <const ListedOrigin*> (<const uint8_t*> config + config.listed)


cdef void* prepare(const PluginRecord* plugin, const void* packed) noexcept nogil:
    cdef const CorsConfig* config = <const CorsConfig*> packed
    cdef const ListedOrigin* listed = listed_origins(config)
    cdef OriginPatterns* prepared = \
        <OriginPatterns*> calloc(1, sizeof(OriginPatterns) + config.listed_count * sizeof(Regex*))
    cdef Text pattern
    cdef uint32_t i
    if prepared == NULL:
        return NULL
    prepared.count = config.listed_count
    for i in range(config.listed_count):
        if listed[i].kind == PLAIN_ORIGIN:
            continue
        pattern = packed_text(config, listed[i].text)
        prepared.patterns[i] = regex_compile_anchored(pattern.data, pattern.length)
        if prepared.patterns[i] == NULL:
            release(prepared)
            return NULL
    return prepared


cdef void release(void* prepared) noexcept nogil:
    cdef OriginPatterns* patterns = <OriginPatterns*> prepared
    cdef uint32_t i
    for i in range(patterns.count):
        regex_free(patterns.patterns[i])
    free(patterns)


# --- origins ---------------------------------------------------------------------------------------------------------
cdef bint split_origin(Text origin, Text* host, Text* port) noexcept nogil:
    """Host and port (empty: none) of "scheme://host:port"; what follows the port is passed over. False: no such
    text."""
    cdef uint32_t start = 0
    cdef uint32_t end, colon
    while start + 2 < origin.length and memcmp(origin.data + start, b"://", 3) != 0:
        start += 1
    if start == 0 or start + 2 >= origin.length:
        return False
    start += 3
    end = start
    while end < origin.length and origin.data[end] != 47 and origin.data[end] != 63 and origin.data[end] != 35:
        end += 1                                         # up to "/", "?", "#"
    colon = end
    while colon > start and 48 <= origin.data[colon - 1] <= 57:
        colon -= 1
    if colon > start and origin.data[colon - 1] == 58:
        port[0] = text_of(origin.data + colon, end - colon)
        end = colon - 1
    else:
        port[0] = text_of(origin.data + end, 0)
    host[0] = text_of(origin.data + start, end - start)
    return host.length > 0


cdef bint is_default_port(Text origin, Text port) noexcept nogil:
    if origin.length > 5 and memcmp(origin.data, b"http:", 5) == 0:
        return port.length == 2 and memcmp(port.data, b"80", 2) == 0
    if origin.length > 6 and memcmp(origin.data, b"https:", 6) == 0:
        return port.length == 3 and memcmp(port.data, b"443", 3) == 0
    return False


cdef Text normalize_origin(Text origin, Text* host) noexcept nogil:
    """"scheme://host[:port]" without a port that goes without saying, and its host. What is no such text ("null") is its
    own host."""
    cdef Text port
    cdef uint32_t length
    if not split_origin(origin, host, &port):
        host[0] = origin
        return origin
    length = <uint32_t> (host.data - origin.data) + host.length
    if port.length and not is_default_port(origin, port):
        length += 1 + port.length
    return text_of(origin.data, length)


cdef bint is_listed(const CorsConfig* config, OriginPatterns* patterns, Text origin, Text host) noexcept nogil:
    cdef const ListedOrigin* listed = listed_origins(config)
    cdef uint32_t i
    for i in range(config.listed_count):
        if listed[i].kind == PLAIN_ORIGIN:
            if same_text(packed_text(config, listed[i].text), origin):
                return True
        elif listed[i].kind == ORIGIN_PATTERN:
            if regex_match(patterns.patterns[i], origin.data, origin.length, NULL, NULL) == REGEX_MATCH:
                return True
        elif regex_match(patterns.patterns[i], host.data, host.length, NULL, NULL) == REGEX_MATCH:
            return True
    return False


# --- fields of responses ---------------------------------------------------------------------------------------------
cdef bint names_origin(Text value) noexcept nogil:
    """Whether the list in a Vary field has "Origin" or "*"."""
    cdef uint32_t start = 0
    cdef uint32_t end, stop
    while start < value.length:
        end = start
        while end < value.length and value.data[end] != 44:      # ","
            end += 1
        stop = end
        while start < stop and (value.data[start] == 32 or value.data[start] == 9):
            start += 1
        while stop > start and (value.data[stop - 1] == 32 or value.data[stop - 1] == 9):
            stop -= 1
        if is_text(value.data + start, stop - start, b"origin", 6) or (stop == start + 1 and value.data[start] == 42):
            return True
        start = end + 1
    return False


cdef void vary_by_origin(Head* response) noexcept nogil:
    """Vary: Origin, beside what the upstream says; once."""
    cdef Text value
    cdef uint32_t nth = 0
    while find_field(response, b"Vary", 4, nth, &value):
        if names_origin(value):
            return
        nth += 1
    add_field(response, b"Vary", 4, b"Origin", 6)


cdef void put_text_field(Head* response, const char* name, uint32_t length, Text value) noexcept nogil:
    if value.length:
        set_field(response, name, length, value.data, value.length)


cdef void put_origin(Exchange* exchange, const CorsConfig* config, OriginPatterns* patterns, Head* request,
                     Head* response) noexcept nogil:
    """Access-Control-Allow-Origin, -Allow-Credentials and Vary."""
    cdef Text asked, host, origin
    cdef bint known = (config.rule == LISTED_ORIGINS or (config.rule == ANY_ORIGIN and config.credentials)) \
        and find_field(request, b"Origin", 6, 0, &asked) and asked.length > 0
    if config.rule == ANY_ORIGIN:
        if not config.credentials or not known:
            # browsers do not take "*" together with credentials
            set_field(response, b"Access-Control-Allow-Origin", 27, b"*", 1)
            return
        set_field(response, b"Access-Control-Allow-Origin", 27, asked.data, asked.length)
    elif config.rule == ONE_ORIGIN:
        origin = packed_text(config, config.origin)
        set_field(response, b"Access-Control-Allow-Origin", 27, origin.data, origin.length)
    else:
        origin = text_of(NULL, 0)
        if known:
            origin = normalize_origin(asked, &host)
            known = is_listed(config, patterns, origin, host)
        if known:
            set_field(response, b"Access-Control-Allow-Origin", 27, origin.data, origin.length)
        else:
            remove_field(response, b"Access-Control-Allow-Origin", 27)
    vary_by_origin(response)
    if config.credentials:
        set_field(response, b"Access-Control-Allow-Credentials", 32, b"true", 4)


# --- the step --------------------------------------------------------------------------------------------------------
cdef int answer_preflight(Exchange* exchange, const CorsConfig* config, OriginPatterns* patterns,
                          Head* request) noexcept nogil:
    cdef Head response = response_head(exchange)
    cdef Text value
    put_origin(exchange, config, patterns, request, &response)
    put_text_field(&response, b"Access-Control-Allow-Methods", 28, packed_text(config, config.methods))
    put_text_field(&response, b"Access-Control-Max-Age", 22, packed_text(config, config.max_age))
    value = packed_text(config, config.headers)
    if value.length == 0:
        find_field(request, b"Access-Control-Request-Headers", 30, 0, &value)
    put_text_field(&response, b"Access-Control-Allow-Headers", 28, value)
    if config.private_network \
            and find_field(request, b"Access-Control-Request-Private-Network", 38, 0, &value) \
            and same_text(value, text_of(b"true", 4)):
        set_field(&response, b"Access-Control-Allow-Private-Network", 36, b"true", 4)
    return respond_body(exchange, 200, text_of(NULL, 0), text_of(NULL, 0))


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const CorsConfig* config
    cdef Head request
    cdef Text ignored
    if exchange.request.method != METHOD_OPTIONS:
        return STEP_CONTINUE
    request = request_head(exchange)
    if not find_field(&request, b"Origin", 6, 0, &ignored) \
            or not find_field(&request, b"Access-Control-Request-Method", 29, 0, &ignored):
        return STEP_CONTINUE
    config = <const CorsConfig*> step_config(exchange, plugin)
    exchange.notes[exchange.step] = <void*> config       # nothing is left for the response function
    if config.preflight_continue:
        return STEP_CONTINUE
    return answer_preflight(exchange, config, <OriginPatterns*> step_prepared(exchange, plugin), &request)


cdef int respond(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const CorsConfig* config = <const CorsConfig*> step_config(exchange, plugin)
    cdef Head request, response
    if exchange.notes[exchange.step] != NULL:
        return STEP_CONTINUE
    request = request_head(exchange)
    response = response_head(exchange)
    put_origin(exchange, config, <OriginPatterns*> step_prepared(exchange, plugin), &request, &response)
    put_text_field(&response, b"Access-Control-Expose-Headers", 29, packed_text(config, config.exposed_headers))
    return STEP_CONTINUE


cdef StepFunctions functions
functions.access = access
functions.response = respond
functions.prepare = prepare
functions.release = release
register_step("cors", functions)


# --- for Python ------------------------------------------------------------------------------------------------------
def normalized(str origin) -> tuple[str, str]:
    """An origin in the form in which it is compared, and its host."""
    encoded = origin.encode()
    cdef Text host
    cdef Text form = normalize_origin(text_of(<const uint8_t*> encoded, <uint32_t> len(encoded)), &host)
    return (<const char*> form.data)[:form.length].decode(), (<const char*> host.data)[:host.length].decode()
