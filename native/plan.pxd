"""What runs for a request besides proxying: the plugins of its route, compiled into a plan of steps.

The control process compiles plans into the configuration snapshot (gateway/snapshot/plans.py): which plugins run on a
route, highest priority first, and for each the configuration that applies — for everybody, or for one consumer. Here
they run: the *access* functions between routing and the upstream, the *response* functions when the head of the answer
is known, be it the upstream's or the gateway's own, the *log* functions at the end. When an access function answers the
request, the ones after it are skipped; their response and log functions run all the same, as in Kong (proxying.md §8).

A step is a module of native/steps/ that registers its functions when it is imported. Its configuration is packed by the
same module, so nobody else knows its layout.
"""

from libc.stdint cimport uint8_t, uint32_t

from native.connection cimport Exchange, MappedSnapshot
from native.fields cimport Head, Text
from native.snapshot cimport PlanRecord, PlanStep, PluginRecord, SnapshotHeader, StringRef

cpdef enum StepResult:
    STEP_CONTINUE = 0            # go on with the next step
    STEP_RESPOND = 1             # the step has prepared the answer (respond_… below)
    STEP_PARK = 2                # wait: for exchange.job, which was submitted, or a flight (flights.pxd); then `resume` is called
    STEP_FAIL = 3                # 500, after the step has logged why
    STEP_BODY = 4                # call again when the whole body is there (access: the request's, response: the response's)

# `plugin` is the configuration that applies.
ctypedef int (*step_function)(Exchange* exchange, const PluginRecord* plugin) noexcept nogil
ctypedef void (*log_function)(Exchange* exchange, const PluginRecord* plugin) noexcept nogil
# On the worker's main thread (without the GIL) when a configuration is loaded: what the plugin needs per worker, such as
# compiled regexes; the step finds it with step_prepared(). NULL is an error: the configuration is not loaded.
ctypedef void* (*prepare_function)(const PluginRecord* plugin, const void* config) noexcept nogil
ctypedef void (*release_function)(void* prepared) noexcept nogil

# What a kind of step does; functions it does not have are NULL. `resume` NULL: `access` or `response` is called again,
# with exchange.job set if it was a job that was waited for.
ctypedef struct StepFunctions:
    step_function rewrite        # before routing; global plugins with PLUGIN_REWRITES only
    step_function access
    step_function response       # the head is known: response_head(exchange) may be changed
    step_function resume
    log_function log
    prepare_function prepare
    release_function release

# Called by the modules of native/steps/ when they are imported. The name is the module's, as in
# PluginDefinition.step.
cdef int register_step(str name, StepFunctions functions) except -1

# Per-worker companion of a mapped configuration.
ctypedef struct PlanRuntime:
    uint32_t step_count
    StepFunctions* steps         # by kind
    uint32_t plugin_count
    void** prepared              # by plugin
    uint32_t* kinds              # by plugin: its kind, for the release

# Made and freed by the main thread; NULL and `problem` set (a static text) when something of it cannot be used here.
cdef PlanRuntime* plan_runtime_new(const SnapshotHeader* snapshot, const char** problem) noexcept nogil
cdef void plan_runtime_free(PlanRuntime* runtime) noexcept nogil

# --- running (exchange.pyx) ------------------------------------------------------------------------------------------
# Take up the plan of the exchange's route, or the global one (`everywhere`). False: nothing runs.
cdef bint begin_plan(Exchange* exchange, bint everywhere) noexcept nogil
# Run functions of a phase from exchange.step on. STEP_CONTINUE when the last one is done. After STEP_PARK or STEP_BODY
# call it again when the job is done, the flight is over or the body is there.
cdef int run_rewrite(Exchange* exchange) noexcept nogil
cdef int run_access(Exchange* exchange) noexcept nogil
cdef int run_response(Exchange* exchange) noexcept nogil
cdef void run_log(Exchange* exchange) noexcept nogil
# The configuration that applies in a place of the plan now, with the consumer known so far; NULL: none.
cdef const PluginRecord* choose_plugin(Exchange* exchange, const PlanStep* step) noexcept nogil
# Import all modules of native/steps/. On the main thread, before the first snapshot is loaded.
# (Python: native.plan.load_steps())

# --- for steps -------------------------------------------------------------------------------------------------------
# The packed configuration of a plugin.
cdef const void* step_config(Exchange* exchange, const PluginRecord* plugin) noexcept nogil
# What its `prepare` made.
cdef void* step_prepared(Exchange* exchange, const PluginRecord* plugin) noexcept nogil
# A text of the configuration snapshot (a plugin's id, its scope's ids, names of route and service).
cdef Text configuration_text(Exchange* exchange, StringRef text) noexcept nogil

# The request's head. Changes go upstream.
cdef Head request_head(Exchange* exchange) noexcept nogil
# The response's head. While there is none yet (access), fields can be added only: they are sent with whatever response
# comes, and with `set_field` take the place of its own fields.
cdef Head response_head(Exchange* exchange) noexcept nogil

# The client's request. Texts stay valid until the exchange ends or the step returns STEP_BODY or STEP_PARK.
cdef Text request_method(Exchange* exchange) noexcept nogil
cdef Text request_path(Exchange* exchange) noexcept nogil        # as received, without query
cdef Text request_query(Exchange* exchange) noexcept nogil       # raw, without "?"
cdef Text request_host(Exchange* exchange) noexcept nogil        # without port
cdef Text client_address(Exchange* exchange) noexcept nogil      # after real-ip, as text
# The whole request body once the step has returned STEP_BODY. False: it is longer than PLUGIN_BODY_LIMIT.
cdef bint request_body(Exchange* exchange, Text* body) noexcept nogil
# Whether the whole body is there: a step that needs it returns STEP_BODY otherwise.
cdef bint request_body_complete(Exchange* exchange) noexcept nogil

# Memory that lives as long as the exchange. NULL when memory is out.
cdef uint8_t* exchange_memory(Exchange* exchange, uint32_t size) noexcept nogil
# A copy of a text in it; empty when memory is out.
cdef Text exchange_copy(Exchange* exchange, const void* data, uint32_t length) noexcept nogil

# What plugins of a request tell each other by name (kong.ctx.shared); both texts are copied. False: memory is out.
cdef bint share_text(Exchange* exchange, Text name, Text value) noexcept nogil

# What goes upstream instead of what the client sent. Texts must live as long as the exchange (exchange_copy).
# False: the text may not stand there. Calls for a body that is not complete are refused.
cdef bint change_method(Exchange* exchange, Text method) noexcept nogil
cdef bint change_path(Exchange* exchange, Text path) noexcept nogil      # the whole path of the upstream request
cdef bint change_query(Exchange* exchange, Text query) noexcept nogil    # without "?"; empty: none
cdef bint change_host(Exchange* exchange, Text host) noexcept nogil      # the Host field
cdef bint change_request_body(Exchange* exchange, Text body) noexcept nogil   # only when request_body_complete()

# --- answers of steps; each returns STEP_RESPOND ---------------------------------------------------------------------
# Kong's error body in the type the client accepts (kong.response.error). An empty message: the status's own.
cdef int respond_error(Exchange* exchange, uint32_t status, const char* message) noexcept nogil
cdef int respond_error_text(Exchange* exchange, uint32_t status, Text message) noexcept nogil
# {"message":"…"} on one line, application/json (kong.response.exit).
cdef int respond_message(Exchange* exchange, uint32_t status, const char* message) noexcept nogil
# A body as it is. `content_type` empty: no Content-Type. Texts are copied. STEP_FAIL: the type has control characters.
cdef int respond_body(Exchange* exchange, uint32_t status, Text content_type, Text body) noexcept nogil

# --- the response's body, in `response` functions --------------------------------------------------------------------
# Whether the whole body is there: a step that needs it returns STEP_BODY otherwise. The gateway's own answers are.
cdef bint response_body_complete(Exchange* exchange) noexcept nogil
# False: it was longer than PLUGIN_BODY_LIMIT, and is passed on as it is. Decoded from chunks, but not from gzip.
cdef bint response_body(Exchange* exchange, Text* body) noexcept nogil
cdef bint change_response_body(Exchange* exchange, Text body) noexcept nogil
cdef bint change_response_status(Exchange* exchange, uint32_t status) noexcept nogil
# The status of the response at hand.
cdef uint32_t response_status(Exchange* exchange) noexcept nogil
