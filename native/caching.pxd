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
from native.snapshot cimport PluginRecord

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
