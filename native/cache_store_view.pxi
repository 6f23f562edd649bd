# The store from Python; see cache_store.pyi. Part of cache_store.pyx.
import time

from cpython.bytes cimport PyBytes_FromStringAndSize

cdef enum:
    READ_ATTEMPTS = 16           # at an entry that others replace all the time

# What store() and freshen() take by name.
HEAD_FIELDS = (
    "stored_ms", "keep_until_ms", "fresh_until_ms", "stale_while_revalidate_ms", "stale_if_error_ms", "initial_age_ms",
    "last_modified", "flags", "status", "field_count", "vary_count", "scope",
)


cdef CacheKey parse_key(str text) except *:
    cdef CacheKey key
    if len(text) != 64 or not set(text) <= set("0123456789abcdef"):
        raise ValueError("a key has 64 lower-case hex digits")
    for number in range(4):
        key.words[<uint32_t> number] = int(text[16 * number : 16 * number + 16], 16)
    return key


cdef str show_key(const CacheKey* key):
    return f"{key.words[0]:016x}{key.words[1]:016x}{key.words[2]:016x}{key.words[3]:016x}"


cdef int64_t milliseconds(now_ms) except? -1:
    return time.time_ns() // 1_000_000 if now_ms is None else now_ms


cdef dict show_head(const EntryHead* head, bytes full_key):
    return {
        "key": show_key(&head.key), "full_key": full_key, "sequence": head.sequence,
        "prelude_length": head.prelude_length, "body_length": head.body_length,
        "stored_ms": head.stored_ms, "keep_until_ms": head.keep_until_ms, "fresh_until_ms": head.fresh_until_ms,
        "stale_while_revalidate_ms": head.stale_while_revalidate_ms, "stale_if_error_ms": head.stale_if_error_ms,
        "initial_age_ms": head.initial_age_ms,
        "last_modified": None if head.last_modified == INT64_MIN else head.last_modified,
        "flags": head.flags, "status": head.status, "field_count": head.field_count, "vary_count": head.vary_count,
        "marks": [head.marks[at] for at in range(min(<uint32_t> head.mark_count, <uint32_t> MAX_MARKS))],
        "scope": head.scope,
    }


cdef fill_head(EntryHead* head, dict fields):
    """Set what a caller has given. TypeError for a field that there is not."""
    if unknown := fields.keys() - HEAD_FIELDS:
        raise TypeError(f"no field of an entry's head: {', '.join(sorted(unknown))}")
    head.stored_ms = fields.get("stored_ms", 0)
    head.keep_until_ms = fields.get("keep_until_ms", 0)
    head.fresh_until_ms = fields.get("fresh_until_ms", 0)
    head.stale_while_revalidate_ms = fields.get("stale_while_revalidate_ms", 0)
    head.stale_if_error_ms = fields.get("stale_if_error_ms", 0)
    head.initial_age_ms = fields.get("initial_age_ms", 0)
    last_modified = fields.get("last_modified")
    head.last_modified = INT64_MIN if last_modified is None else last_modified
    head.flags = fields.get("flags", 0)
    head.status = fields.get("status", 200)
    head.field_count = fields.get("field_count", 0)
    head.vary_count = fields.get("vary_count", 0)
    head.scope = fields.get("scope", 0)


cdef class CacheView:
    """The store of a gateway as one process sees it. Nothing here waits: an entry that others are writing is passed over."""

    cdef SharedState shared          # keeps the mapping
    cdef CacheStore store_

    def __init__(self, SharedState shared not None, owner=None, incarnation=None):
        cdef ControlWords* control = shared_control(shared.base)
        self.shared = shared
        if owner is None:
            owner = CACHE_CONTROL
            incarnation = shared.control_restarts if incarnation is None else incarnation
        else:
            incarnation = shared.worker(owner)["starts"] if incarnation is None else incarnation
        cache_open(control, owner, incarnation, &self.store_)
        cache_take_over(&self.store_)

    @property
    def longest(self):
        """Bytes that an entry may have."""
        return self.store_.longest

    # --- reading ------------------------------------------------------------------------------------------------------
    cdef bytes copy(self, const StoredEntry* entry, int64_t begin, uint64_t length):
        """Bytes of an entry from behind its head on. None: it has gone."""
        cdef Place place
        cdef bytes copied = PyBytes_FromStringAndSize(NULL, <Py_ssize_t> length)
        find_place(&self.store_, entry.shard, &place)
        if not copy_out(&place, entry.block, sizeof(EntryHead) + begin, <char*> copied, length):
            return None
        fence_acquire()
        return copied if entry.pin or is_same(&place, entry) else None

    cdef dict show(self, const StoredEntry* entry):
        """All of an entry. None: it has gone."""
        cdef uint64_t key_length = entry.head.key_length
        cdef uint64_t prelude_length = entry.head.prelude_length
        cdef bytes copied = self.copy(entry, 0, key_length + prelude_length + entry.head.body_length)
        if copied is None:
            return None
        shown = show_head(&entry.head, copied[:key_length])
        shown["prelude"] = copied[key_length : key_length + prelude_length]
        shown["body"] = copied[key_length + prelude_length :]
        return shown

    def get(self, str key not None, now_ms=None):
        """The entry of a key, whatever its full key."""
        cdef StoredEntry entry
        cdef Place place
        cdef CacheKey wanted = parse_key(key)
        cdef int64_t now = milliseconds(now_ms)
        cdef uint64_t hash
        if self.store_.shard_count == 0:
            return None
        hash = place_hash(&self.store_, &wanted)
        find_place(&self.store_, shard_of(&self.store_, hash), &place)
        for _ in range(READ_ATTEMPTS):
            if not look_up(&self.store_, &place, hash, &wanted, NULL, 0, &entry):
                return None
            if entry.head.keep_until_ms <= now or is_void(&self.store_, &entry.head):
                return None
            shown = self.show(&entry)
            if shown is not None:
                return shown
        return None

    def find(self, str key not None, bytes full_key not None, now_ms=None):
        """As requests do."""
        cdef StoredEntry entry
        cdef CacheKey wanted = parse_key(key)
        cdef const char* text = full_key
        if not cache_find(&self.store_, &wanted, text, <uint32_t> len(full_key), milliseconds(now_ms), &entry):
            return None
        return self.show(&entry)

    cdef dict entry_at(self, const Place* place, uint32_t block, EntryHead* head, uint64_t* word):
        """The head of what begins at a block, as long as it is that of `word`; None for nothing."""
        for _ in range(READ_ATTEMPTS):
            if not look_at(place, block, head, word):
                return None
            full_key = PyBytes_FromStringAndSize(NULL, head.key_length)
            copied = copy_out(place, block, sizeof(EntryHead), <char*> <bytes> full_key, head.key_length)
            fence_acquire()
            if copied and load_acquire(&place.blocks[block].word) == word[0]:
                return show_head(head, full_key)
        return None

    cdef list entries_of(self, uint32_t shard, int64_t now):
        cdef Place place
        cdef EntryHead head
        cdef uint64_t word
        cdef uint32_t block
        found = []
        find_place(&self.store_, shard, &place)
        for block in range(<uint32_t> min(load_acquire(&place.shard.touched), <uint64_t> place.block_count)):
            shown = self.entry_at(&place, block, &head, &word)
            if shown is not None and head.keep_until_ms > now and not is_void(&self.store_, &head):
                if state_of(word) != PUBLISHING:
                    found.append(shown)
        return found

    def entries(self, now_ms=None):
        """All that could be found now, in no order."""
        now = milliseconds(now_ms)
        for shard in range(self.store_.shard_count):
            yield from self.entries_of(shard, now)

    # --- writing ------------------------------------------------------------------------------------------------------
    def sequence(self):
        """To ask for before a request is sent whose response is to be stored."""
        return cache_sequence(&self.store_)

    def store(self, str key not None, bytes full_key not None, bytes body not None, *, bytes prelude=b"", sequence=None,
              int64_t keep_until_ms=9_000_000_000_000, marks=(), **head):
        """Store an entry in place of one with the same key."""
        cdef Filling filling
        cdef EntryHead stored
        cdef CacheKey wanted = parse_key(key)
        cdef const char* text = full_key
        cdef uint64_t at = cache_sequence(&self.store_) if sequence is None else sequence
        if len(marks) > MAX_MARKS:
            raise ValueError(f"an entry has at most {MAX_MARKS} marks")
        memset(&stored, 0, sizeof(EntryHead))
        fill_head(&stored, head)
        stored.keep_until_ms = keep_until_ms
        stored.mark_count = len(marks)
        for number, place in enumerate(marks):
            stored.marks[<uint32_t> number] = place
        stored.prelude_length = <uint32_t> len(prelude)
        if not cache_begin(&self.store_, &filling, &wanted, text, <uint32_t> len(full_key), at):
            return False
        text = prelude
        if not cache_append(&self.store_, &filling, text, <uint64_t> len(prelude)):
            return False
        text = body
        if not cache_append(&self.store_, &filling, text, <uint64_t> len(body)):
            return False
        return cache_publish(&self.store_, &filling, &stored)

    # --- purging ------------------------------------------------------------------------------------------------------
    def mark_place(self, uint32_t kind, bytes text not None):
        """What stands for a tag or address in the marks of an entry."""
        cdef const char* data = text
        return cache_mark_place(&self.store_, kind, data, <uint32_t> len(text))

    def mark(self, uint32_t kind, bytes text not None):
        """Void all entries whose request began before now and that carry this mark."""
        cache_mark(&self.store_, self.mark_place(kind, text))

    def remove(self, str key not None):
        """Remove an entry, and what is under way for its key. Whether there was one that could have been found."""
        cdef CacheKey wanted = parse_key(key)
        cdef bint there = self.get(key) is not None
        return cache_remove(&self.store_, &wanted) and there

    def remove_matching(self, predicate):
        """Remove all entries that a function chooses, and what is under way."""
        return self.remove_chosen(predicate, None, None)

    def remove_prefix(self, bytes prefix not None, scope=None):
        """Remove all entries whose full key begins so (and that are of this scope), and what is under way."""
        return self.remove_chosen(None, prefix, scope)

    def purge_all(self):
        """Void everything, and what is under way; its memory is given back as far as that can be done now."""
        cache_purge_all(&self.store_)
        return self.remove_chosen(None, b"", None)

    cdef remove_chosen(self, predicate, bytes prefix, scope):
        cdef uint32_t shard
        cdef int64_t now = milliseconds(None)
        if self.store_.shard_count == 0:
            return 0
        # First this, then the search: see make_known().
        raise_to(&header_of(&self.store_).removed, new_sequence(&self.store_))
        fence_ordered()
        counted = 0
        for shard in range(self.store_.shard_count):
            counted += self.remove_in(shard, predicate, prefix, scope, now)
        return counted

    cdef remove_in(self, uint32_t shard, predicate, bytes prefix, scope, int64_t now):
        cdef Place place
        cdef EntryHead head
        cdef uint64_t word
        cdef uint32_t block
        counted = 0
        find_place(&self.store_, shard, &place)
        for block in range(<uint32_t> min(load_acquire(&place.shard.touched), <uint64_t> place.block_count)):
            while self.is_chosen(&place, block, &head, &word, predicate, prefix, scope):
                if retire(&place, block, word):
                    counted += head.keep_until_ms > now
                    break
            if state_of(load_acquire(&place.blocks[block].word)) == LIMBO:
                give_soon(&self.store_, &place, block)
        return counted

    cdef bint is_chosen(self, const Place* place, uint32_t block, EntryHead* head, uint64_t* word, predicate,
                        bytes prefix, scope) except -1:
        cdef const char* text
        if predicate is not None:
            shown = self.entry_at(place, block, head, word)
            return shown is not None and bool(predicate(shown))
        if not look_at(place, block, head, word):
            return False
        if scope is not None and scope != head.scope:
            return False
        text = prefix
        return head.key_length >= <uint32_t> len(prefix) and same_bytes(
            place, block, sizeof(EntryHead), text, <uint64_t> len(prefix))

    def statistics(self):
        """How the store stands; see cache_store.pyi."""
        cdef Header* header = header_of(&self.store_)
        cdef Place place
        cdef uint32_t shard
        cdef uint64_t entries = 0
        cdef uint64_t used = 0
        if self.store_.shard_count == 0:
            return dict.fromkeys(("entries", "bytes", "size", "shards", "longest", "evictions", "emptied", "skipped",
                                  "purged"), 0)
        for shard in range(self.store_.shard_count):
            find_place(&self.store_, shard, &place)
            entries += load_acquire(&place.shard.entries)
            used += load_acquire(&place.shard.used)
        return {
            "entries": entries,
            "bytes": used * BLOCK_SIZE,
            "size": <uint64_t> self.store_.shard_count * self.store_.blocks_per_shard * BLOCK_SIZE,
            "shards": self.store_.shard_count,
            "longest": self.store_.longest,
            "evictions": load_acquire(&header.evictions),
            "emptied": load_acquire(&header.emptied),
            "skipped": load_acquire(&header.skipped),
            "purged": load_acquire(&header.refused),
        }
