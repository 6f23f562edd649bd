# For Python: plugins' configurations, unit tests; included by cache_control.pyx.


cdef inline Text text_in(bytes octets):
    return text_of(<const char*> octets, <uint32_t> len(octets))


def canonical_media_type(value: bytes) -> bytes:
    """canonical_type(); empty: it is none."""
    cdef uint8_t[MAX_MEDIA_TYPE] out
    cdef uint32_t length = canonical_type(text_in(value), out)
    return (<const char*> out)[:length]


def media_type_matches(pattern: bytes, value: bytes) -> bool:
    """type_matches(), of types that are not canonical yet."""
    one, other = canonical_media_type(pattern), canonical_media_type(value)
    return type_matches(text_in(one), text_in(other))


def cache_directives(*values: bytes) -> dict[str, int]:
    """parse_cache_control() of some fields: flags, and what is given of the others."""
    cdef Directives found
    directives_reset(&found)
    for value in values:
        parse_cache_control(text_in(value), &found)
    seconds = {"max_age": found.max_age, "s_maxage": found.s_maxage, "max_stale": found.max_stale,
               "min_fresh": found.min_fresh, "stale_while_revalidate": found.stale_while_revalidate,
               "stale_if_error": found.stale_if_error}
    given = {name: value for name, value in seconds.items() if value != NOT_GIVEN}
    return {"flags": found.flags, **given}


def lifetime_of(value: bytes, expires: int = -1, date: int = -1, now: int = 0) -> int:
    """freshness_lifetime() of a response with this Cache-Control."""
    cdef Directives found
    directives_reset(&found)
    parse_cache_control(text_in(value), &found)
    return freshness_lifetime(&found, expires, date, now)


def age_ms_of(age: int, date: int, requested_ms: int, received_ms: int) -> int:
    """initial_age_ms()."""
    return initial_age_ms(age, date, requested_ms, received_ms)


def seconds_of(text: bytes) -> int:
    """parse_seconds()."""
    return parse_seconds(text_in(text))


def list_elements(value: bytes) -> list[bytes]:
    """All that next_element() finds."""
    cdef uint32_t place = 0
    cdef Text element
    found = []
    while next_element(text_in(value), &place, &element):
        found.append(element.data[:element.length])
    return found


def list_words(value: bytes) -> list[bytes]:
    """All that next_word() finds."""
    cdef uint32_t place = 0
    cdef Text word
    found = []
    while next_word(text_in(value), &place, &word):
        found.append(word.data[:word.length])
    return found


def normalised_codings(value: bytes) -> bytes:
    """normalise_codings()."""
    out = bytearray(len(value) + 1)
    cdef uint8_t[:] room = out
    cdef uint32_t length = normalise_codings(text_in(value), &room[0])
    return bytes(out[:length])


def tag_listed(tags: bytes, tag: bytes) -> bool:
    """tag_is_listed()."""
    return tag_is_listed(text_in(tags), text_in(tag))


def tags_same(one: bytes, other: bytes) -> bool:
    """tags_are_same()."""
    return tags_are_same(text_in(one), text_in(other))


def byte_range(value: bytes, size: int) -> tuple[int, int, int]:
    """parse_range(): (RangeResult, offset, length)."""
    cdef uint64_t offset = 0
    cdef uint64_t length = 0
    cdef RangeResult result = parse_range(text_in(value), size, &offset, &length)
    return int(result), offset, length
