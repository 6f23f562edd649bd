"""Running plans, and what steps may see and do; see plan.pxd."""

import importlib
import pkgutil

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy, memset, strlen

from native.connection cimport (
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
    cdef uint64_t number
    if exchange.job != NULL:
        number = exchange.job.number
        if resume != NULL:
            function = resume
        result = function(exchange, plugin)
        # Else the step has handed over another one; which may well lie where the first was.
        if exchange.job != NULL and exchange.job.number == number:
            job_free(exchange.job)
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


include "plan_for_steps.pxi"
