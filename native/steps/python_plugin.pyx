"""One step for all plugins that are written in Python (gateway.pdk): it calls the plugin thread and does what the answer
asks for. Which functions a plugin has, and which bodies it wants to see, is all that it knows of a plugin."""

from libc.stdint cimport uint32_t
from libc.string cimport memset

from native.connection cimport EXCHANGE_PYTHON_CONTEXT, Exchange, Job
from native.fields cimport Text, text_of
from native.jobs cimport JOB_DONE, JOB_LATE
from native.log cimport LOG_ERROR, log_error
from native.plan cimport (
    STEP_BODY,
    STEP_CONTINUE,
    StepFunctions,
    register_step,
    request_body_complete,
    respond_error,
    response_body_complete,
    step_config,
)
from native.python_calls cimport (
    BUFFER_REQUEST,
    BUFFER_RESPONSE,
    FORGET_REQUEST,
    PHASE_ACCESS,
    PHASE_LOG,
    PHASE_RESPONSE,
    PHASE_REWRITE,
    PackedPlugin,
    apply_answer,
    call_plugin,
)
from native.snapshot cimport PluginRecord, plan_steps, snapshot_text


cdef inline const PackedPlugin* packed(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    return <const PackedPlugin*> step_config(exchange, plugin)


cdef int rewrite(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    if not packed(exchange, plugin).phases & PHASE_REWRITE:
        return STEP_CONTINUE
    return call_plugin(exchange, plugin, PHASE_REWRITE, False, False)


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const PackedPlugin* config = packed(exchange, plugin)
    if not config.phases & PHASE_ACCESS:
        return STEP_CONTINUE
    if config.options & BUFFER_REQUEST and not request_body_complete(exchange):
        return STEP_BODY
    return call_plugin(exchange, plugin, PHASE_ACCESS, False, False)


cdef int response(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef const PackedPlugin* config = packed(exchange, plugin)
    if not config.phases & PHASE_RESPONSE:
        return STEP_CONTINUE
    if config.options & BUFFER_RESPONSE and not response_body_complete(exchange):
        return STEP_BODY
    return call_plugin(exchange, plugin, PHASE_RESPONSE, False, False)


cdef int resume(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef Job* job = exchange.job
    cdef Text name
    if job.state == JOB_DONE:
        return apply_answer(exchange, plugin, job.result, job.result_length)
    if job.state == JOB_LATE:
        name = text_of(snapshot_text(exchange.configuration.base, plugin.name), plugin.name.length)
        log_error(exchange.worker, LOG_ERROR, exchange, b"a plugin has not answered within its deadline",
                  <const char*> name.data, name.length)
    return respond_error(exchange, 500, b"An unexpected error occurred")


cdef bint is_last(Exchange* exchange) noexcept nogil:
    """Whether no other Python plugin comes after this one at the end of a request."""
    cdef uint32_t kind = plan_steps(exchange.plan)[exchange.step].step
    cdef uint32_t place
    for place in range(exchange.step + 1, exchange.plan.step_count):
        if plan_steps(exchange.plan)[place].step == kind:
            return False
    return True


cdef void log(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    cdef bint last = exchange.flags & EXCHANGE_PYTHON_CONTEXT and is_last(exchange)
    if packed(exchange, plugin).phases & PHASE_LOG:
        call_plugin(exchange, plugin, PHASE_LOG, last, True)
    elif last:
        call_plugin(exchange, plugin, FORGET_REQUEST, True, True)


def pack_config(uint32_t phases, uint32_t options, bytes source):
    """What the step reads of a plugin: PluginPhase set, PluginOption set, and where its code is."""
    cdef PackedPlugin head = PackedPlugin(phases, options, <uint32_t> len(source), 0)
    return (<const char*> &head)[:sizeof(PackedPlugin)] + source


def unpack_source(bytes config not None):
    """Where a plugin's code is, from its packed configuration. ValueError when it is none."""
    cdef PackedPlugin* head = <PackedPlugin*> <char*> config
    if <size_t> len(config) < sizeof(PackedPlugin) or len(config) - sizeof(PackedPlugin) < head.source_length:
        raise ValueError("not the configuration of a Python plugin")
    return config[sizeof(PackedPlugin):sizeof(PackedPlugin) + head.source_length]


cdef StepFunctions functions
memset(&functions, 0, sizeof(functions))
functions.rewrite = rewrite
functions.access = access
functions.response = response
functions.resume = resume
functions.log = log
register_step("python_plugin", functions)
