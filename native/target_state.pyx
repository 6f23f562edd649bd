"""See target_state.pxd."""

from native.shm cimport GROUP_SIZE, GROUP_SLOTS, TARGET_SIZE, TARGET_SLOTS

assert sizeof(TargetState) == TARGET_SIZE and sizeof(GroupState) == GROUP_SIZE


cdef TargetTable target_table(ControlWords* control) noexcept nogil:
    cdef TargetTable table
    cdef uint8_t* region = <uint8_t*> control + control.targets_offset
    table.groups = <GroupState*> region
    table.targets = <TargetState*> (region + GROUP_SLOTS * GROUP_SIZE)
    table.open_by_worker = <uint32_t*> (region + GROUP_SLOTS * GROUP_SIZE + TARGET_SLOTS * TARGET_SIZE)
    table.worker_limit = <uint32_t> control.worker_limit
    return table


cdef bint target_available(const TargetTable* table, uint32_t slot) noexcept nogil:
    return True


cdef TargetHealth target_health(const TargetTable* table, uint32_t slot) noexcept nogil:
    return TARGET_HEALTHY


cdef bint target_report(const TargetTable* table, uint32_t group, uint32_t slot, TargetReport report,
                        const ReportLimits* limits, uint64_t now_ms) noexcept nogil:
    return False


cdef bint target_set(const TargetTable* table, uint32_t group, uint32_t slot, bint healthy, uint64_t now_ms) noexcept nogil:
    return False


cdef void target_begin(const TargetTable* table, uint32_t worker, uint32_t slot) noexcept nogil:
    pass


cdef void target_end(const TargetTable* table, uint32_t worker, uint32_t slot, bint failed) noexcept nogil:
    pass


cdef int64_t target_open(const TargetTable* table, uint32_t slot) noexcept nogil:
    return 0


cdef void target_forget_worker(const TargetTable* table, uint32_t worker) noexcept nogil:
    pass


cdef void target_note_latency(const TargetTable* table, uint32_t slot, uint64_t microseconds, uint64_t now_ms) noexcept nogil:
    pass


cdef double target_latency(const TargetTable* table, uint32_t slot, uint64_t now_ms) noexcept nogil:
    return 0
