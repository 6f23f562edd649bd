"""See header_changes.pxd."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from native.fields cimport add_field, count_fields, find_field, may_change, remove_field, set_field, text_of
from native.plan cimport exchange_memory

cdef const char* HEX_DIGITS = b"0123456789ABCDEF"


cdef inline bint is_control(uint8_t byte) noexcept nogil:
    return (byte < 32 and byte != 9) or byte == 127


cdef bint escape_controls(Exchange* exchange, Text* value) noexcept nogil:
    """False: memory is out."""
    cdef uint8_t* out
    cdef uint32_t length = value.length
    cdef uint32_t i
    for i in range(value.length):
        if is_control(value.data[i]):
            length += 2
    if length == value.length:
        return True
    out = exchange_memory(exchange, length)
    if out == NULL:
        return False
    length = 0
    for i in range(value.length):
        if is_control(value.data[i]):
            out[length] = 37
            out[length + 1] = <uint8_t> HEX_DIGITS[value.data[i] >> 4]
            out[length + 2] = <uint8_t> HEX_DIGITS[value.data[i] & 15]
            length += 3
        else:
            out[length] = value.data[i]
            length += 1
    value[0] = text_of(out, length)
    return True


cdef bint rename_header(Exchange* exchange, Head* head, Text old, Text new) noexcept nogil:
    """Their values are copied first: adding fields may move those that were added before."""
    cdef const char* old_name = <const char*> old.data
    cdef const char* new_name = <const char*> new.data
    cdef uint32_t count = count_fields(head, old_name, old.length)
    cdef Text* values
    cdef uint8_t* copy
    cdef uint32_t i
    if count == 0 or not may_change(new_name, new.length):
        return True
    values = <Text*> exchange_memory(exchange, <uint32_t> (count * sizeof(Text)))
    if values == NULL:
        return False
    for i in range(count):
        find_field(head, old_name, old.length, i, &values[i])
        copy = exchange_memory(exchange, values[i].length)
        if copy == NULL:
            return False
        memcpy(copy, values[i].data, values[i].length)
        values[i].data = copy
    remove_field(head, old_name, old.length)
    remove_field(head, new_name, new.length)
    for i in range(count):
        if not add_field(head, new_name, new.length, values[i].data, values[i].length):
            return False
    return True


cdef bint change_header(Exchange* exchange, Head* head, uint32_t change, Text name, Text value) noexcept nogil:
    cdef const char* place = <const char*> name.data
    cdef Text ignored
    if not may_change(place, name.length):
        return True
    if change == CHANGE_REMOVE:
        remove_field(head, place, name.length)
        return True
    if change == CHANGE_RENAME:
        return rename_header(exchange, head, name, value)
    if change != CHANGE_APPEND \
            and find_field(head, place, name.length, 0, &ignored) != (change == CHANGE_REPLACE):
        return True
    if not escape_controls(exchange, &value):
        return False
    if change == CHANGE_APPEND:
        return add_field(head, place, name.length, value.data, value.length)
    return set_field(head, place, name.length, value.data, value.length)
