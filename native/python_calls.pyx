"""See python_calls.pxd: the loop thread's side."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy, memset

from native.connection cimport (
    EXCHANGE_ANONYMOUS,
    EXCHANGE_AUTHENTICATED,
    EXCHANGE_LOCAL,
    EXCHANGE_PYTHON_CONTEXT,
    Job,
)
from native.fields cimport Head, add_field, next_field, remove_field, set_field, text_of
from native.hashing cimport xxh64
from native.identities cimport (
    BASIC_AUTH,
    CONSUMER_ID,
    CONSUMER_USERNAME,
    HMAC_AUTH,
    JWT,
    ConsumerRecord,
    CredentialRecord,
    RecordText,
    find_consumer,
    record_text,
)
from native.jobs cimport job_new, job_send, job_submit
from native.log cimport LOG_ERROR, log_error
from native.plan cimport (
    STEP_CONTINUE,
    STEP_FAIL,
    change_host,
    change_method,
    change_path,
    change_query,
    change_request_body,
    change_response_body,
    change_response_status,
    client_address,
    exchange_copy,
    request_body,
    request_body_complete,
    request_head,
    request_host,
    request_method,
    request_path,
    request_query,
    respond_body,
    response_body,
    response_body_complete,
    response_head,
    response_status,
    share_text,
)
from native.snapshot cimport StringRef, snapshot_peer_set, snapshot_text
from native.steps.authentication cimport authenticate


# --- a call ----------------------------------------------------------------------------------------------------------
# What goes into it, collected before its size is known. The texts belong to the exchange.
ctypedef struct Call:
    CallHead head
    Text texts[CALL_TEXTS]
    Head request, response
    uint32_t size


cdef Text snapshot_text_of(Exchange* exchange, StringRef text) noexcept nogil:
    return text_of(snapshot_text(exchange.configuration.base, text), text.length)


cdef Text record_text_of(const void* record, RecordText text) noexcept nogil:
    return text_of(record_text(record, text), text.length)


cdef void add_request(Call* call, Exchange* exchange) noexcept nogil:
    call.texts[<int> CALL_METHOD] = request_method(exchange)
    call.texts[<int> CALL_PATH] = request_path(exchange)
    call.texts[<int> CALL_QUERY] = request_query(exchange)
    call.texts[<int> CALL_HOST] = request_host(exchange)
    call.texts[<int> CALL_CLIENT_ADDRESS] = client_address(exchange)
    call.head.client_port = exchange.client_port
    if exchange.https:
        call.head.flags |= CALL_HTTPS
    if exchange.request.minor_version == 0:
        call.head.flags |= CALL_HTTP_1_0
    if exchange.flags & EXCHANGE_PYTHON_CONTEXT:
        call.head.flags |= CALL_HAS_CONTEXT


cdef void add_route(Call* call, Exchange* exchange) noexcept nogil:
    if exchange.route != NULL:
        call.head.flags |= CALL_HAS_ROUTE
        call.texts[<int> CALL_ROUTE_ID] = snapshot_text_of(exchange, exchange.route.id)
        call.texts[<int> CALL_ROUTE_NAME] = snapshot_text_of(exchange, exchange.route.name)
    if exchange.service != NULL:
        call.head.flags |= CALL_HAS_SERVICE
        call.texts[<int> CALL_SERVICE_ID] = snapshot_text_of(exchange, exchange.service.id)
        call.texts[<int> CALL_SERVICE_NAME] = snapshot_text_of(exchange, exchange.service.name)
        call.texts[<int> CALL_SERVICE_HOST] = snapshot_text_of(exchange, exchange.service.host)


cdef void add_identity(Call* call, Exchange* exchange) noexcept nogil:
    cdef const ConsumerRecord* consumer = exchange.consumer
    cdef const CredentialRecord* credential = exchange.credential
    if exchange.flags & EXCHANGE_AUTHENTICATED:
        call.head.flags |= CALL_AUTHENTICATED
    if exchange.flags & EXCHANGE_ANONYMOUS:
        call.head.flags |= CALL_ANONYMOUS
    if consumer != NULL:
        call.head.flags |= CALL_HAS_CONSUMER
        call.texts[<int> CALL_CONSUMER_ID] = record_text_of(consumer, consumer.id)
        call.texts[<int> CALL_CONSUMER_USERNAME] = record_text_of(consumer, consumer.username)
        call.texts[<int> CALL_CONSUMER_CUSTOM_ID] = record_text_of(consumer, consumer.custom_id)
    if credential != NULL:
        call.head.flags |= CALL_HAS_CREDENTIAL
        call.head.credential_kind = credential.head.kind
        call.texts[<int> CALL_CREDENTIAL_ID] = record_text_of(credential, credential.id)
        if credential.head.kind == BASIC_AUTH or credential.head.kind == HMAC_AUTH or credential.head.kind == JWT:
            call.texts[<int> CALL_CREDENTIAL_NAME] = record_text_of(credential, credential.key)


cdef void add_request_body(Call* call, Exchange* exchange) noexcept nogil:
    if not request_body_complete(exchange):
        return
    if request_body(exchange, &call.texts[<int> CALL_REQUEST_BODY]):
        call.head.flags |= CALL_HAS_BODY
    else:
        call.head.flags |= CALL_BODY_OVER


cdef void add_response(Call* call, Exchange* exchange, uint32_t options) noexcept nogil:
    call.head.status = <uint16_t> response_status(exchange)
    if exchange.flags & EXCHANGE_LOCAL:
        call.head.flags |= CALL_LOCAL
    if options & BUFFER_RESPONSE and response_body_complete(exchange):
        if response_body(exchange, &call.texts[<int> CALL_RESPONSE_BODY]):
            call.head.flags |= CALL_HAS_RESPONSE_BODY
        else:
            call.head.flags |= CALL_RESPONSE_BODY_OVER


cdef void add_outcome(Call* call, Exchange* exchange, bint last) noexcept nogil:
    cdef uint64_t now = exchange.worker.loop.now_ms
    if last:
        call.head.flags |= CALL_LAST
    if exchange.flags & EXCHANGE_LOCAL:
        call.head.flags |= CALL_LOCAL
    call.head.status = exchange.status
    call.head.bytes_received = exchange.request_bytes
    call.head.bytes_sent = exchange.response_bytes
    call.head.tries = exchange.tries
    call.head.total_ms = <uint32_t> (now - exchange.started_ms)
    if exchange.head_received_ms and exchange.balanced_ms:
        call.head.upstream_ms = <uint32_t> (exchange.head_received_ms - exchange.balanced_ms)
    if exchange.peer != NULL:
        call.texts[<int> CALL_PEER] = text_of(
            snapshot_text(exchange.peers.base, exchange.peer.name), exchange.peer.name.length)


cdef uint32_t count_fields(Head* head, uint32_t* size) noexcept nogil:
    cdef Text name, value
    cdef uint32_t place = 0
    cdef uint32_t count = 0
    while next_field(head, &place, &name, &value):
        size[0] += <uint32_t> sizeof(CallField) + name.length + value.length
        count += 1
    return count


cdef uint8_t* put_bytes(uint8_t* out, const void* data, uint32_t length) noexcept nogil:
    if length:
        memcpy(out, data, length)
    return out + length


cdef uint8_t* put_fields(uint8_t* out, Head* head) noexcept nogil:
    cdef Text name, value
    cdef CallField field
    cdef uint32_t place = 0
    while next_field(head, &place, &name, &value):
        field = CallField(name.length, value.length)
        out = put_bytes(out, &field, sizeof(CallField))
        out = put_bytes(out, name.data, name.length)
        out = put_bytes(out, value.data, value.length)
    return out


cdef void write_call(Call* call, Buffer* buffer) noexcept nogil:
    """The buffer has room for `call.size` bytes."""
    cdef uint8_t* out = &buffer.data[0]
    cdef uint32_t i
    out = put_bytes(out, &call.head, sizeof(CallHead))
    for i in range(CALL_TEXTS):
        out = put_bytes(out, call.texts[i].data, call.texts[i].length)
    if call.head.request_fields:
        out = put_fields(out, &call.request)
    if call.head.response_fields:
        out = put_fields(out, &call.response)
    buffer.end = <uint32_t> (out - &buffer.data[0])


cdef int call_plugin(Exchange* exchange, const PluginRecord* plugin, uint32_t phase, bint last, bint send) noexcept nogil:
    cdef const PackedPlugin* packed = <const PackedPlugin*> (
        <const uint8_t*> exchange.configuration.base + plugin.config_offset)
    cdef Call call
    cdef Job* job
    cdef uint32_t i
    memset(&call.head, 0, sizeof(CallHead))
    memset(call.texts, 0, sizeof(call.texts))
    call.size = sizeof(CallHead)
    if phase != FORGET_REQUEST:
        add_request(&call, exchange)
        add_route(&call, exchange)
        add_identity(&call, exchange)
        call.request = request_head(exchange)
        call.head.request_fields = count_fields(&call.request, &call.size)
        if phase == PHASE_ACCESS and packed.options & BUFFER_REQUEST:
            add_request_body(&call, exchange)
        elif phase == PHASE_RESPONSE:
            add_response(&call, exchange, packed.options)
            call.response = response_head(exchange)
            call.head.response_fields = count_fields(&call.response, &call.size)
        elif phase == PHASE_LOG:
            add_outcome(&call, exchange, last)
    for i in range(CALL_TEXTS):
        call.head.text_length[i] = call.texts[i].length
        call.size += call.texts[i].length
    job = job_new(exchange, plugin, phase, call.size)
    if job == NULL:
        return STEP_FAIL
    write_call(&call, job.request)
    if send:
        return STEP_CONTINUE if job_send(exchange.worker, job) else STEP_FAIL
    return job_submit(exchange, job)


# --- an answer -------------------------------------------------------------------------------------------------------
cdef int impossible(Exchange* exchange, const PluginRecord* plugin, const char* what) noexcept nogil:
    cdef Text name = snapshot_text_of(exchange, plugin.name)
    log_error(exchange.worker, LOG_ERROR, exchange, what, <const char*> name.data, name.length)
    return STEP_FAIL


cdef int choose_peers(Exchange* exchange, const PluginRecord* plugin, Text key) noexcept nogil:
    cdef uint64_t hash = xxh64(key.data, key.length, 0)
    if exchange.service == NULL:
        return impossible(exchange, plugin, b"a plugin chose an upstream for a route without service")
    if snapshot_peer_set(exchange.peers.base, hash) == NULL:
        return impossible(exchange, plugin, b"a plugin chose an upstream that is not configured")
    exchange.peer_key_override = hash
    return STEP_CONTINUE


cdef int set_consumer(Exchange* exchange, const PluginRecord* plugin, Text who, Text identifier) noexcept nogil:
    cdef const ConsumerRecord* consumer = NULL
    if exchange.identities != NULL:
        consumer = find_consumer(exchange.identities.base, CONSUMER_ID, who.data, who.length)
        if consumer == NULL:
            consumer = find_consumer(exchange.identities.base, CONSUMER_USERNAME, who.data, who.length)
    if consumer == NULL:
        return impossible(exchange, plugin, b"a plugin named a consumer that does not exist")
    return authenticate(exchange, NULL, consumer, identifier)


cdef bint change_request(Exchange* exchange, uint32_t kind, Text text) noexcept nogil:
    cdef Text copy = exchange_copy(exchange, text.data, text.length)
    if copy.length != text.length:                       # memory is out
        return False
    if kind == SET_METHOD:
        return change_method(exchange, copy)
    if kind == SET_PATH:
        return change_path(exchange, copy)
    if kind == SET_QUERY:
        return change_query(exchange, copy)
    if kind == SET_HOST:
        return change_host(exchange, copy)
    return change_request_body(exchange, copy)


cdef int do_operation(Exchange* exchange, const PluginRecord* plugin, const Operation* operation, Text first,
                      Text second) noexcept nogil:
    """STEP_CONTINUE when it is done."""
    cdef uint32_t kind = operation.kind
    cdef Head head
    cdef bint done = True
    if kind <= REMOVE_RESPONSE_HEADER:
        head = request_head(exchange) if kind <= REMOVE_HEADER else response_head(exchange)
        if kind == SET_HEADER or kind == SET_RESPONSE_HEADER:
            done = set_field(&head, <const char*> first.data, first.length, second.data, second.length)
        elif kind == ADD_HEADER or kind == ADD_RESPONSE_HEADER:
            done = add_field(&head, <const char*> first.data, first.length, second.data, second.length)
        else:
            remove_field(&head, <const char*> first.data, first.length)
    elif kind <= SET_BODY:
        done = change_request(exchange, kind, first)
    elif kind == SET_PEERS:
        return choose_peers(exchange, plugin, first)
    elif kind == SET_CONSUMER:
        return set_consumer(exchange, plugin, first, second)
    elif kind == SET_STATUS:
        done = change_response_status(exchange, operation.number)
    elif kind == SET_RESPONSE_BODY:
        done = change_response_body(exchange, first)
    elif kind == RESPOND:
        return respond_body(exchange, operation.number, first, second)
    elif kind == KEEP_CONTEXT:
        exchange.flags |= EXCHANGE_PYTHON_CONTEXT
    elif kind == SHARE_TEXT:
        done = share_text(exchange, first, second)
    if done:
        return STEP_CONTINUE
    return impossible(exchange, plugin, b"a plugin's change of a head or body is not possible")


cdef int apply_answer(Exchange* exchange, const PluginRecord* plugin, const void* answer, uint32_t length) noexcept nogil:
    cdef const uint8_t* place = <const uint8_t*> answer
    cdef uint32_t left = length
    cdef uint32_t _count
    cdef Operation operation
    cdef int result
    for _count in range(MAX_OPERATIONS):
        if left == 0:
            return STEP_CONTINUE
        if left < sizeof(Operation):
            break
        memcpy(&operation, place, sizeof(Operation))
        place += sizeof(Operation)
        left -= <uint32_t> sizeof(Operation)
        if operation.first_length > left or operation.second_length > left - operation.first_length:
            break
        result = do_operation(exchange, plugin, &operation, text_of(place, operation.first_length),
                              text_of(place + operation.first_length, operation.second_length))
        if result != STEP_CONTINUE:
            return result
        place += operation.first_length + operation.second_length
        left -= operation.first_length + operation.second_length
    return impossible(exchange, plugin, b"a plugin asked for too many changes")
