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
    this file                    where things are; finding and reading
    cache_store_pins.pxi         owners and their lives, pins
    cache_store_shards.pxi       lock, blocks, CLOCK, emptying
    cache_store_writing.pxi      entries from begin to publish
    cache_store_purging.pxi      marks and removals
    cache_store_view.pxi         the store from Python
"""

from libc.stdint cimport INT64_MIN, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

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
    static inline uint64_t cache_load(const uint64_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
    static inline void cache_put(uint64_t *word, uint64_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }
    static inline uint32_t cache_load32(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_RELAXED); }
    static inline void cache_put32(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELAXED); }
    /* True: `word` was `expected` and is `value` now. */
    static inline int cache_swap(uint64_t *word, uint64_t expected, uint64_t value) {
        return __atomic_compare_exchange_n(word, &expected, value, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    }
    static inline uint64_t cache_add(uint64_t *word, uint64_t value) {
        return __atomic_add_fetch(word, value, __ATOMIC_SEQ_CST);
    }
    /* What was written before is seen by all who see what is written later, and what is read later is newer. */
    static inline void cache_fence(void) { __atomic_thread_fence(__ATOMIC_SEQ_CST); }
    /* What was read before is read before what is read later. */
    static inline void cache_read_fence(void) { __atomic_thread_fence(__ATOMIC_ACQUIRE); }
    static inline void cache_prefetch(const void *at) { __builtin_prefetch(at); }
    """
    uint64_t cache_load(const uint64_t* word) noexcept nogil
    void cache_put(uint64_t* word, uint64_t value) noexcept nogil
    uint32_t cache_load32(const uint32_t* word) noexcept nogil
    void cache_put32(uint32_t* word, uint32_t value) noexcept nogil
    bint cache_swap(uint64_t* word, uint64_t expected, uint64_t value) noexcept nogil
    uint64_t cache_add(uint64_t* word, uint64_t value) noexcept nogil
    void cache_fence() noexcept nogil
    void cache_read_fence() noexcept nogil
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
    cache_put(&header.places, places - 1)
    cache_put(&header.owners_offset, owners_offset)
    cache_put(&header.owner_size, sizeof(Owner) + pins * 8)
    cache_put(&header.pins, pins)
    cache_put(&header.shards_offset, shards_offset)
    cache_put(&header.shard_size, shard_size)
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


# --- walking along a chain -------------------------------------------------------------------------------------------
# Whoever walks without a pin may be led anywhere, but never out of the shard and never for longer than he has asked.
ctypedef struct Walk:
    uint32_t block
    uint32_t within


cdef inline uint32_t next_block(const Place* place, uint32_t block) noexcept nogil:
    """Not a block (>= block_count) after the last one."""
    return cache_load32(&place.blocks[block].next) - 1


cdef bint walk_to(const Place* place, uint32_t first, uint64_t offset, Walk* walk) noexcept nogil:
    """To a byte of an entry, its head included."""
    cdef uint64_t left = offset // BLOCK_SIZE
    walk.block = first
    walk.within = <uint32_t> (offset % BLOCK_SIZE)
    while left and walk.block < place.block_count:
        walk.block = next_block(place, walk.block)
        left -= 1
    return walk.block < place.block_count


cdef uint8_t* walk_on(const Place* place, Walk* walk, uint64_t most, uint64_t* length) noexcept nogil:
    """The next bytes that lie in one piece, at most so many. NULL: there are none."""
    cdef uint8_t* begin
    cdef uint64_t found = BLOCK_SIZE - walk.within
    cdef uint32_t following
    if walk.block >= place.block_count:
        return NULL
    begin = place.data + <uint64_t> walk.block * BLOCK_SIZE + walk.within
    while found < most:
        following = next_block(place, walk.block)
        if following != walk.block + 1 or following >= place.block_count:
            break
        walk.block = following
        found += BLOCK_SIZE
    if found > most:
        walk.within = <uint32_t> (BLOCK_SIZE - (found - most))
        length[0] = most
    else:
        walk.block = next_block(place, walk.block)
        walk.within = 0
        length[0] = found
    return begin


cdef bint same_bytes(const Place* place, uint32_t first, uint64_t offset, const void* data,
                     uint64_t length) noexcept nogil:
    cdef Walk walk
    cdef uint64_t count
    cdef const uint8_t* piece
    cdef const uint8_t* expected = <const uint8_t*> data
    if not walk_to(place, first, offset, &walk):
        return False
    while length:
        piece = walk_on(place, &walk, length, &count)
        if piece == NULL or memcmp(piece, expected, count) != 0:
            return False
        expected += count
        length -= count
    return True


cdef bint copy_out(const Place* place, uint32_t first, uint64_t offset, void* target, uint64_t length) noexcept nogil:
    cdef Walk walk
    cdef uint64_t count
    cdef const uint8_t* piece
    cdef uint8_t* at = <uint8_t*> target
    if not walk_to(place, first, offset, &walk):
        return length == 0
    while length:
        piece = walk_on(place, &walk, length, &count)
        if piece == NULL:
            return False
        memcpy(at, piece, count)
        at += count
        length -= count
    return True


# --- reading ---------------------------------------------------------------------------------------------------------
cdef inline uint64_t settled_word(const Block* block) noexcept nogil:
    """The word of a first block. Who freshens an entry does so in an instant."""
    cdef uint32_t _attempt
    cdef uint64_t word = cache_load(&block.word)
    for _attempt in range(<uint32_t> CHANGING_ATTEMPTS):
        if state_of(word) != CHANGING:
            break
        cache_pause()
        word = cache_load(&block.word)
    return word


cdef inline EntryHead* head_at(const Place* place, uint32_t block) noexcept nogil:
    return <EntryHead*> (place.data + <uint64_t> block * BLOCK_SIZE)


cdef bint is_void(const CacheStore* store, const EntryHead* head) noexcept nogil:
    """Whether one of its marks, or everything, was purged after its request began."""
    cdef Header* header = header_of(store)
    cdef uint64_t* marks = marks_of(store)
    cdef uint32_t at
    if cache_load(&header.sequence) == head.sequence:
        return False
    if cache_load(&header.purged) > head.sequence:
        return True
    for at in range(min(<uint32_t> head.mark_count, <uint32_t> MAX_MARKS)):
        if cache_load(marks + (head.marks[at] & header.places)) > head.sequence:
            return True
    return False


cdef bint look_up(const CacheStore* store, const Place* place, uint64_t hash, const CacheKey* key, const void* full_key,
                  uint32_t key_length, StoredEntry* found) noexcept nogil:
    """The entry with this key, and with this full key unless that is NULL; void or not."""
    cdef uint64_t* bucket = place.index + <uint64_t> bucket_of(place, hash) * WAYS
    cdef uint32_t tag = tag_of(hash)
    cdef uint32_t way, block
    cdef uint64_t hint, word
    cdef EntryHead* head
    for way in range(<uint32_t> WAYS):
        hint = cache_load(bucket + way)
        block = <uint32_t> hint - 1
        if <uint32_t> (hint >> 32) != tag or block >= place.block_count:
            continue
        head = head_at(place, block)
        cache_prefetch(head)
        cache_prefetch(<uint8_t*> head + 64)
        cache_prefetch(<uint8_t*> head + 192)
        word = settled_word(&place.blocks[block])
        if state_of(word) != USED:
            continue
        memcpy(&found.head, head, sizeof(EntryHead))
        if not same_key(&found.head.key, key):
            continue
        if full_key != NULL and (found.head.key_length != key_length
                                 or not same_bytes(place, block, sizeof(EntryHead), full_key, key_length)):
            continue
        cache_read_fence()
        if cache_load(&place.blocks[block].word) != word:
            continue
        found.shard = place.number
        found.block = block
        found.version = version_of(word)
        found.pin = 0
        return True
    return False


cdef bint cache_find(CacheStore* store, const CacheKey* key, const void* full_key, uint32_t key_length, int64_t now_ms,
                     StoredEntry* found) noexcept nogil:
    cdef Place place
    cdef uint64_t hash
    cdef Block* block
    if store.shard_count == 0:
        return False
    hash = place_hash(store, key)
    find_place(store, shard_of(store, hash), &place)
    if not look_up(store, &place, hash, key, full_key, key_length, found):
        return False
    block = &place.blocks[found.block]
    if found.head.keep_until_ms <= now_ms or is_void(store, &found.head):
        # nobody will ever find it again: the hand may take it
        cache_swap(&block.word, block_word(found.version, USED), block_word(found.version + 1, LIMBO))
        return False
    if cache_load32(&block.referenced) == 0:
        cache_put32(&block.referenced, 1)
    return True


cdef inline bint is_same(const Place* place, const StoredEntry* entry) noexcept nogil:
    return cache_load(&place.blocks[entry.block].word) == block_word(entry.version, USED)


cdef inline bint is_within(const StoredEntry* entry, uint64_t offset, uint64_t length) noexcept nogil:
    """Whether an entry has these bytes behind its full key."""
    cdef uint64_t total = entry.head.prelude_length + entry.head.body_length
    return offset <= total and length <= total - offset


cdef bint cache_read(CacheStore* store, const StoredEntry* entry, uint64_t offset, void* target,
                     uint64_t length) noexcept nogil:
    cdef Place place
    find_place(store, entry.shard, &place)
    if not is_within(entry, offset, length):
        return False
    if not copy_out(&place, entry.block, sizeof(EntryHead) + entry.head.key_length + offset, target, length):
        return False
    cache_read_fence()
    return entry.pin != 0 or is_same(&place, entry)


cdef int cache_pieces(CacheStore* store, const StoredEntry* entry, uint64_t offset, uint64_t length, iovec* pieces,
                      int room) noexcept nogil:
    cdef Place place
    cdef Walk walk
    cdef uint64_t count
    cdef uint8_t* piece
    cdef int filled = 0
    find_place(store, entry.shard, &place)
    if not is_within(entry, offset, length):
        return 0
    if not walk_to(&place, entry.block, sizeof(EntryHead) + entry.head.key_length + offset, &walk):
        return 0
    while length and filled < room:
        piece = walk_on(&place, &walk, length, &count)
        if piece == NULL:
            break
        pieces[filled].iov_base = piece
        pieces[filled].iov_len = count
        filled += 1
        length -= count
    return filled


include "cache_store_pins.pxi"
include "cache_store_shards.pxi"
include "cache_store_writing.pxi"
include "cache_store_purging.pxi"
include "cache_store_view.pxi"
include "cache_store_testing.pxi"
