# The lock of a shard, its blocks, what goes when there is no room, and what is done when somebody has died while writing.
# Part of cache_store.pyx.

cdef enum:
    LOCK_ATTEMPTS = 400          # looks at a lock; some 10 microseconds
    LOCK_LIFE = 64               # looks until it is found out whether its holder lives
    HAND_ROUNDS = 3              # the first takes away the references, the second takes entries


# --- lock ------------------------------------------------------------------------------------------------------------
cdef inline uint64_t lock_word(const CacheStore* store) noexcept nogil:
    return (<uint64_t> store.owner + 1) << 40 | (store.incarnation & <uint64_t> 0xffffffffff)


cdef bint lock_shard(const CacheStore* store, const Place* place) noexcept nogil:
    """False: somebody else holds it, and may be waiting for a processor just now."""
    cdef uint64_t* lock = &place.shard.lock
    cdef uint64_t mine = lock_word(store)
    cdef uint64_t held
    cdef uint32_t attempt
    # Who would be taken for dead must not hold a lock.
    if not owner_lives(store, store.owner, store.incarnation):
        return False
    for attempt in range(<uint32_t> LOCK_ATTEMPTS):
        held = load_acquire(lock)
        if held == 0:
            if replace_ordered(lock, 0, mine):
                return True
        elif attempt % LOCK_LIFE == 0 and not owner_lives(store, <uint32_t> (held >> 40) - 1, held & <uint64_t> 0xffffffffff):
            if replace_ordered(lock, held, mine):
                empty_shard(store, place)
                return True
        cache_pause()
    return False


cdef inline void unlock_shard(const Place* place) noexcept nogil:
    store_release(&place.shard.lock, 0)


# --- blocks, with the lock -------------------------------------------------------------------------------------------
cdef inline void give_block(const Place* place, uint32_t block) noexcept nogil:
    """Make a block free."""
    cdef Block* described = &place.blocks[block]
    store_release(&described.word, block_word(version_of(load_acquire(&described.word)), FREE))
    place.map[block // 64] &= ~(<uint64_t> 1 << (block % 64))
    place.shard.used -= 1


cdef uint32_t take_block(const CacheStore* store, const Place* place) noexcept nogil:
    """A free block, of which there must be one, for an entry that this process fills: the next one where it can be."""
    cdef Shard* shard = place.shard
    cdef uint32_t block = <uint32_t> shard.cursor
    cdef uint64_t left
    cdef Block* described
    while True:
        if block >= place.block_count:
            block = 0
        left = ~place.map[block // 64] >> (block % 64)
        if left:
            block += <uint32_t> first_zero(left)
            if block < place.block_count:
                break
        else:
            block = (block | 63) + 1
    place.map[block // 64] |= <uint64_t> 1 << (block % 64)
    shard.used += 1
    shard.cursor = block + 1
    if block >= shard.touched:
        store_release(&shard.touched, <uint64_t> block + 1)
    described = &place.blocks[block]
    store_relaxed32(&described.next, 0)
    described.incarnation = <uint32_t> store.incarnation
    store_release(&described.word, block_word(version_of(load_acquire(&described.word)), FILLING)
                  | <uint64_t> store.owner << 8)
    return block


cdef void forget(const Place* place, uint32_t block) noexcept nogil:
    """Take an entry out of the index."""
    cdef uint64_t* bucket = place.index + <uint64_t> (place.blocks[block].bucket % place.bucket_count) * WAYS
    cdef uint32_t way
    for way in range(<uint32_t> WAYS):
        if <uint32_t> bucket[way] == block + 1:
            store_release(bucket + way, 0)


cdef void give_entry(const Place* place, uint32_t first) noexcept nogil:
    """Make the blocks of an entry free that nobody can be reading."""
    cdef uint32_t block = first
    cdef uint32_t following
    forget(place, first)
    place.shard.entries -= 1
    # The first block goes first: as long as it is in limbo, its chain is whole.
    while block < place.block_count:
        following = next_block(place, block)
        give_block(place, block)
        block = following


cdef bint give_if_unpinned(const CacheStore* store, const Place* place, uint32_t block) noexcept nogil:
    """What is in limbo."""
    if is_pinned(store, place, block):
        return False
    give_entry(place, block)
    return True


cdef inline bint retire(const Place* place, uint32_t block, uint64_t word) noexcept nogil:
    """Take an entry away from those who look for it; needs no lock. False: it has changed."""
    return replace_ordered(&place.blocks[block].word, word, block_word(version_of(word) + 1, LIMBO))


cdef void evict(const CacheStore* store, const Place* place, uint32_t block) noexcept nogil:
    """Take away an entry, and give its blocks to others as soon as nobody reads it any more."""
    cdef uint64_t word = load_acquire(&place.blocks[block].word)
    if state_of(word) == USED:
        retire(place, block, word)
    if state_of(load_acquire(&place.blocks[block].word)) == LIMBO:
        give_if_unpinned(store, place, block)


cdef bint is_left_over(const CacheStore* store, const Block* block, uint64_t word) noexcept nogil:
    """Whether it belongs to nobody any more: a filling that was discarded, or whose process has died."""
    if state_of(word) == DISCARDED:
        return True
    if state_of(word) != FILLING or is_mine(store, owner_of(word), block.incarnation):
        return False
    return not owner_lives(store, owner_of(word), block.incarnation)


cdef bint make_room(const CacheStore* store, const Place* place, uint64_t blocks) noexcept nogil:
    """See that so many blocks are free: CLOCK. False: that cannot be; what could go has gone."""
    cdef Shard* shard = place.shard
    cdef uint64_t steps = shard.touched * HAND_ROUNDS
    cdef uint32_t block
    cdef uint64_t word
    cdef Block* described
    if blocks > place.block_count:
        return False
    while place.block_count - shard.used < blocks:
        if steps == 0:
            return False
        steps -= 1
        block = <uint32_t> shard.hand
        shard.hand = block + 1 if block + 1 < shard.touched else 0
        described = &place.blocks[block]
        word = load_acquire(&described.word)
        if state_of(word) == USED:
            if load_relaxed32(&described.referenced):
                store_relaxed32(&described.referenced, 0)
            else:
                add_and_get_ordered(&header_of(store).evictions, 1)
                evict(store, place, block)
        elif state_of(word) == LIMBO:
            give_if_unpinned(store, place, block)
        elif is_left_over(store, described, word):
            give_block(place, block)
    return True


# --- after a death ---------------------------------------------------------------------------------------------------
cdef void empty_shard(const CacheStore* store, const Place* place) noexcept nogil:
    """Bring a shard in order whose lock a dead process held: at whatever instruction it was killed, what matters to others
    is still there. What they fill is in the words of its blocks, what they have pinned hangs together.

    Harmless when it is begun again from the start, by who finds that this process has died meanwhile.
    """
    cdef Shard* shard = place.shard
    cdef uint32_t touched = <uint32_t> min(shard.touched, <uint64_t> place.block_count)
    cdef uint32_t block
    for block in range(touched):
        withdraw(place, block)
    memset(place.index, 0, <size_t> place.bucket_count * WAYS * 8)
    fence_ordered()
    keep_pinned(store, place)
    memset(place.map, 0, map_size(place.block_count))
    shard.touched = touched
    shard.used = 0
    shard.entries = 0
    shard.hand = 0
    shard.cursor = 0
    for block in range(touched):
        settle(store, place, block)
    add_and_get_ordered(&header_of(store).emptied, 1)


cdef void withdraw(const Place* place, uint32_t block) noexcept nogil:
    """Take away the entry that begins here, if one does."""
    cdef Block* described = &place.blocks[block]
    cdef uint64_t word = load_acquire(&described.word)
    described.kept = 0
    while state_of(word) == USED or state_of(word) == CHANGING:
        if retire(place, block, word):
            return
        word = load_acquire(&described.word)
    # Nobody has read one that was being published, and its chain may not be whole.
    if state_of(word) == PUBLISHING:
        store_release(&described.word, block_word(version_of(word) + 1, FREE))


cdef void keep_pinned(const CacheStore* store, const Place* place) noexcept nogil:
    """Note the blocks of entries in limbo that processes which live have pinned."""
    cdef Header* header = header_of(store)
    cdef uint64_t first_pin = pin_of(place, 0)
    cdef uint64_t number, at, pin
    cdef uint32_t block, left
    cdef Owner* owner
    for number in range(load_acquire(&header.owners_seen)):
        if not pins_count(store, number):
            continue
        owner = owner_at(store, number)
        for at in range(min(load_acquire(&owner.pins_used), header.pins)):
            pin = load_acquire(pins_of(owner) + at)
            if pin < first_pin or pin - first_pin >= place.block_count:
                continue
            block = <uint32_t> (pin - first_pin)
            if state_of(load_acquire(&place.blocks[block].word)) != LIMBO:
                continue
            left = place.block_count
            while block < place.block_count and left:
                place.blocks[block].kept = 1
                block = next_block(place, block)
                left -= 1


cdef void settle(const CacheStore* store, const Place* place, uint32_t block) noexcept nogil:
    """Give a block a place in the new map, or make it free."""
    cdef Block* described = &place.blocks[block]
    cdef uint64_t word = load_acquire(&described.word)
    cdef uint32_t state = state_of(word)
    if state == FILLING and not is_left_over(store, described, word):
        pass
    elif (state == LIMBO or state == CHAINED) and described.kept:
        if state == LIMBO:
            place.shard.entries += 1
    else:
        store_release(&described.word, block_word(version_of(word), FREE))
        return
    place.map[block // 64] |= <uint64_t> 1 << (block % 64)
    place.shard.used += 1


# --- taking over -----------------------------------------------------------------------------------------------------
cdef void cache_take_over(CacheStore* store) noexcept nogil:
    cdef Place place
    cdef uint32_t number, block
    cdef uint64_t word
    if store.shard_count == 0:
        return
    take_over_pins(store)
    for number in range(store.shard_count):
        find_place(store, number, &place)
        if load_acquire(&place.shard.touched) == 0 and load_acquire(&place.shard.lock) == 0:
            continue
        if not lock_shard(store, &place):
            continue             # the hand will come by
        for block in range(<uint32_t> place.shard.touched):
            word = load_acquire(&place.blocks[block].word)
            if owner_of(word) == store.owner and is_left_over(store, &place.blocks[block], word):
                give_block(&place, block)
        unlock_shard(&place)
