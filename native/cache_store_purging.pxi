# Marks and removals. Part of cache_store.pyx.


cdef inline uint64_t new_sequence(CacheStore* store) noexcept nogil:
    return add_and_get_ordered(&header_of(store).sequence, 1)


cdef void raise_to(uint64_t* word, uint64_t sequence) noexcept nogil:
    cdef uint64_t known = load_acquire(word)
    while known < sequence and not replace_ordered(word, known, sequence):
        known = load_acquire(word)


cdef uint64_t cache_sequence(CacheStore* store) noexcept nogil:
    return load_acquire(&header_of(store).sequence) if store.shard_count else 0


cdef uint32_t cache_mark_place(CacheStore* store, uint32_t kind, const void* text, uint32_t length) noexcept nogil:
    if store.shard_count == 0:
        return 0
    return <uint32_t> (xxh64(text, length, store.control.cache_seed + kind) & header_of(store).places)


cdef void cache_mark(CacheStore* store, uint32_t place) noexcept nogil:
    if store.shard_count:
        raise_to(marks_of(store) + (place & header_of(store).places), new_sequence(store))


cdef void cache_purge_all(CacheStore* store) noexcept nogil:
    if store.shard_count:
        raise_to(&header_of(store).purged, new_sequence(store))


# --- removing --------------------------------------------------------------------------------------------------------
cdef inline bint can_be_removed(uint64_t word) noexcept nogil:
    """Whether it is the first block of an entry that is, or is about to be, found."""
    return state_of(word) == USED or state_of(word) == PUBLISHING or state_of(word) == CHANGING


cdef bint look_at(const Place* place, uint32_t block, EntryHead* head, uint64_t* word) noexcept nogil:
    """The head of the entry that begins at a block. False: none does. `word`: what retire() wants."""
    cdef uint32_t _attempt
    for _attempt in range(<uint32_t> CHANGING_ATTEMPTS):
        word[0] = load_acquire(&place.blocks[block].word)
        if not can_be_removed(word[0]):
            return False
        memcpy(head, head_at(place, block), sizeof(EntryHead))
        fence_acquire()
        if load_acquire(&place.blocks[block].word) == word[0]:
            return True
    return False


cdef void give_soon(const CacheStore* store, const Place* place, uint32_t block) noexcept nogil:
    """Give the blocks of an entry in limbo to others, if that can be done now; otherwise the hand does it."""
    if not lock_shard(store, place):
        return
    if state_of(load_acquire(&place.blocks[block].word)) == LIMBO:
        give_if_unpinned(store, place, block)
    unlock_shard(place)


cdef bint cache_remove(CacheStore* store, const CacheKey* key) noexcept nogil:
    cdef Place place
    cdef EntryHead head
    cdef uint64_t hash, word
    cdef uint64_t* bucket
    cdef uint32_t way, block
    cdef bint removed = False
    if store.shard_count == 0:
        return False
    hash = place_hash(store, key)
    find_place(store, shard_of(store, hash), &place)
    bucket = place.index + <uint64_t> bucket_of(&place, hash) * WAYS
    raise_to(&place.shard.removals[hash % REMOVAL_PLACES], new_sequence(store))
    fence_ordered()
    for way in range(<uint32_t> WAYS):
        block = <uint32_t> load_acquire(bucket + way) - 1
        if block >= place.block_count:
            continue
        # It fails only when somebody publishes or freshens it meanwhile.
        while look_at(&place, block, &head, &word) and same_key(&head.key, key):
            if retire(&place, block, word):
                if not is_void(store, &head):
                    removed = True
                give_soon(store, &place, block)
                break
    return removed
