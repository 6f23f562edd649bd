"""proxy-circuit-breaker: a service or target that fails gets no requests for a while
(gateway/plugins/proxy_circuit_breaker.py)."""

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from native.caching cimport cache_failed
from native.circuit_breaker cimport (
    FIRST_STATUS,
    STATUS_OCTETS,
    CircuitBreakerConfig,
    circuit_admits,
    circuit_tell_refusal,
)
from native.connection cimport Exchange
from native.packed cimport Packer
from native.plan cimport STEP_CONTINUE, STEP_RESPOND, StepFunctions, register_step, respond_error
from native.snapshot cimport PluginRecord


def pack_config(*, uint64_t seed, uint32_t failures, uint64_t timeout_ms, uint32_t probes, statuses, bint per_target,
                bint counts_errors, bint counts_timeouts) -> bytes:
    """`seed`: native.circuit.circuit_seed() of the plugin; `statuses`: those that are failures."""
    cdef CircuitBreakerConfig config
    cdef uint32_t at
    memset(&config, 0, sizeof(config))
    config.seed = seed
    config.rules.failures = failures
    config.rules.timeout_ms = timeout_ms
    config.rules.probes = probes
    config.per_target = per_target
    config.counts_errors = counts_errors
    config.counts_timeouts = counts_timeouts
    for status in statuses:
        if not FIRST_STATUS <= status < FIRST_STATUS + 8 * STATUS_OCTETS:
            raise ValueError(f"no status: {status}")
        at = status - FIRST_STATUS
        config.statuses[at >> 3] |= <unsigned char> (1 << (at & 7))
    return Packer(sizeof(CircuitBreakerConfig)).finish(&config)


cdef int access(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    if circuit_admits(exchange, plugin):
        return STEP_CONTINUE
    if exchange.cache != NULL and cache_failed(exchange) == STEP_RESPOND:
        return STEP_RESPOND                              # what is stored, though stale (RFC 5861 §4)
    circuit_tell_refusal(exchange)
    return respond_error(exchange, 503, b"Circuit breaker is open")


cdef StepFunctions functions
functions.access = access
register_step("proxy_circuit_breaker", functions)
