# Values of templates, and where they come from. Part of template.pyx.


# --- values ----------------------------------------------------------------------------------------------------------
cdef inline Value value_of(ValueKind kind) noexcept nogil:
    cdef Value value
    value.kind = kind
    value.source = TEMPLATE_HEADERS
    value.text = text_of(b"", 0)
    value.number = 0
    return value


cdef inline Value text_value(Text text) noexcept nogil:
    cdef Value value = value_of(VALUE_TEXT)
    value.text = text
    return value


cdef inline Value number_value(double number) noexcept nogil:
    cdef Value value = value_of(VALUE_NUMBER)
    value.number = number
    return value


cdef inline Value truth_value(bint truth) noexcept nogil:
    return value_of(VALUE_TRUE if truth else VALUE_FALSE)


cdef inline bint is_true(const Value* value) noexcept nogil:
    return value.kind != VALUE_NIL and value.kind != VALUE_FALSE


cdef Value first_of_list(TemplateRequest* request, const Value* value) noexcept nogil:
    cdef Value key = number_value(1)
    if value.kind != VALUE_LIST:
        return value[0]
    return list_item(request, value, &key)


cdef bint to_number(Value* value) noexcept nogil:
    """Lua's coercion: a text that is a decimal number counts as one."""
    cdef char digits[LONGEST_NUMBER + 1]
    cdef char* end
    cdef uint32_t start = 0
    cdef uint32_t stop = value.text.length
    cdef uint32_t i
    cdef uint8_t byte
    if value.kind == VALUE_NUMBER:
        return True
    if value.kind != VALUE_TEXT:
        return False
    while start < stop and is_blank(value.text.data[start]):
        start += 1
    while stop > start and is_blank(value.text.data[stop - 1]):
        stop -= 1
    if stop == start or stop - start > LONGEST_NUMBER:
        return False
    for i in range(start, stop):
        byte = value.text.data[i]
        # no "inf", "nan" or "0x…", which strtod would take
        if not (48 <= byte <= 57 or byte == 43 or byte == 45 or byte == 46 or byte == 101 or byte == 69):
            return False
        digits[i - start] = <char> byte
    digits[stop - start] = 0
    value.number = strtod(digits, &end)
    value.kind = VALUE_NUMBER
    return end == &digits[stop - start]


cdef inline bint is_blank(uint8_t byte) noexcept nogil:
    return byte == 32 or 9 <= byte <= 13


cdef bint to_text(TemplateRequest* request, Value* value) noexcept nogil:
    """Numbers become texts as in Lua. False: no text, or the scratch is used up."""
    cdef uint8_t* out
    if value.kind == VALUE_NUMBER:
        out = scratch_take(request.scratch, NUMBER_ROOM)
        if out == NULL:
            return False
        value.text = text_of(out, <uint32_t> snprintf(<char*> out, NUMBER_ROOM, b"%.14g", value.number))
        value.kind = VALUE_TEXT
    return value.kind == VALUE_TEXT


# --- what templates see ----------------------------------------------------------------------------------------------
cdef Value header(TemplateRequest* request, Text name) noexcept nogil:
    """As in Kong `x_y` stands for `x-y`, too, so that it can be written `headers.x_y`."""
    cdef uint8_t* dashed
    cdef uint32_t count = count_fields(&request.head, <const char*> name.data, name.length)
    cdef uint32_t i
    cdef Value found = value_of(VALUE_NIL)
    cdef bint changed = False
    if count == 0:
        dashed = scratch_take(request.scratch, name.length)
        if dashed == NULL:
            return found
        for i in range(name.length):
            dashed[i] = 45 if name.data[i] == 95 else name.data[i]
            changed = changed or name.data[i] == 95
        if not changed:
            return found
        name = text_of(dashed, name.length)
        count = count_fields(&request.head, <const char*> name.data, name.length)
    if count > 1:
        found.kind = VALUE_LIST
        found.source = TEMPLATE_HEADERS
        found.text = name
    elif count == 1:
        found.kind = VALUE_TEXT
        find_field(&request.head, <const char*> name.data, name.length, 0, &found.text)
    return found


cdef Value argument(TemplateRequest* request, Text name) noexcept nogil:
    cdef Value found = value_of(VALUE_NIL)
    cdef const Argument* first
    cdef uint32_t count
    if not request.has_arguments:
        arguments_begin(&request.arguments, request.scratch)
        arguments_parse(&request.arguments, text_of(request.query, request.query_length))
        request.has_arguments = 1
    if request.arguments.overflow:
        return found
    count = arguments_count(&request.arguments, name)
    if count > 1:
        found.kind = VALUE_LIST
        found.source = TEMPLATE_QUERY
        found.text = name
    elif count == 1:
        first = arguments_find(&request.arguments, name, 0)
        found.kind = VALUE_TRUE if first.bare else VALUE_TEXT
        found.text = first.value
    return found


cdef Value list_item(TemplateRequest* request, const Value* value, Value* key) noexcept nogil:
    """`headers.x[2]`: one of several."""
    cdef Value found = value_of(VALUE_NIL)
    cdef const Argument* item
    cdef uint32_t nth
    if key.kind != VALUE_NUMBER or not 1 <= key.number <= 65536 or key.number != floor(key.number):
        return found
    nth = <uint32_t> key.number - 1
    if value.source == TEMPLATE_HEADERS:
        if find_field(&request.head, <const char*> value.text.data, value.text.length, nth, &found.text):
            found.kind = VALUE_TEXT
    else:
        item = arguments_find(&request.arguments, value.text, nth)
        if item != NULL:
            found.kind = VALUE_TRUE if item.bare else VALUE_TEXT
            found.text = item.value
    return found


cdef Value capture(TemplateRequest* request, const Value* key) noexcept nogil:
    cdef char name[LONGEST_GROUP_NAME + 1]
    cdef uint32_t number = UNSET
    cdef uint32_t start, end
    if key.kind == VALUE_NUMBER and 0 <= key.number < 65536 and key.number == floor(key.number):
        number = <uint32_t> key.number
    elif key.kind == VALUE_TEXT and request.regex != NULL and 0 < key.text.length <= LONGEST_GROUP_NAME:
        memcpy(name, key.text.data, key.text.length)
        name[key.text.length] = 0
        number = regex_group_number(request.regex, name)
        if number == 0:                                  # there is no group of that name
            return value_of(VALUE_NIL)
    if number >= request.capture_count:
        return value_of(VALUE_NIL)
    start = request.captures[2 * number]
    end = request.captures[2 * number + 1]
    if start == UNSET or end < start:
        return value_of(VALUE_NIL)
    return text_value(text_of(request.path + start, end - start))


cdef Value shared_text(TemplateRequest* request, Text name) noexcept nogil:
    cdef const SharedText* shared = request.shared
    while shared != NULL:
        if same_text(shared.name, name):
            return text_value(shared.value)
        shared = shared.next
    return value_of(VALUE_NIL)


cdef Value random_uuid(TemplateRequest* request) noexcept nogil:
    cdef uint8_t* out = scratch_take(request.scratch, UUID_TEXT)
    if out == NULL:
        return value_of(VALUE_NIL)
    write_uuid(request.random, out)
    return text_value(text_of(out, UUID_TEXT))
