"""What gateway/worker.py sees of the request path: one object that holds a worker and runs its loop.

Which thread may call what: `run` and `write_logs` each have a thread of their own and work without the GIL; all other
methods belong to the main thread.
"""

import os
import resource

from native.atomics cimport exchange_pointer, load_acquire32, load_acquire8, store_release32, store_release8
from native.plan import load_steps

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from posix.unistd cimport close, read, write

from native.completion cimport abort_exchange
from native.connection cimport *
from native.downstream cimport (
    client_close,
    close_idle_clients,
    close_listeners,
    exchange_finished,
    free_closed_clients,
    start_accepting,
)
from native.exchange cimport begin_exchange, refuse_exchange, resume_exchange
from native.identities cimport identities_verify
from native.balancer cimport balancing_free, balancing_new
from native.cache_store cimport cache_open, cache_take_over
from native.flights cimport flights_clear, flights_collect, flights_init
from native.jobs cimport (
    job_queue_of,
    jobs_clear,
    jobs_collect,
    jobs_init,
    jobs_outside,
    jobs_wake,
    plugins_with_work,
)
from native.log cimport log_writer_run, ring_free, ring_init, update_time_texts, wake_log_writer
from native.loop cimport (
    Endpoint,
    Timer,
    loop_add_listener,
    loop_close,
    loop_init,
    loop_run,
    loop_update_time,
    timer_set,
)
from native.memory cimport buffer_stock_clear, slab_clear, slab_init
from native.plan cimport PlanRuntime, plan_runtime_free, plan_runtime_new
from native.pool cimport free_closed_upstreams, pools_clear
from native.router cimport router_runtime_free, router_runtime_new
from native.target_state cimport target_forget_worker, target_table
from native.shm cimport (
    SharedState,
    WORKER_DRAINING,
    WORKER_SERVING,
    shared_control,
    shared_worker,
)
from native.snapshot cimport (
    SNAPSHOT_CONFIGURATION,
    SNAPSHOT_IDENTITIES,
    SNAPSHOT_PEERS,
    SnapshotHeader,
    snapshot_verify,
)
from native.sockets cimport set_no_delay

cdef extern from *:
    """
    #include <stdint.h>
    #include <sys/syscall.h>
    #include <unistd.h>
    /* Ask the scheduler for short slices for this thread (sched_setattr(2); the running time of an ordinary thread counts
       since Linux 6.12). Who asks for short ones gets the processor at once when it wakes up, also from a thread in the
       midst of its own slice, be that one ever so nice; its share stays the same. Without this a request may wait for
       milliseconds while a configuration is compiled. Where it is not possible, everything is as before. */
    static void ask_for_short_slices(uint64_t nanoseconds) {
        struct {
            uint32_t size, policy; uint64_t flags; int32_t nice; uint32_t priority;
            uint64_t runtime, deadline, period;
        } attributes = {0};
        if (syscall(SYS_sched_getattr, 0, &attributes, sizeof(attributes), 0) != 0 || attributes.policy != 0) return;
        attributes.size = sizeof(attributes);
        attributes.runtime = nanoseconds;
        syscall(SYS_sched_setattr, 0, &attributes, 0);
    }
    """
    void ask_for_short_slices(uint64_t nanoseconds) nogil

cdef extern from "<sys/mman.h>" nogil:
    void* mmap(void* address, size_t length, int protection, int flags, int fd, long offset)
    int munmap(void* address, size_t length)
    const int PROT_READ, MAP_SHARED, MAP_POPULATE
    void* const_MAP_FAILED "MAP_FAILED"

cdef enum:
    ACCESS_RING = 1048576
    ERROR_RING = 262144
    COMMAND_NONE = 0
    COMMAND_DRAIN = 1
    COMMAND_STOP = 2
    # While draining, a connection without a request is left open for so long: what the client is sending just now
    # still gets its answer
    DRAIN_GRACE_MS = 1000
    DRAIN_CHECK_MS = 250
    SLICE_NS = 100_000           # the shortest there is


class SnapshotError(Exception):
    """A snapshot file cannot be used; the one before stays in force."""


# --- the loop thread's side ------------------------------------------------------------------------------------------
cdef void switch_snapshots(Worker* worker) noexcept nogil:
    """Between two rounds: new requests use the new snapshots, running ones keep theirs."""
    cdef MappedSnapshot* fresh = <MappedSnapshot*> exchange_pointer(<void**> &worker.next_peers, NULL)
    if fresh != NULL:
        if worker.peers != NULL:
            store_release8(&worker.peers.retired, 1)
        worker.peers = fresh
        worker.block.peers_number = fresh.base.number
    fresh = <MappedSnapshot*> exchange_pointer(<void**> &worker.next_identities, NULL)
    if fresh != NULL:
        if worker.identities != NULL:
            store_release8(&worker.identities.retired, 1)
        worker.identities = fresh
        worker.block.identities_number = fresh.base.number
    fresh = <MappedSnapshot*> exchange_pointer(<void**> &worker.next_configuration, NULL)
    if fresh != NULL:
        if worker.configuration != NULL:
            store_release8(&worker.configuration.retired, 1)
        worker.configuration = fresh
        worker.block.configuration_number = fresh.base.number
    if (worker.phase == PHASE_WAITING and worker.peers != NULL and worker.identities != NULL
            and worker.configuration != NULL):
        worker.phase = PHASE_SERVING
        start_accepting(worker)
        worker.block.state = WORKER_SERVING


cdef void on_drain_timer(Timer* timer) noexcept nogil:
    cdef Worker* worker = <Worker*> timer.owner
    close_idle_clients(worker)
    timer_set(&worker.loop, timer, worker.loop.now_ms + DRAIN_CHECK_MS)


cdef void begin_drain(Worker* worker) noexcept nogil:
    close_listeners(worker)
    worker.phase = PHASE_DRAINING
    worker.block.state = WORKER_DRAINING
    worker.drain_timer.on_expire = on_drain_timer
    worker.drain_timer.owner = worker
    timer_set(&worker.loop, &worker.drain_timer, worker.loop.now_ms + DRAIN_GRACE_MS)


cdef void on_round_end(void* context) noexcept nogil:
    cdef Worker* worker = <Worker*> context
    cdef uint32_t command
    free_closed_clients(worker)
    free_closed_upstreams(worker)
    if worker.next_configuration != NULL or worker.next_peers != NULL or worker.next_identities != NULL:
        switch_snapshots(worker)
    command = load_acquire32(&worker.command)
    if command == COMMAND_STOP:
        worker.loop.stop = 1
    elif command == COMMAND_DRAIN and worker.phase != PHASE_DRAINING:
        begin_drain(worker)
    if worker.phase == PHASE_DRAINING and worker.connection_count == 0:
        worker.loop.stop = 1
    update_time_texts(worker)
    jobs_wake(worker)
    wake_log_writer(worker)
    worker.block.heartbeat = worker.loop.now_ms
    worker.block.upstream_idle = worker.idle_upstreams
    worker.block.loop_rounds += 1


cdef void on_wakeup(Endpoint* endpoint) noexcept nogil:
    cdef uint64_t ignored
    endpoint.readable = 0
    if read(endpoint.fd, &ignored, 8) < 0:
        return
    jobs_collect(<Worker*> endpoint.owner)
    flights_collect(<Worker*> endpoint.owner)


cdef void close_everything(Worker* worker) noexcept nogil:
    cdef Downstream* client
    while worker.connections != NULL:
        client = worker.connections
        if client.exchange != NULL:
            abort_exchange(client.exchange)
        else:
            client_close(client)
    pools_clear(worker)
    free_closed_clients(worker)
    free_closed_upstreams(worker)
    jobs_wake(worker)
    wake_log_writer(worker)


# --- the main thread's side ------------------------------------------------------------------------------------------
cdef class DataPlane:
    cdef Worker* worker
    cdef MappedSnapshot* mapped          # all that are mapped
    cdef SharedState shared
    cdef int log_descriptors[2]

    def __cinit__(self):
        self.worker = <Worker*> calloc(1, sizeof(Worker))
        if self.worker == NULL:
            raise MemoryError

    def __init__(self, SharedState shared, uint32_t index, *, listeners, uint64_t worker_connections,
                 int access_log_fd, int error_log_fd, loop_fds):
        """`listeners`: (descriptor, port, flags) with flags 1 = shared between workers, 2 = TLS. A log descriptor of -1
        writes nothing. `loop_fds`: eventfds that wake the workers' loops, by block; this worker's among them. Raises OSError when the kernel gives no epoll or eventfd descriptor."""
        cdef Worker* worker = self.worker
        cdef int result
        cdef bytes seed = os.urandom(32)
        self.shared = shared
        self.log_descriptors[0] = access_log_fd
        self.log_descriptors[1] = error_log_fd
        worker.control = shared_control(shared.base)
        worker.block = shared_worker(shared.base, index)
        memcpy(worker.random, <const char*> seed, 32)
        result = loop_init(&worker.loop)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        slab_init(&worker.downstreams, sizeof(Downstream), 256)
        slab_init(&worker.exchanges, sizeof(Exchange), 16)
        slab_init(&worker.upstreams, sizeof(Upstream), 64)
        slab_init(&worker.pools, sizeof(Pool), 32)
        if ring_init(&worker.access_log, ACCESS_RING) != 0 or ring_init(&worker.error_log, ERROR_RING) != 0:
            raise MemoryError
        worker.connection_limit = worker_connections
        worker.descriptor_ceiling = descriptor_ceiling()
        worker.log_wakeup_fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.share(index, loop_fds)
        worker.wakeup.on_ready = on_wakeup
        worker.wakeup.owner = worker
        loop_add_listener(&worker.loop, &worker.wakeup, False)
        result = jobs_init(worker)
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        worker.loop.round_context = worker
        worker.loop.on_round_end = on_round_end
        worker.begin_exchange = begin_exchange
        worker.refuse_exchange = refuse_exchange
        worker.exchange_finished = exchange_finished
        worker.resume_exchange = resume_exchange
        load_steps()
        self.add_listeners(listeners)
        self.reset_gauges()
        update_time_texts(worker)

    cdef share(self, uint32_t index, loop_fds):
        """What this worker has in common with the others."""
        cdef Worker* worker = self.worker
        cdef uint32_t i
        worker.index = index
        worker.targets = target_table(worker.control)
        target_forget_worker(&worker.targets, index)
        cache_open(worker.control, index, worker.block.starts, &worker.cache)
        cache_take_over(&worker.cache)
        worker.loop_fd_count = <uint32_t> len(loop_fds)
        worker.loop_fds = <int*> calloc(worker.loop_fd_count, sizeof(int))
        if worker.loop_fds == NULL or not flights_init(worker):
            raise MemoryError
        for i, fd in enumerate(loop_fds):
            worker.loop_fds[i] = fd
        worker.wakeup.fd = worker.loop_fds[index]

    cdef add_listeners(self, listeners):
        cdef Listener* listener
        if len(listeners) > MAX_LISTENERS:
            raise ValueError(f"{len(listeners)} listening sockets; at most {MAX_LISTENERS} are allowed")
        for fd, port, flags in listeners:
            listener = &self.worker.listeners[self.worker.listener_count]
            listener.endpoint.fd = fd
            listener.endpoint.owner = self.worker
            listener.port = port
            listener.shared = flags & 1
            listener.tls = (flags >> 1) & 1
            os.set_blocking(fd, False)
            set_no_delay(fd)                             # accepted sockets inherit it
            self.worker.listener_count += 1

    cdef reset_gauges(self):
        """A restarted worker goes on with the counters of the one before; its gauges start at nothing."""
        block = self.worker.block
        block.connections_active = 0
        block.connections_reading = 0
        block.connections_writing = 0
        block.connections_waiting = 0
        block.upstream_active = 0
        block.upstream_idle = 0
        block.snapshots_mapped = 0
        block.configuration_number = 0
        block.peers_number = 0
        block.identities_number = 0

    def __dealloc__(self):
        cdef MappedSnapshot* snapshot
        if self.worker == NULL:
            return
        while self.mapped != NULL:
            snapshot = self.mapped
            self.mapped = snapshot.next
            unmap(snapshot)
        if self.worker.loop.epoll_fd > 0:
            loop_close(&self.worker.loop)
            close(self.worker.log_wakeup_fd)
        flights_clear(self.worker)
        free(self.worker.loop_fds)
        jobs_clear(self.worker)
        buffer_stock_clear(&self.worker.buffers)
        slab_clear(&self.worker.downstreams)
        slab_clear(&self.worker.exchanges)
        slab_clear(&self.worker.upstreams)
        slab_clear(&self.worker.pools)
        ring_free(&self.worker.access_log)
        ring_free(&self.worker.error_log)
        free(self.worker)

    cdef wake(self):
        cdef uint64_t one = 1
        if write(self.worker.wakeup.fd, &one, 8) < 0:
            pass                                         # the counter is full: the loop is awake anyway

    def load_configuration(self, path):
        """Map a configuration snapshot and hand it to the loop. Raises SnapshotError when it cannot be used. Returns the
        plugins that may have work for the plugin thread: [(name, kind of step)]."""
        cdef MappedSnapshot* snapshot = self.map_file(path, SNAPSHOT_CONFIGURATION)
        cdef MappedSnapshot* earlier = self.mapped
        cdef const char* problem = NULL
        while earlier != NULL and earlier.router == NULL:
            earlier = earlier.next                       # the newest configuration: it is in use, or will be
        with nogil:
            snapshot.router = router_runtime_new(snapshot.base, NULL if earlier == NULL else earlier.router)
        if snapshot.router == NULL:
            unmap(snapshot)
            raise SnapshotError(f"{path}: a regular expression of the router index does not compile")
        with nogil:
            snapshot.plans = plan_runtime_new(snapshot.base, &problem)
        if snapshot.plans == NULL:
            unmap(snapshot)
            raise SnapshotError(f"{path}: {problem.decode()}")
        plugins = plugins_with_work(snapshot.base)
        self.hand_over(&self.worker.next_configuration, snapshot)
        return plugins

    def load_peers(self, path):
        """Map a peers snapshot and hand it to the loop. Raises SnapshotError when it cannot be used."""
        cdef MappedSnapshot* snapshot = self.map_file(path, SNAPSHOT_PEERS)
        with nogil:
            snapshot.balancing = balancing_new(snapshot)
        if snapshot.balancing == NULL:
            unmap(snapshot)
            raise MemoryError
        self.hand_over(&self.worker.next_peers, snapshot)

    def load_identities(self, path):
        """Map an identities snapshot and hand it to the loop. Raises SnapshotError when it cannot be used."""
        self.hand_over(&self.worker.next_identities, self.map_file(path, SNAPSHOT_IDENTITIES))

    cdef MappedSnapshot* map_file(self, path, uint32_t kind) except NULL:
        cdef const char* problem
        cdef MappedSnapshot* snapshot
        cdef void* base
        cdef size_t size
        cdef int fd
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                size = os.fstat(fd).st_size
                if size < sizeof(SnapshotHeader):
                    raise SnapshotError(f"{path}: too short for a snapshot")
                base = mmap(NULL, size, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, 0)
            finally:
                os.close(fd)
        except OSError as error:
            raise SnapshotError(f"{path}: {error.strerror}") from error
        if base == const_MAP_FAILED:
            raise SnapshotError(f"{path}: cannot be mapped")
        with nogil:
            problem = snapshot_verify(base, size)
            if problem == NULL and (<SnapshotHeader*> base).kind != kind:
                problem = b"is of another kind"
            if problem == NULL and kind == SNAPSHOT_IDENTITIES:
                problem = identities_verify(<SnapshotHeader*> base)
        if problem != NULL:
            munmap(base, size)
            raise SnapshotError(f"{path}: {problem.decode()}")
        snapshot = <MappedSnapshot*> calloc(1, sizeof(MappedSnapshot))
        if snapshot == NULL:
            munmap(base, size)
            raise MemoryError
        snapshot.base = <const SnapshotHeader*> base
        snapshot.size = size
        return snapshot

    cdef hand_over(self, MappedSnapshot** place, MappedSnapshot* snapshot):
        snapshot.next = self.mapped
        self.mapped = snapshot
        self.worker.block.snapshots_mapped += 1
        overtaken = <MappedSnapshot*> exchange_pointer(<void**> place, snapshot)
        if overtaken != NULL:                            # never came into use
            overtaken.retired = 1
        self.wake()

    def housekeeping(self):
        """Unmap what no request uses any more. Call it about once a second."""
        cdef MappedSnapshot** place = &self.mapped
        cdef MappedSnapshot* snapshot
        while place[0] != NULL:
            snapshot = place[0]
            if load_acquire8(&snapshot.retired) and snapshot.users == 0:
                place[0] = snapshot.next
                self.worker.block.snapshots_mapped -= 1
                unmap(snapshot)
            else:
                place = &snapshot.next

    def run(self):
        """The loop. Returns after stop(), or when a drain has finished."""
        cdef uint64_t one = 1
        with nogil:
            ask_for_short_slices(SLICE_NS)
            loop_update_time(&self.worker.loop)
            on_round_end(self.worker)
            loop_run(&self.worker.loop)
            close_everything(self.worker)
            store_release8(&self.worker.log_finished, 1)
            if write(self.worker.log_wakeup_fd, &one, 8) < 0:
                pass                                     # the counter is full: the log writer is awake anyway

    def job_queue(self):
        """What the plugin thread takes its work from; see native.jobs. It keeps this object alive."""
        return job_queue_of(self.worker, self)

    def jobs_at_end(self):
        """After run() has returned: take back what the plugin thread has done since. How many jobs it still has."""
        jobs_collect(self.worker)
        return jobs_outside(self.worker)

    def left_in_use(self):
        """What run() has not given back, by kind; all zero unless something leaks. Call it after run() has returned."""
        return {"clients": self.worker.downstreams.in_use, "exchanges": self.worker.exchanges.in_use,
                "upstreams": self.worker.upstreams.in_use, "pools": self.worker.pools.in_use,
                "buffers": self.worker.buffers.in_use - jobs_outside(self.worker)}

    def write_logs(self):
        """Write log lines until run() has returned and everything is written."""
        with nogil:
            log_writer_run(self.worker, self.log_descriptors)

    def drain(self):
        """Close the listening sockets, after accepting who waits there; every response closes its connection; run()
        returns when the last one is closed."""
        store_release32(&self.worker.command, COMMAND_DRAIN)
        self.wake()

    def stop(self):
        """Make run() return now."""
        store_release32(&self.worker.command, COMMAND_STOP)
        self.wake()


cdef int descriptor_ceiling():
    """See Worker. An eighth of the limit is left for upstreams; WORKER_CONNECTIONS is to leave them more."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY or limit > 1 << 30:
        return 1 << 30
    return limit - limit // 8


cdef void unmap(MappedSnapshot* snapshot) noexcept:
    if snapshot.router != NULL:
        router_runtime_free(snapshot.router)
    plan_runtime_free(<PlanRuntime*> snapshot.plans)
    balancing_free(snapshot.balancing)
    munmap(<void*> snapshot.base, snapshot.size)
    free(snapshot)
