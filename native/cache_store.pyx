"""See cache_store.pxd."""


cdef bint cache_open(ControlWords* control, uint32_t owner, uint64_t incarnation, CacheStore* store) noexcept nogil:
    store.shard_count = 0
    return False


cdef void cache_take_over(CacheStore* store) noexcept nogil:
    pass


cdef bint cache_find(CacheStore* store, const CacheKey* key, const void* full_key, uint32_t key_length, int64_t now_ms,
                     StoredEntry* found) noexcept nogil:
    return False


cdef bint cache_read(CacheStore* store, const StoredEntry* entry, uint64_t offset, void* target,
                     uint64_t length) noexcept nogil:
    return False


cdef bint cache_pin(CacheStore* store, StoredEntry* entry) noexcept nogil:
    return False


cdef void cache_unpin(CacheStore* store, StoredEntry* entry) noexcept nogil:
    pass


cdef int cache_pieces(CacheStore* store, const StoredEntry* entry, uint64_t offset, uint64_t length, iovec* pieces,
                      int room) noexcept nogil:
    return 0


cdef bint cache_begin(CacheStore* store, Filling* filling, const CacheKey* key, const void* full_key,
                      uint32_t key_length, uint64_t sequence) noexcept nogil:
    return False


cdef bint cache_append(CacheStore* store, Filling* filling, const void* data, uint64_t length) noexcept nogil:
    return False


cdef bint cache_publish(CacheStore* store, Filling* filling, EntryHead* head) noexcept nogil:
    return False


cdef void cache_discard(CacheStore* store, Filling* filling) noexcept nogil:
    pass


cdef bint cache_freshen(CacheStore* store, StoredEntry* entry, const EntryHead* head) noexcept nogil:
    return False


cdef uint64_t cache_sequence(CacheStore* store) noexcept nogil:
    return 0


cdef uint32_t cache_mark_place(CacheStore* store, uint32_t kind, const void* text, uint32_t length) noexcept nogil:
    return 0


cdef void cache_mark(CacheStore* store, uint32_t place) noexcept nogil:
    pass


cdef void cache_purge_all(CacheStore* store) noexcept nogil:
    pass


cdef bint cache_remove(CacheStore* store, const CacheKey* key) noexcept nogil:
    return False
