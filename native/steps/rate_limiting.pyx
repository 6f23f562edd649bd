"""rate-limiting: how many requests one may send in a second, a minute, … (gateway/plugins/rate_limiting.py).

Counted in shared memory (native/limiter.pxd), or by the plugin thread in Redis or PostgreSQL, for which the request
waits. Several instances may hold together (`stacked`): the fields for the client then tell of the tightest, and a request
that one of them refuses is given back by those before it.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from native.connection cimport Exchange, Job
from native.fields cimport Head, Text, find_field, set_own_field, text_of
from native.jobs cimport job_send, job_submit
from native.limiter cimport (
    FIXED_WINDOW,
    PERIODS,
    Limit,
    LimiterKey,
    LimiterTable,
    LimitState,
    Moment,
    limiter_add,
    limiter_admit,
    limiter_key,
    limiter_return,
    limiter_seeds,
    make_limit,
)
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport (
    STEP_CONTINUE,
    STEP_PARK,
    StepFunctions,
    exchange_memory,
    register_step,
    respond_error,
    respond_error_text,
    response_head,
    step_config,
)
from native.snapshot cimport PlanStep, PluginRecord, plan_steps
from native.steps.limiting cimport (
    COUNT_AND_TELL,
    COUNT_ELSEWHERE,
    VERB_ADMIT,
    VERB_TELL,
    ShownLimit,
    ToldState,
    find_counted,
    find_moment,
    find_table,
    make_question,
    read_answer,
    set_number,
    set_remaining,
)

ctypedef struct RateLimitingConfig:
    PackedText scope             # first: the plugin thread reads it, too
    uint64_t seeds[2]            # of the scope
    uint64_t untold_seeds[2]     # COUNT_AND_TELL: counts that were not taken elsewhere yet
    Limit limits[PERIODS]        # shortest period first
    ShownLimit shown[PERIODS]
    PackedText name              # of the header, or the path that is limited
    PackedText message
    uint32_t count
    uint32_t status
    uint8_t limit_by             # LimitBy
    uint8_t place                # CountingPlace
    uint8_t is_exact             # some limit needs the time in nanoseconds
    uint8_t is_fault_tolerant
    uint8_t is_hidden

# What an admitted request has taken, for when a later instance refuses it.
ctypedef struct Taken:
    LimiterKey key
    LimitState states[PERIODS]

# Names of fields by period. The bytes live as long as the module.
cdef Text[PERIODS] LIMIT_FIELDS
cdef Text[PERIODS] REMAINING_FIELDS
FIELD_NAMES = []
for _name in (b"Second", b"Minute", b"Hour", b"Day", b"Month", b"Year"):
    FIELD_NAMES.append((b"X-RateLimit-Limit-" + _name, b"X-RateLimit-Remaining-" + _name))


cdef void fill_field_names() noexcept:
    cdef uint32_t period
    for period, (limit, remaining) in enumerate(FIELD_NAMES):
        LIMIT_FIELDS[period] = text_of(<const char*> <bytes> limit, <uint32_t> len(limit))
        REMAINING_FIELDS[period] = text_of(<const char*> <bytes> remaining, <uint32_t> len(remaining))


fill_field_names()


def pack_config(*, bytes scope, list limits, int algorithm, double burst, int limit_by, str name, int place, int status,
                str message, bint fault_tolerant, bint hidden) -> bytes:
    """`scope` tells counters from those of other plugins; `limits`: (period, amount, text of the amount, text of its
    fraction), the shortest period first, to which `burst` belongs (0: none)."""
    cdef RateLimitingConfig config
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(RateLimitingConfig))
    config.scope = packer.octets(scope)
    limiter_seeds(scope, config.seeds)
    limiter_seeds(b"untold " + scope, config.untold_seeds)
    cdef uint32_t index
    for index, (period, amount, text, fraction) in enumerate(limits):
        config.limits[index] = make_limit(algorithm, period, amount, burst if burst and index == 0 else amount)
        config.shown[index].text = packer.text(text)
        config.shown[index].fraction = packer.text(fraction)
    config.count = <uint32_t> len(limits)
    config.name = packer.text(name)
    config.message = packer.text(message)
    config.status = <uint32_t> status
    config.limit_by = <uint8_t> limit_by
    config.place = <uint8_t> place
    config.is_exact = algorithm != FIXED_WINDOW
    config.is_fault_tolerant = fault_tolerant
    config.is_hidden = hidden
    return packer.finish(&config)


# --- what the client is told -----------------------------------------------------------------------------------------
cdef bint is_tighter(const Head* head, Text name, uint64_t remaining) noexcept nogil:
    """Whether less remains than another instance has said, if any has."""
    cdef Text said
    cdef uint64_t most = 1000000000000000
    cdef uint64_t number = 0
    cdef uint32_t i
    if not find_field(head, <const char*> name.data, name.length, 0, &said):
        return True
    for i in range(said.length):
        if said.data[i] < 48 or said.data[i] > 57 or number > most:
            break
        number = 10 * number + said.data[i] - 48
    return remaining < number


cdef void tell_limits(Exchange* exchange, const RateLimitingConfig* config, const LimitState* states,
                      int64_t refused) noexcept nogil:
    """Kong's fields for each period, and those of the IETF's draft for the one of which least remains."""
    cdef Head head = response_head(exchange)
    cdef Text limit_name, remaining_name, limit_text, fraction
    cdef uint32_t least = 0
    cdef uint32_t i
    for i in range(config.count):
        limit_text = packed_text(config, config.shown[i].text)
        fraction = packed_text(config, config.shown[i].fraction)
        if states[i].remaining <= states[least].remaining:
            least = i
        limit_name = LIMIT_FIELDS[config.limits[i].period]
        remaining_name = REMAINING_FIELDS[config.limits[i].period]
        if is_tighter(&head, remaining_name, states[i].remaining):
            set_own_field(&head, <const char*> limit_name.data, limit_name.length, limit_text.data, limit_text.length)
            set_remaining(&head, remaining_name, states[i].remaining, fraction)
    if refused < 0 and not is_tighter(&head, text_of(b"RateLimit-Remaining", 19), states[least].remaining):
        return
    if refused >= 0:
        least = <uint32_t> refused
        set_number(&head, text_of(b"Retry-After", 11), states[least].reset)
    limit_text = packed_text(config, config.shown[least].text)
    fraction = packed_text(config, config.shown[least].fraction)
    set_own_field(&head, b"RateLimit-Limit", 15, limit_text.data, limit_text.length)
    set_remaining(&head, text_of(b"RateLimit-Remaining", 19), states[least].remaining, fraction)
    set_number(&head, text_of(b"RateLimit-Reset", 15), states[least].reset)


cdef int decide(Exchange* exchange, const RateLimitingConfig* config, const LimitState* states,
                int64_t refused) noexcept nogil:
    if not config.is_hidden:
        tell_limits(exchange, config, states, refused)
    if refused < 0:
        return STEP_CONTINUE
    give_back(exchange)
    return respond_error_text(exchange, config.status, packed_text(config, config.message))


cdef int cannot_count(Exchange* exchange, const RateLimitingConfig* config) noexcept nogil:
    if config.is_fault_tolerant:
        return STEP_CONTINUE
    return respond_error(exchange, 500, b"")


# --- several instances -----------------------------------------------------------------------------------------------
cdef void remember(Exchange* exchange, LimiterKey key, const RateLimitingConfig* config,
                   const LimitState* states) noexcept nogil:
    """Note what was taken, if another instance comes."""
    cdef const PlanStep* steps = plan_steps(exchange.plan)
    cdef Taken* taken
    cdef uint32_t i
    if exchange.step + 1 == exchange.plan.step_count or steps[exchange.step + 1].step != steps[exchange.step].step:
        return
    taken = <Taken*> exchange_memory(exchange, sizeof(Taken))
    if taken == NULL:
        return
    taken.key = key
    for i in range(config.count):
        taken.states[i] = states[i]
    exchange.notes[exchange.step] = taken


cdef void give_back(Exchange* exchange) noexcept nogil:
    """What the instances before this one have counted is undone: the request is refused."""
    cdef const PlanStep* steps = plan_steps(exchange.plan)
    cdef const RateLimitingConfig* config
    cdef const Taken* taken
    cdef uint32_t i
    for i in range(exchange.step):
        if steps[i].step != steps[exchange.step].step or exchange.notes[i] == NULL:
            continue
        taken = <const Taken*> exchange.notes[i]
        config = <const RateLimitingConfig*> step_config(exchange, exchange.chosen[i])
        limiter_return(find_table(exchange), taken.key, config.limits, config.count, 1, taken.states)
        exchange.notes[i] = NULL


# --- counting --------------------------------------------------------------------------------------------------------
cdef int count_here(Exchange* exchange, const PluginRecord* plugin, const RateLimitingConfig* config,
                    Text counted) noexcept nogil:
    cdef LimitState states[PERIODS]
    cdef const LimiterTable* table = find_table(exchange)
    cdef const Moment* moment = find_moment(exchange, config.is_exact)
    cdef LimiterKey key = limiter_key(table, config.seeds, counted.data, counted.length)
    cdef int refused = limiter_admit(table, key, config.limits, config.count, 1, moment, states)
    if refused < 0:
        if config.place == COUNT_AND_TELL:
            count_untold(exchange, plugin, config, counted, moment)
        else:
            remember(exchange, key, config, states)
    return decide(exchange, config, states, refused)


cdef void count_untold(Exchange* exchange, const PluginRecord* plugin, const RateLimitingConfig* config, Text counted,
                       const Moment* moment) noexcept nogil:
    """Note that others are to be told. The plugin thread hears of the first count, and again with each doubling, in case
    that the worker which was to tell has died."""
    cdef LimiterKey key = limiter_key(find_table(exchange), config.untold_seeds, counted.data, counted.length)
    cdef uint64_t before = 1
    cdef uint64_t untold
    cdef Job* job
    cdef uint32_t i
    for i in range(config.count):
        untold = limiter_add(find_table(exchange), key, config.limits + i, 1, moment)
        if untold & (untold - 1) == 0 or untold == 0:
            before = 0
    if before == 0:
        job = make_question(exchange, plugin, VERB_TELL, counted, NULL, 0)
        if job != NULL:
            job_send(exchange.worker, job)


cdef int ask(Exchange* exchange, const PluginRecord* plugin, const RateLimitingConfig* config,
             Text counted) noexcept nogil:
    cdef Job* job = make_question(exchange, plugin, VERB_ADMIT, counted, NULL, 0)
    if job == NULL or job_submit(exchange, job) != STEP_PARK:
        return cannot_count(exchange, config)
    return STEP_PARK


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const RateLimitingConfig* config = <const RateLimitingConfig*> step_config(exchange, plugin)
    cdef Text counted = find_counted(exchange, config.limit_by, packed_text(config, config.name))
    if config.place == COUNT_ELSEWHERE:
        return ask(exchange, plugin, config, counted)
    return count_here(exchange, plugin, config, counted)


cdef int resume(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const RateLimitingConfig* config = <const RateLimitingConfig*> step_config(exchange, plugin)
    cdef LimitState states[PERIODS]
    cdef int64_t refused = -1
    cdef const ToldState* told = read_answer(exchange.job, config.count, &refused)
    cdef uint32_t i
    if told == NULL:
        return cannot_count(exchange, config)
    for i in range(config.count):
        states[i].remaining = told[i].remaining
        states[i].reset = told[i].reset
    return decide(exchange, config, states, refused)


cdef StepFunctions functions
functions.access = access
functions.resume = resume
register_step("rate_limiting", functions)
