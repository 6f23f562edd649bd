"""Stored responses in shared memory; see cache_store.pxd.

The region: a header, the marks, the pins of each owner, then the shards. A shard: its header, a map of the blocks in use,
the index (buckets of eight words), a description of every block, and the blocks. All zero bytes are an empty region.

Who may write what:
    header, marks, removals      anybody, by atomic additions and maxima
    pins                         their owner
    blocks of a filling          their owner, by the process that fills them; nobody else touches a live owner's
    everything else of a shard   who holds the shard's lock
Taking an entry away is the one change that needs no lock: a compare-and-swap of the word of its first block. Giving its
blocks to others does.

The parts:
    this file                    where things are
    cache_store_reading.pxi      finding and reading
    cache_store_pins.pxi         owners and their lives, pins
    cache_store_shards.pxi       lock, blocks, CLOCK, emptying
    cache_store_writing.pxi      entries from begin to publish
    cache_store_purging.pxi      marks and removals
    cache_store_view.pxi         the store from Python
"""

from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy, memset

from native.atomics cimport (
    add_and_get_ordered,
    fence_acquire,
    fence_ordered,
    load_acquire,
    load_relaxed32,
    replace_ordered,
    store_relaxed32,
    store_release,
)
from native.hashing cimport xxh64
from native.shm cimport ControlWords, SharedState, shared_control, worker_lives
from native.sockets cimport iovec

cdef extern from *:
    """
    #include <stdint.h>
    #if defined(__x86_64__) || defined(__i386__)
    #define CACHE_PAUSE() __builtin_ia32_pause()
    #else
    #define CACHE_PAUSE() __asm__ __volatile__("" ::: "memory")
    #endif
    static inline void cache_prefetch(const void *at) { __builtin_prefetch(at); }
    """
    void cache_prefetch(const void* at) noexcept nogil
    void cache_pause "CACHE_PAUSE"() noexcept nogil
    int first_zero "__builtin_ctzll"(uint64_t word) noexcept nogil

cdef enum:
    WAYS = 8                     # words of a bucket of the index: one cache line
    REMOVAL_PLACES = 64          # of a shard
    SMALLEST_SHARD = 4 << 20     # bytes, where the region has as many
    USUAL_SHARDS = 16            # a death empties one of so many
    LARGEST_SHARD = 64 << 20     # bytes: emptying one must not take a loop much longer than a millisecond
    LEAST_BLOCKS = 64
    MOST_PINS = 1024             # of an owner
    FEWEST_PINS = 8
    CHANGING_ATTEMPTS = 64       # looks at an entry that somebody is just freshening
    BLOCK_SIZE = CACHE_BLOCK

# What the word of a block says: version << 32 | owner << 8 | state. The owner is that of a filling, otherwise 0. Versions
# grow whenever an entry comes, changes or goes: a reader who finds the word that he found before has read one entry.
cdef enum:
    FREE = 0
    FILLING = 1                  # belongs to an entry that is being written
    PUBLISHING = 2               # first block of an entry that is about to be found
    USED = 3                     # first block of an entry
    CHANGING = 4                 # first block of an entry whose times are being changed
    CHAINED = 5                  # any other block of an entry
    LIMBO = 6                    # first block of an entry that is not found any more; its chain is whole
    DISCARDED = 7                # belonged to a filling that was given up without the lock

ctypedef struct Header:
    # where things are: what follows from the sizes in the control words, so that all processes write the same
    uint64_t places              # of marks, less one
    uint64_t owners_offset, owner_size, pins     # `pins` of each
    uint64_t shards_offset, shard_size
    uint64_t owners_seen         # owners from this one on have never been there
    uint64_t padding
    # sequences
    uint64_t sequence            # the latest
    uint64_t purged              # of the last purge of everything
    uint64_t removed             # of the last removal of many: what was under way then is not published
    uint64_t spare[5]
    # counted
    uint64_t evictions, emptied, skipped, refused
    uint64_t more[4]

# In front of an owner's pins. The control process is the first, worker i number i + 1.
ctypedef struct Owner:
    uint64_t incarnation
    uint64_t pins_used           # pins from this one on have never been used
    uint64_t hint                # where a free one may be
    uint64_t padding[5]

ctypedef struct Shard:
    uint64_t lock                # 0: free; owner + 1 << 40 | incarnation
    uint64_t padding[7]
    # changed by who holds the lock
    uint64_t touched             # blocks from this one on have never been used
    uint64_t used                # blocks that are not free
    uint64_t entries
    uint64_t hand                # of CLOCK
    uint64_t cursor              # where a free block is looked for
    uint64_t spare[3]
    uint64_t removals[REMOVAL_PLACES]    # sequences: last removal of a key, by its hash

ctypedef struct Block:
    uint64_t word
    uint32_t next                # number of the next block of the chain + 1; 0: the last
    uint32_t incarnation         # of the owner, while it belongs to a filling
    uint32_t referenced          # first block: used since the hand came by
    uint32_t kept                # while a shard is emptied: somebody has pinned its entry
    uint32_t bucket              # first block: where it is in the index
    uint32_t padding

# A shard, and where its parts are.
ctypedef struct Place:
    Shard* shard
    uint64_t* map                # bits of blocks that are not free
    uint64_t* index
    Block* blocks
    uint8_t* data
    uint32_t number
    uint32_t block_count
    uint32_t bucket_count

globals()["CACHE_BLOCK"] = CACHE_BLOCK
globals()["MARK_PLACES"] = MARK_PLACES
globals()["MAX_MARKS"] = MAX_MARKS
globals()["CACHE_CONTROL"] = CACHE_CONTROL
assert sizeof(Header) % 64 == 0 and sizeof(Owner) == 64 and sizeof(Block) == 32 and sizeof(Shard) % 64 == 0
assert sizeof(EntryHead) % 8 == 0 and sizeof(EntryHead) < BLOCK_SIZE


# --- where things are ------------------------------------------------------------------------------------------------
cdef inline uint64_t aligned(uint64_t size, uint64_t unit) noexcept nogil:
    return (size + unit - 1) // unit * unit


cdef inline uint32_t buckets_for(uint64_t blocks) noexcept nogil:
    """Twice as many words as there can be entries."""
    return <uint32_t> ((blocks + 3) // 4)


cdef inline uint64_t map_size(uint64_t blocks) noexcept nogil:
    return aligned((blocks + 63) // 64 * 8, 64)


cdef inline uint64_t data_offset(uint64_t blocks) noexcept nogil:
    return aligned(sizeof(Shard) + map_size(blocks) + <uint64_t> buckets_for(blocks) * 64 + blocks * sizeof(Block),
                   BLOCK_SIZE)


cdef inline Header* header_of(const CacheStore* store) noexcept nogil:
    return <Header*> store.header


cdef inline uint64_t* marks_of(const CacheStore* store) noexcept nogil:
    return <uint64_t*> (header_of(store) + 1)


cdef void find_place(const CacheStore* store, uint32_t number, Place* place) noexcept nogil:
    cdef Header* header = header_of(store)
    cdef uint8_t* base = <uint8_t*> header + header.shards_offset + <uint64_t> number * header.shard_size
    place.number = number
    place.block_count = store.blocks_per_shard
    place.bucket_count = buckets_for(store.blocks_per_shard)
    place.shard = <Shard*> base
    place.map = <uint64_t*> (base + sizeof(Shard))
    place.index = <uint64_t*> (<uint8_t*> place.map + map_size(place.block_count))
    place.blocks = <Block*> (place.index + <uint64_t> place.bucket_count * WAYS)
    place.data = base + data_offset(place.block_count)


cdef bint cache_open(ControlWords* control, uint32_t owner, uint64_t incarnation, CacheStore* store) noexcept nogil:
    cdef Header* header
    cdef uint64_t size = control.cache_size
    cdef uint64_t owners = control.worker_limit + 1
    cdef uint64_t places = MARK_PLACES
    cdef uint64_t pins = size // 64 // 8 // owners
    cdef uint64_t owners_offset, shards_offset, shards, shard_size, blocks
    memset(store, 0, sizeof(CacheStore))
    while places > 1024 and places * 8 * 16 > size:
        places //= 2
    pins = min(max(pins, <uint64_t> FEWEST_PINS), <uint64_t> MOST_PINS) // 8 * 8
    owners_offset = sizeof(Header) + places * 8
    shards_offset = aligned(owners_offset + owners * (sizeof(Owner) + pins * 8), 4096)
    if size < shards_offset + 2 * LEAST_BLOCKS * BLOCK_SIZE:
        return False
    size -= shards_offset
    shards = min(max(size // SMALLEST_SHARD, <uint64_t> 1), <uint64_t> USUAL_SHARDS)
    shards = max(shards, size // LARGEST_SHARD)
    shard_size = size // shards // 4096 * 4096
    blocks = shard_size // (BLOCK_SIZE + sizeof(Block))
    while data_offset(blocks) + blocks * BLOCK_SIZE > shard_size:
        blocks -= 1

    header = <Header*> (<uint8_t*> control + control.cache_offset)
    store_release(&header.places, places - 1)
    store_release(&header.owners_offset, owners_offset)
    store_release(&header.owner_size, sizeof(Owner) + pins * 8)
    store_release(&header.pins, pins)
    store_release(&header.shards_offset, shards_offset)
    store_release(&header.shard_size, shard_size)
    store.header = header
    store.control = control
    store.shard_count = <uint32_t> shards
    store.blocks_per_shard = <uint32_t> blocks
    store.owner = owner
    store.incarnation = incarnation
    store.longest = blocks // 2 * BLOCK_SIZE
    return True


# --- words of blocks -------------------------------------------------------------------------------------------------
cdef inline uint32_t state_of(uint64_t word) noexcept nogil:
    return <uint32_t> (word & 0xff)


cdef inline uint32_t owner_of(uint64_t word) noexcept nogil:
    return <uint32_t> (word >> 8) & 0xffff


cdef inline uint32_t version_of(uint64_t word) noexcept nogil:
    return <uint32_t> (word >> 32)


cdef inline uint64_t block_word(uint32_t version, uint32_t state) noexcept nogil:
    return <uint64_t> version << 32 | state


# --- hashes ----------------------------------------------------------------------------------------------------------
cdef inline uint64_t place_hash(const CacheStore* store, const CacheKey* key) noexcept nogil:
    """Seeded with a secret: who can choose keys cannot choose shards and buckets."""
    return xxh64(key, sizeof(CacheKey), store.control.cache_seed)


cdef inline uint32_t shard_of(const CacheStore* store, uint64_t hash) noexcept nogil:
    return <uint32_t> (((hash >> 32) * store.shard_count) >> 32)


cdef inline uint32_t bucket_of(const Place* place, uint64_t hash) noexcept nogil:
    return <uint32_t> ((<uint64_t> <uint32_t> hash * place.bucket_count) >> 32)


cdef inline uint32_t tag_of(uint64_t hash) noexcept nogil:
    """Of bits that neither shard nor bucket are chosen by, for the most part."""
    return <uint32_t> (hash >> 28)


cdef inline bint same_key(const CacheKey* one, const CacheKey* other) noexcept nogil:
    return (one.words[0] == other.words[0] and one.words[1] == other.words[1]
            and one.words[2] == other.words[2] and one.words[3] == other.words[3])


include "cache_store_reading.pxi"
include "cache_store_pins.pxi"
include "cache_store_shards.pxi"
include "cache_store_writing.pxi"
include "cache_store_purging.pxi"
include "cache_store_view.pxi"
include "cache_store_testing.pxi"
include "cache_store_hammer.pxi"
