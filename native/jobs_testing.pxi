# What unit tests call; included by jobs.pyx. A worker without sockets, whose exchanges only park and are resumed.

from libc.string cimport memset

from native.loop cimport loop_close, loop_init, loop_update_time
from native.memory cimport buffer_stock_clear
from native.shm cimport WorkerBlock

cdef enum:
    TEST_EXCHANGES = 8192


cdef void note_resumed(Exchange* exchange) noexcept nogil:
    exchange.tries = 1                                   # read by PlayedWorker.resumed()
    exchange.tried_count += 1


cdef class PlayedWorker:
    """A loop thread that a test plays itself: park(), then end_round(), and wake_up() when the plugin thread has
    answered."""
    cdef Worker* worker
    cdef Exchange* exchanges
    cdef Downstream* client
    cdef MappedSnapshot configuration
    cdef PluginRecord plugin
    cdef bytearray snapshot

    def __cinit__(self, str plugin_name="example", bytes document=b"{}", uint32_t deadline_ms=10000):
        cdef SnapshotHeader* header
        cdef StringRef step
        cdef uint32_t place = sizeof(SnapshotHeader) + sizeof(StringRef)
        self.worker = <Worker*> calloc(1, sizeof(Worker))
        self.exchanges = <Exchange*> calloc(TEST_EXCHANGES, sizeof(Exchange))
        self.client = <Downstream*> calloc(TEST_EXCHANGES, sizeof(Downstream))
        self.worker.block = <WorkerBlock*> calloc(1, sizeof(WorkerBlock))
        self.worker.wakeup.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)
        self.worker.resume_exchange = note_resumed
        if loop_init(&self.worker.loop) != 0 or jobs_init(self.worker) != 0:
            raise OSError("no descriptors")
        texts = [b"11111111-2222-3333-4444-555555555555", plugin_name.encode(), document, b"test_step"]
        self.snapshot = bytearray(place) + b"".join(texts)
        header = <SnapshotHeader*> <char*> self.snapshot
        header.number = 1
        header.step_name_offset = sizeof(SnapshotHeader)
        header.step_name_count = 1
        self.plugin.id = StringRef(place, <uint32_t> len(texts[0]))
        place += <uint32_t> len(texts[0])
        self.plugin.name = StringRef(place, <uint32_t> len(texts[1]))
        place += <uint32_t> len(texts[1])
        self.plugin.document = StringRef(place, <uint32_t> len(texts[2]))
        place += <uint32_t> len(texts[2])
        step = StringRef(place, <uint32_t> len(texts[3]))
        memcpy(<char*> self.snapshot + sizeof(SnapshotHeader), &step, sizeof(StringRef))
        self.plugin.config_hash = 77
        self.plugin.deadline_ms = deadline_ms
        self.configuration.base = header

    def __dealloc__(self):
        jobs_clear(self.worker)
        loop_close(&self.worker.loop)
        close(self.worker.wakeup.fd)
        buffer_stock_clear(&self.worker.buffers)
        free(self.worker.block)
        free(self.worker)
        free(self.exchanges)
        free(self.client)

    def queue(self):
        return job_queue_of(self.worker, self)

    cdef Exchange* exchange(self, uint32_t number) except NULL:
        if number >= TEST_EXCHANGES:
            raise IndexError(number)
        cdef Exchange* exchange = &self.exchanges[number]
        exchange.worker = self.worker
        exchange.client = &self.client[number]
        exchange.configuration = &self.configuration
        memset(exchange.request_id, 114, REQUEST_ID_LENGTH)
        return exchange

    cdef Job* filled(self, uint32_t number, uint32_t verb, bytes payload):
        cdef uint32_t length = <uint32_t> len(payload)
        cdef Job* job = job_new(self.exchange(number), &self.plugin, verb, length)
        if job != NULL:
            memcpy(&job.request.data[0], <const char*> payload, length)
            job.request.end = length
        return job

    def park(self, uint32_t number, bytes payload=b"", uint32_t verb=0):
        """Whether exchange `number` is parked now."""
        cdef Job* job = self.filled(number, verb, payload)
        return job != NULL and job_submit(self.exchange(number), job) == STEP_PARK

    def send(self, bytes payload=b"", uint32_t verb=0):
        cdef Job* job = self.filled(0, verb, payload)
        return job != NULL and job_send(self.worker, job)

    def use_another_plugin(self):
        """Jobs from now on are of another configuration."""
        self.plugin.config_hash += 1

    def end_round(self):
        loop_update_time(&self.worker.loop)
        with nogil:
            jobs_wake(self.worker)

    def wake_up(self):
        """As when the loop's eventfd is readable. Whether it was."""
        cdef uint64_t ignored
        cdef bint was = read(self.worker.wakeup.fd, &ignored, 8) == 8
        with nogil:
            jobs_collect(self.worker)
        return was

    @property
    def wakeup_fd(self):
        return self.worker.wakeup.fd

    def expire(self, uint32_t number):
        job_expired(self.exchange(number))

    def abandon(self, uint32_t number):
        job_abandon(self.exchange(number))

    def free_job(self, uint32_t number):
        job_free(self.exchange(number).job)

    def parked(self, uint32_t number):
        return (self.exchange(number).flags & EXCHANGE_PARKED) != 0

    def resumed(self, uint32_t number):
        """(state, result) of an exchange that was resumed since the last call, else None."""
        cdef Exchange* exchange = self.exchange(number)
        cdef Job* job = exchange.job
        if not exchange.tries:
            return None
        exchange.tries = 0
        result = PyBytes_FromStringAndSize(<const char*> job.result, job.result_length) if job.result != NULL else b""
        return job.state, result

    def times_resumed(self, uint32_t number):
        return self.exchange(number).tried_count

    def in_use(self):
        """All zero when nothing is forgotten."""
        cdef JobQueues* queues = queues_of(self.worker)
        return {"jobs": queues.existing, "outside": queues.outside, "bytes": queues.bytes,
                "buffers": self.worker.buffers.in_use, "users": self.configuration.users}

    def counted(self):
        block = self.worker.block
        return {"plugin_timeouts": block.plugin_timeouts, "plugin_failures": block.plugin_failures,
                "jobs_dropped": block.jobs_dropped}
