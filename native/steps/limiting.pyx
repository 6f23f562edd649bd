"""See limiting.pxd."""

from libc.string cimport memcpy

from native.clock cimport wall_clock_ns
from native.connection cimport Exchange, Job
from native.fields cimport Head, Text, find_field, same_text, set_own_field, text_of
from native.identities cimport record_text
from native.jobs cimport JOB_DONE, job_new
from native.limiter cimport LimiterTable, Moment, limiter_table, set_moment
from native.plan cimport client_address, configuration_text, request_head, request_path
from native.snapshot cimport PluginRecord
from native.text cimport NUMBER_TEXT, format_number, put

cdef enum:
    FRACTION_ROOM = 24

cdef uint64_t NANOSECONDS = 1000000000
# The loop thread's.
cdef LimiterTable current_table
cdef Moment current_moment


cdef Text find_counted(Exchange* exchange, uint8_t limit_by, Text name) noexcept nogil:
    cdef Head head
    cdef Text found
    if limit_by == BY_CONSUMER and exchange.consumer != NULL:
        return text_of(record_text(exchange.consumer, exchange.consumer.id), exchange.consumer.id.length)
    if limit_by <= BY_CREDENTIAL and exchange.credential != NULL:
        return text_of(record_text(exchange.credential, exchange.credential.id), exchange.credential.id.length)
    if limit_by == BY_SERVICE and exchange.service != NULL:
        return configuration_text(exchange, exchange.service.id)
    if limit_by == BY_HEADER:
        head = request_head(exchange)
        if find_field(&head, <const char*> name.data, name.length, 0, &found):
            return found
    # a path in any spelling that leads to the same route: /%78 and /a/../x are /x
    if limit_by == BY_PATH and (same_text(name, request_path(exchange))
                                or same_text(name, text_of(exchange.path, exchange.path_length))):
        return name
    return client_address(exchange)


cdef const LimiterTable* find_table(Exchange* exchange) noexcept nogil:
    global current_table
    if current_table.header == NULL:
        current_table = limiter_table(exchange.worker.control)
    return &current_table


cdef const Moment* find_moment(Exchange* exchange, bint exact) noexcept nogil:
    cdef uint64_t now
    if exact:
        now = wall_clock_ns()
        set_moment(&current_moment, <int64_t> (now // NANOSECONDS), now)
    else:
        set_moment(&current_moment, exchange.worker.loop.wall_seconds,
                   <uint64_t> exchange.worker.loop.wall_seconds * NANOSECONDS)
    return &current_moment


cdef Job* make_question(Exchange* exchange, const PluginRecord* plugin, LimitVerb verb, Text counted,
                        const uint64_t* costs, uint32_t cost_count) noexcept nogil:
    cdef LimitQuestion question
    cdef uint32_t cost_size = cost_count * <uint32_t> sizeof(uint64_t)
    cdef Job* job = job_new(exchange, plugin, verb, <uint32_t> sizeof(question) + cost_size + counted.length)
    if job == NULL:
        return NULL
    question.nanoseconds = wall_clock_ns()
    question.cost_count = cost_count
    question.reserved = 0
    put(job.request, &question, sizeof(question))
    if cost_count:
        put(job.request, costs, cost_size)
    put(job.request, counted.data, counted.length)
    return job


cdef const ToldState* read_answer(const Job* job, uint32_t count, int64_t* refused) noexcept nogil:
    cdef const LimitAnswer* answer
    if job == NULL or job.state != JOB_DONE \
            or job.result_length != sizeof(LimitAnswer) + count * sizeof(ToldState):
        return NULL
    answer = <const LimitAnswer*> job.result
    if answer.refused < -1 or answer.refused >= <int64_t> count:
        return NULL
    refused[0] = answer.refused
    return <const ToldState*> (answer + 1)


cdef void set_number(Head* head, Text name, uint64_t number) noexcept nogil:
    cdef uint8_t digits[NUMBER_TEXT]
    set_own_field(head, <const char*> name.data, name.length, digits, format_number(number, digits))


cdef void set_remaining(Head* head, Text name, uint64_t remaining, Text fraction) noexcept nogil:
    """The remaining of 2.5 is 1.5, 0.5, 0: a request that uses up the fraction is admitted like others."""
    cdef uint8_t text[NUMBER_TEXT + FRACTION_ROOM]
    cdef uint32_t length
    if remaining == 0 or fraction.length == 0 or fraction.length > FRACTION_ROOM:
        set_number(head, name, remaining)
        return
    length = format_number(remaining - 1, text)
    memcpy(text + length, fraction.data, fraction.length)
    set_own_field(head, <const char*> name.data, name.length, text, length + fraction.length)
