"""proxy-cache, response-caching: responses are stored, and later requests answered with them
(gateway/plugins/_caching.py). What happens when the upstream has answered is in native/caching.pyx.

    access   make the key ─► look ─┬─ found and good ─► answer
                                   ├─ strategy redis: ask, park ─► look again
                                   └─ another request fetches it: park ─► look again, or fetch
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memset

from native.cache_control cimport (
    CONTROL_NO_CACHE,
    CONTROL_NO_STORE,
    CONTROL_ONLY_IF_CACHED,
    Directives,
    directives_reset,
    parse_cache_control,
)
from native.cache_image cimport (
    MARK_ADDRESS,
    SHARED_DOWN,
    SHARED_FOUND,
    SharedCacheAnswer,
    shared_cache_answer,
    shared_cache_ask,
)
from native.cache_key cimport KEY_NONE, KEY_PUBLIC_ONLY, KeySafety, build_key, hash_key
from native.cache_store cimport cache_mark_place, cache_sequence
from native.cached_answers cimport (
    USE_AND_REFRESH,
    USE_AS_IT_IS,
    USE_NOT,
    EntryUse,
    answer_with,
    ask_for_whole,
    ask_to_confirm,
    asks_for_whole,
    find_entry,
    judge_entry,
    take_conditions,
)
from native.caching cimport (
    OUTCOME_BYPASS,
    OUTCOME_HIT,
    OUTCOME_MISS,
    OUTCOME_REFRESH,
    STAGE_ASKING,
    STAGE_LOOKING,
    STAGE_WAITING,
    CacheConfig,
    CacheUse,
    cache_tell,
    cache_use_of,
    count_outcome,
    end_flight,
    is_answered_otherwise,
    was_just_voided,
)
from native.clock cimport wall_clock_ms
from native.connection cimport EXCHANGE_REFRESH, Exchange
from native.fields cimport Head, Text, find_field, same_text
from native.flights cimport FLIGHT_LEADS, FLIGHT_WAITS, FlightRole, flight_join
from native.hashing cimport xxh3_128, xxh64
from native.http1 cimport (
    BODY_LENGTH,
    BODY_NONE,
    METHOD_DELETE,
    METHOD_GET,
    METHOD_HEAD,
    METHOD_OTHER,
    METHOD_PATCH,
    METHOD_POST,
    METHOD_PUT,
)
from native.packed cimport PackedText, Packer
from native.plan cimport (
    STEP_CONTINUE,
    STEP_PARK,
    STEP_RESPOND,
    StepFunctions,
    exchange_memory,
    register_step,
    request_head,
    request_method,
    respond_error,
    step_config,
)
from native.snapshot cimport PluginRecord

cdef enum:
    MOST_QUESTIONS = 4           # of one request to Redis: for the key, and for the variant that it may name

METHOD_NAMES = {"GET": 1, "HEAD": 2, "POST": 3, "PUT": 4, "PATCH": 9}
"""Method of http1.pxd"""


def pack_config(*, str scope, list statuses, list methods, list media_types, int cache_ttl, int storage_ttl,
                list arguments, list headers, bint cache_control, bint ignore_case, bint shared, bint show_age,
                bint show_status, bint show_key, bint with_cookies, bint ignore_cookies, int coalesce_ms) -> bytes:
    """`scope`: the plugin's id; `statuses` and `headers` (lower case) sorted; seconds, but for `coalesce_ms`."""
    cdef CacheConfig config
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(CacheConfig))
    octets = scope.encode()
    config.scope = xxh64(<const char*> octets, <size_t> len(octets), 0)
    xxh3_128(<const char*> octets, <uint64_t> len(octets), 0, config.seeds)
    rules = repr((arguments, headers, cache_control, ignore_case, with_cookies, ignore_cookies)).encode()
    fingerprint = octets + f" {xxh64(<const char*> rules, <size_t> len(rules), 0):016x}".encode()
    config.fingerprint = packer.octets(fingerprint)
    config.key_room = <uint32_t> (len(fingerprint) + sum(len(name) + 8 for name in headers))
    config.status_offset = packer.array(b"".join((<uint16_t> status).to_bytes(2, "little") for status in statuses))
    config.status_count = <uint32_t> len(statuses)
    for method in methods:
        config.methods |= 1 << <uint32_t> METHOD_NAMES[method]
    config.media_type_offset, config.media_type_count = pack_texts(packer, media_types)
    config.argument_offset, config.argument_count = pack_texts(packer, arguments)
    config.header_offset, config.header_count = pack_texts(packer, headers)
    config.cache_ttl = <uint32_t> cache_ttl
    config.storage_ttl = <uint32_t> storage_ttl
    config.coalesce_ms = <uint32_t> coalesce_ms
    config.obeys_control = cache_control
    config.ignores_case = ignore_case
    config.is_shared = shared
    config.shows_age = show_age
    config.shows_status = show_status
    config.shows_key = show_key
    config.stores_cookies = with_cookies
    config.ignores_cookies = ignore_cookies
    return packer.finish(&config)


cdef tuple pack_texts(Packer packer, list texts):
    cdef PackedText place
    places = b""
    for text in texts:
        place = packer.octets(text)
        places += (<const char*> &place)[:sizeof(place)]
    return packer.array(places), len(texts)


# --- fetching --------------------------------------------------------------------------------------------------------
cdef int fetch(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil:
    """The upstream is asked; its response is stored, if it may be."""
    use.outcome = OUTCOME_MISS
    if use.has_entry:
        # Kong's Refresh is for what was kept by storage_ttl, or what this client finds too old
        if use.config.storage_ttl or use.entry.head.fresh_until_ms > now_ms:
            use.outcome = OUTCOME_REFRESH
        ask_to_confirm(exchange, use)
    use.fetches = True
    use.requested_ms = now_ms
    return STEP_CONTINUE


cdef inline uint64_t flight_of(const CacheUse* use) noexcept nogil:
    """Requests that only public responses are for do not lead others, who are content with more."""
    return (use.key.words[0] ^ (0 - <uint64_t> use.public_only)) | 1


cdef int fetch_or_wait(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil:
    """Of several requests for the same thing one goes on."""
    cdef FlightRole role
    if use.config.coalesce_ms == 0 or not use.is_whole or use.leads or exchange.worker.cache.shard_count == 0:
        return fetch(exchange, use, now_ms)
    use.flight = flight_of(use)
    role = flight_join(exchange, use.flight, use.deadline_ms)
    if role == FLIGHT_WAITS:
        use.stage = STAGE_WAITING
        return STEP_PARK
    if role == FLIGHT_LEADS:
        use.leads = True
        # whoever led before may have stored it since this request has looked
        return look(exchange, use)
    return fetch(exchange, use, now_ms)


cdef int not_found(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil:
    if use.request.flags & CONTROL_ONLY_IF_CACHED:
        return respond_error(exchange, 504, b"")         # RFC 9111 §5.2.1.7
    return fetch_or_wait(exchange, use, now_ms)


# --- looking ---------------------------------------------------------------------------------------------------------
cdef int answer_from_store(Exchange* exchange, CacheUse* use, EntryUse how, int64_t now_ms) noexcept nogil:
    cdef bint refreshes = how == USE_AND_REFRESH and leads_refresh(exchange, use)
    if answer_with(exchange, use) != STEP_RESPOND:
        use.has_entry = False
        return not_found(exchange, use, now_ms)
    if refreshes:
        exchange.flags |= EXCHANGE_REFRESH
        ask_for_whole(exchange, use)
        fetch(exchange, use, now_ms)
    elif use.leads:
        end_flight(exchange, use, 0)
    use.outcome = OUTCOME_HIT
    count_outcome(exchange, use)
    if how != USE_AS_IT_IS:
        exchange.worker.block.cache_stale += 1
    if use.has_waited:
        exchange.worker.block.cache_coalesced += 1
    return STEP_RESPOND


cdef bint leads_refresh(Exchange* exchange, CacheUse* use) noexcept nogil:
    """Whether it is this request that fetches the response anew behind its client's back."""
    if use.leads:
        return True
    use.flight = flight_of(use)
    if flight_join(exchange, use.flight, 0) == FLIGHT_LEADS:     # with this deadline, nobody waits
        use.leads = True
    return use.leads


cdef int look(Exchange* exchange, CacheUse* use) noexcept nogil:
    cdef int64_t now_ms = wall_clock_ms()
    cdef EntryUse how
    use.sequence = cache_sequence(&exchange.worker.cache)
    use.has_entry = find_entry(exchange, use, now_ms)
    if use.has_entry:
        how = judge_entry(use, now_ms)
        if how != USE_NOT:
            return answer_from_store(exchange, use, how, now_ms)
        take_conditions(exchange, use)
    elif use.config.is_shared and not (use.times_asked and use.asked == use.key.words[0]) \
            and use.times_asked < MOST_QUESTIONS \
            and not was_just_voided(exchange, use, now_ms):
        return ask_redis(exchange, use, now_ms)
    return not_found(exchange, use, now_ms)


# --- Redis -----------------------------------------------------------------------------------------------------------
cdef int bypass(Exchange* exchange, CacheUse* use) noexcept nogil:
    end_flight(exchange, use, 0)
    use.outcome = OUTCOME_BYPASS
    count_outcome(exchange, use)
    return STEP_CONTINUE


cdef int ask_redis(Exchange* exchange, CacheUse* use, int64_t now_ms) noexcept nogil:
    use.times_asked += 1
    use.asked = use.key.words[0]
    if shared_cache_ask(exchange, use.plugin, &use.key, use.variant.data, use.variant.length) != STEP_PARK:
        return bypass(exchange, use)
    use.stage = STAGE_ASKING
    return STEP_PARK


cdef int hear_redis(Exchange* exchange, CacheUse* use) noexcept nogil:
    cdef int64_t now_ms = wall_clock_ms()
    cdef SharedCacheAnswer answer
    memset(&use.head, 0, sizeof(use.head))
    use.head.sequence = use.sequence
    use.head.scope = use.config.scope
    use.head.marks[0] = cache_mark_place(&exchange.worker.cache, MARK_ADDRESS, use.address.data, use.address.length)
    use.head.mark_count = 1
    answer = shared_cache_answer(exchange, &use.key, use.variant.data, use.variant.length, &use.head,
                                 use.config.stores_cookies, now_ms)
    if answer == SHARED_DOWN:
        return bypass(exchange, use)
    if answer == SHARED_FOUND:
        return look(exchange, use)
    return not_found(exchange, use, now_ms)


# --- access ----------------------------------------------------------------------------------------------------------
cdef bint is_cacheable_method(Exchange* exchange, const CacheConfig* config) noexcept nogil:
    """Of the client and of the upstream alike."""
    if exchange.method_override.data != NULL and not same_text(exchange.method_override, request_method(exchange)):
        return False
    return exchange.request.method != METHOD_OTHER and config.methods >> exchange.request.method & 1


cdef bint has_unexpected_body(Exchange* exchange) noexcept nogil:
    """The body is not in the key, but an upstream may heed it: others must not get what it answers then."""
    return exchange.request.method in (METHOD_GET, METHOD_HEAD) and exchange.request.body_kind != BODY_NONE \
        and not (exchange.request.body_kind == BODY_LENGTH and exchange.request.content_length == 0)


cdef bint is_unsafe(Exchange* exchange) noexcept nogil:
    return exchange.request.method in (METHOD_POST, METHOD_PUT, METHOD_DELETE, METHOD_PATCH, METHOD_OTHER)


cdef void read_request_control(Exchange* exchange, Directives* directives) noexcept nogil:
    cdef Head head = request_head(exchange)
    cdef Text value
    cdef uint32_t nth = 0
    while find_field(&head, b"Cache-Control", 13, nth, &value):
        parse_cache_control(value, directives)
        nth += 1
    if nth == 0 and find_field(&head, b"Pragma", 6, 0, &value):
        parse_cache_control(value, directives)           # RFC 9111 §5.4
        directives.flags &= CONTROL_NO_CACHE


cdef int begin_bypass(Exchange* exchange, CacheUse* use) noexcept nogil:
    """Neither the method's response nor what is stored may be used. What is changed at the address makes that void."""
    cdef Text ignored
    use.outcome = OUTCOME_BYPASS
    count_outcome(exchange, use)
    if use.config.obeys_control and is_unsafe(exchange):
        use.invalidates = build_key(exchange, use.config, &ignored, &use.address) != KEY_NONE
    return STEP_CONTINUE


cdef int pass_on(Exchange* exchange, CacheUse* use) noexcept nogil:
    """Nothing is stored for the request, though its response could be: it is told what would become of that."""
    if use.request.flags & CONTROL_ONLY_IF_CACHED:
        return respond_error(exchange, 504, b"")
    use.outcome = OUTCOME_MISS
    use.requested_ms = wall_clock_ms()
    return STEP_CONTINUE


cdef CacheUse* begin_use(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef CacheUse* use = <CacheUse*> exchange_memory(exchange, sizeof(CacheUse))
    if use == NULL:
        return NULL
    memset(use, 0, sizeof(CacheUse))
    use.plugin = plugin
    use.config = <const CacheConfig*> step_config(exchange, plugin)
    use.step = exchange.step
    directives_reset(&use.request)
    exchange.cache = use
    return use


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef CacheUse* use
    cdef KeySafety safety
    if exchange.cache != NULL:
        return STEP_CONTINUE                             # another plugin of this kind has its turn already
    use = begin_use(exchange, plugin)
    if use == NULL:
        return STEP_CONTINUE
    if not is_cacheable_method(exchange, use.config) or exchange.request.upgrade or has_unexpected_body(exchange):
        return begin_bypass(exchange, use)
    if use.config.obeys_control:
        read_request_control(exchange, &use.request)
        if use.request.flags & (CONTROL_NO_STORE | CONTROL_NO_CACHE):
            return begin_bypass(exchange, use)
    safety = build_key(exchange, use.config, &use.full_key, &use.address)
    if safety == KEY_NONE:
        return begin_bypass(exchange, use)
    use.public_only = safety == KEY_PUBLIC_ONLY
    hash_key(use.config, use.full_key, &use.primary)
    use.key = use.primary
    use.has_key = True
    if exchange.request.method == METHOD_HEAD:           # its response has no body: nothing to store (corrections.md, 22)
        return pass_on(exchange, use)
    use.is_whole = asks_for_whole(exchange)
    use.deadline_ms = exchange.worker.loop.now_ms + use.config.coalesce_ms
    return look(exchange, use)


cdef int resume(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef CacheUse* use = cache_use_of(exchange)
    cdef uint8_t stage = use.stage
    use.stage = STAGE_LOOKING
    if stage == STAGE_ASKING:
        return hear_redis(exchange, use)
    use.has_waited = True
    return look(exchange, use)


# --- response --------------------------------------------------------------------------------------------------------
cdef int response(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    """A plugin with a higher priority may have answered in place of what was to be stored."""
    cdef CacheUse* use = cache_use_of(exchange)
    if use != NULL and use.step == exchange.step and is_answered_otherwise(exchange, use):
        cache_tell(exchange)
    return STEP_CONTINUE


cdef StepFunctions functions
memset(&functions, 0, sizeof(functions))
functions.access = access
functions.resume = resume
functions.response = response
register_step("proxy_cache", functions)
