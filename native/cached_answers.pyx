"""See cached_answers.pxd."""

from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from native.cache_control cimport (
    CONTROL_ANY_STALE,
    NOT_GIVEN,
    RANGE_NOT_SATISFIABLE,
    RANGE_PART,
    RANGE_WHOLE,
    RangeResult,
    parse_range,
    tag_is_listed,
    tags_are_same,
)
from native.cache_key cimport hash_key, variant_key
from native.cache_store cimport CacheStore, cache_find, cache_pin, cache_read
from native.caching cimport ENTRY_HAS_TAG, ENTRY_NAMES, ENTRY_NEVER_STALE, ENTRY_PUBLIC, ENTRY_STALE_IF_SAID
from native.fields cimport Head, find_field, remove_field, set_own_field, text_of
from native.http1 cimport METHOD_GET
from native.http_date cimport parse_http_date
from native.plan cimport (
    STEP_CONTINUE,
    STEP_RESPOND,
    exchange_copy,
    exchange_memory,
    request_head,
    respond_body,
    response_head,
)
from native.stored_response cimport respond_stored, stored_field
from native.text cimport NUMBER_TEXT, format_number

cdef enum:
    LONGEST_NAMES = 4096         # bytes of an entry that is only names


# --- finding ---------------------------------------------------------------------------------------------------------
cdef bint follow_names(Exchange* exchange, CacheUse* use) noexcept nogil:
    """From the entry that names the fields to the key of the variant. False: there is none for this request."""
    cdef uint32_t length = use.entry.head.prelude_length
    cdef uint8_t* names
    if length > LONGEST_NAMES:
        return False
    names = exchange_memory(exchange, length)
    if names == NULL or not cache_read(&exchange.worker.cache, &use.entry, 0, names, length):
        return False
    use.names = text_of(names, length)
    use.names_until_ms = use.entry.head.keep_until_ms
    if not variant_key(exchange, use.full_key, use.names, &use.variant):
        return False
    hash_key(use.config, use.variant, &use.key)
    return True


cdef bint find_entry(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil:
    cdef CacheStore* store = &exchange.worker.cache
    use.variant = use.full_key
    use.key = use.primary
    use.names = text_of(NULL, 0)
    use.names_until_ms = 0
    if store.shard_count == 0 \
            or not cache_find(store, &use.primary, use.full_key.data, use.full_key.length, now_ms, &use.entry):
        return False
    if use.entry.head.flags & ENTRY_NAMES and not (
            follow_names(exchange, use)
            and cache_find(store, &use.key, use.variant.data, use.variant.length, now_ms, &use.entry)
            and not use.entry.head.flags & ENTRY_NAMES):
        return False
    return not use.public_only or use.entry.head.flags & ENTRY_PUBLIC


# --- judging ---------------------------------------------------------------------------------------------------------
cdef int64_t age_of(const CacheUse* use, int64_t now_ms) noexcept nogil:
    cdef int64_t age = use.entry.head.initial_age_ms + now_ms - use.entry.head.stored_ms
    return age if age > 0 else 0                         # the clock was set back


cdef EntryUse judge_entry(const CacheUse* use, int64_t now_ms) noexcept nogil:
    cdef int64_t left = use.entry.head.fresh_until_ms - now_ms
    if not use.config.obeys_control:
        # nor longer than the configuration says now: it may have said more when it was stored
        return USE_AS_IT_IS if left > 0 and age_of(use, now_ms) < 1000 * <int64_t> use.config.cache_ttl else USE_NOT
    if use.request.max_age != NOT_GIVEN and age_of(use, now_ms) // 1000 > use.request.max_age:
        return USE_NOT
    if use.request.min_fresh != NOT_GIVEN and (left <= 0 or left < 1000 * use.request.min_fresh):
        return USE_NOT
    if left > 0:
        return USE_AS_IT_IS
    if use.entry.head.flags & ENTRY_NEVER_STALE:
        return USE_NOT
    if not use.entry.head.flags & ENTRY_STALE_IF_SAID and (
            use.request.flags & CONTROL_ANY_STALE or -left <= 1000 * use.request.max_stale):
        return USE_STALE
    return USE_AND_REFRESH if now_ms < use.entry.head.stale_while_revalidate_ms else USE_NOT


cdef bint outlives_error(const CacheUse* use, int64_t now_ms) noexcept nogil:
    if not use.has_entry or not use.config.obeys_control or use.entry.head.flags & ENTRY_NEVER_STALE:
        return False
    if now_ms < use.entry.head.stale_if_error_ms:
        return True
    return use.request.stale_if_error != NOT_GIVEN and not use.entry.head.flags & ENTRY_STALE_IF_SAID \
        and now_ms < use.entry.head.fresh_until_ms + 1000 * use.request.stale_if_error


# --- answering -------------------------------------------------------------------------------------------------------
cdef bint asks_for_whole(Exchange* exchange) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef Text ignored
    return not (find_field(&head, b"Range", 5, 0, &ignored)
                or find_field(&head, b"If-None-Match", 13, 0, &ignored)
                or find_field(&head, b"If-Modified-Since", 17, 0, &ignored)
                or find_field(&head, b"If-Match", 8, 0, &ignored)
                or find_field(&head, b"If-Unmodified-Since", 19, 0, &ignored))


cdef bint is_not_modified_since(const CacheUse* use, Text date) noexcept nogil:
    cdef int64_t since = parse_http_date(date)
    return since != -1 and use.entry.head.last_modified != INT64_MIN and use.entry.head.last_modified <= since


cdef bint still_has_it(Exchange* exchange, const CacheUse* use) noexcept nogil:
    """The same for conditions that were taken."""
    cdef Text tag = text_of(NULL, 0)
    if use.if_none_match.length == 0:
        return is_not_modified_since(use, use.if_modified_since)
    if use.entry.head.flags & ENTRY_HAS_TAG and not stored_field(exchange, &use.entry, b"ETag", 4, &tag):
        return False
    return tag_is_listed(use.if_none_match, tag)


cdef bint is_not_modified(Exchange* exchange, const CacheUse* use, const Head* head) noexcept nogil:
    """Whether the client has what is stored already. If-None-Match goes before If-Modified-Since (RFC 9110 §13.2.2)."""
    cdef Text asked
    cdef Text tag = text_of(NULL, 0)
    cdef uint32_t nth = 0
    if find_field(head, b"If-None-Match", 13, 0, &asked):
        if use.entry.head.flags & ENTRY_HAS_TAG and not stored_field(exchange, &use.entry, b"ETag", 4, &tag):
            return False
        while find_field(head, b"If-None-Match", 13, nth, &asked):
            if tag_is_listed(asked, tag):
                return True
            nth += 1
        return False
    return find_field(head, b"If-Modified-Since", 17, 0, &asked) and is_not_modified_since(use, asked)


cdef bint range_holds(Exchange* exchange, const CacheUse* use, const Head* head) noexcept nogil:
    """If-Range: whether the part is of what the client has the rest of."""
    cdef Text condition, tag
    if not find_field(head, b"If-Range", 8, 0, &condition):
        return True
    if condition.length and (condition.data[0] == c'"' or condition.data[0] == c"W"):
        return use.entry.head.flags & ENTRY_HAS_TAG and stored_field(exchange, &use.entry, b"ETag", 4, &tag) \
            and tags_are_same(condition, tag)
    return use.entry.head.last_modified != INT64_MIN and parse_http_date(condition) == use.entry.head.last_modified


cdef RangeResult find_range(Exchange* exchange, const CacheUse* use, const Head* head, uint64_t* offset,
                            uint64_t* length) noexcept nogil:
    cdef Text asked, second
    if use.entry.head.status != 200 or not find_field(head, b"Range", 5, 0, &asked) \
            or find_field(head, b"Range", 5, 1, &second) or not range_holds(exchange, use, head):
        return RANGE_WHOLE
    return parse_range(asked, use.entry.head.body_length, offset, length)


cdef void set_content_range(Exchange* exchange, uint64_t offset, uint64_t length, uint64_t size) noexcept nogil:
    """bytes 0-99/1234; without a length: bytes */1234"""
    cdef Head head = response_head(exchange)
    cdef uint8_t[3 * NUMBER_TEXT + 16] text
    cdef uint32_t end = 6
    memcpy(text, <const char*> b"bytes ", 6)
    if length:
        end += format_number(offset, text + end)
        text[end] = c"-"
        end += 1
        end += format_number(offset + length - 1, text + end)
    else:
        text[end] = c"*"
        end += 1
    text[end] = c"/"
    end += 1
    end += format_number(size, text + end)
    set_own_field(&head, b"Content-Range", 13, text, end)


cdef int answer_part(Exchange* exchange, CacheUse* use, uint64_t offset, uint64_t length) noexcept nogil:
    cdef Head head = response_head(exchange)
    set_content_range(exchange, offset, length, use.entry.head.body_length)
    if respond_stored(exchange, &use.entry, 206, offset, length) == STEP_RESPOND:
        return STEP_RESPOND
    remove_field(&head, b"Content-Range", 13)            # the upstream will answer, and otherwise
    return STEP_CONTINUE


cdef int answer_with(Exchange* exchange, CacheUse* use) noexcept nogil:
    cdef Head head
    cdef RangeResult result
    cdef uint64_t offset = 0
    cdef uint64_t length = 0
    if use.has_taken and use.entry.head.status < 300 and still_has_it(exchange, use):
        return respond_stored(exchange, &use.entry, 304, 0, 0)
    if use.is_whole or exchange.request.method != METHOD_GET:
        return respond_stored(exchange, &use.entry, use.entry.head.status, 0, use.entry.head.body_length)
    head = request_head(exchange)
    if use.entry.head.status < 300 and is_not_modified(exchange, use, &head):
        return respond_stored(exchange, &use.entry, 304, 0, 0)
    result = find_range(exchange, use, &head, &offset, &length)
    if result == RANGE_PART:
        return answer_part(exchange, use, offset, length)
    if result == RANGE_NOT_SATISFIABLE:
        set_content_range(exchange, 0, 0, use.entry.head.body_length)
        return respond_body(exchange, 416, text_of(NULL, 0), text_of(b"", 0))
    return respond_stored(exchange, &use.entry, use.entry.head.status, 0, use.entry.head.body_length)


# --- conditions ------------------------------------------------------------------------------------------------------
cdef void ask_for_whole(Exchange* exchange, CacheUse* use) noexcept nogil:
    cdef Head head = request_head(exchange)
    if not use.is_whole:
        remove_field(&head, b"Range", 5)
        remove_field(&head, b"If-Range", 8)
        remove_field(&head, b"If-None-Match", 13)
        remove_field(&head, b"If-Modified-Since", 17)
        remove_field(&head, b"If-Match", 8)
        remove_field(&head, b"If-Unmodified-Since", 19)
        use.is_whole = True


cdef void take_conditions(Exchange* exchange, CacheUse* use) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef Text value
    if use.is_whole or not use.config.obeys_control or exchange.request.method != METHOD_GET \
            or use.entry.head.status != 200 or find_field(&head, b"Range", 5, 0, &value) \
            or find_field(&head, b"If-Match", 8, 0, &value) or find_field(&head, b"If-Unmodified-Since", 19, 0, &value) \
            or find_field(&head, b"If-None-Match", 13, 1, &value) or not is_not_modified(exchange, use, &head):
        return
    # copied: the request is parked, perhaps
    if find_field(&head, b"If-None-Match", 13, 0, &value):
        use.if_none_match = exchange_copy(exchange, value.data, value.length)
    if find_field(&head, b"If-Modified-Since", 17, 0, &value):
        use.if_modified_since = exchange_copy(exchange, value.data, value.length)
    use.has_taken = True
    ask_for_whole(exchange, use)


# --- confirming ------------------------------------------------------------------------------------------------------
cdef void ask_to_confirm(Exchange* exchange, CacheUse* use) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef Text tag, modified
    cdef bint has_tag, has_date
    if not use.is_whole or not use.config.obeys_control or use.entry.head.status != 200:
        return
    has_tag = use.entry.head.flags & ENTRY_HAS_TAG and stored_field(exchange, &use.entry, b"ETag", 4, &tag)
    has_date = use.entry.head.last_modified != INT64_MIN \
        and stored_field(exchange, &use.entry, b"Last-Modified", 13, &modified)
    if not (has_tag or has_date) or not cache_pin(&exchange.worker.cache, &use.entry):
        return
    use.confirms = True
    if has_tag:
        set_own_field(&head, b"If-None-Match", 13, tag.data, tag.length)
    if has_date:
        set_own_field(&head, b"If-Modified-Since", 17, modified.data, modified.length)
