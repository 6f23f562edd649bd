"""Stored responses as bytes for a Redis that nodes share (strategy `redis`), and back; and how requests ask for them.

    image    ImageHead, full key, head of the response as on the wire, rest of the prelude (the owner's), body

An image is made of an entry of the store in shared memory (cache_store.pxd), which is the *first level*, and becomes one
there again: requests are answered from the first level only. What comes from Redis is not believed. Lengths, checksum, key
and full key are compared; the head goes through the parser that reads those of upstreams, and through the filter of what is
stored (store_head), so nothing comes out of it that an upstream could not have sent. A broken image is a miss.

Numbers are little-endian, times Unix milliseconds. Places of marks mean nothing elsewhere: those of tags are made anew from
the head, that of the address by whoever asks.

The plugin thread (gateway/plugins/_cache_redis.py) speaks with Redis:

    miss in the first level   shared_cache_ask → STEP_PARK … resume: shared_cache_answer → SHARED_FOUND: look again
    response published        shared_cache_tell
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from native.cache_store cimport CacheKey, CacheStore, EntryHead, StoredEntry
from native.connection cimport Exchange
from native.http1 cimport ResponseHead
from native.memory cimport Buffer, BufferStock
from native.snapshot cimport PluginRecord

cdef enum:
    MAX_IMAGE = 1048576          # bytes; larger responses stay in the first level
    FIRST_LEVEL_MS = 5000        # how long an entry stays there at most: what bounds a purge that did not get through

cpdef enum SharedCacheVerb:
    VERB_FIND = 1                # payload: CacheKey, full key. Result: a byte, SharedCacheAnswer, then the image
    VERB_STORE = 2               # payload: an image; nobody waits
    VERB_VOID = 3                # payload: an address (cache_key.pxd); all that has it is void, on all nodes; nobody waits

cpdef enum SharedCacheAnswer:
    SHARED_MISSING = 0
    SHARED_FOUND = 1
    SHARED_DOWN = 2              # Redis does not answer, is not to be asked, or its time was over: Bypass

# Kinds of marks (cache_mark_place).
cpdef enum MarkKind:
    MARK_ADDRESS = 1
    MARK_TAG = 2

ctypedef struct ImageHead:
    uint8_t magic[8]
    uint64_t checksum            # XXH64 of all that follows
    uint64_t key[4]
    uint64_t body_length
    int64_t stored_ms
    int64_t keep_until_ms
    int64_t fresh_until_ms
    int64_t stale_while_revalidate_ms
    int64_t stale_if_error_ms
    int64_t initial_age_ms
    int64_t last_modified
    uint32_t flags
    uint32_t key_length
    uint32_t head_length
    uint32_t rest_length
    uint16_t vary_count
    uint16_t reserved[3]

# --- for the cache (caching.pyx, steps/proxy_cache.pyx) --------------------------------------------------------------
# Ask Redis for what has this key. STEP_PARK; STEP_CONTINUE: it cannot be asked, take it for SHARED_DOWN.
cdef int shared_cache_ask(Exchange* exchange, const PluginRecord* plugin, const CacheKey* key, const void* full_key,
                          uint32_t key_length) noexcept nogil
# What became of it, when the exchange is resumed; gives the job back. SHARED_FOUND: it lies in the first level now, look
# again. `head` says what an image does not: sequence (cache_sequence(), from before Redis was asked), scope, and the first
# `mark_count` marks, to which those of its tags are added; it is changed. `now_ms`: Unix time.
cdef SharedCacheAnswer shared_cache_answer(Exchange* exchange, const CacheKey* key, const void* full_key,
                                           uint32_t key_length, EntryHead* head, bint with_cookies,
                                           int64_t now_ms) noexcept nogil
# Give Redis what was just published (or confirmed), until `keep_until_ms`: that of the entry itself is shorter. Does nothing
# for an entry that is too large, has gone, or when too much waits already.
cdef void shared_cache_tell(Exchange* exchange, const PluginRecord* plugin, const StoredEntry* entry, const void* full_key,
                            uint32_t key_length, int64_t keep_until_ms) noexcept nogil
# What is stored at an address (the first lines of full keys) is void, because of an unsafe request: tell Redis and all
# nodes that use it. Takes effect there soon after.
cdef void shared_cache_void(Exchange* exchange, const PluginRecord* plugin, const void* address,
                            uint32_t length) noexcept nogil
# Add marks for the tags of a response (Surrogate-Key, Cache-Tag) to those that `head` has. False: there are too many, so
# that a purge would not void it: do not store it.
cdef bint mark_tags(CacheStore* store, const uint8_t* text, const ResponseHead* response, EntryHead* head) noexcept nogil

# --- images ----------------------------------------------------------------------------------------------------------
# Bytes that the image of an entry has at most; 0: it has more than MAX_IMAGE.
cdef uint32_t image_room(const EntryHead* head) noexcept nogil
# Append the image of an entry to `out`, which has room. False: the entry has gone meanwhile.
cdef bint cache_image(CacheStore* store, const StoredEntry* entry, const void* full_key, uint32_t key_length,
                      int64_t keep_until_ms, Buffer* out) noexcept nogil
# Publish an image as an entry that stays until `life_ms` from now at most. `head`: see shared_cache_answer. False: it is
# broken, belongs to another key, is over, was purged meanwhile, or there is no room.
cdef bint cache_import(CacheStore* store, BufferStock* stock, const uint8_t* image, uint64_t length, const CacheKey* key,
                       const void* full_key, uint32_t key_length, EntryHead* head, bint with_cookies, int64_t now_ms,
                       int64_t life_ms) noexcept nogil
