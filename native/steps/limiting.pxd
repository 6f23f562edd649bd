"""What the plugins that limit share: who is counted, when, and how fields of numbers are written. Not a step."""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from native.connection cimport Exchange, Job, Worker
from native.fields cimport Head, Text
from native.limiter cimport PERIODS, LimiterTable, Limit, LimitState, Moment
from native.packed cimport PackedText
from native.snapshot cimport PluginRecord

cpdef enum LimitBy:
    BY_CONSUMER = 0
    BY_CREDENTIAL = 1
    BY_IP = 2
    BY_SERVICE = 3
    BY_HEADER = 4
    BY_PATH = 5

# Where is counted.
cpdef enum CountingPlace:
    COUNT_HERE = 0               # in shared memory
    COUNT_ELSEWHERE = 1          # the plugin thread asks, and the request waits
    COUNT_AND_TELL = 2           # in shared memory; the plugin thread takes it elsewhere now and then

# What the plugin thread is asked.
cpdef enum LimitVerb:
    VERB_ADMIT = 1               # answered with LimitAnswer
    VERB_TELL = 2                # counts are there that nobody else knows of; nobody waits
    VERB_LOOK = 3                # response-ratelimiting: how the limits stand; answered with LimitState
    VERB_ADD = 4                 # response-ratelimiting: the costs of a response; nobody waits

# A job's payload, and behind it what each verb has, and then who is counted.
ctypedef struct LimitQuestion:
    uint64_t nanoseconds         # since the epoch
    uint32_t cost_count          # VERB_ADD: uint64_t costs follow
    uint32_t reserved

# How one limit stands, as the plugin thread says it.
ctypedef struct ToldState:
    uint64_t remaining
    uint64_t reset

# Before a ToldState for each limit, in the configuration's order.
ctypedef struct LimitAnswer:
    int64_t refused              # index of the limit that refuses, -1: admitted

# A limit of a configuration with its text; a fraction is shown as Kong shows it.
ctypedef struct ShownLimit:
    PackedText text              # "5"
    PackedText fraction          # ".5"; empty: none

# Who is counted; the client's address when there is no such thing. `name`: of the header, or the path.
cdef Text find_counted(Exchange* exchange, uint8_t limit_by, Text name) noexcept nogil

# The node's table, and now. One for each loop thread; the next call changes it. `exact`: with nanoseconds.
cdef const LimiterTable* find_table(Exchange* exchange) noexcept nogil
cdef const Moment* find_moment(Exchange* exchange, bint exact) noexcept nogil

# A job with a LimitQuestion, costs and who is counted. NULL: there are too many.
cdef Job* make_question(Exchange* exchange, const PluginRecord* plugin, LimitVerb verb, Text counted,
                        const uint64_t* costs, uint32_t cost_count) noexcept nogil
# The states in a job's result; NULL when the plugin thread has failed, or said something else.
cdef const ToldState* read_answer(const Job* job, uint32_t count, int64_t* refused) noexcept nogil

# Set a field to a number. `fraction` (of the limit, may be empty): see ShownLimit.
cdef void set_number(Head* head, Text name, uint64_t number) noexcept nogil
cdef void set_remaining(Head* head, Text name, uint64_t remaining, Text fraction) noexcept nogil
