# The table of targets as Python sees it; included by target_state.pyx.


cdef class TargetStates:
    """The table as Python sees it.

    Slots are given and taken back by the control process alone, from one thread at a time. Reports, marks and reading
    are for any process. Times are monotonic milliseconds.
    """

    cdef SharedState shared          # keeps the memory
    cdef TargetTable table
    cdef dict forgotten              # number of a worker block -> the process of it whose requests were taken back

    def __init__(self, SharedState shared not None):
        self.shared = shared
        self.table = target_table(shared_control(shared.base))
        self.forgotten = {}

    cdef TargetState* target_at(self, slot) except NULL:
        if not 0 < slot < TARGET_SLOTS:
            raise IndexError(f"no target slot {slot}")
        return &self.table.targets[<uint32_t> slot]

    cdef GroupState* group_at(self, slot) except NULL:
        if not 0 < slot < GROUP_SLOTS:
            raise IndexError(f"no group slot {slot}")
        return &self.table.groups[<uint32_t> slot]

    # --- slots --------------------------------------------------------------------------------------------------------

    def targets_in_use(self):
        """Slots of targets by their identities."""
        found = {}
        for slot in range(1, load_acquire(&self.table.targets[0].never_given)):
            identity = load_acquire(&self.target_at(slot).identity)
            if identity:
                found[identity] = slot
        return found

    def groups_in_use(self):
        """Slots of groups by their identities."""
        found = {}
        for slot in range(1, load_acquire(&self.table.groups[0].never_given)):
            identity = load_acquire(&self.group_at(slot).identity)
            if identity:
                found[identity] = slot
        return found

    def give_target(self, slot, identity, available_since_ms=0):
        """Make a free slot a new address's: healthy, with nothing counted."""
        cdef TargetState* target = self.target_at(slot)
        if not identity or load_acquire(&target.identity):
            raise ValueError(f"target slot {slot} is not free")
        store_release(&target.health, 0)
        store_release(&target.available_since_ms, available_since_ms)
        store_release(&target.latency, 0)
        store_release(&target.unused_since_ms, 0)
        store_release(&target.requests, 0)
        store_release(&target.failures, 0)
        if slot >= load_acquire(&self.table.targets[0].never_given):
            store_release(&self.table.targets[0].never_given, slot + 1)
        store_release(&target.identity, identity)

    def give_group(self, slot, identity):
        """Make a free slot a new peer set's."""
        cdef GroupState* group = self.group_at(slot)
        if not identity or load_acquire(&group.identity):
            raise ValueError(f"group slot {slot} is not free")
        store_release(&group.turn, 0)
        store_release(&group.retry_budget, 0)
        store_release(&group.retries_refused, 0)
        store_release(&group.unused_since_ms, 0)
        add_and_get(&group.version, 1)
        if slot >= load_acquire(&self.table.groups[0].never_given):
            store_release(&self.table.groups[0].never_given, slot + 1)
        store_release(&group.identity, identity)

    def release_target(self, slot):
        """Make a slot free: no snapshot that a worker may have names it any more."""
        store_release(&self.target_at(slot).identity, 0)

    def release_group(self, slot):
        """Make a slot free: no snapshot that a worker may have names it any more."""
        store_release(&self.group_at(slot).identity, 0)

    def set_target_unused(self, slot, since_ms):
        """Note since when no snapshot names a slot; 0: one does."""
        store_release(&self.target_at(slot).unused_since_ms, since_ms)

    def set_group_unused(self, slot, since_ms):
        """Note since when no snapshot names a slot; 0: one does."""
        store_release(&self.group_at(slot).unused_since_ms, since_ms)

    # --- what is known ------------------------------------------------------------------------------------------------

    def health(self, slot):
        """The TargetHealth of a slot; slot 0 is healthy."""
        return TargetHealth(target_health(&self.table, slot))

    def is_available(self, slot):
        """Whether requests may go there; to slot 0 they may."""
        return target_available(&self.table, slot)

    def target(self, slot):
        """Everything that is known of an address."""
        cdef TargetState* target = self.target_at(slot)
        cdef uint64_t word = load_acquire(&target.health)
        return {
            "identity": load_acquire(&target.identity),
            "health": TargetHealth(health_in(word)),
            "successes": word & COUNT_MASK,
            "tcp_failures": word >> 8 & COUNT_MASK,
            "timeouts": word >> 16 & COUNT_MASK,
            "http_failures": word >> 24 & COUNT_MASK,
            "changes": word >> CHANGE_SHIFT,
            "available_since_ms": load_acquire(&target.available_since_ms),
            "unused_since_ms": load_acquire(&target.unused_since_ms),
            "open": target_open(&self.table, slot),
            "requests": load_acquire(&target.requests),
            "failures": load_acquire(&target.failures),
        }

    def group(self, slot):
        """Everything that is known of a peer set."""
        cdef GroupState* group = self.group_at(slot)
        return {
            "identity": load_acquire(&group.identity),
            "version": load_acquire(&group.version),
            "turn": load_acquire(&group.turn),
            "retries_refused": load_acquire(&group.retries_refused),
            "unused_since_ms": load_acquire(&group.unused_since_ms),
        }

    def latency(self, slot, now_ms):
        """Microseconds to the head of a response, about; 0: not known."""
        return target_latency(&self.table, slot, now_ms)

    # --- changing it --------------------------------------------------------------------------------------------------

    def report(self, group, slot, report, limits, now_ms):
        """Count a TargetReport; `limits` of successes, tcp failures, timeouts, http failures. True: requests begin or
        cease to go there."""
        cdef ReportLimits kept
        kept.successes, kept.tcp_failures, kept.timeouts, kept.http_failures = limits
        return target_report(&self.table, group, slot, <TargetReport> <int> report, &kept, now_ms)

    def set(self, group, slot, healthy, now_ms):
        """Make an address healthy or unhealthy, whatever was counted. True: that is a change."""
        return target_set(&self.table, group, slot, healthy, now_ms)

    def begin(self, worker, slot):
        """A request of a worker goes there."""
        target_begin(&self.table, worker, slot)

    def end(self, worker, slot, failed=False):
        """It has ended."""
        target_end(&self.table, worker, slot, failed)

    def note_latency(self, slot, microseconds, now_ms):
        """The head of a response has come."""
        target_note_latency(&self.table, slot, microseconds, now_ms)

    def forget_worker(self, worker):
        """Take back what a worker that is gone had open."""
        target_forget_worker(&self.table, worker)

    # --- after those that were killed ---------------------------------------------------------------------------------

    def raise_versions(self):
        """Have the workers look again at the health of all groups: a process that changed one may not have come to
        telling it."""
        raise_versions(&self.table)

    def forget_dead_workers(self):
        """Take back what workers had open that are gone and that nobody follows."""
        cdef WorkerBlock* block
        for index in range(self.table.worker_limit):
            block = shared_worker(self.shared.base, index)
            started = load_acquire(&block.starts)
            if self.forgotten.get(index, 0) == started:
                continue
            if load_acquire(&block.pid) == 0 and load_acquire(&block.state) == WorkerState.WORKER_FREE:
                self.forgotten[index] = started
                if forget_shares(&self.table, index):
                    raise_versions(&self.table)
