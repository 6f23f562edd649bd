"""What the cache does for a request: the bridge between the plugin's step, the store and the way of a request.

    access      steps/proxy_cache.pyx makes the key and looks: a hit answers; of several misses one goes on (flights.pxd)
    received    the upstream's head is there, unchanged: is it for storing? Does it confirm what is stored (304)? Is what is
                stored, though stale, better (stale-if-error)?
    body        each piece goes into the store on its way to the client
    complete    the upstream's message has ended: publish
    failed      no try has succeeded: what is stored, though stale, may be better
    abandoned   the exchange ends, or the try failed: discard what was begun, end the flight

Which responses are for storing is storing.pyx's business, which stored ones answer a request cached_answers.pyx's.

A response that varies (Vary) is stored under a key of its own, a *variant* of the request's. Under the request's key then
lies an entry without a response that only names the fields (ENTRY_NAMES).
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from native.cache_control cimport Directives
from native.cache_store cimport CacheKey, EntryHead, Filling, StoredEntry
from native.connection cimport EXCHANGE_LOCAL, EXCHANGE_STORED, Exchange
from native.fields cimport Text
from native.packed cimport PackedText
from native.snapshot cimport PluginRecord

# The configuration of the plugin, packed by steps/proxy_cache.pyx.
ctypedef struct CacheConfig:
    uint64_t seeds[2]            # of the plugin's id: the hashes of keys, the same on all nodes
    uint64_t scope               # XXH64 of the plugin's id: EntryHead.scope
    PackedText fingerprint       # the plugin's id and a hash of what keys depend on, see cache_key.pxd
    uint32_t key_room            # bytes that keys have because of the configuration, at most
    uint32_t status_offset, status_count         # uint16_t, sorted
    uint32_t media_type_offset, media_type_count     # PackedText, canonical (cache_control.pxd)
    uint32_t argument_offset, argument_count     # PackedText: those of the query that count; none: all
    uint32_t header_offset, header_count         # PackedText, lower case
    uint32_t methods             # bits: 1 << Method
    uint32_t cache_ttl, storage_ttl              # seconds; storage_ttl 0: none
    uint32_t coalesce_ms         # 0: requests do not wait for each other
    uint8_t obeys_control        # RFC 9111
    uint8_t ignores_case         # of paths
    uint8_t is_shared            # strategy redis
    uint8_t shows_age, shows_status, shows_key
    uint8_t stores_cookies       # responses with Set-Cookie are stored
    uint8_t ignores_cookies      # those of requests

cpdef enum EntryFlag:            # EntryHead.flags
    ENTRY_HAS_TAG = 1            # an ETag
    ENTRY_NEVER_STALE = 2        # must-revalidate, proxy-revalidate
    ENTRY_STALE_IF_SAID = 4      # s-maxage: stale only where the response itself allows it
    ENTRY_NAMES = 8              # no response: the names of the fields that the responses vary on, see cache_key.pxd
    ENTRY_PUBLIC = 16            # it may be shared though requests have an Authorization (RFC 9111 §3.5)

# What the client is told (X-Cache-Status).
cpdef enum CacheOutcome:
    OUTCOME_UNTOLD = 0
    OUTCOME_HIT = 1
    OUTCOME_MISS = 2             # it was not there
    OUTCOME_REFRESH = 3          # it was there, but might not be used as it was
    OUTCOME_BYPASS = 4           # it is not for sharing

# What a parked exchange waits for.
cpdef enum CacheStage:
    STAGE_LOOKING = 0
    STAGE_ASKING = 1             # Redis
    STAGE_WAITING = 2            # another request's response

# All that is known of a request's dealings with the cache. In the exchange's memory, where Exchange.cache points to.
ctypedef struct CacheUse:
    const PluginRecord* plugin
    const CacheConfig* config
    uint32_t step                # place in the plan
    uint8_t outcome              # CacheOutcome
    uint8_t stage                # CacheStage
    uint8_t has_key
    uint8_t fetches              # the upstream's response is to be stored, if it may be
    uint8_t is_whole             # the request asks for the whole response, unconditionally
    uint8_t has_taken            # the client's conditions, from the request to the upstream: they are below
    uint8_t public_only          # KEY_PUBLIC_ONLY
    uint8_t has_entry            # `entry` is there, but was not fit to be used
    uint8_t confirms             # the upstream is asked whether `entry` is still good
    uint8_t invalidates          # of an unsafe method: makes what is stored at its address void
    uint8_t leads                # the flight
    uint8_t times_asked          # Redis
    uint8_t has_waited           # for another request's response
    uint8_t is_counted
    Directives request           # its Cache-Control; with cache_control only
    Text if_none_match, if_modified_since
    # what it is stored under
    Text full_key                # of the request
    Text variant                 # full key of the variant; the same where there are none
    Text address                 # see build_key()
    Text names                   # that the stored responses vary on; empty: they do not
    CacheKey primary             # hash of full_key
    CacheKey key                 # hash of variant
    uint64_t asked               # first word of the key that Redis was asked for
    int64_t names_until_ms       # when the entry with the names is over; 0: there is none
    # what was found, and what is being stored
    StoredEntry entry            # pinned while it `confirms`
    uint64_t flight              # its hash
    uint64_t deadline_ms         # of waiting for others, on the loop's clock
    uint64_t sequence            # cache_sequence() from before the request was sent
    int64_t requested_ms         # Unix time
    int64_t keep_until_ms        # of the response that is being stored; the entry itself may go earlier (Redis)
    Filling filling
    EntryHead head

cdef inline CacheUse* cache_use_of(Exchange* exchange) noexcept nogil:
    return <CacheUse*> exchange.cache

# Whether the answer is the gateway's own, though the upstream's was to be stored.
cdef inline bint is_answered_otherwise(Exchange* exchange, const CacheUse* use) noexcept nogil:
    return exchange.flags & EXCHANGE_LOCAL and not exchange.flags & EXCHANGE_STORED \
        and (use.outcome == OUTCOME_MISS or use.outcome == OUTCOME_REFRESH)

# --- for the core (exchange.pyx); only called when exchange.cache is set -----------------------------------------------
# STEP_CONTINUE: the response goes to the client (EXCHANGE_RECORDS is set when it is also stored). STEP_RESPOND: a stored one
# was prepared in its place (respond_stored); the core drops the upstream's.
cdef int cache_received(Exchange* exchange) noexcept nogil
# Bytes of the body, decoded from chunks. Only while EXCHANGE_RECORDS is set.
cdef void cache_body(Exchange* exchange, const void* data, uint64_t length) noexcept nogil
# The message has ended as it should. Only while EXCHANGE_RECORDS is set.
cdef void cache_complete(Exchange* exchange) noexcept nogil
# The gateway is about to answer an error (500, 502, 503, 504) because no upstream has, or because a circuit is open.
# STEP_RESPOND: with a stored response. All of them are errors in the sense of RFC 5861 §4.
cdef int cache_failed(Exchange* exchange) noexcept nogil
# An answer is known, the upstream's or the gateway's own: tell the client what the cache has to do with it (X-Cache-Status,
# X-Cache-Key, Age). Before plugins see it: they may change that, too.
cdef void cache_tell(Exchange* exchange) noexcept nogil
# What was begun for the current try is void: another try, or the end of the exchange (`finally`: the flight ends, too).
cdef void cache_abandon(Exchange* exchange, bint finally_) noexcept nogil

# --- for the step ----------------------------------------------------------------------------------------------------
# The flight that this request leads, if it does, is over. `barred_ms`: see flight_end().
cdef void end_flight(Exchange* exchange, CacheUse* use, uint32_t barred_ms) noexcept nogil
# Whether what is in Redis for the request's address was made void here so short a time ago that it may still be there.
cdef bint was_just_voided(Exchange* exchange, const CacheUse* use, int64_t now_ms) noexcept nogil
# Count what became of the request, once.
cdef void count_outcome(Exchange* exchange, CacheUse* use) noexcept nogil
