# Queries and forms: "name=value" between "&". Included by body_fields.pyx.

cdef struct Argument:
    Text whole
    Text name                    # encoded
    Text value                   # encoded
    bint has_value               # there is a "="


cdef bint next_argument(Text form, uint32_t* place, Argument* argument) noexcept nogil:
    """Walk over all arguments, empty ones included. Begin with 0; False at the end."""
    cdef const uint8_t* start
    cdef const uint8_t* found
    cdef uint32_t length
    if place[0] > form.length or form.length == 0:
        return False
    start = form.data + place[0]
    length = form.length - place[0]
    found = <const uint8_t*> memchr(start, c"&", length)
    if found != NULL:
        length = <uint32_t> (found - start)
    place[0] += length + 1
    argument.whole = argument.name = text_of(start, length)
    argument.value = text_of(start + length, 0)
    found = <const uint8_t*> memchr(start, c"=", length)
    argument.has_value = found != NULL
    if found != NULL:
        argument.name.length = <uint32_t> (found - start)
        argument.value = text_of(found + 1, length - argument.name.length - 1)
    return True


cdef inline uint8_t next_decoded(Text encoded, uint32_t* place) noexcept nogil:
    """The byte at a place, which moves behind what stands for it."""
    cdef uint8_t byte = encoded.data[place[0]]
    cdef int high, low
    place[0] += 1
    if byte == c"+":
        return c" "
    if byte == c"%" and encoded.length - place[0] >= 2:
        high = hex_value(encoded.data[place[0]])
        low = hex_value(encoded.data[place[0] + 1])
        if high >= 0 and low >= 0:
            place[0] += 2
            return <uint8_t> (high << 4 | low)
    return byte


cdef bint decodes_to(Text encoded, Text name) noexcept nogil:
    cdef uint32_t place = 0
    cdef uint32_t i
    if encoded.length < name.length:
        return False
    for i in range(name.length):
        if place == encoded.length or next_decoded(encoded, &place) != name.data[i]:
            return False
    return place == encoded.length


cdef FieldResult form_field(Text form, Text name, Text* value) noexcept nogil:
    cdef FieldResult result = FIELD_ABSENT
    cdef Argument argument
    cdef uint32_t place = 0
    while next_argument(form, &place, &argument):
        if not decodes_to(argument.name, name):
            continue
        if result != FIELD_ABSENT:
            return FIELD_SEVERAL
        result = FIELD_TEXT if argument.has_value else FIELD_OTHER
        value[0] = argument.value
    return result


cdef bint form_values(Text form, Text name, Text* values) noexcept nogil:
    cdef Argument argument
    cdef uint32_t place = 0
    cdef bint found = False
    while next_argument(form, &place, &argument):
        if argument.value.length and decodes_to(argument.name, name):
            if not found:
                values.data = argument.value.data
            values.length = <uint32_t> (argument.value.data - values.data) + argument.value.length
            found = True
    return found


cdef bint is_encoded(Text encoded) noexcept nogil:
    return encoded.length and (memchr(encoded.data, c"%", encoded.length) != NULL
                               or memchr(encoded.data, c"+", encoded.length) != NULL)


cdef uint32_t decode_form_text(Text encoded, uint8_t* out) noexcept nogil:
    cdef uint32_t written = 0
    cdef uint32_t place = 0
    while place < encoded.length:
        out[written] = next_decoded(encoded, &place)
        written += 1
    return written


cdef uint32_t form_without(Text form, Text name, uint8_t* out) noexcept nogil:
    cdef Argument argument
    cdef uint32_t written = 0
    cdef uint32_t place = 0
    cdef bint first = True
    while next_argument(form, &place, &argument):
        if decodes_to(argument.name, name):
            continue
        if not first:
            out[written] = c"&"
            written += 1
        first = False
        memcpy(out + written, argument.whole.data, argument.whole.length)
        written += argument.whole.length
    return written
