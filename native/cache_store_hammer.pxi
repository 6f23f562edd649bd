# What the stress test does (tests/support/cache_stress.py): all operations at random, in the order and with the timing of
# native code, and every byte that is read is known. Part of cache_store.pyx.
#
# The content of an entry follows from its number (of NUMBERS keys), its epoch and a version that nobody else uses. Who
# purges a number raises its epoch first and notes afterwards that the epochs before are over: what is found by somebody
# who has read that note must not be older.

cdef enum:
    NUMBERS = 256
    TAGS = 16
    HELD = 6                     # pins and fillings that a process has at a time
    FIRST_EPOCH = 16             # word of the board; the counts are before it
    PIECES = 16

# Indexes of counts on the board.
cdef enum:
    COUNT_FOUND = 0
    COUNT_MISSED = 1
    COUNT_GONE = 2               # found, but gone when it was read
    COUNT_STORED = 3
    COUNT_REFUSED = 4
    COUNT_PINNED = 5
    COUNT_REMOVED = 6
    COUNT_FRESHENED = 7

HAMMER_COUNTS = ("found", "missed", "gone", "stored", "refused", "pinned", "removed", "freshened")
BOARD_WORDS = FIRST_EPOCH + 2 * NUMBERS

# The prelude of its entries.
ctypedef struct Content:
    uint64_t number
    uint64_t epoch
    uint64_t version
    uint64_t length              # of the body

ctypedef struct HeldEntry:
    StoredEntry entry
    Content content
    uint32_t held

ctypedef struct HeldFilling:
    Filling filling
    Content content
    uint64_t written
    uint32_t held


cdef inline uint64_t scatter(uint64_t value) noexcept nogil:
    value = (value ^ (value >> 30)) * <uint64_t> 0xbf58476d1ce4e5b9
    value = (value ^ (value >> 27)) * <uint64_t> 0x94d049bb133111eb
    return value ^ (value >> 31)


cdef inline uint64_t body_word(const Content* content, uint64_t at) noexcept nogil:
    return scatter(content.version + at * <uint64_t> 0x9e3779b97f4a7c15)


cdef void write_body(const Content* content, uint64_t offset, uint8_t* target, uint64_t length) noexcept nogil:
    """Bytes of the body that belongs to a content."""
    cdef uint64_t word
    cdef uint64_t within, count
    while length:
        within = offset % 8
        count = min(8 - within, length)
        word = body_word(content, offset // 8)
        memcpy(target, <uint8_t*> &word + within, count)
        target += count
        offset += count
        length -= count


cdef bint is_body(const Content* content, uint64_t offset, const uint8_t* data, uint64_t length) noexcept nogil:
    cdef uint64_t word
    cdef uint64_t within, count
    while length:
        within = offset % 8
        count = min(8 - within, length)
        word = body_word(content, offset // 8)
        if memcmp(data, <uint8_t*> &word + within, count) != 0:
            return False
        data += count
        offset += count
        length -= count
    return True


cdef class Hammer:
    cdef CacheView view
    cdef object board_object         # keeps the memory
    cdef uint64_t* board
    cdef uint64_t chance
    cdef uint64_t versions
    cdef uint64_t longest
    cdef uint8_t* room
    cdef HeldEntry[HELD] pinned
    cdef HeldFilling[HELD] fillings

    def __cinit__(self, CacheView view not None, board, uint64_t seed, uint64_t longest=300 * 1024):
        cdef uint64_t[::1] words = board.cast("Q") if board.format != "Q" else board
        if words.shape[0] < BOARD_WORDS:
            raise ValueError("the board is too small")
        self.view = view
        self.board_object = words
        self.board = &words[0]
        self.chance = scatter(seed + 1)
        self.versions = scatter(seed) << 24
        self.longest = longest
        self.room = <uint8_t*> malloc(longest)
        if self.room == NULL:
            raise MemoryError
        memset(self.pinned, 0, sizeof(self.pinned))
        memset(self.fillings, 0, sizeof(self.fillings))

    def __dealloc__(self):
        free(self.room)

    cdef uint64_t draw(self, uint64_t below) noexcept nogil:
        self.chance ^= self.chance << 13
        self.chance ^= self.chance >> 7
        self.chance ^= self.chance << 17
        return self.chance % below

    cdef void count(self, uint32_t what) noexcept nogil:
        add_and_get_ordered(self.board + what, 1)

    cdef CacheKey key_of(self, uint64_t number) noexcept nogil:
        cdef CacheKey key
        key.words[0] = scatter(number)
        key.words[1] = number
        key.words[2] = 0
        key.words[3] = 0
        return key

    # --- reading ------------------------------------------------------------------------------------------------------
    cdef int look(self, CacheStore* store) noexcept nogil:
        """Find an entry; read or pin it."""
        cdef uint64_t number = self.draw(NUMBERS)
        cdef uint64_t[20] full_key
        cdef CacheKey key = self.key_of(number)
        cdef uint64_t over = load_acquire(self.board + FIRST_EPOCH + NUMBERS + number)
        cdef HeldEntry* held = &self.pinned[self.draw(HELD)]
        cdef HeldEntry found
        cdef uint64_t length
        found.held = 0
        memset(full_key, <int> number, sizeof(full_key))
        if not cache_find(store, &key, full_key, sizeof(full_key), 1, &found.entry):
            self.count(COUNT_MISSED)
            return 0
        if not same_key(&found.entry.head.key, &key) or found.entry.head.prelude_length != sizeof(Content):
            return 1
        if self.draw(4) == 0 and not held.held:
            if not cache_pin(store, &found.entry):
                self.count(COUNT_GONE)
                return 0
            if not cache_read(store, &found.entry, 0, &found.content, sizeof(Content)):
                return 2
            held[0] = found
            held.held = 1
            self.count(COUNT_PINNED)
            return self.check_content(&held.content, &held.entry, number, over)
        if not cache_read(store, &found.entry, 0, &found.content, sizeof(Content)):
            self.count(COUNT_GONE)
            return 0
        length = min(found.entry.head.body_length, self.longest)
        if not cache_read(store, &found.entry, sizeof(Content), self.room, length):
            self.count(COUNT_GONE)
            return 0
        if self.draw(64) == 0 and cache_freshen(store, &found.entry, &found.entry.head):
            self.count(COUNT_FRESHENED)
        if not is_body(&found.content, 0, self.room, length):
            return 3
        self.count(COUNT_FOUND)
        return self.check_content(&found.content, &found.entry, number, over)

    cdef int check_content(self, const Content* content, const StoredEntry* entry, uint64_t number,
                           uint64_t over) noexcept nogil:
        if content.number != number or content.length != entry.head.body_length:
            return 4
        if content.epoch < over:
            return 5
        return 0

    cdef int check_pinned(self, CacheStore* store) noexcept nogil:
        """Look at all bytes of a pinned entry, as if they were sent, and let go of it now and then."""
        cdef HeldEntry* held = &self.pinned[self.draw(HELD)]
        cdef iovec[PIECES] pieces
        cdef uint64_t offset = 0
        cdef int count, at
        if not held.held:
            return 0
        while offset < held.content.length:
            count = cache_pieces(store, &held.entry, sizeof(Content) + offset, held.content.length - offset, pieces,
                                 PIECES)
            if count == 0:
                return 6
            for at in range(count):
                if not is_body(&held.content, offset, <uint8_t*> pieces[at].iov_base, pieces[at].iov_len):
                    return 7
                offset += pieces[at].iov_len
        if self.draw(3) == 0:
            cache_unpin(store, &held.entry)
            held.held = 0
        return 0

    # --- writing ------------------------------------------------------------------------------------------------------
    cdef void begin(self, CacheStore* store, HeldFilling* held) noexcept nogil:
        cdef uint64_t[20] full_key
        cdef uint64_t sequence = cache_sequence(store)
        cdef CacheKey key
        held.content.number = self.draw(NUMBERS)
        held.content.epoch = load_acquire(self.board + FIRST_EPOCH + held.content.number)
        self.versions += 1
        held.content.version = self.versions
        held.content.length = self.draw(self.longest) if self.draw(16) == 0 else self.draw(4000)
        held.written = 0
        key = self.key_of(held.content.number)
        memset(full_key, <int> held.content.number, sizeof(full_key))
        held.held = (cache_begin(store, &held.filling, &key, full_key, sizeof(full_key), sequence)
                     and cache_append(store, &held.filling, &held.content, sizeof(Content)))
        if not held.held:
            self.count(COUNT_REFUSED)

    cdef void write(self, CacheStore* store) noexcept nogil:
        """A step of an entry that is being written."""
        cdef HeldFilling* held = &self.fillings[self.draw(HELD)]
        cdef EntryHead head
        cdef uint64_t length
        if not held.held:
            self.begin(store, held)
            return
        if held.written < held.content.length and self.draw(50):
            length = 1 + self.draw(min(held.content.length - held.written, <uint64_t> 65536))
            write_body(&held.content, held.written, self.room, length)
            held.written += length
            held.held = cache_append(store, &held.filling, self.room, length)
            if not held.held:
                self.count(COUNT_REFUSED)
            return
        held.held = 0
        if held.written < held.content.length:
            cache_discard(store, &held.filling)
            return
        memset(&head, 0, sizeof(EntryHead))
        head.keep_until_ms = 2
        head.prelude_length = sizeof(Content)
        head.mark_count = 1
        head.marks[0] = self.mark_of(store, held.content.number % TAGS)
        self.count(COUNT_STORED if cache_publish(store, &held.filling, &head) else COUNT_REFUSED)

    # --- purging ------------------------------------------------------------------------------------------------------
    cdef uint32_t mark_of(self, CacheStore* store, uint64_t tag) noexcept nogil:
        return cache_mark_place(store, 1, &tag, 8)

    cdef void purge(self, CacheStore* store) noexcept nogil:
        """One number, those of a tag, or all."""
        cdef uint64_t[NUMBERS] epochs
        cdef uint64_t first = self.draw(NUMBERS)
        cdef uint64_t step = NUMBERS
        cdef uint64_t kind = self.draw(40)
        cdef uint64_t number
        cdef CacheKey key
        if kind == 0:
            first = 0
            step = 1
        elif kind < 10:
            first %= TAGS
            step = TAGS
        number = first
        while number < NUMBERS:
            epochs[number] = add_and_get_ordered(self.board + FIRST_EPOCH + number, 1)
            number += step
        if kind == 0:
            cache_purge_all(store)
        elif kind < 10:
            cache_mark(store, self.mark_of(store, first))
        else:
            key = self.key_of(first)
            cache_remove(store, &key)
        number = first
        while number < NUMBERS:
            raise_to(self.board + FIRST_EPOCH + NUMBERS + number, epochs[number])
            number += step
        self.count(COUNT_REMOVED)

    def work(self, uint32_t rounds):
        """0, or what was wrong: a number in this file."""
        cdef CacheStore* store = &self.view.store_
        cdef uint32_t _round
        cdef uint64_t kind
        cdef int wrong = 0
        with nogil:
            for _round in range(rounds):
                kind = self.draw(1000)
                if kind < 400:
                    wrong = self.look(store)
                elif kind < 500:
                    wrong = self.check_pinned(store)
                elif kind < 995:
                    self.write(store)
                else:
                    self.purge(store)
                if wrong:
                    break
        return wrong

    def rest(self):
        """Discard what is begun, unpin what is pinned."""
        cdef uint32_t at
        for at in range(<uint32_t> HELD):
            if self.pinned[at].held:
                cache_unpin(&self.view.store_, &self.pinned[at].entry)
            if self.fillings[at].held:
                cache_discard(&self.view.store_, &self.fillings[at].filling)
            self.pinned[at].held = 0
            self.fillings[at].held = 0
