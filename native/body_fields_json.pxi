# JSON: a strict scanner without recursion. Included by body_fields.pyx.
#
# Functions named skip_… move `place` behind what they are named after, and are False when it is not there.

cdef struct JsonMember:
    Text name                    # between its quotes, escaped
    Text value                   # as written


cdef inline uint8_t current(Text json, uint32_t place) noexcept nogil:
    # no byte of JSON outside of strings is NUL
    return json.data[place] if place < json.length else 0


cdef inline bint is_white(uint8_t byte) noexcept nogil:
    return byte == 32 or byte == 10 or byte == 13 or byte == 9


cdef inline void skip_white(Text json, uint32_t* place) noexcept nogil:
    while is_white(current(json, place[0])):
        place[0] += 1


cdef inline bint skip_byte(Text json, uint32_t* place, uint8_t byte) noexcept nogil:
    if current(json, place[0]) != byte:
        return False
    place[0] += 1
    return True


# --- strings ---------------------------------------------------------------------------------------------------------
cdef int code_unit(Text text, uint32_t place) noexcept nogil:
    """The four hex digits at a place; -1: there are none."""
    cdef int unit = 0
    cdef int digit
    cdef uint32_t i
    if text.length < 4 or place > text.length - 4:
        return -1
    for i in range(4):
        digit = hex_value(text.data[place + i])
        if digit < 0:
            return -1
        unit = unit << 4 | digit
    return unit


cdef int next_character(Text text, uint32_t* place, uint8_t* out) noexcept nogil:
    """The escape, or else the byte, at a place of a string, which moves behind it. Writes up to four bytes of UTF-8;
    returns how many, 0 for what may not stand in a string."""
    cdef uint8_t byte = text.data[place[0]]
    cdef int unit, second
    place[0] += 1
    if byte != c"\\":
        out[0] = byte
        return 1 if byte >= 32 else 0
    byte = current(text, place[0])
    place[0] += 1
    if byte != c"u":
        out[0] = simple_escape(byte)
        return 1 if out[0] else 0
    unit = code_unit(text, place[0])
    place[0] += 4
    if unit < 0 or 0xdc00 <= unit <= 0xdfff:
        return 0
    if 0xd800 <= unit <= 0xdbff:
        # the first half of a character outside of the basic plane (RFC 8259 §7)
        second = code_unit(text, place[0] + 2)
        if current(text, place[0]) != c"\\" or current(text, place[0] + 1) != c"u" or not 0xdc00 <= second <= 0xdfff:
            return 0
        place[0] += 6
        unit = 0x10000 + ((unit - 0xd800) << 10) + (second - 0xdc00)
    return put_utf8(unit, out)


cdef inline uint8_t simple_escape(uint8_t byte) noexcept nogil:
    """What a backslash and this byte stand for; 0: nothing."""
    if byte == c'"' or byte == c"\\" or byte == c"/":
        return byte
    if byte == c"b":
        return 8
    if byte == c"f":
        return 12
    if byte == c"n":
        return 10
    if byte == c"r":
        return 13
    if byte == c"t":
        return 9
    return 0


cdef inline int put_utf8(int character, uint8_t* out) noexcept nogil:
    if character < 0x80:
        out[0] = <uint8_t> character
        return 1
    if character < 0x800:
        out[0] = <uint8_t> (0xc0 | character >> 6)
        out[1] = <uint8_t> (0x80 | (character & 63))
        return 2
    if character < 0x10000:
        out[0] = <uint8_t> (0xe0 | character >> 12)
        out[1] = <uint8_t> (0x80 | (character >> 6 & 63))
        out[2] = <uint8_t> (0x80 | (character & 63))
        return 3
    out[0] = <uint8_t> (0xf0 | character >> 18)
    out[1] = <uint8_t> (0x80 | (character >> 12 & 63))
    out[2] = <uint8_t> (0x80 | (character >> 6 & 63))
    out[3] = <uint8_t> (0x80 | (character & 63))
    return 4


cdef bint skip_string(Text json, uint32_t* place, Text* content) noexcept nogil:
    """`content`: what stands between the quotes."""
    cdef uint8_t[4] ignored
    cdef uint32_t start
    if not skip_byte(json, place, c'"'):
        return False
    start = place[0]
    while place[0] < json.length:
        if json.data[place[0]] == c'"':
            content[0] = text_between(json, start, place[0])
            place[0] += 1
            return True
        if next_character(json, place, ignored) == 0:
            return False
    return False


cdef bint is_escaped(Text escaped) noexcept nogil:
    return escaped.length and memchr(escaped.data, c"\\", escaped.length) != NULL


cdef uint32_t decode_json_text(Text escaped, uint8_t* out) noexcept nogil:
    cdef uint32_t written = 0
    cdef uint32_t place = 0
    # what is written is never longer than what is read
    while place < escaped.length:
        written += next_character(escaped, &place, out + written)
    return written


cdef bint unescapes_to(Text escaped, Text name) noexcept nogil:
    cdef uint8_t[4] character
    cdef uint32_t place = 0
    cdef uint32_t at = 0
    cdef int length, i
    while place < escaped.length:
        length = next_character(escaped, &place, character)
        for i in range(length):
            if at == name.length or name.data[at] != character[i]:
                return False
            at += 1
    return at == name.length


# --- values ----------------------------------------------------------------------------------------------------------
cdef bint skip_digits(Text json, uint32_t* place) noexcept nogil:
    cdef uint32_t start = place[0]
    while 48 <= current(json, place[0]) <= 57:
        place[0] += 1
    return place[0] > start


cdef bint skip_number(Text json, uint32_t* place) noexcept nogil:
    skip_byte(json, place, c"-")
    if not skip_byte(json, place, c"0") and not skip_digits(json, place):
        return False
    if skip_byte(json, place, c".") and not skip_digits(json, place):
        return False
    if current(json, place[0]) | 32 == c"e":
        place[0] += 1
        if not skip_byte(json, place, c"+"):
            skip_byte(json, place, c"-")
        return skip_digits(json, place)
    return True


cdef bint skip_word(Text json, uint32_t* place, const char* word, uint32_t length) noexcept nogil:
    if not same_text(text_between(json, place[0], min(place[0] + length, json.length)), text_of(word, length)):
        return False
    place[0] += length
    return True


cdef bint skip_scalar(Text json, uint32_t* place) noexcept nogil:
    """A value that contains no others."""
    cdef uint8_t byte = current(json, place[0])
    cdef Text ignored
    if byte == c'"':
        return skip_string(json, place, &ignored)
    if byte == c"t":
        return skip_word(json, place, b"true", 4)
    if byte == c"f":
        return skip_word(json, place, b"false", 5)
    if byte == c"n":
        return skip_word(json, place, b"null", 4)
    return skip_number(json, place)


cdef bint skip_name(Text json, uint32_t* place, Text* name) noexcept nogil:
    """The name of a member, and its colon."""
    skip_white(json, place)
    if not skip_string(json, place, name):
        return False
    skip_white(json, place)
    return skip_byte(json, place, c":")


cdef bint skip_value(Text json, uint32_t* place) noexcept nogil:
    """A value, which lies in one object already."""
    cdef uint8_t[JSON_DEPTH] closers                     # of the objects and lists that the place is in
    cdef uint32_t depth = 0
    cdef Text ignored
    cdef uint8_t byte
    while True:
        # a value begins
        skip_white(json, place)
        byte = current(json, place[0])
        if byte == c"{" or byte == c"[":
            place[0] += 1
            closers[depth] = c"}" if byte == c"{" else c"]"
            depth += 1
            if depth == JSON_DEPTH:
                return False
            skip_white(json, place)
            if current(json, place[0]) != closers[depth - 1]:
                if byte == c"{" and not skip_name(json, place, &ignored):
                    return False
                continue
        elif not skip_scalar(json, place):
            return False
        # a value, or what is in an object or list, has ended
        while depth:
            skip_white(json, place)
            if skip_byte(json, place, c","):
                if closers[depth - 1] == c"}" and not skip_name(json, place, &ignored):
                    return False
                break
            if not skip_byte(json, place, closers[depth - 1]):
                return False
            depth -= 1
        else:
            return True


# --- members of the outermost object ---------------------------------------------------------------------------------
cdef bint begin_members(Text json, uint32_t* place) noexcept nogil:
    place[0] = 0
    skip_white(json, place)
    return skip_byte(json, place, c"{")


cdef bint next_member(Text json, uint32_t* place, bint first, JsonMember* member) noexcept nogil:
    """Walk over all members. False: they have ended, or it is no JSON (members_ended() at the
    end of the last one tells)."""
    cdef uint32_t start
    skip_white(json, place)
    if not first and not skip_byte(json, place, c","):
        return False
    if not skip_name(json, place, &member.name):
        return False
    skip_white(json, place)
    start = place[0]
    if not skip_value(json, place):
        return False
    member.value = text_between(json, start, place[0])
    return True


cdef bint members_ended(Text json, uint32_t* place) noexcept nogil:
    """Whether the object and the text end here."""
    skip_white(json, place)
    if not skip_byte(json, place, c"}"):
        return False
    skip_white(json, place)
    return place[0] == json.length


cdef FieldResult json_member(Text json, Text name, Text* value) noexcept nogil:
    cdef FieldResult result = FIELD_ABSENT
    cdef JsonMember member
    cdef uint32_t place, before
    cdef bint first = True
    if not begin_members(json, &place):
        return FIELD_ABSENT
    before = place
    while next_member(json, &place, first, &member):
        before = place
        first = False
        if unescapes_to(member.name, name):
            result = kind_of_value(member.value)
            value[0] = member.value
    # where the last member, or else the brace, ended: what followed was no other one
    if not members_ended(json, &before):
        return FIELD_ABSENT
    if result == FIELD_TEXT:
        value[0] = text_between(value[0], 1, value.length - 1)
    return result


cdef inline FieldResult kind_of_value(Text value) noexcept nogil:
    if value.data[0] == c'"':
        return FIELD_TEXT
    return FIELD_SEVERAL if value.data[0] == c"{" or value.data[0] == c"[" else FIELD_OTHER


# --- leaving out -----------------------------------------------------------------------------------------------------
cdef uint32_t put_without_white(Text value, uint8_t* out) noexcept nogil:
    cdef uint32_t written = 0
    cdef uint32_t i = 0
    cdef bint in_string = False
    while i < value.length:
        if value.data[i] == c'"':
            in_string = not in_string
        if in_string and value.data[i] == c"\\":
            out[written] = value.data[i]
            written += 1
            i += 1
        if in_string or not is_white(value.data[i]):
            out[written] = value.data[i]
            written += 1
        i += 1
    return written


cdef uint32_t json_without(Text json, Text name, uint8_t* out) noexcept nogil:
    cdef JsonMember member
    cdef uint32_t place
    cdef uint32_t written = 1
    cdef bint first = True
    out[0] = c"{"
    begin_members(json, &place)
    while next_member(json, &place, first, &member):
        first = False
        if unescapes_to(member.name, name):
            continue
        if written > 1:
            out[written] = c","
            written += 1
        # the name with its quotes
        memcpy(out + written, member.name.data - 1, member.name.length + 2)
        written += member.name.length + 2
        out[written] = c":"
        written += 1 + put_without_white(member.value, out + written + 1)
    out[written] = c"}"
    return written + 1
