# For unit tests: a template and a request that exist only for them.


def render(program: bytes, headers=(), query: bytes = b"", path: bytes = b"/", pattern=None,
           uint32_t room=65536, shared=None) -> bytes | str:
    """The text, or the name of what went wrong. `headers`: pairs of bytes; `pattern`: a regex path whose groups are the
    captures; `shared`: names and values, bytes."""
    cdef HeaderField fields[64]
    cdef FieldEdits edits
    cdef Scratch scratch
    cdef TemplateRequest request
    cdef uint32_t captures[64]
    cdef uint64_t random[4]
    cdef Regex* regex = NULL
    cdef Text rendered
    cdef SharedText texts[8]
    cdef uint32_t count = 0
    lines = b"".join(name + b": " + value + b"\r\n" for name, value in headers)
    memory = bytearray(room + 8)
    cdef uint8_t* start = memory
    scratch_begin(&scratch, start, room)
    edits.text = NULL
    edits.count = 0
    place = 0
    for name, value in headers:
        fields[count].name_offset = place
        fields[count].name_length = <uint16_t> len(name)
        fields[count].value_offset = place + len(name) + 2
        fields[count].value_length = <uint32_t> len(value)
        fields[count].known = fields[count].flags = 0
        place += len(name) + len(value) + 4
        count += 1
    request.head.base = <const uint8_t*> <const char*> lines
    request.head.fields = fields
    request.head.count = <uint16_t> count
    request.head.edits = &edits
    request.head.stock = NULL
    request.query = <const uint8_t*> <const char*> query
    request.query_length = <uint32_t> len(query)
    request.path = <const uint8_t*> <const char*> path
    request.captures = captures
    request.capture_count = 0
    random[:] = [1, 2, 3, 4]
    request.random = random
    request.shared = NULL
    kept = list((shared or {}).items())
    for index, (name, value) in enumerate(kept[:8]):
        texts[<uint32_t> index].name = text_of(<const char*> <bytes> name, <uint32_t> len(name))
        texts[<uint32_t> index].value = text_of(<const char*> <bytes> value, <uint32_t> len(value))
        texts[<uint32_t> index].next = <SharedText*> request.shared
        request.shared = &texts[<uint32_t> index]
    request.scratch = &scratch
    request.has_arguments = 0
    if pattern is not None:
        regex = regex_compile_anchored(<const uint8_t*> <const char*> pattern, <uint32_t> len(pattern))
        regex_match(regex, request.path, <uint32_t> len(path), captures, &request.capture_count)
    request.regex = regex
    result = template_render(&request, text_of(<const char*> program, <uint32_t> len(program)), &rendered)
    text = <bytes> rendered.data[:rendered.length]
    regex_free(regex)
    return text if result == TEMPLATE_RENDERED else TemplateResult(result).name
