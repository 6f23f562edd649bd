"""RFC 9111's texts and arithmetic; see cache_control.pxd."""

from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memchr, memcmp, memcpy

from native.fields cimport text_of
from native.text cimport is_text

include "cache_control_view.pxi"

cdef enum:
    MAX_CODINGS = 16             # of Accept-Encoding; longer lists are left as they are


cdef inline bint is_blank(uint8_t byte) noexcept nogil:
    return byte == c" " or byte == c"\t"


cdef inline uint8_t lower(uint8_t byte) noexcept nogil:
    return byte + 32 if 65 <= byte <= 90 else byte


cdef inline Text stripped(Text text) noexcept nogil:
    while text.length and is_blank(text.data[0]):
        text.data += 1
        text.length -= 1
    while text.length and is_blank(text.data[text.length - 1]):
        text.length -= 1
    return text


cdef inline Text behind(Text text, uint32_t count) noexcept nogil:
    return text_of(text.data + count, text.length - count)


cdef Text unquoted(Text text) noexcept nogil:
    """Without the quotes around it. What is escaped within stays so: no value that is looked at has anything to escape."""
    if text.length >= 2 and text.data[0] == c'"' and text.data[text.length - 1] == c'"':
        return text_of(text.data + 1, text.length - 2)
    return text


cdef uint32_t element_end(Text value, uint32_t place, uint8_t separator) noexcept nogil:
    """The place of the next separator outside quotes, or the end."""
    cdef bint quoted = False
    while place < value.length:
        if quoted and value.data[place] == c"\\" and place + 1 < value.length:
            place += 1
        elif value.data[place] == c'"':
            quoted = not quoted
        elif value.data[place] == separator and not quoted:
            break
        place += 1
    return place


cdef bint next_part(Text value, uint8_t separator, uint32_t* place, Text* part) noexcept nogil:
    cdef uint32_t end
    while place[0] < value.length:
        end = element_end(value, place[0], separator)
        part[0] = stripped(text_of(value.data + place[0], end - place[0]))
        place[0] = end + 1
        if part.length:
            return True
    return False


cdef bint next_element(Text value, uint32_t* place, Text* element) noexcept nogil:
    return next_part(value, c",", place, element)


cdef bint next_word(Text value, uint32_t* place, Text* word) noexcept nogil:
    cdef uint32_t start
    while place[0] < value.length and (is_blank(value.data[place[0]]) or value.data[place[0]] == c","):
        place[0] += 1
    start = place[0]
    while place[0] < value.length and not is_blank(value.data[place[0]]) and value.data[place[0]] != c",":
        place[0] += 1
    word[0] = text_of(value.data + start, place[0] - start)
    return word.length != 0


cdef void split_pair(Text pair, Text* name, Text* value, bint* has_value) noexcept nogil:
    """name=value, without white space and quotes around the value."""
    cdef const uint8_t* found = <const uint8_t*> memchr(pair.data, c"=", pair.length) if pair.length else NULL
    name[0] = pair
    value[0] = text_of(pair.data + pair.length, 0)
    has_value[0] = found != NULL
    if found != NULL:
        name[0] = stripped(text_of(pair.data, <uint32_t> (found - pair.data)))
        value[0] = unquoted(stripped(behind(pair, <uint32_t> (found - pair.data) + 1)))


# --- Cache-Control ---------------------------------------------------------------------------------------------------
cdef void directives_reset(Directives* directives) noexcept nogil:
    directives.flags = 0
    directives.count = 0
    directives.max_age = NOT_GIVEN
    directives.s_maxage = NOT_GIVEN
    directives.max_stale = NOT_GIVEN
    directives.min_fresh = NOT_GIVEN
    directives.stale_while_revalidate = NOT_GIVEN
    directives.stale_if_error = NOT_GIVEN


cdef int64_t parse_seconds(Text text) noexcept nogil:
    cdef int64_t seconds = 0
    cdef uint32_t i
    if text.length == 0:
        return NOT_GIVEN
    for i in range(text.length):
        if not 48 <= text.data[i] <= 57:
            return NOT_GIVEN
        if seconds < LONGEST_SECONDS:
            seconds = 10 * seconds + text.data[i] - 48
    return seconds if seconds < LONGEST_SECONDS else LONGEST_SECONDS


cdef inline void take_least(int64_t* known, Text value) noexcept nogil:
    cdef int64_t seconds = parse_seconds(value)
    if seconds == NOT_GIVEN:
        seconds = 0                                      # RFC 9111 §4.2.1: what cannot be read makes it stale
    if known[0] == NOT_GIVEN or seconds < known[0]:
        known[0] = seconds


cdef void take_max_stale(Directives* directives, Text value, bint has_value) noexcept nogil:
    cdef int64_t seconds = parse_seconds(value)
    if not has_value:
        directives.flags |= CONTROL_ANY_STALE
    elif seconds != NOT_GIVEN and (directives.max_stale == NOT_GIVEN or seconds < directives.max_stale):
        directives.max_stale = seconds


cdef void take_min_fresh(Directives* directives, Text value) noexcept nogil:
    cdef int64_t seconds = parse_seconds(value)
    if seconds > directives.min_fresh:
        directives.min_fresh = seconds


cdef uint32_t flag_of(Text name) noexcept nogil:
    if is_text(name.data, name.length, b"no-store", 8):
        return CONTROL_NO_STORE
    if is_text(name.data, name.length, b"no-cache", 8):  # also with names of fields: RFC 9111 §5.2.2.4 allows it
        return CONTROL_NO_CACHE
    if is_text(name.data, name.length, b"private", 7):
        return CONTROL_PRIVATE
    if is_text(name.data, name.length, b"public", 6):
        return CONTROL_PUBLIC
    if is_text(name.data, name.length, b"must-revalidate", 15):
        return CONTROL_MUST_REVALIDATE
    if is_text(name.data, name.length, b"proxy-revalidate", 16):
        return CONTROL_PROXY_REVALIDATE
    if is_text(name.data, name.length, b"must-understand", 15):
        return CONTROL_MUST_UNDERSTAND
    if is_text(name.data, name.length, b"only-if-cached", 14):
        return CONTROL_ONLY_IF_CACHED
    return 0


cdef void take_directive(Directives* directives, Text name, Text value, bint has_value) noexcept nogil:
    if is_text(name.data, name.length, b"max-age", 7):
        take_least(&directives.max_age, value)
    elif is_text(name.data, name.length, b"s-maxage", 8):
        take_least(&directives.s_maxage, value)
    elif is_text(name.data, name.length, b"max-stale", 9):
        take_max_stale(directives, value, has_value)
    elif is_text(name.data, name.length, b"min-fresh", 9):
        take_min_fresh(directives, value)
    elif is_text(name.data, name.length, b"stale-while-revalidate", 22):
        take_least(&directives.stale_while_revalidate, value)
    elif is_text(name.data, name.length, b"stale-if-error", 14):
        take_least(&directives.stale_if_error, value)
    else:
        directives.flags |= flag_of(name)


cdef void parse_cache_control(Text value, Directives* directives) noexcept nogil:
    cdef uint32_t place = 0
    cdef Text element, name, argument
    cdef bint has_value
    while next_element(value, &place, &element):
        split_pair(element, &name, &argument, &has_value)
        take_directive(directives, name, argument, has_value)
        directives.count += 1


# --- time ------------------------------------------------------------------------------------------------------------
cdef int64_t freshness_lifetime(const Directives* directives, int64_t expires, int64_t date, int64_t now) noexcept nogil:
    cdef int64_t seconds
    if directives.s_maxage != NOT_GIVEN:
        return directives.s_maxage
    if directives.max_age != NOT_GIVEN:
        return directives.max_age
    if expires == NOT_GIVEN:
        return NOT_GIVEN
    seconds = expires - (now if date == NOT_GIVEN else date)
    return 0 if seconds < 0 else (seconds if seconds < LONGEST_SECONDS else LONGEST_SECONDS)


cdef int64_t initial_age_ms(int64_t age, int64_t date, int64_t requested_ms, int64_t received_ms) noexcept nogil:
    cdef int64_t apparent = 0
    cdef int64_t corrected = received_ms - requested_ms  # the response's delay
    if corrected < 0:                                    # the clock was set back meanwhile
        corrected = 0
    if age != NOT_GIVEN:
        corrected += 1000 * age
    # a Date has whole seconds: it may have been made at the end of its second
    if date != NOT_GIVEN and received_ms > 1000 * (date + 1):
        apparent = received_ms - 1000 * (date + 1)
    return apparent if apparent > corrected else corrected


# --- Accept-Encoding -------------------------------------------------------------------------------------------------
cdef bint is_refused(Text parameters) noexcept nogil:
    """Whether there is a weight, and it is zero."""
    cdef uint32_t place = 0
    cdef uint32_t i
    cdef Text part, name, value
    cdef bint has_value
    while next_part(parameters, c";", &place, &part):
        split_pair(part, &name, &value, &has_value)
        if not is_text(name.data, name.length, b"q", 1) or not value.length:
            continue
        for i in range(value.length):
            if value.data[i] != c"0" and value.data[i] != c".":
                return False
        return True
    return False


cdef int compare_lower(Text one, Text other) noexcept nogil:
    cdef uint32_t shorter = one.length if one.length < other.length else other.length
    cdef uint32_t i
    cdef int difference
    for i in range(shorter):
        difference = <int> lower(one.data[i]) - <int> lower(other.data[i])
        if difference:
            return difference
    return <int> one.length - <int> other.length


cdef uint32_t put_lower(Text text, uint8_t* out) noexcept nogil:
    cdef uint32_t i
    for i in range(text.length):
        out[i] = lower(text.data[i])
    return text.length


cdef uint32_t write_codings(const Text* names, const bint* refused, uint32_t count, uint8_t* out) noexcept nogil:
    cdef uint32_t written = 0
    cdef uint32_t i
    for i in range(count):
        if i and compare_lower(names[i], names[i - 1]) == 0 and refused[i] == refused[i - 1]:
            continue
        if written:
            out[written] = c","
            written += 1
        if refused[i]:
            out[written] = c"-"
            written += 1
        written += put_lower(names[i], out + written)
    return written


cdef uint32_t normalise_codings(Text value, uint8_t* out) noexcept nogil:
    cdef Text[MAX_CODINGS] names
    cdef bint[MAX_CODINGS] refused
    cdef Text element, name
    cdef bint no
    cdef uint32_t count = 0
    cdef uint32_t place = 0
    cdef uint32_t semicolon, i
    while next_element(value, &place, &element):
        if count == MAX_CODINGS:
            memcpy(out, value.data, value.length)
            return value.length
        semicolon = element_end(element, 0, c";")
        name = stripped(text_of(element.data, semicolon))
        # "-x" is written for what is refused: a coding of that name could be taken for it. And "gzip;q=0" has room for it.
        no = semicolon < element.length and is_refused(behind(element, semicolon + 1))
        if name.length and name.data[0] == c"-":
            memcpy(out, value.data, value.length)
            return value.length
        i = count
        while i and compare_lower(name, names[i - 1]) < 0:
            names[i] = names[i - 1]
            refused[i] = refused[i - 1]
            i -= 1
        names[i] = name
        refused[i] = no
        count += 1
    return write_codings(names, refused, count, out)


# --- validators ------------------------------------------------------------------------------------------------------
cdef inline bint is_weak(Text tag) noexcept nogil:
    return tag.length >= 2 and tag.data[0] == c"W" and tag.data[1] == c"/"


cdef inline Text opaque(Text tag) noexcept nogil:
    return behind(tag, 2) if is_weak(tag) else tag


cdef inline bint is_same(Text one, Text other) noexcept nogil:
    return one.length == other.length and memcmp(one.data, other.data, one.length) == 0


cdef bint next_tag(Text tags, uint32_t* place, Text* tag) noexcept nogil:
    """Entity tags have no escapes, so they are not what next_element() takes for quoted."""
    cdef uint32_t start
    cdef const uint8_t* end
    while place[0] < tags.length and (is_blank(tags.data[place[0]]) or tags.data[place[0]] == c","):
        place[0] += 1
    start = place[0]
    if start == tags.length:
        return False
    if tags.data[start] == c"W" and tags.length - start > 2 and tags.data[start + 1] == c"/":
        place[0] += 2
    if tags.data[place[0]] == c'"':
        end = <const uint8_t*> memchr(tags.data + place[0] + 1, c'"', tags.length - place[0] - 1)
        place[0] = tags.length if end == NULL else <uint32_t> (end - tags.data) + 1
    else:
        while place[0] < tags.length and tags.data[place[0]] != c",":
            place[0] += 1
    tag[0] = stripped(text_of(tags.data + start, place[0] - start))
    return True


cdef bint tag_is_listed(Text tags, Text tag) noexcept nogil:
    cdef Text listed
    cdef uint32_t place = 0
    listed = stripped(tags)
    if listed.length == 1 and listed.data[0] == c"*":
        return True
    if tag.length == 0:
        return False
    while next_tag(tags, &place, &listed):
        if is_same(opaque(listed), opaque(tag)):
            return True
    return False


cdef bint tags_are_same(Text one, Text other) noexcept nogil:
    return one.length >= 2 and not is_weak(one) and one.data[0] == c'"' and is_same(one, other)


# --- ranges ----------------------------------------------------------------------------------------------------------
cdef bint read_position(Text digits, uint64_t* position) noexcept nogil:
    """False: it is no number. One that is too large for 64 bits is as good as the largest."""
    cdef uint64_t number = 0
    cdef uint32_t i
    if digits.length == 0:
        return False
    for i in range(digits.length):
        if not 48 <= digits.data[i] <= 57:
            return False
        number = 10 * number + digits.data[i] - 48 if number < 1000000000000000000ULL else number
    position[0] = number
    return True


cdef RangeResult suffix_range(Text digits, uint64_t size, uint64_t* offset, uint64_t* length) noexcept nogil:
    """-500: the last bytes."""
    cdef uint64_t count
    if not read_position(digits, &count):
        return RANGE_WHOLE
    if count == 0 or size == 0:
        return RANGE_NOT_SATISFIABLE
    length[0] = count if count < size else size
    offset[0] = size - length[0]
    return RANGE_PART


cdef RangeResult parse_range(Text value, uint64_t size, uint64_t* offset, uint64_t* length) noexcept nogil:
    cdef const uint8_t* dash
    cdef Text first, last, asked
    cdef uint64_t start
    cdef uint64_t end = size
    if value.length < 7 or not is_text(value.data, 6, b"bytes=", 6):
        return RANGE_WHOLE
    asked = stripped(behind(value, 6))
    dash = <const uint8_t*> memchr(asked.data, c"-", asked.length) if asked.length else NULL
    if dash == NULL or memchr(asked.data, c",", asked.length) != NULL:
        return RANGE_WHOLE
    first = stripped(text_of(asked.data, <uint32_t> (dash - asked.data)))
    last = stripped(behind(asked, <uint32_t> (dash - asked.data) + 1))
    if first.length == 0:
        return suffix_range(last, size, offset, length)
    if not read_position(first, &start) or (last.length and not read_position(last, &end)):
        return RANGE_WHOLE
    if last.length and end < start:
        return RANGE_WHOLE                               # RFC 9110 §14.1.1: it is invalid, and as if it were not there
    if start >= size:
        return RANGE_NOT_SATISFIABLE
    offset[0] = start
    length[0] = (end + 1 if last.length and end < size else size) - start
    return RANGE_PART


# --- media types -----------------------------------------------------------------------------------------------------
cdef bint is_media_type(Text name) noexcept nogil:
    cdef const uint8_t* slash = <const uint8_t*> memchr(name.data, c"/", name.length) if name.length else NULL
    return slash != NULL and slash != name.data and slash != name.data + name.length - 1 \
        and memchr(name.data, c" ", name.length) == NULL


cdef uint32_t canonical_type(Text value, uint8_t* out) noexcept nogil:
    cdef Text[MAX_MEDIA_PARAMETERS] names
    cdef Text[MAX_MEDIA_PARAMETERS] values
    cdef Text part, name, text
    cdef bint has_value
    cdef uint32_t count = 0
    cdef uint32_t written, i
    cdef uint32_t place = element_end(value, 0, c";")
    part = stripped(text_of(value.data, place))
    if part.length == 1 and part.data[0] == c"*":        # in Kong's configurations, any type
        part = text_of(b"*/*", 3)
    if value.length > MAX_MEDIA_TYPE or not is_media_type(part):
        return 0
    written = put_lower(part, out)
    place += 1
    while next_part(value, c";", &place, &part):
        split_pair(part, &name, &text, &has_value)
        if count == MAX_MEDIA_PARAMETERS:
            return 0
        i = count
        while i and compare_lower(name, names[i - 1]) < 0:
            names[i] = names[i - 1]
            values[i] = values[i - 1]
            i -= 1
        names[i] = name
        values[i] = text
        count += 1
    for i in range(count):
        if written + names[i].length + values[i].length + 2 > MAX_MEDIA_TYPE:
            return 0
        out[written] = c";"
        written += 1 + put_lower(names[i], out + written + 1)
        out[written] = c"="
        written += 1 + put_lower(values[i], out + written + 1)
    return written


cdef bint half_matches(Text pattern, Text half) noexcept nogil:
    return (pattern.length == 1 and pattern.data[0] == c"*") or is_same(pattern, half)


cdef void split_type(Text media_type, Text* major, Text* minor, Text* parameters) noexcept nogil:
    """A canonical one: there is a slash in it."""
    cdef uint32_t slash = <uint32_t> (<const uint8_t*> memchr(media_type.data, c"/", media_type.length)
                                      - media_type.data)
    cdef uint32_t end = element_end(media_type, 0, c";")
    major[0] = text_of(media_type.data, slash)
    minor[0] = text_of(media_type.data + slash + 1, end - slash - 1)
    parameters[0] = behind(media_type, end)


cdef bint type_matches(Text pattern, Text media_type) noexcept nogil:
    cdef Text[3] wanted
    cdef Text[3] given
    if pattern.length == 0 or media_type.length == 0:
        return False
    split_type(pattern, &wanted[0], &wanted[1], &wanted[2])
    split_type(media_type, &given[0], &given[1], &given[2])
    return half_matches(wanted[0], given[0]) and half_matches(wanted[1], given[1]) and is_same(wanted[2], given[2])
