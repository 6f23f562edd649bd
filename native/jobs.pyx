"""See jobs.pxd. Who writes what:

    jobs.written, done.read, everything of Job but the result, users of snapshots     loop thread
    jobs.read, done.written, result, outcome                                          plugin thread
    thread_sleeps     set by the plugin thread before it sleeps, taken back by whoever wakes it
    loop_notified     set by the plugin thread when it wakes the loop, taken back by the loop before it looks

Both sides look at the ring again after they have said that they sleep, and both flags are exchanged with a full
barrier, so that a job is never left in a ring while its reader sleeps.
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport errno
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy
from posix.unistd cimport close, read, write

from native.atomics cimport exchange_ordered32, load_ordered, load_ordered8, store_ordered, store_ordered8
from native.connection cimport EXCHANGE_PARKED, REQUEST_ID_LENGTH, Downstream
from native.log cimport LOG_ERROR, log_error
from native.loop cimport timer_clear, timer_set
from native.memory cimport (
    Buffer,
    Slab,
    buffer_give,
    buffer_length,
    buffer_take,
    slab_clear,
    slab_give,
    slab_init,
    slab_take,
)
from native.plan cimport STEP_FAIL, STEP_PARK
from native.snapshot cimport SnapshotHeader, StringRef, snapshot_plugin, snapshot_text

cdef extern from "<sys/eventfd.h>" nogil:
    int eventfd(unsigned int value, int flags) noexcept
    const int EFD_NONBLOCK, EFD_CLOEXEC


# A job and what only this module knows of it.
ctypedef struct JobEntry:
    Job job                      # first: the addresses are the same
    uint64_t deadline_ms         # on the loop's clock
    uint64_t bytes               # counted for it
    uint8_t outside              # with the plugin thread
    uint8_t given_back           # job_free was called meanwhile
    uint8_t awaited              # an exchange was parked for it
    uint8_t abandoned            # atomic: nobody waits for it any more
    uint8_t outcome              # JobState; the plugin thread's
    uint8_t share                # which of JobQueues.shares it counts in
    char request_id[REQUEST_ID_LENGTH]

# One writer, one reader. Positions only grow; their difference is the fill.
ctypedef struct JobRing:
    uint64_t written
    uint8_t apart[56]            # the two positions are written by two processors
    uint64_t read
    uint8_t apart_too[56]
    JobEntry* places[JOB_RING]

ctypedef struct JobQueues:
    JobRing jobs                 # loop thread → plugin thread
    JobRing done                 # plugin thread → loop thread
    uint32_t thread_sleeps       # atomic
    uint32_t loop_notified       # atomic
    int fd                       # eventfd: the plugin thread has something to do
    # the loop thread's
    Slab entries
    uint32_t existing            # jobs
    uint32_t outside             # of them with the plugin thread
    uint64_t bytes               # of all their requests
    uint32_t shares[256]         # of them by a hash of the plugin's configuration
    uint64_t number              # of the last job
    uint8_t wake_wanted          # handed over since the last jobs_wake


cdef inline JobQueues* queues_of(Worker* worker) noexcept nogil:
    return <JobQueues*> worker.jobs


# --- the rings -------------------------------------------------------------------------------------------------------
cdef bint ring_put(JobRing* ring, JobEntry* entry) noexcept nogil:
    cdef uint64_t written = ring.written
    if written - load_ordered(&ring.read) >= JOB_RING:
        return False
    ring.places[written & (JOB_RING - 1)] = entry
    store_ordered(&ring.written, written + 1)
    return True


cdef JobEntry* ring_take(JobRing* ring) noexcept nogil:
    cdef uint64_t place = ring.read
    cdef JobEntry* entry
    if place == load_ordered(&ring.written):
        return NULL
    entry = ring.places[place & (JOB_RING - 1)]
    store_ordered(&ring.read, place + 1)
    return entry


# --- the loop thread's side ------------------------------------------------------------------------------------------
cdef int jobs_init(Worker* worker) noexcept nogil:
    cdef JobQueues* queues = <JobQueues*> calloc(1, sizeof(JobQueues))
    if queues == NULL:
        return -12                                       # ENOMEM
    queues.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
    if queues.fd < 0:
        free(queues)
        return -errno
    queues.thread_sleeps = 1                             # it has not even begun
    slab_init(&queues.entries, sizeof(JobEntry), 64)
    worker.jobs = queues
    return 0


cdef void jobs_clear(Worker* worker) noexcept nogil:
    cdef JobQueues* queues = queues_of(worker)
    cdef JobEntry* entry
    if queues == NULL:
        return
    while True:                                          # what was never taken, and what nobody collected
        entry = ring_take(&queues.jobs)
        if entry == NULL:
            entry = ring_take(&queues.done)
        if entry == NULL:
            break
        entry.outside = 0
        queues.outside -= 1
        entry_free(entry)
    close(queues.fd)
    slab_clear(&queues.entries)
    free(queues)
    worker.jobs = NULL


cdef Job* job_new(Exchange* exchange, const PluginRecord* plugin, uint32_t verb, uint32_t room) noexcept nogil:
    cdef Worker* worker = exchange.worker
    cdef JobQueues* queues = queues_of(worker)
    cdef JobEntry* entry = NULL
    cdef Buffer* request = NULL
    cdef uint8_t share = <uint8_t> plugin.config_hash
    if queues.existing < MAX_JOBS and queues.shares[share] < MAX_JOBS_OF_ONE \
            and (queues.bytes + room <= MAX_JOB_BYTES or room <= SMALL_JOB or queues.existing == 0):
        entry = <JobEntry*> slab_take(&queues.entries)
        request = buffer_take(&worker.buffers, room)
    if entry == NULL or request == NULL:
        if entry != NULL:
            slab_give(&queues.entries, entry)
        buffer_give(&worker.buffers, request)
        worker.block.jobs_dropped += 1
        log_error(worker, LOG_ERROR, exchange, b"too much work is waiting for the plugin thread", NULL, 0)
        return NULL
    queues.existing += 1
    queues.shares[share] += 1
    queues.number += 1
    entry.share = share
    entry.bytes = request.capacity
    queues.bytes += entry.bytes
    entry.deadline_ms = worker.loop.now_ms + plugin.deadline_ms
    entry.outside = 0
    entry.given_back = 0
    entry.awaited = 0
    entry.abandoned = 0
    entry.outcome = JOB_FAILED
    memcpy(entry.request_id, exchange.request_id, REQUEST_ID_LENGTH)
    entry.job.next = NULL
    entry.job.worker = worker
    entry.job.exchange = NULL
    entry.job.configuration = exchange.configuration
    entry.job.configuration.users += 1
    entry.job.plugin = plugin
    entry.job.request = request
    entry.job.result = NULL
    entry.job.result_length = 0
    entry.job.verb = verb
    entry.job.state = JOB_NEW
    entry.job.number = queues.number
    return &entry.job


cdef void entry_free(JobEntry* entry) noexcept nogil:
    cdef Worker* worker = entry.job.worker
    cdef JobQueues* queues = queues_of(worker)
    buffer_give(&worker.buffers, entry.job.request)
    free(entry.job.result)
    entry.job.configuration.users -= 1
    queues.existing -= 1
    queues.shares[entry.share] -= 1
    queues.bytes -= entry.bytes
    slab_give(&queues.entries, entry)


cdef void job_free(Job* job) noexcept nogil:
    cdef JobEntry* entry = <JobEntry*> job
    if job == NULL:
        return
    if job.exchange != NULL:
        if job.exchange.job == job:
            job.exchange.job = NULL
        job.exchange = NULL
    if entry.outside:
        entry.given_back = 1
        store_ordered8(&entry.abandoned, 1)
    else:
        entry_free(entry)


cdef bint hand_over(JobQueues* queues, JobEntry* entry) noexcept nogil:
    if not ring_put(&queues.jobs, entry):
        return False
    entry.outside = 1
    entry.job.state = JOB_WAITING
    queues.outside += 1
    queues.wake_wanted = 1
    return True


cdef int job_submit(Exchange* exchange, Job* job) noexcept nogil:
    cdef Worker* worker = exchange.worker
    cdef JobEntry* entry = <JobEntry*> job
    if exchange.job != NULL and exchange.job != job:
        job_free(exchange.job)
    entry.awaited = 1
    job.exchange = exchange
    exchange.job = job
    if not hand_over(queues_of(worker), entry):
        worker.block.jobs_dropped += 1
        log_error(worker, LOG_ERROR, exchange, b"too many jobs are waiting for the plugin thread", NULL, 0)
        job_free(job)
        return STEP_FAIL
    exchange.flags |= EXCHANGE_PARKED
    timer_set(&worker.loop, &exchange.client.endpoint.timer, entry.deadline_ms)
    return STEP_PARK


cdef bint job_send(Worker* worker, Job* job) noexcept nogil:
    job.exchange = NULL
    # given back in advance: it is freed as soon as the plugin thread has returned it
    (<JobEntry*> job).given_back = 1
    if hand_over(queues_of(worker), <JobEntry*> job):
        return True
    worker.block.jobs_dropped += 1
    entry_free(<JobEntry*> job)
    return False


cdef void job_abandon(Exchange* exchange) noexcept nogil:
    exchange.flags &= ~(<uint32_t> EXCHANGE_PARKED)
    job_free(exchange.job)
    exchange.job = NULL


cdef void job_expired(Exchange* exchange) noexcept nogil:
    cdef Job* job = exchange.job
    exchange.flags &= ~(<uint32_t> EXCHANGE_PARKED)
    if job != NULL and job.state == JOB_WAITING:
        job.state = JOB_LATE
        store_ordered8(&(<JobEntry*> job).abandoned, 1)
        exchange.worker.block.plugin_timeouts += 1
    exchange.worker.resume_exchange(exchange)


cdef void take_back(JobEntry* entry) noexcept nogil:
    """The plugin thread has done with it, one way or another."""
    cdef Worker* worker = entry.job.worker
    cdef Exchange* exchange = entry.job.exchange
    entry.outside = 0
    queues_of(worker).outside -= 1
    if entry.outcome == JOB_FAILED and not entry.abandoned:
        worker.block.plugin_failures += 1
    if entry.given_back:
        entry_free(entry)
    elif entry.job.state == JOB_WAITING:
        entry.job.state = entry.outcome
        exchange.flags &= ~(<uint32_t> EXCHANGE_PARKED)
        timer_clear(&exchange.client.endpoint.timer)
        worker.resume_exchange(exchange)
    # else it is late, and its exchange is still at what it does about it: job_free comes


cdef void jobs_collect(Worker* worker) noexcept nogil:
    cdef JobQueues* queues = queues_of(worker)
    cdef JobEntry* entry
    cdef uint64_t end
    if queues == NULL:
        return
    exchange_ordered32(&queues.loop_notified, 0)
    # What comes in meanwhile has a notification of its own: others get their turn.
    end = load_ordered(&queues.done.written)
    while queues.done.read != end:
        entry = ring_take(&queues.done)
        take_back(entry)


cdef void jobs_wake(Worker* worker) noexcept nogil:
    cdef JobQueues* queues = queues_of(worker)
    cdef uint64_t one = 1
    if queues == NULL or not queues.wake_wanted:
        return
    queues.wake_wanted = 0
    if exchange_ordered32(&queues.thread_sleeps, 0) and write(queues.fd, &one, 8) < 0:
        return                                           # the counter is full: the thread is awake anyway


cdef uint32_t jobs_outside(Worker* worker) noexcept nogil:
    return queues_of(worker).outside if worker.jobs != NULL else 0


# --- the plugin thread's side ----------------------------------------------------------------------------------------
cdef class JobPlugin:
    """What all jobs of one plugin configuration say of it.

    `step`: the kind of step that makes them, a module of native/steps/. `document`: the configuration as JSON, empty
    when handlers need none. `packed`: the form that the step reads. `config_hash`: differs whenever one of the two
    does. `prepared`: for the plugin thread, None at first.
    """
    cdef readonly str plugin_id, plugin_name, step
    cdef readonly bytes document, packed
    cdef readonly uint64_t config_hash
    cdef public object prepared


cdef bytes bytes_at(const SnapshotHeader* base, StringRef text):
    return PyBytes_FromStringAndSize(snapshot_text(base, text), text.length)


cdef JobPlugin read_plugin(const SnapshotHeader* base, const PluginRecord* plugin):
    cdef JobPlugin texts = JobPlugin.__new__(JobPlugin)
    cdef const StringRef* steps = <const StringRef*> (<const uint8_t*> base + base.step_name_offset)
    texts.plugin_id = bytes_at(base, plugin.id).decode()
    texts.plugin_name = bytes_at(base, plugin.name).decode()
    texts.step = bytes_at(base, steps[plugin.step]).decode() if plugin.step < base.step_name_count else ""
    texts.document = bytes_at(base, plugin.document)
    texts.packed = bytes_at(base, StringRef(plugin.config_offset, plugin.config_size))
    texts.config_hash = plugin.config_hash
    return texts


cdef list plugins_with_work(const SnapshotHeader* base):
    cdef const StringRef* steps = <const StringRef*> (<const uint8_t*> base + base.step_name_offset)
    cdef const PluginRecord* plugin
    cdef dict found = {}
    cdef uint32_t index
    for index in range(base.plugin_count):
        plugin = snapshot_plugin(base, index)
        if plugin.document.length:
            name = bytes_at(base, plugin.name).decode()
            found[name] = bytes_at(base, steps[plugin.step]).decode()
    return list(found.items())


@cython.no_gc_clear
cdef class PluginJob:
    """One piece of work. Whoever takes it answers with finish() or fail(), once; one that is forgotten has failed.

    `config` is for whoever decodes the document.
    """
    cdef JobEntry* entry         # NULL: answered
    cdef JobQueue queue
    cdef readonly JobPlugin plugin
    cdef readonly uint32_t verb
    cdef readonly uint64_t number
    cdef public object config

    def __init__(self):
        raise TypeError("jobs come from JobQueue.take()")

    def __dealloc__(self):
        if self.entry != NULL:
            give_back(self.queue.worker, self.entry, JOB_FAILED)

    @property
    def payload(self):
        """What the step has written for its handler: bytes. ValueError once the job is answered."""
        if self.entry == NULL:
            raise ValueError("the job has been answered")
        cdef Buffer* request = self.entry.job.request
        return PyBytes_FromStringAndSize(<const char*> &request.data[0] + request.start, buffer_length(request))

    @property
    def plugin_id(self):
        return self.plugin.plugin_id

    @property
    def plugin_name(self):
        return self.plugin.plugin_name

    @property
    def request_id(self):
        """Of the request that it is for; empty once the job is answered."""
        return self.entry.request_id[:REQUEST_ID_LENGTH].decode("latin-1") if self.entry != NULL else ""

    @property
    def deadline(self):
        """When the request stops waiting: seconds on time.monotonic()'s clock. 0.0 once the job is answered."""
        return self.entry.deadline_ms / 1000.0 if self.entry != NULL else 0.0

    @property
    def awaited(self):
        """Whether a request was waiting for it when it was made."""
        return self.entry != NULL and self.entry.awaited != 0

    @property
    def abandoned(self):
        """Whether nobody waits any more: the deadline has passed or the client has gone, or it is answered."""
        return self.entry == NULL or load_ordered8(&self.entry.abandoned) != 0

    def finish(self, bytes result not None):
        """Done; the request goes on with `result`. ValueError when it is longer than MAX_JOB_RESULT (the job is as
        before then) or the job was answered already."""
        cdef Py_ssize_t length = PyBytes_GET_SIZE(result)
        cdef JobEntry* entry = self.entry
        if entry == NULL:
            raise ValueError("the job has been answered")
        if length > MAX_JOB_RESULT:
            raise ValueError(f"a result of {length} bytes; at most {MAX_JOB_RESULT} are allowed")
        if length:
            entry.job.result = <uint8_t*> malloc(length)
            if entry.job.result == NULL:
                raise MemoryError
            memcpy(entry.job.result, PyBytes_AS_STRING(result), length)
            entry.job.result_length = <uint32_t> length
        self.entry = NULL
        give_back(self.queue.worker, entry, JOB_DONE)

    def fail(self):
        """It could not be done; the step decides what becomes of the request. Does nothing to a job answered
        already."""
        cdef JobEntry* entry = self.entry
        if entry != NULL:
            self.entry = NULL
            give_back(self.queue.worker, entry, JOB_FAILED)


cdef void give_back(Worker* worker, JobEntry* entry, uint8_t outcome) noexcept:
    cdef JobQueues* queues = queues_of(worker)
    cdef uint64_t one = 1
    entry.outcome = outcome
    ring_put(&queues.done, entry)                        # has room for every job there is
    if exchange_ordered32(&queues.loop_notified, 1) == 0 and write(worker.wakeup.fd, &one, 8) < 0:
        return                                           # the counter is full: the loop is awake anyway


cdef JobQueue job_queue_of(Worker* worker, object plane):
    cdef JobQueue queue = JobQueue.__new__(JobQueue)
    queue.worker = worker
    queue.plane = plane
    queue.plugins = {}
    queue.newest = 0
    return queue


cdef void forget_old(JobQueue queue, uint64_t number):
    """What is known of plugins in earlier snapshots is not needed any more, but for the last one's."""
    if number <= queue.newest:
        return
    queue.newest = number
    for known in list(queue.plugins):
        if known[0] + 1 < number:
            del queue.plugins[known]


cdef PluginJob job_of(JobQueue queue, JobEntry* entry):
    cdef PluginJob job = PluginJob.__new__(PluginJob)
    cdef const SnapshotHeader* base = entry.job.configuration.base
    cdef object key
    job.queue = queue
    job.entry = entry
    job.verb = entry.job.verb
    job.number = entry.job.number
    key = (base.number, entry.job.plugin.index)
    job.plugin = queue.plugins.get(key)
    if job.plugin is None:
        forget_old(queue, base.number)
        job.plugin = queue.plugins[key] = read_plugin(base, entry.job.plugin)
    return job


@cython.no_gc_clear
cdef class JobQueue:
    """The plugin thread's end of the rings. One thread only; `fd` may be looked at by any."""

    def __init__(self):
        raise TypeError("use DataPlane.job_queue()")

    @property
    def fd(self):
        """An eventfd that is readable while there may be something to do: until take() has answered with nothing."""
        return queues_of(self.worker).fd

    @property
    def waiting(self):
        """Jobs in the ring: made and not taken. Any thread."""
        cdef JobQueues* queues = queues_of(self.worker)
        return load_ordered(&queues.jobs.written) - load_ordered(&queues.jobs.read)

    def take(self, uint32_t limit=64):
        """Up to `limit` jobs, oldest first, without those for which nobody waits any more. An empty list: there are
        none, and `fd` tells when there are."""
        cdef JobQueues* queues = queues_of(self.worker)
        cdef JobEntry* entry
        cdef uint64_t ignored
        cdef uint64_t one = 1
        cdef list taken = []
        while <uint32_t> len(taken) < limit:
            entry = ring_take(&queues.jobs)
            if entry != NULL:
                if load_ordered8(&entry.abandoned):
                    give_back(self.worker, entry, JOB_FAILED)
                else:
                    taken.append(job_of(self, entry))
                continue
            if taken:
                break
            if read(queues.fd, &ignored, 8) < 0:
                pass                                     # nothing was written: it is empty already
            exchange_ordered32(&queues.thread_sleeps, 1)
            if load_ordered(&queues.jobs.written) == queues.jobs.read:
                break
            if exchange_ordered32(&queues.thread_sleeps, 0) and write(queues.fd, &one, 8) < 0:
                pass                                     # the counter is full: it is readable
        return taken


include "jobs_testing.pxi"
