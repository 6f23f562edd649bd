"""Tokens that a request brings; see bearer_tokens.pxd."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memset

from native.body_fields cimport (
    FIELD_ABSENT,
    FIELD_OTHER,
    FIELD_SEVERAL,
    FIELD_TEXT,
    FieldResult,
    decode_form_text,
    form_field,
    is_encoded,
)
from native.cookies cimport find_cookie
from native.fields cimport Head, find_field, same_text, text_of
from native.headers cimport same_name
from native.packed cimport PackedText, packed_text
from native.plan cimport exchange_memory, request_head, request_query
from native.steps.authentication cimport hide_from_logs


# --- configurations --------------------------------------------------------------------------------------------------
cdef TokenPlaces pack_places(Packer packer, list header_names, list query_names, list cookie_names) except *:
    cdef TokenPlaces places
    places.header_names = pack_names(packer, header_names)
    places.header_count = <uint32_t> len(header_names)
    places.query_names = pack_names(packer, query_names)
    places.query_count = <uint32_t> len(query_names)
    places.cookie_names = pack_names(packer, cookie_names)
    places.cookie_count = <uint32_t> len(cookie_names)
    return places


cdef uint32_t pack_names(Packer packer, list names) except 0:
    cdef PackedText place
    cdef bytearray places = bytearray()
    for name in names:
        place = packer.text(name)
        places += (<char*> &place)[:sizeof(place)]
    return packer.array(bytes(places))


cdef inline Text packed_name(const void* config, uint32_t names, uint32_t index) noexcept nogil:
    return packed_text(config, (<const PackedText*> (<const uint8_t*> config + names))[index])


# --- what was found --------------------------------------------------------------------------------------------------
cdef void note_token(FoundToken* found, Text token) noexcept nogil:
    if token.length == 0:
        return
    if found.distinct == 0:
        found.token = token
        found.distinct = 1
    elif found.bare or not same_text(found.token, token):
        found.distinct = 2


cdef void note_bare(FoundToken* found) noexcept nogil:
    if found.distinct == 0:
        found.distinct = 1
        found.bare = 1
    elif not found.bare:
        found.distinct = 2


# --- looking ---------------------------------------------------------------------------------------------------------
cdef Text bearer_token(Text value) noexcept nogil:
    """What follows "Bearer "; empty: something else."""
    cdef uint32_t start = 6
    if value.length <= start or (value.data[0] | 0x20) != 98 or not same_name(value.data + 1, b"earer", 5):
        return text_of(b"", 0)
    while start < value.length and (value.data[start] == 32 or value.data[start] == 9):
        start += 1
    if start == 6:
        return text_of(b"", 0)
    return text_of(value.data + start, value.length - start)


cdef void find_in_headers(Exchange* exchange, const void* config, const TokenPlaces* places,
                          FoundToken* found) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef Text name, value
    cdef uint32_t i
    for i in range(places.header_count):
        name = packed_name(config, places.header_names, i)
        if find_field(&head, <const char*> name.data, name.length, 0, &value):
            note_token(found, bearer_token(value))


cdef void find_in_cookies(Exchange* exchange, const void* config, const TokenPlaces* places,
                          FoundToken* found) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef Text name, line, value
    cdef uint32_t i, nth
    for i in range(places.cookie_count):
        name = packed_name(config, places.cookie_names, i)
        nth = 0
        while find_field(&head, b"Cookie", 6, nth, &line):
            if find_cookie(line, name, True, &value):
                note_token(found, value)
                break
            nth += 1


cdef bint note_argument(Exchange* exchange, Text argument, Text name, FoundToken* found) noexcept nogil:
    """One argument, as it is written. False: memory is out."""
    cdef Text value
    cdef uint8_t* decoded
    cdef FieldResult result = form_field(argument, name, &value)
    if result == FIELD_OTHER:
        note_bare(found)
    elif result == FIELD_TEXT:
        if is_encoded(value):
            decoded = exchange_memory(exchange, value.length)
            if decoded == NULL:
                return False
            value = text_of(decoded, decode_form_text(value, decoded))
        note_token(found, value)
    return True


cdef bint find_in_query(Exchange* exchange, const void* config, const TokenPlaces* places,
                        FoundToken* found) noexcept nogil:
    """False: memory is out."""
    cdef Text query = request_query(exchange)
    cdef const uint8_t* ampersand
    cdef FieldResult result
    cdef Text name, rest, argument
    cdef uint32_t i
    for i in range(places.query_count):
        name = packed_name(config, places.query_names, i)
        result = form_field(query, name, &argument)
        if result == FIELD_ABSENT:
            continue
        rest = query             # without repeated names all of it is as good as one argument
        while rest.length and found.distinct < 2:
            argument = rest
            if result == FIELD_SEVERAL:
                ampersand = <const uint8_t*> memchr(rest.data, 38, rest.length)
                if ampersand != NULL:
                    argument.length = <uint32_t> (ampersand - rest.data)
            if not note_argument(exchange, argument, name, found):
                return False
            if argument.length == rest.length:
                break
            rest = text_of(rest.data + argument.length + 1, rest.length - argument.length - 1)
    return True


cdef bint find_tokens(Exchange* exchange, const void* config, const TokenPlaces* places,
                      FoundToken* found) noexcept nogil:
    memset(found, 0, sizeof(FoundToken))
    find_in_headers(exchange, config, places, found)
    find_in_cookies(exchange, config, places, found)
    return find_in_query(exchange, config, places, found)


cdef void hide_tokens(Exchange* exchange, const void* config, const TokenPlaces* places) noexcept nogil:
    cdef uint32_t i
    if request_query(exchange).length:
        for i in range(places.query_count):
            hide_from_logs(exchange, packed_name(config, places.query_names, i))
