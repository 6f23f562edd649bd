# Entries from begin to publish. Part of cache_store.pyx.
#
# Bytes are copied into blocks that belong to the filling, without the lock; it is held for taking blocks and for making
# the entry known.


cdef inline uint64_t blocks_for(uint64_t size) noexcept nogil:
    return (size + BLOCK_SIZE - 1) // BLOCK_SIZE


cdef inline void count_skipped(CacheStore* store) noexcept nogil:
    add_and_get_ordered(&header_of(store).skipped, 1)


cdef bint add_blocks(const CacheStore* store, const Place* place, Filling* filling, uint64_t count) noexcept nogil:
    """Append blocks to the chain of a filling. False: no room, or somebody else holds the shard."""
    cdef uint32_t block
    if not lock_shard(store, place):
        return False
    if not make_room(store, place, count):
        unlock_shard(place)
        return False
    while count:
        block = take_block(store, place)
        if filling.active:
            store_relaxed32(&place.blocks[filling.last_block].next, block + 1)
        else:
            filling.first_block = block
            filling.active = 1
        filling.last_block = block
        count -= 1
    unlock_shard(place)
    return True


cdef void copy_in(const Place* place, Walk* walk, const void* data, uint64_t length) noexcept nogil:
    cdef const uint8_t* source = <const uint8_t*> data
    cdef uint64_t count
    cdef uint8_t* piece
    while length:
        piece = walk_on(place, walk, length, &count)
        if piece == NULL:
            return               # cannot be: there are as many blocks as are needed
        memcpy(piece, source, count)
        source += count
        length -= count


cdef bint cache_begin(CacheStore* store, Filling* filling, const CacheKey* key, const void* full_key,
                      uint32_t key_length, uint64_t sequence) noexcept nogil:
    cdef Place place
    cdef Walk walk
    cdef EntryHead* head
    filling.active = 0
    if store.shard_count == 0:
        return False
    if sizeof(EntryHead) + <uint64_t> key_length > store.longest:
        count_skipped(store)
        return False
    filling.key = key[0]
    filling.sequence = sequence
    filling.length = key_length
    filling.shard = shard_of(store, place_hash(store, key))
    find_place(store, filling.shard, &place)
    if not add_blocks(store, &place, filling, blocks_for(sizeof(EntryHead) + <uint64_t> key_length)):
        count_skipped(store)
        return False
    head = head_at(&place, filling.first_block)
    head.key_length = key_length
    walk.block = filling.first_block
    walk.within = sizeof(EntryHead)
    copy_in(&place, &walk, full_key, key_length)
    return True


cdef bint cache_append(CacheStore* store, Filling* filling, const void* data, uint64_t length) noexcept nogil:
    cdef Place place
    cdef Walk walk
    cdef uint64_t size = sizeof(EntryHead) + filling.length
    cdef uint64_t blocks = blocks_for(size)
    cdef uint32_t last = filling.last_block
    if not filling.active:
        return False
    if length == 0:
        return True
    find_place(store, filling.shard, &place)
    if length > store.longest - size or (
            blocks_for(size + length) > blocks
            and not add_blocks(store, &place, filling, blocks_for(size + length) - blocks)):
        count_skipped(store)
        cache_discard(store, filling)
        return False
    walk.block = last
    walk.within = <uint32_t> (size - (blocks - 1) * BLOCK_SIZE)
    if walk.within == BLOCK_SIZE:
        walk.block = next_block(&place, last)
        walk.within = 0
    copy_in(&place, &walk, data, length)
    filling.length += length
    return True


cdef void cache_discard(CacheStore* store, Filling* filling) noexcept nogil:
    cdef Place place
    cdef uint32_t block = filling.first_block
    cdef uint32_t following
    cdef Block* described
    cdef bint locked
    if not filling.active:
        return
    filling.active = 0
    find_place(store, filling.shard, &place)
    locked = lock_shard(store, &place)
    while block < place.block_count:
        following = next_block(&place, block)
        if locked:
            give_block(&place, block)
        else:                    # the hand takes it, in a while
            described = &place.blocks[block]
            store_release(&described.word, block_word(version_of(load_acquire(&described.word)), DISCARDED))
        block = following
    if locked:
        unlock_shard(&place)


# --- publishing ------------------------------------------------------------------------------------------------------
cdef bint is_outdated(const CacheStore* store, const Place* place, uint64_t hash,
                      const EntryHead* head) noexcept nogil:
    """Whether something was purged or removed, since its request began, that this entry may be."""
    return (load_acquire(&header_of(store).removed) > head.sequence
            or load_acquire(&place.shard.removals[hash % REMOVAL_PLACES]) > head.sequence
            or is_void(store, head))


cdef uint32_t choose_way(const Place* place, const uint64_t* bucket, uint32_t tag, const CacheKey* key,
                         uint32_t* old) noexcept nogil:
    """The word of a bucket for a new entry. `old`: the word of one with the same key, or WAYS."""
    cdef uint32_t way, block, state
    cdef uint32_t empty = WAYS
    cdef uint32_t unused = WAYS
    old[0] = WAYS
    for way in range(<uint32_t> WAYS):
        block = <uint32_t> bucket[way] - 1
        if block >= place.block_count:
            empty = way
            continue
        state = state_of(load_acquire(&place.blocks[block].word))
        if state != USED:
            empty = way          # in limbo: it is not looked for any more
        elif <uint32_t> (bucket[way] >> 32) == tag and same_key(&head_at(place, block).key, key):
            old[0] = way
        elif load_relaxed32(&place.blocks[block].referenced) == 0:
            unused = way
    if empty < WAYS:
        return empty
    if old[0] < WAYS:
        return old[0]
    return unused if unused < WAYS else tag % WAYS


cdef bint make_known(CacheStore* store, const Place* place, uint64_t hash, uint32_t first,
                     const EntryHead* head) noexcept nogil:
    """Put an entry into the index in place of one with the same key, with the lock held. False: it is outdated; its blocks
    are free.

    It can be seen before it can be found. Who removes something notes that first and looks for it then; here it is the
    other way round; so one of both notices the other.
    """
    cdef uint32_t bucket_number = bucket_of(place, hash)
    cdef uint64_t* bucket = place.index + <uint64_t> bucket_number * WAYS
    cdef Block* described = &place.blocks[first]
    cdef uint32_t version = version_of(load_acquire(&described.word))
    cdef uint32_t block = next_block(place, first)
    cdef uint32_t old, way, displaced, replaced
    while block < place.block_count:
        store_release(&place.blocks[block].word, block_word(version_of(load_acquire(&place.blocks[block].word)), CHAINED))
        block = next_block(place, block)
    described.bucket = bucket_number
    store_relaxed32(&described.referenced, 0)
    store_release(&described.word, block_word(version, PUBLISHING))
    way = choose_way(place, bucket, tag_of(hash), &head.key, &old)
    displaced = <uint32_t> bucket[way] - 1
    replaced = <uint32_t> bucket[old] - 1 if old < WAYS else place.block_count
    store_release(bucket + way, <uint64_t> tag_of(hash) << 32 | (first + 1))
    place.shard.entries += 1
    fence_ordered()
    published = (not is_outdated(store, place, hash, head)
                 and replace_ordered(&described.word, block_word(version, PUBLISHING), block_word(version + 1, USED)))
    if replaced < place.block_count:
        evict(store, place, replaced)
    if displaced < place.block_count and displaced != replaced:
        if state_of(load_acquire(&place.blocks[displaced].word)) == USED:
            add_and_get_ordered(&header_of(store).evictions, 1)
        evict(store, place, displaced)
    if not published:
        store_release(&described.word, block_word(version + 1, LIMBO))
        give_entry(place, first)
    return published


cdef bint cache_publish(CacheStore* store, Filling* filling, EntryHead* head) noexcept nogil:
    cdef Place place
    cdef EntryHead* stored
    cdef uint64_t hash
    cdef bint published
    if not filling.active:
        return False
    find_place(store, filling.shard, &place)
    stored = head_at(&place, filling.first_block)
    head.key = filling.key
    head.sequence = filling.sequence
    head.key_length = stored.key_length
    if head.prelude_length > filling.length - head.key_length or head.mark_count > MAX_MARKS:
        cache_discard(store, filling)
        return False
    head.body_length = filling.length - head.key_length - head.prelude_length
    stored[0] = head[0]
    hash = place_hash(store, &filling.key)
    if is_outdated(store, &place, hash, head):
        add_and_get_ordered(&header_of(store).refused, 1)
        cache_discard(store, filling)
        return False
    if not lock_shard(store, &place):
        count_skipped(store)
        cache_discard(store, filling)
        return False
    filling.active = 0
    published = make_known(store, &place, hash, filling.first_block, head)
    unlock_shard(&place)
    if not published:
        add_and_get_ordered(&header_of(store).refused, 1)
    return published


cdef bint cache_freshen(CacheStore* store, StoredEntry* entry, const EntryHead* head) noexcept nogil:
    cdef Place place
    cdef EntryHead* stored
    cdef uint64_t* word
    cdef bint freshened
    find_place(store, entry.shard, &place)
    word = &place.blocks[entry.block].word
    if not lock_shard(store, &place):
        return False
    freshened = replace_ordered(word, block_word(entry.version, USED), block_word(entry.version + 1, CHANGING))
    if freshened:
        stored = head_at(&place, entry.block)
        copy_times(stored, head)
        copy_times(&entry.head, head)
        fence_ordered()
        entry.version += 2
        # somebody may have taken the entry away meanwhile
        freshened = replace_ordered(word, block_word(entry.version - 1, CHANGING), block_word(entry.version, USED))
    unlock_shard(&place)
    return freshened


cdef void copy_times(EntryHead* target, const EntryHead* head) noexcept nogil:
    target.stored_ms = head.stored_ms
    target.keep_until_ms = head.keep_until_ms
    target.fresh_until_ms = head.fresh_until_ms
    target.stale_while_revalidate_ms = head.stale_while_revalidate_ms
    target.stale_if_error_ms = head.stale_if_error_ms
    target.initial_age_ms = head.initial_age_ms
    target.last_modified = head.last_modified
    target.flags = head.flags
