"""Circuit breakers: what the workers of a node know together of the requests to a service or target that failed.

A circuit is *closed* while requests succeed. After so many failures in a row it is *open*: requests are refused at once.
After a while it is *half open*: a few requests are let through as *probes*. When as many have succeeded it is closed, with
the first that fails it is open again.

All of a circuit's state is one word, changed by compare-and-swap; a worker that is killed leaves nothing behind but probes
that do not come back, in whose place others may pass after the time that an open circuit stays open.

Times are milliseconds of the monotonic clock (the loops'), which all processes of a node share. Knows words, and nothing
of requests; what the breaker does for a request is in circuit_breaker.pxd.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from native.shm cimport ControlWords

cdef enum:
    MAX_CIRCUIT_FAILURES = 1000000
    MAX_CIRCUIT_PROBES = 1000

# One cache line.
ctypedef struct Circuit:
    uint64_t identity            # 0: free; see circuit_identity()
    uint64_t state               # see circuit.pyx
    uint64_t opened              # times it opened, ever
    uint64_t refused             # requests, ever
    uint64_t used_ms             # last use, to the second
    uint64_t reserved[3]

cpdef enum CircuitState:
    CIRCUIT_CLOSED = 0
    CIRCUIT_HALF_OPEN = 1
    CIRCUIT_OPEN = 2

ctypedef struct CircuitRules:
    uint64_t timeout_ms          # that it stays open
    uint32_t failures            # in a row that open it: 1 … MAX_CIRCUIT_FAILURES
    uint32_t probes              # let through while it is half open, all of which must succeed: 1 … MAX_CIRCUIT_PROBES

# What a circuit says to a request.
ctypedef struct CircuitEntry:
    uint64_t ticket              # admitted: the period of the circuit in which it was; outcomes are told with it
    uint64_t left_ms             # refused: until a request may be admitted; at least 1
    uint8_t admitted
    uint8_t is_probe
    uint8_t changed              # with this request the circuit became half open

# What an outcome did to the circuit.
cpdef enum CircuitChange:
    CIRCUIT_UNCHANGED = 0
    CIRCUIT_HAS_CLOSED = 1
    CIRCUIT_HAS_OPENED = 2

# What a circuit is known by: XXH64 of who is guarded (a service's id, a target's identity), seeded by whose breaker it is
# (XXH64 of a plugin's id); never 0.
cdef uint64_t circuit_identity(uint64_t seed, const void* guarded, uint32_t length) noexcept nogil

# The circuit with an identity; `make`: a closed one when there is none yet. NULL: there is none, or no room for it.
cdef Circuit* circuit_find(ControlWords* control, uint64_t identity, bint make, uint64_t now_ms) noexcept nogil

# A request wants to pass. False: it is refused. One that is admitted owes the circuit one of the three
# below, though it will not wait for it forever.
cdef bint circuit_enter(Circuit* circuit, const CircuitRules* rules, uint64_t now_ms, CircuitEntry* entry) noexcept nogil
# Whether a request would be admitted; changes nothing. `left_ms`: of CircuitEntry.
cdef bint circuit_would_admit(const Circuit* circuit, const CircuitRules* rules, uint64_t now_ms,
                              uint64_t* left_ms) noexcept nogil
cdef CircuitChange circuit_succeeded(Circuit* circuit, const CircuitRules* rules, uint64_t ticket,
                                     uint64_t now_ms) noexcept nogil
cdef CircuitChange circuit_failed(Circuit* circuit, const CircuitRules* rules, uint64_t ticket,
                                  uint64_t now_ms) noexcept nogil
# Nobody knows: another request may pass in its place.
cdef void circuit_returned(Circuit* circuit, uint64_t ticket) noexcept nogil
# The refusal of a request is told to its client.
cdef void circuit_count_refused(Circuit* circuit) noexcept nogil
