# Multipart forms. Included by body_fields.pyx.

cdef enum:
    LONGEST_BOUNDARY = 70        # RFC 2046 §5.1.1

# A line that separates parts.
cdef struct Delimiter:
    uint32_t start               # of its first "-"
    uint32_t end                 # behind its CRLF
    bint last                    # no part follows


cdef inline bint is_blank(uint8_t byte) noexcept nogil:
    return byte == 32 or byte == 9


# --- parameters of header fields (RFC 9110 §5.6.6) -------------------------------------------------------------------
cdef bint next_parameter(Text text, uint32_t* place, Text* name, Text* value) noexcept nogil:
    """The next `; name=value`, from a place where a ";" is, or blanks before it. The value without its quotes."""
    cdef uint32_t start
    while place[0] < text.length and is_blank(text.data[place[0]]):
        place[0] += 1
    if not skip_byte(text, place, c";"):
        return False
    while place[0] < text.length and is_blank(text.data[place[0]]):
        place[0] += 1
    start = place[0]
    while place[0] < text.length and text.data[place[0]] != c"=" and text.data[place[0]] != c";":
        place[0] += 1
    name[0] = text_between(text, start, place[0])
    value[0] = text_between(text, place[0], place[0])
    if not skip_byte(text, place, c"="):
        return True
    start = place[0]
    if skip_byte(text, place, c'"'):
        while place[0] < text.length and text.data[place[0]] != c'"':
            place[0] += 2 if text.data[place[0]] == c"\\" else 1
        if place[0] >= text.length:
            return False
        value[0] = text_between(text, start + 1, place[0])
        place[0] += 1
        return True
    while place[0] < text.length and text.data[place[0]] != c";" and not is_blank(text.data[place[0]]):
        place[0] += 1
    value[0] = text_between(text, start, place[0])
    return True


cdef bint find_parameter(Text text, const char* lower, uint32_t length, Text* value) noexcept nogil:
    """The parameter of that name in a field's value, behind what the field is about ("form-data")."""
    cdef const uint8_t* found
    cdef uint32_t place
    cdef Text name
    if text.length == 0:
        return False
    found = <const uint8_t*> memchr(text.data, c";", text.length)
    if found == NULL:
        return False
    place = <uint32_t> (found - text.data)
    while next_parameter(text, &place, &name, value):
        if is_text(name.data, name.length, lower, length):
            return True
    return False


cdef Text multipart_boundary(Text content_type) noexcept nogil:
    cdef Text boundary
    if not find_parameter(content_type, b"boundary", 8, &boundary) or boundary.length > LONGEST_BOUNDARY:
        return text_of(b"", 0)
    return boundary


# --- parts -----------------------------------------------------------------------------------------------------------
cdef bint read_delimiter(Text body, uint32_t place, Delimiter* delimiter) noexcept nogil:
    """What follows "--" and the boundary: a delimiter's line ends with blanks and CRLF, the last one's begins with
    "--" and may end anyhow."""
    delimiter.last = body.length - place >= 2 and body.data[place] == c"-" and body.data[place + 1] == c"-"
    if delimiter.last:
        delimiter.end = place + 2
        return True
    while place < body.length and is_blank(body.data[place]):
        place += 1
    if body.length - place < 2 or body.data[place] != 13 or body.data[place + 1] != 10:
        return False
    delimiter.end = place + 2
    return True


cdef bint find_delimiter(Text body, Text boundary, uint32_t place, Delimiter* delimiter) noexcept nogil:
    """The first delimiter that begins at `place` or later."""
    cdef const uint8_t* found
    cdef uint32_t start
    if boundary.length == 0:
        return False
    while place < body.length:
        found = <const uint8_t*> memmem(body.data + place, body.length - place, boundary.data, boundary.length)
        if found == NULL:
            return False
        start = <uint32_t> (found - body.data)
        place = start + 1
        if start < 2 or body.data[start - 1] != c"-" or body.data[start - 2] != c"-":
            continue
        delimiter.start = start - 2
        if delimiter.start and (delimiter.start < 2 or body.data[start - 3] != 10 or body.data[start - 4] != 13):
            continue
        if read_delimiter(body, start + boundary.length, delimiter):
            return True
    return False


cdef bint next_line(Text text, uint32_t* place, Text* line) noexcept nogil:
    """The line at a place, without its CRLF."""
    cdef uint32_t start = place[0]
    cdef const uint8_t* found
    if start == text.length:
        return False
    found = <const uint8_t*> memmem(text.data + start, text.length - start, b"\r\n", 2)
    if found == NULL:
        return False
    line[0] = text_between(text, start, <uint32_t> (found - text.data))
    place[0] = start + line.length + 2
    return True


cdef bint is_part(Text part, Text name, Text* content) noexcept nogil:
    """Whether a part is called `name`. A part is header fields, an empty line, and the content."""
    cdef uint32_t place = 0
    cdef Text line, found
    cdef bint is_named = False
    cdef bint is_seen = False
    while next_line(part, &place, &line):
        if line.length == 0:
            content[0] = text_between(part, place, part.length)
            return is_named
        if not is_seen and begins_with(line, b"content-disposition:", 20):
            is_seen = True
            is_named = find_parameter(line, b"name", 4, &found) and same_text(found, name)
    return False


cdef inline Text part_between(Text body, const Delimiter* before, const Delimiter* behind) noexcept nogil:
    # the CRLF before a delimiter belongs to it
    if behind.start < before.end + 2:
        return text_between(body, before.end, before.end)
    return text_between(body, before.end, behind.start - 2)


cdef FieldResult multipart_field(Text body, Text boundary, Text name, Text* value) noexcept nogil:
    cdef FieldResult result = FIELD_ABSENT
    cdef Delimiter before, behind
    cdef Text content
    if not find_delimiter(body, boundary, 0, &before):
        return FIELD_ABSENT
    while not before.last and find_delimiter(body, boundary, before.end, &behind):
        if is_part(part_between(body, &before, &behind), name, &content):
            if result != FIELD_ABSENT:
                return FIELD_SEVERAL
            result = FIELD_TEXT
            value[0] = content
        before = behind
    return result


cdef uint32_t multipart_without(Text body, Text boundary, Text name, uint8_t* out) noexcept nogil:
    cdef Delimiter before, behind
    cdef Text ignored
    cdef uint32_t copied = 0                             # of the body
    cdef uint32_t written = 0
    if find_delimiter(body, boundary, 0, &before):
        while not before.last and find_delimiter(body, boundary, before.end, &behind):
            if is_part(part_between(body, &before, &behind), name, &ignored):
                memcpy(out + written, body.data + copied, before.start - copied)
                written += before.start - copied
                copied = behind.start
            before = behind
    memcpy(out + written, body.data + copied, body.length - copied)
    return written + body.length - copied
