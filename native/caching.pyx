"""See caching.pxd."""

from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from native.cache_image cimport FIRST_LEVEL_MS, MARK_ADDRESS, mark_tags, shared_cache_tell, shared_cache_void
from native.cache_key cimport address_of, hash_key, variant_key
from native.cache_store cimport (
    CacheStore,
    cache_append,
    cache_begin,
    cache_discard,
    cache_find,
    cache_mark,
    cache_mark_place,
    cache_publish,
    cache_sequence,
    cache_unpin,
)
from native.cached_answers cimport age_of, answer_with, outlives_error
from native.clock cimport wall_clock_ms
from native.connection cimport EXCHANGE_BACKGROUND, EXCHANGE_RECORDS, EXCHANGE_STORED, WorkerBlock
from native.crypto cimport hex_text
from native.fields cimport Head, find_field, set_own_field, text_of
from native.flights cimport flight_end
from native.plan cimport STEP_CONTINUE, STEP_RESPOND, exchange_memory, respond_error, response_head
from native.refreshing cimport confirm_entry
from native.stored_response cimport store_fields
from native.storing cimport may_be_stored, received_head
from native.text cimport NUMBER_TEXT, format_number

cdef extern from "<endian.h>" nogil:
    uint64_t htobe64(uint64_t number)

cdef enum:
    # How long nobody waits for a response like one that could not be stored, ms.
    BARRED_MS = 5000
    BARRED_AFTER_ERROR_MS = 1000


cdef inline WorkerBlock* counters(Exchange* exchange) noexcept nogil:
    return exchange.worker.block


cdef void count_outcome(Exchange* exchange, CacheUse* use) noexcept nogil:
    """Once for a request; what goes on behind clients' backs is no request."""
    if use.is_counted or exchange.flags & EXCHANGE_BACKGROUND:
        return
    use.is_counted = True
    if use.outcome == OUTCOME_HIT:
        counters(exchange).cache_hits += 1
    elif use.outcome == OUTCOME_BYPASS:
        counters(exchange).cache_bypasses += 1
    elif use.outcome != OUTCOME_UNTOLD:
        counters(exchange).cache_misses += 1


cdef void end_flight(Exchange* exchange, CacheUse* use, uint32_t barred_ms) noexcept nogil:
    if use.leads:
        use.leads = False
        flight_end(exchange.worker, use.flight, barred_ms)


# --- invalidation (RFC 9111 §4.4) ------------------------------------------------------------------------------------
# With Redis, voiding takes a moment. Meanwhile an entry without content says that what is there is not to be believed. Its full
# key begins like no other's: with an empty path.

cdef Text voided_key(Exchange* exchange, Text address) noexcept nogil:
    """Empty: memory is out."""
    cdef uint8_t* text = exchange_memory(exchange, address.length + 1)
    if text == NULL:
        return text_of(NULL, 0)
    text[0] = c"\n"
    memcpy(text + 1, address.data, address.length)
    return text_of(text, address.length + 1)


cdef void note_voided(Exchange* exchange, const CacheUse* use, Text address) noexcept nogil:
    cdef CacheStore* store = &exchange.worker.cache
    cdef Text full_key = voided_key(exchange, address)
    cdef Filling filling
    cdef EntryHead head
    cdef CacheKey key
    memset(&filling, 0, sizeof(filling))
    memset(&head, 0, sizeof(head))
    head.flags = ENTRY_NAMES
    head.status = 200
    head.stored_ms = wall_clock_ms()
    head.keep_until_ms = head.stored_ms + FIRST_LEVEL_MS
    hash_key(use.config, full_key, &key)
    if full_key.length and cache_begin(store, &filling, &key, full_key.data, full_key.length, cache_sequence(store)):
        cache_publish(store, &filling, &head)


cdef bint was_just_voided(Exchange* exchange, const CacheUse* use, int64_t now_ms) noexcept nogil:
    cdef Text full_key = voided_key(exchange, use.address)
    cdef StoredEntry entry
    cdef CacheKey key
    if full_key.length == 0:
        return True
    hash_key(use.config, full_key, &key)
    return cache_find(&exchange.worker.cache, &key, full_key.data, full_key.length, now_ms, &entry)


cdef void void_address(Exchange* exchange, const CacheUse* use, Text address) noexcept nogil:
    cdef CacheStore* store = &exchange.worker.cache
    if store.shard_count == 0:
        return
    cache_mark(store, cache_mark_place(store, MARK_ADDRESS, address.data, address.length))
    if use.config.is_shared:
        note_voided(exchange, use, address)
        shared_cache_void(exchange, use.plugin, address.data, address.length)


cdef void invalidate(Exchange* exchange, CacheUse* use) noexcept nogil:
    """An unsafe method has succeeded: what is stored at its address, and at those that it names, is void."""
    cdef Head head = received_head(exchange)
    cdef Text value, address
    if not 200 <= exchange.response.status < 400:
        return
    void_address(exchange, use, use.address)
    if find_field(&head, b"Location", 8, 0, &value) and address_of(exchange, use.config, value, &address):
        void_address(exchange, use, address)
    if find_field(&head, b"Content-Location", 16, 0, &value) and address_of(exchange, use.config, value, &address):
        void_address(exchange, use, address)


# --- storing ---------------------------------------------------------------------------------------------------------
cdef void begin_storing(Exchange* exchange, CacheUse* use) noexcept nogil:
    """Begin an entry for a response that may be stored. When there is no room, the client gets it all the same."""
    cdef CacheStore* store = &exchange.worker.cache
    cdef Head head = received_head(exchange)
    use.variant = use.full_key
    use.key = use.primary
    if use.names.length:
        if not variant_key(exchange, use.full_key, use.names, &use.variant):
            counters(exchange).cache_skipped += 1
            return
        hash_key(use.config, use.variant, &use.key)
    use.head.scope = use.config.scope
    use.head.marks[0] = cache_mark_place(store, MARK_ADDRESS, use.address.data, use.address.length)
    use.head.mark_count = 1
    if (exchange.response.has_content_length and exchange.response.content_length > store.longest) \
            or not mark_tags(store, head.base, &exchange.response, &use.head) \
            or not cache_begin(store, &use.filling, &use.key, use.variant.data, use.variant.length, use.sequence) \
            or not store_fields(exchange, &use.filling, &use.head, use.config.stores_cookies):
        counters(exchange).cache_skipped += 1
        end_flight(exchange, use, BARRED_MS)
        return
    exchange.flags |= EXCHANGE_RECORDS


cdef void tell_others(Exchange* exchange, CacheUse* use, const CacheKey* key, Text full_key) noexcept nogil:
    """Put what was just published into the Redis that nodes share."""
    cdef StoredEntry entry
    if use.config.is_shared and cache_find(&exchange.worker.cache, key, full_key.data, full_key.length,
                                           use.head.stored_ms, &entry):
        shared_cache_tell(exchange, use.plugin, &entry, full_key.data, full_key.length, use.keep_until_ms)


cdef uint16_t count_lines(Text names) noexcept nogil:
    cdef uint16_t count = 0
    cdef uint32_t i
    for i in range(names.length):
        count += names.data[i] == c"\n"
    return count


cdef void publish_names(Exchange* exchange, CacheUse* use) noexcept nogil:
    """The entry that says which fields the responses vary on, unless it is there and stays long enough."""
    cdef CacheStore* store = &exchange.worker.cache
    cdef Filling filling
    cdef EntryHead head
    if use.names.length == 0 or use.names_until_ms >= use.head.keep_until_ms:
        return
    head = use.head
    head.flags = ENTRY_NAMES
    head.status = 200
    head.field_count = 0
    head.mark_count = 1                                  # its address; tags are of the responses
    head.prelude_length = use.names.length
    head.last_modified = INT64_MIN
    head.vary_count = count_lines(use.names)
    memset(&filling, 0, sizeof(filling))
    if cache_begin(store, &filling, &use.primary, use.full_key.data, use.full_key.length, use.sequence) \
            and cache_append(store, &filling, use.names.data, use.names.length) \
            and cache_publish(store, &filling, &head):
        tell_others(exchange, use, &use.primary, use.full_key)


cdef bint publish(Exchange* exchange, CacheUse* use) noexcept nogil:
    if not cache_publish(&exchange.worker.cache, &use.filling, &use.head):
        counters(exchange).cache_skipped += 1
        return False
    counters(exchange).cache_stored += 1
    publish_names(exchange, use)
    tell_others(exchange, use, &use.key, use.variant)
    return True


# --- the upstream's response -----------------------------------------------------------------------------------------
cdef int answer_stale(Exchange* exchange, CacheUse* use) noexcept nogil:
    """In place of an error; STEP_CONTINUE when what is stored has gone."""
    if exchange.flags & EXCHANGE_BACKGROUND or answer_with(exchange, use) != STEP_RESPOND:
        return STEP_CONTINUE
    use.outcome = OUTCOME_HIT
    counters(exchange).cache_stale += 1
    count_outcome(exchange, use)
    end_flight(exchange, use, BARRED_AFTER_ERROR_MS)
    return STEP_RESPOND


cdef int answer_confirmed(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil:
    """304 to a question of the gateway's own: what is stored is good, and its fields are brought up to date."""
    counters(exchange).cache_revalidated += 1
    if confirm_entry(exchange, use, now_ms):
        publish_names(exchange, use)
        tell_others(exchange, use, &use.key, use.variant)
    end_flight(exchange, use, 0)
    if exchange.flags & EXCHANGE_BACKGROUND:
        return STEP_CONTINUE
    use.outcome = OUTCOME_REFRESH
    count_outcome(exchange, use)
    if answer_with(exchange, use) != STEP_RESPOND:
        return respond_error(exchange, 500, b"")         # memory is out; the client has not asked for a 304
    return STEP_RESPOND


cdef int look_at_response(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil:
    cdef uint16_t status = exchange.response.status
    if status == 304 and use.confirms:
        return answer_confirmed(exchange, use, now_ms)
    if status in (500, 502, 503, 504) and outlives_error(use, now_ms) and answer_stale(exchange, use) == STEP_RESPOND:
        return STEP_RESPOND
    if not may_be_stored(exchange, use, now_ms):
        use.outcome = OUTCOME_BYPASS
        end_flight(exchange, use, BARRED_AFTER_ERROR_MS if status >= 500 else BARRED_MS)
    elif use.fetches:
        begin_storing(exchange, use)
    count_outcome(exchange, use)
    return STEP_CONTINUE


cdef int cache_received(Exchange* exchange) noexcept nogil:
    cdef CacheUse* use = cache_use_of(exchange)
    if use.invalidates:
        invalidate(exchange, use)
    if use.fetches or use.outcome == OUTCOME_MISS:
        return look_at_response(exchange, use, wall_clock_ms())
    return STEP_CONTINUE


cdef void cache_body(Exchange* exchange, const void* data, uint64_t length) noexcept nogil:
    cdef CacheUse* use = cache_use_of(exchange)
    if length and not cache_append(&exchange.worker.cache, &use.filling, data, length):
        exchange.flags &= ~<uint32_t> EXCHANGE_RECORDS
        counters(exchange).cache_skipped += 1
        end_flight(exchange, use, BARRED_MS)


cdef void cache_complete(Exchange* exchange) noexcept nogil:
    cdef CacheUse* use = cache_use_of(exchange)
    exchange.flags &= ~<uint32_t> EXCHANGE_RECORDS
    publish(exchange, use)
    end_flight(exchange, use, 0)


cdef int cache_failed(Exchange* exchange) noexcept nogil:
    cdef CacheUse* use = cache_use_of(exchange)
    if not use.fetches:
        return STEP_CONTINUE
    if outlives_error(use, wall_clock_ms()) and answer_stale(exchange, use) == STEP_RESPOND:
        return STEP_RESPOND
    count_outcome(exchange, use)
    end_flight(exchange, use, BARRED_AFTER_ERROR_MS)
    return STEP_CONTINUE


cdef void cache_abandon(Exchange* exchange, bint finally_) noexcept nogil:
    cdef CacheUse* use = cache_use_of(exchange)
    if exchange.flags & EXCHANGE_RECORDS:
        exchange.flags &= ~<uint32_t> EXCHANGE_RECORDS
        cache_discard(&exchange.worker.cache, &use.filling)
    if not finally_:
        return
    end_flight(exchange, use, 0)
    if use.confirms:
        use.confirms = False
        cache_unpin(&exchange.worker.cache, &use.entry)


# --- what the client is told -----------------------------------------------------------------------------------------
cdef void tell_status(Head* head, uint8_t outcome) noexcept nogil:
    if outcome == OUTCOME_HIT:
        set_own_field(head, b"X-Cache-Status", 14, b"Hit", 3)
    elif outcome == OUTCOME_MISS:
        set_own_field(head, b"X-Cache-Status", 14, b"Miss", 4)
    elif outcome == OUTCOME_REFRESH:
        set_own_field(head, b"X-Cache-Status", 14, b"Refresh", 7)
    elif outcome == OUTCOME_BYPASS:
        set_own_field(head, b"X-Cache-Status", 14, b"Bypass", 6)


cdef void tell_key(Head* head, const CacheKey* key) noexcept nogil:
    cdef uint64_t[4] words
    cdef uint8_t[64] text
    cdef uint32_t i
    for i in range(4):
        words[i] = htobe64(key.words[i])
    hex_text(<const uint8_t*> words, 32, text)
    set_own_field(head, b"X-Cache-Key", 11, text, 64)


cdef void tell_age(Head* head, const CacheUse* use) noexcept nogil:
    cdef uint8_t[NUMBER_TEXT] text
    cdef uint64_t age = <uint64_t> (age_of(use, wall_clock_ms()) // 1000)
    set_own_field(head, b"Age", 3, text, format_number(age, text))


cdef void cache_tell(Exchange* exchange) noexcept nogil:
    cdef CacheUse* use = cache_use_of(exchange)
    cdef Head head = response_head(exchange)
    if is_answered_otherwise(exchange, use):
        use.outcome = OUTCOME_BYPASS
    if use.config.shows_status:
        tell_status(&head, use.outcome)
    if use.config.shows_key and use.has_key:
        tell_key(&head, &use.key)
    if use.config.shows_age and exchange.flags & EXCHANGE_STORED:
        tell_age(&head, use)
