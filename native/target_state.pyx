"""See target_state.pxd.

Health, one word:  changes of availability (30 bits) | TargetHealth (2) | http failures (8) | timeouts (8) |
tcp failures (8) | successes (8). Latency, one word:  milliseconds of the last measurement (32) | microseconds (float32).

The slot numbers of both tables begin at 1; of slot 0 only `never_given` is used: one more than the highest slot that was
ever given, so that nobody touches (and so makes memory of) the pages behind it.

What a process that is killed between two writes leaves behind:
    health and the group's version    A change that others do not look at yet. Whoever follows the dead process raises
                                      the versions of all groups (target_forget_worker(), TargetStates.settle()).
    a worker's share and `open`       The share is raised before `open` and lowered after it. So `open` may end up too
                                      low, never too high; it is put right as soon as a request finds it below 0.
"""

from libc.math cimport exp
from libc.string cimport memcpy

# Words that every process of the node may change at any time.
from native.atomics cimport (
    add_and_get,
    add_and_get_signed,
    compare_swap,
    compare_swap_signed,
    load_acquire,
    load_acquire32,
    load_acquire_signed,
    store_release,
    store_release32,
)
from native.shm cimport (
    GROUP_SIZE,
    GROUP_SLOTS,
    TARGET_SIZE,
    TARGET_SLOTS,
    SharedState,
    WorkerBlock,
    WorkerState,
    shared_control,
    shared_worker,
)

cdef enum:
    COUNT_BITS = 8
    COUNT_MASK = 0xff                # also: the success counter within the word
    FAILURE_MASK = 0xffffff00        # the three failure counters within the word
    HEALTH_SHIFT = 32
    HEALTH_MASK = 3
    CHANGE_SHIFT = 34

cdef double DECAY_MS = 10000.0

assert sizeof(TargetState) == TARGET_SIZE and sizeof(GroupState) == GROUP_SIZE

globals()["TARGET_SLOTS"] = TARGET_SLOTS
globals()["GROUP_SLOTS"] = GROUP_SLOTS
# What TargetStates.target() and group() return; target_state.pyi says what is in them.
globals()["TargetFacts"] = dict
globals()["GroupFacts"] = dict


cdef TargetTable target_table(ControlWords* control) noexcept nogil:
    cdef TargetTable table
    cdef uint8_t* region = <uint8_t*> control + control.targets_offset
    table.groups = <GroupState*> region
    table.targets = <TargetState*> (region + GROUP_SLOTS * GROUP_SIZE)
    table.open_by_worker = <uint32_t*> (region + GROUP_SLOTS * GROUP_SIZE + TARGET_SLOTS * TARGET_SIZE)
    table.worker_limit = <uint32_t> control.worker_limit
    return table


# --- health ----------------------------------------------------------------------------------------------------------
cdef inline bint is_counted(uint32_t slot) noexcept nogil:
    """Whether this is somebody's slot."""
    return 0 < slot < TARGET_SLOTS


cdef inline uint32_t health_in(uint64_t word) noexcept nogil:
    return <uint32_t> (word >> HEALTH_SHIFT) & HEALTH_MASK


cdef inline bint takes_requests(uint32_t health) noexcept nogil:
    return health <= TARGET_MOSTLY_HEALTHY


cdef bint target_available(const TargetTable* table, uint32_t slot) noexcept nogil:
    return not is_counted(slot) or takes_requests(health_in(load_acquire(&table.targets[slot].health)))


cdef TargetHealth target_health(const TargetTable* table, uint32_t slot) noexcept nogil:
    if not is_counted(slot):
        return TARGET_HEALTHY
    return <TargetHealth> health_in(load_acquire(&table.targets[slot].health))


cdef uint64_t made_word(uint64_t before, uint32_t health, uint64_t counts) noexcept nogil:
    """The health word that follows `before`."""
    cdef uint64_t changes = before >> CHANGE_SHIFT
    if takes_requests(health) != takes_requests(health_in(before)):
        changes += 1
    return changes << CHANGE_SHIFT | <uint64_t> health << HEALTH_SHIFT | counts


cdef uint64_t counted(uint64_t before, TargetReport report, uint32_t limit) noexcept nogil:
    """The health word after a report; Kong's rules (proxying.md §7)."""
    cdef uint32_t health = health_in(before)
    cdef uint64_t counts = before & (COUNT_MASK | FAILURE_MASK)
    cdef uint32_t place = report * COUNT_BITS
    cdef uint32_t count = <uint32_t> (counts >> place) & COUNT_MASK
    if limit == 0 or health == (TARGET_HEALTHY if report == REPORT_SUCCESS else TARGET_UNHEALTHY):
        return before
    if count < COUNT_MASK:
        count += 1
        counts += <uint64_t> 1 << place
    if report == REPORT_SUCCESS:
        counts &= COUNT_MASK         # forgets every failure
        if count >= limit:
            health = TARGET_HEALTHY
        elif health == TARGET_UNHEALTHY:
            health = TARGET_MOSTLY_UNHEALTHY
    else:
        counts &= FAILURE_MASK       # forgets the successes; each kind of failure counts alone
        if count >= limit:
            health = TARGET_UNHEALTHY
        elif health == TARGET_HEALTHY:
            health = TARGET_MOSTLY_HEALTHY
    return made_word(before, health, counts)


cdef bint tell_change(const TargetTable* table, uint32_t group, uint32_t slot, uint64_t before, uint64_t after,
                      uint64_t now_ms) noexcept nogil:
    """After the health word was changed: True if requests begin or cease to come, which the group is told."""
    if takes_requests(health_in(before)) == takes_requests(health_in(after)):
        return False
    if takes_requests(health_in(after)):
        store_release(&table.targets[slot].available_since_ms, now_ms)
    if 0 < group < GROUP_SLOTS:
        add_and_get(&table.groups[group].version, 1)
    return True


cdef bint target_report(const TargetTable* table, uint32_t group, uint32_t slot, TargetReport report,
                        const ReportLimits* limits, uint64_t now_ms) noexcept nogil:
    cdef uint64_t before, after
    cdef uint32_t limit
    if not is_counted(slot):
        return False
    if report == REPORT_SUCCESS:
        limit = limits.successes
    elif report == REPORT_TCP_FAILURE:
        limit = limits.tcp_failures
    elif report == REPORT_TIMEOUT:
        limit = limits.timeouts
    else:
        limit = limits.http_failures
    before = load_acquire(&table.targets[slot].health)
    while True:                      # ends: a swap fails only because another process's went through
        after = counted(before, report, limit)
        if after == before:
            return False
        if compare_swap(&table.targets[slot].health, &before, after):
            return tell_change(table, group, slot, before, after, now_ms)


cdef bint target_set(const TargetTable* table, uint32_t group, uint32_t slot, bint healthy, uint64_t now_ms) noexcept nogil:
    cdef uint64_t before, after
    if not is_counted(slot):
        return False
    before = load_acquire(&table.targets[slot].health)
    while True:
        after = made_word(before, TARGET_HEALTHY if healthy else TARGET_UNHEALTHY, 0)
        if after == before:
            return False
        if compare_swap(&table.targets[slot].health, &before, after):
            tell_change(table, group, slot, before, after, now_ms)
            return health_in(before) != health_in(after)


# --- open requests ---------------------------------------------------------------------------------------------------
cdef inline uint32_t* share_of(const TargetTable* table, uint32_t worker, uint32_t slot) noexcept nogil:
    return table.open_by_worker + <uint64_t> worker * TARGET_SLOTS + slot


cdef void target_begin(const TargetTable* table, uint32_t worker, uint32_t slot) noexcept nogil:
    cdef uint32_t* share
    cdef int64_t found
    if not is_counted(slot) or worker >= table.worker_limit:
        return
    share = share_of(table, worker, slot)
    store_release32(share, load_acquire32(share) + 1)
    found = add_and_get_signed(&table.targets[slot].open, 1)
    while found < 1:                 # this request is open: the count was too low
        if compare_swap_signed(&table.targets[slot].open, &found, 1):
            break
    add_and_get(&table.targets[slot].requests, 1)


cdef void target_end(const TargetTable* table, uint32_t worker, uint32_t slot, bint failed) noexcept nogil:
    cdef uint32_t* share
    if not is_counted(slot) or worker >= table.worker_limit:
        return
    share = share_of(table, worker, slot)
    add_and_get_signed(&table.targets[slot].open, -1)
    if load_acquire32(share):
        store_release32(share, load_acquire32(share) - 1)
    if failed:
        add_and_get(&table.targets[slot].failures, 1)


cdef int64_t target_open(const TargetTable* table, uint32_t slot) noexcept nogil:
    cdef int64_t found
    if not is_counted(slot):
        return 0
    found = load_acquire_signed(&table.targets[slot].open)
    return found if found > 0 else 0


cdef void target_forget_worker(const TargetTable* table, uint32_t worker) noexcept nogil:
    if worker >= table.worker_limit:
        return
    forget_shares(table, worker)
    raise_versions(table)


cdef bint forget_shares(const TargetTable* table, uint32_t worker) noexcept nogil:
    """Take back what a worker that is gone had open. True if it had anything."""
    cdef uint64_t slot
    cdef uint32_t* share
    cdef uint32_t count
    cdef int64_t found
    cdef bint had = False
    for slot in range(1, load_acquire(&table.targets[0].never_given)):
        share = share_of(table, worker, <uint32_t> slot)
        count = load_acquire32(share)
        if count == 0:
            continue
        had = True
        found = load_acquire_signed(&table.targets[slot].open)
        while not compare_swap_signed(&table.targets[slot].open, &found, found - count if found > count else 0):
            pass
        store_release32(share, 0)
    return had


cdef void raise_versions(const TargetTable* table) noexcept nogil:
    """Have all workers look again at the health of all groups."""
    cdef uint64_t group
    for group in range(1, load_acquire(&table.groups[0].never_given)):
        add_and_get(&table.groups[group].version, 1)


# --- latency ---------------------------------------------------------------------------------------------------------
cdef inline double decayed(uint64_t word, uint64_t now_ms) noexcept nogil:
    """Microseconds in a latency word, of which the time since the last measurement has taken its share."""
    cdef uint32_t bits = <uint32_t> word
    cdef int32_t passed = <int32_t> (<uint32_t> now_ms - <uint32_t> (word >> 32))
    cdef float known
    if word == 0:
        return 0
    memcpy(&known, &bits, 4)
    return known * exp(-passed / DECAY_MS) if passed > 0 else known


cdef void target_note_latency(const TargetTable* table, uint32_t slot, uint64_t microseconds, uint64_t now_ms) noexcept nogil:
    cdef uint64_t before
    cdef uint32_t bits
    cdef int32_t passed
    cdef float known
    cdef double kept
    if not is_counted(slot):
        return
    before = load_acquire(&table.targets[slot].latency)
    while True:
        known = <float> microseconds
        if before:
            # A peak is believed at once, what is better only by and by.
            bits = <uint32_t> before
            memcpy(&known, &bits, 4)
            passed = <int32_t> (<uint32_t> now_ms - <uint32_t> (before >> 32))
            kept = exp(-passed / DECAY_MS) if passed > 0 else 1.0
            known = <float> max(known * kept + microseconds * (1 - kept), <double> microseconds)
        if known < 1:
            known = 1                # 0 would say that nothing is known
        memcpy(&bits, &known, 4)
        if compare_swap(&table.targets[slot].latency, &before, now_ms << 32 | bits):
            return


cdef double target_latency(const TargetTable* table, uint32_t slot, uint64_t now_ms) noexcept nogil:
    return decayed(load_acquire(&table.targets[slot].latency), now_ms) if is_counted(slot) else 0


include "target_state_view.pxi"
