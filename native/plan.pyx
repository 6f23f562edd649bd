"""Running plans, and what steps may see and do; see plan.pxd."""

import importlib
import pkgutil

from libc.stdint cimport uint8_t, uint16_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset, strlen

from native.connection cimport (
    Job,
    EXCHANGE_BODY_COMPLETE,
    EXCHANGE_BODY_OVER,
    EXCHANGE_LOCAL,
    EXCHANGE_RESPONSE_OVER,
    STEP_ANSWER_BODY,
    STEP_ANSWER_ERROR,
    STEP_ANSWER_MESSAGE,
    STEPS_ACCESS,
    STEPS_LOG,
    STEPS_RESPONSE,
)
from native.fields cimport SharedText, same_text, text_of
from native.headers cimport HEADER_IDENTITY, HEADER_REMOVED
from native.http1 cimport (
    BODY_LENGTH,
    BODY_NONE,
    METHOD_HEAD,
    METHOD_LOCK,
    METHOD_OTHER,
    METHOD_PATCH,
    METHOD_POST,
)
from native.identities cimport ConsumerRecord, record_text
from native.jobs cimport job_free
from native.memory cimport Buffer, buffer_give, buffer_take
from native.snapshot cimport (
    NO_INDEX,
    PLUGIN_REWRITES,
    ConsumerChoice,
    plan_steps,
    snapshot_plan,
    snapshot_plugin,
    snapshot_text,
)
from native.stored_response cimport drop_stored_body, show_stored_body
from native.text cimport put

cdef enum:
    MAX_KINDS = 256              # kinds of step in one program
    MAX_NAME = 64
    MEMORY_PIECE = 8176          # a chain of buffers of this size holds the texts of steps
    ALIGNMENT = 8

# --- kinds of step ---------------------------------------------------------------------------------------------------
cdef StepFunctions[MAX_KINDS] KINDS
cdef char[MAX_KINDS][MAX_NAME] KIND_NAMES
cdef uint32_t kind_count = 0


cdef int register_step(str name, StepFunctions functions) except -1:
    global kind_count
    encoded = name.encode()
    if kind_count == MAX_KINDS or len(encoded) >= MAX_NAME:
        raise ValueError(f"step {name}: too many kinds of step, or its name is too long")
    memset(KIND_NAMES[kind_count], 0, MAX_NAME)
    memcpy(KIND_NAMES[kind_count], <const char*> encoded, <size_t> len(encoded))
    KINDS[kind_count] = functions
    kind_count += 1
    return 0


def load_steps() -> list[str]:
    """Import every module of native/steps/, so that it registers its kind of step. Returns the names registered."""
    import native.steps
    cdef uint32_t index
    for module in pkgutil.iter_modules(native.steps.__path__):
        importlib.import_module(f"native.steps.{module.name}")
    return [KIND_NAMES[index].decode() for index in range(kind_count)]


cdef bint find_kind(const char* name, uint32_t length, StepFunctions* functions) noexcept nogil:
    cdef uint32_t index
    for index in range(kind_count):
        if strlen(KIND_NAMES[index]) == length and memcmp(KIND_NAMES[index], name, length) == 0:
            functions[0] = KINDS[index]
            return True
    return False


cdef PlanRuntime* plan_runtime_new(const SnapshotHeader* snapshot, const char** problem) noexcept nogil:
    cdef PlanRuntime* runtime = <PlanRuntime*> calloc(1, sizeof(PlanRuntime))
    cdef const StringRef* names = <const StringRef*> (<const uint8_t*> snapshot + snapshot.step_name_offset)
    cdef const PluginRecord* plugin
    cdef uint32_t index
    problem[0] = b"out of memory"
    if runtime == NULL:
        return NULL
    runtime.step_count = snapshot.step_name_count
    runtime.plugin_count = snapshot.plugin_count
    runtime.steps = <StepFunctions*> calloc(runtime.step_count + 1, sizeof(StepFunctions))
    runtime.prepared = <void**> calloc(runtime.plugin_count + 1, sizeof(void*))
    runtime.kinds = <uint32_t*> calloc(runtime.plugin_count + 1, sizeof(uint32_t))
    if runtime.steps == NULL or runtime.prepared == NULL or runtime.kinds == NULL:
        plan_runtime_free(runtime)
        return NULL
    for index in range(runtime.step_count):
        if not find_kind(snapshot_text(snapshot, names[index]), names[index].length, &runtime.steps[index]):
            problem[0] = b"it has a plugin that this program cannot run"
            plan_runtime_free(runtime)
            return NULL
    for index in range(runtime.plugin_count):
        plugin = snapshot_plugin(snapshot, index)
        runtime.kinds[index] = plugin.step
        if runtime.steps[plugin.step].prepare != NULL:
            runtime.prepared[index] = runtime.steps[plugin.step].prepare(
                plugin, <const uint8_t*> snapshot + plugin.config_offset)
            if runtime.prepared[index] == NULL:
                problem[0] = b"the configuration of a plugin cannot be used"
                plan_runtime_free(runtime)
                return NULL
    return runtime


cdef void plan_runtime_free(PlanRuntime* runtime) noexcept nogil:
    cdef uint32_t index
    if runtime == NULL:
        return
    if runtime.steps != NULL and runtime.prepared != NULL and runtime.kinds != NULL:
        for index in range(runtime.plugin_count):
            if runtime.prepared[index] != NULL and runtime.steps[runtime.kinds[index]].release != NULL:
                runtime.steps[runtime.kinds[index]].release(runtime.prepared[index])
    free(runtime.steps)
    free(runtime.prepared)
    free(runtime.kinds)
    free(runtime)


# --- running ---------------------------------------------------------------------------------------------------------
cdef inline PlanRuntime* runtime_of(Exchange* exchange) noexcept nogil:
    return <PlanRuntime*> exchange.configuration.plans


cdef bint begin_plan(Exchange* exchange, bint everywhere) noexcept nogil:
    cdef const SnapshotHeader* snapshot = exchange.configuration.base
    cdef uint32_t i
    exchange.plan = snapshot_plan(
        snapshot, snapshot.global_plan_offset if everywhere else exchange.route.plan_offset)
    if exchange.plan == NULL:
        return False
    memset(exchange.chosen, 0, exchange.plan.step_count * sizeof(exchange.chosen[0]))
    memset(exchange.notes, 0, exchange.plan.step_count * sizeof(exchange.notes[0]))
    if exchange.identities == NULL:
        exchange.identities = exchange.worker.identities
        exchange.identities.users += 1
    for i in range(exchange.request.header_count):
        if exchange.request.headers[i].known == HEADER_IDENTITY:
            exchange.request.headers[i].flags |= HEADER_REMOVED
    exchange.step = 0
    exchange.step_phase = STEPS_ACCESS
    return True


cdef const PluginRecord* choose_plugin(Exchange* exchange, const PlanStep* step) noexcept nogil:
    """The configuration that applies now, with the consumer known so far; NULL: none."""
    cdef const ConsumerChoice* choices
    cdef const ConsumerRecord* consumer = exchange.consumer
    cdef uint32_t low = 0
    cdef uint32_t high = step.choice_count
    cdef uint32_t middle
    if consumer != NULL and high:
        choices = <const ConsumerChoice*> (<const uint8_t*> exchange.configuration.base + step.choice_offset)
        while low < high:
            middle = (low + high) // 2
            if choices[middle].consumer_hash < consumer.id_hash:
                low = middle + 1
            else:
                high = middle
        while low < step.choice_count and choices[low].consumer_hash == consumer.id_hash:
            if same_text(text_of(snapshot_text(exchange.configuration.base, choices[low].consumer_id),
                                 choices[low].consumer_id.length),
                         text_of(record_text(consumer, consumer.id), consumer.id.length)):
                return snapshot_plugin(exchange.configuration.base, choices[low].plugin)
            low += 1
    return snapshot_plugin(exchange.configuration.base, step.plugin) if step.plugin != NO_INDEX else NULL


cdef int call(Exchange* exchange, step_function function, step_function resume,
              const PluginRecord* plugin) noexcept nogil:
    """Call a step's function, or its `resume` when what it waited for is over."""
    cdef int result
    cdef Job* job = exchange.job
    if job != NULL:
        if resume != NULL:
            function = resume
        result = function(exchange, plugin)
        if exchange.job == job:                          # else the step has handed over another one
            job_free(job)
        return result
    if exchange.woken:                                   # it has waited for a flight
        exchange.woken = 0
        if resume != NULL:
            function = resume
    return function(exchange, plugin)


cdef int run_rewrite(Exchange* exchange) noexcept nogil:
    """Global plugins only: the route is not known yet."""
    cdef const PlanStep* steps = plan_steps(exchange.plan)
    cdef PlanRuntime* runtime = runtime_of(exchange)
    cdef StepFunctions* functions
    cdef const PluginRecord* plugin
    cdef int result
    while exchange.step < exchange.plan.step_count:
        functions = &runtime.steps[steps[exchange.step].step]
        if functions.rewrite != NULL and steps[exchange.step].plugin != NO_INDEX:
            plugin = snapshot_plugin(exchange.configuration.base, steps[exchange.step].plugin)
            if plugin.flags & PLUGIN_REWRITES:
                result = call(exchange, functions.rewrite, functions.resume, plugin)
                if result != STEP_CONTINUE:
                    return result
        exchange.step += 1
    return STEP_CONTINUE


cdef int run_access(Exchange* exchange) noexcept nogil:
    cdef const PlanStep* steps = plan_steps(exchange.plan)
    cdef PlanRuntime* runtime = runtime_of(exchange)
    cdef StepFunctions* functions
    cdef const PluginRecord* plugin
    cdef int result
    while exchange.step < exchange.plan.step_count:
        # asked once: a consumer that the step itself finds does not change the configuration it runs with
        plugin = exchange.chosen[exchange.step]
        if plugin == NULL:
            plugin = exchange.chosen[exchange.step] = choose_plugin(exchange, steps + exchange.step)
        if plugin != NULL:
            functions = &runtime.steps[steps[exchange.step].step]
            if functions.access != NULL:
                result = call(exchange, functions.access, functions.resume, plugin)
                if result != STEP_CONTINUE:
                    return result
        exchange.step += 1
    return STEP_CONTINUE


cdef int run_response(Exchange* exchange) noexcept nogil:
    """Also of the plugins whose access function did not run, because one before them answered."""
    cdef const PlanStep* steps = plan_steps(exchange.plan)
    cdef PlanRuntime* runtime = runtime_of(exchange)
    cdef StepFunctions* functions
    cdef const PluginRecord* plugin
    cdef int result
    while exchange.step < exchange.plan.step_count:
        functions = &runtime.steps[steps[exchange.step].step]
        if functions.response != NULL:
            plugin = exchange.chosen[exchange.step]
            if plugin == NULL:
                plugin = exchange.chosen[exchange.step] = choose_plugin(exchange, steps + exchange.step)
            if plugin != NULL:
                result = call(exchange, functions.response, functions.resume, plugin)
                if result != STEP_CONTINUE:
                    return result
        exchange.step += 1
    return STEP_CONTINUE


cdef void run_log(Exchange* exchange) noexcept nogil:
    cdef const PlanStep* steps = plan_steps(exchange.plan)
    cdef PlanRuntime* runtime = runtime_of(exchange)
    cdef log_function function
    exchange.step_phase = STEPS_LOG
    for exchange.step in range(exchange.plan.step_count):
        function = runtime.steps[steps[exchange.step].step].log
        if function == NULL:
            continue
        if exchange.chosen[exchange.step] == NULL:
            exchange.chosen[exchange.step] = choose_plugin(exchange, steps + exchange.step)
        if exchange.chosen[exchange.step] != NULL:
            function(exchange, exchange.chosen[exchange.step])


# --- what steps see --------------------------------------------------------------------------------------------------
cdef const void* step_config(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    return <const uint8_t*> exchange.configuration.base + plugin.config_offset


cdef void* step_prepared(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    return runtime_of(exchange).prepared[plugin.index]


cdef Text configuration_text(Exchange* exchange, StringRef text) noexcept nogil:
    return text_of(snapshot_text(exchange.configuration.base, text), text.length)


cdef inline const uint8_t* request_base(Exchange* exchange) noexcept nogil:
    return &exchange.client.input.data[0] + exchange.client.input.start


cdef Head request_head(Exchange* exchange) noexcept nogil:
    cdef Head head
    head.base = request_base(exchange)
    head.fields = exchange.request.headers
    head.count = exchange.request.header_count
    head.edits = &exchange.request_edits
    head.stock = &exchange.worker.buffers
    return head


cdef Head response_head(Exchange* exchange) noexcept nogil:
    cdef Head head
    head.base = NULL
    head.fields = exchange.response.headers
    head.count = 0
    head.edits = &exchange.response_edits
    head.stock = &exchange.worker.buffers
    if exchange.step_phase < STEPS_RESPONSE or exchange.step_phase == STEPS_LOG:
        return head                                      # there is none yet, or its buffer may be in other hands
    if exchange.flags & EXCHANGE_LOCAL:
        if exchange.answer_head != NULL:
            head.base = &exchange.answer_head.data[0]
            head.count = exchange.response.header_count
    elif exchange.held_head != NULL:
        head.base = &exchange.held_head.data[0]
        head.count = exchange.response.header_count
    elif exchange.upstream != NULL and exchange.upstream.input != NULL:
        head.base = &exchange.upstream.input.data[0] + exchange.upstream.input.start
        head.count = exchange.response.header_count
    return head


cdef Text request_method(Exchange* exchange) noexcept nogil:
    return text_of(request_base(exchange) + exchange.request.method_offset, exchange.request.method_length)


cdef Text request_path(Exchange* exchange) noexcept nogil:
    if exchange.request.path_length == 0:
        return text_of(b"/", 1)
    return text_of(request_base(exchange) + exchange.request.path_offset, exchange.request.path_length)


cdef Text request_query(Exchange* exchange) noexcept nogil:
    return text_of(request_base(exchange) + exchange.request.query_offset, exchange.request.query_length)


cdef Text request_host(Exchange* exchange) noexcept nogil:
    return text_of(request_base(exchange) + exchange.request.host_offset,
                   exchange.request.host_length if exchange.request.has_host else 0)


cdef Text client_address(Exchange* exchange) noexcept nogil:
    return text_of(exchange.client_text, exchange.client_text_length)


cdef bint request_body_complete(Exchange* exchange) noexcept nogil:
    return exchange.request.body_kind == BODY_NONE \
        or (exchange.flags & EXCHANGE_BODY_COMPLETE and exchange.segment != NULL) \
        or exchange.flags & EXCHANGE_BODY_OVER


cdef bint request_body(Exchange* exchange, Text* body) noexcept nogil:
    if exchange.flags & EXCHANGE_BODY_OVER:
        return False
    body[0] = text_of(b"", 0)                            # never NULL, which memcpy does not take
    if exchange.segment != NULL:
        body[0] = text_of(exchange.segment, exchange.segment_length)
    return True


cdef uint8_t* exchange_memory(Exchange* exchange, uint32_t size) noexcept nogil:
    cdef Buffer* buffer = exchange.memory
    cdef uint32_t wanted = (size + ALIGNMENT - 1) & ~<uint32_t> (ALIGNMENT - 1)
    cdef uint8_t* place
    if buffer == NULL or buffer.capacity - buffer.end < wanted:
        buffer = buffer_take(&exchange.worker.buffers, wanted if wanted > MEMORY_PIECE else MEMORY_PIECE)
        if buffer == NULL:
            return NULL
        buffer.next = exchange.memory
        exchange.memory = buffer
    place = &buffer.data[0] + buffer.end
    buffer.end += wanted
    return place


cdef Text exchange_copy(Exchange* exchange, const void* data, uint32_t length) noexcept nogil:
    cdef uint8_t* place = exchange_memory(exchange, length) if length else NULL
    if place == NULL:
        return text_of(b"", 0)
    memcpy(place, data, length)
    return text_of(place, length)


cdef bint share_text(Exchange* exchange, Text name, Text value) noexcept nogil:
    cdef SharedText* shared = exchange.shared
    while shared != NULL and not same_text(shared.name, name):
        shared = shared.next
    if shared == NULL:
        shared = <SharedText*> exchange_memory(exchange, sizeof(SharedText))
        if shared == NULL:
            return False
        shared.name = exchange_copy(exchange, name.data, name.length)
        shared.next = exchange.shared
        exchange.shared = shared
    elif same_text(shared.value, value):
        return True
    shared.value = exchange_copy(exchange, value.data, value.length)
    return shared.name.length == name.length and shared.value.length == value.length


# --- what steps change -----------------------------------------------------------------------------------------------
cdef bint is_clean(Text text, bint spaces) noexcept nogil:
    """No control characters, and no blank where one would end the part of the request line."""
    cdef uint32_t i
    for i in range(text.length):
        if text.data[i] < 32 or text.data[i] == 127 or (text.data[i] == 32 and not spaces):
            return False
    return True


cdef bint change_method(Exchange* exchange, Text method) noexcept nogil:
    if method.length == 0 or not is_clean(method, False):
        return False
    exchange.method_override = method
    if method.length == 4 and memcmp(method.data, <const char*> b"HEAD", 4) == 0:
        exchange.sent_method = METHOD_HEAD
    elif method.length == 4 and memcmp(method.data, <const char*> b"POST", 4) == 0:
        exchange.sent_method = METHOD_POST
    elif method.length == 5 and memcmp(method.data, <const char*> b"PATCH", 5) == 0:
        exchange.sent_method = METHOD_PATCH
    elif method.length == 4 and memcmp(method.data, <const char*> b"LOCK", 4) == 0:
        exchange.sent_method = METHOD_LOCK
    else:
        exchange.sent_method = METHOD_OTHER
    return True


cdef bint change_path(Exchange* exchange, Text path) noexcept nogil:
    if path.length == 0 or path.data[0] != 47 or not is_clean(path, False):
        return False
    exchange.path_override = path
    return True


cdef bint change_query(Exchange* exchange, Text query) noexcept nogil:
    if not is_clean(query, False):
        return False
    exchange.query_override = query
    if query.data == NULL:
        exchange.query_override.data = <const uint8_t*> b""
    return True


cdef bint change_host(Exchange* exchange, Text host) noexcept nogil:
    if host.length == 0 or not is_clean(host, False):
        return False
    exchange.host_override = host
    return True


cdef bint change_request_body(Exchange* exchange, Text body) noexcept nogil:
    if not request_body_complete(exchange) or exchange.flags & EXCHANGE_BODY_OVER:
        return False
    exchange.segment = body.data
    exchange.segment_length = body.length
    exchange.segment_sent = 0
    exchange.request.body_kind = BODY_LENGTH
    exchange.request.has_content_length = 1
    exchange.request.content_length = body.length
    exchange.body_received = body.length
    exchange.flags |= EXCHANGE_BODY_COMPLETE
    return True


# --- answers ---------------------------------------------------------------------------------------------------------
cdef int answer_with(Exchange* exchange, uint8_t kind, uint32_t status, Text text, Text content_type) noexcept nogil:
    exchange.answer.kind = kind
    exchange.answer.status = <uint16_t> status
    exchange.answer.text = text
    exchange.answer.content_type = content_type
    return STEP_RESPOND


cdef int respond_error(Exchange* exchange, uint32_t status, const char* message) noexcept nogil:
    return answer_with(exchange, STEP_ANSWER_ERROR, status, text_of(message, <uint32_t> strlen(message)), text_of(NULL, 0))


cdef int respond_error_text(Exchange* exchange, uint32_t status, Text message) noexcept nogil:
    return answer_with(exchange, STEP_ANSWER_ERROR, status, exchange_copy(exchange, message.data, message.length),
                       text_of(NULL, 0))


cdef int respond_message(Exchange* exchange, uint32_t status, const char* message) noexcept nogil:
    return answer_with(exchange, STEP_ANSWER_MESSAGE, status, text_of(message, <uint32_t> strlen(message)),
                       text_of(NULL, 0))


cdef int respond_body(Exchange* exchange, uint32_t status, Text content_type, Text body) noexcept nogil:
    if not is_clean(content_type, True):
        return STEP_FAIL
    return answer_with(exchange, STEP_ANSWER_BODY, status, exchange_copy(exchange, body.data, body.length),
                       exchange_copy(exchange, content_type.data, content_type.length))


# --- responses -------------------------------------------------------------------------------------------------------
cdef bint response_body_complete(Exchange* exchange) noexcept nogil:
    return exchange.flags & (EXCHANGE_LOCAL | EXCHANGE_RESPONSE_OVER) or exchange.held_head != NULL


cdef bint response_body(Exchange* exchange, Text* body) noexcept nogil:
    if exchange.flags & EXCHANGE_RESPONSE_OVER or not show_stored_body(exchange):
        return False
    if exchange.held == NULL:
        body[0] = text_of(b"", 0)
    else:
        body[0] = text_of(&exchange.held.data[0] + exchange.held.start, exchange.held.end - exchange.held.start)
    return True


cdef bint change_response_body(Exchange* exchange, Text body) noexcept nogil:
    cdef Buffer* fresh
    if exchange.flags & EXCHANGE_RESPONSE_OVER:
        return False
    fresh = buffer_take(&exchange.worker.buffers, body.length + 1)
    if fresh == NULL:
        return False
    put(fresh, body.data, body.length)
    drop_stored_body(exchange)
    buffer_give(&exchange.worker.buffers, exchange.held)
    exchange.held = fresh
    return True


cdef bint change_response_status(Exchange* exchange, uint32_t status) noexcept nogil:
    if status < 200 or status > 599:
        return False
    if exchange.flags & EXCHANGE_LOCAL:
        exchange.status = <uint16_t> status
    elif exchange.response.status == 101:                # no message with a body, but the beginning of a tunnel
        return False
    else:
        exchange.response.status = <uint16_t> status
        exchange.response.reason_length = 0
    return True


cdef uint32_t response_status(Exchange* exchange) noexcept nogil:
    if exchange.step_phase == STEPS_RESPONSE and not exchange.flags & EXCHANGE_LOCAL:
        return exchange.response.status
    return exchange.status
