"""See circuit_breaker.pxd.

When an outcome counts: a status that is a failure, as soon as the response's head is there, and so does any other of a
probe, since its body may be a stream that never ends. Otherwise a request has succeeded when it is over: until then it may
still be cut off. With a breaker per service a request counts once, with its last try; per target every try counts.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from native.balancer cimport (
    TRY_ANSWERED,
    TRY_BROKEN,
    TRY_CONNECT_FAILED,
    TRY_CUT_OFF,
    TRY_GIVEN_UP,
    TRY_TIMED_OUT,
)
from native.circuit cimport (
    CIRCUIT_HAS_CLOSED,
    CIRCUIT_HAS_OPENED,
    Circuit,
    CircuitChange,
    CircuitEntry,
    circuit_count_refused,
    circuit_enter,
    circuit_failed,
    circuit_find,
    circuit_identity,
    circuit_returned,
    circuit_succeeded,
    circuit_would_admit,
)
from native.fields cimport Head, Text, set_own_field, text_of
from native.log cimport LOG_NOTICE, LOG_WARN, log_error
from native.plan cimport configuration_text, exchange_memory, response_head, step_config
from native.snapshot cimport snapshot_text
from native.text cimport NUMBER_TEXT, format_number

# What is kept of a request, in its `notes`.
ctypedef struct CircuitUse:
    uint64_t ticket              # of exchange.circuit
    uint64_t left_ms             # `kept_away`: until the first of the circuits may let a request pass
    uint8_t is_probe
    uint8_t trying               # a try is under way
    uint8_t outcome              # TryOutcome of the last try; TRY_GIVEN_UP: none is known
    uint8_t kept_away            # a circuit has refused the request, or the addresses that were looked at last


cdef inline const CircuitBreakerConfig* config_of(Exchange* exchange) noexcept nogil:
    return <const CircuitBreakerConfig*> step_config(exchange, exchange.circuit_plugin)


cdef CircuitUse* use_of(Exchange* exchange) noexcept nogil:
    cdef uint32_t step
    for step in range(exchange.plan.step_count):
        if exchange.chosen[step] == exchange.circuit_plugin and exchange.notes[step] != NULL:
            return <CircuitUse*> exchange.notes[step]
    return NULL


# --- what is told ----------------------------------------------------------------------------------------------------
cdef Text guarded_name(Exchange* exchange) noexcept nogil:
    """What the log calls the service or target."""
    if config_of(exchange).per_target and exchange.peer != NULL:
        return text_of(snapshot_text(exchange.peers.base, exchange.peer.name), exchange.peer.name.length)
    if exchange.service.name.length:
        return configuration_text(exchange, exchange.service.name)
    return configuration_text(exchange, exchange.service.id)


cdef void log_change(Exchange* exchange, CircuitChange change) noexcept nogil:
    cdef Text name = guarded_name(exchange)
    if change == CIRCUIT_HAS_OPENED:
        log_error(exchange.worker, LOG_WARN, exchange, b"circuit breaker is open", <const char*> name.data, name.length)
    elif change == CIRCUIT_HAS_CLOSED:
        log_error(exchange.worker, LOG_NOTICE, exchange, b"circuit breaker is closed", <const char*> name.data, name.length)


cdef void log_entry(Exchange* exchange, const CircuitEntry* entry) noexcept nogil:
    cdef Text name
    if entry.changed:
        name = guarded_name(exchange)
        log_error(exchange.worker, LOG_NOTICE, exchange, b"circuit breaker is half open",
                  <const char*> name.data, name.length)


cdef void circuit_tell_refusal(Exchange* exchange) noexcept nogil:
    """In whole seconds, rounded up."""
    cdef uint8_t digits[NUMBER_TEXT]
    cdef Head head = response_head(exchange)
    cdef uint64_t seconds = (use_of(exchange).left_ms + 999) // 1000
    set_own_field(&head, b"Retry-After", 11, digits, format_number(seconds, digits))
    exchange.worker.block.circuit_refused += 1


# --- letting requests pass -------------------------------------------------------------------------------------------
cdef bint enter(Exchange* exchange, Circuit* circuit, CircuitUse* use, CircuitEntry* entry) noexcept nogil:
    if not circuit_enter(circuit, &config_of(exchange).rules, exchange.worker.loop.now_ms, entry):
        return False
    exchange.circuit = circuit
    use.ticket = entry.ticket
    use.is_probe = entry.is_probe
    log_entry(exchange, entry)
    return True


cdef bint circuit_admits(Exchange* exchange, const PluginRecord* plugin) noexcept nogil:
    """What there is no memory, no service or no room in the table for passes unguarded."""
    cdef const CircuitBreakerConfig* config = <const CircuitBreakerConfig*> step_config(exchange, plugin)
    cdef CircuitUse* use
    cdef Circuit* circuit
    cdef CircuitEntry entry
    cdef Text service
    if exchange.service == NULL:
        return True
    use = <CircuitUse*> exchange_memory(exchange, sizeof(CircuitUse))
    if use == NULL:
        return True
    use.trying = False
    use.kept_away = False
    use.outcome = TRY_GIVEN_UP
    exchange.notes[exchange.step] = use
    exchange.circuit_plugin = plugin
    if config.per_target:
        return True
    service = configuration_text(exchange, exchange.service.id)
    circuit = circuit_find(exchange.worker.control, circuit_identity(config.seed, service.data, service.length), True,
                           exchange.worker.loop.now_ms)
    if circuit == NULL or enter(exchange, circuit, use, &entry):
        return True
    circuit_count_refused(circuit)
    use.kept_away = True
    use.left_ms = entry.left_ms
    return False


cdef Circuit* circuit_of(Exchange* exchange, const Peer* peer, bint make) noexcept nogil:
    """A target is known by its identity, an address behind a plain host by itself; see circuit_view.pxi."""
    cdef uint64_t seed = config_of(exchange).seed
    cdef uint64_t identity
    if peer.identity:
        identity = circuit_identity(seed, &peer.identity, sizeof(peer.identity))
    else:
        identity = circuit_identity(seed + peer.port, peer.address, sizeof(peer.address))
    return circuit_find(exchange.worker.control, identity, make, exchange.worker.loop.now_ms)


cdef bint circuit_allows(Exchange* exchange, const Peer* peer) noexcept nogil:
    cdef const CircuitBreakerConfig* config = config_of(exchange)
    cdef Circuit* circuit
    cdef CircuitUse* use
    cdef uint64_t left_ms
    if not config.per_target:
        return True
    circuit = circuit_of(exchange, peer, False)
    if circuit == NULL or circuit_would_admit(circuit, &config.rules, exchange.worker.loop.now_ms, &left_ms):
        return True
    use = use_of(exchange)
    if use != NULL and (not use.kept_away or left_ms < use.left_ms):
        use.kept_away = True
        use.left_ms = left_ms
    return False


cdef bint circuit_takes(Exchange* exchange, const Peer* peer) noexcept nogil:
    cdef CircuitUse* use
    cdef Circuit* circuit
    cdef CircuitEntry entry
    use = use_of(exchange)
    if use == NULL:
        return True
    exchange.peer = peer                                 # the log names it
    if config_of(exchange).per_target:
        circuit = circuit_of(exchange, peer, True)
        if circuit != NULL and not enter(exchange, circuit, use, &entry):
            return False
    use.trying = True
    use.kept_away = False
    use.outcome = TRY_GIVEN_UP
    return True


cdef bint circuit_refuses(Exchange* exchange) noexcept nogil:
    cdef const CircuitUse* use = use_of(exchange) if exchange.circuit_plugin != NULL else NULL
    return use != NULL and use.kept_away


# --- what became of them ---------------------------------------------------------------------------------------------
cdef inline bint is_failure(const CircuitBreakerConfig* config, uint32_t status) noexcept nogil:
    cdef uint32_t at = status - FIRST_STATUS
    return status >= FIRST_STATUS and at < STATUS_OCTETS * 8 and config.statuses[at >> 3] & (1 << (at & 7))


cdef void settle(Exchange* exchange, const CircuitUse* use, bint known, bint failed) noexcept nogil:
    cdef const CircuitBreakerConfig* config = config_of(exchange)
    cdef Circuit* circuit = exchange.circuit
    cdef uint64_t now_ms = exchange.worker.loop.now_ms
    exchange.circuit = NULL
    if not known:
        circuit_returned(circuit, use.ticket)
    elif failed:
        log_change(exchange, circuit_failed(circuit, &config.rules, use.ticket, now_ms))
    else:
        log_change(exchange, circuit_succeeded(circuit, &config.rules, use.ticket, now_ms))


cdef void settle_by_try(Exchange* exchange, const CircuitUse* use) noexcept nogil:
    """With the outcome of the last try."""
    cdef const CircuitBreakerConfig* config = config_of(exchange)
    if use.outcome == TRY_ANSWERED:
        settle(exchange, use, True, False)
    elif use.outcome == TRY_TIMED_OUT:
        settle(exchange, use, config.counts_timeouts, True)
    elif use.outcome == TRY_CONNECT_FAILED or use.outcome == TRY_BROKEN or use.outcome == TRY_CUT_OFF:
        settle(exchange, use, config.counts_errors, True)
    else:
        settle(exchange, use, False, False)


cdef void circuit_answered(Exchange* exchange) noexcept nogil:
    cdef CircuitUse* use
    cdef bint failed
    if exchange.circuit == NULL:
        return
    use = use_of(exchange)
    use.outcome = TRY_ANSWERED
    failed = is_failure(config_of(exchange), exchange.response.status)
    if failed or use.is_probe:
        settle(exchange, use, True, failed)


cdef void circuit_try_ended(Exchange* exchange, TryOutcome outcome) noexcept nogil:
    cdef CircuitUse* use
    if exchange.circuit == NULL:
        return
    use = use_of(exchange)
    if not use.trying:
        return
    use.trying = False
    # who has answered has answered, even when the client does not wait for the rest
    if use.outcome != TRY_ANSWERED or outcome != TRY_GIVEN_UP:
        use.outcome = outcome
    if config_of(exchange).per_target:
        settle_by_try(exchange, use)


cdef void circuit_tries_failed(Exchange* exchange) noexcept nogil:
    if exchange.circuit != NULL:
        settle_by_try(exchange, use_of(exchange))


cdef void circuit_exchange_over(Exchange* exchange) noexcept nogil:
    if exchange.circuit != NULL:
        settle_by_try(exchange, use_of(exchange))
