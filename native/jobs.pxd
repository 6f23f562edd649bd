"""Work for the plugin thread: what a step cannot do itself is handed to Python, and the request waits.

The loop thread fills a job and puts it into a ring; the plugin thread takes it, works, and puts it into a second ring
that the loop thread empties. Neither ever waits for the other. All data is copied: the plugin thread never sees an
exchange, so a request may go away while its job is worked on.

    loop thread    job_new → job_submit → (round end) jobs_wake … jobs_collect → resume_exchange → job_free
    plugin thread            JobQueue.take → PluginJob.payload → PluginJob.finish or PluginJob.fail

What is free, allocated, pinned or counted is the loop thread's alone; the plugin thread reads a job that it was handed
and writes its result. A job whose request no longer waits (late, or the client went away) stays in memory until the
plugin thread has given it back.

A job for which nobody waits (job_send) is for what happens after a response: log phases, counting.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from native.connection cimport Exchange, Job, MappedSnapshot, Worker
from native.snapshot cimport PluginRecord, SnapshotHeader

cdef enum:
    JOB_RING = 8192              # places of a ring; a power of two
    MAX_JOBS = 8192              # jobs in existence, so that a ring is never full
    MAX_JOBS_OF_ONE = 4096       # for one plugin configuration: one that is slow leaves the others their room
    # bytes of all jobs' requests, unless there is but one job: what a plugin thread that stands still may cost
    MAX_JOB_BYTES = 67108864
    # Jobs up to this size are made all the same: a few large bodies that wait for one plugin keep nobody from
    # having a token verified or a request counted. MAX_JOBS of them are as much again.
    SMALL_JOB = 8192
    MAX_JOB_RESULT = 100663296   # bytes of one result, such as a body; a handler that returns more has failed

cpdef enum JobState:
    JOB_NEW = 0
    JOB_WAITING = 1              # with the plugin thread
    JOB_DONE = 2                 # `result` is valid
    JOB_FAILED = 3               # the handler raised an exception, which it has logged
    JOB_LATE = 4                 # the deadline has passed

# --- for steps (loop thread) -----------------------------------------------------------------------------------------
# A job for `plugin`, its `request` buffer empty and with room for `room` bytes. `verb` says to the handler what is
# wanted. NULL: too many jobs, or memory is out (counted as dropped; the caller answers).
cdef Job* job_new(Exchange* exchange, const PluginRecord* plugin, uint32_t verb, uint32_t room) noexcept nogil
# Hand it over; the step returns what this returns: STEP_PARK, or STEP_FAIL when the ring is full (counted and logged).
# The exchange waits at most plugin.deadline_ms. A job that the exchange still had from before is given back.
cdef int job_submit(Exchange* exchange, Job* job) noexcept nogil
# Hand it over without waiting. False: dropped (counted); the job is freed either way.
cdef bint job_send(Worker* worker, Job* job) noexcept nogil
# Give a job back that was not handed over, or whose result has been used, or that is late. NULL is allowed. The
# exchange that has it has none afterwards.
cdef void job_free(Job* job) noexcept nogil

# --- for the core (loop thread, but for the first and the last) ------------------------------------------------------
# Main thread, before the loop runs. 0, or -errno.
cdef int jobs_init(Worker* worker) noexcept nogil
# The exchange ends or waits no longer: its job, if any, is given back, or left to itself while it is worked on.
cdef void job_abandon(Exchange* exchange) noexcept nogil
# The deadline of a parked exchange has passed: its job becomes JOB_LATE (counted), and it is resumed.
cdef void job_expired(Exchange* exchange) noexcept nogil
# Take what the plugin thread has done: calls worker.resume_exchange, no longer parked and with its timer cleared, for
# each exchange that waits. When woken up.
cdef void jobs_collect(Worker* worker) noexcept nogil
# Wake the plugin thread when it sleeps and there is something to do. At the end of a round.
cdef void jobs_wake(Worker* worker) noexcept nogil
# Jobs that were handed over and have not come back.
cdef uint32_t jobs_outside(Worker* worker) noexcept nogil
# Any thread, once the loop has ended and no JobQueue is left.
cdef void jobs_clear(Worker* worker) noexcept nogil

# --- Python's view (plugin thread) -----------------------------------------------------------------------------------
cdef class JobQueue:
    cdef Worker* worker
    cdef object plane            # keeps the worker's memory
    cdef dict plugins            # (snapshot number, plugin index) -> JobPlugin
    cdef uint64_t newest         # snapshot number

# Main thread: the plugins of a configuration that may have work for the plugin thread (their records have a document),
# each once: [(name, kind of step)].
cdef list plugins_with_work(const SnapshotHeader* base)
# The queue of a worker whose memory `plane` keeps.
cdef JobQueue job_queue_of(Worker* worker, object plane)
