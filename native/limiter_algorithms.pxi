# The algorithms of limits: words in, words out (limiter.pyx says what a word holds). Part of limiter.pyx.

# Each brings a word to the present, says how it stands, and what it becomes when one is taken.
ctypedef struct Step:
    uint64_t word                # with one more
    bint admitted
    LimitState before            # without, and how long to wait when it is refused
    LimitState after


cdef inline uint64_t seconds_up(uint64_t nanoseconds) noexcept nogil:
    cdef uint64_t seconds = (nanoseconds + NANOSECONDS - 1) // NANOSECONDS
    return seconds if seconds else 1


cdef uint64_t nominal_reset(const Moment* moment, uint32_t period) noexcept nogil:
    """Kong's Reset: the nominal length of the period less what has passed of it."""
    cdef uint64_t passed = <uint64_t> (moment.seconds - moment.start[period])
    return LENGTHS[period] - passed if passed + 1 < LENGTHS[period] else 1


cdef uint64_t current_fixed(uint64_t word, uint32_t period, const Moment* moment) noexcept nogil:
    """The word at present: of this window, or of the next if others have begun it."""
    cdef uint64_t end = word >> 32
    cdef uint64_t now_end = moment.end[period]
    if end == now_end or now_end < end <= now_end + LENGTHS[period] + DAY * (period >= PERIOD_MONTH):
        return word
    return now_end << 32


cdef void step_fixed(const Limit* limit, uint64_t number, uint64_t word, const Moment* moment,
                     Step* step) noexcept nogil:
    cdef uint64_t used
    word = current_fixed(word, limit.period, moment)
    used = word & MAX_FIXED
    step.admitted = used < limit.amount
    step.word = word + (number if number < MAX_FIXED - used else MAX_FIXED - used)
    step.before.remaining = limit.amount - used if step.admitted else 0
    step.before.reset = nominal_reset(moment, limit.period)
    step.after.remaining = step.before.remaining - number if step.before.remaining > number else 0
    step.after.reset = step.before.reset


cdef uint64_t earlier_share(uint64_t count, uint64_t left, uint64_t length) noexcept nogil:
    """What counts of the window before, rounded up, when `left` of the `length` of this one is left."""
    return (count * left + length - 1) // length if count and left else 0


cdef uint64_t sliding_wait(const Limit* limit, uint64_t used, uint64_t earlier, uint64_t left,
                           uint64_t length) noexcept nogil:
    """Milliseconds until a refused request would be admitted, if no other came."""
    if used < limit.amount:
        # in this window: once no more than amount - used - 1 of the one before counts
        return left - length * (limit.amount - used - 1) // earlier
    # in the next one, whose window before is this one
    return left + length - length * (limit.amount - 1) // used


cdef void step_sliding(const Limit* limit, uint64_t word, const Moment* moment, Step* step) noexcept nogil:
    cdef uint32_t period = limit.period
    cdef uint64_t number = moment.number[period] & NUMBER_MASK
    cdef uint64_t age = (number - (word >> SLIDING_SHIFT)) & NUMBER_MASK
    cdef uint64_t used = word & MAX_SLIDING
    cdef uint64_t earlier = (word >> SLIDING_BITS) & MAX_SLIDING
    cdef uint64_t length = 1000 * <uint64_t> (moment.end[period] - moment.start[period])
    cdef uint64_t passed = moment.nanoseconds // 1000000 - 1000 * <uint64_t> moment.start[period]
    cdef uint64_t left, share
    if passed > length:              # the two clocks of a moment differ a little
        passed = length
    if age == NUMBER_MASK:           # others have begun the next window
        number = word >> SLIDING_SHIFT
        passed = 0
    elif age == 1:
        earlier = used
        used = 0
    elif age:
        earlier = used = 0
    left = length - passed
    share = earlier_share(earlier, left, length)
    step.admitted = used + share < limit.amount
    step.word = (number << SLIDING_SHIFT) | (earlier << SLIDING_BITS) | (used + 1)
    step.before.remaining = limit.amount - used - share if step.admitted else 0
    step.after.remaining = step.before.remaining - 1
    step.after.reset = seconds_up(left * 1000000)
    step.before.reset = step.after.reset
    if not step.admitted:
        step.before.reset = seconds_up(sliding_wait(limit, used, earlier, left, length) * 1000000)


cdef void step_bucket(const Limit* limit, uint64_t word, const Moment* moment, Step* step) noexcept nogil:
    cdef uint64_t now = moment.nanoseconds
    cdef uint64_t full = word
    if full < now or full > now + limit.depth_ns + CLOCK_SLACK:
        full = now
    step.word = full + limit.interval_ns
    step.admitted = step.word <= now + limit.depth_ns
    step.before.remaining = 0
    if step.admitted:
        step.before.remaining = (now + limit.depth_ns - full) // limit.interval_ns
        step.before.reset = seconds_up(full - now)
    else:
        step.before.reset = seconds_up(step.word - limit.depth_ns - now)
    step.after.remaining = step.before.remaining - 1
    step.after.reset = seconds_up(step.word - now)


cdef inline void make_step(const Limit* limit, uint64_t number, uint64_t word, const Moment* moment,
                           Step* step) noexcept nogil:
    if limit.algorithm == FIXED_WINDOW:
        step_fixed(limit, number, word, moment, step)
    elif limit.algorithm == SLIDING_WINDOW:
        step_sliding(limit, word, moment, step)
    else:
        step_bucket(limit, word, moment, step)


cdef inline uint64_t window_of(const Limit* limit, uint64_t word) noexcept nogil:
    """What tells the window of a word from others."""
    if limit.algorithm == FIXED_WINDOW:
        return word >> 32
    return word >> SLIDING_SHIFT if limit.algorithm == SLIDING_WINDOW else 0


cdef uint64_t word_returned(const Limit* limit, uint64_t number, uint64_t word, uint64_t window) noexcept nogil:
    """The word less what was taken in that window; the same when it no longer counts there."""
    cdef uint64_t age
    if limit.algorithm == TOKEN_BUCKET:
        return word - limit.interval_ns if word > limit.interval_ns else 0
    if limit.algorithm == FIXED_WINDOW:
        return word - number if word >> 32 == window and (word & MAX_FIXED) >= number else word
    age = ((word >> SLIDING_SHIFT) - window) & NUMBER_MASK
    if age == 0 and word & MAX_SLIDING:
        return word - 1
    if age == 1 and (word >> SLIDING_BITS) & MAX_SLIDING:
        return word - (<uint64_t> 1 << SLIDING_BITS)
    return word
