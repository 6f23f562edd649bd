# Owners and pins. Part of cache_store.pyx.
#
# A pin is the number of a block, written where everybody can see it. Who wants to pin writes it first and then looks
# whether the entry is still there; who wants to give blocks away takes the entry first and then looks for pins. So at
# least one of both notices the other.


cdef inline bint owner_lives(const CacheStore* store, uint32_t owner, uint64_t incarnation) noexcept nogil:
    """As far as the master has noticed."""
    cdef ControlWords* control = store.control
    if owner != CACHE_CONTROL:
        return worker_lives(control, owner, incarnation)
    return load_acquire(&control.control_pid) != 0 and load_acquire(&control.control_restarts) == incarnation


cdef inline bint is_mine(const CacheStore* store, uint32_t owner, uint64_t incarnation) noexcept nogil:
    return owner == store.owner and incarnation == store.incarnation


cdef inline Owner* owner_at(const CacheStore* store, uint64_t number) noexcept nogil:
    cdef Header* header = header_of(store)
    return <Owner*> (<uint8_t*> header + header.owners_offset + number * header.owner_size)


cdef inline uint64_t owner_number(const CacheStore* store) noexcept nogil:
    return 0 if store.owner == CACHE_CONTROL else <uint64_t> store.owner + 1


cdef inline uint64_t* pins_of(Owner* owner) noexcept nogil:
    return <uint64_t*> (owner + 1)


cdef inline uint64_t pin_of(const Place* place, uint32_t block) noexcept nogil:
    return <uint64_t> place.number * place.block_count + block + 1


cdef inline bint pins_count(const CacheStore* store, uint64_t number) noexcept nogil:
    """Whether the pins of an owner are those of a process that lives."""
    cdef Owner* owner = owner_at(store, number)
    if load_acquire(&owner.pins_used) == 0:
        return False
    return owner_lives(store, <uint32_t> number - 1 if number else <uint32_t> CACHE_CONTROL,
                       load_acquire(&owner.incarnation))


cdef bint is_pinned(const CacheStore* store, const Place* place, uint32_t block) noexcept nogil:
    """Whether somebody has pinned an entry that is in limbo."""
    cdef Header* header = header_of(store)
    cdef Owner* owner
    cdef uint64_t pin = pin_of(place, block)
    cdef uint64_t number, at
    fence_ordered()
    for number in range(load_acquire(&header.owners_seen)):
        if not pins_count(store, number):
            continue
        owner = owner_at(store, number)
        for at in range(min(load_acquire(&owner.pins_used), header.pins)):
            if load_acquire(pins_of(owner) + at) == pin:
                return True
    return False


cdef bint cache_pin(CacheStore* store, StoredEntry* entry) noexcept nogil:
    cdef Header* header = header_of(store)
    cdef Owner* owner = owner_at(store, owner_number(store))
    cdef uint64_t* pins = pins_of(owner)
    cdef uint64_t at = owner.hint
    cdef uint64_t tried = 0
    cdef Place place
    if entry.pin:
        return True
    while True:
        if at >= header.pins:
            at = 0
        if pins[at] == 0:
            break
        at += 1
        tried += 1
        if tried == header.pins:
            return False
    find_place(store, entry.shard, &place)
    if at >= owner.pins_used:
        store_release(&owner.pins_used, at + 1)
    store_release(pins + at, pin_of(&place, entry.block))
    fence_ordered()
    if not is_same(&place, entry):
        store_release(pins + at, 0)
        return False
    owner.hint = at + 1
    entry.pin = <uint32_t> at + 1
    return True


cdef void cache_unpin(CacheStore* store, StoredEntry* entry) noexcept nogil:
    cdef Owner* owner
    if entry.pin == 0:
        return
    owner = owner_at(store, owner_number(store))
    store_release(pins_of(owner) + entry.pin - 1, 0)
    owner.hint = entry.pin - 1
    entry.pin = 0


cdef void take_over_pins(CacheStore* store) noexcept nogil:
    """The pins of an owner become those of this process. None does it have yet, those that there are were another's."""
    cdef Header* header = header_of(store)
    cdef uint64_t number = owner_number(store)
    cdef Owner* owner = owner_at(store, number)
    cdef uint64_t seen = load_acquire(&header.owners_seen)
    cdef uint64_t at
    if load_acquire(&owner.incarnation) != store.incarnation:
        for at in range(min(load_acquire(&owner.pins_used), header.pins)):
            store_release(pins_of(owner) + at, 0)
        owner.hint = 0
        store_release(&owner.incarnation, store.incarnation)
    while seen <= number and not replace_ordered(&header.owners_seen, seen, number + 1):
        seen = load_acquire(&header.owners_seen)
