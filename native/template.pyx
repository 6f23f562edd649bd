"""See template.pxd."""

from libc.math cimport floor, fmod, pow
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdio cimport snprintf
from libc.stdlib cimport strtod
from libc.string cimport memcmp, memcpy

from native.arguments cimport (
    Argument,
    arguments_begin,
    arguments_count,
    arguments_find,
    arguments_parse,
)
from native.exchange_record cimport next_random
from native.fields cimport FieldEdits, count_fields, find_field, same_text, text_of
from native.headers cimport HeaderField
from native.regex cimport regex_compile_anchored, regex_free, regex_group_number, regex_match
from native.scratch cimport scratch_begin, scratch_take

cdef enum ValueKind:
    VALUE_NIL = 0
    VALUE_FALSE = 1
    VALUE_TRUE = 2
    VALUE_NUMBER = 3
    VALUE_TEXT = 4
    VALUE_LIST = 5               # all values of the header or argument `text`; as a text, the first of them
    VALUE_TABLE = 6              # a source

ctypedef struct Value:
    ValueKind kind
    TemplateSource source
    Text text
    double number

ctypedef struct Machine:
    TemplateRequest* request
    const uint8_t* program
    uint32_t length
    uint32_t place
    uint32_t depth
    TemplateResult result
    Value stack[TEMPLATE_STACK]

cdef enum:
    NUMBER_ROOM = 40             # "%.14g" and an end
    LONGEST_NUMBER = 63          # of a text that is read as a number
    LONGEST_GROUP_NAME = 63
    UNSET = 0xffffffff
    UUID_LENGTH = 36


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
    """Version 4 (RFC 9562 §5.4)."""
    cdef const char* digits = b"0123456789abcdef"
    cdef uint64_t words[2]
    cdef uint8_t* out = scratch_take(request.scratch, UUID_LENGTH)
    cdef uint32_t digit = 0
    cdef uint32_t i
    if out == NULL:
        return value_of(VALUE_NIL)
    words[0] = (next_random(request.random) & <uint64_t> 0xffffffffffff0fff) | 0x4000
    words[1] = (next_random(request.random) & <uint64_t> 0x3fffffffffffffff) | <uint64_t> 0x8000000000000000
    for i in range(<uint32_t> UUID_LENGTH):
        if i == 8 or i == 13 or i == 18 or i == 23:
            out[i] = 45
        else:
            out[i] = <uint8_t> digits[(words[digit >> 4] >> (60 - 4 * (digit & 15))) & 15]
            digit += 1
    return text_value(text_of(out, UUID_LENGTH))


# --- operations ------------------------------------------------------------------------------------------------------
cdef void fail(Machine* machine, TemplateResult result) noexcept nogil:
    if machine.result == TEMPLATE_RENDERED:
        machine.result = result


cdef inline void push(Machine* machine, Value value) noexcept nogil:
    if machine.depth == TEMPLATE_STACK:
        fail(machine, TEMPLATE_BROKEN)
        return
    machine.stack[machine.depth] = value
    machine.depth += 1


cdef inline Value pop(Machine* machine) noexcept nogil:
    if machine.depth == 0:
        fail(machine, TEMPLATE_BROKEN)
        return value_of(VALUE_NIL)
    machine.depth -= 1
    return machine.stack[machine.depth]


cdef inline uint32_t read_number(Machine* machine, uint32_t size) noexcept nogil:
    """An operand of one or two bytes."""
    cdef uint32_t number
    if machine.length - machine.place < size:
        fail(machine, TEMPLATE_BROKEN)
        machine.place = machine.length
        return 0
    number = machine.program[machine.place]
    if size == 2:
        number |= <uint32_t> machine.program[machine.place + 1] << 8
    machine.place += size
    return number


cdef inline Text read_text(Machine* machine) noexcept nogil:
    cdef uint32_t length = read_number(machine, 2)
    cdef Text text
    if machine.length - machine.place < length:
        fail(machine, TEMPLATE_BROKEN)
        return text_of(b"", 0)
    text = text_of(machine.program + machine.place, length)
    machine.place += length
    return text


cdef void index_value(Machine* machine) noexcept nogil:
    cdef Value key = pop(machine)
    cdef Value table = pop(machine)
    if key.kind == VALUE_LIST:
        key = first_of_list(machine.request, &key)
    if table.kind == VALUE_LIST:
        push(machine, list_item(machine.request, &table, &key))
    elif table.kind == VALUE_TEXT:                       # what Lua finds there are functions, which have no text
        push(machine, value_of(VALUE_NIL))
    elif table.kind != VALUE_TABLE:
        fail(machine, TEMPLATE_ERROR)
    elif table.source == TEMPLATE_CAPTURES:
        push(machine, capture(machine.request, &key))
    elif key.kind != VALUE_TEXT:
        push(machine, value_of(VALUE_NIL))
    elif table.source == TEMPLATE_HEADERS:
        push(machine, header(machine.request, key.text))
    elif table.source == TEMPLATE_QUERY:
        push(machine, argument(machine.request, key.text))
    else:
        push(machine, shared_text(machine.request, key.text))


cdef void concatenate(Machine* machine) noexcept nogil:
    cdef Value right = pop(machine)
    cdef Value left = pop(machine)
    cdef uint8_t* out
    left = first_of_list(machine.request, &left)
    right = first_of_list(machine.request, &right)
    if left.kind < VALUE_NUMBER or right.kind < VALUE_NUMBER or left.kind == VALUE_TABLE or right.kind == VALUE_TABLE:
        fail(machine, TEMPLATE_ERROR)
        return
    if not to_text(machine.request, &left) or not to_text(machine.request, &right):
        fail(machine, TEMPLATE_TOO_LONG)
        return
    out = scratch_take(machine.request.scratch, left.text.length + right.text.length)
    if out == NULL:
        fail(machine, TEMPLATE_TOO_LONG)
        return
    memcpy(out, left.text.data, left.text.length)
    memcpy(out + left.text.length, right.text.data, right.text.length)
    push(machine, text_value(text_of(out, left.text.length + right.text.length)))


cdef void calculate(Machine* machine, uint32_t instruction) noexcept nogil:
    cdef Value right = pop(machine)
    cdef Value left = pop(machine)
    cdef double result
    left = first_of_list(machine.request, &left)
    right = first_of_list(machine.request, &right)
    if not to_number(&left) or not to_number(&right):
        fail(machine, TEMPLATE_ERROR)
        return
    if instruction == TEMPLATE_ADD:
        result = left.number + right.number
    elif instruction == TEMPLATE_SUBTRACT:
        result = left.number - right.number
    elif instruction == TEMPLATE_MULTIPLY:
        result = left.number * right.number
    elif instruction == TEMPLATE_DIVIDE:
        result = left.number / right.number
    elif instruction == TEMPLATE_MODULO:
        # Lua's: the sign of the divisor
        result = fmod(left.number, right.number)
        if result != 0 and (result < 0) != (right.number < 0):
            result += right.number
    else:
        result = pow(left.number, right.number)
    push(machine, number_value(result))


cdef int compare_texts(Text one, Text other) noexcept nogil:
    cdef uint32_t shorter = one.length if one.length < other.length else other.length
    cdef int order = memcmp(one.data, other.data, shorter)
    if order:
        return order
    return (one.length > other.length) - (one.length < other.length)


cdef bint are_equal(const Value* one, const Value* other) noexcept nogil:
    if one.kind != other.kind:
        return False
    if one.kind == VALUE_NUMBER:
        return one.number == other.number
    if one.kind == VALUE_TEXT:
        return compare_texts(one.text, other.text) == 0
    return one.kind != VALUE_TABLE or one.source == other.source


cdef void compare(Machine* machine, uint32_t instruction) noexcept nogil:
    cdef Value right = pop(machine)
    cdef Value left = pop(machine)
    cdef int order
    left = first_of_list(machine.request, &left)
    right = first_of_list(machine.request, &right)
    if instruction == TEMPLATE_EQUAL:
        push(machine, truth_value(are_equal(&left, &right)))
    elif left.kind == VALUE_NUMBER and right.kind == VALUE_NUMBER:
        push(machine, truth_value(left.number < right.number if instruction == TEMPLATE_LESS
                                  else left.number <= right.number))
    elif left.kind == VALUE_TEXT and right.kind == VALUE_TEXT:
        order = compare_texts(left.text, right.text)
        push(machine, truth_value(order < 0 if instruction == TEMPLATE_LESS else order <= 0))
    else:
        fail(machine, TEMPLATE_ERROR)


cdef void negate(Machine* machine) noexcept nogil:
    cdef Value value = pop(machine)
    value = first_of_list(machine.request, &value)
    if to_number(&value):
        push(machine, number_value(-value.number))
    else:
        fail(machine, TEMPLATE_ERROR)


cdef void measure(Machine* machine) noexcept nogil:
    cdef Value value = pop(machine)
    if value.kind == VALUE_LIST:
        if value.source == TEMPLATE_HEADERS:
            push(machine, number_value(
                count_fields(&machine.request.head, <const char*> value.text.data, value.text.length)))
        else:
            push(machine, number_value(arguments_count(&machine.request.arguments, value.text)))
    elif value.kind == VALUE_TEXT:
        push(machine, number_value(value.text.length))
    elif value.kind == VALUE_TABLE:                      # their keys are no numbers
        push(machine, number_value(0))
    else:
        fail(machine, TEMPLATE_ERROR)


# --- functions -------------------------------------------------------------------------------------------------------
cdef Value type_name(const Value* value) noexcept nogil:
    if value.kind == VALUE_NIL:
        return text_value(text_of(b"nil", 3))
    if value.kind == VALUE_NUMBER:
        return text_value(text_of(b"number", 6))
    if value.kind == VALUE_TEXT:
        return text_value(text_of(b"string", 6))
    if value.kind == VALUE_LIST or value.kind == VALUE_TABLE:
        return text_value(text_of(b"table", 5))
    return text_value(text_of(b"boolean", 7))


cdef Value part_of(Text text, double first, double last) noexcept nogil:
    """string.sub: positions count from 1, negative ones from the end."""
    cdef double length = text.length
    first = length + first + 1 if first < 0 else first
    last = length + last + 1 if last < 0 else last
    if not first >= 1:                                   # so that NaN is 1, too
        first = 1
    if not last <= length:
        last = length
    if last < first:
        return text_value(text_of(b"", 0))
    return text_value(text_of(text.data + <uint32_t> first - 1, <uint32_t> last - <uint32_t> first + 1))


cdef Value changed_text(Machine* machine, uint32_t function, Text text) noexcept nogil:
    cdef uint8_t* out = scratch_take(machine.request.scratch, text.length)
    cdef uint32_t i
    cdef uint8_t byte
    if out == NULL:
        fail(machine, TEMPLATE_TOO_LONG)
        return value_of(VALUE_NIL)
    for i in range(text.length):
        byte = text.data[i]
        if function == TEMPLATE_REVERSE:
            byte = text.data[text.length - 1 - i]
        elif function == TEMPLATE_UPPER and 97 <= byte <= 122:
            byte -= 32
        elif function == TEMPLATE_LOWER and 65 <= byte <= 90:
            byte += 32
        out[i] = byte
    return text_value(text_of(out, text.length))


cdef void call(Machine* machine) noexcept nogil:
    cdef uint32_t function = read_number(machine, 1)
    cdef uint32_t count = read_number(machine, 1)
    cdef Value arguments[3]
    cdef uint32_t i
    if count == 0 or count > 3 or count > machine.depth:
        fail(machine, TEMPLATE_BROKEN)
        return
    for i in range(count, 0, -1):
        arguments[i - 1] = pop(machine)
    if function == TEMPLATE_TYPE:
        push(machine, type_name(&arguments[0]))
        return
    arguments[0] = first_of_list(machine.request, &arguments[0])
    if arguments[0].kind != VALUE_TEXT:                  # numbers have no methods in Lua either
        fail(machine, TEMPLATE_ERROR)
        return
    for i in range(1, count):
        arguments[i] = first_of_list(machine.request, &arguments[i])
        if not to_number(&arguments[i]):
            fail(machine, TEMPLATE_ERROR)
            return
    if function == TEMPLATE_LEN:
        push(machine, number_value(arguments[0].text.length))
    elif function == TEMPLATE_SUB and count > 1:
        push(machine, part_of(arguments[0].text, whole(arguments[1].number),
                              whole(arguments[2].number) if count > 2 else -1))
    elif function == TEMPLATE_SUB:
        fail(machine, TEMPLATE_ERROR)
    else:
        push(machine, changed_text(machine, function, arguments[0].text))


cdef inline double whole(double number) noexcept nogil:
    return floor(number) if number >= 0 else -floor(-number)


# --- running ---------------------------------------------------------------------------------------------------------
cdef void choose(Machine* machine, uint32_t instruction) noexcept nogil:
    """`and`, `or`: keep the left value and skip the right one, or forget it."""
    cdef uint32_t end = read_number(machine, 2)
    cdef Value left = pop(machine)
    if is_true(&left) != (instruction == TEMPLATE_OR):
        return
    push(machine, left)
    if end < machine.place or end > machine.length:      # only forwards: so that every program ends
        fail(machine, TEMPLATE_BROKEN)
        return
    machine.place = end


cdef void push_source(Machine* machine) noexcept nogil:
    cdef Value value = value_of(VALUE_TABLE)
    value.source = <TemplateSource> read_number(machine, 1)
    if value.source == TEMPLATE_UUID:
        value = random_uuid(machine.request)
    push(machine, value)


cdef void push_number(Machine* machine) noexcept nogil:
    cdef double number
    if machine.length - machine.place < sizeof(double):
        fail(machine, TEMPLATE_BROKEN)
        return
    memcpy(&number, machine.program + machine.place, sizeof(double))
    machine.place += <uint32_t> sizeof(double)
    push(machine, number_value(number))


cdef Text output(Machine* machine) noexcept nogil:
    """The text of the top value."""
    cdef Value value = pop(machine)
    value = first_of_list(machine.request, &value)
    if value.kind == VALUE_TRUE:
        return text_of(b"true", 4)
    if value.kind == VALUE_FALSE:
        return text_of(b"false", 5)
    if value.kind == VALUE_TABLE:
        fail(machine, TEMPLATE_ERROR)
    elif value.kind != VALUE_NIL and to_text(machine.request, &value):
        return value.text
    elif value.kind != VALUE_NIL:
        fail(machine, TEMPLATE_TOO_LONG)
    return text_of(b"", 0)


cdef void execute(Machine* machine, uint32_t instruction) noexcept nogil:
    """All but what ends the program or adds to its result."""
    cdef Value value
    if instruction == TEMPLATE_TEXT:
        push(machine, text_value(read_text(machine)))
    elif instruction == TEMPLATE_NUMBER:
        push_number(machine)
    elif instruction == TEMPLATE_NIL:
        push(machine, value_of(VALUE_NIL))
    elif instruction == TEMPLATE_TRUE or instruction == TEMPLATE_FALSE:
        push(machine, truth_value(instruction == TEMPLATE_TRUE))
    elif instruction == TEMPLATE_SOURCE:
        push_source(machine)
    elif instruction == TEMPLATE_INDEX:
        index_value(machine)
    elif instruction == TEMPLATE_AND or instruction == TEMPLATE_OR:
        choose(machine, instruction)
    elif instruction == TEMPLATE_NOT:
        value = pop(machine)
        push(machine, truth_value(not is_true(&value)))
    elif instruction == TEMPLATE_NEGATE:
        negate(machine)
    elif instruction == TEMPLATE_LENGTH:
        measure(machine)
    elif instruction == TEMPLATE_CONCATENATE:
        concatenate(machine)
    elif TEMPLATE_ADD <= instruction <= TEMPLATE_POWER:
        calculate(machine, instruction)
    elif TEMPLATE_EQUAL <= instruction <= TEMPLATE_LESS_OR_EQUAL:
        compare(machine, instruction)
    elif instruction == TEMPLATE_CALL:
        call(machine)
    else:
        fail(machine, TEMPLATE_BROKEN)


cdef bint join(TemplateRequest* request, const Text* pieces, uint32_t count, Text* joined) noexcept nogil:
    cdef uint8_t* out
    cdef uint32_t length = 0
    cdef uint32_t i
    for i in range(count):
        if pieces[i].length > request.scratch.capacity - length:
            return False
        length += pieces[i].length
    out = scratch_take(request.scratch, length)
    if out == NULL:
        return False
    joined[0] = text_of(out, length)
    for i in range(count):
        memcpy(out, pieces[i].data, pieces[i].length)
        out += pieces[i].length
    return True


cdef TemplateResult template_render(TemplateRequest* request, Text program, Text* rendered) noexcept nogil:
    cdef Machine machine
    cdef Text pieces[TEMPLATE_PIECES]
    cdef uint32_t count = 0
    cdef uint32_t instruction
    machine.request = request
    machine.program = program.data
    machine.length = program.length
    machine.place = 0
    machine.depth = 0
    machine.result = TEMPLATE_RENDERED
    rendered[0] = text_of(b"", 0)
    while machine.result == TEMPLATE_RENDERED:
        instruction = read_number(&machine, 1)
        if instruction == TEMPLATE_END:
            break
        if instruction != TEMPLATE_LITERAL and instruction != TEMPLATE_OUTPUT:
            execute(&machine, instruction)
        elif count == TEMPLATE_PIECES:
            machine.result = TEMPLATE_BROKEN
        else:
            pieces[count] = read_text(&machine) if instruction == TEMPLATE_LITERAL else output(&machine)
            count += 1
    if machine.result == TEMPLATE_RENDERED and not join(request, pieces, count, rendered):
        machine.result = TEMPLATE_TOO_LONG
    return machine.result


include "template_testing.pxi"
