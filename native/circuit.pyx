"""See circuit.pxd.

The word of a circuit:

    bits 62–63   CircuitState
    bits 20–61   since when, ms
    bits  0–19   closed: failures in a row; open: nothing;
                 half open: probes let through (10 bits), and how many of those have succeeded (10 bits)

State and time together are the *period*. Each begins later than the one before, if only by a millisecond that has not come
yet, so no two of a circuit are alike. A request carries the period in which it was let through, and an outcome that comes
in another one is of the past and counts for nothing: a request that hangs from before the circuit opened does not open it
again, when it runs into its timeout after the circuit was closed. With one exception: a success of a probe that was given
up still counts while the circuit is half open, or one could never be closed whose upstream takes longer than `timeout_ms`.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from native.atomics cimport compare_swap, count_relaxed, load_acquire, store_release
from native.hashing cimport xxh64
from native.shm cimport CIRCUIT_SIZE, CIRCUIT_SLOTS, SharedState, shared_control

assert sizeof(Circuit) == CIRCUIT_SIZE

cdef enum:
    COUNT_BITS = 20
    PROBE_BITS = 10
    PROBE_MASK = 1023
    STATE_SHIFT = 62
    SLOT_MASK = CIRCUIT_SLOTS - 1
    WINDOW = 64                      # slots that are looked at for an identity
    USE_STEP_MS = 1000               # how exact the time of the last use is
    UNUSED_MS = 3600000              # after so long without a request, a circuit's slot may be given to another

cdef uint64_t COUNT_MASK = (1 << COUNT_BITS) - 1
cdef uint64_t SINCE_MASK = (<uint64_t> 1 << (STATE_SHIFT - COUNT_BITS)) - 1


# --- the word --------------------------------------------------------------------------------------------------------
cdef inline uint32_t state_of(uint64_t word) noexcept nogil:
    return <uint32_t> (word >> STATE_SHIFT)


cdef inline uint64_t since_of(uint64_t word) noexcept nogil:
    return (word >> COUNT_BITS) & SINCE_MASK


cdef inline uint64_t period_of(uint64_t word) noexcept nogil:
    return word >> COUNT_BITS


cdef inline uint64_t state_of_period(uint64_t period) noexcept nogil:
    return period >> (STATE_SHIFT - COUNT_BITS)


cdef inline uint64_t next_period(uint64_t word, CircuitState state, uint64_t now_ms, uint64_t count) noexcept nogil:
    """A word of another period than `word`, whatever the clocks of two workers say."""
    cdef uint64_t since = since_of(word) + 1
    if now_ms > since:
        since = now_ms
    return (<uint64_t> state << STATE_SHIFT) | ((since & SINCE_MASK) << COUNT_BITS) | count


cdef inline uint64_t probes(uint64_t entered, uint64_t succeeded) noexcept nogil:
    return (entered << PROBE_BITS) | succeeded


cdef inline uint64_t entered_of(uint64_t word) noexcept nogil:
    return (word >> PROBE_BITS) & PROBE_MASK


cdef inline uint64_t succeeded_of(uint64_t word) noexcept nogil:
    return word & PROBE_MASK


cdef inline uint64_t left_of(uint64_t word, const CircuitRules* rules, uint64_t now_ms) noexcept nogil:
    """Milliseconds until the time of an open circuit, or of probes that do not come back, is over; 0: it is."""
    cdef uint64_t end = since_of(word) + rules.timeout_ms
    return end - now_ms if end > now_ms else 0


# --- finding ---------------------------------------------------------------------------------------------------------
cdef uint64_t circuit_identity(uint64_t seed, const void* guarded, uint32_t length) noexcept nogil:
    cdef uint64_t identity = xxh64(guarded, length, seed)
    return identity if identity else 1


cdef inline Circuit* slot_at(ControlWords* control, uint64_t identity, uint32_t step) noexcept nogil:
    return <Circuit*> (<uint8_t*> control + control.circuits_offset) + ((identity + step) & SLOT_MASK)


cdef Circuit* take_over(ControlWords* control, uint64_t identity, uint64_t now_ms) noexcept nogil:
    """The slot that was unused for longest, if that is long. Two workers may give the same circuit two slots; the first
    of them is found from then on."""
    cdef Circuit* oldest = NULL
    cdef Circuit* slot
    cdef uint64_t oldest_use = 0
    cdef uint64_t used, previous, word
    cdef uint32_t step
    for step in range(<uint32_t> WINDOW):
        slot = slot_at(control, identity, step)
        used = load_acquire(&slot.used_ms)
        if oldest == NULL or used < oldest_use:
            oldest = slot
            oldest_use = used
    if oldest_use + UNUSED_MS > now_ms:
        return NULL
    previous = load_acquire(&oldest.identity)
    word = load_acquire(&oldest.state)
    # First closed, then given away: whoever is killed in between leaves a circuit closed that nobody used.
    if not compare_swap(&oldest.state, &word, next_period(word, CIRCUIT_CLOSED, now_ms, 0)):
        return NULL
    store_release(&oldest.used_ms, now_ms)
    if not compare_swap(&oldest.identity, &previous, identity):
        return NULL
    store_release(&oldest.opened, 0)
    store_release(&oldest.refused, 0)
    return oldest


cdef Circuit* circuit_find(ControlWords* control, uint64_t identity, bint make, uint64_t now_ms) noexcept nogil:
    cdef Circuit* slot
    cdef uint64_t found
    cdef uint32_t step
    if control.circuits_size < CIRCUIT_SLOTS * sizeof(Circuit):
        return NULL
    for step in range(<uint32_t> WINDOW):
        slot = slot_at(control, identity, step)
        found = load_acquire(&slot.identity)
        if found == 0:
            # Slots never become free again: whoever has this identity would have been found by now.
            if not make:
                return NULL
            store_release(&slot.used_ms, now_ms)
            if compare_swap(&slot.identity, &found, identity):
                return slot
        if found == identity:
            return slot
    return take_over(control, identity, now_ms) if make else NULL


# --- requests --------------------------------------------------------------------------------------------------------
cdef bint circuit_would_admit(const Circuit* circuit, const CircuitRules* rules, uint64_t now_ms,
                              uint64_t* left_ms) noexcept nogil:
    cdef uint64_t word = load_acquire(&circuit.state)
    left_ms[0] = 0
    if state_of(word) == CIRCUIT_CLOSED or (state_of(word) == CIRCUIT_HALF_OPEN and entered_of(word) < rules.probes):
        return True
    left_ms[0] = left_of(word, rules, now_ms)
    return left_ms[0] == 0


cdef bint circuit_enter(Circuit* circuit, const CircuitRules* rules, uint64_t now_ms, CircuitEntry* entry) noexcept nogil:
    cdef uint64_t word = load_acquire(&circuit.state)
    cdef uint64_t next_word
    if now_ms >= load_acquire(&circuit.used_ms) + USE_STEP_MS:
        store_release(&circuit.used_ms, now_ms)
    entry.left_ms = 0
    entry.admitted = True
    entry.is_probe = False
    entry.changed = False
    while True:
        if state_of(word) == CIRCUIT_CLOSED:
            entry.ticket = period_of(word)
            return True
        if left_of(word, rules, now_ms) == 0:
            # The first probe; or the first in the place of some that did not come back, besides those that did.
            next_word = next_period(word, CIRCUIT_HALF_OPEN, now_ms, probes(1, 0))
            if state_of(word) == CIRCUIT_HALF_OPEN:
                next_word += probes(succeeded_of(word), succeeded_of(word))
        elif state_of(word) == CIRCUIT_HALF_OPEN and entered_of(word) < rules.probes:
            next_word = word + probes(1, 0)
        else:
            entry.admitted = False
            entry.left_ms = left_of(word, rules, now_ms)
            return False
        if compare_swap(&circuit.state, &word, next_word):
            entry.ticket = period_of(next_word)
            entry.is_probe = True
            entry.changed = state_of(word) == CIRCUIT_OPEN
            return True


cdef void circuit_count_refused(Circuit* circuit) noexcept nogil:
    count_relaxed(&circuit.refused)


cdef CircuitChange circuit_succeeded(Circuit* circuit, const CircuitRules* rules, uint64_t ticket,
                                     uint64_t now_ms) noexcept nogil:
    cdef uint64_t word = load_acquire(&circuit.state)
    cdef uint64_t next_word, entered
    while True:
        if state_of(word) == CIRCUIT_HALF_OPEN and state_of_period(ticket) == CIRCUIT_HALF_OPEN:
            if succeeded_of(word) + 1 >= rules.probes:
                next_word = next_period(word, CIRCUIT_CLOSED, now_ms, 0)
            else:
                entered = entered_of(word)
                if period_of(word) != ticket and entered < rules.probes:
                    entered += 1                         # it had been given up, and its place with it
                next_word = (word & ~COUNT_MASK) | probes(entered, succeeded_of(word) + 1)
        elif state_of(word) == CIRCUIT_CLOSED and period_of(word) == ticket and word & COUNT_MASK:
            next_word = word & ~COUNT_MASK
        else:
            return CIRCUIT_UNCHANGED
        if compare_swap(&circuit.state, &word, next_word):
            return CIRCUIT_HAS_CLOSED if state_of(next_word) != state_of(word) else CIRCUIT_UNCHANGED


cdef CircuitChange circuit_failed(Circuit* circuit, const CircuitRules* rules, uint64_t ticket,
                                  uint64_t now_ms) noexcept nogil:
    cdef uint64_t word = load_acquire(&circuit.state)
    cdef uint64_t next_word
    while True:
        if period_of(word) != ticket:
            return CIRCUIT_UNCHANGED
        if state_of(word) == CIRCUIT_CLOSED and (word & COUNT_MASK) + 1 < rules.failures:
            next_word = word + 1
        else:
            next_word = next_period(word, CIRCUIT_OPEN, now_ms, 0)
        if compare_swap(&circuit.state, &word, next_word):
            if state_of(next_word) == CIRCUIT_CLOSED:
                return CIRCUIT_UNCHANGED
            count_relaxed(&circuit.opened)
            return CIRCUIT_HAS_OPENED


cdef void circuit_returned(Circuit* circuit, uint64_t ticket) noexcept nogil:
    cdef uint64_t word = load_acquire(&circuit.state)
    while state_of(word) == CIRCUIT_HALF_OPEN and period_of(word) == ticket and entered_of(word) > succeeded_of(word):
        if compare_swap(&circuit.state, &word, word - probes(1, 0)):
            return


include "circuit_view.pxi"
