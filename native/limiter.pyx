"""The table of counts; see limiter.pxd.

A *bucket* is sixteen places, four cache lines. Its first place is no count but says which insertion is under way:

    tag 0              none; the word's upper bits number the insertions so far
    tag of a key       that key is to get the place whose number the lowest byte of the word says

Whoever wants to insert a key numbers its insertion before it looks for the key, and announces it with a compare-and-swap
that fails when any other insertion came between: so a key cannot get two places. Whoever finds an insertion announced
finishes it first, be its author asleep or dead. Keys that have a place never look at the first one.

Words:
    fixed window     end of the window (seconds since the epoch, 32 bits) | count (32)
    sliding window   number of the window (its lower 20 bits) | count of the one before (22) | count (22)
    token bucket     when the bucket is full again, ns since the epoch

The loops end: a compare-and-swap fails only because another worker's went through.

The clocks of workers differ by some milliseconds, and each looks at its own once per round of its loop. A count therefore
never goes back by a window: who comes late to a window that others have left is counted in theirs. Only a clock that is
set back by more than a window begins the count anew.
"""

from libc.math cimport ceil
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from native.atomics cimport count_relaxed, load_acquire
from native.hashing cimport xxh64
from native.shm cimport SharedState, shared_control

cdef extern from *:
    """
    #include <stdint.h>
    #define LIMITER_PREFETCH(place) __builtin_prefetch((place), 1)

    /* Compare and swap sixteen aligned bytes. On failure, tag and word are what was found instead, read as one. */
    static inline int limiter_swap(void *place, uint64_t *tag, uint64_t *word, uint64_t new_tag, uint64_t new_word)
    {
    #if defined(__x86_64__)
        unsigned char swapped;
        __asm__ __volatile__("lock cmpxchg16b %1\\n\\tsete %0"
                             : "=q"(swapped), "+m"(*(unsigned __int128 *)place), "+a"(*tag), "+d"(*word)
                             : "b"(new_tag), "c"(new_word)
                             : "memory", "cc");
        return swapped;
    #else
        unsigned __int128 old = ((unsigned __int128)*word << 64) | *tag;
        unsigned __int128 new = ((unsigned __int128)new_word << 64) | new_tag;
        unsigned __int128 found = __sync_val_compare_and_swap((unsigned __int128 *)place, old, new);
        int swapped = found == old;
        *tag = (uint64_t)found;
        *word = (uint64_t)(found >> 64);
        return swapped;
    #endif
    }
    """
    void LIMITER_PREFETCH(const void* place) noexcept nogil
    bint limiter_swap(Place* place, uint64_t* tag, uint64_t* word, uint64_t new_tag, uint64_t new_word) noexcept nogil

cdef enum:
    KIND_BITS = 5                    # of a tag: algorithm and period
    SLIDING_BITS = 22                # of a count
    SLIDING_SHIFT = 44               # of the number of the window
    NUMBER_MASK = 0xfffff            # twenty bits: seconds come round after twelve days, minutes after two years
    DAY = 86400

cdef uint64_t NANOSECONDS = 1000000000
# A bucket that would be full later than this after the time that it needs: the clock was set back, or it was deeper.
cdef uint64_t CLOCK_SLACK = 5 * NANOSECONDS
cdef uint64_t KIND_MASK = (1 << KIND_BITS) - 1
cdef uint32_t[PERIODS] LENGTHS = [1, 60, 3600, DAY, 30 * DAY, 365 * DAY]

# What a place holds, read as one.
ctypedef struct Count:
    Place* place                     # NULL: there is none
    uint64_t tag
    uint64_t word


cdef LimiterTable limiter_table(ControlWords* control) noexcept nogil:
    cdef LimiterTable table
    cdef uint64_t count = control.limiter_size // (BUCKET_PLACES * sizeof(Place))
    # the first bucket's room is the header's
    table.bucket_count = <uint32_t> (count - 1 if count else 0)
    table.header = <TableHeader*> (<uint8_t*> control + control.limiter_offset) if table.bucket_count else NULL
    table.buckets = <Place*> (table.header + 1)
    table.secret = control.limiter_seed
    return table


# --- time ------------------------------------------------------------------------------------------------------------
cdef uint32_t period_length(uint32_t period) noexcept nogil:
    return LENGTHS[period]


cdef int64_t days_to(int64_t year, int64_t month) noexcept nogil:
    """Days from the epoch to the first of a month (1..12) of the Gregorian calendar."""
    # Counted in years that begin in March, so that the leap day is the last of its year.
    if month <= 2:
        year -= 1
        month += 12
    return 365 * year + year // 4 - year // 100 + year // 400 + (153 * (month - 3) + 2) // 5 - 719468


cdef void find_month(int64_t day, int64_t* year, int64_t* month) noexcept nogil:
    """Year and month of a day since the epoch; both are guessed, and corrected."""
    year[0] = 1970 + day // 366
    while days_to(year[0] + 1, 1) <= day:
        year[0] += 1
    month[0] = 1 + (day - days_to(year[0], 1)) // 31
    if month[0] < 12 and days_to(year[0], month[0] + 1) <= day:
        month[0] += 1


cdef void set_window(Moment* moment, uint32_t period, int64_t start, int64_t end, int64_t number) noexcept nogil:
    moment.start[period] = <uint32_t> start
    moment.end[period] = <uint32_t> end
    moment.number[period] = <uint32_t> number


cdef void set_moment(Moment* moment, int64_t seconds, uint64_t nanoseconds) noexcept nogil:
    cdef int64_t year, month, start
    cdef uint32_t period, length
    moment.nanoseconds = nanoseconds
    if moment.seconds == seconds and moment.end[<uint32_t> PERIOD_SECOND]:
        return
    moment.seconds = seconds
    for period in range(PERIOD_DAY + 1):
        length = LENGTHS[period]
        start = seconds // length
        set_window(moment, period, start * length, (start + 1) * length, start)
    if moment.start[<uint32_t> PERIOD_MONTH] <= seconds < moment.end[<uint32_t> PERIOD_MONTH]:
        return
    find_month(seconds // DAY, &year, &month)
    set_window(moment, PERIOD_MONTH, days_to(year, month) * DAY,
               (days_to(year, month + 1) if month < 12 else days_to(year + 1, 1)) * DAY, year * 12 + month)
    set_window(moment, PERIOD_YEAR, days_to(year, 1) * DAY, days_to(year + 1, 1) * DAY, year)


# --- places ----------------------------------------------------------------------------------------------------------
cdef LimiterKey limiter_key(const LimiterTable* table, const uint64_t* seeds, const void* identifier,
                            uint32_t length) noexcept nogil:
    cdef LimiterKey key
    key.place_hash = xxh64(identifier, length, seeds[0] ^ table.secret)
    key.tag_hash = xxh64(identifier, length, seeds[1] ^ table.secret)
    return key


cdef inline uint64_t tag_of(LimiterKey key, const Limit* limit) noexcept nogil:
    # never 0: algorithms begin with 1
    return (key.tag_hash & ~KIND_MASK) | <uint64_t> (limit.algorithm << 3) | limit.period


cdef inline Place* bucket_of(const LimiterTable* table, LimiterKey key, const Limit* limit) noexcept nogil:
    """The limits of a key lie in different buckets, so that one with many does not fill its own."""
    cdef uint64_t spread = (key.place_hash + limit.period * <uint64_t> 0x9e3779b97f4a7c15) >> 32
    return table.buckets + ((spread * table.bucket_count) >> 32) * BUCKET_PLACES


cdef inline void read_place(Place* place, Count* count) noexcept nogil:
    """Both halves as of one time: the tag is the same before and after."""
    count.place = place
    while True:
        count.tag = load_acquire(&place.tag)
        count.word = load_acquire(&place.word)
        if load_acquire(&place.tag) == count.tag:
            return


cdef bint find_place(Place* bucket, uint64_t tag, Count* count) noexcept nogil:
    """False: the key has no place. Places are filled from the front and never become free again."""
    cdef uint32_t i
    cdef uint64_t found
    for i in range(1, BUCKET_PLACES):
        found = load_acquire(&bucket[i].tag)
        if found == tag:
            read_place(bucket + i, count)
            if count.tag == tag:
                return True
        if found == 0:
            return False
    return False


cdef uint64_t ends_at(uint64_t tag, uint64_t word, const Moment* moment) noexcept nogil:
    """When a count ends to matter, seconds since the epoch; not after moment.seconds: it has."""
    cdef uint64_t kind = tag & KIND_MASK
    cdef uint32_t period = <uint32_t> (kind & 7)
    cdef uint64_t age
    if kind >> 3 == FIXED_WINDOW:
        return word >> 32
    if kind >> 3 == TOKEN_BUCKET:
        # the second in which it is full again has not ended
        return word // NANOSECONDS + (1 if word > moment.nanoseconds else 0)
    age = (moment.number[period] - (word >> SLIDING_SHIFT)) & NUMBER_MASK
    if word == 0 or 1 < age < NUMBER_MASK:
        return 0
    # a window counts until the one after it has ended
    return moment.end[period] + (0 if age == 1 else <uint64_t> LENGTHS[period])


cdef uint32_t choose_place(Place* bucket, const Moment* moment, bint* is_live) noexcept nogil:
    """The place for a new key: a free one, else the one that ends or has ended first."""
    cdef Count count
    cdef uint64_t end
    cdef uint64_t first_end = 0
    cdef uint32_t chosen = 0
    cdef uint32_t i
    is_live[0] = False
    for i in range(1, BUCKET_PLACES):
        read_place(bucket + i, &count)
        if count.tag == 0:
            is_live[0] = False
            return i
        end = ends_at(count.tag, count.word, moment)
        if chosen == 0 or end < first_end:
            chosen = i
            first_end = end
    is_live[0] = first_end > <uint64_t> moment.seconds
    return chosen


cdef void finish_insertion(Place* bucket, uint64_t tag, uint64_t word) noexcept nogil:
    """Give the announced key its place, and say that the insertion is over; somebody else may do so meanwhile."""
    cdef Count count
    cdef Place* place = bucket + (word & (BUCKET_PLACES - 1))
    cdef uint64_t announced_tag = tag
    cdef uint64_t announced_word = word
    while True:
        read_place(place, &count)
        if count.tag == tag:
            break
        # What was read is there while the insertion is still announced: whoever comes late changes nothing.
        if load_acquire(&bucket.tag) != tag or load_acquire(&bucket.word) != word:
            return
        if limiter_swap(place, &count.tag, &count.word, tag, 0):
            break
    limiter_swap(bucket, &announced_tag, &announced_word, 0, word)


cdef void insert_place(const LimiterTable* table, Place* bucket, uint64_t tag, const Moment* moment,
                       Count* count) noexcept nogil:
    """Find or make the key's place."""
    cdef Count announced
    cdef uint64_t word
    cdef uint32_t chosen
    cdef bint is_live
    cdef bint is_free
    while True:
        read_place(bucket, &announced)
        if announced.tag:
            finish_insertion(bucket, announced.tag, announced.word)
            continue
        if find_place(bucket, tag, count):
            return
        chosen = choose_place(bucket, moment, &is_live)
        is_free = load_acquire(&bucket[chosen].tag) == 0
        word = (((announced.word >> 8) + 1) << 8) | chosen
        if limiter_swap(bucket, &announced.tag, &announced.word, tag, word):
            if is_live:
                count_relaxed(&table.header.evictions)
            elif is_free:
                count_relaxed(&table.header.used_places)
            finish_insertion(bucket, tag, word)


include "limiter_algorithms.pxi"


# --- operations ------------------------------------------------------------------------------------------------------
cdef bint take(const LimiterTable* table, LimiterKey key, const Limit* limit, uint64_t number, const Moment* moment,
               LimitState* state) noexcept nogil:
    cdef Place* bucket = bucket_of(table, key, limit)
    cdef uint64_t tag = tag_of(key, limit)
    cdef Count count
    cdef Step step
    while True:
        if not find_place(bucket, tag, &count):
            insert_place(table, bucket, tag, moment, &count)
        while count.tag == tag:
            make_step(limit, number, count.word, moment, &step)
            if not step.admitted:
                state[0] = step.before
                return False
            if limiter_swap(count.place, &count.tag, &count.word, tag, step.word):
                state[0] = step.after
                state.window = window_of(limit, step.word)
                return True


cdef LimitState limiter_look(const LimiterTable* table, LimiterKey key, const Limit* limit,
                             const Moment* moment) noexcept nogil:
    cdef Count count
    cdef Step step
    if table.bucket_count == 0 or not find_place(bucket_of(table, key, limit), tag_of(key, limit), &count):
        count.word = 0
    make_step(limit, 1, count.word, moment, &step)
    step.before.window = 0
    return step.before


cdef int limiter_admit(const LimiterTable* table, LimiterKey key, const Limit* limits, uint32_t count, uint64_t number,
                       const Moment* moment, LimitState* states) noexcept nogil:
    """Several limits: one that refuses is looked for first, then each is taken from in turn. When another worker was
    faster somewhere, what was taken is given back. That never refuses anybody for nothing: a limit that is full because
    of such a count has, by the time it is given back, another behind it that is full.
    """
    cdef uint32_t i
    cdef int refused = -1
    if table.bucket_count == 0:
        for i in range(count):
            states[i] = limiter_look(table, key, limits + i, moment)
        return -1
    if count > 1:
        for i in range(count):
            LIMITER_PREFETCH(bucket_of(table, key, limits + i))
        for i in range(count):
            states[i] = limiter_look(table, key, limits + i, moment)
            if states[i].remaining == 0:
                refused = <int> i
        if refused >= 0:
            return refused
    for i in range(count):
        if not take(table, key, limits + i, number, moment, states + i):
            limiter_return(table, key, limits, i, number, states)
            refused = <int> i
            break
    if refused >= 0:
        for i in range(count):
            if i != <uint32_t> refused:
                states[i] = limiter_look(table, key, limits + i, moment)
    return refused


cdef void limiter_return(const LimiterTable* table, LimiterKey key, const Limit* limits, uint32_t count, uint64_t number,
                         const LimitState* states) noexcept nogil:
    cdef Count found
    cdef uint64_t tag, word
    cdef uint32_t i
    if table.bucket_count == 0:
        return
    for i in range(count):
        tag = tag_of(key, limits + i)
        if not find_place(bucket_of(table, key, limits + i), tag, &found):
            continue
        while found.tag == tag:
            word = word_returned(limits + i, number, found.word, states[i].window)
            if word == found.word or limiter_swap(found.place, &found.tag, &found.word, tag, word):
                break


cdef uint64_t change_count(const LimiterTable* table, LimiterKey key, const Limit* limit, const Moment* moment,
                           int how, uint64_t number) noexcept nogil:
    """Fixed windows: the count becomes `number` more (0), at least `number` (1), or `number` (2). Returns that before."""
    cdef Place* bucket = bucket_of(table, key, limit)
    cdef uint64_t tag = tag_of(key, limit)
    cdef uint64_t window, used, after
    cdef Count count
    if table.bucket_count == 0:
        return 0
    while True:
        if not find_place(bucket, tag, &count):
            if how == 2:
                return 0
            insert_place(table, bucket, tag, moment, &count)
        while count.tag == tag:
            window = current_fixed(count.word, limit.period, moment)
            used = window & MAX_FIXED
            if how == 0:
                after = used + number
            else:
                after = used if how == 1 and used > number else number
            if after > MAX_FIXED:
                after = MAX_FIXED
            if limiter_swap(count.place, &count.tag, &count.word, tag, window - used + after):
                return used


cdef uint64_t limiter_add(const LimiterTable* table, LimiterKey key, const Limit* limit, uint64_t number,
                          const Moment* moment) noexcept nogil:
    return change_count(table, key, limit, moment, 0, number)


cdef uint64_t limiter_take(const LimiterTable* table, LimiterKey key, const Limit* limit,
                           const Moment* moment) noexcept nogil:
    return change_count(table, key, limit, moment, 2, 0)


cdef void limiter_raise(const LimiterTable* table, LimiterKey key, const Limit* limit, uint64_t number,
                        const Moment* moment) noexcept nogil:
    change_count(table, key, limit, moment, 1, number)


include "limiter_view.pxi"
