"""See storing.pxd."""

from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint16_t, uint32_t
from libc.string cimport memset

from native.cache_control cimport (
    CONTROL_MUST_REVALIDATE,
    CONTROL_NO_CACHE,
    CONTROL_NO_STORE,
    CONTROL_PRIVATE,
    CONTROL_PROXY_REVALIDATE,
    CONTROL_PUBLIC,
    MAX_MEDIA_TYPE,
    NOT_GIVEN,
    Directives,
    canonical_type,
    directives_reset,
    freshness_lifetime,
    initial_age_ms,
    next_element,
    parse_cache_control,
    parse_seconds,
    type_matches,
)
from native.cache_image cimport FIRST_LEVEL_MS
from native.cache_key cimport add_vary_names
from native.caching cimport ENTRY_HAS_TAG, ENTRY_NEVER_STALE, ENTRY_PUBLIC, ENTRY_STALE_IF_SAID, CacheConfig
from native.fields cimport FieldEdits, Text, count_fields, find_field, find_known_field, text_of
from native.headers cimport HEADER_CONTENT_TYPE, HEADER_DATE
from native.http1 cimport BODY_UNTIL_CLOSE
from native.http_date cimport parse_http_date
from native.packed cimport PackedText, packed_text

cdef enum:
    # A stale response with validators is kept so long, or as long as it was fresh, so that it can be confirmed.
    KEPT_TO_CONFIRM_MS = 600000

cdef FieldEdits NO_EDITS
memset(&NO_EDITS, 0, sizeof(NO_EDITS))


cdef Head received_head(Exchange* exchange) noexcept nogil:
    cdef Head head
    head.base = &exchange.upstream.input.data[0] + exchange.upstream.input.start
    head.fields = exchange.response.headers
    head.count = exchange.response.header_count
    head.edits = &NO_EDITS                               # what plugins add to the answer is not the upstream's
    head.stock = &exchange.worker.buffers
    return head


# --- Kong's rules ----------------------------------------------------------------------------------------------------
cdef bint is_stored_status(const CacheConfig* config, uint16_t status) noexcept nogil:
    cdef const uint16_t* statuses = <const uint16_t*> (<const uint8_t*> config + config.status_offset)
    cdef uint32_t i
    # parts of responses, and answers to the conditions of one client: whatever is configured
    if status < 200 or status in (206, 304, 412, 416):
        return False
    for i in range(config.status_count):
        if statuses[i] == status:
            return True
    return False


cdef bint is_stored_type(const CacheConfig* config, const Head* head) noexcept nogil:
    cdef const PackedText* patterns = <const PackedText*> (<const uint8_t*> config + config.media_type_offset)
    cdef uint8_t[MAX_MEDIA_TYPE] canonical
    cdef Text value
    cdef uint32_t i
    if count_fields(head, b"Content-Type", 12) != 1 or not find_known_field(head, HEADER_CONTENT_TYPE, &value):
        return False
    value = text_of(canonical, canonical_type(value, canonical))
    for i in range(config.media_type_count):
        if type_matches(packed_text(config, patterns[i]), value):
            return True
    return False


cdef inline bint has_field(const Head* head, const char* name, uint32_t length) noexcept nogil:
    cdef Text ignored
    return find_field(head, name, length, 0, &ignored)


cdef bint find_names(Exchange* exchange, CacheUse* use, const Head* head) noexcept nogil:
    cdef Text vary
    cdef uint32_t nth = 0
    while find_field(head, b"Vary", 4, nth, &vary):
        if not add_vary_names(exchange, vary, not use.config.obeys_control, &use.names):
            return False
        nth += 1
    return True


# --- RFC 9111 --------------------------------------------------------------------------------------------------------
cdef void read_control(const Head* head, Directives* directives) noexcept nogil:
    cdef Text value
    cdef uint32_t nth = 0
    directives_reset(directives)
    while find_field(head, b"Cache-Control", 13, nth, &value):
        parse_cache_control(value, directives)
        nth += 1


cdef int64_t read_expires(const Head* head) noexcept nogil:
    """Of several the earliest; one that is no date, such as "0", is in the past."""
    cdef int64_t earliest = NOT_GIVEN
    cdef int64_t found
    cdef Text value
    cdef uint32_t nth = 0
    while find_field(head, b"Expires", 7, nth, &value):
        found = parse_http_date(value)
        if found == -1:
            found = 0
        if earliest == NOT_GIVEN or found < earliest:
            earliest = found
        nth += 1
    return earliest


cdef int64_t read_date(const Head* head) noexcept nogil:
    cdef Text value
    return parse_http_date(value) if find_known_field(head, HEADER_DATE, &value) else NOT_GIVEN


cdef int64_t read_age(const Head* head) noexcept nogil:
    """Of a list the first (RFC 9111 §5.1)."""
    cdef Text value
    cdef Text first
    cdef uint32_t place = 0
    return parse_seconds(first) if find_field(head, b"Age", 3, 0, &value) and next_element(value, &place, &first) \
        else NOT_GIVEN


cdef bint is_allowed(CacheUse* use, const Directives* control) noexcept nogil:
    if control.flags & (CONTROL_NO_STORE | CONTROL_NO_CACHE | CONTROL_PRIVATE):
        return False
    if control.flags & (CONTROL_PUBLIC | CONTROL_MUST_REVALIDATE) or control.s_maxage != NOT_GIVEN:
        use.head.flags |= ENTRY_PUBLIC
    return not use.public_only or use.head.flags & ENTRY_PUBLIC


cdef void set_stale_times(CacheUse* use, const Directives* control) noexcept nogil:
    """What is stale may be used under RFC 5861; but not what must be revalidated. With s-maxage, which means
    proxy-revalidate, only where the response says both."""
    use.head.stale_while_revalidate_ms = use.head.stale_if_error_ms = use.head.fresh_until_ms
    if control.flags & (CONTROL_MUST_REVALIDATE | CONTROL_PROXY_REVALIDATE):
        use.head.flags |= ENTRY_NEVER_STALE
        return
    if control.s_maxage != NOT_GIVEN:
        use.head.flags |= ENTRY_STALE_IF_SAID
    if control.stale_while_revalidate != NOT_GIVEN:
        use.head.stale_while_revalidate_ms += 1000 * control.stale_while_revalidate
    if control.stale_if_error != NOT_GIVEN:
        use.head.stale_if_error_ms += 1000 * control.stale_if_error


cdef int64_t later(int64_t one, int64_t other) noexcept nogil:
    return one if one > other else other


cdef void set_validators(CacheUse* use, const Head* head) noexcept nogil:
    cdef Text value
    cdef int64_t modified = -1
    if find_field(head, b"Last-Modified", 13, 0, &value):
        modified = parse_http_date(value)
    use.head.last_modified = INT64_MIN if modified == -1 else modified
    if has_field(head, b"ETag", 4):
        use.head.flags |= ENTRY_HAS_TAG


cdef bint set_controlled_times(CacheUse* use, const Head* response, int64_t now_ms) noexcept nogil:
    cdef Directives control
    cdef int64_t date = read_date(response)
    cdef int64_t seconds, kept
    read_control(response, &control)
    seconds = freshness_lifetime(&control, read_expires(response), date, now_ms // 1000)
    if not is_allowed(use, &control) or seconds == NOT_GIVEN:
        return False
    use.head.initial_age_ms = initial_age_ms(read_age(response), date, use.requested_ms, now_ms)
    use.head.fresh_until_ms = now_ms + 1000 * seconds - use.head.initial_age_ms
    if use.head.fresh_until_ms <= now_ms:
        return False
    set_stale_times(use, &control)
    kept = later(use.head.stale_while_revalidate_ms, use.head.stale_if_error_ms)
    if use.config.storage_ttl:
        kept = later(kept, now_ms + 1000 * <int64_t> use.config.storage_ttl)
    elif use.head.flags & ENTRY_HAS_TAG or use.head.last_modified != INT64_MIN:
        kept = later(kept, use.head.fresh_until_ms + later(KEPT_TO_CONFIRM_MS, 1000 * seconds))
    use.keep_until_ms = kept
    return True


cdef bint set_times(CacheUse* use, const Head* response, int64_t now_ms) noexcept nogil:
    use.head.stored_ms = now_ms
    use.head.flags = 0
    use.head.initial_age_ms = 0
    set_validators(use, response)
    if use.config.obeys_control:
        if not set_controlled_times(use, response, now_ms):
            return False
    else:
        use.head.fresh_until_ms = now_ms + 1000 * <int64_t> use.config.cache_ttl
        use.head.stale_while_revalidate_ms = use.head.stale_if_error_ms = use.head.fresh_until_ms
        use.keep_until_ms = use.head.fresh_until_ms
        if use.config.storage_ttl:
            use.keep_until_ms = now_ms + 1000 * <int64_t> use.config.storage_ttl
    use.head.keep_until_ms = use.keep_until_ms
    if use.config.is_shared and use.keep_until_ms > now_ms + FIRST_LEVEL_MS:
        use.head.keep_until_ms = now_ms + FIRST_LEVEL_MS
    return True


cdef bint may_be_stored(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil:
    cdef Head head = received_head(exchange)
    if not is_stored_status(use.config, exchange.response.status) or not is_stored_type(use.config, &head) \
            or has_field(&head, b"Content-Range", 13):
        return False
    if exchange.response_body == BODY_UNTIL_CLOSE:       # its end looks the same when it was cut off
        return False
    if not use.config.stores_cookies and (has_field(&head, b"Set-Cookie", 10) or has_field(&head, b"Set-Cookie2", 11)):
        return False
    memset(&use.head, 0, sizeof(use.head))
    return set_times(use, &head, now_ms) and find_names(exchange, use, &head)
