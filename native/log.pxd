"""Access and error log. The loop thread writes lines into a ring and never waits; the log thread writes the ring to the
file. A full ring drops lines and counts them."""

from libc.stdint cimport int64_t, uint32_t

from native.connection cimport Exchange, LogRing, Worker

cpdef enum LogLevel:
    LOG_DEBUG = 0
    LOG_INFO = 1
    LOG_NOTICE = 2
    LOG_WARN = 3
    LOG_ERROR = 4
    LOG_CRIT = 5

# Renew the worker's cached texts of the current second (Date, log times).
cdef void update_time_texts(Worker* worker) noexcept nogil
# One line in Kong's access log format for a finished exchange.
cdef void log_access(Exchange* exchange) noexcept nogil
# One line in nginx's error log shape; `exchange` may be NULL. `text` is a constant; `detail` (may be NULL) and
# everything taken from the request is escaped.
cdef void log_error(Worker* worker, LogLevel level, Exchange* exchange, const char* text,
                    const char* detail, uint32_t detail_length) noexcept nogil
# Wake the log thread when it sleeps and there is something to write. At the end of a round.
cdef void wake_log_writer(Worker* worker) noexcept nogil
# Body of the log thread: returns when the loop has ended and everything is written. `descriptors`: access, error; -1: off.
cdef void log_writer_run(Worker* worker, int* descriptors) noexcept nogil
cdef int ring_init(LogRing* ring, uint32_t capacity) noexcept nogil
cdef void ring_free(LogRing* ring) noexcept nogil
