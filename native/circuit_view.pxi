# The circuits from Python: for the control process, and for tests. Part of circuit.pyx.

globals()["MAX_CIRCUIT_FAILURES"] = MAX_CIRCUIT_FAILURES
globals()["MAX_CIRCUIT_PROBES"] = MAX_CIRCUIT_PROBES
globals()["CIRCUIT_SLOTS"] = CIRCUIT_SLOTS
# What CircuitTable.look() returns; circuit.pyi says what is in it.
globals()["CircuitView"] = dict


def service_circuit(str plugin_id not None, str service_id not None) -> int:
    """What the circuit of a service is known by, for the breaker of a plugin entity."""
    encoded = service_id.encode()
    return circuit_identity(circuit_seed(plugin_id), <const char*> encoded, <uint32_t> len(encoded))


def target_circuit(str plugin_id not None, uint64_t target_identity) -> int:
    """The same for an address of a target (Peer.identity)."""
    return circuit_identity(circuit_seed(plugin_id), &target_identity, sizeof(target_identity))


def address_circuit(str plugin_id not None, bytes address not None, uint16_t port) -> int:
    """The same for an address (its octets) and port behind a plain host."""
    padded = address.ljust(16, b"\0")
    cdef uint64_t seed = circuit_seed(plugin_id)
    return circuit_identity(seed + port, <const char*> padded, <uint32_t> len(padded))


def circuit_seed(str plugin_id not None) -> int:
    """What tells the circuits of one plugin entity from those of others."""
    encoded = plugin_id.encode()
    return xxh64(<const char*> encoded, <size_t> len(encoded), 0)


cdef class CircuitTable:
    """The circuits in a gateway's shared memory. Times are milliseconds of the monotonic clock."""

    cdef SharedState shared          # keeps the mapping
    cdef ControlWords* control

    def __init__(self, SharedState shared not None):
        self.shared = shared
        self.control = shared_control(shared.base)

    def look(self, uint64_t identity, uint64_t now_ms, uint64_t timeout_ms):
        """How a circuit stands; None when no request has asked for it yet."""
        cdef Circuit* circuit = circuit_find(self.control, identity, False, now_ms)
        cdef CircuitRules rules
        if circuit == NULL:
            return None
        cdef uint64_t word = load_acquire(&circuit.state)
        rules.timeout_ms = timeout_ms
        return {
            "state": CircuitState(state_of(word)),
            "failures": word & COUNT_MASK if state_of(word) == CIRCUIT_CLOSED else 0,
            "since_ms": since_of(word),
            "left_ms": left_of(word, &rules, now_ms) if state_of(word) != CIRCUIT_CLOSED else 0,
            "opened": load_acquire(&circuit.opened),
            "refused": load_acquire(&circuit.refused),
        }

    def close(self, uint64_t identity, uint64_t now_ms):
        """Close a circuit by hand, its failures forgotten. False: there is none."""
        cdef Circuit* circuit = circuit_find(self.control, identity, False, now_ms)
        if circuit == NULL:
            return False
        cdef uint64_t word = load_acquire(&circuit.state)
        while not compare_swap(&circuit.state, &word, next_period(word, CIRCUIT_CLOSED, now_ms, 0)):
            pass
        return True

    # --- for tests: what workers do -----------------------------------------------------------------------------------

    cdef Circuit* made(self, uint64_t identity, uint64_t now_ms) except NULL:
        cdef Circuit* circuit = circuit_find(self.control, identity, True, now_ms)
        if circuit == NULL:
            raise MemoryError("no room for another circuit")
        return circuit

    def enter(self, uint64_t identity, rules, uint64_t now_ms):
        """(ticket, left_ms) of a request that wants to pass; the ticket is None when it is refused. `rules`: those of
        CircuitRules. MemoryError: there is no room for the circuit."""
        cdef CircuitRules packed = circuit_rules(rules)
        cdef CircuitEntry entry
        circuit_enter(self.made(identity, now_ms), &packed, now_ms, &entry)
        return (entry.ticket if entry.admitted else None), entry.left_ms

    def would_admit(self, uint64_t identity, rules, uint64_t now_ms):
        """Whether enter() would let a request pass."""
        cdef CircuitRules packed = circuit_rules(rules)
        cdef uint64_t left_ms
        return circuit_would_admit(self.made(identity, now_ms), &packed, now_ms, &left_ms)

    def succeeded(self, uint64_t identity, rules, uint64_t ticket, uint64_t now_ms):
        cdef CircuitRules packed = circuit_rules(rules)
        return CircuitChange(circuit_succeeded(self.made(identity, now_ms), &packed, ticket, now_ms))

    def failed(self, uint64_t identity, rules, uint64_t ticket, uint64_t now_ms):
        cdef CircuitRules packed = circuit_rules(rules)
        return CircuitChange(circuit_failed(self.made(identity, now_ms), &packed, ticket, now_ms))

    def returned(self, uint64_t identity, uint64_t ticket, uint64_t now_ms):
        circuit_returned(self.made(identity, now_ms), ticket)


cdef CircuitRules circuit_rules(rules) except *:
    cdef CircuitRules packed
    packed.timeout_ms, packed.failures, packed.probes = rules
    return packed
