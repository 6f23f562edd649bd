"""What the cache does for a request: the bridge between the plugin's step, the store and the way of a request.

    access      steps/proxy_cache.pyx makes the key and looks: a hit answers; of several misses one goes on (flights.pxd)
    received    the upstream's head is there, unchanged: is it for storing? Does it confirm what is stored (304)? Is what is
                stored, though stale, better (stale-if-error)?
    body        each piece goes into the store on its way to the client
    complete    the upstream's message has ended: publish
    failed      no try has succeeded: what is stored, though stale, may be better
    abandoned   the exchange ends, or the try failed: discard what was begun, end the flight
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from native.cache_store cimport CacheKey, EntryHead, Filling, StoredEntry
from native.connection cimport Exchange
from native.packed cimport PackedText
from native.snapshot cimport PluginRecord

# The configuration of the plugin, packed by steps/proxy_cache.pyx.
ctypedef struct CacheConfig:
    PackedText scope             # the plugin's id
    uint64_t seeds[2]            # of the scope: the hashes of keys, the same on all nodes
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

# --- for the core (exchange.pyx); only called when exchange.cache is set -----------------------------------------------
# STEP_CONTINUE: the response goes to the client (EXCHANGE_RECORDS is set when it is also stored). STEP_RESPOND: a stored one
# was prepared in its place (respond_stored); the core drops the upstream's.
cdef int cache_received(Exchange* exchange) noexcept nogil
# Bytes of the body, decoded from chunks. Only while EXCHANGE_RECORDS is set.
cdef void cache_body(Exchange* exchange, const void* data, uint64_t length) noexcept nogil
# The message has ended as it should. Only while EXCHANGE_RECORDS is set.
cdef void cache_complete(Exchange* exchange) noexcept nogil
# The gateway is about to answer this status (502, 503, 504) because no upstream has. STEP_RESPOND: with a stored response.
cdef int cache_failed(Exchange* exchange, uint32_t status) noexcept nogil
# What was begun for the current try is void: another try, or the end of the exchange (`finally`: the flight ends, too).
cdef void cache_abandon(Exchange* exchange, bint finally_) noexcept nogil

# --- for the step ----------------------------------------------------------------------------------------------------
