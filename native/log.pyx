from libc.errno cimport EINTR, errno
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, strlen
from posix.unistd cimport read, write

from native.atomics cimport exchange_ordered32, load_acquire, load_acquire8, store_release
from native.connection cimport REQUEST_ID_LENGTH
from native.headers cimport HEADER_REFERER, HEADER_USER_AGENT, HeaderField
from native.http1 cimport RequestHead
from native.snapshot cimport snapshot_settings
from native.text cimport NUMBER_TEXT, format_number

cdef extern from "<time.h>" nogil:
    ctypedef int64_t time_t
    cdef struct tm:
        int tm_sec
        int tm_min
        int tm_hour
        int tm_mday
        int tm_mon
        int tm_year
        int tm_wday
        long tm_gmtoff
    tm* gmtime_r(const time_t* seconds, tm* out)
    size_t strftime(char* out, size_t room, const char* format, const tm* time)

cdef extern from "<poll.h>" nogil:
    cdef struct pollfd:
        int fd
        short events
        short revents
    int poll(pollfd* fds, unsigned long count, int timeout)
    const short POLLIN

cdef enum:
    LINE_ROOM = 12288            # holds every part of a line at its longest
    # what a client wrote is cut at so many bytes (an escape makes four of one), so that what follows it is never lost
    LOGGED_TARGET = 2048
    LOGGED_METHOD = 32
    LOGGED_FIELD = 256
    WRITE_PAUSE_MS = 50          # lines gather for so long before they are written


cdef const char* level_name(LogLevel level) noexcept nogil:
    if level == LOG_DEBUG:
        return b"debug"
    if level == LOG_INFO:
        return b"info"
    if level == LOG_NOTICE:
        return b"notice"
    if level == LOG_WARN:
        return b"warn"
    if level == LOG_ERROR:
        return b"error"
    return b"crit"


cdef void update_time_texts(Worker* worker) noexcept nogil:
    cdef tm parts
    cdef time_t seconds = worker.loop.wall_seconds
    if worker.text_second == seconds:
        return
    worker.text_second = seconds
    gmtime_r(&seconds, &parts)
    # the C locale is never changed, so the names are English
    worker.date_length = <uint32_t> strftime(
        worker.date_text, sizeof(worker.date_text), b"%a, %d %b %Y %H:%M:%S GMT", &parts)
    worker.log_time_length = <uint32_t> strftime(
        worker.log_time_text, sizeof(worker.log_time_text), b"%d/%b/%Y:%H:%M:%S +0000", &parts)


# --- a line under construction ---------------------------------------------------------------------------------------
cdef struct Line:
    uint32_t length
    uint8_t data[LINE_ROOM]


cdef void add(Line* line, const void* data, uint32_t length) noexcept nogil:
    if length > LINE_ROOM - 1 - line.length:             # one byte is kept for the newline
        length = LINE_ROOM - 1 - line.length
    if length == 0:
        return
    memcpy(line.data + line.length, data, length)
    line.length += length


cdef inline void add_text(Line* line, const char* text) noexcept nogil:
    add(line, text, <uint32_t> strlen(text))


cdef void add_number(Line* line, uint64_t number) noexcept nogil:
    cdef uint8_t digits[NUMBER_TEXT]
    add(line, digits, format_number(number, digits))


cdef void add_escaped(Line* line, const uint8_t* data, uint32_t length, uint32_t limit) noexcept nogil:
    r"""As nginx escapes log variables: `"`, `\` and bytes outside 0x20..0x7e become \xXX. "..." ends what is cut."""
    cdef const char* digits = b"0123456789ABCDEF"
    cdef char escape[4]
    cdef uint32_t start = 0
    cdef uint32_t i
    cdef bint cut = length > limit
    if cut:
        length = limit
    for i in range(length):
        if 32 <= data[i] <= 126 and data[i] != 34 and data[i] != 92:
            continue
        add(line, data + start, i - start)
        start = i + 1
        escape[0] = 92
        escape[1] = 120
        escape[2] = digits[data[i] >> 4]
        escape[3] = digits[data[i] & 15]
        add(line, escape, 4)
    add(line, data + start, length - start)
    if cut:
        add_text(line, b"...")


cdef void add_target(Line* line, Exchange* exchange, const uint8_t* head) noexcept nogil:
    """The request target; a credential in it is left out."""
    cdef uint32_t start = exchange.request.target_offset
    cdef uint32_t length = exchange.request.target_length
    cdef uint32_t before = length
    cdef uint32_t behind
    if exchange.secret_length and exchange.secret_offset >= start \
            and exchange.secret_offset - start + exchange.secret_length <= length:
        before = exchange.secret_offset - start
    add_escaped(line, head + start, before, LOGGED_TARGET)
    if before < length and before <= LOGGED_TARGET:
        add_text(line, b"REDACTED")
        behind = before + exchange.secret_length
        add_escaped(line, head + start + behind, length - behind, LOGGED_TARGET - before)


cdef void add_request_line(Line* line, Exchange* exchange) noexcept nogil:
    cdef RequestHead* request = &exchange.request
    cdef const uint8_t* head
    if request.phase == 0 or exchange.client.input == NULL:
        return
    head = &exchange.client.input.data[0] + exchange.client.input.start
    add_escaped(line, head + request.method_offset, request.method_length, LOGGED_METHOD)
    add_text(line, b" ")
    add_target(line, exchange, head)
    add_text(line, b" HTTP/1.1" if request.minor_version else b" HTTP/1.0")


# --- rings -----------------------------------------------------------------------------------------------------------
cdef int ring_init(LogRing* ring, uint32_t capacity) noexcept nogil:
    ring.data = <uint8_t*> malloc(capacity)
    ring.capacity = capacity
    ring.written = 0
    ring.read = 0
    return 0 if ring.data != NULL else -1


cdef void ring_free(LogRing* ring) noexcept nogil:
    free(ring.data)
    ring.data = NULL


cdef bint ring_put(LogRing* ring, const uint8_t* data, uint32_t length) noexcept nogil:
    cdef uint64_t read_position = load_acquire(&ring.read)
    cdef uint64_t place = ring.written & (ring.capacity - 1)
    cdef uint64_t first
    if ring.data == NULL or ring.capacity - (ring.written - read_position) < length:
        return False
    first = ring.capacity - place
    if first > length:
        first = length
    memcpy(ring.data + place, data, first)
    if length > first:
        memcpy(ring.data, data + first, length - first)
    store_release(&ring.written, ring.written + length)
    return True


cdef void finish_line(Worker* worker, LogRing* ring, Line* line) noexcept nogil:
    line.data[line.length] = 10
    line.length += 1
    if not ring_put(ring, line.data, line.length):
        worker.block.log_lines_dropped += 1


cdef void log_access(Exchange* exchange) noexcept nogil:
    cdef Worker* worker = exchange.worker
    cdef const uint8_t* head = NULL
    cdef const HeaderField* referer = NULL
    cdef const HeaderField* agent = NULL
    cdef uint32_t i
    cdef Line line
    line.length = 0
    if exchange.client.input != NULL and exchange.request.phase > 0:
        head = &exchange.client.input.data[0] + exchange.client.input.start
        for i in range(exchange.request.header_count):
            if exchange.request.headers[i].known == HEADER_REFERER:
                referer = &exchange.request.headers[i]
            elif exchange.request.headers[i].known == HEADER_USER_AGENT:
                agent = &exchange.request.headers[i]
    add(&line, exchange.client_text, exchange.client_text_length)
    add_text(&line, b" - - [")
    add(&line, worker.log_time_text, worker.log_time_length)
    add_text(&line, b'] "')
    add_request_line(&line, exchange)
    add_text(&line, b'" ')
    add_number(&line, exchange.status)
    add_text(&line, b" ")
    add_number(&line, exchange.body_sent)
    add_text(&line, b' "')
    if referer != NULL:
        add_escaped(&line, head + referer.value_offset, referer.value_length, LOGGED_FIELD)
    else:
        add_text(&line, b"-")
    add_text(&line, b'" "')
    if agent != NULL:
        add_escaped(&line, head + agent.value_offset, agent.value_length, LOGGED_FIELD)
    else:
        add_text(&line, b"-")
    add_text(&line, b'" kong_request_id: "')
    add(&line, exchange.request_id, REQUEST_ID_LENGTH)
    add_text(&line, b'"')
    finish_line(worker, &worker.access_log, &line)


cdef void log_error(Worker* worker, LogLevel level, Exchange* exchange, const char* text,
                    const char* detail, uint32_t detail_length) noexcept nogil:
    cdef Line line
    if worker.configuration != NULL and level < snapshot_settings(worker.configuration.base).log_level:
        return
    line.length = 0
    add(&line, worker.log_time_text, worker.log_time_length)
    add_text(&line, b" [")
    add_text(&line, level_name(level))
    add_text(&line, b"] ")
    add_number(&line, worker.block.pid)
    add_text(&line, b": ")
    add_text(&line, text)
    if detail != NULL:
        add_text(&line, b": ")
        add_escaped(&line, <const uint8_t*> detail, detail_length, LOGGED_FIELD)
    if exchange != NULL:
        add_text(&line, b", client: ")
        add(&line, exchange.client_text, exchange.client_text_length)
        add_text(&line, b', request: "')
        add_request_line(&line, exchange)
        add_text(&line, b'", request_id: "')
        add(&line, exchange.request_id, REQUEST_ID_LENGTH)
        add_text(&line, b'"')
    finish_line(worker, &worker.error_log, &line)


cdef void wake_log_writer(Worker* worker) noexcept nogil:
    cdef uint64_t one = 1
    if worker.access_log.written == load_acquire(&worker.access_log.read) \
            and worker.error_log.written == load_acquire(&worker.error_log.read):
        return
    if exchange_ordered32(&worker.log_writer_idle, 0) and write(worker.log_wakeup_fd, &one, 8) < 0:
        return


# --- the log thread --------------------------------------------------------------------------------------------------
cdef bint drain_ring(LogRing* ring, int descriptor) noexcept nogil:
    """Write what the ring holds. Returns whether there was anything. What the file does not take (a full disk) is
    dropped, so that the ring never stays full."""
    cdef uint64_t written = load_acquire(&ring.written)
    cdef uint64_t place, length
    cdef ssize_t count
    cdef bint any_bytes = written != ring.read
    while ring.read != written:
        place = ring.read & (ring.capacity - 1)
        length = written - ring.read
        if length > ring.capacity - place:
            length = ring.capacity - place
        count = <ssize_t> length
        if descriptor >= 0:
            count = write(descriptor, ring.data + place, length)
            if count < 0:
                if errno == EINTR:
                    continue
                count = <ssize_t> length
        store_release(&ring.read, ring.read + <uint64_t> count)
    return any_bytes


cdef uint64_t filled(LogRing* ring) noexcept nogil:
    return load_acquire(&ring.written) - ring.read


cdef void log_writer_run(Worker* worker, int* descriptors) noexcept nogil:
    cdef pollfd wait
    cdef uint64_t ignored
    cdef uint8_t finished
    cdef bint any_bytes
    wait.fd = worker.log_wakeup_fd
    wait.events = POLLIN
    while True:
        finished = load_acquire8(&worker.log_finished)
        any_bytes = drain_ring(&worker.access_log, descriptors[0])
        any_bytes = drain_ring(&worker.error_log, descriptors[1]) or any_bytes
        if finished:
            return
        if any_bytes:
            # more is likely to come: gather it, unless it comes fast
            if filled(&worker.access_log) < worker.access_log.capacity / 8:
                poll(NULL, 0, WRITE_PAUSE_MS)
            continue
        exchange_ordered32(&worker.log_writer_idle, 1)
        wait.revents = 0
        if worker.access_log.read == load_acquire(&worker.access_log.written) \
                and worker.error_log.read == load_acquire(&worker.error_log.written):
            poll(&wait, 1, 1000)
        exchange_ordered32(&worker.log_writer_idle, 0)
        if wait.revents and read(worker.log_wakeup_fd, &ignored, 8) < 0:
            continue
