# Finding entries and reading them. Part of cache_store.pyx.

# --- walking along a chain -------------------------------------------------------------------------------------------
# Whoever walks without a pin may be led anywhere, but never out of the shard and never for longer than he has asked.
ctypedef struct Walk:
    uint32_t block
    uint32_t within


cdef inline uint32_t next_block(const Place* place, uint32_t block) noexcept nogil:
    """Not a block (>= block_count) after the last one."""
    return load_relaxed32(&place.blocks[block].next) - 1


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
    cdef uint64_t word = load_acquire(&block.word)
    for _attempt in range(<uint32_t> CHANGING_ATTEMPTS):
        if state_of(word) != CHANGING:
            break
        cache_pause()
        word = load_acquire(&block.word)
    return word


cdef inline EntryHead* head_at(const Place* place, uint32_t block) noexcept nogil:
    return <EntryHead*> (place.data + <uint64_t> block * BLOCK_SIZE)


cdef bint is_void(const CacheStore* store, const EntryHead* head) noexcept nogil:
    """Whether one of its marks, or everything, was purged after its request began."""
    cdef Header* header = header_of(store)
    cdef uint64_t* marks = marks_of(store)
    cdef uint32_t at
    if load_acquire(&header.sequence) == head.sequence:
        return False
    if load_acquire(&header.purged) > head.sequence:
        return True
    for at in range(min(<uint32_t> head.mark_count, <uint32_t> MAX_MARKS)):
        if load_acquire(marks + (head.marks[at] & header.places)) > head.sequence:
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
        hint = load_acquire(bucket + way)
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
        fence_acquire()
        if load_acquire(&place.blocks[block].word) != word:
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
        replace_ordered(&block.word, block_word(found.version, USED), block_word(found.version + 1, LIMBO))
        return False
    if load_relaxed32(&block.referenced) == 0:
        store_relaxed32(&block.referenced, 1)
    return True


cdef inline bint is_same(const Place* place, const StoredEntry* entry) noexcept nogil:
    return load_acquire(&place.blocks[entry.block].word) == block_word(entry.version, USED)


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
    fence_acquire()
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
