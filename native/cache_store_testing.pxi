# For tests: entries in parts, pins, deaths. Part of cache_store.pyx.
cdef extern from "<signal.h>" nogil:
    int raise_signal "raise"(int number)
    int SIGSTOP


cdef class HalfEntry:
    """An entry that is being written."""

    cdef CacheView view
    cdef Filling filling
    cdef readonly bint begun

    def __init__(self, CacheView view not None, str key not None, bytes full_key not None, sequence=None):
        cdef CacheKey wanted = parse_key(key)
        cdef const char* text = full_key
        cdef uint64_t at = cache_sequence(&view.store_) if sequence is None else sequence
        self.view = view
        self.begun = cache_begin(&view.store_, &self.filling, &wanted, text, <uint32_t> len(full_key), at)

    def append(self, bytes data not None):
        cdef const char* text = data
        return cache_append(&self.view.store_, &self.filling, text, <uint64_t> len(data))

    def publish(self, marks=(), **fields):
        cdef EntryHead head
        memset(&head, 0, sizeof(EntryHead))
        fill_head(&head, {"keep_until_ms": 9_000_000_000_000} | fields)
        head.mark_count = len(marks)
        for number, place in enumerate(marks):
            head.marks[<uint32_t> number] = place
        return cache_publish(&self.view.store_, &self.filling, &head)

    def discard(self):
        cache_discard(&self.view.store_, &self.filling)


cdef class FoundEntry:
    """An entry that a request has found, pinned or not. KeyError: there is none."""

    cdef CacheView view
    cdef StoredEntry entry

    def __init__(self, CacheView view not None, str key not None, bytes full_key not None, now_ms=1):
        cdef CacheKey wanted = parse_key(key)
        cdef const char* text = full_key
        self.view = view
        if not cache_find(&view.store_, &wanted, text, <uint32_t> len(full_key), now_ms, &self.entry):
            raise KeyError(key)

    def pin(self):
        return cache_pin(&self.view.store_, &self.entry)

    def unpin(self):
        cache_unpin(&self.view.store_, &self.entry)

    def read(self, uint64_t offset=0, length=None):
        """Bytes behind the full key; None: the entry has gone."""
        cdef uint64_t wanted = self.size - offset if length is None else length
        cdef bytes copied = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> wanted)
        return copied if cache_read(&self.view.store_, &self.entry, offset, <char*> copied, wanted) else None

    def pieces(self, uint64_t offset, uint64_t length, int room):
        """What the pieces of a pinned entry hold."""
        cdef iovec[64] found
        cdef int count = cache_pieces(&self.view.store_, &self.entry, offset, length, found, min(room, 64))
        return [(<char*> found[at].iov_base)[: found[at].iov_len] for at in range(count)]

    def freshen(self, **fields):
        cdef EntryHead head
        fill_head(&head, fields)
        return cache_freshen(&self.view.store_, &self.entry, &head)

    @property
    def size(self):
        return self.entry.head.prelude_length + self.entry.head.body_length

    @property
    def shown(self):
        return show_head(&self.entry.head, b"")


cdef void find_place_of(CacheView view, str key, Place* place) except *:
    cdef CacheKey wanted = parse_key(key)
    find_place(&view.store_, shard_of(&view.store_, place_hash(&view.store_, &wanted)), place)


def hold_shard(CacheView view not None, str key not None) -> bool:
    """Take the lock of the shard of a key."""
    cdef Place place
    find_place_of(view, key, &place)
    return lock_shard(&view.store_, &place)


def release_shard(CacheView view not None, str key not None) -> None:
    """Give it back."""
    cdef Place place
    find_place_of(view, key, &place)
    unlock_shard(&place)


def bucket_of_key(CacheView view not None, str key not None) -> tuple[int, int]:
    """Shard and bucket."""
    cdef Place place
    cdef CacheKey wanted = parse_key(key)
    cdef uint64_t hash = place_hash(&view.store_, &wanted)
    find_place(&view.store_, shard_of(&view.store_, hash), &place)
    return place.number, bucket_of(&place, hash)


def store_between_stops(CacheView view not None, str key not None, bytes full_key not None, bytes body not None,
                        bytes rest not None, uint64_t sequence, bint give_up=False) -> None:
    """Write an entry in two parts, and publish or discard it. The process stops itself before and after, for somebody who
    goes through it step by step."""
    cdef Filling filling
    cdef EntryHead head
    cdef CacheKey wanted = parse_key(key)
    cdef const char* key_text = full_key
    cdef const char* body_text = body
    cdef const char* rest_text = rest
    cdef uint32_t key_length = <uint32_t> len(full_key)
    cdef uint64_t body_length = <uint64_t> len(body)
    cdef uint64_t rest_length = <uint64_t> len(rest)
    cdef CacheStore* store = &view.store_
    memset(&head, 0, sizeof(EntryHead))
    fill_head(&head, {"keep_until_ms": 9_000_000_000_000})
    with nogil:
        raise_signal(SIGSTOP)
        if (cache_begin(store, &filling, &wanted, key_text, key_length, sequence)
                and cache_append(store, &filling, body_text, body_length)
                and cache_append(store, &filling, rest_text, rest_length)):
            if give_up:
                cache_discard(store, &filling)
            else:
                cache_publish(store, &filling, &head)
        raise_signal(SIGSTOP)


def check_shards(CacheView view not None) -> dict[str, int]:
    """Count the blocks of each kind. AssertionError where a shard contradicts itself. Nobody may write meanwhile."""
    cdef Place place
    cdef uint32_t number
    total = dict.fromkeys(("free", "filling", "used", "limbo", "left_over"), 0)
    for number in range(view.store_.shard_count):
        find_place(&view.store_, number, &place)
        for name, count in check_shard(view, &place).items():
            total[name] += count
    return total


cdef dict check_shard(CacheView view, const Place* place):
    cdef Block* described
    cdef uint32_t block, at, state, way
    cdef uint64_t word
    counted = dict.fromkeys(("free", "filling", "used", "limbo", "left_over"), 0)
    chained = set()
    firsts = {}
    entries = 0
    assert lock_shard(&view.store_, place), "the shard is locked"
    for block in range(place.block_count):
        described = &place.blocks[block]
        word = load_acquire(&described.word)
        state = state_of(word)
        assert (state != FREE) == bool(place.map[block // 64] >> (block % 64) & 1), "the map is wrong"
        assert state == FREE or block < place.shard.touched, "used, but not touched"
        if state == FREE:
            counted["free"] += 1
        elif is_left_over(&view.store_, described, word):
            counted["left_over"] += 1
        elif state == FILLING:
            counted["filling"] += 1
        elif state == USED or state == LIMBO:
            entries += 1
            firsts[block] = state
            length = 0
            at = block
            while at < place.block_count:
                assert at not in chained, "two entries have a block in common"
                assert at == block or state_of(load_acquire(&place.blocks[at].word)) == CHAINED, "a broken chain"
                chained.add(at)
                length += 1
                at = next_block(place, at)
            head = head_at(place, block)
            size = sizeof(EntryHead) + head.key_length + head.prelude_length + head.body_length
            assert length == blocks_for(size), "a chain is too long or too short"
            counted["used" if state == USED else "limbo"] += length
        else:
            assert state == CHAINED, f"state {state}"
    assert sum(counted.values()) == place.block_count, "blocks are lost"
    assert counted["used"] + counted["limbo"] == len(chained)
    assert place.shard.used == place.block_count - counted["free"], "used is wrong"
    assert place.shard.entries == entries, "entries is wrong"
    indexed = [<uint32_t> place.index[at] - 1 for at in range(place.bucket_count * WAYS) if place.index[at]]
    assert len(indexed) == len(set(indexed)), "an entry is twice in the index"
    assert {block for block, state in firsts.items() if state == USED} <= set(indexed), "an entry cannot be found"
    assert set(indexed) <= set(firsts), "the index leads to nothing"
    unlock_shard(place)
    return counted
