"""Shared memory of one gateway: layout, reading and writing. What the numbers mean is the business of their writers.

The mapping is anonymous and shared (`MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE`): a page costs memory from the first
time that somebody touches it, in whichever process. The blocks are mostly route metrics that are never touched, so
nothing here may clear or walk through a whole block.
"""

import mmap
import os

from cpython.buffer cimport PyBUF_WRITABLE, PyBuffer_Release, PyObject_GetBuffer, Py_buffer
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memcpy, memset

# A word has one writer and any number of readers, in other processes.
from native.atomics cimport load_acquire, store_release

cdef extern from *:
    """
    #define SHARED_MAGIC 0x4d4853474c53ULL   /* "SLGSHM" */
    """
    const uint64_t SHARED_MAGIC

cdef enum:
    PAGE = 4096
    MAP_NORESERVE = 0x4000           # Linux; Python names it only from 3.13 on

# The limits of the header, for Python code (they are compile-time constants for Cython code).
globals()["MAX_WORKERS"] = MAX_WORKERS
globals()["ROUTE_METRIC_SLOTS"] = ROUTE_METRIC_SLOTS
globals()["CONSUMER_SLOTS"] = CONSUMER_SLOTS
globals()["BY_CONSUMER"] = BY_CONSUMER
# What route_metrics() returns; shm.pyi says what is in it.
globals()["RouteMetrics"] = dict


cdef inline uint64_t page_aligned(uint64_t size) noexcept nogil:
    return (size + PAGE - 1) // PAGE * PAGE


cdef WorkerBlock* shared_worker(void* base, uint32_t index) noexcept nogil:
    """The block of worker `index`; the caller keeps index < worker_limit."""
    return <WorkerBlock*> (
        <char*> base + page_aligned(sizeof(ControlWords)) + <uint64_t> index * page_aligned(sizeof(WorkerBlock))
    )


cdef bint worker_lives(ControlWords* control, uint32_t index, uint64_t start) noexcept nogil:
    cdef WorkerBlock* block
    if index >= control.worker_limit:
        return False
    block = shared_worker(control, index)
    return load_acquire(&block.starts) == start and load_acquire(&block.pid) != 0


# The 64-bit words at the head of a block, by name, in the order of the header (create() checks that nothing is missing).
IDENTITY_WORDS = (                   # who works on the block
    "pid", "state", "generation", "heartbeat", "configuration_number", "peers_number", "identities_number",
)
GAUGE_WORDS = (                      # true of a living worker only
    "connections_active", "connections_reading", "connections_writing", "connections_waiting",
    "upstream_active", "upstream_idle", "snapshots_mapped",
)
COUNTER_WORDS = (                    # survive a restart of the worker
    "connections_accepted", "connections_handled", "connections_dropped", "requests_total",
    "upstream_connects", "upstream_reuses", "upstream_retries", "upstream_failures",
    "accept_pauses", "bad_requests", "timeouts", "log_lines_dropped", "regex_limits",
    "plugin_timeouts", "plugin_failures", "jobs_dropped", "token_cache_hits", "token_cache_misses",
    "cache_hits", "cache_misses", "cache_bypasses", "cache_stale", "cache_coalesced", "cache_revalidated",
    "cache_stored", "cache_skipped", "retries_refused", "circuit_refused", "starts", "loop_rounds",
)
WORDS = IDENTITY_WORDS + GAUGE_WORDS + COUNTER_WORDS

cdef dict WORD_INDEX = {name: index for index, name in enumerate(WORDS)}
cdef uint32_t FIRST_GAUGE = len(IDENTITY_WORDS)
cdef uint32_t FIRST_COUNTER = len(IDENTITY_WORDS) + len(GAUGE_WORDS)
cdef uint32_t WORD_COUNT = len(WORDS)


cdef inline uint64_t* words(WorkerBlock* block) noexcept nogil:
    return <uint64_t*> block


cdef WorkerBlock* block_of(SharedState shared, index) except NULL:
    """The block of a worker; IndexError for one that the mapping does not have."""
    if not 0 <= index < shared_control(shared.base).worker_limit:
        raise IndexError(f"no worker block {index}")
    return shared_worker(shared.base, index)


cdef uint64_t add_words(uint64_t* total, const uint64_t* counted, uint32_t count) noexcept nogil:
    """Add a worker's counters to a total. Returns something other than 0 if any of them is."""
    cdef uint64_t seen = 0
    cdef uint64_t value
    cdef uint32_t at
    for at in range(count):
        value = load_acquire(counted + at)
        total[at] += value
        seen |= value
    return seen


cdef list summed(uint64_t* total, uint32_t count):
    return [total[bucket] for bucket in range(count)]


cdef class SharedState:
    """The mapping as Python sees it. Every process of a gateway holds the object that the master made before forking.

    Reading takes no lock: each number is a true one, numbers read one after the other may be of different moments.
    """

    def __init__(self):
        raise TypeError("use SharedState.create()")

    @classmethod
    def create(cls, worker_limit=64, cache_bytes=0, limiter_bytes=0, token_cache_bytes=0):
        """Map memory for `worker_limit` workers (1..MAX_WORKERS), regions for cache, limiter and token cache
        (bytes, page aligned), and those of fixed size.

        Raises ValueError for a limit out of range, OSError when the mapping is refused.
        """
        if not 1 <= worker_limit <= MAX_WORKERS:
            raise ValueError(f"worker_limit {worker_limit} is not in 1..{MAX_WORKERS}")
        if cache_bytes < 0 or limiter_bytes < 0 or token_cache_bytes < 0:
            raise ValueError("a region cannot have a negative size")
        cdef uint64_t cache_size = page_aligned(cache_bytes)
        cdef uint64_t limiter_size = page_aligned(limiter_bytes)
        cdef uint64_t token_cache_size = page_aligned(token_cache_bytes)
        cdef uint64_t blocks = <uint64_t> worker_limit * page_aligned(sizeof(WorkerBlock))
        cdef uint64_t cache_offset = page_aligned(sizeof(ControlWords)) + blocks
        cdef uint64_t targets_offset = cache_offset + cache_size + limiter_size + token_cache_size
        cdef uint64_t targets_size = page_aligned(
            GROUP_SLOTS * GROUP_SIZE + TARGET_SLOTS * TARGET_SIZE + <uint64_t> worker_limit * TARGET_SLOTS * 4)
        cdef uint64_t circuits_size = page_aligned(CIRCUIT_SLOTS * CIRCUIT_SIZE)
        cdef uint64_t flights_size = page_aligned(FLIGHT_SLOTS * FLIGHT_SIZE)
        cdef uint64_t size = targets_offset + targets_size + circuits_size + flights_size
        mapping = mmap.mmap(-1, size, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | MAP_NORESERVE)

        cdef SharedState self = SharedState.__new__(SharedState)
        cdef Py_buffer view
        PyObject_GetBuffer(mapping, &view, PyBUF_WRITABLE)
        self.base = view.buf
        PyBuffer_Release(&view)      # the address holds until the mapping is closed, and only this object knows it
        self.mapping = mapping

        cdef WorkerBlock* block = shared_worker(self.base, 0)
        assert <uint32_t> (&block.loop_rounds - &block.pid) + 1 == WORD_COUNT, "WORDS differ from WorkerBlock"
        cdef ControlWords* control = shared_control(self.base)
        control.format = SHARED_FORMAT
        control.size = size
        control.worker_limit = worker_limit
        control.cache_offset = cache_offset
        control.cache_size = cache_size
        control.limiter_offset = cache_offset + cache_size
        control.limiter_size = limiter_size
        control.token_cache_offset = cache_offset + cache_size + limiter_size
        control.token_cache_size = token_cache_size
        control.targets_offset = targets_offset
        control.targets_size = targets_size
        control.circuits_offset = targets_offset + targets_size
        control.circuits_size = circuits_size
        control.flights_offset = control.circuits_offset + circuits_size
        control.flights_size = flights_size
        control.token_cache_seed = int.from_bytes(os.urandom(8), "little")
        control.limiter_seed = int.from_bytes(os.urandom(8), "little")
        control.cache_seed = int.from_bytes(os.urandom(8), "little")
        store_release(&control.magic, SHARED_MAGIC)
        return self

    # --- publication: written by the control process ------------------------------------------------------------------

    @property
    def configuration_number(self):
        """Number of the current configuration snapshot, 0 before the first."""
        return load_acquire(&shared_control(self.base).configuration_number)

    @property
    def peers_number(self):
        """Number of the current peers snapshot, 0 before the first."""
        return load_acquire(&shared_control(self.base).peers_number)

    @property
    def identities_number(self):
        """Number of the current identities snapshot, 0 before the first."""
        return load_acquire(&shared_control(self.base).identities_number)

    @property
    def configuration_hash(self):
        """Hash of the published configuration, 32 hex digits; empty before the first publication."""
        cdef ControlWords* control = shared_control(self.base)
        while True:                  # two equal reads: not caught in the middle of a publication
            first = bytes(control.configuration_hash[:32])
            number = load_acquire(&control.configuration_number)
            second = bytes(control.configuration_hash[:32])
            if first == second and number == load_acquire(&control.configuration_number):
                return first.rstrip(b"\0").decode("ascii")

    def publish_configuration(self, number, configuration_hash):
        """Make snapshot `number` the current configuration. Control process only; its file must lie there already."""
        cdef bytes text = configuration_hash.encode("ascii")
        if len(text) != 32:
            raise ValueError("a configuration hash has 32 hex digits")
        cdef ControlWords* control = shared_control(self.base)
        cdef const char* source = text
        memcpy(control.configuration_hash, source, 32)
        store_release(&control.configuration_number, number)

    def publish_peers(self, number):
        """Make snapshot `number` the current peers. Control process only; its file must lie there already."""
        store_release(&shared_control(self.base).peers_number, number)

    def publish_identities(self, number):
        """Make snapshot `number` the current identities. Control process only; its file must lie there already."""
        store_release(&shared_control(self.base).identities_number, number)

    # --- workers --------------------------------------------------------------------------------------------------------

    @property
    def worker_limit(self):
        """Number of worker blocks in the mapping."""
        return shared_control(self.base).worker_limit

    def worker(self, index):
        """Every scalar word of a worker's block, by its name in the header."""
        cdef uint64_t* word = words(block_of(self, index))
        cdef uint32_t at
        values = {}
        for at in range(WORD_COUNT):
            values[WORDS[at]] = load_acquire(word + at)
        return values

    def workers(self):
        """The blocks that somebody works on or has worked on, each as worker() gives it, with its `index`."""
        found = []
        for index in range(self.worker_limit):
            block = self.worker(index)
            if block["pid"] or block["requests_total"]:
                block["index"] = index
                found.append(block)
        return found

    def set_worker(self, index, **fields):
        """Write words of a block that no worker writes at this time: the master's, before a fork and after a death."""
        cdef uint64_t* word = words(block_of(self, index))
        for name, value in fields.items():
            store_release(word + <uint32_t> WORD_INDEX[name], value)

    def clear_worker(self, index):
        """Zero all but the counters of a block whose worker is gone. Master only."""
        cdef uint64_t* word = words(block_of(self, index))
        cdef uint32_t at
        for at in range(FIRST_COUNTER):
            store_release(word + at, 0)

    def totals(self):
        """Counters summed over all blocks, gauges over the living workers; one dict by word name."""
        cdef uint64_t* word
        cdef uint64_t total[64]
        cdef uint32_t at
        for at in range(WORD_COUNT):
            total[at] = 0
        for index in range(self.worker_limit):
            word = words(shared_worker(self.base, index))
            for at in range(FIRST_GAUGE if load_acquire(word) else FIRST_COUNTER, WORD_COUNT):
                total[at] += load_acquire(word + at)
        return {WORDS[at]: total[at] for at in range(FIRST_GAUGE, WORD_COUNT)}

    def route_metrics(self, slot):
        """The metrics of a route summed over all workers; None when no worker has counted anything in this slot.

        Latency lists are counts per bucket (not cumulative, last one +Inf), sums are milliseconds, `codes` maps
        (status, source) to a count; the status of what found no place in the table is 0. Of requests that are counted
        by consumer, too, the source is higher by BY_CONSUMER, and bytes stand apart.
        """
        if not 0 <= slot < ROUTE_METRIC_SLOTS:
            raise IndexError(f"no route metric slot {slot}")
        cdef RouteMetrics total
        cdef RouteMetrics* metrics
        cdef uint64_t* word
        cdef uint32_t at
        cdef uint64_t seen = 0
        cdef uint64_t count
        codes = {}
        memset(&total, 0, sizeof(RouteMetrics))
        for index in range(self.worker_limit):
            word = words(shared_worker(self.base, index))
            # A block without a request has no metrics; looking at them would make pages of them.
            if not load_acquire(word + <uint32_t> WORD_INDEX["requests_total"]):
                continue
            metrics = &shared_worker(self.base, index).routes[<uint32_t> slot]
            seen |= add_words(&total.ingress_bytes, &metrics.ingress_bytes, 1)
            seen |= add_words(&total.egress_bytes, &metrics.egress_bytes, 1)
            seen |= add_words(&total.consumer_ingress_bytes, &metrics.consumer_ingress_bytes, 1)
            seen |= add_words(&total.consumer_egress_bytes, &metrics.consumer_egress_bytes, 1)
            seen |= add_words(&total.kong_latency_sum_ms, &metrics.kong_latency_sum_ms, 1)
            seen |= add_words(&total.upstream_latency_sum_ms, &metrics.upstream_latency_sum_ms, 1)
            seen |= add_words(&total.request_latency_sum_ms, &metrics.request_latency_sum_ms, 1)
            seen |= add_words(total.kong_latency, metrics.kong_latency, KONG_BUCKETS)
            seen |= add_words(total.upstream_latency, metrics.upstream_latency, LATENCY_BUCKETS)
            seen |= add_words(total.request_latency, metrics.request_latency, LATENCY_BUCKETS)
            for at in range(CODE_SLOTS):
                count = load_acquire(&metrics.codes[at].count)
                if count:
                    seen |= count
                    key = (metrics.codes[at].code if at < CODE_SLOTS - 1 else 0, metrics.codes[at].source)
                    codes[key] = codes.get(key, 0) + count
        if not seen:
            return None
        return {
            "ingress_bytes": total.ingress_bytes,
            "egress_bytes": total.egress_bytes,
            "consumer_ingress_bytes": total.consumer_ingress_bytes,
            "consumer_egress_bytes": total.consumer_egress_bytes,
            "kong_latency": summed(total.kong_latency, KONG_BUCKETS),
            "kong_latency_sum_ms": total.kong_latency_sum_ms,
            "upstream_latency": summed(total.upstream_latency, LATENCY_BUCKETS),
            "upstream_latency_sum_ms": total.upstream_latency_sum_ms,
            "request_latency": summed(total.request_latency, LATENCY_BUCKETS),
            "request_latency_sum_ms": total.request_latency_sum_ms,
            "codes": codes,
        }

    def set_route_metrics(self, index, slot, metrics):
        """Write what route_metrics() gives into one worker's slot, as that worker would. For tests of the readers."""
        if not 0 <= slot < ROUTE_METRIC_SLOTS:
            raise IndexError(f"no route metric slot {slot}")
        if len(metrics["codes"]) > CODE_SLOTS:
            raise ValueError(f"a slot holds {CODE_SLOTS} pairs of status and source")
        cdef RouteMetrics* target = &block_of(self, index).routes[<uint32_t> slot]
        cdef uint32_t at
        target.ingress_bytes = metrics["ingress_bytes"]
        target.egress_bytes = metrics["egress_bytes"]
        target.consumer_ingress_bytes = metrics["consumer_ingress_bytes"]
        target.consumer_egress_bytes = metrics["consumer_egress_bytes"]
        target.kong_latency_sum_ms = metrics["kong_latency_sum_ms"]
        target.upstream_latency_sum_ms = metrics["upstream_latency_sum_ms"]
        target.request_latency_sum_ms = metrics["request_latency_sum_ms"]
        for at in range(KONG_BUCKETS):
            target.kong_latency[at] = metrics["kong_latency"][at]
        for at in range(LATENCY_BUCKETS):
            target.upstream_latency[at] = metrics["upstream_latency"][at]
            target.request_latency[at] = metrics["request_latency"][at]
        for number, ((code, source), count) in enumerate(metrics["codes"].items()):
            at = number
            target.codes[at].source = source
            target.codes[at].code = code
            target.codes[at].count = count

    # --- control words --------------------------------------------------------------------------------------------------

    @property
    def generation(self):
        """Generation of the workers: raised by the master when it replaces them all."""
        return load_acquire(&shared_control(self.base).generation)

    @generation.setter
    def generation(self, value):
        store_release(&shared_control(self.base).generation, value)

    @property
    def master_pid(self):
        """Process id of the master; 0 while it starts."""
        return load_acquire(&shared_control(self.base).master_pid)

    @master_pid.setter
    def master_pid(self, value):
        store_release(&shared_control(self.base).master_pid, value)

    @property
    def control_pid(self):
        """Process id of the control process; 0 while there is none."""
        return load_acquire(&shared_control(self.base).control_pid)

    @control_pid.setter
    def control_pid(self, value):
        store_release(&shared_control(self.base).control_pid, value)

    @property
    def control_heartbeat(self):
        """Last sign of life of the control process, monotonic milliseconds; 0 before its listeners are up."""
        return load_acquire(&shared_control(self.base).control_heartbeat)

    @control_heartbeat.setter
    def control_heartbeat(self, value):
        store_release(&shared_control(self.base).control_heartbeat, value)

    @property
    def control_restarts(self):
        """Times the master has had to start the control process again."""
        return load_acquire(&shared_control(self.base).control_restarts)

    @control_restarts.setter
    def control_restarts(self, value):
        store_release(&shared_control(self.base).control_restarts, value)

    @property
    def worker_restarts(self):
        """Times the master has had to start a worker again."""
        return load_acquire(&shared_control(self.base).worker_restarts)

    @worker_restarts.setter
    def worker_restarts(self, value):
        store_release(&shared_control(self.base).worker_restarts, value)

    @property
    def size(self):
        """Bytes of the whole mapping (address space, not memory in use)."""
        return shared_control(self.base).size
