"""Counting against limits in shared memory, exactly, by all workers of a node together.

A count lies in one *place* of sixteen bytes, who it is for (the tag) beside what was counted (the word), and every change
is one compare-and-swap of both. So a worker that is killed at any instruction leaves nothing locked and nothing
half-written, and no two workers can both take the last of a limit. Knows keys and numbers, nothing of requests.

Three algorithms:
    fixed window     what was counted since the window began; windows are those of the UTC calendar, as in Kong
    sliding window   the same, and the share of the window before that still lies within one period from now
    token bucket     GCRA: the time at which the bucket is full again

A key is known by two hashes. One chooses the bucket, 59 bits of the other are kept in the tag: that two of a million live
keys count as one has odds below 1 : 10^10. The hashes have a secret of this gateway: who may choose keys (header values,
addresses) cannot choose buckets, and so cannot drive others' counts, or his own, out of theirs on purpose.

A bucket that is full of live counts loses the one that ends first (`evictions`): limits then are no longer kept for that
key, and the table should be made larger (RATE_LIMIT_TABLE_SIZE).
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from native.shm cimport ControlWords

cdef enum:
    PERIODS = 6
    BUCKET_PLACES = 16               # the first of them is the bucket's own, see limiter.pyx
    MAX_FIXED = 0xffffffff           # largest count of a fixed window
    MAX_SLIDING = 0x3fffff           # largest limit of a sliding window: its counts have 22 bits
    MAX_TOKENS = 1000000000          # largest limit of a token bucket, for any period

cpdef enum LimitAlgorithm:
    FIXED_WINDOW = 1
    SLIDING_WINDOW = 2
    TOKEN_BUCKET = 3

cpdef enum LimitPeriod:
    PERIOD_SECOND = 0
    PERIOD_MINUTE = 1
    PERIOD_HOUR = 2
    PERIOD_DAY = 3
    PERIOD_MONTH = 4
    PERIOD_YEAR = 5

# A limit as configurations hold it; made by make_limit().
ctypedef struct Limit:
    uint64_t amount              # requests in a period
    uint64_t interval_ns         # token bucket: time that brings one token
    uint64_t depth_ns            # token bucket: time that brings as many as it can hold
    uint8_t algorithm            # LimitAlgorithm
    uint8_t period               # LimitPeriod
    uint8_t reserved[6]

# How a limit stands; an admitted request is counted.
ctypedef struct LimitState:
    uint64_t remaining           # how many more would be admitted now
    uint64_t reset               # seconds, at least 1: admitted: until all of the limit is free; refused: until one more may pass
    uint64_t window              # for limiter_return()

# Now, and the calendar windows that it lies in. `number` of windows: one more with each window of a period.
ctypedef struct Moment:
    int64_t seconds              # since the epoch, UTC
    uint64_t nanoseconds         # since the epoch; only token buckets and sliding windows look at it
    uint32_t start[PERIODS]      # seconds since the epoch
    uint32_t end[PERIODS]
    uint32_t number[PERIODS]

# One who is counted, before it is said for which limit.
ctypedef struct LimiterKey:
    uint64_t place_hash
    uint64_t tag_hash

# A place, and the first bytes of the region.
ctypedef struct Place:
    uint64_t tag                 # 0: nobody's
    uint64_t word

ctypedef struct TableHeader:
    uint64_t evictions           # live counts lost because their bucket was full
    uint64_t used_places         # about
    uint64_t reserved[30]        # the first bucket begins aligned

ctypedef struct LimiterTable:
    TableHeader* header
    Place* buckets
    uint32_t bucket_count
    uint64_t secret

# The table in a gateway's shared memory. All zero bytes are an empty one. Without room for any, nothing is counted and
# everything admitted.
cdef LimiterTable limiter_table(ControlWords* control) noexcept nogil

# Bring `moment` to a time; costs next to nothing within the same second.
cdef void set_moment(Moment* moment, int64_t seconds, uint64_t nanoseconds) noexcept nogil
cdef uint32_t period_length(uint32_t period) noexcept nogil      # seconds; a month has 30 days, a year 365

# A limit from what is configured: of its period (LimitPeriod), `amount` > 0, and for a token bucket how many it holds.
cdef Limit make_limit(uint32_t algorithm, uint32_t period, double amount, double burst) noexcept

# The two seeds that stand for a text.
cdef void limiter_seeds(bytes text, uint64_t* seeds) noexcept

# The key of `identifier` under two seeds, which stand for everything else that tells counters apart.
cdef LimiterKey limiter_key(const LimiterTable* table, const uint64_t* seeds, const void* identifier,
                            uint32_t length) noexcept nogil

# Count in each limit, or in none: returns -1, or the index of the limit that refuses, because nothing is left of it. All
# states are filled in: an admitted request is counted in `remaining`; one that is refused is counted nowhere. `number`
# (1, but for fixed windows) may be more than what is left.
cdef int limiter_admit(const LimiterTable* table, LimiterKey key, const Limit* limits, uint32_t count, uint64_t number,
                       const Moment* moment, LimitState* states) noexcept nogil
# Give back what limiter_admit() counted with these states.
cdef void limiter_return(const LimiterTable* table, LimiterKey key, const Limit* limits, uint32_t count, uint64_t number,
                         const LimitState* states) noexcept nogil
# How a limit stands; counts nothing.
cdef LimitState limiter_look(const LimiterTable* table, LimiterKey key, const Limit* limit,
                             const Moment* moment) noexcept nogil
# Fixed windows: add to the count of the current window, whatever the limit. Returns the count before.
cdef uint64_t limiter_add(const LimiterTable* table, LimiterKey key, const Limit* limit, uint64_t number,
                          const Moment* moment) noexcept nogil
# Fixed windows: the count of the current window, which becomes 0.
cdef uint64_t limiter_take(const LimiterTable* table, LimiterKey key, const Limit* limit,
                           const Moment* moment) noexcept nogil
# Fixed windows: the count of the current window becomes at least `number`.
cdef void limiter_raise(const LimiterTable* table, LimiterKey key, const Limit* limit, uint64_t number,
                        const Moment* moment) noexcept nogil
