"""response-ratelimiting: limits on what upstreams say that their responses cost (gateway/plugins/response_ratelimiting.py).

Before the request it is looked how the limits stand; the response is refused that costs something of which nothing is
left. A response may cost more than what is left.
"""

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from native.connection cimport EXCHANGE_LOCAL, Exchange, Job
from native.fields cimport Head, Text, find_field, remove_field, same_text, set_own_field, text_of
from native.jobs cimport job_send, job_submit
from native.limiter cimport (
    FIXED_WINDOW,
    MAX_FIXED,
    Limit,
    LimiterKey,
    LimitState,
    limiter_admit,
    limiter_key,
    limiter_look,
    limiter_return,
    limiter_seeds,
    make_limit,
)
from native.packed cimport PackedText, Packer, packed_text
from native.plan cimport (
    STEP_BODY,
    STEP_CONTINUE,
    STEP_FAIL,
    STEP_PARK,
    StepFunctions,
    change_response_body,
    change_response_status,
    exchange_copy,
    exchange_memory,
    register_step,
    respond_body,
    respond_error,
    respond_error_text,
    response_body_complete,
    response_head,
    step_config,
)
from native.snapshot cimport PluginRecord
from native.steps.limiting cimport (
    COUNT_ELSEWHERE,
    VERB_ADD,
    VERB_LOOK,
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

# One period of what is counted.
ctypedef struct NamedLimit:
    Limit limit
    ShownLimit shown
    PackedText limit_field       # "X-RateLimit-Limit-sms-minute"
    PackedText remaining_field

# What is counted under one name.
ctypedef struct CountedName:
    uint64_t seeds[2]
    PackedText name
    PackedText remaining_field   # "X-RateLimit-Remaining-sms"
    PackedText message
    uint32_t first               # its limits are next to each other
    uint32_t count

ctypedef struct ResponseRateLimitingConfig:
    PackedText scope             # first: the plugin thread reads it, too
    PackedText header_name
    uint32_t name_offset, name_count     # CountedName
    uint32_t shown_offset        # NamedLimit
    uint32_t limit_offset        # Limit, once more: as an array that can be counted in
    uint32_t limit_count
    uint8_t limit_by             # LimitBy
    uint8_t place                # CountingPlace
    uint8_t is_fault_tolerant
    uint8_t is_hidden
    uint8_t blocks               # a request is refused when any limit is reached

# What is remembered from the request to the response. The states of all limits follow.
ctypedef struct Standing:
    Text counted
    uint8_t refuses              # the response is refused, and its body on its way


def pack_config(*, bytes scope, list names, str header_name, int limit_by, int place, bint fault_tolerant, bint hidden,
                bint blocks) -> bytes:
    """`names`: (name, its limits), a limit being (period, name of the period, amount, text of it, of its fraction)."""
    cdef ResponseRateLimitingConfig config
    cdef CountedName name
    cdef NamedLimit limit
    memset(&config, 0, sizeof(config))
    packer = Packer(sizeof(ResponseRateLimitingConfig))
    packed_names, packed_shown, packed_limits = bytearray(), bytearray(), bytearray()
    for text, limits in names:
        memset(&name, 0, sizeof(name))
        limiter_seeds(b"%b:%b" % (scope, text.encode()), name.seeds)
        name.name = packer.text(text)
        name.remaining_field = packer.text(f"X-RateLimit-Remaining-{text}")
        name.message = packer.text(f"API rate limit exceeded for '{text}'")
        name.first = config.limit_count
        name.count = <uint32_t> len(limits)
        packed_names += (<const char*> &name)[:sizeof(name)]
        for period, period_name, amount, shown, fraction in limits:
            memset(&limit, 0, sizeof(limit))
            limit.limit = make_limit(FIXED_WINDOW, period, amount, amount)
            limit.shown.text = packer.text(shown)
            limit.shown.fraction = packer.text(fraction)
            limit.limit_field = packer.text(f"X-RateLimit-Limit-{text}-{period_name}")
            limit.remaining_field = packer.text(f"X-RateLimit-Remaining-{text}-{period_name}")
            packed_shown += (<const char*> &limit)[:sizeof(limit)]
            packed_limits += (<const char*> &limit.limit)[:sizeof(limit.limit)]
            config.limit_count += 1
    config.scope = packer.octets(scope)
    config.header_name = packer.text(header_name)
    config.name_count = <uint32_t> len(names)
    config.name_offset = packer.array(bytes(packed_names))
    config.shown_offset = packer.array(bytes(packed_shown))
    config.limit_offset = packer.array(bytes(packed_limits))
    config.limit_by = <uint8_t> limit_by
    config.place = <uint8_t> place
    config.is_fault_tolerant = fault_tolerant
    config.is_hidden = hidden
    config.blocks = blocks
    return packer.finish(&config)


cdef inline const CountedName* names_of(const ResponseRateLimitingConfig* config) noexcept nogil:
    return <const CountedName*> (<const uint8_t*> config + config.name_offset)


cdef inline const NamedLimit* shown_of(const ResponseRateLimitingConfig* config) noexcept nogil:
    return <const NamedLimit*> (<const uint8_t*> config + config.shown_offset)


cdef inline const Limit* limits_of(const ResponseRateLimitingConfig* config) noexcept nogil:
    return <const Limit*> (<const uint8_t*> config + config.limit_offset)


cdef inline LimitState* states_of(Standing* standing) noexcept nogil:
    return <LimitState*> (standing + 1)


# --- the request -----------------------------------------------------------------------------------------------------
cdef Standing* make_standing(Exchange* exchange, const ResponseRateLimitingConfig* config) noexcept nogil:
    cdef Standing* standing = <Standing*> exchange_memory(
        exchange, <uint32_t> (sizeof(Standing) + config.limit_count * sizeof(LimitState)))
    if standing != NULL:
        standing.refuses = 0
        standing.counted = find_counted(exchange, config.limit_by, text_of(b"", 0))
        standing.counted = exchange_copy(exchange, standing.counted.data, standing.counted.length)
    return standing


cdef int go_on(Exchange* exchange, const ResponseRateLimitingConfig* config, Standing* standing) noexcept nogil:
    """It is known how the limits stand: say so, or refuse the request."""
    cdef const CountedName* name = names_of(config)
    cdef Head head = response_head(exchange)
    cdef uint64_t least
    cdef uint32_t i, j
    if config.blocks:
        for i in range(config.name_count):
            for j in range(name[i].first, name[i].first + name[i].count):
                if states_of(standing)[j].remaining == 0:
                    return respond_error_text(exchange, 429, packed_text(config, name[i].message))
    for i in range(config.name_count):
        least = states_of(standing)[name[i].first].remaining
        for j in range(name[i].first, name[i].first + name[i].count):
            if states_of(standing)[j].remaining < least:
                least = states_of(standing)[j].remaining
        set_number(&head, packed_text(config, name[i].remaining_field), least)
    exchange.notes[exchange.step] = standing
    return STEP_CONTINUE


cdef int cannot_count(Exchange* exchange, const ResponseRateLimitingConfig* config) noexcept nogil:
    if config.is_fault_tolerant:
        return STEP_CONTINUE
    return respond_error(exchange, 500, b"")


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const ResponseRateLimitingConfig* config = <const ResponseRateLimitingConfig*> step_config(exchange, plugin)
    cdef const CountedName* name = names_of(config)
    cdef Standing* standing = make_standing(exchange, config)
    cdef LimiterKey key
    cdef Job* job
    cdef uint32_t i, j
    if standing == NULL:
        return STEP_FAIL
    if config.place == COUNT_ELSEWHERE:
        job = make_question(exchange, plugin, VERB_LOOK, standing.counted, NULL, 0)
        if job == NULL or job_submit(exchange, job) != STEP_PARK:
            return cannot_count(exchange, config)
        exchange.notes[exchange.step] = standing
        return STEP_PARK
    for i in range(config.name_count):
        key = limiter_key(find_table(exchange), name[i].seeds, standing.counted.data, standing.counted.length)
        for j in range(name[i].first, name[i].first + name[i].count):
            states_of(standing)[j] = limiter_look(
                find_table(exchange), key, limits_of(config) + j, find_moment(exchange, False))
    return go_on(exchange, config, standing)


cdef int resume(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const ResponseRateLimitingConfig* config = <const ResponseRateLimitingConfig*> step_config(exchange, plugin)
    cdef Standing* standing = <Standing*> exchange.notes[exchange.step]
    cdef int64_t refused
    cdef const ToldState* told = read_answer(exchange.job, config.limit_count, &refused)
    cdef uint32_t i
    exchange.notes[exchange.step] = NULL
    if told == NULL or standing == NULL:
        return cannot_count(exchange, config)
    for i in range(config.limit_count):
        states_of(standing)[i].remaining = told[i].remaining
        states_of(standing)[i].reset = told[i].reset
    return go_on(exchange, config, standing)


# --- the response ----------------------------------------------------------------------------------------------------
cdef Text trimmed(Text text) noexcept nogil:
    while text.length and (text.data[0] == 32 or text.data[0] == 9):
        text.data += 1
        text.length -= 1
    while text.length and (text.data[text.length - 1] == 32 or text.data[text.length - 1] == 9):
        text.length -= 1
    return text


cdef uint64_t read_cost(Text text) noexcept nogil:
    """A decimal number, a fraction of which counts as one; 0 for anything else."""
    cdef uint64_t cost = 0
    cdef uint64_t fraction = 0
    cdef bint has_point = False
    cdef uint32_t i
    for i in range(text.length):
        if text.data[i] == 46 and not has_point and i:
            has_point = True
        elif text.data[i] < 48 or text.data[i] > 57:
            return 0
        elif has_point:
            fraction |= text.data[i] - 48
        elif cost <= MAX_FIXED:
            cost = 10 * cost + text.data[i] - 48
    cost += fraction != 0
    return cost if cost < MAX_FIXED else MAX_FIXED


cdef void read_costs(const ResponseRateLimitingConfig* config, Text value, uint64_t* costs) noexcept nogil:
    """"name=cost, name=cost": what the last one says of a name holds; unknown names are left out."""
    cdef const CountedName* name = names_of(config)
    cdef Text part, known
    cdef uint32_t start, end, equals, i
    start = 0
    while start < value.length:
        end = start
        equals = value.length
        while end < value.length and value.data[end] != 44:
            if value.data[end] == 61 and equals == value.length:
                equals = end
            end += 1
        if equals < end:
            part = trimmed(text_of(value.data + start, equals - start))
            for i in range(config.name_count):
                known = packed_text(config, name[i].name)
                if same_text(known, part):
                    costs[i] = read_cost(trimmed(text_of(value.data + equals + 1, end - equals - 1)))
        start = end + 1


cdef bint spend(Exchange* exchange, const ResponseRateLimitingConfig* config, Standing* standing,
                const uint64_t* costs) noexcept nogil:
    """Count the costs, all or none of them. False: something is used up of which the response costs more."""
    cdef const CountedName* name = names_of(config)
    cdef LimitState* states = states_of(standing)
    cdef LimiterKey key
    cdef uint32_t i, j
    for i in range(config.name_count):
        if costs[i] == 0:
            continue
        key = limiter_key(find_table(exchange), name[i].seeds, standing.counted.data, standing.counted.length)
        if limiter_admit(find_table(exchange), key, limits_of(config) + name[i].first, name[i].count, costs[i],
                         find_moment(exchange, False), states + name[i].first) < 0:
            continue
        for j in range(i):
            if costs[j]:
                key = limiter_key(find_table(exchange), name[j].seeds, standing.counted.data, standing.counted.length)
                limiter_return(find_table(exchange), key, limits_of(config) + name[j].first, name[j].count, costs[j],
                               states + name[j].first)
        return False
    return True


cdef bint spend_elsewhere(Exchange* exchange, const PluginRecord* plugin, const ResponseRateLimitingConfig* config,
                          Standing* standing, const uint64_t* costs) noexcept nogil:
    """The same by what was left when the request came; the plugin thread counts."""
    cdef const CountedName* name = names_of(config)
    cdef LimitState* states = states_of(standing)
    cdef uint64_t* numbers = <uint64_t*> exchange_memory(exchange, config.limit_count * <uint32_t> sizeof(uint64_t))
    cdef bint costs_something = False
    cdef Job* job
    cdef uint32_t i, j
    if numbers == NULL:
        return True
    for i in range(config.name_count):
        for j in range(name[i].first, name[i].first + name[i].count):
            if costs[i] and states[j].remaining == 0:
                return False
    for i in range(config.name_count):
        costs_something |= costs[i] != 0
        for j in range(name[i].first, name[i].first + name[i].count):
            numbers[j] = costs[i]
            states[j].remaining = states[j].remaining - costs[i] if states[j].remaining > costs[i] else 0
    if costs_something:
        job = make_question(exchange, plugin, VERB_ADD, standing.counted, numbers, config.limit_count)
        if job != NULL:
            job_send(exchange.worker, job)
    return True


cdef void tell_limits(Head* head, const ResponseRateLimitingConfig* config, Standing* standing) noexcept nogil:
    cdef const NamedLimit* limit = shown_of(config)
    cdef Text name, text
    cdef uint32_t i
    for i in range(config.limit_count):
        name = packed_text(config, limit[i].limit_field)
        text = packed_text(config, limit[i].shown.text)
        set_own_field(head, <const char*> name.data, name.length, text.data, text.length)
        set_remaining(head, packed_text(config, limit[i].remaining_field), states_of(standing)[i].remaining,
                      packed_text(config, limit[i].shown.fraction))


cdef int refuse(Exchange* exchange, Standing* standing) noexcept nogil:
    """429 without a body, in place of the upstream's response, whose other fields stay."""
    standing.refuses = 1
    if not response_body_complete(exchange):
        return STEP_BODY
    if not change_response_body(exchange, text_of(b"", 0)):
        # too long to be held: an answer of its own
        return respond_body(exchange, 429, text_of(b"", 0), text_of(b"", 0))
    change_response_status(exchange, 429)
    return STEP_CONTINUE


cdef int response(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const ResponseRateLimitingConfig* config = <const ResponseRateLimitingConfig*> step_config(exchange, plugin)
    cdef Standing* standing = <Standing*> exchange.notes[exchange.step]
    cdef Text header_name = packed_text(config, config.header_name)
    cdef Head head = response_head(exchange)
    cdef uint64_t* costs
    cdef Text value
    cdef bint is_paid
    cdef uint32_t nth = 0
    if standing == NULL:
        remove_field(&head, <const char*> header_name.data, header_name.length)
        return STEP_CONTINUE
    if standing.refuses:
        return refuse(exchange, standing)
    costs = <uint64_t*> exchange_memory(exchange, config.name_count * <uint32_t> sizeof(uint64_t))
    if costs == NULL:
        return STEP_FAIL
    memset(costs, 0, config.name_count * sizeof(uint64_t))
    if not exchange.flags & EXCHANGE_LOCAL:
        while find_field(&head, <const char*> header_name.data, header_name.length, nth, &value):
            read_costs(config, value, costs)
            nth += 1
    if config.place == COUNT_ELSEWHERE:
        is_paid = spend_elsewhere(exchange, plugin, config, standing, costs)
    else:
        is_paid = spend(exchange, config, standing, costs)
    if not config.is_hidden:
        tell_limits(&head, config, standing)
    remove_field(&head, <const char*> header_name.data, header_name.length)
    return STEP_CONTINUE if is_paid else refuse(exchange, standing)


cdef StepFunctions functions
functions.access = access
functions.resume = resume
functions.response = response
register_step("response_ratelimiting", functions)
