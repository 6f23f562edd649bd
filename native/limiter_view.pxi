# Python's view of the table: for the plugin thread, for metrics, and for tests. Part of limiter.pyx.


cdef Limit make_limit(uint32_t algorithm, uint32_t period, double amount, double burst) noexcept:
    """A request is admitted while less than `amount` is counted, so a fraction admits one more, as in Kong."""
    cdef Limit limit
    cdef uint64_t nanoseconds = LENGTHS[period] * NANOSECONDS
    cdef double most = MAX_FIXED
    if algorithm == SLIDING_WINDOW:
        most = MAX_SLIDING
    elif algorithm == TOKEN_BUCKET:
        most = MAX_TOKENS
    limit.amount = <uint64_t> min(ceil(amount), most)
    limit.interval_ns = (nanoseconds + limit.amount - 1) // limit.amount
    limit.depth_ns = limit.interval_ns * <uint64_t> min(ceil(burst), most)
    limit.algorithm = <uint8_t> algorithm
    limit.period = <uint8_t> period
    limit.reserved[:] = [0, 0, 0, 0, 0, 0]
    return limit


cdef class Limits:
    """Some limits that hold together for a key: triples of algorithm, period and amount; `burst`: of token buckets, the
    amount where it is 0. `seed` tells them from other limits."""

    cdef Limit[PERIODS] limits
    cdef uint32_t count
    cdef uint64_t[2] seeds

    def __init__(self, limits, seed=b"", burst=0):
        if not 1 <= len(limits) <= PERIODS:
            raise ValueError(f"from one to {PERIODS} limits")
        cdef bytes text = seed
        for index, (algorithm, period, amount) in enumerate(limits):
            if not (1 <= algorithm <= TOKEN_BUCKET and 0 <= period < PERIODS and amount > 0):
                raise ValueError(f"no limit: {algorithm}, {period}, {amount}")
            self.limits[<uint32_t> index] = make_limit(algorithm, period, amount, burst or amount)
        self.count = len(limits)
        limiter_seeds(text, self.seeds)


cdef void limiter_seeds(bytes text, uint64_t* seeds) noexcept:
    cdef const char* data = text
    seeds[0] = xxh64(data, <size_t> len(text), 0)
    seeds[1] = xxh64(data, <size_t> len(text), NANOSECONDS)


cdef class LimitTable:
    """The table in a gateway's shared memory. Times are nanoseconds since the epoch, UTC."""

    cdef SharedState shared          # keeps the mapping
    cdef LimiterTable table
    cdef Moment moment

    def __init__(self, SharedState shared):
        self.shared = shared
        self.table = limiter_table(shared_control(shared.base))

    cdef LimiterKey prepare(self, Limits limits, bytes identifier, time_ns):
        cdef const char* data = identifier
        set_moment(&self.moment, time_ns // 1000000000, time_ns)
        return limiter_key(&self.table, limits.seeds, data, <uint32_t> len(identifier))

    def admit(self, Limits limits, bytes identifier, time_ns, number=1):
        """Count in each limit or in none: the index of the one that refuses or None, and (remaining, reset) of each."""
        cdef LimitState[PERIODS] states
        cdef LimiterKey key = self.prepare(limits, identifier, time_ns)
        refused = limiter_admit(&self.table, key, limits.limits, limits.count, number, &self.moment, states)
        shown = [(states[index].remaining, states[index].reset) for index in range(limits.count)]
        return (refused if refused >= 0 else None), shown

    def admit_and_return(self, Limits limits, bytes identifier, time_ns):
        """Take one of each, and give it back; for tests."""
        cdef LimitState[PERIODS] states
        cdef LimiterKey key = self.prepare(limits, identifier, time_ns)
        if limiter_admit(&self.table, key, limits.limits, limits.count, 1, &self.moment, states) < 0:
            limiter_return(&self.table, key, limits.limits, limits.count, 1, states)

    def look(self, Limits limits, bytes identifier, time_ns):
        """(remaining, reset) of each limit."""
        cdef LimiterKey key = self.prepare(limits, identifier, time_ns)
        cdef LimitState state
        found = []
        for index in range(limits.count):
            state = limiter_look(&self.table, key, &limits.limits[<uint32_t> index], &self.moment)
            found.append((state.remaining, state.reset))
        return found

    def add(self, Limits limits, bytes identifier, time_ns, number):
        """Fixed windows: count `number` more, whatever the limits. The counts before."""
        cdef LimiterKey key = self.prepare(limits, identifier, time_ns)
        return [limiter_add(&self.table, key, &limits.limits[<uint32_t> index], number, &self.moment)
                for index in range(limits.count)]

    def add_each(self, Limits limits, bytes identifier, time_ns, numbers):
        """Fixed windows: count some more of each limit."""
        cdef LimiterKey key = self.prepare(limits, identifier, time_ns)
        for index in range(limits.count):
            limiter_add(&self.table, key, &limits.limits[<uint32_t> index], numbers[index], &self.moment)

    def take(self, Limits limits, bytes identifier, time_ns):
        """Fixed windows: the counts, which become 0."""
        cdef LimiterKey key = self.prepare(limits, identifier, time_ns)
        return [limiter_take(&self.table, key, &limits.limits[<uint32_t> index], &self.moment)
                for index in range(limits.count)]

    def raise_to(self, Limits limits, bytes identifier, time_ns, numbers):
        """Fixed windows: the counts become at least `numbers`."""
        cdef LimiterKey key = self.prepare(limits, identifier, time_ns)
        for index in range(limits.count):
            limiter_raise(&self.table, key, &limits.limits[<uint32_t> index], numbers[index], &self.moment)

    def announce(self, Limits limits, bytes identifier, time_ns, place):
        """What an inserting worker leaves behind that is killed before it has written the place; for tests."""
        cdef LimiterKey key = self.prepare(limits, identifier, time_ns)
        cdef Place* bucket = bucket_of(&self.table, key, limits.limits)
        bucket.word = (((bucket.word >> 8) + 1) << 8) | <uint64_t> place
        bucket.tag = tag_of(key, limits.limits)

    def bucket(self, Limits limits, bytes identifier):
        """Number of the bucket of the first limit's count; for tests."""
        cdef LimiterKey key = self.prepare(limits, identifier, 0)
        return (bucket_of(&self.table, key, limits.limits) - self.table.buckets) // BUCKET_PLACES

    def windows(self, time_ns):
        """(start, end) of the window of each period at that time, seconds since the epoch."""
        set_moment(&self.moment, time_ns // 1000000000, time_ns)
        return [(self.moment.start[index], self.moment.end[index]) for index in range(PERIODS)]

    def statistics(self):
        """places: how many there are; used_places: how many have ever been used; evictions: live counts lost."""
        if self.table.bucket_count == 0:
            return {"places": 0, "used_places": 0, "evictions": 0}
        return {
            "places": self.table.bucket_count * (BUCKET_PLACES - 1),
            "used_places": load_acquire(&self.table.header.used_places),
            "evictions": load_acquire(&self.table.header.evictions),
        }
