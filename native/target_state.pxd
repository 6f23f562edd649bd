"""What the processes of a node know together of each address behind a name: health, open requests, latency.

The control process gives every address of every peer set a *slot* and writes its number into the peers snapshot
(Peer.slot); the slot stays the same over reloads and restarts of the control process, because it is found by an identity
that lies in it. Workers and probers change a slot with single compare-and-swaps or additions, so that a process which is
killed at any instruction leaves nothing half done. Slot 0 is nobody's: an address that found no slot is always healthy,
and nothing is counted for it.

Health is counted as Kong does (proxying.md §7): a report is for the health that an address has or against it; a limit
of 0 ignores such reports; a success forgets all failures, a failure forgets the successes.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t

from native.shm cimport ControlWords

cpdef enum TargetHealth:
    TARGET_HEALTHY = 0
    TARGET_MOSTLY_HEALTHY = 1    # some reports against it; gets requests
    TARGET_MOSTLY_UNHEALTHY = 2  # some reports for it; gets none
    TARGET_UNHEALTHY = 3

cpdef enum TargetReport:
    REPORT_SUCCESS = 0
    REPORT_TCP_FAILURE = 1       # could not connect, or the connection broke
    REPORT_TIMEOUT = 2
    REPORT_HTTP_FAILURE = 3      # a status that counts as one

# How many reports of a kind change the health; 0: they are ignored. Also part of HealthRules in the snapshot.
ctypedef struct ReportLimits:
    uint8_t successes
    uint8_t tcp_failures
    uint8_t timeouts
    uint8_t http_failures

# One address. Two cache lines: health and latency are read by every choice, the counts are written by every request.
ctypedef struct TargetState:
    uint64_t identity            # 0: free; the control process's word
    uint64_t health              # TargetHealth, the four counters, and how often it changed; see target_state.pyx
    uint64_t available_since_ms  # monotonic: when requests began to come (again), for slow start; 0: always did
    uint64_t latency             # peak EWMA: microseconds (float32) and time (ms, 32 bits), one word
    uint64_t unused_since_ms     # monotonic: since when no snapshot names it; the control process's word
    uint64_t never_given         # of slot 0 only: slots from this one on have never been anybody's
    uint64_t reserved[2]
    int64_t open                 # requests under way, of all workers
    uint64_t requests, failures  # ever; failures are tries
    uint64_t reserved_counts[5]

# One peer set: what is counted for all its addresses together. One cache line.
ctypedef struct GroupState:
    uint64_t identity            # 0: free; the control process's word
    uint64_t version             # one more with every change of health of one of its addresses
    uint64_t turn                # round-robin: turns taken by all workers
    uint64_t retry_budget        # see balancer.pyx
    uint64_t retries_refused     # for want of budget
    uint64_t unused_since_ms
    uint64_t never_given         # as in TargetState
    uint64_t reserved

# The region (sizes in shm.pxd): GroupState[GROUP_SLOTS], TargetState[TARGET_SLOTS], then per worker
# uint32 [TARGET_SLOTS]: its own share of `open`, so that a worker that was killed can be subtracted.
ctypedef struct TargetTable:
    GroupState* groups
    TargetState* targets
    uint32_t* open_by_worker     # [worker][slot]
    uint32_t worker_limit

cdef TargetTable target_table(ControlWords* control) noexcept nogil

# Whether requests may go there.
cdef bint target_available(const TargetTable* table, uint32_t slot) noexcept nogil
cdef TargetHealth target_health(const TargetTable* table, uint32_t slot) noexcept nogil
# Count a report. True: with it, requests begin or cease to go there (the group's version has been raised).
cdef bint target_report(const TargetTable* table, uint32_t group, uint32_t slot, TargetReport report,
                        const ReportLimits* limits, uint64_t now_ms) noexcept nogil
# Make it healthy or unhealthy, all counters 0. True: that is a change.
cdef bint target_set(const TargetTable* table, uint32_t group, uint32_t slot, bint healthy, uint64_t now_ms) noexcept nogil

# A request of this worker goes there, and has ended.
cdef void target_begin(const TargetTable* table, uint32_t worker, uint32_t slot) noexcept nogil
cdef void target_end(const TargetTable* table, uint32_t worker, uint32_t slot, bint failed) noexcept nogil
cdef int64_t target_open(const TargetTable* table, uint32_t slot) noexcept nogil
# Take back what a worker that is gone had open; by the worker that follows it, before it serves.
cdef void target_forget_worker(const TargetTable* table, uint32_t worker) noexcept nogil
# Peak EWMA of the time to the response head, decaying in 10 s (Kong). Microseconds; 0: not known.
cdef void target_note_latency(const TargetTable* table, uint32_t slot, uint64_t microseconds, uint64_t now_ms) noexcept nogil
cdef double target_latency(const TargetTable* table, uint32_t slot, uint64_t now_ms) noexcept nogil
