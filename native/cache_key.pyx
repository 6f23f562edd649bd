"""Keys of stored responses; see cache_key.pxd."""

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memchr, memcmp, memcpy

from native.body_fields cimport decode_form_text, is_encoded
from native.cache_control cimport next_element, normalise_codings
from native.connection cimport EXCHANGE_AUTHENTICATED
from native.crypto cimport LONGEST_DIGEST, SHA256, Octets, digest, hex_text
from native.fields cimport Head, find_field, same_text, text_of
from native.hashing cimport xxh3_128
from native.headers cimport (
    HEADER_AUTHORIZATION,
    HEADER_COOKIE,
    HEADER_HOP_BY_HOP,
    HEADER_PROXY_AUTHORIZATION,
    HEADER_REMOVED,
    HEADER_X_FORWARDED_HOST,
    HEADER_X_FORWARDED_PORT,
    HEADER_X_FORWARDED_PREFIX,
    HeaderField,
    same_name,
)
from native.identities cimport BASIC_AUTH, HMAC_AUTH, JWT, OAUTH2, record_text
from native.packed cimport PackedText, packed_text
from native.plan cimport (
    configuration_text,
    exchange_memory,
    request_head,
    request_method,
    request_path,
    request_query,
)
from native.text cimport format_hex, is_text

cdef enum:
    MAX_SECRETS = 16             # fields that a digest is made of
    FIXED_ROOM = 512             # of a key: ids, names and line ends
    LONGEST_NAME = 128           # of an argument or header that is compared

# A key that is being written.
ctypedef struct KeyWriter:
    uint8_t* data
    uint32_t length
    uint32_t capacity
    bint is_full


# --- writing ---------------------------------------------------------------------------------------------------------
cdef bint begin_writing(Exchange* exchange, KeyWriter* writer, uint64_t room) noexcept nogil:
    if room > MAX_KEY:
        room = MAX_KEY
    writer.data = exchange_memory(exchange, <uint32_t> room)
    writer.length = 0
    writer.capacity = <uint32_t> room
    writer.is_full = False
    return writer.data != NULL


cdef inline void write(KeyWriter* writer, Text text) noexcept nogil:
    if text.length > writer.capacity - writer.length:
        writer.is_full = True
        return
    if text.length:
        memcpy(writer.data + writer.length, text.data, text.length)
        writer.length += text.length


cdef void write_lower(KeyWriter* writer, Text text) noexcept nogil:
    cdef uint32_t start = writer.length
    cdef uint32_t i
    write(writer, text)
    for i in range(start, writer.length):
        if 65 <= writer.data[i] <= 90:
            writer.data[i] += 32


cdef inline void write_constant(KeyWriter* writer, const char* text, uint32_t length) noexcept nogil:
    write(writer, text_of(text, length))


cdef inline void end_line(KeyWriter* writer) noexcept nogil:
    write(writer, text_of(b"\n", 1))


cdef inline Text written(const KeyWriter* writer) noexcept nogil:
    return text_of(writer.data, writer.length)


# --- the query -------------------------------------------------------------------------------------------------------
cdef bint counts(const CacheConfig* config, Text argument) noexcept nogil:
    """Whether an argument is one of vary_query_params. Compared as upstreams read it, decoded."""
    cdef const PackedText* names = <const PackedText*> (<const uint8_t*> config + config.argument_offset)
    cdef const uint8_t* equals = <const uint8_t*> memchr(argument.data, c"=", argument.length)
    cdef Text name = text_of(argument.data, argument.length if equals == NULL else <uint32_t> (equals - argument.data))
    cdef uint8_t[3 * LONGEST_NAME] plain
    cdef uint32_t i
    if config.argument_count == 0 or name.length > 3 * LONGEST_NAME \
            or memchr(argument.data, c";", argument.length) != NULL:    # to some upstreams, several arguments
        return True                                      # it makes a key of its own at worst
    if is_encoded(name):
        name = text_of(plain, decode_form_text(name, plain))
    for i in range(config.argument_count):
        if same_text(packed_text(config, names[i]), name):
            return True
    return False


cdef inline int compare(Text one, Text other) noexcept nogil:
    cdef uint32_t shorter = one.length if one.length < other.length else other.length
    cdef int difference = memcmp(one.data, other.data, shorter) if shorter else 0
    return difference if difference else (1 if one.length > other.length else 0) - (1 if one.length < other.length else 0)


cdef void write_arguments(KeyWriter* writer, const CacheConfig* config, Text query) noexcept nogil:
    """Those that count, sorted by name and value."""
    cdef Text[MAX_ARGUMENTS] arguments
    cdef Text argument
    cdef const uint8_t* end
    cdef uint32_t count = 0
    cdef uint32_t place = 0
    cdef uint32_t i
    while place < query.length:
        end = <const uint8_t*> memchr(query.data + place, c"&", query.length - place)
        argument = text_of(query.data + place, query.length - place if end == NULL
                           else <uint32_t> (end - query.data) - place)
        place += argument.length + 1
        if argument.length == 0 or not counts(config, argument):
            continue
        if count == MAX_ARGUMENTS:
            write_constant(writer, b"?", 1)              # too many to sort: as they came
            write(writer, query)
            return
        i = count
        while i and compare(argument, arguments[i - 1]) < 0:
            arguments[i] = arguments[i - 1]
            i -= 1
        arguments[i] = argument
        count += 1
    for i in range(count):
        if i:
            write_constant(writer, b"&", 1)
        write(writer, arguments[i])


cdef void write_address(KeyWriter* writer, const CacheConfig* config, Text path, Text query, bint https,
                        Text authority) noexcept nogil:
    if config.ignores_case:
        write_lower(writer, path)
    else:
        write(writer, path)
    end_line(writer)
    write_arguments(writer, config, query)
    end_line(writer)
    if https:
        write_constant(writer, b"https://", 8)
    else:
        write_constant(writer, b"http://", 7)
    write_lower(writer, authority)
    end_line(writer)


include "cache_key_identity.pxi"

# --- further lines ---------------------------------------------------------------------------------------------------
cdef void write_line(KeyWriter* writer, const char* letter, Text value) noexcept nogil:
    write_constant(writer, letter, 2)
    write(writer, value)
    end_line(writer)


cdef void write_overrides(Exchange* exchange, KeyWriter* writer) noexcept nogil:
    """What plugins have changed may come from anything in the request."""
    cdef uint8_t[20] number
    if exchange.path_override.data != NULL:
        write_line(writer, b"p ", exchange.path_override)
    if exchange.query_override.data != NULL:
        write_line(writer, b"q ", exchange.query_override)
    if exchange.host_override.data != NULL:
        write_line(writer, b"o ", exchange.host_override)
    if exchange.peer_key_override:
        write_line(writer, b"u ", text_of(number, format_hex(exchange.peer_key_override, number)))


cdef inline bint is_field(const Head* head, const HeaderField* field, const char* name, uint32_t length) noexcept nogil:
    return field.name_length == length and same_name(head.base + field.name_offset, <const uint8_t*> name, length)


cdef inline bint steers(const Head* head, const HeaderField* field) noexcept nogil:
    """Whether frameworks take a field for the method or the path of the request: what is answered then is not the response
    of this address, and others must not get it."""
    if not 13 <= field.name_length <= 22 or head.base[field.name_offset] | 32 != c"x":
        return False
    return is_field(head, field, b"x-http-method-override", 22) or is_field(head, field, b"x-http-method", 13) \
        or is_field(head, field, b"x-method-override", 17) or is_field(head, field, b"x-original-url", 14) \
        or is_field(head, field, b"x-rewrite-url", 13)


cdef void write_steering(KeyWriter* writer, const Head* head) noexcept nogil:
    cdef const HeaderField* field
    cdef uint32_t i
    for i in range(head.count):
        field = &head.fields[i]
        if not field.flags & (HEADER_REMOVED | HEADER_HOP_BY_HOP) and steers(head, field):
            write_constant(writer, b"s ", 2)
            write_lower(writer, text_of(head.base + field.name_offset, field.name_length))
            write_line(writer, b": ", text_of(head.base + field.value_offset, field.value_length))


cdef void write_forwarded(Exchange* exchange, KeyWriter* writer, const Head* head) noexcept nogil:
    cdef const HeaderField* field
    cdef uint32_t i
    if not exchange.client.peer_trusted:
        return
    for i in range(head.count):
        field = &head.fields[i]
        if field.known == HEADER_X_FORWARDED_HOST or field.known == HEADER_X_FORWARDED_PORT \
                or field.known == HEADER_X_FORWARDED_PREFIX:
            write_constant(writer, b"x ", 2)
            write_lower(writer, text_of(head.base + field.name_offset, field.name_length))
            write_line(writer, b": ", text_of(head.base + field.value_offset, field.value_length))


cdef bint is_withheld(const Head* head, Text name) noexcept nogil:
    """Whether the client has had a field of that name kept from the upstream (Connection names it)."""
    cdef const HeaderField* field
    cdef uint32_t i
    for i in range(head.count):
        field = &head.fields[i]
        if field.flags & HEADER_HOP_BY_HOP and is_field(head, field, <const char*> name.data, name.length):
            return True
    return False


cdef void write_values(KeyWriter* writer, const Head* head, Text name) noexcept nogil:
    """": " and the values of the fields of that name, as one list; nothing when there are none. " -" before them: not all
    of them reach the upstream."""
    cdef bint codings = is_text(name.data, name.length, b"accept-encoding", 15)
    cdef Text value
    cdef uint32_t nth = 0
    if is_withheld(head, name):
        write_constant(writer, b" -", 2)
    while find_field(head, <const char*> name.data, name.length, nth, &value):
        write_constant(writer, b", " if nth else b": ", 2)
        if codings and nth == 0 and value.length < writer.capacity - writer.length:
            writer.length += normalise_codings(value, writer.data + writer.length)
        else:
            write(writer, value)
        nth += 1


cdef void write_headers(KeyWriter* writer, const CacheConfig* config, const Head* head) noexcept nogil:
    cdef const PackedText* names = <const PackedText*> (<const uint8_t*> config + config.header_offset)
    cdef uint32_t i
    for i in range(config.header_count):
        write_constant(writer, b"h ", 2)
        write(writer, packed_text(config, names[i]))
        write_values(writer, head, packed_text(config, names[i]))
        end_line(writer)


# --- keys ------------------------------------------------------------------------------------------------------------
cdef inline Text authority_text(Exchange* exchange, const Head* head) noexcept nogil:
    return text_of(head.base + exchange.request.authority_offset,
                   exchange.request.authority_length if exchange.request.has_host else 0)


cdef uint64_t room_for_key(Exchange* exchange, const CacheConfig* config) noexcept nogil:
    """What a key takes at most. All that comes from the request is in its head or was added to it, once."""
    cdef uint64_t room = FIXED_ROOM + exchange.request.parsed
    room += exchange.path_override.length + exchange.query_override.length + exchange.host_override.length
    if exchange.request_edits.text != NULL:
        room += exchange.request_edits.text.end
    return room + config.key_room


cdef KeySafety build_key(Exchange* exchange, const CacheConfig* config, Text* full_key, Text* address) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef KeyWriter writer
    cdef KeySafety safety
    if not begin_writing(exchange, &writer, room_for_key(exchange, config)):
        return KEY_NONE
    write_address(&writer, config, request_path(exchange), request_query(exchange), exchange.https,
                  authority_text(exchange, &head))
    address[0] = written(&writer)
    write(&writer, request_method(exchange))
    end_line(&writer)
    write(&writer, packed_text(config, config.fingerprint))
    end_line(&writer)
    if exchange.route != NULL:
        write(&writer, configuration_text(exchange, exchange.route.id))
    end_line(&writer)
    if not write_identity(exchange, &writer, &head):
        return KEY_NONE
    safety = write_credentials(exchange, config, &writer, &head)
    write_overrides(exchange, &writer)
    write_forwarded(exchange, &writer, &head)
    write_steering(&writer, &head)
    write_headers(&writer, config, &head)
    full_key[0] = written(&writer)
    return KEY_NONE if writer.is_full else safety


cdef bint variant_key(Exchange* exchange, Text full_key, Text names, Text* variant) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef uint64_t room = <uint64_t> full_key.length + names.length + 4 * MAX_VARY + exchange.request.parsed
    cdef KeyWriter writer
    cdef const uint8_t* end
    cdef uint32_t place = 0
    cdef Text name
    if exchange.request_edits.text != NULL:
        room += exchange.request_edits.text.end
    if not begin_writing(exchange, &writer, room):
        return False
    write(&writer, full_key)
    while place < names.length:
        end = <const uint8_t*> memchr(names.data + place, c"\n", names.length - place)
        if end == NULL:
            return False
        name = text_of(names.data + place, <uint32_t> (end - names.data) - place)
        place += name.length + 1
        write_constant(&writer, b"v ", 2)
        write(&writer, name)
        write_values(&writer, &head, name)
        end_line(&writer)
    variant[0] = written(&writer)
    return not writer.is_full


cdef void hash_key(const CacheConfig* config, Text full_key, CacheKey* key) noexcept nogil:
    xxh3_128(full_key.data, full_key.length, config.seeds[0], key.words)
    xxh3_128(full_key.data, full_key.length, config.seeds[1], key.words + 2)


# --- Vary ------------------------------------------------------------------------------------------------------------
cdef uint32_t split_names(Text names, Text* found) noexcept nogil:
    """At most MAX_VARY of them."""
    cdef uint32_t count = 0
    cdef uint32_t place = 0
    cdef const uint8_t* end
    while place < names.length and count < MAX_VARY:
        end = <const uint8_t*> memchr(names.data + place, c"\n", names.length - place)
        if end == NULL:
            break
        found[count] = text_of(names.data + place, <uint32_t> (end - names.data) - place)
        place += found[count].length + 1
        count += 1
    return count


cdef bint insert_name(Text* found, uint32_t* count, Text name) noexcept nogil:
    """Keep them sorted. False: there are too many."""
    cdef uint32_t place = 0
    cdef uint32_t i
    while place < count[0] and compare(found[place], name) < 0:
        place += 1
    if place < count[0] and same_text(found[place], name):
        return True
    if count[0] == MAX_VARY:
        return False
    i = count[0]
    while i > place:
        found[i] = found[i - 1]
        i -= 1
    found[place] = name
    count[0] += 1
    return True


cdef bint add_vary_names(Exchange* exchange, Text vary, bint codings_only, Text* names) noexcept nogil:
    cdef Text[MAX_VARY] found
    cdef KeyWriter lower, joined
    cdef Text element
    cdef uint32_t count = split_names(names[0], found)
    cdef uint32_t place = 0
    cdef uint32_t start, i
    if not begin_writing(exchange, &lower, vary.length + 1) \
            or not begin_writing(exchange, &joined, vary.length + names.length + MAX_VARY):
        return False
    while next_element(vary, &place, &element):
        if element.length == 1 and element.data[0] == c"*":
            return False
        start = lower.length
        write_lower(&lower, element)
        element = text_of(lower.data + start, lower.length - start)
        if codings_only and not is_text(element.data, element.length, b"accept-encoding", 15):
            continue
        if lower.is_full or not insert_name(found, &count, element):
            return False
    for i in range(count):
        write(&joined, found[i])
        end_line(&joined)
    names[0] = written(&joined)
    return not joined.is_full


# --- other addresses -------------------------------------------------------------------------------------------------
cdef bint take_authority(Exchange* exchange, Text* rest, bint* https) noexcept nogil:
    """Take "https://host" or "//host" from the beginning; False: it is another host."""
    cdef Head head = request_head(exchange)
    cdef Text own = authority_text(exchange, &head)
    cdef uint32_t skipped = 0
    cdef uint32_t i
    if rest.length >= 8 and is_text(rest.data, 8, b"https://", 8):
        https[0] = True
        skipped = 8
    elif rest.length >= 7 and is_text(rest.data, 7, b"http://", 7):
        https[0] = False
        skipped = 7
    elif rest.length >= 2 and rest.data[0] == c"/" and rest.data[1] == c"/":
        skipped = 2
    else:
        return True
    if rest.length < skipped + own.length:
        return False
    for i in range(own.length):
        if own.data[i] | 32 != rest.data[skipped + i] | 32:
            return False
    rest[0] = text_of(rest.data + skipped + own.length, rest.length - skipped - own.length)
    return rest.length == 0 or rest.data[0] == c"/" or rest.data[0] == c"?"


cdef bint address_of(Exchange* exchange, const CacheConfig* config, Text reference, Text* address) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef const uint8_t* found
    cdef bint https = exchange.https
    cdef Text query = text_of(NULL, 0)
    cdef KeyWriter writer
    found = <const uint8_t*> memchr(reference.data, c"#", reference.length) if reference.length else NULL
    if found != NULL:
        reference.length = <uint32_t> (found - reference.data)
    if not take_authority(exchange, &reference, &https):
        return False
    found = <const uint8_t*> memchr(reference.data, c"?", reference.length) if reference.length else NULL
    if found != NULL:
        query = text_of(found + 1, reference.length - <uint32_t> (found - reference.data) - 1)
        reference.length = <uint32_t> (found - reference.data)
    if reference.length == 0:
        reference = text_of(b"/", 1)
    if reference.data[0] != c"/":
        return False
    if not begin_writing(exchange, &writer, <uint64_t> reference.length + query.length
                         + exchange.request.authority_length + FIXED_ROOM):
        return False
    write_address(&writer, config, reference, query, https, authority_text(exchange, &head))
    address[0] = written(&writer)
    return not writer.is_full
