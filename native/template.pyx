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
from native.fields cimport FieldEdits, count_fields, find_field, same_text, text_of
from native.headers cimport HeaderField
from native.regex cimport regex_compile_anchored, regex_free, regex_group_number, regex_match
from native.scratch cimport scratch_begin, scratch_take
from native.uuid_text cimport UUID_TEXT, write_uuid

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


include "template_values.pxi"


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
        if result == 0:
            result = 0                                   # and no -0
        elif (result < 0) != (right.number < 0):
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
