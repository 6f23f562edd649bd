# What steps see of an exchange, change of it, and answer; included by plan.pyx.


# --- what steps see --------------------------------------------------------------------------------------------------
cdef const void* step_config(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    return <const uint8_t*> exchange.configuration.base + plugin.config_offset


cdef void* step_prepared(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    return runtime_of(exchange).prepared[plugin.index]


cdef Text configuration_text(Exchange* exchange, StringRef text) noexcept nogil:
    return text_of(snapshot_text(exchange.configuration.base, text), text.length)


cdef inline const uint8_t* request_base(Exchange* exchange) noexcept nogil:
    return &exchange.client.input.data[0] + exchange.client.input.start


cdef Head request_head(Exchange* exchange) noexcept nogil:
    cdef Head head
    head.base = request_base(exchange)
    head.fields = exchange.request.headers
    head.count = exchange.request.header_count
    head.edits = &exchange.request_edits
    head.stock = &exchange.worker.buffers
    return head


cdef Head response_head(Exchange* exchange) noexcept nogil:
    cdef Head head
    head.base = NULL
    head.fields = exchange.response.headers
    head.count = 0
    head.edits = &exchange.response_edits
    head.stock = &exchange.worker.buffers
    if exchange.step_phase < STEPS_RESPONSE or exchange.step_phase == STEPS_LOG:
        return head                                      # there is none yet, or its buffer may be in other hands
    if exchange.flags & EXCHANGE_LOCAL:
        if exchange.answer_head != NULL:
            head.base = &exchange.answer_head.data[0]
            head.count = exchange.response.header_count
    elif exchange.held_head != NULL:
        head.base = &exchange.held_head.data[0]
        head.count = exchange.response.header_count
    elif exchange.upstream != NULL and exchange.upstream.input != NULL:
        head.base = &exchange.upstream.input.data[0] + exchange.upstream.input.start
        head.count = exchange.response.header_count
    return head


cdef Text request_method(Exchange* exchange) noexcept nogil:
    return text_of(request_base(exchange) + exchange.request.method_offset, exchange.request.method_length)


cdef Text request_path(Exchange* exchange) noexcept nogil:
    if exchange.request.path_length == 0:
        return text_of(b"/", 1)
    return text_of(request_base(exchange) + exchange.request.path_offset, exchange.request.path_length)


cdef Text request_query(Exchange* exchange) noexcept nogil:
    return text_of(request_base(exchange) + exchange.request.query_offset, exchange.request.query_length)


cdef Text request_host(Exchange* exchange) noexcept nogil:
    return text_of(request_base(exchange) + exchange.request.host_offset,
                   exchange.request.host_length if exchange.request.has_host else 0)


cdef Text client_address(Exchange* exchange) noexcept nogil:
    return text_of(exchange.client_text, exchange.client_text_length)


cdef bint request_body_complete(Exchange* exchange) noexcept nogil:
    return exchange.request.body_kind == BODY_NONE \
        or (exchange.flags & EXCHANGE_BODY_COMPLETE and exchange.segment != NULL) \
        or exchange.flags & EXCHANGE_BODY_OVER


cdef bint request_body(Exchange* exchange, Text* body) noexcept nogil:
    if exchange.flags & EXCHANGE_BODY_OVER:
        return False
    body[0] = text_of(b"", 0)                            # never NULL, which memcpy does not take
    if exchange.segment != NULL:
        body[0] = text_of(exchange.segment, exchange.segment_length)
    return True


cdef uint8_t* exchange_memory(Exchange* exchange, uint32_t size) noexcept nogil:
    cdef Buffer* buffer = exchange.memory
    cdef uint32_t wanted = (size + ALIGNMENT - 1) & ~<uint32_t> (ALIGNMENT - 1)
    cdef uint8_t* place
    if buffer == NULL or buffer.capacity - buffer.end < wanted:
        buffer = buffer_take(&exchange.worker.buffers, wanted if wanted > MEMORY_PIECE else MEMORY_PIECE)
        if buffer == NULL:
            return NULL
        buffer.next = exchange.memory
        exchange.memory = buffer
    place = &buffer.data[0] + buffer.end
    buffer.end += wanted
    return place


cdef Text exchange_copy(Exchange* exchange, const void* data, uint32_t length) noexcept nogil:
    cdef uint8_t* place = exchange_memory(exchange, length) if length else NULL
    if place == NULL:
        return text_of(b"", 0)
    memcpy(place, data, length)
    return text_of(place, length)


cdef bint share_text(Exchange* exchange, Text name, Text value) noexcept nogil:
    cdef SharedText* shared = exchange.shared
    while shared != NULL and not same_text(shared.name, name):
        shared = shared.next
    if shared == NULL:
        shared = <SharedText*> exchange_memory(exchange, sizeof(SharedText))
        if shared == NULL:
            return False
        shared.name = exchange_copy(exchange, name.data, name.length)
        shared.next = exchange.shared
        exchange.shared = shared
    elif same_text(shared.value, value):
        return True
    shared.value = exchange_copy(exchange, value.data, value.length)
    return shared.name.length == name.length and shared.value.length == value.length


# --- what steps change -----------------------------------------------------------------------------------------------
cdef bint is_clean(Text text, bint spaces) noexcept nogil:
    """No control characters, and no blank where one would end the part of the request line."""
    cdef uint32_t i
    for i in range(text.length):
        if text.data[i] < 32 or text.data[i] == 127 or (text.data[i] == 32 and not spaces):
            return False
    return True


cdef bint change_method(Exchange* exchange, Text method) noexcept nogil:
    if method.length == 0 or not is_clean(method, False):
        return False
    exchange.method_override = method
    if method.length == 4 and memcmp(method.data, <const char*> b"HEAD", 4) == 0:
        exchange.sent_method = METHOD_HEAD
    elif method.length == 4 and memcmp(method.data, <const char*> b"POST", 4) == 0:
        exchange.sent_method = METHOD_POST
    elif method.length == 5 and memcmp(method.data, <const char*> b"PATCH", 5) == 0:
        exchange.sent_method = METHOD_PATCH
    elif method.length == 4 and memcmp(method.data, <const char*> b"LOCK", 4) == 0:
        exchange.sent_method = METHOD_LOCK
    else:
        exchange.sent_method = METHOD_OTHER
    return True


cdef bint change_path(Exchange* exchange, Text path) noexcept nogil:
    if path.length == 0 or path.data[0] != 47 or not is_clean(path, False):
        return False
    exchange.path_override = path
    return True


cdef bint change_query(Exchange* exchange, Text query) noexcept nogil:
    if not is_clean(query, False):
        return False
    exchange.query_override = query
    if query.data == NULL:
        exchange.query_override.data = <const uint8_t*> b""
    return True


cdef bint change_host(Exchange* exchange, Text host) noexcept nogil:
    if host.length == 0 or not is_clean(host, False):
        return False
    exchange.host_override = host
    return True


cdef bint change_request_body(Exchange* exchange, Text body) noexcept nogil:
    if not request_body_complete(exchange) or exchange.flags & EXCHANGE_BODY_OVER:
        return False
    exchange.segment = body.data
    exchange.segment_length = body.length
    exchange.segment_sent = 0
    exchange.request.body_kind = BODY_LENGTH
    exchange.request.has_content_length = 1
    exchange.request.content_length = body.length
    exchange.body_received = body.length
    exchange.flags |= EXCHANGE_BODY_COMPLETE
    return True


# --- answers ---------------------------------------------------------------------------------------------------------
cdef int answer_with(Exchange* exchange, uint8_t kind, uint32_t status, Text text, Text content_type) noexcept nogil:
    exchange.answer.kind = kind
    exchange.answer.status = <uint16_t> status
    exchange.answer.text = text
    exchange.answer.content_type = content_type
    return STEP_RESPOND


cdef int respond_error(Exchange* exchange, uint32_t status, const char* message) noexcept nogil:
    return answer_with(exchange, STEP_ANSWER_ERROR, status, text_of(message, <uint32_t> strlen(message)), text_of(NULL, 0))


cdef int respond_error_text(Exchange* exchange, uint32_t status, Text message) noexcept nogil:
    return answer_with(exchange, STEP_ANSWER_ERROR, status, exchange_copy(exchange, message.data, message.length),
                       text_of(NULL, 0))


cdef int respond_message(Exchange* exchange, uint32_t status, const char* message) noexcept nogil:
    return answer_with(exchange, STEP_ANSWER_MESSAGE, status, text_of(message, <uint32_t> strlen(message)),
                       text_of(NULL, 0))


cdef int respond_body(Exchange* exchange, uint32_t status, Text content_type, Text body) noexcept nogil:
    if not is_clean(content_type, True):
        return STEP_FAIL
    return answer_with(exchange, STEP_ANSWER_BODY, status, exchange_copy(exchange, body.data, body.length),
                       exchange_copy(exchange, content_type.data, content_type.length))


# --- responses -------------------------------------------------------------------------------------------------------
cdef bint response_body_complete(Exchange* exchange) noexcept nogil:
    return exchange.flags & (EXCHANGE_LOCAL | EXCHANGE_RESPONSE_OVER) or exchange.held_head != NULL


cdef bint response_body(Exchange* exchange, Text* body) noexcept nogil:
    if exchange.flags & EXCHANGE_RESPONSE_OVER or not show_stored_body(exchange):
        return False
    if exchange.held == NULL:
        body[0] = text_of(b"", 0)
    else:
        body[0] = text_of(&exchange.held.data[0] + exchange.held.start, exchange.held.end - exchange.held.start)
    return True


cdef bint change_response_body(Exchange* exchange, Text body) noexcept nogil:
    cdef Buffer* fresh
    if exchange.flags & EXCHANGE_RESPONSE_OVER:
        return False
    fresh = buffer_take(&exchange.worker.buffers, body.length + 1)
    if fresh == NULL:
        return False
    put(fresh, body.data, body.length)
    drop_stored_body(exchange)
    buffer_give(&exchange.worker.buffers, exchange.held)
    exchange.held = fresh
    return True


cdef bint change_response_status(Exchange* exchange, uint32_t status) noexcept nogil:
    if status < 200 or status > 599:
        return False
    if exchange.flags & EXCHANGE_LOCAL:
        exchange.status = <uint16_t> status
    elif exchange.response.status == 101:                # no message with a body, but the beginning of a tunnel
        return False
    else:
        exchange.response.status = <uint16_t> status
        exchange.response.reason_length = 0
    return True


cdef uint32_t response_status(Exchange* exchange) noexcept nogil:
    if exchange.step_phase == STEPS_RESPONSE and not exchange.flags & EXCHANGE_LOCAL:
        return exchange.response.status
    return exchange.status
