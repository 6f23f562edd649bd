"""Stored responses in shared memory: one store per node, read and written by every worker; knows bytes, not HTTP.

The region is divided into shards, a shard into blocks of 1 KiB. An entry is a chain of blocks: a head (EntryHead), then
its bytes. Readers take no lock: they copy what they want and then look whether the entry still has the version that they
found (small responses), or *pin* the entry, which keeps its blocks from being given to others until it is unpinned
(large ones). Writers of a shard take turns by a word that names the owner; an owner that has died is noticed because the
master has taken note of its death, and the shard is emptied: that is all the repair there is. Pins and unfinished entries
of a dead worker are found by the same means. So a process may be killed at any instruction, and no reader ever sees a
byte of another entry, or half of one.

What is evicted is chosen by CLOCK: a hand goes round over the entries of a shard; one that was used since it last came by
stays.

Keys have 256 bits. The full key lies in the entry and is compared, so that equal hashes cannot be taken for equal keys.

An entry is void when something it depends on was marked after its request began: `cache_mark` of a tag or address
(`EntryHead.marks`), or `cache_purge_all`. Marks are few words in a table, found by hash: who shares a place with another
loses an entry too many, never one too few.
"""

from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from native.shm cimport ControlWords
from native.sockets cimport iovec

cdef enum:
    CACHE_BLOCK = 1024           # bytes
    MAX_MARKS = 24               # of one entry: its address, its tags
    MARK_PLACES = 65536          # a power of two

ctypedef struct CacheKey:
    uint64_t words[4]            # XXH3 of the full key, seeded; shown as 64 hex digits

# The first bytes of an entry's chain, copied into StoredEntry when it is found. Times are Unix time in milliseconds. What
# follows in the chain: the full key, then `prelude_length` bytes of the owner's (fields of the response), then the body.
ctypedef struct EntryHead:
    CacheKey key
    uint64_t sequence            # of the marks when its request began, see cache_sequence()
    uint64_t body_length
    uint32_t key_length          # of the full key
    uint32_t prelude_length
    int64_t stored_ms            # when the response came
    int64_t keep_until_ms        # not found from then on
    # the owner's (caching.pxd); the store does not look at them
    int64_t fresh_until_ms
    int64_t stale_while_revalidate_ms    # may be served stale until then, and is fetched anew
    int64_t stale_if_error_ms            # may be served stale until then when the upstream fails
    int64_t initial_age_ms       # that it had when it came (RFC 9111 §4.2.3)
    int64_t last_modified        # Unix seconds, INT64_MIN: none
    uint32_t flags
    uint16_t status
    uint16_t field_count
    uint16_t vary_count
    uint16_t mark_count
    uint32_t marks[MAX_MARKS]    # places of what voids it
    uint64_t scope               # hash of the plugin's id, for the Admin API

ctypedef struct CacheStore:
    void* header                 # of the region
    ControlWords* control
    uint32_t shard_count
    uint32_t blocks_per_shard
    uint32_t owner               # index of this worker, or CACHE_CONTROL for the control process
    uint64_t incarnation         # of this process among those with that index
    uint64_t longest             # bytes that an entry may have

cdef enum:
    CACHE_CONTROL = 0xffff

# An entry that was found: where it lies, and its head. Stays valid to look at whatever becomes of the entry.
ctypedef struct StoredEntry:
    EntryHead head
    uint32_t shard
    uint32_t block
    uint32_t version
    uint32_t pin                 # number of the pin + 1; 0: not pinned

# An entry that is being written by this process.
ctypedef struct Filling:
    CacheKey key
    uint64_t sequence
    uint64_t length              # bytes behind the head so far
    uint32_t shard
    uint32_t first_block
    uint32_t last_block
    uint32_t active              # 0: there is none

# The store of a gateway as one process uses it. False: there is none (region too small).
cdef bint cache_open(ControlWords* control, uint32_t owner, uint64_t incarnation, CacheStore* store) noexcept nogil
# Free what earlier incarnations of this owner have left: pins, unfinished entries. Before the first use.
cdef void cache_take_over(CacheStore* store) noexcept nogil

# --- reading ---------------------------------------------------------------------------------------------------------
# Find an entry by key and full key; counts as a use. Entries that are void or over are not found.
cdef bint cache_find(CacheStore* store, const CacheKey* key, const void* full_key, uint32_t key_length, int64_t now_ms,
                     StoredEntry* found) noexcept nogil
# Copy bytes behind the full key (0: the first of the prelude). False: the entry has gone meanwhile; what was copied is
# not to be used.
cdef bint cache_read(CacheStore* store, const StoredEntry* entry, uint64_t offset, void* target,
                     uint64_t length) noexcept nogil
# Keep it from going. False: it has gone already, or too many are pinned.
cdef bint cache_pin(CacheStore* store, StoredEntry* entry) noexcept nogil
cdef void cache_unpin(CacheStore* store, StoredEntry* entry) noexcept nogil
# Where bytes of a pinned entry lie, neighbouring blocks in one piece: fills at most `room` pieces that begin at `offset`
# and end at `offset + length`. Returns how many.
cdef int cache_pieces(CacheStore* store, const StoredEntry* entry, uint64_t offset, uint64_t length, iovec* pieces,
                      int room) noexcept nogil

# --- writing ---------------------------------------------------------------------------------------------------------
# Begin an entry whose full key is this. `sequence` is what cache_sequence() said before its request was sent. False: no
# room could be made, or somebody else holds the shard just now.
cdef bint cache_begin(CacheStore* store, Filling* filling, const CacheKey* key, const void* full_key,
                      uint32_t key_length, uint64_t sequence) noexcept nogil
# Append bytes: first the prelude, then the body. False: too long, or no room; the entry is discarded.
cdef bint cache_append(CacheStore* store, Filling* filling, const void* data, uint64_t length) noexcept nogil
# Let everybody find it, in place of one with the same key. `head`: what the store does not fill in itself (key, sequence,
# key_length, body_length). False: discarded, because a purge came between, or somebody else holds the shard.
cdef bint cache_publish(CacheStore* store, Filling* filling, EntryHead* head) noexcept nogil
cdef void cache_discard(CacheStore* store, Filling* filling) noexcept nogil
# Change times and flags of an entry that was found (a 304 has confirmed it). False: it has gone.
cdef bint cache_freshen(CacheStore* store, StoredEntry* entry, const EntryHead* head) noexcept nogil

# --- purging ---------------------------------------------------------------------------------------------------------
# Grows with every mark. Ask before a request is sent whose response is to be stored.
cdef uint64_t cache_sequence(CacheStore* store) noexcept nogil
# The place of a mark, for EntryHead.marks: `kind` tells tags and addresses apart.
cdef uint32_t cache_mark_place(CacheStore* store, uint32_t kind, const void* text, uint32_t length) noexcept nogil
# Void all entries whose request began before now and that carry this mark.
cdef void cache_mark(CacheStore* store, uint32_t place) noexcept nogil
cdef void cache_purge_all(CacheStore* store) noexcept nogil
# Remove by the key alone. True: there was such an entry.
cdef bint cache_remove(CacheStore* store, const CacheKey* key) noexcept nogil
